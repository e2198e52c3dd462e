from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from commanding import run
from conftest import CHECKOUT
from fake_runs import FakeRuns

from hf_simtune import catalogue, run_commands, run_set
from hf_simtune.errors import RunError


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRuns:
    """Runs that train nothing, in place of ``tune``."""
    runs = FakeRuns(lambda recipe: 0.8 - 0.1 * abs(recipe.temperature - 0.1))
    monkeypatch.setattr(run_set, "_tune", lambda: runs)
    monkeypatch.setattr(run_commands, "calm_libraries", lambda quiet: None)
    monkeypatch.setattr("hf_simtune.threads.settle", lambda: None)
    return runs


def test_a_sweep_is_shown_before_it_is_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("sweep", "mnrl_minilm", "--temperature", "0.05", "0.1", "--epochs", "1", "2", "3", "--batch-size", "8")
    status, out, _ = run(capsys, *words, "--offline", "--dry-run")
    assert status == 0
    assert "6 runs" in out
    assert "sweep mnrl_minilm --batch-size 8 --offline --temperature 0.05 0.1 --epochs 1 2 3" in out
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_runs_its_cells_and_shows_the_table(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, fake: FakeRuns
) -> None:
    words = ("sweep", "mnrl_minilm", "--temperature", "0.05", "0.1", "0.2", "--epochs=3", "--out", str(tmp_path))
    status, out, _ = run(capsys, *words, "--offline", "--columns", "a", "b", "--quiet")
    assert status == 0
    assert [(r.temperature, r.epochs, r.columns) for r in fake.started] == [
        (t, 3.0, ("a", "b")) for t in (0.05, 0.1, 0.2)
    ]
    assert fake.origins == [("mnrl_minilm", catalogue.find("mnrl_minilm"))] * 3
    assert "Highest selection score: temperature=0.1." in out
    (folder,) = tmp_path.iterdir()
    assert str(folder / "sweep.html") in out and (folder / "sweep.html").is_file()
    resumed = ("sweep", "--resume", str(folder))
    status, second, _ = run(capsys, *resumed)
    assert status == 0 and len(fake.started) == 3
    assert second.splitlines()[:4] == out.splitlines()[:4]
    status, _, err = run(capsys, *resumed, "--temperature", "0.05", "0.1")
    assert status == 2
    assert "--temperature was 0.05 0.1 0.2 and is now 0.05 0.1" in err
    status, _, err = run(capsys, "tune", "mnrl_minilm", "--resume", str(folder))
    assert status == 2
    assert f"hf-simtune sweep --resume {folder}" in err


def test_values_of_a_field_may_stand_behind_one_flag_or_several(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, fake: FakeRuns
) -> None:
    words = ("--temperature", "0.1", "--epochs", "1", "--temperature", "0.2", "0.4", "--columns", "a", "b", "--quiet")
    status, _, _ = run(capsys, "sweep", "mnrl_minilm", "--offline", "--out", str(tmp_path), *words)
    assert status == 0
    assert [r.temperature for r in fake.started] == [0.1, 0.2, 0.4]
    assert {r.columns for r in fake.started} == {("a", "b")}


def test_an_interrupted_sweep_says_how_it_goes_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, fake: FakeRuns
) -> None:
    fake.stop = 2
    words = ("sweep", "mnrl_minilm", "--temperature", "0.05", "0.1", "0.2", "--offline", "--out", str(tmp_path))
    status, out, err = run(capsys, *words, "--quiet")
    assert status == 130
    assert out == ""
    (folder,) = tmp_path.iterdir()
    assert "1 of 3 runs are finished" in err
    assert f"sweep --resume {folder}" in err
    fake.stop = None
    status, _, _ = run(capsys, "sweep", "--resume", str(folder), "--quiet")
    assert status == 0
    assert [r.temperature for r in fake.started] == [0.05, 0.1, 0.1, 0.2]


def test_several_models_are_tuned_one_by_one_and_a_failed_one_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, fake: FakeRuns
) -> None:
    fake.failing = lambda recipe: RunError("it broke") if recipe.model == "org/b" else None
    words = ("tune", "mnrl_minilm", "--model", "org/a", "--model", "org/b", "--model", "org/c")
    status, out, _ = run(capsys, *words, "--dry-run")
    assert status == 0
    assert "3 runs" in out and not fake.started
    status, out, _ = run(capsys, *words, "--epochs", "2", "--out", str(tmp_path), "--quiet")
    assert status == 1
    assert [(r.model, r.epochs) for r in fake.started] == [("org/a", 2.0), ("org/b", 2.0), ("org/c", 2.0)]
    assert "org/b failed: it broke" in out
    (folder,) = tmp_path.iterdir()
    fake.failing = lambda recipe: None
    status, out, _ = run(capsys, "tune", "--resume", str(folder), "--quiet")
    assert status == 0
    assert [r.model for r in fake.started[3:]] == ["org/b"]
    assert "3 of 3 runs finished" in out
    status, _, err = run(capsys, "tune", "--resume", str(folder), "--epochs", "3")
    assert status == 2
    assert "--epochs was 2 and is now 3" in err
    status, _, _ = run(capsys, *words, "--epochs", "2", "--resume", str(folder), "--quiet")
    assert status == 0
    assert len(fake.started) == 4


def test_interrupted_runs_of_several_models_say_how_they_go_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, fake: FakeRuns
) -> None:
    fake.stop = 1
    words = ("tune", "mnrl_minilm", "--model", "org/a", "--model", "org/b", "--out", str(tmp_path), "--quiet")
    status, _, err = run(capsys, *words)
    assert status == 130
    assert f"tune --resume {next(tmp_path.iterdir())}" in err


def test_one_model_is_tuned_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "tune", "mnrl_minilm", "--model", "org/a", "--dry-run")
    assert status == 0
    assert "recipe mnrl_minilm" in out and "org/a" in out


@pytest.mark.slow
def test_a_sweep_is_planned_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from hf_simtune.cli import main\ntry: main(argv=['sweep', 'mnrl_minilm', '--seed', '1', '2', "
        "'--dry-run'])\nexcept SystemExit as end: assert end.code == 0\n"
        "assert not {'torch', 'transformers', 'datasets', 'optuna'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=CHECKOUT, check=False)
    assert done.returncode == 0, done.stderr


STATIC = ("tune", "mnrl_minilm", "--model", "org/static-words", "--lora")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("tune", "mnrl_minilm", "--model", "./nofolder"), "--model ./nofolder: there is no such folder"),
        (("tune", "mnrl_minilm", "--model", "builtin:foo"), "--model builtin:foo: there is no such built-in model"),
        (("tune", "mnrl_minilm", "--model", "builtin:foo", "--offline"), "--model builtin:foo"),
        (STATIC, "--lora does not go with org/static-words, a static model"),
        ((*STATIC, "--model", "org/b"), "--lora does not go with org/static-words, a static model"),
        (("sweep", *STATIC[1:], "--epochs", "1", "2"), "--lora does not go with org/static-words, a static model"),
        (("sweep", "mnrl_minilm", "--model", "./no", "--epochs", "1", "2"), "--model ./no: there is no such folder"),
        (("sweep", "mnrl_minilm", "--model", "./no", "org/a"), "--model ./no: there is no such folder"),
        (("sweep", "mnrl_minilm", "--seed", "1", "2", "--lora", "r=8", "--lora", "r=4"), "--lora is given several"),
        (("tune", "mnrl_minilm", "--temperature", "0.05", "0.1"),
         "a run takes one value; for a run with each: hf-simtune sweep TARGET --temperature 0.05 0.1"),
        (("tune", "mnrl_minilm", "--epochs", "1", "--seed", "3", "2", "1", "--precision=fp32"), "--seed 3 2 1: a run"),
        (("tune", "mnrl_minilm", "--output_dir", "x"), "unknown flag '--output_dir'; here it is --out"),
        (("tune", "mnrl_minilm", "--scale", "20"), "here it is --temperature 0.05"),
        (("tune", "mnrl_minilm", "--stand-in-for", "org/a"), "unknown flag '--stand-in-for'"),
        (("score", "builtin:all-MiniLM-L6-v2", "--data", "a", "b"), "unknown argument 'b'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_what_can_be_seen_to_be_wrong_is_told_before_anything_is_loaded(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fake: FakeRuns,
    words: tuple[str, ...],
    told: str,
    dry: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *words, *(dry if words[0] != "score" else []))
    assert status == 2
    assert out == "" and not fake.started and not list(tmp_path.iterdir())
    assert err.count(told) == 1
