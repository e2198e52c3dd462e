from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_simtune.errors import RequestError
from hf_simtune.evaluation.groups import connected_groups

SHARED = Path(__file__).resolve().parents[2] / "shared"
pairs = st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.sampled_from("abcdefghijkl")), max_size=25)


def by_merging(rows: list[tuple[str, str]]) -> list[int]:
    """The textbook way: relabel until no row agrees with a row of another group."""
    labels = list(range(len(rows)))
    changed = True
    while changed:
        changed = False
        for i, left in enumerate(rows):
            for j, right in enumerate(rows[:i]):
                if labels[i] != labels[j] and set(left) & set(right):
                    old, new = max(labels[i], labels[j]), min(labels[i], labels[j])
                    labels = [new if label == old else label for label in labels]
                    changed = True
    return [sorted(set(labels)).index(label) for label in labels]


@given(pairs)
@settings(max_examples=150, deadline=None)
def test_groups_are_those_of_repeated_merging(rows):
    labels = connected_groups([left for left, _ in rows], [right for _, right in rows])
    assert labels.tolist() == by_merging(rows)


def test_rows_chain_through_either_side_and_labels_follow_first_appearance():
    labels = connected_groups(["x", "a", "q", "c", "b"], ["y", "b", "q", "b", "d"])
    assert labels.tolist() == [0, 1, 2, 1, 1]
    assert labels.dtype == np.int64


def test_case_and_outer_white_space_do_not_make_a_sentence_another():
    assert connected_groups(["A dog runs.", "x"], ["y", " a DOG runs.\n"]).tolist() == [0, 0]
    assert connected_groups(["A dog runs.", "x"], ["y", "A dog ran."]).tolist() == [0, 1]


def test_no_rows_give_no_groups():
    labels = connected_groups([], [])
    assert labels.shape == (0,)
    assert labels.dtype == np.int64


def test_unequal_sides_are_refused():
    with pytest.raises(RequestError, match="sentence1 has 2 rows and sentence2 1"):
        connected_groups(["a", "b"], ["c"])


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real STSb in ../shared")
def test_the_sts_benchmark_test_set_falls_into_1179_groups():
    from pyarrow import parquet

    folder = SHARED / "hub" / "datasets" / "sentence-transformers" / "stsb" / "data"
    table = parquet.read_table(folder / "test-00000-of-00001.parquet")
    labels = connected_groups(table["sentence1"].to_pylist(), table["sentence2"].to_pylist())
    sizes = np.bincount(labels)
    assert (len(labels), len(sizes), sizes.max()) == (1379, 1179, 25)
