"""What the page of a run shows of single rows is what their scores say, for any scores."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from report_page import TEST, read, row_scores
from sample_record import improved

from hf_simtune import report
from hf_simtune.scores_file import RowScores


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_handful_of_rows_makes_a_page(n: int) -> None:
    page = read(report.render(improved(), [row_scores(n=n)]))
    assert f"all {n} rows" in page.text


def test_rows_without_a_similarity_are_left_out_and_counted() -> None:
    part = row_scores()
    part.tuned[3] = np.nan
    part.base[5] = np.nan
    text = read(report.render(improved(), [part])).text
    assert "all 198 rows" in text
    assert "2 rows are left out, for lack of a similarity" in text
    part.tuned[:] = np.nan
    assert "nothing to draw" in read(report.render(improved(), [part])).text


def test_both_scatter_plots_have_a_dot_a_row_on_the_same_axes() -> None:
    html = report.render(improved(), [row_scores(n=120)])
    plots = re.findall(r'<svg class="plot"[^>]*rows0-(?:base|tuned).*?</svg>', html, re.DOTALL)
    assert len(plots) == 2
    assert [plot.count("h0") for plot in plots] == [120, 120]
    axes = [re.findall(r"<text[^>]*>[^<]*</text>", plot) for plot in plots]
    assert axes[0] == axes[1]


def test_many_rows_are_sampled_the_same_way_each_time_and_the_page_says_so() -> None:
    parts = [row_scores(n=5000)]
    html = report.render(improved(), parts)
    assert html == report.render(improved(), parts)
    assert "3,000 of 5,000 rows, the same in both, drawn with a fixed seed" in read(html).text
    (dots,) = re.findall(r'<g class="dots tuned">.*?</g>', html, re.DOTALL)
    assert dots.count("<path") == 3000
    assert len(html) < 400_000


def test_movers_are_the_rows_whose_distance_to_their_place_by_gold_changed_most() -> None:
    def values(*numbers: float) -> NDArray[np.float64]:
        return np.array(numbers)

    part = RowScores(
        TEST,
        "report",
        np.array([10, 11, 12, 13]),
        np.arange(4),
        gold=values(0.1, 0.2, 0.3, 0.4),
        base=values(0.9, 0.2, 0.3, 0.4),  # row 10 is last, the others move up one place
        tuned=values(0.1, 0.2, 0.4, 0.3),  # rows 12 and 13 have changed places
    )
    better, worse = report.movers(part, 8)
    assert [(m.row, m.before, m.after) for m in better] == [(10, 3.0, 0.0), (11, 1.0, 0.0)]
    assert worse == []
    better, worse = report.movers(dataclasses.replace(part, base=part.tuned, tuned=part.base), 1)
    assert better == []
    assert [(m.row, m.before, m.after) for m in worse] == [(10, 0.0, 3.0)]


def test_texts_are_shown_only_when_given_and_only_for_rows_that_moved() -> None:
    part = row_scores()
    texts = {(TEST, row): (f"first <b>{row}</b>", f"second & {row}") for row in range(200)}
    better, worse = report.movers(part, 8)
    html = report.render(improved(), [part], texts=texts)
    read(html)
    assert html.count("first &lt;b&gt;") == len(better) + len(worse)
    assert f"first &lt;b&gt;{better[0].row}&lt;/b&gt;" in html
    assert "mind their terms" in html
    assert "mind their terms" not in report.render(improved(), [part])


@settings(deadline=None, max_examples=25)
@given(
    rows=st.lists(st.tuples(st.floats(0, 1), *[st.floats(-1, 1) | st.just(float("nan"))] * 2), min_size=1, max_size=25)
)
def test_any_similarities_make_a_page(rows: list[tuple[float, float, float]]) -> None:
    gold, base, tuned = (np.array(column) for column in zip(*rows, strict=True))
    part = RowScores(TEST, "report", np.arange(len(rows)), np.arange(len(rows)), gold, base, tuned)
    read(report.render(improved(), [part]))
