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
    assert ended(hostile_recipes.cases(), hostile_recipes.check, 80) >= {"result", "RequestError"}


def test_a_text_is_scored_or_refused_and_no_row_is_lost() -> None:
    assert ended(hostile_texts.cases(tuned=0), hostile_texts.check, 30) >= {"result", "DataError"}
    case = hostile_texts.Case("tune", "dense", tuple((text, f"{text} x", 0.5) for text in hostile_texts.TEXTS))
    with tempfile.TemporaryDirectory() as folder:
        assert hostile_texts.check(case, Path(folder)) in ("result", "RequestError", "DataError")
