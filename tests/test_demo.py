"""The demo of a run: what its page says, what it takes, where it is served, and the Space that is made of it."""

from __future__ import annotations

import ast
import dataclasses
import json
import math
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import forked
import pytest
import sample_record
import torch
import yaml
from conftest import CHECKOUT
from fake_runs import record_of
from loopback_hub import LoopbackHub
from published import teachable
from sample_ways import SAMPLES
from sentence_transformers import SentenceTransformer, util
from test_tuning import small
from tiny import tiny_model, tiny_splade

from hf_simtune import cli, demo_run, demo_space, report_words, tune
from hf_simtune.demo_page import page, shown, told, typed
from hf_simtune.demo_page.encoders import Encoders, Line, Seen, UnavailableError
from hf_simtune.errors import RequestError
from hf_simtune.lora import LoRA
from hf_simtune.recipe import Recipe
from hf_simtune.record import RunRecord
from hf_simtune.run_folder import RunFolder

HOSTILE = "<img src=x onerror=\"document.title='hit'\"> {{value}} ${alert(1)} </td>"


class Model:
    """Encodes a text as what it is given for it."""

    def __init__(self, at: dict[str, Sequence[float]]) -> None:
        self.at = at

    def encode(self, texts: list[str], **_: Any) -> torch.Tensor:
        return torch.tensor([self.at[text] for text in texts])


class SparseEncoder(Model):
    """One that goes by its name as a sparse one."""

    def encode(self, texts: list[str], **_: Any) -> torch.Tensor:
        return super().encode(texts).to_sparse()


def loader(model: Any, count: list[int] | None = None, caveat: str = "") -> Callable[[], tuple[Any, str]]:
    def load() -> tuple[Any, str]:
        if count is not None:
            count.append(1)
        return model, caveat

    return load


def nothing() -> tuple[Any, str]:
    raise UnavailableError("the Hub does not answer")


BEFORE = Model({"q": (1, 0), "a": (1, 1), "b": (0, 1), "c": (1, 0), "0": (0, 0)})
AFTER = Model({"q": (1, 0), "a": (1, 0), "b": (-1, 0), "c": (1, 1), "0": (0, 0)})


def test_a_pair_is_seen_by_both_models_each_loaded_once() -> None:
    count: list[int] = []
    encoders = Encoders(loader(AFTER, count), loader(BEFORE, count, "other weights"))
    assert count == []
    assert list(encoders.loading()) == ["tuned", "base"] and list(encoders.loading()) == []
    before, after = encoders.pair("q", "a")
    assert before is not None and before.cosine == pytest.approx(math.sqrt(0.5)) and after.cosine == pytest.approx(1)
    assert encoders.pair("q", "b")[1].cosine == pytest.approx(-1) and math.isnan(encoders.pair("q", "0")[1].cosine)
    assert len(count) == 2 and encoders.caveats == ["other weights"] and after.active is None


def test_lines_are_ranked_before_and_after_and_equal_ones_share_a_rank() -> None:
    found = Encoders(loader(AFTER), loader(BEFORE)).ranked("q", ["b", "c", "a", "0"])
    assert [line.text for line in found] == ["a", "c", "b", "0"]
    assert [(line.rank_before, line.rank_after) for line in found] == [(2, 1), (1, 2), (3, 3), (4, 4)]
    same = Encoders(loader(Model({"q": (1,), "x": (1,), "y": (2,), "z": (-1,)})), None).ranked("q", ["x", "z", "y"])
    assert [(line.text, line.rank_after, line.before) for line in same] == [
        ("x", 1, None),
        ("y", 1, None),
        ("z", 3, None),
    ]


def test_without_a_base_the_page_shows_after_alone_and_says_why() -> None:
    encoders = Encoders(loader(AFTER), nothing)
    before, after = encoders.pair("q", "a")
    assert before is None and after.cosine == pytest.approx(1)
    assert "there is no before: the Hub does not answer" in encoders.caveats[0]
    assert "Before" not in shown.pair(before, after) and "Rank before" not in shown.ranking(encoders.ranked("q", ["a"]))
    with pytest.raises(UnavailableError, match="does not answer"):
        Encoders(nothing, loader(BEFORE)).pair("q", "a")


def test_a_sparse_encoder_tells_its_active_dimensions() -> None:
    encoders = Encoders(loader(SparseEncoder({"q": (1, 0, 2), "a": (0, 0, 2)})), None)
    _, after = encoders.pair("q", "a")
    assert after == Seen(pytest.approx(2 / math.sqrt(5)), (2, 1), 3)
    assert "after 2 and 1 of 3" in shown.pair(None, after)


def test_what_is_too_long_is_cut_with_a_sentence() -> None:
    assert typed.sentence("  a b ", "It") == typed.Typed(("a b",)) and typed.sentence(None, "It").texts == ()
    long = typed.sentence("x" * 1_000_000, "The query")
    assert len(long.texts[0]) == typed.MOST_LETTERS and "1,000,000 characters: the first 5,000" in long.notes[0]
    many = typed.lines("\n".join(f"line {number}" for number in range(10_000)) + "\n\n" + "y" * 9_999)
    assert len(many.texts) == typed.MOST_LINES and "10,001 lines: the first 1,000" in many.notes[0]
    assert "1 line has more than 5,000 characters" in many.notes[1]
    assert typed.lines("a\n\n a \nb").texts == ("a", "b")
    assert typed.sentence("half \ud800", "It").texts == ("half ?",)


def test_every_text_is_shown_as_text() -> None:
    line = Line(HOSTILE, 0.5, 1, 0.25, 2)
    for text in (shown.ranking([line], [HOSTILE]), shown.message(HOSTILE), shown.state(HOSTILE, [HOSTILE])):
        assert "<img" not in text and "{{" not in text and "${" not in text and "&lt;img" in text
    record = dataclasses.asdict(sample_record.improved())
    record["name"] = record["base"]["hub_id"] = record["evaluations"][0]["source"]["name"] = HOSTILE
    assert "<img" not in told.heading(record) + told.table(record)


def test_a_change_is_that_of_the_figures_shown() -> None:
    text = shown.pair(Seen(0.9499), Seen(0.9434))
    assert "0.950" in text and "0.943" in text and "\N{MINUS SIGN}0.007:" in text and "further apart" in text
    assert "No change" in shown.pair(Seen(0.5), Seen(0.5)) and "closer together" in shown.pair(Seen(0.1), Seen(0.2))
    assert "undefined" in shown.pair(Seen(math.nan), Seen(0.5))
    many = shown.ranking([Line(str(rank), 0.5, rank) for rank in range(1, 300)])
    assert many.count("<tr>") == shown.MOST_ROWS + 1 and "The 100 nearest of 299 lines." in many


@pytest.mark.parametrize("name", ["improved", "no_evidence", "csr", "lora", "matryoshka", "script", "splade"])
def test_the_page_answers_as_the_report_does(name: str) -> None:
    record = SAMPLES[name]()
    held = json.loads(json.dumps(dataclasses.asdict(record)))
    assert told.verdict(held) == record.verdict and f">{record.verdict}<" in told.heading(held)
    for evaluation in held["evaluations"]:
        if evaluation["role"] == "probe":
            meant = next(one for one in record.evaluations if one.source.title == told._title(evaluation["source"]))
            assert told.answer(held, evaluation) == report_words.answer(record, meant)
    table = told.table(held)
    for evaluation in record.evaluations:
        assert evaluation.source.title in table and f"{100 * evaluation.tuned.spearman:.2f}" in table
    assert ("untrained" in told.heading(held)) == bool(record.base.untrained)


def test_a_port_or_a_host_that_cannot_be_had_is_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RequestError, match=rf"port {port} is in use on 127.0.0.1\nName another one"):
            demo_run.free_port("127.0.0.1", port)
    assert demo_run.free_port("127.0.0.1", 0) > 0 and demo_run.free_port("127.0.0.1", None) >= demo_run.FIRST_PORT
    with pytest.raises(RequestError, match=r"--host 192\.0\.2\.1 is no address of this machine"):
        demo_run.free_port("192.0.2.1", 0)
    with pytest.raises(RequestError, match="must be 0"):
        demo_run.free_port("127.0.0.1", 65536)


def test_what_is_wrong_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo_run, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        cli.main(argv=["demo", str(tmp_path), "--port", "-1"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "3 problems" in said and "pip install 'hf-simtune[demo]'" in said
    assert "no finished run" in said and "--port -1" in said
    with pytest.raises(SystemExit) as ended:
        cli.main(argv=["demo", str(tmp_path), "--of", "a/b", "--out", "x"])
    assert ended.value.code == 2 and capsys.readouterr().err.count("has no use without --space") == 2
    with pytest.raises(SystemExit) as ended:
        cli.main(argv=["demo", str(tmp_path), "--space", "name", "--port", "0"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "3 problems" in said and "--of ORG/MODEL" in said
    record_of(Recipe(name="x", train_data="x.csv"), 0.8).save(tmp_path / "record.json")
    with pytest.raises(RequestError, match="holds no model"):
        demo_run.open_run(tmp_path)


def test_the_folder_of_the_page_needs_nothing_of_the_package() -> None:
    files = sorted(demo_space.PAGE.glob("*.py"))
    assert len(files) >= 6
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.startswith("hf_simtune") for name in names), path.name


def fake_run(folder: Path) -> RunRecord:
    record = record_of(Recipe(name="mine", train_data="x.csv"), 0.8)
    record.save(folder / "record.json")
    return record


def test_a_space_is_a_short_app_the_record_and_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = fake_run(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(argv=["demo", str(tmp_path), "--space", "me/show", "--of", "me/model@v1"])
    told_out = capsys.readouterr()
    assert ended.value.code == 0, told_out.err
    space = tmp_path / "space"
    assert f"hf upload me/show {space} . --type space" in told_out.out and "was not looked at" in told_out.err
    app = (space / "app.py").read_text(encoding="utf-8")
    assert len(app.splitlines()) < 25 and "from_hub('me/model', revision='v1')" in app
    assert f"'{record.base.hub_id}', revision='{record.base.revision}'" in app
    front = yaml.safe_load((space / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert front["sdk"] == "gradio" and front["models"] == ["me/model", record.base.hub_id]
    pins = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8")
    assert front["sdk_version"] == demo_space.SDK and f"\ngradio=={demo_space.SDK}\n" in pins
    project = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f'"{line}"' in project for line in [*demo_space.REQUIREMENTS, demo_space.ADAPTERS])
    assert (space / "record.json").read_bytes() == (tmp_path / "record.json").read_bytes()
    with pytest.raises(RequestError, match="--force writes over it"):
        demo_space.write(tmp_path, "me/show", "me/model")
    demo_space.write(tmp_path, "me/show", "me/model", force=True)
    assert "v1" not in (space / "app.py").read_text(encoding="utf-8")


def test_a_space_without_a_base_on_the_hub_says_so(tmp_path: Path) -> None:
    record = fake_run(tmp_path)
    base = dataclasses.replace(record.base, hub_id=None, name="my'model")
    dataclasses.replace(record, base=base, saved="adapter").save(tmp_path / "record.json")
    made = demo_space.write(tmp_path, "me/show", "me/model")
    app = (made.folder / "app.py").read_text(encoding="utf-8")
    ast.parse(app)
    assert "Encoders(tuned, None, " in app and "is not on the Hub" in app
    assert "peft" in (made.folder / "requirements.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a tiny dense model."""
    folder = tmp_path_factory.mktemp("run")
    return tune(
        teachable(tiny_model(folder / "tiny"), folder, epochs=1.0, learning_rate=1e-3), out=folder / "runs"
    ).folder


def cosine(model: Path, first: str, second: str) -> float:
    """As sentence-transformers itself has it."""
    encoder = SentenceTransformer(str(model), device="cpu")
    return float(util.cos_sim(*encoder.encode([first, second], convert_to_tensor=True)))


@pytest.mark.slow
def test_both_models_of_a_run_are_those_that_were_scored(run: Path) -> None:
    record = RunRecord.load(run / "record.json")
    encoders = demo_run.encoders(RunFolder(run), record)
    before, after = encoders.pair("a dog runs", "the cat sat")
    assert encoders.caveats == [] and before is not None
    assert before.cosine == pytest.approx(cosine(run.parents[1] / "tiny", "a dog runs", "the cat sat"), abs=1e-5)
    assert after.cosine == pytest.approx(cosine(run / "model", "a dog runs", "the cat sat"), abs=1e-5)
    other = demo_run.encoders(RunFolder(run), dataclasses.replace(record, tuned=record.base))
    list(other.loading())
    assert record.training.best_step > 0, "the fixture is meant to have a better step"
    assert any("other weights by now" in told for told in other.caveats)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adapters", "splade"])
def test_adapters_and_sparse_encoders_are_shown_too(kind: str, tmp_path: Path) -> None:
    if kind == "splade":
        recipe = small(tiny_splade(tmp_path / "base"), evaluations=1, epochs=1.0)
    else:
        recipe = small(tiny_model(tmp_path / "base"), evaluations=1, epochs=1.0, lora=LoRA(r=4))
    folder = tune(recipe, out=tmp_path / "runs").folder
    encoders = demo_run.encoders(RunFolder(folder), RunRecord.load(folder / "record.json"))
    before, after = encoders.pair("a dog runs", "the cat sat")
    assert encoders.caveats == [] and before is not None and -1 <= before.cosine <= 1
    assert (after.active is not None) == (kind == "splade")


@pytest.mark.slow
def test_the_base_that_is_gone_leaves_the_rest_of_the_page(run: Path, tmp_path: Path) -> None:
    record = RunRecord.load(run / "record.json")
    folder = RunFolder(tmp_path / "moved")
    folder.path.mkdir()
    (folder.path / "model").symlink_to(run / "model")  # without its plan, as it may have been sent to somebody
    encoders = demo_run.encoders(folder, record)
    before, _ = encoders.pair("a dog runs", "the cat sat")
    assert before is None and "there is no before" in encoders.caveats[0]


@pytest.mark.slow
def test_the_app_of_a_space_runs_with_the_hub_and_without_this_package(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="needs the extra 'demo'")
    record = RunRecord.load(run / "record.json")
    base = dataclasses.replace(record.base, hub_id="loopback/tiny", name="loopback/tiny", prompt="x: ")
    published = shutil.copytree(run / "model", tmp_path / "published")
    shutil.copyfile(run / "record.json", published / "record.json")
    dataclasses.replace(record, base=base).save(tmp_path / "record.json")
    models = {"me/model": published, "me/other": run.parents[1] / "tiny", "loopback/tiny": run.parents[1] / "tiny"}
    with LoopbackHub(models, storage=tmp_path / "storage") as hub:
        environment = hub.environment(tmp_path / "home") | {"PYTHONPATH": str(CHECKOUT), "HF_HUB_OFFLINE": "0"}
        environment |= {"OMP_NUM_THREADS": "1", "GRADIO_ANALYTICS_ENABLED": "False"}

        def process(*words: str) -> subprocess.CompletedProcess[str]:
            return forked.run([sys.executable, *words], env=environment, cwd=tmp_path)

        words = ["-m", "hf_simtune", "demo", str(tmp_path), "--space", "me/show", "--of"]
        other = process(*words, "me/other")
        assert other.returncode == 2 and "hf-simtune publish" in other.stderr and not (tmp_path / "space").exists()
        made = process(*words, "me/model")
        assert made.returncode == 0 and made.stderr == "", made.stderr
        script = (
            "import json, runpy, sys; sys.modules['hf_simtune'] = None; sys.path.insert(0, 'space')\n"
            "held = runpy.run_path('space/app.py')\n"
            "before, after = held['encoders'].pair('a dog runs', 'the cat sat')\n"
            "print(json.dumps([before.cosine, after.cosine, held['encoders'].caveats, type(held['demo']).__name__]))"
        )
        ran = process("-c", script)
        assert ran.returncode == 0, ran.stderr
    before, after, caveats, kind = json.loads(ran.stdout.splitlines()[-1])
    assert (caveats, kind) == ([], "Blocks")
    assert before == pytest.approx(cosine(run.parents[1] / "tiny", "x: a dog runs", "x: the cat sat"), abs=1e-5)
    assert after == pytest.approx(cosine(run / "model", "a dog runs", "the cat sat"), abs=1e-5)


def test_what_is_pressed_is_answered_with_a_result_or_a_sentence() -> None:
    compared = page.compared(Encoders(loader(AFTER), loader(BEFORE)))
    assert "one of the fields is empty" in compared("", "x") and "1.000" in compared("q", "a")
    assert "the Hub does not answer" in page.compared(Encoders(nothing, None))("q", "a")
    ranked = page.ranked(Encoders(loader(AFTER), loader(BEFORE)))
    assert "paste a list" in ranked("q", " \n") and ranked("q", "a\nb").count("<tr>") == 3
    assert "the Hub does not answer" in page.ranked(Encoders(nothing, None))("q", "a")
