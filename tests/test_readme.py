"""Every command and example of the README is run, and its table is the one that the records give."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CHECKOUT
from loopback_hub import LoopbackHub
from test_recipe_over_http import run, small_hub  # noqa: F401

from hf_simtune import reference
from hf_simtune.bench import page
from hf_simtune.data import export
from hf_simtune.recipe import Recipe

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
SMALL = ["--train-rows", "192", "--batch-size", "16", "--evaluations", "1", "--precision", "fp32"]
IN_CI = {"make demo", "make test"}
INSTALL = {"python -m venv .venv && . .venv/bin/activate", "pip install -c constraints.txt -e '.[offline]'"}


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def test_the_readme_has_commands_and_each_is_of_a_known_kind() -> None:
    found = commands()
    assert len(found) >= 12
    ci = (CHECKOUT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    for line in found:
        if line in IN_CI:
            assert line in ci, f"CI does not run {line!r}"
        elif line in INSTALL:
            made = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
            assert "-m venv" in made and "-c constraints.txt -e '.[offline" in made
        else:
            assert line.startswith(("hf-simtune ", ".venv/bin/accelerate launch recipes/mnrl_minilm.py")), line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as the README imagines it: with recipes, and with a file of one's own."""
    (tmp_path / "recipes").symlink_to(CHECKOUT / "recipes")
    export.sports(str(tmp_path / "my_pairs.csv"), shape="scored", split="train", rows=400)
    return tmp_path


@pytest.mark.slow
def test_every_command_of_the_readme_runs(small_hub: tuple[LoopbackHub, dict[str, str]], folder: Path) -> None:  # noqa: F811
    _, environment = small_hub
    example = "runs/mnrl_minilm-20261120-120000"
    ran = 0
    for line in commands():
        if line in IN_CI | INSTALL:
            continue
        words = shlex.split(line)
        if words[0] == ".venv/bin/accelerate":
            words = [str(Path(sys.executable).parent / "accelerate"), "launch", *words[2:], *SMALL]
        elif words[:2] == ["hf-simtune", "tune"] and not {"--dry-run", "--resume"} & set(words):
            words = [sys.executable, "-m", "hf_simtune", *words[1:], *SMALL]
        else:
            words = [sys.executable, "-m", "hf_simtune", *words[1:]]
        made = sorted(folder.glob("runs/mnrl_minilm-*/record.json"))
        if made:
            words = [word.replace(example, str(made[0].parent.relative_to(folder))) for word in words]
        resuming = "--resume" in words
        if resuming:
            (made[0]).rename(folder / "kept.json")  # an unfinished run is one without a record
        done = run(words, environment, folder)
        assert done.returncode == 0, f"{line}\n{done.stderr[-3000:]}"
        assert "Traceback" not in done.stderr
        ran += 1
    assert ran >= 10


@pytest.mark.slow
def test_the_python_example_runs(folder: Path, minilm: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    words = example.replace("epochs=2", "epochs=1, evaluations=1, precision='fp32'")
    assert words != example
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[0] in ("improved", "no", "regressed")


def test_the_readmes_table_and_the_cards_are_those_of_the_records() -> None:
    found = reference.records(CHECKOUT / "model_cards")
    assert found, "model_cards/ holds no record"
    table = README.partition(reference.BEGIN)[2].partition(reference.END)[0].strip()
    assert table == reference.table(CHECKOUT / "model_cards")
    bench = CHECKOUT / "model_cards" / "bench"
    speed = README.partition(reference.SPEED_BEGIN)[2].partition(reference.SPEED_END)[0].strip()
    assert speed == page.readme(bench)
    assert (bench / "README.md").read_text(encoding="utf-8") == page.page(bench)
    from hf_simtune import card

    for runs in found.values():
        for path, record in runs:
            assert (path / "README.md").read_text(encoding="utf-8") == card.render(record)
            assert Recipe(**{k: tuple(v) if isinstance(v, list) else v for k, v in record.recipe.items()}).check() == []


def test_no_paths_of_a_machine_in_what_is_published() -> None:
    for path in [CHECKOUT / "README.md", *(CHECKOUT / "model_cards").rglob("*.*")]:
        if path.suffix in (".md", ".json"):
            text = path.read_text(encoding="utf-8")
            # An absolute path has at least two folders and no name, address or closing bracket before it.
            assert not re.search(r"(?<![\w/:.)~-])/\w[\w.-]*/\w", text), path
            assert not re.search(r"(?<![.\w])\.\./", text), path
