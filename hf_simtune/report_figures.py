"""RunRecord -> the figures of a run page that need no row scores: intervals, curves, dimensions, how vectors lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from markupsafe import Markup

from hf_simtune import line_plots, plots
from hf_simtune.evaluation.compare import MARGIN, probe_answer
from hf_simtune.plots import Axis
from hf_simtune.record import Evaluation, Health, RunRecord, Score, Training
from hf_simtune.report_text import decimals, points, signed

__all__ = ["Cut", "cuts", "forests", "health_panels", "loss_curve", "training_curve"]

TIMES_100 = "Spearman \N{MULTIPLICATION SIGN} 100"
MEASURES = (  # of Health: field, label, and what its axis shows in any case
    ("anisotropy", "anisotropy", (0.0, 1.0)),
    ("uniformity", "uniformity", (-4.0, 0.0)),
    ("effective_rank", "effective rank", (0.0,)),
    ("active_dimensions", "active dimensions", (0.0,)),
)


@dataclasses.dataclass(frozen=True)
class Cut:
    """The scores of an evaluation by how many dimensions are kept."""

    evaluation: Evaluation
    rows: tuple[tuple[int, Score, Score], ...]  # dimensions, base, tuned; the most dimensions first
    whole: int  # dimensions of the model, which are all
    figure: Markup | None  # None where no score is defined, or there is one number of dimensions alone


def forests(record: RunRecord) -> list[Markup | None]:
    """An interval bar for each evaluation, all on one scale; None where there is no difference to draw."""
    evaluations = record.evaluations
    spans = [(_difference(evaluation), evaluation.comparison) for evaluation in evaluations]
    ends = [0.0] + [difference for difference, _ in spans if difference is not None]
    ends += [end for _, c in spans if c for end in (c.low, c.high) if end is not None]
    ends += [-MARGIN for evaluation in evaluations if evaluation.role == "probe"]
    x = Axis.over(ends, tight=True)
    bars: list[Markup | None] = []
    for index, ((difference, comparison), evaluation) in enumerate(zip(spans, evaluations, strict=True)):
        low, high = (comparison.low, comparison.high) if comparison else (None, None)
        about = f"{signed(difference)} points of Spearman" + (
            f", interval {signed(low)} to {signed(high)}." if low is not None and high is not None else ", no interval."
        )
        bar = (
            None
            if difference is None
            else plots.forest(
                f"forest{index}",
                low,
                difference,
                high,
                x,
                _shade(record, evaluation),
                title="Difference, tuned minus base",
                about=about,
                margin=-MARGIN if evaluation.role == "probe" else None,
            )
        )
        bars.append(bar)
    return bars


def _shade(record: RunRecord, evaluation: Evaluation) -> str:
    """The verdict whose colour a bar has: a probe has none but that of a loss, an untrained base none at all."""
    comparison = evaluation.comparison
    if comparison is None or record.base.untrained:
        return "no evidence"
    if evaluation.role == "probe":
        return "regressed" if probe_answer(comparison) == "worse" else "no evidence"
    return comparison.verdict if comparison.verdict in plots.MARKS else "no evidence"


def _difference(evaluation: Evaluation) -> float | None:
    if evaluation.comparison and evaluation.comparison.difference is not None:
        return evaluation.comparison.difference
    base, tuned = evaluation.base.spearman, evaluation.tuned.spearman
    return None if base is None or tuned is None else tuned - base


def training_curve(record: RunRecord) -> Markup | None:
    """The selection score by step; None where no checkpoint has one."""
    steps = [(point.step, _hundred(point.spearman)) for point in record.training.checkpoints]
    if not any(value is not None for _, value in steps):
        return None
    apart = _apart([[(point.step, _hundred(point.spearman)) for point in part] for part in record.training.stretches])
    best = record.training.best_step
    base = next((value for step, value in steps if step == 0), None)
    chosen = next((value for step, value in steps if step == best), None)
    return line_plots.curve(
        "curve",
        apart,
        Axis.over([step for step, _ in steps], "step", whole=True, tight=True),
        TIMES_100,
        title="Selection score by step",
        about=f"{len(steps)} scores from step {steps[0][0]} to step {steps[-1][0]}; chosen: step {best}"
        + (f" with {points(chosen / 100)}" if chosen is not None else "")
        + (f"; the base, at step 0, has {points(base / 100)}." if base is not None else "."),
        level=base,
        chosen=best,
    )


def loss_curve(training: Training) -> Markup | None:
    """The training loss by step; None where none was recorded."""
    parts = [[(point.step, point.loss) for point in part if point.loss is not None] for part in training.stretches]
    steps = [point for part in parts for point in part]
    if not steps:
        return None
    last = max(point.step for point in training.checkpoints)
    return line_plots.curve(
        "loss",
        _apart(parts),
        Axis.over([0, last], "step", whole=True, tight=True),
        "mean loss",
        title="Training loss by step",
        about=f"From {steps[0][1]:.4g} at step {steps[0][0]} to {steps[-1][1]:.4g} at step {steps[-1][0]}.",
    )


def _apart(parts: Sequence[Sequence[tuple[int, float | None]]]) -> list[tuple[int, float | None]]:
    """The points of several trainings, with a break between them."""
    return [point for part in parts if part for point in (*part, (part[-1][0], None))]


def cuts(record: RunRecord) -> list[Cut]:
    """Base and tuned by dimension, for each evaluation that was scored with embeddings cut short."""
    whole = record.tuned.dimensions
    found = []
    for index, evaluation in enumerate(record.evaluations):
        if not evaluation.truncated:
            continue
        rows = {part.dimensions: (part.base, part.tuned) for part in evaluation.truncated}
        if record.base.dimensions == whole:
            rows.setdefault(whole, (evaluation.base, evaluation.tuned))
        ordered = tuple((count, *rows[count]) for count in sorted(rows, reverse=True))
        found.append(Cut(evaluation, ordered, whole, _by_dimension(f"cut{index}", evaluation, ordered)))
    return found


def _by_dimension(name: str, evaluation: Evaluation, rows: Sequence[tuple[int, Score, Score]]) -> Markup | None:
    defined = [score for _, *scores in rows for score in scores if score.spearman is not None]
    if len(rows) < 2 or not defined:
        return None
    least, most = rows[-1], rows[0]
    return line_plots.by_dimension(
        name,
        [(count, _hundred(base.spearman)) for count, base, _ in reversed(rows)],
        [(count, _hundred(tuned.spearman)) for count, _, tuned in reversed(rows)],
        TIMES_100,
        title=f"Spearman by dimension on {evaluation.source.title}",
        about="; ".join(
            f"{count:,} dimensions: base {points(base.spearman)}, tuned {points(tuned.spearman)}"
            for count, base, tuned in (least, most)
        )
        + ".",
    )


def health_panels(record: RunRecord) -> list[tuple[str, Markup]]:
    """What each measure of the probe's vectors was by step, with a name for each; none of a single measurement.

    The base's is the level. The first step with a finding has its name, and every one a cross.
    """
    health = record.health
    if len(health) < 2:
        return []
    x = Axis.over([now.step for now in health], "step", whole=True, tight=True)
    best = record.training.best_step
    marks, panels = _marks(health), []
    for field, label, holds in MEASURES:
        steps: list[tuple[int, float | None]] = [(now.step, getattr(now, field)) for now in health]
        known = [(step, value) for step, value in steps if value is not None]
        if not known:
            continue
        ends = [f"{decimals(value)} at step {step:,}" for step, value in (known[0], known[-1])]
        figure = line_plots.curve(
            f"health-{field.replace('_', '-')}",
            steps,
            x,
            label,
            title=f"{label.capitalize()} by step",
            about=f"From {ends[0]} to {ends[1]}.",
            level=next((value for step, value in known if step == 0), None),
            chosen=best or None,
            marks=marks,
            holds=holds,
            frame=line_plots.PANEL,
        )
        panels.append((label, figure))
    return panels


def _marks(health: Sequence[Health]) -> list[tuple[int, str]]:
    """Every step with a finding, and the names of those that are found there for the first time."""
    told: set[str] = set()
    marks = []
    for now in health:
        if now.findings:
            marks.append((now.step, ", ".join(name for name in now.findings if name not in told)))
            told.update(now.findings)
    return marks


def _hundred(value: float | None) -> float | None:
    return None if value is None else 100 * value
