"""The page of a run states what the record holds, for every kind of run, and cannot be broken by what it shows."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sample_record import improved, no_evidence, with_text

from hf_simtune import report, report_text
from hf_simtune.evaluation.compare import power_sentence
from hf_simtune.plots import Axis
from hf_simtune.record import Checkpoint, Evaluation, RunRecord
from hf_simtune.scores_file import RowScores

HOSTILE = "<script>alert(1)</script>{{7*7}}{% raw %}\x1b[31m\x00\x9b\u202e\"'&<!--]]></title></style>\ud800"
VOID = {"meta", "wbr"}
TEST, DEV = "sentence-transformers/stsb:test", "sentence-transformers/stsb:validation"


def row_scores(evaluation: str = TEST, role: str = "report", n: int = 200, seed: int = 7) -> RowScores:
    rng = np.random.default_rng(seed)
    gold = np.round(rng.uniform(0, 5, n) * 5) / 25
    noise = rng.normal(0, 0.16, n)
    base = np.clip(0.1 + 0.8 * gold + noise, -1, 1)
    tuned = np.clip(0.05 + 0.9 * gold + 0.6 * noise + rng.normal(0, 0.07, n), -1, 1)
    return RowScores(evaluation, role, np.arange(n), np.arange(n) // 2, gold, base, tuned)


def both(n: int = 200) -> list[RowScores]:
    return [row_scores(n=n), row_scores(DEV, "select", n, 8)]


def with_report(record: RunRecord, **changes: Any) -> RunRecord:
    first, *rest = record.evaluations
    return dataclasses.replace(record, evaluations=(dataclasses.replace(first, **changes), *rest))


def compared(record: RunRecord, **changes: Any) -> RunRecord:
    assert record.report.comparison
    return with_report(record, comparison=dataclasses.replace(record.report.comparison, **changes))


class Page(HTMLParser):
    """Reads a page strictly: every element is closed in order, every id is there once."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.within: dict[str, list[str]] = {}
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []
        ids = [attributes["id"] for _, attributes in self.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        named = {name for _, a in self.tags for name in (a.get("aria-labelledby") or "").split()}
        assert named <= set(ids)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        for outer in self.open[:-1]:
            self.within.setdefault(outer, []).append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("td", "th", "dt", "dd", "b", "p", "small", "caption"):
            self.words.append(" ")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "desc", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r" ([.,:])", r"\1", " ".join("".join(self.words).split()))


def read(html: str) -> Page:
    """The page, after the checks that hold for every page."""
    assert "<script" not in html.lower()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html)
    assert not re.search(r"\b(nan|None|inf|Undefined)\b", html)
    html.encode("utf-8")
    page = Page(html)
    loads = {"src", "href", "xlink:href", "action", "srcset", "data", "poster", "style"}
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "img", "iframe", "object", "embed", "form", "base", "image", "use"}
        assert not [name for name in attributes if name in loads or name.startswith("on")]
    assert "url(" not in html
    assert "@import" not in html
    return page


def test_the_headline_is_the_verdict_with_its_gain_and_interval() -> None:
    comparison = improved().report.comparison
    assert comparison
    text = read(report.render(improved(), both())).text
    assert "Improved by 2.25 points" in text
    assert f"{TEST} went from 70.00 to 72.25: +2.25 points (95 % interval +1.31 to +3.19, p < 0.001)." in text
    assert "1,379 rows in 1,179 groups" in text
    assert "10,000 resamples, seed 42." in text
    assert "this run selected nothing on them" in text
    assert power_sentence(comparison) in text
    assert "400 more labelled rows would bring that to 1.18." in text


@pytest.mark.parametrize(
    ("verdict", "words", "shape"),
    [
        ("improved", "Improved by", "an arrow up in a disc"),
        ("no evidence", "No evidence of a change", "a bar in a ring"),
        ("regressed", "Regressed by 1.00 points", "an arrow down in a square"),
    ],
)
def test_each_verdict_has_words_and_a_shape_of_its_own_beside_its_colour(verdict: str, words: str, shape: str) -> None:
    changes = {"difference": -0.01, "low": -0.02, "high": -0.003} if verdict == "regressed" else {}
    html = report.render(compared(improved(), verdict=verdict, **changes), both())
    assert words in read(html).text
    assert shape in html
    assert f'<div class="headline {verdict.replace(" ", "-")}">' in html


def test_the_table_has_every_evaluation_and_subset_and_no_verdict_for_rows_that_selected() -> None:
    text = read(report.render(improved(), both())).text
    assert f"{TEST} the verdict 1,379 rows 70.00 72.25 +2.25 +1.31 to +3.19" in text
    assert "main-captions 625 rows 75.00 77.00 +2.00" in text
    assert "main-news 500 rows 68.00 undefined undefined the tuned model's similarities are constant" in text
    assert f"{DEV} chose the checkpoint, so no verdict 1,500 rows 76.00 78.40 +2.40 no interval" in text


def test_a_run_that_kept_the_base_says_so() -> None:
    record = no_evidence()
    parts = [row_scores(e.source.title, e.role, e.base.n) for e in record.evaluations]
    parts = [dataclasses.replace(part, tuned=part.base) for part in parts]
    text = read(report.render(record, parts)).text
    assert "No evidence: the base was kept" in text
    assert "model/ holds the base" in text
    assert "Nothing was resampled: the two models give the same similarities." in text
    assert "Chosen: the base itself" in text
    assert "No row changed its place in the order." in text


def test_offline_scores_are_labelled_and_others_are_not() -> None:
    label = "Scores are on the built-in sports corpus and never stand for STSb."
    assert f"Offline run. {label}" in read(report.render(no_evidence(), [])).text
    assert label not in read(report.render(improved(), both())).text
    record = improved()
    source = dataclasses.replace(record.report.source, name="builtin:sports", kind="builtin")
    assert f"Built-in data. {label}" in read(report.render(with_report(record, source=source), both())).text


def test_an_undefined_score_is_called_undefined_and_its_reason_given() -> None:
    reason = "the tuned model's similarities are constant"
    record = improved()
    tuned = dataclasses.replace(record.report.tuned, spearman=None, pearson=None, undefined=reason)
    nothing = dict.fromkeys(("tuned", "difference", "low", "high", "p", "detectable"))
    record = compared(
        with_report(record, tuned=tuned, subsets=()), **nothing, reason=reason, resamples=0, verdict="no evidence"
    )
    part = row_scores()
    constant = dataclasses.replace(part, tuned=np.full(len(part), 0.95))
    text = read(report.render(record, [constant, both()[1]])).text
    assert "No evidence: no comparison could be made" in text
    assert f"Base 70.00, tuned undefined on {TEST}: {reason}." in text
    assert f"70.00 undefined undefined {reason}" in text
    assert f"No row can be said to have moved: {reason}." in text
    assert " 0.00 " not in text.split("Row by row")[0]


def test_a_difference_without_an_interval_is_shown_as_such() -> None:
    reason = "8 rows in 4 groups of connected rows: it takes 10 groups to resample"
    changes = dict.fromkeys(("low", "high", "p", "detectable"))
    record = compared(improved(), **changes, reason=reason, resamples=0, verdict="no evidence", n=8, groups=4)
    text = read(report.render(record, [row_scores(n=8)])).text
    assert "No evidence of a change" in text
    assert "+2.25 points." in text
    assert f"Nothing was resampled: {reason}." in text


@pytest.mark.parametrize("kept", [0, 1])
def test_a_record_without_a_comparison_or_without_report_rows_still_makes_a_page(kept: int) -> None:
    record = improved()
    evaluations = (dataclasses.replace(record.report, comparison=None), *record.evaluations[1:])
    text = read(report.render(dataclasses.replace(record, evaluations=evaluations[1 - kept :]), both())).text
    assert "No evidence: no comparison could be made" in text
    assert ("were not compared on" if kept else "No rows were kept for a verdict") in text


def test_missing_row_scores_are_said_to_be_missing() -> None:
    assert read(report.render(improved(), [])).text.count("so there is nothing to draw") == 2


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


def test_hostile_names_and_texts_are_shown_and_do_nothing() -> None:
    record = with_text(HOSTILE)
    title = record.report.source.title
    parts = [row_scores(title, "report"), row_scores(title, "select", seed=9)]
    texts = {(title, row): (HOSTILE, HOSTILE) for row in range(200)}
    page = read(report.render(record, parts, texts=texts))
    assert "<script>alert(1)</script>{{7*7}}{% raw %}" in page.text
    assert "49" not in [word for word in page.text.split() if "7*7" in word]
    assert "No evidence: no comparison could be made" in page.text  # whatever else the record claims
    assert page.tags[0][0] == "html"
    assert [tag for tag, _ in page.tags].count("title") == 1 + [tag for tag, _ in page.tags].count("svg")


@settings(deadline=None, max_examples=15)
@given(text=st.text(st.characters(), min_size=1, max_size=40))
def test_any_text_at_all_leaves_a_well_formed_page(text: str) -> None:
    record = with_text(text)
    html = report.render(record, [row_scores(record.report.source.title, "report", 20)])
    page = Page(html)
    html.encode("utf-8")
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "link"})
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", html)


@settings(deadline=None, max_examples=25)
@given(
    rows=st.lists(st.tuples(st.floats(0, 1), *[st.floats(-1, 1) | st.just(float("nan"))] * 2), min_size=1, max_size=25)
)
def test_any_similarities_make_a_page(rows: list[tuple[float, float, float]]) -> None:
    gold, base, tuned = (np.array(column) for column in zip(*rows, strict=True))
    part = RowScores(TEST, "report", np.arange(len(rows)), np.arange(len(rows)), gold, base, tuned)
    read(report.render(improved(), [part]))


def test_the_curve_starts_at_the_base_marks_the_chosen_step_and_breaks_where_a_score_is_missing() -> None:
    record = improved()
    points = (
        Checkpoint(step=0, epoch=0, spearman=0.8),
        Checkpoint(step=10, epoch=0.5, spearman=None, loss=0.4),
        Checkpoint(step=20, epoch=1, spearman=0.82, loss=0.3),
        Checkpoint(step=30, epoch=1.5, spearman=0.81, loss=0.25),
    )
    html = report.render(
        dataclasses.replace(record, training=dataclasses.replace(record.training, checkpoints=points, best_step=20)), []
    )
    (plot,) = re.findall(r'<svg class="plot"[^>]*curve-t.*?</svg>', html, re.DOTALL)
    lines = re.findall(r'<path class="line tuned" d="([^"]*)"', plot)
    assert [line.count("L") for line in lines] == [0, 1]
    assert plot.count('class="chosen"') == 1
    assert plot.count('class="level"') == 1
    assert "the base, at step 0, has 80.00" in plot
    assert "20 chosen 1.00 82.00 0.3" in read(html).text
    assert "10 0.50 undefined 0.4" in read(html).text


def test_a_run_without_scores_or_losses_by_step_says_so() -> None:
    record = improved()
    training = dataclasses.replace(
        record.training, checkpoints=(Checkpoint(step=0, epoch=0, spearman=None),), best_step=0, final_loss=None
    )
    text = read(report.render(dataclasses.replace(record, training=training), [])).text
    assert "No checkpoint has a defined score." in text
    assert "No loss was recorded." in text


def test_provenance_leakage_and_the_making_are_all_on_the_page() -> None:
    record = improved()
    text = read(report.render(record, both())).text
    assert "local copy of a Hub repository" in text
    assert "dropped 3 rows: empty text" in text
    assert "dropped 1 row: wrong number of texts" in text
    assert "revision " + "ab" * 20 in text
    assert "training rows taken out 12 0" in text
    assert "training row = evaluation row, the first few: 4021 = 17, 70210 = 903." in text
    assert "the base has seen them before" in text
    assert record.command in text
    assert record.base.weights_sha256 in text
    for name, version in record.machine.versions.items():
        assert f"{name} {version}" in text
    for name in record.recipe.keys() - {"name", "title"}:
        assert name in text


def test_every_figure_has_a_title_and_a_description_and_every_table_a_caption_and_headers() -> None:
    page = read(report.render(improved(), both()))
    names = [tag for tag, _ in page.tags]
    figures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(figures) == 1 + 2 + 2 * 3 + 2
    assert all(a["role"] == "img" and len((a["aria-labelledby"] or "").split()) == 2 for a in figures)
    assert page.within["svg"].count("desc") == page.within["svg"].count("title") == len(figures)
    assert page.within["table"].count("caption") == names.count("table") > 5
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    assert names.count("h1") == 1


def test_colours_can_be_told_from_the_page_in_both_schemes() -> None:
    html = report.render(improved(), [])
    blocks = re.findall(r":root \{([^}]*)\}", html)
    light, dark, paper = (dict(re.findall(r"--(\w+): (#\w+)", block)) for block in blocks)
    for scheme in (light, dark, light | paper):
        for name in ("text", "quiet", "good", "bad"):
            for ground in ("page", "panel"):
                assert contrast(scheme[name], scheme[ground]) >= 4.5, (name, ground)
        for name in ("base", "tuned", "level"):
            assert contrast(scheme[name], scheme["page"]) >= 3, name


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.2, 1..21."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0125, "+1.25"),
        (-0.0125, "\N{MINUS SIGN}1.25"),
        (0.00003, "+0.003"),
        (-0.0, "0.00"),
        (-0.00001, "\N{MINUS SIGN}0.001"),
        (1e-15, "0.00"),
        (0.0, "0.00"),
        (None, "undefined"),
        (float("nan"), "undefined"),
    ],
)
def test_a_difference_keeps_its_sign_and_a_missing_one_is_named(value: float | None, text: str) -> None:
    assert report_text.signed(value) == text


def test_only_the_minus_of_a_number_is_set_as_one() -> None:
    text = "-0.25 to -1.00 on all-MiniLM-L6-v2, 2026-11-20"
    assert report_text.minus(text) == "\N{MINUS SIGN}0.25 to \N{MINUS SIGN}1.00 on all-MiniLM-L6-v2, 2026-11-20"


def test_the_interval_of_a_loss_has_the_pages_minus() -> None:
    record = compared(improved(), verdict="regressed", difference=-0.02, low=-0.03, high=-0.01)
    text = read(report.render(record, both())).text
    assert "\N{MINUS SIGN}2.00 points (95 % interval \N{MINUS SIGN}3.00 to \N{MINUS SIGN}1.00, p < 0.001)." in text


def test_the_times_of_a_run_that_was_taken_up_again_are_those_of_its_last_start() -> None:
    record = improved()
    assert "last start" not in report.render(record, both())
    again = dataclasses.replace(record, training=dataclasses.replace(record.training, resumed=2))
    text = read(report.render(again, both())).text
    assert "in 45 min 12 s (the last start only)." in text
    assert "Time of the last start only" in text


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


def test_an_evaluation_of_an_unknown_role_is_shown_under_its_own_name() -> None:
    record = improved()
    other: Evaluation = dataclasses.replace(record.evaluations[1], role="extra")
    text = read(report.render(dataclasses.replace(record, evaluations=(record.report, other)), both())).text
    assert f"{DEV} extra 1,500 rows" in text
