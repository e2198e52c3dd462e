"""What the columns of local training files rule out, before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hf_simtune.cli import main
from hf_simtune.data.columns import check_columns
from hf_simtune.data.export import sports
from hf_simtune.recipe import Recipe


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("columns")
    for shape in ("pairs", "scored", "triplets"):
        sports(str(folder / f"{shape}.csv"), shape=shape, split="train", rows=30)
    return folder


@pytest.mark.parametrize(
    ("data", "changes", "told"),
    [
        ("scored.csv", {"loss": "mnrl"}, "--loss mnrl: "),
        ("pairs.csv", {"loss": "cosent"}, "--loss cosent: "),
        ("scored.csv", {"mine_negatives": 3}, "--mine-negatives 3: "),
        ("triplets.csv", {"mine_negatives": 3}, "--mine-negatives 3: "),
        ("scored.csv", {"columns": ("a", "b", "c")}, "--train-data: "),
        ("pairs.csv", {"more_data": ("cosent={}/triplets.csv",)}, "--more-data cosent="),
    ],
)
def test_columns_that_a_loss_cannot_take_are_told(place: Path, data: str, changes: dict[str, Any], told: str) -> None:
    if "more_data" in changes:
        changes = {"more_data": tuple(str(entry).format(place) for entry in changes["more_data"])}  # type: ignore[attr-defined]
    [problem] = check_columns(Recipe(train_data=str(place / data), **changes))
    assert problem.startswith(told)
    assert Path(data).name in problem or "triplets.csv" in problem


@pytest.mark.parametrize(
    ("data", "changes"),
    [
        ("scored.csv", {"loss": "cosent"}),
        ("scored.csv", {}),
        ("pairs.csv", {"loss": "mnrl", "mine_negatives": 2}),
        ("triplets.csv", {"loss": "cached_mnrl"}),
        ("scored.csv", {"loss": "mnrl", "columns": ("sentence1", "sentence2"), "shape": "pairs"}),
        ("nowhere.csv", {"loss": "mnrl"}),
    ],
)
def test_what_fits_and_what_is_not_there_are_left_alone(place: Path, data: str, changes: dict[str, Any]) -> None:
    assert check_columns(Recipe(train_data=str(place / data), **changes)) == []


def test_a_dry_run_tells_it_with_the_rest(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tune", str(place / "scored.csv"), "--loss", "mnrl", "--epochs", "-1", "--dry-run"]
    with pytest.raises(SystemExit) as caught:
        main(argv=words)
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert "--loss mnrl: " in shown
    assert "--epochs is -1" in shown
