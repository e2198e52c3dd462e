"""Several models on the same rows -> one HTML page that needs nothing else: no network, no script, no font.

Every model but the first is compared with the first, as on the command line. The page looks like a run's report.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from hf_simtune import plots, wording
from hf_simtune.errors import RequestError
from hf_simtune.evaluation.compare import Comparison, power_sentence
from hf_simtune.evaluation.correlation import why_undefined
from hf_simtune.plots import Axis
from hf_simtune.report import Mover, movers
from hf_simtune.report_text import breakable, decimals, minus, places, points, printable, signed, templates
from hf_simtune.scores_file import RowScores
from hf_simtune.version import __version__

if TYPE_CHECKING:
    from hf_simtune.scoring import Scored

__all__ = ["render"]

Floats = NDArray[np.float64]
MOST_DOTS, FEWEST_DOTS, ALL_DOTS = 3000, 500, 12_000  # in one figure at most and at least, and on the page
SHOWN_MOVERS = 8
LONGEST = 40  # letters of a name that the key of a figure has room for
COLOURS = 6  # of series.css


@dataclasses.dataclass(frozen=True)
class Model:
    """What the page shows of one model."""

    scored: Scored
    series: str  # the class that colours it
    comparison: Comparison | None  # with the first; None for the first
    verdict: str
    reason: str | None  # why the comparison has no interval or no difference
    forest: Markup | None
    scatter: Markup | None
    left_out: int  # rows to which it gave no similarity
    spread: tuple[float | None, ...]  # of its similarities, as SPREAD has them
    ranked: int  # rows to which it and the first gave a similarity
    better: tuple[Mover, ...] = ()
    worse: tuple[Mover, ...] = ()
    no_order: str | None = None  # why no row can be said to have moved


SPREAD = ("mean", "deviation", "5 % below", "median", "5 % above")


def render(
    first: Scored, others: Sequence[tuple[Scored, Comparison]], texts: Mapping[int, tuple[str, str]] | None = None
) -> str:
    """The comparison of several models, as the text of one HTML file.

    Args:
        first: the model that every other is compared with.
        others: the others, on the same rows in the same order, each with its comparison with the first.
        texts: the two sentences of a row by row number. Only for a page that stays on the user's machine: without it
            the page names rows by number alone.

    Returns:
        HTML whose every value is escaped, and which holds no script and no address that a browser would load. The same
        arguments give the same page.

    Raises:
        RequestError: there is no other model, or one was scored on other rows.
    """
    if not others:
        raise RequestError(
            "one model alone is no comparison", hint="As in: hf-simtune compare MODEL_A MODEL_B --data D"
        )
    for other, _ in others:
        if not (np.array_equal(first.row, other.row) and np.array_equal(first.gold, other.gold)):
            raise RequestError(f"{other.model} was not scored on the rows of {first.model}: they cannot be on one page")
    everyone = [first, *(other for other, _ in others)]
    comparisons: list[Comparison | None] = [None, *(comparison for _, comparison in others)]
    seen = _seen(len(first.row), len(everyone))
    similar = sorted({scored.similarity for scored in everyone})
    label = f"{similar[0]} similarity" if len(similar) == 1 and similar[0] != "as recorded" else "similarity"
    y = Axis.over(np.concatenate([scored.similarities[seen] for scored in everyone]), label)
    scale, forests = _forests(comparisons)
    named = {(first.evaluation, row): pair for row, pair in (texts or {}).items()}
    models = []
    for index, (scored, comparison) in enumerate(zip(everyone, comparisons, strict=True)):
        no_order = _no_order(first, scored) if comparison else None
        better, worse = _moved(first, scored, named) if comparison and not no_order else ((), ())
        kept = scored.similarities[np.isfinite(scored.similarities)]
        models.append(
            Model(
                scored,
                f"s{index % COLOURS}",
                comparison,
                _verdict(comparison),
                _reason(comparison),
                forests[index],
                _scatter(f"rows{index}", scored, seen, y, f"s{index % COLOURS}"),
                len(scored.similarities) - len(kept),
                _spread(kept),
                int(_ranked(first, scored).sum()),
                better,
                worse,
                no_order,
            )
        )
    sampled = sorted({c.resamples for c in comparisons if c and c.resamples})
    return _page().render(
        first=first,
        models=models,
        others=models[1:],
        headline=_headline([model.comparison for model in models[1:] if model.comparison]),
        overall=models[1].verdict if len(models) == 2 else None,
        builtin=first.evaluation.startswith("builtin:"),
        groups=len(np.unique(first.group)),
        similarities=similar,
        sampled=sampled,
        confidence=sorted({c.confidence for c in comparisons if c}),
        seeds=sorted({c.seed for c in comparisons if c and c.resamples}),
        power=[
            (model, text) for model in models[1:] if model.comparison and (text := power_sentence(model.comparison))
        ],
        scale=scale,
        drawn=len(seen),
        histogram=_histogram(everyone, label),
        spread_names=SPREAD,
        mark=plots.verdict_mark,
        shows_texts=any(mover.texts for model in models for mover in model.better + model.worse),
        version=__version__,
    )


def _seen(n: int, models: int) -> NDArray[np.intp]:
    """The rows that are drawn, the same for every model, fewer each where there are many models."""
    most = max(FEWEST_DOTS, min(MOST_DOTS, ALL_DOTS // models))
    return np.sort(np.random.default_rng(0).choice(n, most, replace=False)) if n > most else np.arange(n)


def _verdict(comparison: Comparison | None) -> str:
    """A verdict needs a difference, whatever else a comparison says."""
    if comparison is None or comparison.difference is None or comparison.verdict not in plots.MARKS:
        return "no evidence"
    return comparison.verdict


def _reason(comparison: Comparison | None) -> str | None:
    """In the names of this page, which has a first model and others where a run has its base and the tuned one."""
    if comparison is None or comparison.reason is None:
        return None
    return comparison.reason.replace("the base model's", "the first model's").replace(
        "the tuned model's", "this model's"
    )


def _headline(comparisons: Sequence[Comparison]) -> str:
    verdicts = [_verdict(comparison) for comparison in comparisons]
    if len(verdicts) > 1:
        told = (("improved", "better"), ("regressed", "worse"), ("no evidence", "without evidence of a difference"))
        parts = [f"{verdicts.count(verdict)} {words}" for verdict, words in told if verdict in verdicts]
        return f"{len(verdicts)} models against the first: {', '.join(parts)}"
    difference = comparisons[0].difference
    if difference is None:
        return "No evidence: no comparison could be made"
    size = points(abs(difference))
    words = {
        "improved": f"Better than the first by {size} points",
        "regressed": f"Worse than the first by {size} points",
    }
    return words.get(verdicts[0], "No evidence of a difference")


def _forests(comparisons: Sequence[Comparison | None]) -> tuple[tuple[str, str] | None, list[Markup | None]]:
    """An interval bar for each difference on one scale, with the ends of that scale; None where there is nothing."""
    known = [c for c in comparisons if c is not None and c.difference is not None]
    ends = [0.0] + [end for c in known for end in (c.low, c.difference, c.high) if end is not None]
    x = Axis.over(ends, tight=True)
    bars: list[Markup | None] = []
    for index, c in enumerate(comparisons):
        if c is None or c.difference is None:
            bars.append(None)
            continue
        about = f"{signed(c.difference)} points of Spearman" + (
            f", interval {signed(c.low)} to {signed(c.high)}." if c.low is not None and c.high is not None else "."
        )
        title = "Difference, this model minus the first"
        bars.append(
            plots.forest(f"forest{index}", c.low, c.difference, c.high, x, _verdict(c), title=title, about=about)
        )
    return ((signed(x.low), signed(x.high)) if known else None), bars


def _scatter(name: str, scored: Scored, seen: NDArray[np.intp], y: Axis, series: str) -> Markup | None:
    here = seen[np.isfinite(scored.similarities[seen]) & np.isfinite(scored.gold[seen])]
    if not len(here):
        return None
    return plots.scatter(
        name,
        scored.gold[here],
        scored.similarities[here],
        Axis(0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0), "gold score"),
        y,
        series=series,
        title=f"Gold score against the similarity of {scored.model}",
        about=f"A dot for each of {wording.count(len(here), 'row')} of {scored.evaluation}. Spearman x 100: "
        f"{points(scored.score.spearman)}. The higher it is, the more nearly the dots rise from the lower left to the "
        "upper right.",
    )


def _histogram(everyone: Sequence[Scored], label: str) -> Markup | None:
    """The similarities of every model that gave any, in the same bins, as outlines."""
    kept = [(scored, scored.similarities[np.isfinite(scored.similarities)]) for scored in everyone]
    series = [(f"{index}. {_short(scored.model)}", values) for index, (scored, values) in enumerate(kept, 1)]
    series = [(name, values) for name, values in series if len(values)]
    if not series:
        return None
    x = Axis.over(np.concatenate([values for _, values in series]))
    bins = (len(x.ticks) - 1) * (5 if len(everyone[0].row) > 200 else 2)
    edges = np.linspace(x.low, x.high, bins + 1)
    counted = [(name, np.histogram(np.clip(values, x.low, x.high), edges)[0].tolist()) for name, values in series]
    means = "; ".join(f"{name}: mean {decimals(float(values.mean()))}" for name, values in series)
    return plots.outlines("similarities", counted, x.low, x.high, label, "% of rows", about=f"{means}.")


def _spread(values: Floats) -> tuple[float | None, ...]:
    """The figures of SPREAD; None where there are no values, shape (n,)."""
    if not len(values):
        return (None,) * len(SPREAD)
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95)).tolist()
    return float(values.mean()), float(values.std()), low, middle, high


def _ranked(first: Scored, other: Scored) -> NDArray[np.bool_]:
    """Rows that have a place in both models' order, shape (n,)."""
    kept: NDArray[np.bool_] = (
        np.isfinite(first.gold) & np.isfinite(first.similarities) & np.isfinite(other.similarities)
    )
    return kept


def _no_order(first: Scored, other: Scored) -> str | None:
    kept = _ranked(first, other)
    return (
        why_undefined(first.gold[kept], "gold scores")
        or why_undefined(first.similarities[kept], whose="the first model's")
        or why_undefined(other.similarities[kept], whose="this model's")
    )


def _moved(
    first: Scored, other: Scored, texts: Mapping[tuple[str, int], tuple[str, str]]
) -> tuple[tuple[Mover, ...], tuple[Mover, ...]]:
    """The rows that the other model places much nearer to their place by gold than the first does, and much farther."""
    part = RowScores(
        first.evaluation, "report", first.row, first.group, first.gold, first.similarities, other.similarities
    )
    better, worse = movers(part, SHOWN_MOVERS, texts)
    return tuple(better), tuple(worse)


def _short(name: str) -> str:
    name, half = " ".join(str(printable(name)).split()), LONGEST // 2 - 1
    return name if len(name) <= LONGEST else f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


@functools.cache
def _page() -> jinja2.Template:
    environment = templates()
    for function in (points, signed, decimals, places, breakable, minus):
        environment.filters[function.__name__] = function
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters["p"] = lambda value: "–" if value is None else wording.p_value(value)  # noqa: RUF001
    environment.filters["percent"] = lambda value: f"{100 * value:g} %"
    return environment.get_template("comparison.html.jinja")
