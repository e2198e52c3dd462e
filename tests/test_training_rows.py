"""What the trainer is given: a sentence beside itself without a copy, other rows without what is not learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import Write
from datasets import Dataset

from hf_simtune.data.training import training_rows
from hf_simtune.errors import RequestError


def test_a_sentence_is_its_own_positive_in_the_order_of_the_rows_that_are_left(
    write: Write, get: Callable[..., Any]
) -> None:
    texts = [f"sentence number {n}" for n in range(50)]
    loaded = get(write("lines.txt", "\n".join(texts))).dataset
    for rows, expected in (
        (loaded, texts),
        (loaded.select([7, 3, 40]), [texts[7], texts[3], texts[40]]),
        (loaded.select([7, 3, 40]).select([2, 0]), [texts[40], texts[7]]),
        (loaded.select([]), []),
        (loaded.select(range(5, 8)), texts[5:8]),
    ):
        made = training_rows(rows, "sentences")
        assert made.column_names == ["anchor", "positive"]
        assert made["anchor"][:] == made["positive"][:] == expected
        assert [line["anchor"] for line in made] == expected


def test_no_text_is_copied(write: Write, get: Callable[..., Any], tmp_path: Path) -> None:
    lines = "".join(f"a sentence of some length, with the number {n}\n" for n in range(200_000))
    rows = get(write("lines.txt", lines)).dataset.select(range(199_999, 0, -1))
    files = sorted(tmp_path.rglob("*"))
    before = pa.total_allocated_bytes()
    made = training_rows(rows, "sentences")
    assert pa.total_allocated_bytes() - before < 5_000_000  # the choice of rows, and no 10 MB of text twice
    assert sorted(tmp_path.rglob("*")) == files
    assert made[0] == {"anchor": rows[0]["sentence"], "positive": rows[0]["sentence"]}


def test_other_shapes_lose_what_is_not_learned() -> None:
    rows = Dataset.from_dict(
        {"sentence1": ["a"], "sentence2": ["b"], "score": [0.5], "row": [3], "group": [1], "subset": ["x"]}
    )
    assert training_rows(rows, "scored").column_names == ["sentence1", "sentence2", "score"]
    triplets = Dataset.from_dict({"anchor": ["a"], "positive": ["b"], "negative": ["c"], "row": [0]})
    assert training_rows(triplets, "triplets").column_names == ["anchor", "positive", "negative"]


def test_sentences_without_their_column_are_refused() -> None:
    with pytest.raises(RequestError, match="no column sentence among text, row"):
        training_rows(Dataset.from_dict({"text": ["a"], "row": [0]}), "sentences")
