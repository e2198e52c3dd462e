"""Plots put what they are given where it belongs, inside their drawing, whatever it is."""

from __future__ import annotations

import itertools
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_simtune import line_plots, plots
from hf_simtune.plots import WHOLE, Axis

NUMBER = r"-?\d+(?:\.\d+)?"


def steps(*values: int) -> Axis:
    return Axis.over(values, "step", whole=True, tight=True)


def test_the_axis_holds_its_values_and_labels_its_ticks_evenly() -> None:
    axis = Axis.over([-0.21, 0.98])
    assert (axis.low, axis.high) == (-0.25, 1.0)
    assert axis.texts() == ["\N{MINUS SIGN}0.25", "0.00", "0.25", "0.50", "0.75", "1.00"]
    assert Axis.over([0, 1503], whole=True, tight=True).texts() == ["0", "500", "1,000", "1,500"]


@settings(deadline=None, max_examples=100)
@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6))
def test_an_axis_over_any_values_is_finite_and_contains_them(values: list[float]) -> None:
    axis = Axis.over(values)
    assert axis.low < axis.high
    assert all(-1e-6 <= axis.place(value, 0, 1) <= 1 + 1e-6 for value in values)
    assert 1 <= len(axis.ticks) <= 12


def test_dimensions_lie_by_their_logarithm_the_base_in_squares_and_the_tuned_in_dots() -> None:
    drawn = line_plots.by_dimension(
        "d", [(64, 60.0), (128, 65.0), (256, 70.0)], [(64, 66.0), (128, None), (256, 71.0)], "y", title="t", about="a"
    )
    squares = [float(x) + 3.5 for x in re.findall(rf'<path class="square base" d="M({NUMBER}) ', drawn)]
    assert squares == pytest.approx([46, 46 + (420 - 46 - 20) / 2, 420 - 20], abs=0.1)  # 128 is midway by its logarithm
    assert len(re.findall('class="point tuned"', drawn)) == 2
    assert [line.count("L") for line in re.findall('class="line tuned" d="([^"]*)"', drawn)] == [0, 0]
    assert all(f'text-anchor="middle">{count}</text>' in drawn for count in (64, 128, 256))


@settings(deadline=None, max_examples=60)
@given(counts=st.lists(st.integers(1, 40_000), min_size=1, max_size=20))
def test_names_of_dimensions_never_touch_and_the_highest_has_its_own(counts: list[int]) -> None:
    axis = line_plots.dimensions(counts, WHOLE)
    given_counts = sorted(set(counts))
    assert axis.ticks == tuple(math.log2(count) for count in given_counts)
    assert axis.texts()[-1] == f"{given_counts[-1]:,}"
    named = [WHOLE.x(axis, tick) for tick, name in zip(axis.ticks, axis.texts(), strict=True) if name]
    assert all(right - left >= 30 - 1e-9 for left, right in itertools.pairwise(named))
    assert all(WHOLE.left - 1e-6 <= place <= WHOLE.width - WHOLE.right + 1e-6 for place in named)


def test_marks_are_crossed_out_and_named_once_in_lines_of_their_own() -> None:
    points = [(0, 0.1), (10, 0.5), (20, None), (30, 0.95)]
    marks = [(10, "narrowing"), (20, "collapsed"), (30, "")]
    drawn = line_plots.curve(
        "c", points, steps(0, 30), "y", title="t", about="a", marks=marks, holds=(0.0, 1.0), frame=line_plots.PANEL
    )
    assert drawn.count('class="cross"') == 2  # at step 20 there is nothing to cross out
    words = re.findall(rf'<text class="found" x="({NUMBER})" y="({NUMBER})"[^>]*>([a-z]+)<', drawn)
    assert [word for _, _, word in words] == ["narrowing", "collapsed"]
    assert float(words[1][1]) - float(words[0][1]) == line_plots.ROW
    assert f'viewBox="0 0 {line_plots.PANEL.width} {line_plots.PANEL.height + 2 * line_plots.ROW}"' in drawn
    assert 'class="plot panel"' in drawn
    # The axis holds 0 and 1, so that 0.1 to 0.95 does not look like all there is.
    assert ">0.0</text>" in drawn
    assert ">1.0</text>" in drawn


def test_long_figures_get_the_room_that_they_need() -> None:
    def left(value: float) -> float:
        drawn = line_plots.curve(
            "c", [(0, 0.0), (1, value)], steps(0, 1), "y", title="t", about="a", holds=(0.0,), frame=line_plots.PANEL
        )
        return float(re.findall(rf'<path class="axis" d="M({NUMBER}) ', drawn)[0])

    assert left(1.0) == line_plots.PANEL.left
    assert left(15_000.0) >= 7 * len("15,000") + 7


@settings(deadline=None, max_examples=60)
@given(
    values=st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1, max_size=8).filter(
        lambda values: any(value is not None for value in values)
    ),
    marked=st.sets(st.integers(0, 7)),
    level=st.none() | st.floats(-1e6, 1e6),
)
def test_a_curve_of_any_values_stays_inside_its_drawing(
    values: list[float | None], marked: set[int], level: float | None
) -> None:
    points = list(enumerate(values))
    marks = [(step, f"<{step}>") for step in sorted(marked) if step < len(values)]
    drawn = line_plots.curve(
        "c", points, steps(0, len(values)), "y", title="t", about="a", level=level, marks=marks, chosen=0
    )
    height = int(re.findall(r'viewBox="0 0 420 (\d+)"', drawn)[0])
    places = re.findall(rf'class="point tuned" d="M({NUMBER}) ({NUMBER})h0"', drawn)
    assert len(places) == sum(value is not None for value in values)
    assert all(0 <= float(x) <= 420 and 0 <= float(y) <= height for x, y in places)
    assert "nan" not in drawn
    assert drawn.count("&lt;") == len(marks)


def test_a_forest_has_a_line_for_a_margin_only_where_there_is_one() -> None:
    x = Axis.over([-0.01, 0.01], tight=True)

    def drawn(margin: float | None) -> str:
        return plots.forest("f", -0.002, 0.0, 0.002, x, "no evidence", title="t", about="a", margin=margin)

    assert 'class="margin"' not in drawn(None)
    assert f'<path class="margin" d="M{6 + 168 * 0.25:.1f} 1V23"/>' in drawn(-0.005)


def test_no_two_states_of_a_verdict_have_one_sign() -> None:
    signs = {
        str(plots.verdict_mark("v", verdict)).split("</desc>")[1]
        for verdict in ("improved", "no evidence", "regressed", "no verdict")
    }
    assert len(signs) == 4
    assert "a broken ring" in plots.verdict_mark("v", "no verdict")
