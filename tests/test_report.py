"""The page of a run states what the record holds, for every kind of run, and cannot be broken by what it shows."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_page import DEV, TEST, Page, both, compared, read, row_scores, with_report
from sample_record import improved, no_evidence, with_text

from hf_simtune import report, report_text
from hf_simtune.evaluation.compare import power_sentence
from hf_simtune.record import Checkpoint, Evaluation

HOSTILE = "<script>alert(1)</script>{{7*7}}{% raw %}\x1b[31m\x00\x9b\u202e\"'&<!--]]></title></style>\ud800"


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
    probe = dataclasses.replace(record.report, role="probe", source=source)
    probed = dataclasses.replace(record, evaluations=(*record.evaluations, probe))
    assert label not in read(report.render(probed, both())).text, "a probe is not what the verdict rests on"


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


def test_an_evaluation_of_an_unknown_role_is_shown_under_its_own_name() -> None:
    record = improved()
    other: Evaluation = dataclasses.replace(record.evaluations[1], role="extra")
    text = read(report.render(dataclasses.replace(record, evaluations=(record.report, other)), both())).text
    assert f"{DEV} extra 1,500 rows" in text
