from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fake_runs import FakeRuns, record_of
from hypothesis import given
from hypothesis import strategies as st
from sample_record import HOSTILE

from hf_simtune import grid_plots, sweep_card, sweep_figures, sweep_page, sweeping
from hf_simtune.card_text import escape
from hf_simtune.errors import RunError
from hf_simtune.recipe import Recipe
from hf_simtune.run_set import RunSet
from hf_simtune.wording import points

RECIPE = Recipe(
    name="trial",
    train_data="builtin:sports/pairs:train",
    select_on="builtin:sports/scored:validation",
    report_on="builtin:sports/scored:test",
)
ONE = {"temperature": (0.05, 0.1, 0.2)}
TWO = {"temperature": (0.05, 0.1, 0.2), "epochs": (1.0, 2.0)}
FOUR = TWO | {"seed": (1, 2), "learning_rate": (1e-5, 2e-5)}


def score(recipe: Recipe) -> float:
    return 0.8 - 0.1 * abs(recipe.temperature - 0.1) + 0.001 * recipe.epochs


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., RunSet]:
    def swept(axes: dict[str, tuple[object, ...]], runs: FakeRuns | None = None, **options: object) -> RunSet:
        return sweeping.sweep(RECIPE, axes, out=tmp_path, run=runs or FakeRuns(score), **options)  # type: ignore[arg-type]

    return swept


class Page(HTMLParser):
    """What a browser would see of a page."""

    def __init__(self, made: RunSet) -> None:
        super().__init__()
        self.text = made.page.read_text(encoding="utf-8")
        self.tags: list[str] = []
        self.links: list[str] = []
        self.said: list[str] = []
        self.feed(self.text)
        self.svgs = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", self.text, re.DOTALL)]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [str(value) for name, value in attributes if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def boxes(svg: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [part for part in svg.iter() if part.get("class") == kind]


def texts(svg: ElementTree.Element) -> list[str]:
    return ["".join(part.itertext()) for part in svg.iter() if part.tag.endswith("text")]


def test_two_axes_make_a_heat_map_of_each_measure(sweep: Callable[..., RunSet]) -> None:
    page = Page(sweep(TWO))
    assert len(page.svgs) == 3
    for svg in page.svgs:
        assert len(boxes(svg, "heat")) == len(boxes(svg, "cell")) == 6
        assert len(boxes(svg, "chosen")) == 1
    assert {"80.20", "80.10", "79.60", "79.20"} <= set(texts(page.svgs[0]))
    assert "0.040" in texts(page.svgs[2])
    shades = [float(str(box.get("fill-opacity"))) for box in boxes(page.svgs[0], "heat")]
    assert max(shades) == grid_plots.STRONGEST and min(shades) == 0.04


def test_the_ring_is_around_the_winner(sweep: Callable[..., RunSet]) -> None:
    svg = Page(sweep(TWO)).svgs[0]
    ring = boxes(svg, "chosen")[0]
    assert [part.text for part in boxes(svg, "mark in")] == ["80.20"]
    strongest = max(boxes(svg, "heat"), key=lambda box: float(str(box.get("fill-opacity"))))
    assert (ring.get("x"), ring.get("y")) == (strongest.get("x"), strongest.get("y"))


def test_one_axis_makes_a_line_and_more_than_two_small_multiples(sweep: Callable[..., RunSet]) -> None:
    page = Page(sweep(ONE))
    assert len(page.svgs) == 3
    assert len(boxes(page.svgs[0], "point tuned")) == 3
    assert len(boxes(page.svgs[0], "line tuned")) == 2
    assert len(boxes(page.svgs[0], "level")) == 1
    page = Page(sweep(FOUR))
    assert len(page.svgs) == 4
    assert sum(len(boxes(svg, "heat")) for svg in page.svgs) == 24
    assert sum(len(boxes(svg, "chosen")) for svg in page.svgs) == 1
    assert page.text.count("Ringed") == 1


def test_cells_that_failed_or_were_not_run_are_shown_as_such(sweep: Callable[..., RunSet]) -> None:
    failing = FakeRuns(score, failing=lambda r: RunError("not a number") if r.temperature == 0.2 else None)
    made = sweep(TWO, failing)
    page = Page(made)
    assert texts(page.svgs[0]).count("failed") == 2
    assert len(boxes(page.svgs[0], "heat")) == 4
    assert "temperature=0.2, epochs=1 failed: not a number" in page.text
    assert "4 of 6 runs finished, 2 failed" in page.text
    rows = sweep_page.said(made).rows
    assert [row[-1] for row in rows] == ["highest selection score", "", "", "", "failed", "failed"]
    assert f"--resume {made.folder.name}" in page.text


def test_a_search_leaves_the_cells_that_it_did_not_pick_empty(sweep: Callable[..., RunSet]) -> None:
    pytest.importorskip("optuna", reason="needs the extra 'search'")
    page = Page(sweep(TWO, trials=4))
    assert len(boxes(page.svgs[0], "heat")) == 4
    assert len(boxes(page.svgs[0], "cell")) == 6
    assert "a search looks at 4 of 6 cells" in page.text


def test_the_table_is_in_the_order_of_the_selection_score_with_what_was_measured(sweep: Callable[..., RunSet]) -> None:
    said = sweep_page.said(sweep(ONE))
    assert said.head == ("temperature", "selection", "change", "spread", "anisotropy", "uniformity", "time", "")
    assert [row[:6] for row in said.rows] == [
        ("0.1", "80.10", "+4.10", "0.150", "0.030", "-3.100"),
        ("0.05", "79.60", "+3.60", "0.145", "0.025", "-3.100"),
        ("0.2", "79.10", "+3.10", "0.160", "0.040", "-3.100"),
    ]


def test_the_report_rows_are_told_of_the_winner_alone(sweep: Callable[..., RunSet]) -> None:
    made = sweep(TWO)
    page = Page(made)
    assert page.text.count("95 % interval") == 1
    assert page.text.lower().count("improved:") == 1
    assert "Cells were compared on the selection rows only" in page.text
    assert page.links == [f"{made.cells[3].run}/report.html"]
    shown = " ".join(cell for row in sweep_page.said(made).rows for cell in row)
    assert "improved" not in shown and "72.00" not in shown, "report figures of the cells"


def test_what_was_not_measured_says_so_and_has_no_picture(sweep: Callable[..., RunSet], tmp_path: Path) -> None:
    made = sweep(TWO)
    made.records = {index: record_of(made.recipe(cell), 0.8, health=False) for index, cell in enumerate(made.cells)}
    sweep_page.write(made, "hf-simtune sweep")
    page = Page(made)
    assert len(page.svgs) == 1
    assert "were not measured in these runs" in page.text
    assert sweep_page.said(made).rows[0][4:7] == ("not measured",) * 3


def test_without_a_winner_none_is_named(sweep: Callable[..., RunSet]) -> None:
    made = sweep(TWO)
    made.records = {index: record_of(RECIPE, 0.76, best_step=0) for index in range(6)}
    sweep_page.write(made, "hf-simtune sweep")
    page = Page(made)
    assert "No cell won" in page.text
    assert not any(boxes(svg, "chosen") for svg in page.svgs)
    assert not page.links
    made.records = {index: record_of(RECIPE, 0.8, fingerprint=str(index)) for index in range(6)}
    assert "different selection rows" in sweep_page.result(made)[0]


def test_an_untrained_base_gets_no_verdict(sweep: Callable[..., RunSet]) -> None:
    made = sweep(ONE)
    record = made.records[1]
    made.records[1] = dataclasses.replace(record, base=dataclasses.replace(record.base, untrained="the head"))
    told = " ".join(sweep_page.result(made))
    assert "No verdict: the head" in told and "Improved" not in told


def test_a_collapse_that_the_guard_saw_is_in_the_table(sweep: Callable[..., RunSet]) -> None:
    made = sweep(ONE)
    record = made.records[2]
    sick = tuple(dataclasses.replace(health, findings=("collapsed",)) for health in record.health[-2:])
    made.records[2] = dataclasses.replace(record, health=record.health[:2] + sick)
    assert "The guard was silent: nothing collapsed in 3 runs." in sweep_page.notes(sweep(ONE))
    assert "The guard found something in 1 of 3 runs: temperature=0.2." in sweep_page.notes(made)
    assert [row[-1] for row in sweep_page.said(made).rows] == ["highest selection score", "", "collapsed"]


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(tmp_path: Path) -> None:
    for text in HOSTILE:
        recipe = dataclasses.replace(RECIPE, title=text)
        made = sweeping.start(sweeping.plan(recipe, {"prompt": (text, "x")}), tmp_path)
        made.records = {0: record_of(recipe, 0.8), 1: record_of(recipe, 0.7)}
        made.cells[0] = dataclasses.replace(made.cells[0], state="done", run="cells/x/y")
        made.cells[1] = dataclasses.replace(made.cells[1], state="failed", problem=text)
        sweep_page.write(made, text)
        page = Page(made)
        assert "script" not in page.tags and "img" not in page.tags and "link" not in page.tags
        assert page.links == ["cells/x/y/report.html"]
        assert len(page.svgs) == 3


def test_the_winner_is_marked_also_where_a_kept_base_has_the_same_score(sweep: Callable[..., RunSet]) -> None:
    made = sweep(ONE)
    made.records = {0: record_of(RECIPE, 0.8, best_step=0), 1: record_of(RECIPE, 0.8), 2: record_of(RECIPE, 0.7)}
    sweep_page.write(made, "hf-simtune sweep")
    rows = re.findall(r"<tr( class=\"best\")?><th scope=\"row\">([^<]+)", Page(made).text)
    assert rows == [("", "0.05"), (' class="best"', "0.1"), ("", "0.2")]


def test_models_and_files_go_by_their_names(sweep: Callable[..., RunSet], tmp_path: Path) -> None:
    models = []
    for name in ("first", "second"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "config.json").touch()
        models.append(str(tmp_path / "models" / name))
    made = sweep({"model": tuple(models)})
    page = Page(made)
    assert str(tmp_path.name) not in page.text
    assert [row[0] for row in sweep_page.said(made).rows] == ["first", "second"]
    assert sorted(cell.folder for cell in made.cells) == ["cells/model=first", "cells/model=second"]
    (tmp_path / "models").rename(tmp_path / "gone")
    assert str(tmp_path) not in " ".join(sweep_page.result(made))


def test_the_whole_page_holds_no_address_that_a_browser_would_load(sweep: Callable[..., RunSet]) -> None:
    page = Page(sweep(TWO))
    assert "default-src 'none'" in page.text
    assert not re.search(r"url\(|@import|src=", page.text)
    ids = re.findall(r'\bid="([^"]+)"', page.text)
    assert len(ids) == len(set(ids))


# The figures by themselves.

places = st.dictionaries(st.tuples(st.integers(0, 7), st.integers(0, 5)), st.floats(-1, 1), min_size=1)


@given(places, st.booleans())
def test_a_heat_map_is_as_strong_as_its_values_are_high(values: dict[tuple[int, int], float], scaled: bool) -> None:
    shown = {place: f"{value:.2f}" for place, value in values.items()}
    svg = ElementTree.fromstring(
        grid_plots.heat_map(
            "a",
            values,
            shown,
            ("x", [str(i) for i in range(8)]),
            ("y", [str(i) for i in range(6)]),
            title="t",
            about="d",
            scale=(-1.0, 1.0) if scaled else None,
        )
    )
    heat = boxes(svg, "heat")
    assert len(heat) == len(values)
    assert len(boxes(svg, "cell")) == 48
    found = {(float(str(box.get("x"))), float(str(box.get("y")))): float(str(box.get("fill-opacity"))) for box in heat}
    columns, rows = ([*{float(str(box.get(side))): 0 for box in boxes(svg, "cell")}] for side in ("x", "y"))
    low, high = (-1.0, 1.0) if scaled else (min(values.values()), max(values.values()))
    for (column, row), value in values.items():
        share = (value - low) / (high - low) if high > low else 0.5
        shade = found[sorted(columns)[column], sorted(rows)[row]]
        assert math.isclose(shade, 0.04 + (grid_plots.STRONGEST - 0.04) * share, abs_tol=6e-4)
    width = float(str(svg.get("viewBox")).split()[2])
    assert all(float(str(box.get("x"))) + float(str(box.get("width"))) <= width for box in heat)


def test_figures_that_do_not_fit_are_left_out_and_long_values_cut() -> None:
    values = {(column, 0): column / 40 for column in range(40)}
    svg = ElementTree.fromstring(
        grid_plots.heat_map(
            "a",
            values,
            {place: "88.88" for place in values},
            ("x", [f"{index}" for index in range(40)]),
            ("y", ["sentence-transformers/all-MiniLM-L6-v2"]),
            title="t",
            about="d",
        )
    )
    assert "88.88" not in texts(svg)
    assert len(boxes(svg, "heat")) == 40
    assert any(
        text.endswith("all-MiniLM-L6-v2"[-10:]) and text.startswith("\N{HORIZONTAL ELLIPSIS}") for text in texts(svg)
    )


@given(st.dictionaries(st.integers(0, 9), st.floats(-1e3, 1e3), min_size=1), st.none() | st.floats(-1e3, 1e3))
def test_points_lie_where_their_values_are(values: dict[int, float], level: float | None) -> None:
    svg = ElementTree.fromstring(
        grid_plots.points(
            "a",
            values,
            {},
            ("x", [str(i) for i in range(10)]),
            "y",
            title="t",
            about="d",
            level=level,
            chosen=min(values),
        )
    )
    places = [re.findall(r"[-\d.]+", str(part.get("d")))[:2] for part in boxes(svg, "point tuned")]
    heights = {column: float(place[1]) for column, place in zip(sorted(values), places, strict=True)}
    assert [float(place[0]) for place in places] == sorted(float(place[0]) for place in places)
    for one in values:
        for other in values:
            if values[one] > values[other]:
                assert heights[one] <= heights[other]
    top, bottom = 0.0, float(str(svg.get("viewBox")).split()[3])
    assert all(top <= height <= bottom for height in heights.values())
    assert len(boxes(svg, "line tuned")) == sum(column + 1 in values for column in values)
    assert len(boxes(svg, "chosen")) == 1


def with_probe(made: RunSet, title: str = "ORG/stsb:test") -> None:
    """Give every finished cell but the last a score on a probe."""
    for index, record in list(made.records.items())[:-1]:
        one = record.evaluations[0]
        probe = dataclasses.replace(
            one,
            role="probe",
            source=dataclasses.replace(one.source, name=title.rpartition(":")[0], split=title.rpartition(":")[2]),
            base=dataclasses.replace(one.base, spearman=0.5),
            tuned=dataclasses.replace(one.tuned, spearman=0.9 - 0.01 * index),
        )
        assert probe.source.title == title
        made.records[index] = dataclasses.replace(record, evaluations=(*record.evaluations, probe))


def test_scores_on_probes_are_shown_as_not_used_to_choose(sweep: Callable[..., RunSet]) -> None:
    made = sweep(TWO)
    before = sweep_page.said(made)
    with_probe(made)
    sweep_page.write(made, "hf-simtune sweep")
    said, page = sweep_page.said(made), Page(made)
    assert said.head[2:6] == ("selection", "change", "probe stsb:test", "spread")
    assert {row[4] for row in said.rows} == {"90.00", "89.00", "88.00", "87.00", "86.00", "not measured"}
    assert [(*row[:4], *row[5:]) for row in said.rows] == list(before.rows), "a probe moved a cell"
    assert any("on ORG/stsb:test. They were not used to choose" in note for note in said.after)
    assert len(page.svgs) == 4
    assert "Spearman x 100 on ORG/stsb:test" in page.text and "This score was not used to choose a cell." in page.text
    assert len(boxes(page.svgs[1], "heat")) == 5 and "90.00" in texts(page.svgs[1])
    assert all(len(row) == len(said.head) for row in said.rows)


def test_a_probe_over_one_axis_has_the_line_of_the_base(sweep: Callable[..., RunSet]) -> None:
    made = sweep(ONE)
    with_probe(made)
    sweep_page.write(made, "hf-simtune sweep")
    page = Page(made)
    assert len(page.svgs) == 4
    assert len(boxes(page.svgs[1], "level")) == 1
    assert "0.5" not in texts(page.svgs[1]) and "89.00" in texts(page.svgs[1])


def test_cells_without_a_run_have_a_dash_for_each_probe(sweep: Callable[..., RunSet]) -> None:
    made = sweep(ONE)
    with_probe(made)
    del made.records[2]
    made.cells[2] = dataclasses.replace(made.cells[2], state="failed")
    said = sweep_page.said(made)
    assert said.rows[-1] == ("0.2", *["-"] * 7, "failed")


def test_probes_of_one_short_name_keep_their_long_ones(sweep: Callable[..., RunSet]) -> None:
    made = sweep(ONE)
    for title in ("ORG/stsb:test", "OTHER/stsb:test"):
        with_probe(made, title)
    assert sweep_figures.probes(made) == {name: name for name in ("ORG/stsb:test", "OTHER/stsb:test")}


# --- the page of Markdown


def rows_of(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_the_markdown_page_has_the_same_result_and_table(sweep: Callable[..., RunSet]) -> None:
    made = sweep(TWO)
    text = sweep_card.render(made, "hf-simtune sweep trial --temperature 0.05 0.1 0.2", "plots/sweep.png")
    head, _, *cells = rows_of(text)
    said = sweep_page.said(made)
    assert head == list(said.head)
    assert [[cell.replace("\\", "") for cell in row] for row in cells] == [list(row) for row in said.rows]
    assert "Highest selection score: temperature=0.1, epochs=2." in text
    assert "(plots/sweep.png)" in text and "hf-simtune sweep trial" in text
    (told,) = (line for line in text.splitlines() if line.startswith("Base, untouched: "))
    base = sweep_figures.figures(made.records[0]).base_selection
    assert f"Spearman x 100 on the selection rows {points(base)}; " in told
    assert "](" not in sweep_card.render(made, "hf-simtune sweep trial"), "no picture, no link to one"


def test_the_markdown_page_shows_hostile_text_as_text(sweep: Callable[..., RunSet]) -> None:
    made = sweep(ONE)
    for hostile in HOSTILE:
        made.cells[1] = dataclasses.replace(made.cells[1], state="failed", problem=hostile)
        text = sweep_card.render(made, "hf-simtune sweep trial")
        assert escape(f"temperature=0.1 failed: {hostile}", 1000) in text
        assert not re.search(r"^<|(?<!\\)<(script|img)", text, re.MULTILINE)


def test_its_picture_is_the_same_bytes_each_time_and_only_of_two_axes(sweep: Callable[..., RunSet]) -> None:
    made = sweep(TWO)
    first = sweep_card.picture(made)
    assert first is not None and first.startswith(b"\x89PNG")
    assert sweep_card.picture(made) == first
    made.records.popitem()
    other = sweep_card.picture(made)
    assert other is not None and other != first
    assert sweep_card.picture(sweep(ONE)) is None
    made.records.clear()
    assert sweep_card.picture(made) is None
