"""Figures read the same wherever they are shown."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_simtune import wording


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0125, "+1.25"),
        (-0.0125, "-1.25"),
        (0.0, "0.00"),
        (-0.0, "0.00"),
        (1e-15, "0.00"),
        (-1e-15, "0.00"),
        (0.00002, "+0.002"),
        (-0.00001, "-0.001"),
        (1.0, "+100.00"),
        (None, "undefined"),
        (math.nan, "undefined"),
    ],
)
def test_a_difference_shows_its_sign_and_is_only_zero_when_it_is(value: float | None, text: str) -> None:
    assert wording.signed(value) == text
    assert wording.points(value) == text.removeprefix("+")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "p < 0.001"),
        (1 / 10_001, "p < 0.001"),
        (0.0032, "p = 0.003"),
        (0.034, "p = 0.034"),
        (0.42, "p = 0.42"),
        (1.0, "p = 1.00"),
        (None, "p = undefined"),
    ],
)
def test_a_p_value_is_short_and_never_zero(value: float | None, text: str) -> None:
    assert wording.p_phrase(value) == text
    assert text.endswith(wording.p_value(value))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3.21, "3.2 s"),
        (9.96, "10 s"),
        (42.4, "42 s"),
        (59.6, "1 min 0 s"),
        (260.2, "4 min 20 s"),
        (3599.7, "1 h 0 min"),
        (3725, "1 h 2 min"),
    ],
)
def test_durations_read_like_durations(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


def test_a_noun_goes_with_its_number() -> None:
    assert [wording.count(number, "row") for number in (0, 1, 1379)] == ["0 rows", "1 row", "1,379 rows"]


@given(st.text(st.characters()))
def test_what_cannot_be_seen_is_shown_as_a_mark_and_the_rest_stays(text: str) -> None:
    shown = wording.visible(text)
    assert len(shown) == len(text)
    for before, after in zip(text, shown, strict=True):
        assert after == (before if before == "\n" or not wording.unseen(before) else "\N{REPLACEMENT CHARACTER}")
    shown.encode("utf-8")  # no lone surrogate is left


@pytest.mark.parametrize("sign", ["\x1b", "\x00", "\u202e", "\u2066", "\ud800", "\uffff", "\u2028"])
def test_marks_that_turn_or_break_what_stands_beside_them_are_unseen(sign: str) -> None:
    assert wording.visible(f"a{sign}b") == "a\N{REPLACEMENT CHARACTER}b"
