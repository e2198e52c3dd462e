"""The page of several models states their comparison, and cannot be broken by a name, a text or a missing figure."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_report import HOSTILE, Page, read

from hf_simtune import comparison_report
from hf_simtune.errors import RequestError
from hf_simtune.evaluation import compare as bootstrap
from hf_simtune.evaluation import sts
from hf_simtune.evaluation.compare import Comparison
from hf_simtune.scoring import Scored

Floats = NDArray[np.float64]
DATA = "sentence-transformers/stsb:test"
NAMES = ("sentence-transformers/all-MiniLM-L6-v2", "a better one", "a worse one", "nearly the first")


def scored(model: str, gold: Floats, similarities: Floats, data: str = DATA) -> Scored:
    rows = np.arange(len(gold))
    score = sts.score(gold, similarities)
    return Scored(model, data, "7e57" * 4, score, "cosine", rows, rows // 2, gold, similarities)


def against(first: Scored, others: list[Scored]) -> list[tuple[Scored, Comparison]]:
    def compared(other: Scored) -> Comparison:
        return bootstrap.compare(first.gold, first.similarities, other.similarities, first.group, resamples=500)

    return [(other, compared(other)) for other in others]


def several(n: int = 300, data: str = DATA) -> tuple[Scored, list[tuple[Scored, Comparison]]]:
    rng = np.random.default_rng(3)
    gold = np.round(rng.uniform(0, 1, n), 2)
    noise = rng.normal(0, 0.2, n)
    found = [
        scored(name, gold, np.clip(0.8 * gold + amount * noise + rng.normal(0, own, n), -1, 1), data)
        for name, amount, own in zip(NAMES, (1, 0.4, 2.5, 1), (0.05, 0.05, 0.1, 0.052), strict=True)
    ]
    return found[0], against(found[0], found[1:])


def shown(html: str) -> Page:
    """The page, after the checks that hold for every page, and with no address in it."""
    page = read(html)
    assert "http" not in html.replace("http-equiv", "")
    return page


def figure(html: str, name: str) -> str:
    (found,) = re.findall(rf'<svg class="[^"]*"[^>]*"{name}-t .*?</svg>', html, re.DOTALL)
    return str(found)


def test_the_table_has_each_model_with_its_verdict_p_difference_and_interval() -> None:
    first, others = several()
    text = shown(comparison_report.render(first, others)).text
    assert [comparison.verdict for _, comparison in others] == ["improved", "regressed", "no evidence"]

    def minus(value: float) -> str:
        return f"{100 * value:+.2f}".replace("-", "\N{MINUS SIGN}")

    score = first.score.spearman
    assert score is not None
    assert f"1. {first.model} the first {100 * score:.2f} the others are compared with it" in text
    for index, (other, c) in enumerate(others, 2):
        assert None not in (c.tuned, c.difference, c.low, c.high, c.p)
        p = f"{c.p:.3f}" if c.p and c.p < 0.1 else f"{c.p:.2f}"
        line = f"{index}. {other.model} {c.verdict} {100 * (c.tuned or 0):.2f} {p} {minus(c.difference or 0)} "
        assert line + f"{minus(c.low or 0)} to {minus(c.high or 0)}" in text


def test_the_page_has_its_parts_in_order_each_figure_a_description_and_each_table_a_caption() -> None:
    first, others = several()
    html = comparison_report.render(first, others)
    page = shown(html)
    sections = [a["aria-labelledby"] for tag, a in page.tags if tag == "section"]
    assert sections == ["scores", "similarities-shown", "against-gold", "rows-apart", "data"]
    names = [tag for tag, _ in page.tags]
    figures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(figures) == len(others) + 1 + (len(others) + 1)  # differences, similarities, gold against each
    assert all(a["role"] == "img" and len((a["aria-labelledby"] or "").split()) == 2 for a in figures)
    assert page.within["svg"].count("desc") == page.within["svg"].count("title") == len(figures)
    assert page.within["table"].count("caption") == names.count("table") == 2 + 2 * len(others)
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    assert names.count("h1") == 1
    assert html == comparison_report.render(first, others)


def test_data_are_named_with_their_number_groups_and_fingerprint() -> None:
    first, others = several()
    text = shown(comparison_report.render(first, others)).text
    assert (
        f"rows {DATA} number 300 groups of connected rows 150 fingerprint {first.fingerprint} similarity cosine" in text
    )
    assert "Paired bootstrap over the groups against the first model, 500 resamples, seed 0." in text
    assert "not adjusted for the 3 comparisons" in text
    assert "selected on these rows" in text
    assert "not recorded" in shown(comparison_report.render(dataclasses.replace(first, fingerprint=""), others)).text


@pytest.mark.parametrize(
    ("which", "words", "shape"),
    [
        (0, "Better than the first by", "an arrow up in a disc"),
        (1, "Worse than the first by", "an arrow down in a square"),
        (2, "No evidence of a difference", "a bar in a ring"),
    ],
)
def test_one_other_model_has_its_verdict_as_the_headline(which: int, words: str, shape: str) -> None:
    first, others = several()
    html = comparison_report.render(first, [others[which]])
    assert f'<div class="headline {others[which][1].verdict.replace(" ", "-")}">' in html
    assert words in shown(html).text
    assert shape in html
    assert "not adjusted" not in html


def test_several_models_are_counted_by_verdict_in_the_headline() -> None:
    first, others = several()
    text = shown(comparison_report.render(first, others)).text
    assert "3 models against the first: 1 better, 1 worse, 1 without evidence of a difference" in text
    text = shown(comparison_report.render(first, [others[0], others[0]])).text
    assert "2 models against the first: 2 better " in text


def test_built_in_data_never_pass_for_others() -> None:
    label = "never stand for STSb"
    assert label in shown(comparison_report.render(*several(data="builtin:sports/scored:test"))).text
    assert label not in shown(comparison_report.render(*several())).text


def test_differences_lie_on_one_scale_which_the_page_names() -> None:
    first, others = several()
    html = comparison_report.render(first, others)
    comparisons = [c for _, c in others]
    low = min(c.low for c in comparisons if c.low is not None)
    high = max(c.high for c in comparisons if c.high is not None)
    assert f"from \N{MINUS SIGN}{-100 * low:.2f} to +{100 * high:.2f} points" in shown(html).text
    for index, c in enumerate(comparisons, 1):
        (left,) = re.findall(r'<rect x="([\d.]+)"', figure(html, f"forest{index}"))
        assert c.difference is not None
        assert float(left) + 4.5 == pytest.approx(6 + (c.difference - low) / (high - low) * 168, abs=0.06)


def test_each_model_has_a_dot_a_row_on_the_same_axes() -> None:
    first, others = several(120)
    html = comparison_report.render(first, others)
    plots = [figure(html, f"rows{index}") for index in range(4)]
    assert [plot.count("h0") for plot in plots] == [120] * 4
    assert [re.findall(r'<g class="dots (s\d)">', plot) for plot in plots] == [["s0"], ["s1"], ["s2"], ["s3"]]
    assert len({tuple(re.findall(r"<text[^>]*>[^<]*</text>", plot)) for plot in plots}) == 1


def test_many_rows_and_many_models_are_drawn_in_part_and_the_page_says_so() -> None:
    first, others = several(4000)
    html = comparison_report.render(first, others)
    assert "3,000 of 4,000 rows, the same for every model, drawn with a fixed seed" in shown(html).text
    assert figure(html, "rows3").count("h0") == 3000
    html = comparison_report.render(first, others * 3)
    assert "1,200 of 4,000 rows" in shown(html).text  # 12,000 dots among ten models
    assert figure(html, "rows6").count("dots s0") == 1  # the seventh model has the colour of the first


def test_the_histogram_holds_every_row_of_every_model_in_shares() -> None:
    first, others = several()
    plot = figure(comparison_report.render(first, others), "similarities")
    lines = re.findall(r'<path class="series (s\d)" d="M[\d.]+ ([\d.]+)(V[^"]*)"/>', plot)
    assert [name for name, _, _ in lines] == ["s0", "s1", "s2", "s3"]
    areas = []
    for _, floor, line in lines:
        steps = [(float(v), float(h)) for v, h in re.findall(r"V([\d.]+)H([\d.]+)", line)]
        areas.append(sum(float(floor) - height for height, _ in steps))
    assert areas == pytest.approx([areas[0]] * 4, rel=0.01)  # each 100 % of the rows
    for index, (model, _) in enumerate(others, 2):
        assert f"{index}. {model.model}</text>" in plot


def test_the_rows_shown_are_those_whose_distance_to_gold_differs_most() -> None:
    first, others = several(60)
    other = others[0]
    html = comparison_report.render(first, [other])
    tables = re.findall(r"<caption>Rows that it places (?:better|worse)</caption>.*?</table>", html, re.DOTALL)

    def rank(values: Floats) -> Floats:  # by counting, as a textbook says
        return np.array([sum(v < x for v in values) + (sum(v == x for v in values) + 1) / 2 for x in values])

    wanted = rank(first.gold)
    change = np.abs(rank(other[0].similarities) - wanted) - np.abs(rank(first.similarities) - wanted)
    found = [[int(row) for row in re.findall(r'<tr><th scope="row">(\d+)</th>', table)] for table in tables]
    assert [len(rows) for rows in found] == [8, 8]
    assert change[found[0]].tolist() == sorted(change)[:8]
    assert change[found[1]].tolist() == sorted(change)[::-1][:8]


def test_texts_are_shown_only_when_given_and_only_for_those_rows() -> None:
    first, others = several()
    texts = {row: (f"first <b>{row}</b>", f"second & {row}") for row in range(300)}
    html = comparison_report.render(first, others[:1], texts)
    shown(html)
    assert html.count("first &lt;b&gt;") == html.count("second &amp; ") == 16
    assert "mind their terms" in html
    without = comparison_report.render(first, others[:1])
    assert "mind their terms" not in without
    assert 'class="texts"' not in without


def test_hostile_names_and_texts_are_shown_and_do_nothing() -> None:
    hostile = HOSTILE + "\n# heading\n| a | b |\n**bold** [link](javascript:alert(1)) `x`"
    first, others = several(data=hostile)
    first = dataclasses.replace(first, model=hostile, fingerprint=hostile, similarity=hostile)
    others = [(dataclasses.replace(other, model=hostile), c) for other, c in others]
    page = shown(comparison_report.render(first, others, {row: (hostile, hostile) for row in range(300)}))
    assert "<script>alert(1)</script>{{7*7}}{% raw %}" in page.text
    assert "49" not in [word for word in page.text.split() if "7*7" in word]
    assert [tag for tag, _ in page.tags].count("title") == 1 + [tag for tag, _ in page.tags].count("svg")
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "a", "em", "strong"})


@settings(deadline=None, max_examples=15)
@given(text=st.text(st.characters(), min_size=1, max_size=80))
def test_any_text_at_all_leaves_a_well_formed_page(text: str) -> None:
    first, others = several(24, data=text)
    others = [(dataclasses.replace(other, model=text), c) for other, c in others]
    html = comparison_report.render(
        dataclasses.replace(first, model=text), others, dict.fromkeys(range(24), (text, text))
    )
    page = Page(html)
    html.encode("utf-8")
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "link"})
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", html)


def test_a_model_without_a_correlation_has_its_reason_in_the_names_of_this_page() -> None:
    first, _ = several()
    flat = scored("flat", first.gold, np.full(300, 0.5))
    text = shown(comparison_report.render(first, against(first, [flat]))).text
    assert "No evidence: no comparison could be made" in text
    assert "2. flat no evidence undefined \N{EN DASH} undefined this model's similarities are constant" in text
    assert "No row can be said to lie elsewhere: this model's similarities are constant." in text
    text = shown(comparison_report.render(flat, against(flat, [first]))).text
    assert "the first model's similarities are constant" in text
    assert "tuned" not in text
    assert "base" not in text


def test_a_verdict_without_a_difference_is_not_believed() -> None:
    first, others = several()
    other, comparison = others[0]
    bold = dataclasses.replace(comparison, difference=None, low=None, high=None, p=None)
    page = shown(comparison_report.render(first, [(other, bold)]))
    assert "improved" not in page.text
    assert "No evidence: no comparison could be made" in page.text


def test_two_names_for_the_same_model_make_a_page() -> None:
    first, _ = several()
    text = shown(comparison_report.render(first, against(first, [first]))).text
    assert "0.00 0.00 to 0.00 the two models give the same similarities" in text
    assert "No row is nearer to its place by gold, or farther from it, than with the first." in text


def test_rows_without_a_similarity_are_left_out_and_counted() -> None:
    first, others = several()
    other, comparison = others[0]
    holes = other.similarities.copy()
    holes[[3, 7]] = np.nan
    html = comparison_report.render(first, [(dataclasses.replace(other, similarities=holes), comparison)])
    text = shown(html).text
    assert "a better one gave 2 rows no similarity; they are left out." in text
    assert figure(html, "rows1").count("h0") == 298
    assert "places offof 298" in text
    nothing = dataclasses.replace(other, similarities=np.full(300, np.nan))
    text = shown(comparison_report.render(first, [(nothing, comparison)])).text
    assert "It gave no row a similarity, so there is nothing to draw." in text
    assert "undefined undefined undefined undefined undefined" in text
    empty = dataclasses.replace(first, similarities=np.full(300, np.nan))
    assert (
        "No model gave a similarity to any row" in shown(comparison_report.render(empty, [(nothing, comparison)])).text
    )


def test_models_that_measure_similarity_differently_are_said_to() -> None:
    first, others = several()
    other = dataclasses.replace(others[0][0], similarity="dot", similarities=40 * others[0][0].similarities)
    html = comparison_report.render(first, [(other, others[0][1])])
    text = shown(html).text
    assert "in different ways (cosine, dot)" in text
    assert "similarity of 1 cosine similarity of 2 dot" in text
    assert ">similarity</text>" in figure(html, "rows0")


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_handful_of_rows_makes_a_page(n: int) -> None:
    gold = np.linspace(0, 1, n)
    first, other = (
        Scored(
            name,
            DATA,
            "",
            dataclasses.replace(several()[0].score, spearman=None),
            "cosine",
            *2 * (np.arange(n),),
            gold,
            v,
        )
        for name, v in (("one", gold), ("two", gold[::-1].copy()))
    )
    assert f"all {n} rows" in shown(comparison_report.render(first, against(first, [other]))).text


@settings(deadline=None, max_examples=25)
@given(rows=st.lists(st.tuples(*[st.floats(-1, 1) | st.just(float("nan"))] * 2), min_size=12, max_size=12))
def test_any_similarities_make_a_page(rows: list[tuple[float, float]]) -> None:
    one, two = (np.array(column) for column in zip(*rows, strict=True))
    first, others = several(12)
    other, comparison = others[0]
    shown(
        comparison_report.render(
            dataclasses.replace(first, similarities=one), [(dataclasses.replace(other, similarities=two), comparison)]
        )
    )


def test_models_on_other_rows_and_a_model_alone_are_refused() -> None:
    first, others = several()
    with pytest.raises(RequestError, match="one model alone is no comparison"):
        comparison_report.render(first, [])
    moved = dataclasses.replace(others[0][0], row=others[0][0].row + 1)
    with pytest.raises(RequestError, match="a better one was not scored on the rows of"):
        comparison_report.render(first, [(moved, others[0][1])])
    regraded = dataclasses.replace(others[0][0], gold=others[0][0].gold[::-1])
    with pytest.raises(RequestError, match="not scored on the rows"):
        comparison_report.render(first, [(regraded, others[0][1])])


def test_colours_of_the_models_can_be_told_from_the_page_in_both_schemes() -> None:
    from test_report import contrast

    html = comparison_report.render(*several())
    blocks = [dict(re.findall(r"--(\w+): (#\w+)", block)) for block in re.findall(r":root \{([^}]*)\}", html)]
    light, dark = blocks[0], blocks[1]
    series = [block for block in blocks if "s0" in block]
    assert len(series) == 2
    for scheme, colours in zip((light, dark), series, strict=True):
        assert sorted(colours) == [f"s{index}" for index in range(6)]
        for colour in colours.values():
            assert contrast(colour, scheme["page"]) >= 3
