"""RunRecord and row scores -> the pictures of a model card, as PNG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hf_simtune.card_figure import BASE, QUIET, TEXT, TUNED, empty, encoded, short, styled
from hf_simtune.plots import Axis
from hf_simtune.record import Checkpoint, Evaluation, RunRecord
from hf_simtune.report_text import points, printable
from hf_simtune.scores_file import RowScores
from hf_simtune.wording import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["alt_texts", "render"]

Floats = NDArray[np.float64]
TIMES_100 = "Spearman \N{MULTIPLICATION SIGN} 100"


def render(record: RunRecord, parts: Sequence[RowScores]) -> dict[str, bytes]:
    """The pictures that this run has something for.

    Args:
        record: the run.
        parts: of its ``scores.parquet``. Only the similarities of the report rows are drawn; no text is needed.

    Returns:
        File name -> PNG, 1,600 pixels wide: ``scores.png``, gold against similarity for base and tuned model, and
        ``similarities.png``, their histograms, unless no row has a similarity from both; ``training.png``, score and
        loss by step, unless no step has either. The same record and parts give the same bytes, with the same versions
        of matplotlib and its libraries, whatever a matplotlibrc says.
    """
    evaluation = _report(record)
    part = next(
        (p for p in parts if evaluation and (p.evaluation, p.role) == (evaluation.source.title, "report")), None
    )
    found: dict[str, bytes] = {}
    with styled():
        if evaluation is not None and part is not None:
            kept = np.flatnonzero(np.isfinite(part.gold) & np.isfinite(part.base) & np.isfinite(part.tuned))
            if len(kept):
                gold, base, tuned = part.gold[kept], part.base[kept], part.tuned[kept]
                title = _rows(evaluation, len(kept), len(part) - len(kept))
                found["scores.png"] = encoded(_scores(evaluation, title, _names(record), gold, base, tuned))
                found["similarities.png"] = encoded(_similarities(evaluation, title, _names(record), base, tuned))
        if _has_curve(record):
            found["training.png"] = encoded(_training(record))
    return found


def alt_texts(record: RunRecord) -> dict[str, str]:
    """What there is to see in each picture, in one line of plain text, from the record's figures.

    A card has to escape them: they hold the data's name. The two pictures of rows are described wherever the record
    has report rows, though :func:`render` leaves them out where it is given no scores.
    """
    found: dict[str, str] = {}
    if (evaluation := _report(record)) is not None:
        base, tuned = evaluation.base, evaluation.tuned
        rows = f"{count(base.n, 'row')} of {evaluation.source.title}"
        kept = ", which is the base itself," if record.training.best_step == 0 else ""
        found["scores.png"] = (
            f"Two scatter plots of gold score against {evaluation.similarity} similarity, a dot for each of {rows}. "
            f"{TIMES_100}: base {points(base.spearman)}, tuned{kept} {points(tuned.spearman)}."
        )
        found["similarities.png"] = (
            f"Histograms of the {evaluation.similarity} similarities that the base (filled) and the tuned model"
            f"{kept} (outlined) give to {rows}, on the same axes."
        )
    if _has_curve(record):
        found["training.png"] = " ".join(filter(None, (_score_sentence(record), _loss_sentence(record))))
    return {name: " ".join(str(printable(text)).split()) for name, text in found.items()}


def _report(record: RunRecord) -> Evaluation | None:
    return next((evaluation for evaluation in record.evaluations if evaluation.role == "report"), None)


def _scored(record: RunRecord) -> list[Checkpoint]:
    return [
        point for point in record.training.checkpoints if point.spearman is not None and math.isfinite(point.spearman)
    ]


def _lossy(record: RunRecord) -> list[Checkpoint]:
    return [point for point in record.training.checkpoints if point.loss is not None and math.isfinite(point.loss)]


def _has_curve(record: RunRecord) -> bool:
    """Whether a step after the base's has a score or a loss."""
    return any(point.step > 0 for point in _scored(record) + _lossy(record))


def _score_sentence(record: RunRecord) -> str:
    scored, best = _scored(record), record.training.best_step
    if not scored:
        return ""
    scores = {point.step: point.spearman for point in scored}
    first, last = scored[0].step, scored[-1].step
    base = f"the base, at step 0, has {points(scores[0])}; " if 0 in scores else ""
    chosen = "the base itself" if best == 0 else f"step {best}"
    value = f" with {points(scores[best])}" if best in scores and best else ""
    return f"{TIMES_100} on the selection rows from step {first} to step {last}: {base}chosen: {chosen}{value}."


def _loss_sentence(record: RunRecord) -> str:
    if not (points_ := _lossy(record)):
        return ""
    first, last = points_[0], points_[-1]
    return f"Mean training loss: {first.loss:.4g} at step {first.step}, {last.loss:.4g} at step {last.step}."


def _rows(evaluation: Evaluation, drawn: int, left_out: int) -> str:
    without = f" ({left_out:,} left out: no similarity)" if left_out else ""
    return f"{short(evaluation.source.title)}, {count(drawn, 'row')}{without}"


def _names(record: RunRecord) -> tuple[str, str]:
    return "Base", "Tuned (the base)" if record.training.best_step == 0 else "Tuned"


def _scores(
    evaluation: Evaluation, title: str, names: tuple[str, str], gold: Floats, base: Floats, tuned: Floats
) -> Figure:
    figure = empty(4.2, title)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    y = Axis.over(np.concatenate([base, tuned]), f"{short(evaluation.similarity)} similarity")
    # The more dots, the smaller and the fainter: what is dense stays darker than what is not.
    size, alpha = (
        np.clip(4.0 * (1000 / len(gold)) ** 0.25, 1.2, 5.0),
        np.clip(0.35 * (1000 / len(gold)) ** 0.5, 0.02, 0.6),
    )
    for axes, name, score, values, colour in zip(
        panels, names, (evaluation.base, evaluation.tuned), (base, tuned), (BASE, TUNED), strict=True
    ):
        axes.plot(gold, values, "o", color=colour, alpha=alpha, markersize=size, markeredgewidth=0, clip_on=False)
        axes.set_title(f"{name}, {TIMES_100}: {points(score.spearman)}")
        _scale(axes, Axis(0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0), "gold score"), y)
    panels[1].set_ylabel("")
    return figure


def _similarities(evaluation: Evaluation, title: str, names: tuple[str, str], base: Floats, tuned: Floats) -> Figure:
    figure = empty(3.4, title)
    axes = figure.subplots()
    both = np.concatenate([base, tuned])
    x = Axis.over(both, f"{short(evaluation.similarity)} similarity")
    bins = np.linspace(x.low, x.high, 1 + (len(x.ticks) - 1) * (5 if len(both) > 400 else 2))
    counts = [np.histogram(np.clip(values, x.low, x.high), bins)[0] for values in (base, tuned)]
    axes.stairs(counts[0], bins, fill=True, color=BASE, alpha=0.5, linewidth=0, label=names[0])
    axes.stairs(counts[1], bins, color=TUNED, linewidth=1.75, label=names[1])
    _scale(axes, x, Axis.over([0, *counts[0].tolist(), *counts[1].tolist()], "rows", whole=True))
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0, labelcolor=TEXT)
    return figure


def _training(record: RunRecord) -> Figure:
    """Scores above, losses below, or the one of them that there is."""
    scored, lossy, best = _scored(record), _lossy(record), record.training.best_step
    steps = [point.step for point in record.training.checkpoints]
    x = Axis.over([0, *steps], "step", whole=True, tight=True)
    select = next((e for e in record.evaluations if e.role == "select"), None)
    title = f"Training, scored on {short(select.source.title)}" if select and scored else "Training"
    figure = empty(2.0 + 1.5 * (bool(scored) + bool(lossy)), title)
    panels = figure.subplots(bool(scored) + bool(lossy), 1, sharex=True, squeeze=False)[:, 0].tolist()
    if scored:
        # None becomes NaN, which breaks the line.
        values = np.array([point.spearman for point in record.training.checkpoints], np.float64) * 100
        axes = panels[0]
        axes.set_title(TIMES_100)
        _lines(axes, record, lambda point: None if point.spearman is None else 100 * point.spearman)
        base = next((value for step, value in zip(steps, values.tolist(), strict=True) if step == 0), None)
        if base is not None and np.isfinite(base):
            axes.axhline(base, color=QUIET, linewidth=1.25, linestyle=(0, (5, 4)), label=f"base {points(base / 100)}")
        for step, value in zip(steps, values.tolist(), strict=True):
            if step == best and np.isfinite(value):
                label = "chosen: the base" if best == 0 else f"chosen: step {best:,}, {points(value / 100)}"
                ring = {"markersize": 11, "markerfacecolor": "none", "markeredgecolor": TEXT, "markeredgewidth": 1.5}
                axes.plot([step], [value], "o", linestyle="none", clip_on=False, label=label, **ring)
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        _scale(axes, x, Axis.over([low - 0.05 * (high - low), high]))  # the base's level lies off the axis
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0, labelcolor=TEXT)
    if lossy:
        losses = [point.loss for point in lossy]
        panels[-1].set_title("Mean loss since the checkpoint before")
        _lines(panels[-1], record, lambda point: point.loss)
        _scale(panels[-1], x, Axis.over([loss for loss in losses if loss is not None]))
    if len(panels) > 1:
        panels[0].set_xlabel("")
    return figure


def _lines(axes: Axes, record: RunRecord, value: Callable[[Checkpoint], float | None]) -> None:
    """A line for each of several trainings; it breaks where there is no value."""
    for part in record.training.stretches:
        values = np.array([value(point) for point in part], np.float64)
        shown = np.where(np.isfinite(values), values, np.nan)
        steps = [point.step for point in part]
        axes.plot(steps, shown, "o-", color=TUNED, linewidth=1.75, markersize=4.5, clip_on=False)


def _scale(axes: Axes, x: Axis, y: Axis) -> None:
    room = 0.015 * (x.high - x.low)  # for what is drawn at the ends
    axes.set_xlim(x.low - room, x.high + room)
    axes.set_xticks(x.ticks, x.texts())
    axes.set_ylim(y.low, y.high)
    axes.set_yticks(y.ticks, y.texts())
    axes.set_xlabel(x.label)
    axes.set_ylabel(y.label)
