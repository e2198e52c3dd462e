from __future__ import annotations

import dataclasses
import random
import sys
from pathlib import Path
from statistics import fmean

import pytest
from fake_runs import RECIPE, FakeRuns, score, states

from hf_simtune import search, sweeping
from hf_simtune.errors import RequestError, RunError
from hf_simtune.run_set import RunSet

GRID = {"temperature": (0.02, 0.05, 0.1, 0.2, 0.4, 0.8), "epochs": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)}


def searched(tmp_path: Path, name: str, trials: int, seed: int = 42, stop: int | None = None) -> RunSet:
    pytest.importorskip("optuna", reason="needs the extra 'search'")
    recipe = dataclasses.replace(RECIPE, seed=seed)
    return sweeping.sweep(recipe, GRID, trials=trials, out=tmp_path / name, run=FakeRuns(score, stop=stop))


def test_a_search_runs_as_many_different_cells_as_it_was_told(tmp_path: Path) -> None:
    made = searched(tmp_path, "a", 12)
    assert states(made) == ["done"] * 12
    assert len({tuple(cell.values.items()) for cell in made.cells}) == 12
    assert [cell.values for cell in searched(tmp_path, "b", 12).cells] == [cell.values for cell in made.cells]
    assert [cell.values for cell in searched(tmp_path, "c", 12, seed=1).cells] != [cell.values for cell in made.cells]


def test_a_search_that_was_interrupted_or_prolonged_makes_the_same_choices(tmp_path: Path) -> None:
    whole = searched(tmp_path, "whole", 10)
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, "cut", 7, stop=6)
    (folder,) = (tmp_path / "cut").iterdir()
    made = sweeping.go_on(sweeping.resume(folder), FakeRuns(score))
    assert len(made.cells) == 7
    made = sweeping.go_on(sweeping.resume(folder, trials=10), FakeRuns(score))
    assert [cell.values for cell in made.cells] == [cell.values for cell in whole.cells]
    assert made.records == whole.records
    with pytest.raises(RequestError, match="it may only grow"):
        sweeping.resume(folder, trials=3)
    with pytest.raises(RequestError, match="leave it out to run them all"):
        sweeping.resume(folder, trials=36)


def test_a_failed_cell_counts_as_a_trial_and_is_not_asked_for_again(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="needs the extra 'search'")
    runs = FakeRuns(score, failing=lambda recipe: RunError("no") if recipe.epochs > 3 else None)
    made = sweeping.sweep(RECIPE, GRID, trials=20, out=tmp_path, run=runs)
    assert len(runs.started) == len({(r.temperature, r.epochs) for r in runs.started}) == 20
    assert "failed" in states(made)
    again = FakeRuns(score)
    sweeping.go_on(sweeping.resume(made.folder), again)
    assert not again.started


def test_a_search_does_better_than_drawing_at_random() -> None:
    pytest.importorskip("optuna", reason="needs the extra 'search'")
    places = {"x": tuple(range(8)), "y": tuple(range(8))}

    def value(cell: dict[str, int]) -> float:
        return -abs(cell["x"] - 5) - abs(cell["y"] - 2)

    found, drawn = [], []
    for seed in range(6):
        tried: list[dict[str, int]] = []
        scores: dict[int, float] = {}
        for number in range(20):
            tried.append(search.next_values(places, tried, scores, seed))
            scores[number] = value(tried[-1])
        found.append(fmean(sorted(scores.values())[-10:]))
        cells = [{"x": x, "y": y} for x in places["x"] for y in places["y"]]
        drawn.append(fmean(sorted(map(value, random.Random(seed).sample(cells, 20)))[-10:]))
    assert fmean(found) > fmean(drawn) + 0.1, (fmean(found), fmean(drawn))


def test_the_search_draws_what_is_left_and_says_when_nothing_is() -> None:
    pytest.importorskip("optuna", reason="needs the extra 'search'")
    places = {"x": (1, 2), "y": ("a", "b")}
    tried: list[dict[str, object]] = []
    for number in range(4):
        tried.append(search.next_values(places, tried, dict.fromkeys(range(number), 0.0), 0))
    assert len({tuple(cell.values()) for cell in tried}) == 4
    with pytest.raises(RequestError, match="every cell"):
        search.next_values(places, tried, {}, 0)


def test_without_optuna_the_way_to_get_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RequestError, match=r"pip install 'hf-simtune\[search\]'"):
        search.next_values({"x": (1, 2)}, [], {}, 0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"pip install 'hf-simtune\[search\]'"):
        sweeping.sweep(RECIPE, GRID, trials=3, out=tmp_path / "runs", run=FakeRuns())
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("trials", "told"), [(0, "1 or more"), (-2, "1 or more"), (36, "leave it out"), (99, "36 cells")]
)
def test_a_number_of_trials_that_makes_no_search_is_refused(trials: int, told: str) -> None:
    assert any(told in problem for problem in search.problems(trials, 36))
