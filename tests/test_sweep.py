from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import CHECKOUT
from fake_runs import RECIPE, FakeRuns, record_of, score, states
from few_rows import few_rows
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_model

from hf_simtune import sweeping
from hf_simtune.errors import HubError, RequestError, RunError
from hf_simtune.record import RunRecord
from hf_simtune.run_set import RunSet
from hf_simtune.set_plan import label, value_text
from hf_simtune.sweep_figures import best, figures, spread

AXES = {"temperature": (0.05, 0.1, 0.2), "epochs": (1.0, 2.0)}


def test_every_cell_is_run_once_with_its_own_recipe_and_the_best_is_by_selection(tmp_path: Path) -> None:
    runs = FakeRuns(score)
    made = sweeping.sweep(RECIPE, AXES, out=tmp_path, run=runs, offline=True)
    assert [(recipe.temperature, recipe.epochs) for recipe in runs.started] == [
        (0.05, 1), (0.05, 2), (0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)
    ]  # fmt: skip
    assert {dataclasses.replace(recipe, temperature=0.05, epochs=1.0) for recipe in runs.started} == {RECIPE}
    winner = best(made)
    assert winner is not None
    assert made.cells[winner].values == {"temperature": 0.1, "epochs": 2.0}
    assert made.folder.parent == tmp_path and made.folder.name.startswith("trial-sweep-")
    assert sorted(path.name for path in (made.folder / "cells").iterdir()) == sorted(
        f"temperature={t},epochs={e}" for t in (0.05, 0.1, 0.2) for e in (1, 2)
    )
    assert (made.folder / str(made.cells[0].run) / "record.json").is_file()


def test_a_better_report_score_does_not_win(tmp_path: Path) -> None:
    made = sweeping.sweep(RECIPE, {"temperature": (0.05, 0.1)}, out=tmp_path, run=FakeRuns(score))
    made.records = {0: record_of(RECIPE, 0.77, report=0.99), 1: record_of(RECIPE, 0.78, report=0.1)}
    assert best(made) == 1


_HIGHEST = record_of(RECIPE, 0.9)
_COLLAPSED = tuple(dataclasses.replace(at, findings=("collapsed",) if at.step == 10 else ()) for at in _HIGHEST.health)
COLLAPSED = dataclasses.replace(_HIGHEST, health=_COLLAPSED)
DIVERGED = dataclasses.replace(_HIGHEST, training=dataclasses.replace(_HIGHEST.training, diverged="at step 3"))


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([record_of(RECIPE, 0.8), record_of(RECIPE, 0.8)], 0),
        ([record_of(RECIPE, None), record_of(RECIPE, -0.2)], 1),
        ([record_of(RECIPE, 0.8, best_step=0), record_of(RECIPE, 0.8)], 1),
        ([record_of(RECIPE, 0.9, best_step=0), record_of(RECIPE, 0.8)], None),
        ([record_of(RECIPE, 0.9, best_step=0), record_of(RECIPE, 0.8, best_step=0)], None),
        ([record_of(RECIPE, 0.9, fingerprint="a"), record_of(RECIPE, 0.8, fingerprint="b")], None),
        ([DIVERGED, record_of(RECIPE, 0.7)], 1),
        ([DIVERGED], None),
        ([COLLAPSED, record_of(RECIPE, 0.7)], 1),
        ([], None),
    ],
    ids=[
        "the first of equals",
        "undefined",
        "one kept the base",
        "a base is highest",
        "all kept the base",
        "other rows",
        "one diverged",
        "all diverged",
        "one collapsed",
        "none",
    ],
)
def test_what_wins(records: list[RunRecord], expected: int | None, tmp_path: Path) -> None:
    made = sweeping.start(sweeping.plan(RECIPE, {"temperature": (0.05, 0.1)}), tmp_path)
    made.records = dict(enumerate(records))
    assert best(made) == expected


def test_the_spread_is_that_of_the_step_that_was_kept() -> None:
    record = record_of(dataclasses.replace(RECIPE, temperature=0.5), 0.8)
    assert spread(record).anisotropy == pytest.approx(0.02 + 0.05)
    assert spread(record, 0).deviation == pytest.approx(0.14)
    assert spread(record_of(RECIPE, 0.8, health=False)).anisotropy is None
    assert figures(record).seconds == pytest.approx(sum(record.seconds.values()), abs=0.1)


numbers = st.floats(1e-6, 1e3, allow_nan=False) | st.integers(1, 1000).map(float)


@given(
    st.lists(numbers, min_size=1, max_size=5, unique=True),
    st.lists(st.text("ab/ ,=", max_size=4), unique=True, min_size=2, max_size=4),
)
def test_a_grid_holds_every_combination_in_folders_of_their_own(rates: list[float], models: list[str]) -> None:
    planned = sweeping.plan(RECIPE, {"learning_rate": rates, "model": models})
    cells = sweeping.cells(planned)
    assert {(cell.values["learning_rate"], cell.values["model"]) for cell in cells} == {
        (rate, model) for rate in rates for model in models
    }
    folders = [cell.folder for cell in cells]
    assert len({folder.lower() for folder in folders}) == len(cells) == len(rates) * len(models)
    assert all(folder.count("/") == 1 and ".." not in folder for folder in folders)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_value_reads_back_as_what_it_is(value: float) -> None:
    assert float(value_text(value)) == value


@pytest.mark.parametrize(
    ("axes", "told"),
    [
        ({}, ["nothing to sweep over"]),
        ({"epochs": (1,)}, ["nothing to sweep over"]),
        ({"epochs": (1, 1.0)}, ["--epochs names 1 twice"]),
        ({"epoch": (1, 2)}, ["no recipe field 'epoch'"]),
        ({"select_on": ("a", "b"), "name": ("a", "b")}, ["--select-on takes one value", "--name takes one value"]),
        ({"columns": (("a",), ("b",))}, ["--columns takes one setting"]),
        ({"epochs": (0, 1), "temperature": (0.1, -1)}, ["--epochs is 0.0", "--temperature is -1.0"]),
        ({"model": ("./no", "builtin:x")}, ["there is no such folder", "no such built-in model"]),
        ({"train_data": ("./no.csv", "builtin:sports/pairs:train")}, ["'./no.csv'"]),
        ({"loss": ("mnrl", "mnlr")}, ["did you mean 'mnrl'"]),
    ],
)
def test_every_problem_of_every_cell_is_told_before_anything_starts(
    axes: dict[str, tuple[object, ...]], told: list[str], tmp_path: Path
) -> None:
    runs = FakeRuns()
    with pytest.raises(RequestError) as caught:
        sweeping.sweep(RECIPE, axes, out=tmp_path / "runs", run=runs)
    assert len(caught.value.problems) == len(told)
    for problem, part in zip(caught.value.problems, told, strict=True):
        assert part in problem
    assert not runs.started
    assert not (tmp_path / "runs").exists()


def test_offline_names_what_is_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"--model org/a is on the Hub.*\n.*--model org/b"):
        sweeping.sweep(RECIPE, {"model": ("org/a", "org/b")}, offline=True, out=tmp_path, run=FakeRuns())


@pytest.mark.parametrize("error", [RunError("no", "try"), HubError("away"), MemoryError(), RequestError(["a", "b"])])
def test_a_cell_that_fails_is_told_and_the_others_go_on(error: Exception, tmp_path: Path) -> None:
    runs = FakeRuns(score, failing=lambda recipe: error if (recipe.temperature, recipe.epochs) == (0.1, 2) else None)
    made = sweeping.sweep(RECIPE, AXES, out=tmp_path, run=runs)
    assert states(made) == ["done", "done", "done", "failed", "done", "done"]
    assert str(made.cells[3].problem) == (str(error) or "out of memory: no more to be had")
    kept = json.loads((made.folder / "sweep.json").read_text(encoding="utf-8"))
    assert kept["cells"][3]["problem"] == made.cells[3].problem
    assert kept["cells"][2]["figures"]["selection"] == pytest.approx(0.801)
    assert best(made) == 2


def test_a_failed_cell_is_tried_again_on_resume(tmp_path: Path) -> None:
    runs = FakeRuns(score, failing=lambda recipe: HubError("away") if recipe.temperature == 0.1 else None)
    made = sweeping.sweep(RECIPE, {"temperature": (0.05, 0.1)}, out=tmp_path, run=runs)
    again = FakeRuns(score)
    made = sweeping.go_on(sweeping.resume(made.folder), again)
    assert states(made) == ["done", "done"]
    assert [recipe.temperature for recipe in again.started] == [0.1]
    assert made.cells[1].problem is None


def test_a_bug_is_not_taken_for_a_failed_cell(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        sweeping.sweep(RECIPE, AXES, out=tmp_path, run=FakeRuns(failing=lambda recipe: RuntimeError("a bug")))


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        sweeping.sweep(RECIPE, AXES, out=tmp_path, run=FakeRuns(score, stop=3))
    (folder,) = tmp_path.iterdir()
    made = sweeping.resume(folder)
    assert states(made) == ["done", "done", "running", "waiting", "waiting", "waiting"]
    page = (folder / "sweep.html").read_text(encoding="utf-8")
    assert "2 of 6 runs finished" in page and f"hf-simtune sweep --resume {folder.name}" in page
    folder = folder.rename(tmp_path / "moved")
    runs = FakeRuns(score)
    made = sweeping.go_on(sweeping.resume(folder), runs)
    assert states(made) == ["done"] * 6
    assert len(runs.started) == 4
    assert [path.parent.name for path in runs.resumed] == ["temperature=0.1,epochs=1"]
    whole = sweeping.sweep(RECIPE, AXES, out=tmp_path / "whole", run=FakeRuns(score))
    assert made.records == whole.records
    assert [cell.values for cell in made.cells] == [cell.values for cell in whole.cells]


def test_a_run_that_finished_before_it_was_noted_is_read_and_one_that_vanished_is_run(tmp_path: Path) -> None:
    made = sweeping.sweep(RECIPE, {"temperature": (0.05, 0.1)}, out=tmp_path, run=FakeRuns(score))
    noted = json.loads(made.json.read_text(encoding="utf-8"))
    noted["cells"][0] |= {"state": "running", "run": None}
    made.json.write_text(json.dumps(noted), encoding="utf-8")
    (made.folder / str(made.cells[1].run) / "record.json").unlink()
    runs = FakeRuns(score)
    again = sweeping.go_on(sweeping.resume(made.folder), runs)
    assert states(again) == ["done", "done"]
    assert [recipe.temperature for recipe in runs.started] == [0.1]
    assert again.records == made.records


def test_a_folder_of_a_run_that_never_began_is_passed_over(tmp_path: Path) -> None:
    made = sweeping.start(sweeping.plan(RECIPE, {"temperature": (0.05, 0.1)}), tmp_path)
    (made.folder / made.cells[0].folder / "trial-20250101-000000" / "trainer").mkdir(parents=True)
    runs = FakeRuns(score)
    made = sweeping.go_on(sweeping.resume(made.folder), runs)
    assert states(made) == ["done", "done"] and not runs.resumed


def test_resuming_another_sweep_is_refused_with_the_difference(tmp_path: Path) -> None:
    made = sweeping.sweep(RECIPE, AXES, out=tmp_path, run=FakeRuns(score))
    same = sweeping.plan(RECIPE, {"temperature": [0.05, 0.1, 0.2], "epochs": [1, 2]})
    assert states(sweeping.resume(made.folder, wanted=same)) == ["done"] * 6
    other = sweeping.plan(
        dataclasses.replace(RECIPE, batch_size=8), {"temperature": (0.05, 0.1), "epochs": (1, 2)}, offline=True
    )
    with pytest.raises(RequestError) as caught:
        sweeping.resume(made.folder, wanted=other)
    told = " / ".join(caught.value.problems)
    assert "--temperature was 0.05 0.1 0.2 and is now 0.05 0.1" in told
    assert "--batch-size was 64 and is now 8" in told
    assert "--offline was not given" in told
    assert len(caught.value.problems) == 3
    with pytest.raises(RequestError, match="it was a grid at the start"):
        sweeping.resume(made.folder, trials=3)
    with pytest.raises(RequestError, match=r"no sweep\.json"):
        sweeping.resume(tmp_path)
    made.json.write_text('{"plan": {"kind": "sw', encoding="utf-8")
    with pytest.raises(RequestError, match="cannot be read"):
        sweeping.resume(made.folder)


def test_the_plan_reads_back_as_it_was(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, columns=("a", "b"), score_range=(0.0, 5.0), train_rows=7)
    planned = sweeping.plan(recipe, AXES | {"loss": ("mnrl", "cached_mnrl")}, trials=None, origin=("x.csv", RECIPE))
    made = sweeping.start(planned, tmp_path)
    read = RunSet.open(made.folder, "sweep")
    assert (read.plan, read.cells) == (made.plan, made.cells)
    assert made.plan.differences(read.plan) == []


def test_a_cells_run_knows_the_recipe_that_the_sweep_was_started_from(tmp_path: Path) -> None:
    runs = FakeRuns(score)
    sweeping.sweep(RECIPE, {"temperature": (0.05, 0.1)}, out=tmp_path, run=runs, origin=("mnrl_minilm", RECIPE))
    assert runs.origins == [("mnrl_minilm", RECIPE)] * 2


def test_the_command_gives_the_sweep_again_and_no_path(tmp_path: Path) -> None:
    file = tmp_path / "my rows.csv"
    file.write_text("a,b\n", encoding="utf-8")
    recipe = dataclasses.replace(RECIPE, batch_size=8)
    planned = sweeping.plan(
        recipe, {"epochs": (1, 2), "train_data": (str(file), "builtin:sports/pairs:train")}, trials=2
    )
    planned = dataclasses.replace(planned, target="trial", origin=RECIPE)
    assert sweeping.command(planned) == (
        "hf-simtune sweep trial --batch-size 8 --epochs 1 2 --train-data 'my rows.csv' builtin:sports/pairs:train "
        "--trials 2"
    )


def test_an_output_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="is a file: name a folder"):
        sweeping.sweep(RECIPE, AXES, out=tmp_path / "file", run=FakeRuns())


def test_two_sweeps_in_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    made = [sweeping.start(sweeping.plan(RECIPE, AXES), tmp_path) for _ in range(3)]
    assert len({one.folder for one in made}) == 3


def test_labels_are_short() -> None:
    planned = sweeping.plan(RECIPE, {"learning_rate": (1e-5, 2e-5), "epochs": (1, 2)})
    assert label({"learning_rate": 1e-5, "epochs": 1.0}, planned) == "learning_rate=1e-05, epochs=1"


# With real runs.

SMALL = {
    "name": "small",
    "train_data": "builtin:sports/scored:train",
    "train_rows": 32,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "evaluations": 1,
    "precision": "fp32",
}
LOSSES = {"loss": ("cosent", "cosine")}


@pytest.mark.slow
def test_a_sweep_that_is_killed_between_cells_goes_on_with_the_next(tmp_path: Path) -> None:
    scored = dict(zip(("select_on", "report_on"), few_rows(tmp_path), strict=True))
    recipe = SMALL | scored | {"model": str(tiny_model(tmp_path / "tiny"))}
    code = (
        f"import sys; sys.path.insert(0, {str(CHECKOUT / 'tests')!r}); from test_sweep import LOSSES; "
        "import torch; torch.set_num_threads(1); from hf_simtune import Recipe, sweeping; "
        f"sweeping.sweep(Recipe(**{recipe!r}), LOSSES, out={str(tmp_path / 'killed')!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT, stderr=subprocess.DEVNULL, env=os.environ)
    deadline = time.monotonic() + 300
    while not (found := list(tmp_path.glob("killed/*/cells/loss=cosent/*/record.json"))):
        assert process.poll() is None, "the sweep ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder, first = found[0].parents[3], found[0].read_bytes()
    made = sweeping.go_on(sweeping.resume(folder))
    assert states(made) == ["done", "done"]
    assert found[0].read_bytes() == first
    assert [record.training.loss for _, record in sorted(made.records.items())] == ["cosent", "cosine"]
    assert len(list(folder.glob("cells/*/*/record.json"))) == 2
    for index, record in made.records.items():
        run = folder / str(made.cells[index].run)
        assert RunRecord.load(run / "record.json") == record
        assert (run / "model" / "model.safetensors").is_file()
        assert f"--loss {record.training.loss}" in record.command
    assert math.isfinite(figures(made.records[0]).selection or math.nan)
    assert str(tmp_path) not in (folder / "sweep.html").read_text(encoding="utf-8")
