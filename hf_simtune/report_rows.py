"""Row scores -> what a run page shows of single rows: scatter plots, histograms, and which rows moved."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from hf_simtune import plots
from hf_simtune.evaluation.correlation import midranks, why_undefined
from hf_simtune.plots import Axis
from hf_simtune.record import Evaluation
from hf_simtune.report_text import decimals, points
from hf_simtune.scores_file import RowScores

__all__ = ["Mover", "Rows", "Texts", "movers", "rows"]

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


def rows(name: str, evaluation: Evaluation, part: RowScores | None, texts: Texts) -> Rows:
    """What is to be seen of an evaluation's rows.

    Args:
        name: begins the ids of the figures.
        evaluation: whose rows they are.
        part: of the run's scores; without it, or without a row that both models gave a similarity, nothing is drawn.
        texts: the two sentences of a row by ``(Source.title, row number)``; rows without are named by number alone.
    """
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


def _finite(part: RowScores) -> NDArray[np.bool_]:
    kept: NDArray[np.bool_] = np.isfinite(part.gold) & np.isfinite(part.base) & np.isfinite(part.tuned)
    return kept
