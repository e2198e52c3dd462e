"""Trackers that follow a run: what they are told, what is kept from them, and what is said where one is missing."""

from __future__ import annotations

import argparse
import importlib.util
import re
from pathlib import Path

import pytest
from published import teachable
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import tiny_static

from hf_simtune import Recipe, arguments, cli, publish_files, trackers, tune
from hf_simtune.run_folder import RunFolder

EVENTS = "trainer/tensorboard"


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def values(events: EventAccumulator, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events.Scalars(name)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_static(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.slow
def test_tensorboard_has_the_loss_and_the_scores_and_neither_a_text_nor_a_token_nor_a_path(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnopqrstuvwxyz")
    recipe = teachable(base, tmp_path, report_to=("tensorboard",))
    run = tune(recipe, out=tmp_path / "runs")
    events = read(run.folder / EVENTS)
    report = run.record.report
    for name, value in (("base", report.base.spearman), ("tuned", report.tuned.spearman)):
        assert value is not None
        assert values(events, f"eval/report_{name}")[-1] == (run.record.training.steps, pytest.approx(value, abs=1e-6))
    assert values(events, "eval/report_base")[0][0] == 0, "the base's score opens the curve"
    points = {point.step: point.spearman for point in run.record.training.checkpoints if point.step}
    assert dict(values(events, "eval/select_spearman")) == pytest.approx(points, abs=1e-6)
    assert len(values(events, "train/loss")) > 2
    (file,) = (run.folder / EVENTS).iterdir()
    held = file.read_bytes()
    assert b"hf_abcdefgh" not in held and str(tmp_path).encode() not in held
    rows = [line for line in (tmp_path / "pairs.csv").read_text().splitlines()[1:] if line]
    assert not any(text.encode() in held for row in rows for text in row.split(",") if len(text) > 9)
    assert not [name for name in publish_files.collect(RunFolder(run.folder))[0] if "tensorboard" in name]
    assert "report_to" not in run.record.recipe and "report-to" not in run.record.command


@pytest.mark.slow
def test_several_trainings_have_curves_of_their_own_beside_the_runs_scores(base: Path, tmp_path: Path) -> None:
    run = tune(teachable(base, tmp_path, report_to=("tensorboard",), soup=2, epochs=1.0), out=tmp_path / "runs")
    place = run.folder / EVENTS
    for seed in ("seed-42", "seed-1042"):
        assert len(values(read(place / seed), "train/loss")) > 1
        assert "eval/report_tuned" not in read(place / seed).Tags()["scalars"]
    own = [path for path in place.iterdir() if path.is_file()]
    assert len(own) == 1
    tuned = values(read(place), "eval/report_tuned")
    assert tuned[0][1] == pytest.approx(run.record.report.tuned.spearman, abs=1e-6)


def test_a_tracker_that_is_not_installed_is_told_with_what_to_type_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "wandb" else found(name, *more)
    )
    words = ["tune", "cosent_minilm", "--report-to", "wandb", "tensorboard", "--epochs", "-1", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        cli.main(argv=words)
    told = capsys.readouterr().err
    assert ended.value.code == 2 and "--report-to wandb: wandb is not installed; pip install wandb" in told
    assert "--epochs" in told and "tensorboard is not" not in told and not list(tmp_path.iterdir())
    with pytest.raises(SystemExit):
        cli.main(argv=["sweep", "cosent_minilm", "--report-to", "wandb", "--epochs", "1", "2", "--dry-run"])
    assert "wandb is not installed" in capsys.readouterr().err


@pytest.mark.parametrize("names", [("tensorbord",), ("wandb", "wandb"), ()])
def test_other_names_are_refused_with_those_that_there_are(names: tuple[str, ...]) -> None:
    (problem,) = Recipe(train_data="x.csv", report_to=names).check()
    assert "--report-to" in problem and "one or more of tensorboard, trackio, wandb" in problem
    assert trackers.missing(names[:1]) == [] or names[0] == "wandb"


def test_the_help_names_them() -> None:
    commands = next(
        action for action in arguments.parser()._actions if isinstance(action, argparse._SubParsersAction)
    ).choices
    told = re.sub(r"\s+", " ", commands["tune"].format_help())
    assert "--report-to" in told and "tensorboard, trackio, wandb (Weights & Biases)" in told
