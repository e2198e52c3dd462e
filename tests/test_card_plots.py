"""The card's pictures: PNGs, the same for the same run, others for another, none where there is nothing to draw."""

from __future__ import annotations

import dataclasses
import io
import re
import struct
import subprocess
import sys

import numpy as np
import pytest
from conftest import CHECKOUT
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from sample_record import HOSTILE, improved, no_evidence, with_text
from test_report import DEV, TEST, both, row_scores, with_report

from hf_simtune import card_figure, card_plots
from hf_simtune.record import Checkpoint, RunRecord
from hf_simtune.scores_file import RowScores

NAMES = ["scores.png", "similarities.png", "training.png"]


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG, name and content, after its signature."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    found, place = [], 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        found.append((png[place + 4 : place + 8], png[place + 8 : place + 8 + length]))
        place += length + 12
    return found


def pixels(png: bytes) -> NDArray[np.int16]:
    """Shape (height, width, 3)."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode == "RGB" or np.asarray(image)[..., 3].min() == 255  # no dark page shines through
        return np.asarray(image.convert("RGB")).astype(np.int16)


def of_colour(image: NDArray[np.int16], colour: str) -> int:
    """How many pixels are of a colour."""
    rgb = [int(colour[index : index + 2], 16) for index in (1, 3, 5)]
    return int((np.abs(image - rgb).max(axis=2) <= 2).sum())


def bluish(image: NDArray[np.int16]) -> int:
    return int((image[..., 2] - image[..., 0] > 60).sum())


def with_training(record: RunRecord, *points: Checkpoint, best_step: int = 0) -> RunRecord:
    training = dataclasses.replace(record.training, checkpoints=points, best_step=best_step)
    return dataclasses.replace(record, training=training)


def test_the_pictures_are_pngs_twice_as_wide_as_a_card_and_name_no_date_and_no_program() -> None:
    found = card_plots.render(improved(), both())
    assert list(found) == NAMES
    for png in found.values():
        parts = chunks(png)
        width, height = struct.unpack(">II", parts[0][1][:8])
        assert width == 1600
        assert 500 <= height <= 1200
        assert {name for name, _ in parts} <= {b"IHDR", b"pHYs", b"IDAT", b"IEND"}
        assert len(png) < 400_000
        image = pixels(png)
        assert of_colour(image, card_figure.PAGE) > image.shape[0] * image.shape[1] / 2


def test_the_same_run_gives_the_same_bytes_whatever_a_matplotlibrc_says() -> None:
    import matplotlib

    first = card_plots.render(improved(), both())
    assert first == card_plots.render(improved(), both())
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.grid": False, "savefig.dpi": 50}):
        before = dict(matplotlib.rcParams)
        assert first == card_plots.render(improved(), both())
        assert dict(matplotlib.rcParams) == before


def test_another_figure_changes_the_pictures_that_show_it_and_no_other() -> None:
    record, parts = improved(), both()
    first = card_plots.render(record, parts)

    def changed(record: RunRecord, parts: list[RowScores]) -> list[str]:
        return [name for name, png in card_plots.render(record, parts).items() if png != first[name]]

    moved = parts[0].tuned.copy()
    moved[:20] = -0.1
    assert changed(record, [dataclasses.replace(parts[0], tuned=moved), parts[1]]) == NAMES[:2]
    assert changed(record, [dataclasses.replace(parts[0], gold=parts[0].gold[::-1]), parts[1]]) == NAMES[:1]
    assert changed(record, [parts[0], row_scores(DEV, "select", seed=99)]) == []  # only rows of the verdict are drawn
    better = dataclasses.replace(record.report.tuned, spearman=0.73)
    assert changed(with_report(record, tuned=better), parts) == NAMES[:1]
    *points, last = record.training.checkpoints
    assert (
        changed(with_training(record, *points, dataclasses.replace(last, loss=0.3), best_step=1203), parts) == NAMES[2:]
    )
    assert changed(with_training(record, *points, last, best_step=902), parts) == NAMES[2:]


def test_base_and_tuned_have_the_reports_colours_each_in_its_panel() -> None:
    css = (CHECKOUT / "hf_simtune" / "templates" / "report.css").read_text(encoding="utf-8")
    light = dict(re.findall(r"--(\w+): (#\w+)", css.split("@media")[0]))
    for name in ("page", "text", "quiet", "rule", "base", "tuned"):
        assert getattr(card_figure, name.upper()) == light[name]
    part = row_scores(n=40)
    image = pixels(card_plots.render(improved(), [part])["scores.png"])
    middle = image.shape[1] // 2
    assert bluish(image[:, :middle]) == 0
    assert bluish(image[:, middle:]) > 1000
    image = pixels(card_plots.render(improved(), [part])["similarities.png"])
    assert of_colour(image, card_figure.TUNED) > 1000


def test_what_a_run_has_nothing_for_is_left_out() -> None:
    record = improved()
    assert list(card_plots.render(record, [])) == ["training.png"]
    assert list(card_plots.render(record, [row_scores("another set"), row_scores(role="select")])) == ["training.png"]
    part = row_scores()
    nothing = dataclasses.replace(part, tuned=np.full(len(part), np.nan))
    assert list(card_plots.render(record, [nothing])) == ["training.png"]
    untrained = with_training(record, Checkpoint(step=0, epoch=0, spearman=0.76))
    assert list(card_plots.render(untrained, both())) == NAMES[:2]
    assert list(card_plots.render(with_training(record), both())) == NAMES[:2]
    unnamed = dataclasses.replace(record, evaluations=record.evaluations[1:])
    assert list(card_plots.render(unnamed, both())) == ["training.png"]
    assert list(card_plots.alt_texts(unnamed)) == ["training.png"]
    assert list(card_plots.alt_texts(untrained)) == NAMES[:2]


def test_scores_and_losses_share_the_training_picture_and_either_can_be_missing() -> None:
    record = improved()
    scored = [dataclasses.replace(point, loss=None) for point in record.training.checkpoints]
    lossy = [dataclasses.replace(point, spearman=None) for point in record.training.checkpoints]

    def height(*points: Checkpoint) -> int:
        return pixels(card_plots.render(with_training(record, *points, best_step=1203), [])["training.png"]).shape[0]

    assert height(*scored) == height(*lossy) < height(*record.training.checkpoints)


def test_a_missing_score_breaks_the_line() -> None:
    record = improved()
    whole = [Checkpoint(step=step, epoch=step / 40, spearman=0.7 + step / 1000) for step in (0, 10, 20, 30, 40)]
    broken = [dataclasses.replace(point, spearman=None) if point.step == 20 else point for point in whole]
    lines = [
        bluish(pixels(card_plots.render(with_training(record, *points), [])["training.png"]))
        for points in (whole, broken)
    ]
    assert 0.3 < lines[1] / lines[0] < 0.7  # two of the four stretches


def test_rows_without_a_similarity_are_not_drawn_and_the_title_counts_them() -> None:
    part = row_scores()
    part.tuned[3], part.base[5] = np.nan, np.inf
    kept = np.delete(np.arange(len(part)), [3, 5])
    without = RowScores(
        TEST, "report", *(values[kept] for values in (part.row, part.group, part.gold, part.base, part.tuned))
    )
    one, other = (pixels(card_plots.render(improved(), [p])["scores.png"]) for p in (part, without))
    title = 60  # pixels from the top, where the number of rows stands
    assert (one[title:] == other[title:]).all()
    assert (one[:title] != other[:title]).any()


@settings(deadline=None, max_examples=10)
@given(
    rows=st.lists(st.tuples(st.floats(0, 1), *[st.floats(-1, 1) | st.just(float("nan"))] * 2), min_size=1, max_size=12)
)
def test_any_similarities_make_pictures_or_none(rows: list[tuple[float, float, float]]) -> None:
    gold, base, tuned = (np.array(column) for column in zip(*rows, strict=True))
    part = RowScores(TEST, "report", np.arange(len(rows)), np.arange(len(rows)), gold, base, tuned)
    found = card_plots.render(with_training(improved()), [part])
    drawable = bool((np.isfinite(base) & np.isfinite(tuned)).any())
    assert list(found) == (NAMES[:2] if drawable else [])
    assert all(chunks(png)[-1][0] == b"IEND" for png in found.values())


@pytest.mark.parametrize(
    "text", ["\n".join(HOSTILE[:12]), *HOSTILE[8:11], HOSTILE[19], "", "a$b$\\frac{$", "\u4e2d\u6587 \U0001f600" * 40]
)
def test_any_name_of_the_data_is_drawn_as_it_is_and_without_a_warning(text: str) -> None:
    record = with_text(text)
    record = with_report(record, similarity=text)
    found = card_plots.render(record, [row_scores(record.report.source.title, n=12)])
    assert list(found) == NAMES
    for line in card_plots.alt_texts(record).values():
        assert line.isprintable()
        line.encode("utf-8")


def test_alt_texts_state_the_figures_of_the_record() -> None:
    times = "Spearman \N{MULTIPLICATION SIGN} 100"
    rows = f"1,379 rows of {TEST}"
    assert card_plots.alt_texts(improved()) == {
        "scores.png": f"Two scatter plots of gold score against cosine similarity, a dot for each of {rows}. "
        f"{times}: base 70.00, tuned 72.25.",
        "similarities.png": "Histograms of the cosine similarities that the base (filled) and the tuned model "
        f"(outlined) give to {rows}, on the same axes.",
        "training.png": f"{times} on the selection rows from step 0 to step 1503: the base, at step 0, has 76.00; "
        "chosen: step 1203 with 78.40. Mean training loss: 0.41 at step 301, 0.145 at step 1503.",
    }
    kept = card_plots.alt_texts(no_evidence())
    assert "base 60.00, tuned, which is the base itself, 60.00." in kept["scores.png"]
    assert "has 59.00; chosen: the base itself. Mean" in kept["training.png"]
    undefined = dataclasses.replace(improved().report.tuned, spearman=None)
    assert (
        "base 70.00, tuned undefined." in card_plots.alt_texts(with_report(improved(), tuned=undefined))["scores.png"]
    )


@pytest.mark.slow
def test_matplotlib_is_loaded_when_a_picture_is_drawn_and_pyplot_never() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from sample_record import improved\n"
        "from hf_simtune import card_plots\n"
        "card_plots.alt_texts(improved())\n"
        "assert 'matplotlib' not in sys.modules\n"
        "card_plots.render(improved(), [])\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, check=True, timeout=120)
