"""Every command and example of the README is run, and its tables are those that records and recipes give."""

from __future__ import annotations

import csv
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import numpy as np
import pytest
from conftest import CHECKOUT
from loopback_hub import LoopbackHub
from test_recipe_over_http import run, small_hub  # noqa: F401
from test_reference import pixels

from hf_simtune import ablation, beside, cli, ledger, quoted, reference, run_list
from hf_simtune.bench import page
from hf_simtune.card_training import FORMER
from hf_simtune.data import export
from hf_simtune.data.sports import generate
from hf_simtune.plain import build
from hf_simtune.publish_reasons import REASONS
from hf_simtune.recipe import Recipe
from hf_simtune.record import RunRecord

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
SMALL = ["--train-rows", "192", "--batch-size", "16", "--evaluations", "1", "--precision", "fp32", "--probe", "none"]
IN_CI = {"make demo", "make test"}
INSTALL = {"python -m venv .venv && . .venv/bin/activate", "pip install -c constraints.txt -e '.[offline]'"}


# Run by test_ranks, on a tiny model.
SEVERAL = ("ACCELERATE_USE_CPU=1 ", "accelerate launch --config_file ")
# Run by test_uv and test_extension, as far as one machine can.
ELSEWHERE = ("pip wheel ", "hf jobs ", "hf extensions ", "hf simtune ")
MOST_TRAININGS = 6  # of ten seconds and more each; what teaches as well without being run has --dry-run
MOST_BYTES = 3_000_000  # of pictures in the tree


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    whole = [re.sub(r" \\\n +", " ", block) for block in blocks]
    lines = [line.partition("  #")[0].strip() for block in whole for line in block.splitlines()]
    return [line for line in lines if line]


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def trains(line: str) -> bool:
    return line.startswith((".venv/bin/accelerate", "hf-simtune tune")) and "--dry-run" not in line


def test_the_readme_has_commands_and_each_is_of_a_known_kind() -> None:
    found = commands()
    assert len(found) >= 30
    assert len(examples()) == 3
    assert 5 <= sum(map(trains, found)) + 2 <= MOST_TRAININGS
    ci = (CHECKOUT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    for line in found:
        if line in IN_CI:
            assert line in ci, f"CI does not run {line!r}"
        elif line in INSTALL:
            made = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
            assert "-m venv" in made and "-c constraints.txt -e '.[offline" in made
        elif line.startswith(ELSEWHERE):
            tested = [
                (CHECKOUT / "tests" / f"test_{name}.py").read_text(encoding="utf-8") for name in ("uv", "extension")
            ]
            assert any(" ".join(line.split()[:2]) in text for text in tested), line
        elif line.startswith(SEVERAL):
            files = re.findall(r"recipes/[\w/.]+", line)
            assert all((CHECKOUT / file).is_file() for file in files), line
        else:
            assert line.startswith(("hf-simtune ", ".venv/bin/accelerate launch recipes/mnrl_minilm.py")), line


def written(path: Path, columns: tuple[str, ...], shape: str) -> None:
    """Rows of the sports corpus under other names of their columns."""
    rows = list(generate(shape, "train", 64))
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(list(row.values())[: len(columns)] for row in rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as the README imagines it: with recipes, and with files of one's own."""
    (tmp_path / "recipes").symlink_to(CHECKOUT / "recipes")
    for name, shape, split in (
        ("my_scores.csv", "scored", "train"),
        ("my_pairs.csv", "pairs", "train"),
        ("class_pairs.csv", "scored", "train"),
        ("dev.csv", "scored", "validation"),
        ("test.csv", "scored", "test"),
        ("wiki1m_for_simcse.txt", "sentences", "train"),
    ):
        export.sports(str(tmp_path / name), shape=shape, split=split, rows=400)
    written(tmp_path / "train.csv", ("sentence1", "sentence2", "target"), "scored")
    written(tmp_path / "phrases.csv", ("source_sentence", "target_sentence"), "pairs")
    written(tmp_path / "nli_for_simcse.csv", ("sent0", "sent1", "hard_neg"), "triplets")
    return tmp_path


def runs_nothing(line: str) -> bool:
    return (line.startswith("hf-simtune ") and "--dry-run" in line) or line == "hf-simtune recipes"


def test_every_command_that_only_shows_something_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    shown = [line for line in commands() if runs_nothing(line)]
    assert len(shown) >= 18
    for line in shown:
        with pytest.raises(SystemExit) as ended:
            cli.main(argv=shlex.split(line)[1:])
        told = capsys.readouterr()
        assert ended.value.code == 0, f"{line}\n{told.err}"
        assert len(told.out.splitlines()) > 5
    assert not (folder / "runs").exists()


def opened(words: list[str], environment: dict[str, str], folder: Path) -> None:
    """A page is served until Ctrl-C."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=folder)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().split()[1]
        with build_opener(ProxyHandler({})).open(url, timeout=60) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0 and "Traceback" not in said
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_every_other_command_of_the_readme_runs(small_hub: tuple[LoopbackHub, dict[str, str]], folder: Path) -> None:  # noqa: F811
    _, environment = small_hub
    example = "runs/mnrl_minilm-20261120-120000"
    ran = 0
    for line in commands():
        if line in IN_CI | INSTALL or runs_nothing(line) or line.startswith((*SEVERAL, *ELSEWHERE)):
            continue
        words = shlex.split(line)
        if words[0] == ".venv/bin/accelerate":
            words = [str(Path(sys.executable).parent / "accelerate"), "launch", *words[2:], *SMALL]
        elif trains(line) and "--resume" not in words:
            words = [sys.executable, "-m", "hf_simtune", *words[1:], *SMALL]
        elif words[:2] == ["hf-simtune", "diagnose"]:
            words = [sys.executable, "-m", "hf_simtune", *words[1:], "--max-rows", "200"]
        else:
            words = [sys.executable, "-m", "hf_simtune", *words[1:]]
        made = sorted(folder.glob("runs/mnrl_minilm-*/record.json"))
        if made:
            words = [word.replace(example, str(made[0].parent.relative_to(folder))) for word in words]
        if line.startswith("hf-simtune demo") and "--space" not in line:
            opened([*words, "--port", "0"], environment, folder)
            ran += 1
            continue
        resuming = "--resume" in words
        if resuming:
            (made[0]).rename(folder / "kept.json")  # an unfinished run is one without a record
        done = run(words, environment, folder)
        if line.startswith("hf-simtune publish") and done.returncode == 2:  # so few rows are no evidence
            found = [name for name in REASONS if f"{name}: " in done.stderr]
            done = run([*words, "--allow", *found], environment, folder)
        assert done.returncode == 0, f"{line}\n{done.stderr[-3000:]}"
        if "score ORG/NAME" in line:
            assert re.search(r"claimed ([\d.]+), measured \1: the same", done.stdout), done.stdout
        assert "Traceback" not in done.stderr
        ran += 1
    assert ran >= 13
    loaded = run(
        [sys.executable, "-c", examples()[2] + "print(model.encode('A team wins.').shape)"], environment, folder
    )
    assert loaded.stdout == "(32,)\n", loaded.stderr
    merged = [RunRecord.load(path) for path in folder.glob("runs/cosent_minilm-*/record.json")]
    assert [record.saved for record in merged if record.training.best_step] in ([], ["merged"])
    assert [record.training.lora is not None for record in merged] == [True]


@pytest.mark.slow
def test_the_first_python_example_runs(small_hub: tuple[LoopbackHub, dict[str, str]], folder: Path) -> None:  # noqa: F811
    example = examples()[0]
    words = example.replace("epochs=2", "epochs=1, evaluations=1, precision='fp32'")
    assert words != example
    done = run([sys.executable, "-c", words], small_hub[1], folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[0] in ("improved", "no", "regressed")


@pytest.mark.slow
def test_the_script_with_one_line_more_runs_as_it_stands(
    small_hub: tuple[LoopbackHub, dict[str, str]],  # noqa: F811
    folder: Path,
) -> None:
    done = run([sys.executable, "-c", examples()[1]], small_hub[1], folder)
    assert done.returncode == 0, done.stderr[-3000:]
    path = folder / "my-model" / "simtune" / "record.json"
    record = RunRecord.load(path)
    assert record.script and record.report.source.title == "sentence-transformers/stsb:test"
    assert record.training.steps > 0 and record.base.weights_sha256 != record.tuned.weights_sha256
    assert (path.parent / "README.md").is_file() and (path.parent / "report.html").is_file()


def between(begin: str, end: str) -> str:
    return README.partition(begin)[2].partition(end)[0].strip()


def test_the_readmes_tables_and_the_cards_are_those_of_recipes_and_records() -> None:
    found = reference.records(CHECKOUT / "model_cards")
    assert found, "model_cards/ holds no record"
    assert between(reference.BEGIN, reference.END) == reference.table(CHECKOUT / "model_cards")
    assert between(reference.RECIPES_BEGIN, reference.RECIPES_END) == reference.recipes()
    measured = [record for _, record in reference.records(CHECKOUT / "model_cards")[quoted.RECIPE]]
    assert between(reference.QUOTED_BEGIN, reference.QUOTED_END) == quoted.table(measured)
    best, plain = (reference.records(CHECKOUT / "model_cards").get(name, []) for name in (beside.BEST, beside.PLAIN))
    assert between(reference.BESIDE_BEGIN, reference.BESIDE_END) == beside.table(best, plain)
    bench = CHECKOUT / "model_cards" / "bench"
    assert between(reference.SPEED_BEGIN, reference.SPEED_END) == page.readme(bench)
    assert (bench / "README.md").read_text(encoding="utf-8") == page.page(bench)
    counted = (CHECKOUT / "model_cards" / "LEDGER.md").read_text(encoding="utf-8")
    listed = counted.partition(reference.LEDGER_BEGIN)[2].partition(reference.LEDGER_END)[0].strip()
    assert listed == ledger.table(CHECKOUT / "model_cards")
    assert (CHECKOUT / "model_cards" / "README.md").read_text(encoding="utf-8") == run_list.page(
        reference.listed(found)
    )
    tried = CHECKOUT / "model_cards" / ablation.FOLDER / "README.md"
    assert (tried.read_text(encoding="utf-8") if tried.is_file() else None) == ablation.page(CHECKOUT / "model_cards")
    for runs in found.values():
        for path, record in runs:
            assert (path / "README.md").read_text(encoding="utf-8") == reference.rendered(path, record)
            recipe = build(Recipe, {name: held for name, held in record.recipe.items() if name not in FORMER})
            assert isinstance(recipe, Recipe) and recipe.check() == []


def test_what_a_recipe_costs_is_what_its_runs_took() -> None:
    told = 0
    for name, runs in reference.records(CHECKOUT / "model_cards").items():
        path = CHECKOUT / "recipes" / f"{name}.py"
        source = path.read_text(encoding="utf-8") if path.is_file() else ""
        if found := re.search(r"^Cost: +(\d+)(?: to (\d+))? minutes from start to card", source, re.MULTILINE):
            took = [sum(s for of, s in record.seconds.items() if not of.startswith("of it")) for _, record in runs]
            assert {round(min(took) / 60), round(max(took) / 60)} == set(map(int, filter(None, found.groups()))), name
            told += 1
    assert told >= 10


@pytest.mark.slow
def test_the_pictures_in_the_tree_are_those_of_the_records_and_few_bytes() -> None:
    """Pixel by pixel, not byte by byte: another build of matplotlib's libraries may draw a rim differently."""
    size = 0
    for runs in reference.records(CHECKOUT / "model_cards").values():
        for place, (path, record) in enumerate(runs):
            there = {file.name: file.read_bytes() for file in (path / reference.PICTURES).glob("*")}
            size += sum(map(len, there.values()))
            if place:  # for want of time: of each recipe the first
                continue
            drawn = reference.pictures(path, record)
            assert set(there) == set(drawn), path
            for name, content in drawn.items():
                one, other = pixels(content), pixels(there[name])
                assert one.shape == other.shape and np.abs(one - other).mean() < 0.005, f"{path.parent.name}: {name}"
    assert size <= MOST_BYTES


def test_no_paths_of_a_machine_in_what_is_published() -> None:
    for path in [CHECKOUT / "README.md", *(CHECKOUT / "model_cards").rglob("*.*")]:
        if path.suffix in (".md", ".json"):
            text = path.read_text(encoding="utf-8")
            # An absolute path has at least two folders and no name, address or closing bracket before it.
            assert not re.search(r"(?<![\w/:.)~-])/\w[\w.-]*/\w", text), path
            assert not re.search(r"(?<![.\w])\.\./", text), path
