from __future__ import annotations

import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from hf_simtune.speed.cuts import cuts

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=9).map(sorted)


def price(lengths: list[int], pieces: list[tuple[int, int]], fixed: int) -> int:
    return sum(fixed + (last - first) * lengths[last - 1] for first, last in pieces)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(0, 60))
def test_the_cuts_are_the_cheapest_of_all_that_there_are(lengths: list[int], fixed: int) -> None:
    found = cuts(lengths, lambda rows, longest: fixed + rows * longest)
    best = math.inf
    for inner in itertools.chain.from_iterable(
        itertools.combinations(range(1, len(lengths)), size) for size in range(len(lengths))
    ):
        edges = [0, *inner, len(lengths)]
        best = min(best, price(lengths, list(itertools.pairwise(edges)), fixed))
    assert price(lengths, found, fixed) == best


@settings(max_examples=60, deadline=None)
@given(LENGTHS)
def test_the_pieces_follow_each_other_and_hold_every_row_once(lengths: list[int]) -> None:
    found = cuts(lengths, lambda rows, longest: 7 + rows * longest)
    assert [row for first, last in found for row in range(first, last)] == list(range(len(lengths)))
    assert all(first < last for first, last in found)
    assert all(first == 0 or lengths[first - 1] < lengths[first] for first, _ in found), "equal lengths were parted"


def test_a_cut_that_costs_nothing_is_made_at_every_length_and_one_that_costs_all_at_none() -> None:
    lengths = [1, 1, 2, 5, 5, 9]
    assert cuts(lengths, lambda rows, longest: rows * longest) == [(0, 2), (2, 3), (3, 5), (5, 6)]
    assert cuts(lengths, lambda rows, longest: 1e9 + rows * longest) == [(0, 6)]
    assert cuts([], lambda rows, longest: 1.0) == []
