"""Diagnoses in words and in a picture: the rows of their table, what each figure means, an SVG, an HTML page."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from hf_simtune import plots, wording
from hf_simtune.errors import RequestError
from hf_simtune.report_text import minus, templates

if TYPE_CHECKING:
    from hf_simtune.diagnosing import Diagnosis

__all__ = ["ENDINGS", "Row", "check_out", "facts", "heading", "notes", "rows", "write"]

ENDINGS = (".svg", ".html")
COARSER = 2  # bins of a histogram that are drawn as one, where similarities span more than a fifth of the range
LONGEST = 58  # letters of a name that the key has room for


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: a figure of each model, and what it tells."""

    label: str
    values: tuple[str, ...]
    meaning: str = ""


def check_out(out: str | None, *, force: bool) -> list[str]:
    """What is wrong with a file to write a picture to, in sentences."""
    if out is None:
        return []
    path, problems = Path(out), []
    if path.suffix not in ENDINGS:
        problems.append(f"--out {out}: it must end in {' or '.join(ENDINGS)}")
    if path.exists() and not force:
        problems.append(f"{out} exists; --force writes over it")
    if not path.parent.is_dir():
        problems.append(f"--out {out}: there is no folder {path.parent}")
    return problems


def facts(found: Sequence[Diagnosis]) -> list[dict[str, Any]]:
    """The diagnoses as JSON holds them, with the figures that follow from others."""
    return [
        {
            **dataclasses.asdict(diagnosis),
            "geometry": {
                **dataclasses.asdict(diagnosis.geometry),
                "anisotropy": diagnosis.geometry.anisotropy,
                "sampled": diagnosis.geometry.sampled,
            },
        }
        for diagnosis in found
    ]


def heading(found: Sequence[Diagnosis]) -> str:
    """Which rows and how many sentences and pairs, the same for every model."""
    first = found[0]
    read = f"{first.rows:,} of {first.rows_in_data:,} rows" if first.rows < first.rows_in_data else ""
    return (
        f"{first.data}: {read or wording.count(first.rows, 'row')}, {first.geometry.n:,} distinct sentences, "
        f"{wording.count(first.geometry.pairs, 'pair')}"
    )


def rows(found: Sequence[Diagnosis]) -> list[Row]:
    """The table. A figure that no model has is left out."""

    def row(label: str, figure: Callable[[Diagnosis], str], meaning: str = "") -> Row:
        return Row(label, tuple(figure(diagnosis) for diagnosis in found), meaning)

    def span(low: int, high: int) -> Callable[[Diagnosis], str]:
        return lambda d: f"{_figure(_quantile(d, low))} to {_figure(_quantile(d, high))}"

    table = [
        row(
            "mean (anisotropy)",
            lambda d: _figure(d.geometry.anisotropy),
            "Ethayarajh 2019. 0: directions cancel out; 1: every sentence has the same vector. It also "
            "rises where the sentences themselves are alike, so compare models on the same sentences only.",
        ),
        row(
            "standard deviation",
            lambda d: _figure(d.geometry.deviation),
            "Of the similarities. The larger, the further alike and unlike sentences can lie apart; 0: all pairs look "
            "the same to the model.",
        ),
        row("median", lambda d: _figure(_quantile(d, 50)), "Half of the pairs are more similar, half less."),
        row("middle 50 %", span(25, 75), "A quarter of the pairs lies below, a quarter above."),
        row("middle 90 %", span(5, 95), "5 % of the pairs lie below, 5 % above."),
        row("middle 98 %", span(1, 99), "1 % of the pairs lies below, 1 % above."),
        row(
            "densest 0.2",
            lambda d: f"{100 * d.geometry.dense_share:.1f} % from {d.geometry.dense_from + 0.0:.2f}",
            "Share of the pairs in the 0.2 of the scale that holds most. Near 100 %: a cut-off outside of that window "
            "tells hardly any pair apart.",
        ),
        row(
            "uniformity",
            lambda d: _figure(d.geometry.uniformity),
            "Wang & Isola 2020. -8: lowest that two vectors can reach; near -4: spread evenly in many dimensions; 0: "
            "all at one point. Lower is more even.",
        ),
        row(
            "effective rank",
            lambda d: f"{d.geometry.effective_rank:.1f} of {min(d.geometry.n, d.geometry.dimensions):,}",
            "Roy & Vetterli 2007: how many directions the vectors make use of. Near 1: they lie on one line.",
        ),
    ]
    if found[0].positives:
        table.append(
            row(
                "alignment",
                lambda d: wording.UNDEFINED if d.alignment is None else _figure(d.alignment),
                "Wang & Isola 2020: mean squared distance of the "
                f"{wording.count(found[0].positives, 'positive pair')}. 0: each pair is one point; 2: at right angles. "
                "Lower is closer, and means nothing alone: a model that gives every sentence one vector has 0.",
            )
        )
    if any(d.prompt or d.prompt_given for d in found):
        whose = "--prompt" if found[0].prompt_given else "the model's own settings"
        meaning = f"Put before each sentence, by {whose}."
        table.append(row("prompt", lambda d: repr(d.prompt) if d.prompt else "none", meaning))
    return table


def notes(found: Sequence[Diagnosis]) -> list[str]:
    """How to read the table as a whole, and what was not looked at."""
    told = [
        "No figure has a limit beyond which a model is good or bad: they tell models on the same sentences apart. A "
        "tuning that draws all sentences together shows as a mean and a uniformity that rise while deviation and "
        "effective rank fall. Whether similarities are right is another question: hf-simtune score answers it."
    ]
    first = found[0]
    if first.geometry.sampled:
        everything = first.geometry.n * (first.geometry.n - 1) // 2
        told.append(
            f"{first.geometry.pairs:,} of {everything:,} pairs were drawn for the picture, quantiles, densest 0.2 and "
            "uniformity; mean, deviation and effective rank are those of all."
        )
    if first.sparse_limit is not None:
        told.append(
            f"{first.rows:,} of {first.rows_in_data:,} rows were drawn, the same for every model: a sparse encoder is "
            f"among them, and takes {first.sparse_limit:,} distinct sentences. Without it more are compared."
        )
    elif first.rows < first.rows_in_data:
        told.append(f"{first.rows:,} of {first.rows_in_data:,} rows were drawn; --max-rows takes more.")
    return told


def write(found: Sequence[Diagnosis], out: str) -> None:
    """The overlaid histograms as an SVG, or with table and meanings as an HTML page; both need no other file.

    Raises:
        RequestError: the file cannot be written.
    """
    figure, width, height = _picture(found)
    if out.endswith(".svg"):
        text = _templates().get_template("diagnose.svg.jinja").render(figure=figure, width=width, height=height)
    else:
        text = (
            _templates()
            .get_template("diagnose.html.jinja")
            .render(
                figure=figure,
                heading=heading(found),
                names=[diagnosis.model for diagnosis in found],
                rows=rows(found),
                notes=notes(found),
            )
        )
    try:
        Path(out).write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"--out {out} cannot be written: {error.strerror or error}") from error


def _picture(found: Sequence[Diagnosis]) -> tuple[Markup, int, int]:
    """The figure, its width and its height."""
    filled = [index for d in found for index, count in enumerate(d.geometry.histogram) if count]
    bins = len(found[0].geometry.histogram)
    step = COARSER if max(filled) - min(filled) > bins / 5 else 1
    figure = plots.outlines(
        "similarities",
        [
            (_short(d.model), [sum(d.geometry.histogram[start : start + step]) for start in range(0, bins, step)])
            for d in found
        ],
        -1.0,
        1.0,
        "cosine similarity" + (f", {_short(_prompt(found[0]))}" if found[0].prompt_given else ""),
        "% of pairs",
        about=" ".join(
            f"{d.model}: mean {_figure(d.geometry.mean)}, standard deviation {_figure(d.geometry.deviation)}, 90 % of "
            f"the pairs between {_figure(_quantile(d, 5))} and {_figure(_quantile(d, 95))}."
            for d in found
        ),
    )
    return figure, plots.WIDTH, plots.HEIGHT + 8 + 20 * len(found)


def _prompt(diagnosis: Diagnosis) -> str:
    return f"prompt {diagnosis.prompt!r}" if diagnosis.prompt else "no prompt"


def _short(name: str) -> str:
    half = LONGEST // 2 - 1
    return name if len(name) <= LONGEST else f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


def _quantile(diagnosis: Diagnosis, percent: int) -> float:
    return dict(diagnosis.geometry.quantiles)[percent]


def _figure(value: float) -> str:
    """Three decimals; a zero has no sign."""
    return f"{round(value, 3) + 0.0:.3f}"


@functools.cache
def _templates() -> jinja2.Environment:
    environment = templates()
    environment.filters["minus"] = minus
    return environment
