"""Is the tuned model better than its base? A paired bootstrap over groups of connected rows."""

from __future__ import annotations

import dataclasses
import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_simtune.errors import RequestError
from hf_simtune.evaluation.bootstrap import ZERO, resampled_differences
from hf_simtune.evaluation.correlation import midranks, spearman, why_undefined
from hf_simtune.wording import count, interval, p_phrase, points, signed

__all__ = [
    "MARGIN",
    "NO_VERDICT",
    "Comparison",
    "certainty",
    "compare",
    "not_worse",
    "power_sentence",
    "probe_answer",
    "verdict_of",
    "verdict_sentence",
    "withheld",
]

FEWEST_GROUPS = 10  # below it the resamples are too alike for their spread to mean anything
MOST_UNDEFINED = 0.01  # share of the resamples in which a correlation may be missing
POWER = 0.8
MARGIN = 0.005  # of Spearman, half a point: what a model may lose on a probe and be called not worse


NO_VERDICT = "no verdict"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """The difference of two Spearman correlations on the same rows, with its interval."""

    n: int
    groups: int
    base: float | None  # Spearman of the base, -1..1
    tuned: float | None
    difference: float | None  # tuned - base
    low: float | None  # two-sided interval of the difference
    high: float | None
    confidence: float
    p: float | None  # (1 + k) / (resamples + 1), two-sided
    resamples: int
    seed: int
    verdict: str  # "improved", "no evidence" or "regressed"; NO_VERDICT on rows that selected
    reason: str | None = None  # why there is no verdict on figures, e.g. "the tuned model's similarities are constant"
    detectable: float | None = None  # gain that these rows would have shown in 80 % of runs
    more_rows: int | None = None
    detectable_with_more: float | None = None


def compare(
    gold: ArrayLike,
    base: ArrayLike,
    tuned: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Comparison:
    """Compare two models on the same rows by a paired bootstrap of the difference of their Spearman correlations.

    Whole groups are drawn with replacement, as many as there are, and both models are scored on each draw. The interval
    is the percentile interval; *improved* means that it lies above zero, *regressed* below, anything else is
    *no evidence*. The p value counts draws whose difference, less the observed one, is at least as large as it.

    Args:
        gold: scores given by people, shape (n,).
        base: the base model's similarities, shape (n,).
        tuned: the tuned model's similarities, shape (n,).
        groups: a label per row, shape (n,); rows with one label are drawn together. None: every row alone.
        resamples: how many draws.
        seed: of the draws; the same seed and arrays give the same result.
        confidence: of the two-sided interval, above 0 and below 1.

    Returns:
        The comparison. ``resamples`` is the number of draws that the interval rests on: fewer than asked for where a
        correlation was undefined in some, 0 where none was needed or none would have meant anything.

    Raises:
        RequestError: arrays that do not go together, or settings out of range; with every problem found.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 13 (interval) and 16 (p).
    """
    gold, base, tuned, labels = _checked(gold, base, tuned, groups, resamples, seed, confidence)
    n = len(gold)
    bad_gold = why_undefined(gold, "gold scores")
    bad_base = bad_gold or why_undefined(base, whose="the base model's")
    bad_tuned = bad_gold or why_undefined(tuned, whose="the tuned model's")
    result = Comparison(
        n=n,
        groups=len(np.unique(labels)),
        base=None if bad_base else spearman(gold, base),
        tuned=None if bad_tuned else spearman(gold, tuned),
        difference=None,
        low=None,
        high=None,
        confidence=float(confidence),
        p=None,
        resamples=0,
        seed=int(seed),
        verdict="no evidence",
    )
    if result.base is None or result.tuned is None:
        return dataclasses.replace(result, reason="; ".join(dict.fromkeys(filter(None, (bad_base, bad_tuned)))))
    if np.array_equal(midranks(base), midranks(tuned)):
        same = "give the same similarities" if np.array_equal(base, tuned) else "put the rows in the same order"
        return dataclasses.replace(result, difference=0.0, low=0.0, high=0.0, p=1.0, reason=f"the two models {same}")
    result = dataclasses.replace(result, difference=result.tuned - result.base)
    if result.groups < FEWEST_GROUPS:
        rows = f"{count(n, 'row')} in {count(result.groups, 'group')} of connected rows"
        return dataclasses.replace(result, reason=f"{rows}: it takes {FEWEST_GROUPS} groups to resample")
    differences = resampled_differences(gold, base, tuned, labels, resamples, seed)
    missing = int(np.isnan(differences).sum())
    if missing > MOST_UNDEFINED * resamples:
        return dataclasses.replace(
            result,
            reason=f"in {missing:,} of {resamples:,} resamples a correlation is undefined: too many rows are tied",
        )
    return _with_verdict(result, differences[~np.isnan(differences)])


def verdict_of(low: float, high: float) -> str:
    """What the interval of a difference says: the whole of it above zero, below zero, or neither.

    >>> verdict_of(0.002, 0.014), verdict_of(-0.001, 0.012)
    ('improved', 'no evidence')
    """
    return "improved" if low > 0 else "regressed" if high < 0 else "no evidence"


def withheld(comparison: Comparison, reason: str) -> Comparison:
    """The same scores with no interval and no verdict, and why: what was compared is not what was to be."""
    return dataclasses.replace(
        comparison,
        low=None,
        high=None,
        p=None,
        resamples=0,
        verdict=NO_VERDICT if comparison.verdict == NO_VERDICT else "no evidence",
        reason=reason,
        detectable=None,
        more_rows=None,
        detectable_with_more=None,
    )


def not_worse(comparison: Comparison, margin: float = MARGIN) -> bool:
    """Whether the tuned model loses less than ``margin`` (0.005: half a point) on these rows.

    It does if and only if the interval's lower end is above ``-margin``: a test of non-inferiority. Without an interval
    nothing is shown, and so the answer is no.

    Source: Piaggio et al., Reporting of noninferiority and equivalence randomized trials, JAMA 308 (2012).
    """
    return comparison.low is not None and comparison.low > -margin


def probe_answer(comparison: Comparison, margin: float = MARGIN) -> str:
    """``not worse``; else ``worse`` where the interval lies wholly below zero; else ``cannot tell``."""
    if not_worse(comparison, margin):
        return "not worse"
    return "worse" if comparison.high is not None and comparison.high < 0 else "cannot tell"


def _with_verdict(result: Comparison, differences: NDArray[np.float64]) -> Comparison:
    """The comparison completed from the differences of its resamples, shape (resamples,), none of them NaN."""
    assert result.difference is not None
    tail = (1 - result.confidence) / 2
    low, high = (float(value) for value in np.quantile(differences, (tail, 1 - tail)))
    further = int((np.abs(differences - result.difference) >= abs(result.difference) - ZERO).sum())
    error = float(differences.std(ddof=1))
    detectable = (NormalDist().inv_cdf(1 - tail) + NormalDist().inv_cdf(POWER)) * error
    more = _round_figure(0.3 * result.n)
    result = dataclasses.replace(
        result,
        low=low,
        high=high,
        p=(1 + further) / (len(differences) + 1),
        resamples=len(differences),
        verdict=verdict_of(low, high),
    )
    if error <= ZERO:  # every resample shows the same difference, as with rho 1 against -1
        return result
    return dataclasses.replace(
        result,
        detectable=detectable,
        more_rows=more,
        detectable_with_more=detectable * math.sqrt(result.n / (result.n + more)),
    )


def power_sentence(comparison: Comparison) -> str:
    """What these rows can show, and what more of them would: the power line beside a verdict.

    A gain of ``detectable`` has its interval above zero with a probability of 80 %, by the normal approximation; more
    rows of the same kind narrow it with the square root of their number. Empty where there was nothing to resample;
    the verdict's own sentence then says why.
    """
    if comparison.detectable is None or comparison.more_rows is None or comparison.detectable_with_more is None:
        return ""
    rows = count(comparison.n, "row")
    if comparison.groups != comparison.n:
        rows += f" ({count(comparison.groups, 'group')})"
    now, then = points(comparison.detectable), points(comparison.detectable_with_more)
    return (
        f"With these {rows} a gain of {now} points or more would have been seen in 4 of 5 runs; "
        f"{count(comparison.more_rows, 'more labelled row')} would bring that to {then}."
    )


def verdict_sentence(comparison: Comparison) -> str:
    """The verdict in words, with the difference and its interval in points (Spearman x 100)."""
    c = comparison
    verdict = c.verdict.capitalize()
    figures = ""
    if c.base is not None and c.tuned is not None and c.difference is not None:
        figures = f"Spearman x 100 went from {points(c.base)} to {points(c.tuned)}, {signed(c.difference)} points"
        if sure := certainty(c):
            figures += f" ({sure})"
    parts = [text for text in (c.reason, figures) if text]
    return f"{verdict}: {'; '.join(parts)}."


def certainty(comparison: Comparison) -> str:
    """``95 % interval +0.45 to +1.98, p = 0.003``, in points; empty where nothing could be resampled."""
    c = comparison
    if c.low is None or c.high is None or c.p is None:
        return ""
    return f"{100 * c.confidence:g} % interval {interval(c.low, c.high)}, {p_phrase(c.p)}"


def _round_figure(value: float) -> int:
    """To one significant digit, 1 or more."""
    unit = 10.0 ** math.floor(math.log10(max(value, 1)))
    return max(1, round(math.floor(value / unit + 0.5) * unit))


def _checked(
    gold: ArrayLike,
    base: ArrayLike,
    tuned: ArrayLike,
    groups: ArrayLike | None,
    resamples: int,
    seed: int,
    confidence: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """The arrays as float64, and the groups as labels 0..G-1."""
    problems, arrays = [], []
    for name, values in (("gold", gold), ("base", base), ("tuned", tuned)):
        try:
            arrays.append(np.asarray(values, dtype=np.float64))
        except (TypeError, ValueError) as error:
            problems.append(f"{name} holds something that is no number: {error}")
            continue
        if arrays[-1].ndim != 1:
            problems.append(f"{name} has shape {arrays[-1].shape}: it must have one dimension, a number per row")
    lengths = [len(array) for array in arrays if array.ndim == 1]
    labels = np.arange(lengths[0] if lengths else 0)
    if groups is not None:
        try:
            given = np.asarray(groups)
            labels = np.unique(given, return_inverse=True)[1]
        except (TypeError, ValueError) as error:
            problems.append(f"groups cannot be compared with each other: {error}")
        else:
            if given.ndim != 1:
                problems.append(f"groups has shape {given.shape}: it must have one dimension, a label per row")
            elif given.dtype.kind == "f" and np.isnan(given).any():
                problems.append(
                    f"{int(np.isnan(given).sum()):,} of {len(given):,} groups are NaN: every row needs a label"
                )
            lengths += [len(given)] if given.ndim == 1 else []
    if len(set(lengths)) > 1:
        problems.append(f"gold, base, tuned and groups go together row by row, but have {lengths} rows")
    if not 0 < confidence < 1:
        problems.append(f"confidence is {confidence!r}: it must be above 0 and below 1, as in 0.95")
    elif resamples * (1 - confidence) / 2 < 1:
        least = math.ceil(2 / (1 - confidence) - ZERO)
        problems.append(f"resamples is {resamples!r}: a confidence of {confidence:g} takes {least:,} or more")
    if seed < 0:
        problems.append(f"seed is {seed!r}: it must be 0 or more")
    if problems:
        raise RequestError(problems)
    return arrays[0], arrays[1], arrays[2], labels.astype(np.int64)
