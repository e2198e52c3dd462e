"""RunRecord and row scores -> one HTML page that needs nothing else: no network, no script, no font.

The facts come from the record. The figures of single rows, their ranks and their quantiles, are drawn from the run's
``scores.parquet``, which holds every row's score and similarities.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from hf_simtune import plots
from hf_simtune.evaluation.compare import certainty, power_sentence
from hf_simtune.evaluation.correlation import midranks, why_undefined
from hf_simtune.plots import Axis
from hf_simtune.record import Evaluation, RunRecord, Source
from hf_simtune.report_text import breakable, decimals, minus, places, points, shown, signed, templates
from hf_simtune.scores_file import RowScores
from hf_simtune.wording import duration

__all__ = ["Mover", "movers", "render"]

Texts = Mapping[tuple[str, int], tuple[str, str]]
MOST_DOTS = 3000  # a page with more is slow on a phone, and shows no more
SHOWN_MOVERS = 8


@dataclasses.dataclass(frozen=True)
class Mover:
    """A row whose place in the models' order changed; errors are distances in places to its place by gold score."""

    row: int
    gold: float
    base: float
    tuned: float
    before: float  # |rank by base - rank by gold|
    after: float  # |rank by tuned - rank by gold|
    texts: tuple[str, str] | None = None


@dataclasses.dataclass(frozen=True)
class Rows:
    """The figures of one evaluation, drawn from its row scores."""

    evaluation: Evaluation
    n: int
    left_out: int  # rows to which a model gave no similarity
    drawn: int  # dots in each scatter plot
    scatters: tuple[tuple[str, float | None, Markup], ...]  # series, Spearman, figure
    histogram: Markup | None
    spread: tuple[tuple[str, float, float], ...]  # name, base, tuned
    better: tuple[Mover, ...]
    worse: tuple[Mover, ...]
    no_order: str | None  # why no row can be said to have moved


def render(record: RunRecord, scores: Sequence[RowScores], *, texts: Texts | None = None) -> str:
    """The report of a run, as the text of one HTML file.

    Args:
        record: every fact that the page states.
        scores: the parts of the run's ``scores.parquet``; an evaluation without its part has no row figures, and the
            page says so.
        texts: the two sentences of a row by ``(Source.title, row number)``. Only for a page that stays on the user's
            machine: without it the page names rows by number alone.

    Returns:
        HTML whose every value is escaped, and which holds no script and no address that a browser would load.
    """
    report = next((evaluation for evaluation in record.evaluations if evaluation.role == "report"), None)
    parts = {(part.evaluation, part.role): part for part in scores}
    rows = [
        _rows(f"rows{index}", evaluation, parts.get((evaluation.source.title, evaluation.role)), texts or {})
        for index, evaluation in enumerate(record.evaluations)
    ]
    selection = next((evaluation for evaluation in record.evaluations if evaluation.role == "select"), None)
    comparison = report.comparison if report else None
    return _page().render(
        record=record,
        report=report,
        selection=selection,
        comparison=comparison,
        verdict=comparison.verdict if comparison and comparison.difference is not None else "no evidence",
        kept_base=record.training.best_step == 0,
        builtin=record.offline or any(evaluation.source.kind == "builtin" for evaluation in record.evaluations),
        rows=rows,
        forests=_forests(record.evaluations),
        curve=_training_curve(record),
        losses=_loss_curve(record),
        sources=_sources(record),
        mark=plots.verdict_mark,
        power=power_sentence,
        sure=minus(certainty(comparison)) if comparison else "",
        shows_texts=any(mover.texts for view in rows for mover in view.better + view.worse),
    )


def movers(part: RowScores, most: int, texts: Texts | None = None) -> tuple[list[Mover], list[Mover]]:
    """The rows that came closest to, and those that went farthest from, their place in the gold order.

    A row's error is the distance between its rank by similarity and its rank by gold score, 1..n, ties sharing their
    mean rank; Spearman's correlation is made of exactly these distances. Rows without both similarities are left out.

    Returns:
        At most ``most`` rows that improved and as many that worsened, the largest change first, then by row number.
    """
    kept = _finite(part)
    row, gold, base, tuned = part.row[kept], part.gold[kept], part.base[kept], part.tuned[kept]
    wanted = midranks(gold)
    before, after = np.abs(midranks(base) - wanted), np.abs(midranks(tuned) - wanted)
    change = after - before

    def mover(index: int) -> Mover:
        number = int(row[index])
        return Mover(
            number,
            float(gold[index]),
            float(base[index]),
            float(tuned[index]),
            float(before[index]),
            float(after[index]),
            (texts or {}).get((part.evaluation, number)),
        )

    better = [mover(index) for index in np.lexsort((row, change))[:most] if change[index] < 0]
    worse = [mover(index) for index in np.lexsort((row, -change))[:most] if change[index] > 0]
    return better, worse


def _finite(part: RowScores) -> NDArray[np.bool_]:
    kept: NDArray[np.bool_] = np.isfinite(part.gold) & np.isfinite(part.base) & np.isfinite(part.tuned)
    return kept


def _rows(name: str, evaluation: Evaluation, part: RowScores | None, texts: Texts) -> Rows:
    kept = np.flatnonzero(_finite(part)) if part else np.array([], np.int64)
    if part is None or not len(kept):
        return Rows(evaluation, len(part or ()), len(part or ()), 0, (), None, (), (), (), None)
    n = len(kept)
    seen = np.sort(np.random.default_rng(0).choice(kept, MOST_DOTS, replace=False)) if n > MOST_DOTS else kept
    base, tuned = part.base[kept], part.tuned[kept]
    label = f"{evaluation.similarity} similarity"
    x, y = Axis(0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0), "gold score"), Axis.over(np.concatenate([base, tuned]), label)
    where = f"of {len(seen):,} rows of {evaluation.source.title}"
    scatters = tuple(
        (
            series,
            score.spearman,
            plots.scatter(
                f"{name}-{series}",
                part.gold[seen],
                values[seen],
                x,
                y,
                series=series,
                title=f"Gold score against the {series} model's similarity",
                about=f"A dot for each {where}. Spearman x 100: {points(score.spearman)}. The higher it is, the more "
                "nearly the dots rise from the lower left to the upper right.",
            ),
        )
        for series, values, score in (("base", part.base, evaluation.base), ("tuned", part.tuned, evaluation.tuned))
    )
    spread = tuple(
        (title, float(figure(base)), float(figure(tuned)))
        for title, figure in (
            ("mean", np.mean),
            ("standard deviation", np.std),
            ("5 % lie below", lambda values: np.quantile(values, 0.05)),
            ("median", np.median),
            ("5 % lie above", lambda values: np.quantile(values, 0.95)),
        )
    )
    histogram = plots.histogram(
        f"{name}-histogram",
        base,
        tuned,
        label,
        title="Similarities before and after",
        about="; ".join(f"{title}: base {decimals(a)}, tuned {decimals(b)}" for title, a, b in spread) + ".",
    )
    no_order = (
        why_undefined(part.gold[kept], "gold scores")
        or why_undefined(base, whose="the base model's")
        or why_undefined(tuned, whose="the tuned model's")
    )
    better, worse = ([], []) if no_order else movers(part, SHOWN_MOVERS, texts)
    return Rows(
        evaluation,
        n,
        len(part) - n,
        len(seen),
        scatters,
        histogram,
        spread,
        tuple(better),
        tuple(worse),
        no_order,
    )


def _forests(evaluations: Sequence[Evaluation]) -> list[Markup | None]:
    """An interval bar for each evaluation, all on one scale; None where there is no difference to draw."""
    spans = [(_difference(evaluation), evaluation.comparison) for evaluation in evaluations]
    ends = [0.0] + [difference for difference, _ in spans if difference is not None]
    ends += [end for _, c in spans if c for end in (c.low, c.high) if end is not None]
    x = Axis.over(ends, tight=True)
    bars: list[Markup | None] = []
    for index, (difference, comparison) in enumerate(spans):
        low, high = (comparison.low, comparison.high) if comparison else (None, None)
        about = f"{signed(difference)} points of Spearman" + (
            f", interval {signed(low)} to {signed(high)}." if low is not None and high is not None else ", no interval."
        )
        verdict = comparison.verdict if comparison and comparison.verdict in plots.MARKS else "no evidence"
        bar = (
            None
            if difference is None
            else plots.forest(
                f"forest{index}", low, difference, high, x, verdict, title="Difference, tuned minus base", about=about
            )
        )
        bars.append(bar)
    return bars


def _difference(evaluation: Evaluation) -> float | None:
    if evaluation.comparison and evaluation.comparison.difference is not None:
        return evaluation.comparison.difference
    base, tuned = evaluation.base.spearman, evaluation.tuned.spearman
    return None if base is None or tuned is None else tuned - base


def _training_curve(record: RunRecord) -> Markup | None:
    steps = [
        (point.step, None if point.spearman is None else 100 * point.spearman) for point in record.training.checkpoints
    ]
    if not any(value is not None for _, value in steps):
        return None
    best = record.training.best_step
    base = next((value for step, value in steps if step == 0), None)
    chosen = next((value for step, value in steps if step == best), None)
    return plots.curve(
        "curve",
        steps,
        Axis.over([step for step, _ in steps], "step", whole=True, tight=True),
        "Spearman \N{MULTIPLICATION SIGN} 100",
        title="Selection score by step",
        about=f"{len(steps)} scores from step {steps[0][0]} to step {steps[-1][0]}; chosen: step {best}"
        + (f" with {points(chosen / 100)}" if chosen is not None else "")
        + (f"; the base, at step 0, has {points(base / 100)}." if base is not None else "."),
        level=base,
        chosen=best,
    )


def _loss_curve(record: RunRecord) -> Markup | None:
    steps = [(point.step, point.loss) for point in record.training.checkpoints if point.loss is not None]
    if not steps:
        return None
    last = max(point.step for point in record.training.checkpoints)
    return plots.curve(
        "loss",
        steps,
        Axis.over([0, last], "step", whole=True, tight=True),
        "mean loss",
        title="Training loss by step",
        about=f"From {steps[0][1]:.4g} at step {steps[0][0]} to {steps[-1][1]:.4g} at step {steps[-1][0]}.",
    )


def _sources(record: RunRecord) -> Iterator[tuple[str, Source]]:
    yield "Training rows", record.training.source
    names = {"report": "Rows for the verdict", "select": "Rows that chose the checkpoint"}
    for evaluation in record.evaluations:
        yield names.get(evaluation.role, evaluation.role), evaluation.source


@functools.cache
def _page() -> jinja2.Template:
    environment = templates()
    for function in (points, signed, decimals, places, duration, breakable, shown):
        environment.filters[function.__name__] = environment.globals[function.__name__] = function
    environment.filters["count"] = lambda value: f"{value:,}"
    return environment.get_template("report.html.jinja")
