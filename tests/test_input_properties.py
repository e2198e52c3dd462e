"""Some hundreds of the cases of tests/input_torture.py, always the same ones."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile_files
import hostile_recipes
import hostile_texts
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from hf_simtune.errors import RunError
from hf_simtune.lora import LoRA

LIMITS = {"deadline": None, "derandomize": True, "phases": [Phase.generate], "suppress_health_check": list(HealthCheck)}


def ended(strategy: Any, check: Callable[[Any, Path], str], examples: int) -> set[str]:
    """How the cases of a strategy ended; whatever they raise is raised here."""
    found = set()
    with tempfile.TemporaryDirectory() as folder:

        @settings(max_examples=examples, **LIMITS)
        @given(strategy)
        def one(case: Any) -> None:
            found.add(check(case, Path(folder)))

        one()
    return found


@pytest.mark.parametrize(
    "kind",
    [
        hostile_files.csv_files,
        hostile_files.bare_csv_files,
        hostile_files.line_files,
        hostile_files.json_files,
        hostile_files.parquet_files,
        hostile_files.odd_files,
    ],
)
def test_a_file_gives_its_rows_or_a_sentence_with_the_place(kind: Any) -> None:
    assert ended(kind(), hostile_files.check, 120) >= {"result", "DataError"}


def test_a_recipe_is_in_order_or_what_is_wrong_with_it_is_named() -> None:
    found = ended(hostile_recipes.cases(tuned=0), hostile_recipes.check, 100)
    assert found >= {"shown", "RequestError", "usage: exit 2"}


@pytest.mark.parametrize(
    ("kind", "given", "end"),
    [
        ("fitting", {"epochs": 5e-324, "learning_rate": 100.0, "lora": LoRA(r=1, alpha=1_000_000)}, "tuned"),
        ("fitting", {"epochs": 100_000.0, "patience": 0}, "stopped"),
        ("fitting", {"batch_size": 1_000_000}, "RequestError when tuned"),
        ("words", [("temperature", ["1e-06"]), ("evaluations", ["1000000"])], "tuned"),
    ],
)
def test_a_recipe_in_order_is_tuned_or_stopped_or_told(
    kind: str, given: Any, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if end == "stopped":
        monkeypatch.setattr(hostile_recipes, "PATIENCE", 1.5)
    case = hostile_recipes.Case(kind, given, rows="scored", tuned=True)
    assert hostile_recipes.check(case, tmp_path) == end


def test_a_place_is_in_the_problem_and_not_any_flag() -> None:
    for told in (
        "rows.csv, line 3, column 'a': null",
        "rows.csv is UTF-16",
        "--columns names 2 columns; pairs takes 1",
    ):
        assert hostile_files.placed(told, "rows.csv", ["columns"])
    for told in ("rows.csv is no good", "line 3, column 'a': null", "--shape pairs is no good"):
        assert not hostile_files.placed(told, "rows.csv", ["columns"])


def test_adapters_that_do_not_fit_are_told(folder: Path) -> None:
    from hf_simtune import adapters, models

    model, _ = models.load(str(folder))
    with pytest.raises(RunError, match=r"--lora r=1000000000000: out of memory: .* on 12 layers do not fit"):
        adapters.attach(model, LoRA(r=10**12), 0)


def test_a_text_is_scored_or_refused_and_no_row_is_lost() -> None:
    assert ended(hostile_texts.cases(tuned=0), hostile_texts.check, 30) >= {"result", "DataError"}
    case = hostile_texts.Case("tune", "dense", tuple((text, f"{text} x", 0.5) for text in hostile_texts.TEXTS))
    with tempfile.TemporaryDirectory() as folder:
        assert hostile_texts.check(case, Path(folder)) in ("result", "RequestError", "DataError")
