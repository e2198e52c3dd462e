"""Spearman and Pearson correlation, and in words why one is undefined."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["UndefinedCorrelation", "midranks", "pearson", "spearman", "why_undefined"]

# Values whose whole span is below this share of the largest magnitude count as constant. Similarities come from float32
# arithmetic: a model that has collapsed to one vector gives cosines that differ in the last few of 24 bits (6e-8 each
# near 1), and ranking that noise would report a correlation nobody measured. 1e-6 is some 16 such steps, and far below
# what any working model spans. The dtype is not asked: a score must be the same before and after a file.
ROUNDING = 1e-6


class UndefinedCorrelation(ValueError):
    """There is no correlation to report; ``reason`` says why in words."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def spearman(gold: ArrayLike, predicted: ArrayLike) -> float:
    """Spearman's rank correlation, ties at their mean rank.

    Args:
        gold: scores given by people, shape (n,), any scale.
        predicted: similarities given by a model, shape (n,).

    Returns:
        -1..1.

    Raises:
        UndefinedCorrelation: n is below 2, or a side is constant, NaN or infinite somewhere. Never reported as 0.
        ValueError: the two are not one-dimensional and equally long.

    >>> spearman([0, 2, 5], [0.1, 0.4, 0.9])
    1.0
    >>> spearman([0, 2, 5], [0.5, 0.5, 0.5])
    Traceback (most recent call last):
        ...
    hf_simtune.evaluation.correlation.UndefinedCorrelation: the similarities are constant
    """
    left, right = _checked(gold, predicted)
    return _correlation(midranks(left), midranks(right))


def pearson(gold: ArrayLike, predicted: ArrayLike) -> float:
    """Pearson's linear correlation; arguments, range and errors as for :func:`spearman`."""
    left, right = _checked(gold, predicted)
    # To the unit range first, so that squares neither overflow nor vanish; a correlation does not depend on the scale.
    return _correlation(left / np.abs(left).max(), right / np.abs(right).max())


def midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks 1..n, shape (n,); equal values share the mean of their ranks. No value may be NaN.

    >>> midranks(np.array([0.3, 0.1, 0.3])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return ranks


def why_undefined(values: NDArray[np.float64], what: str = "similarities", whose: str | None = None) -> str | None:
    """Why no correlation with these values exists, or None where one does.

    Args:
        values: shape (n,).
        what: what the values are, in the plural.
        whose: their owner in the possessive, as in "the tuned model's".
    """
    n = len(values)
    if n < 2:
        return (
            f"there {'is' if n == 1 else 'are'} {n or 'no'} row{'' if n == 1 else 's'}; a correlation needs at least 2"
        )
    of = f"{whose} {n:,}" if whose else f"{n:,}"
    for bad, name in ((np.isnan(values), "NaN"), (np.isinf(values), "infinite")):
        if count := int(bad.sum()):
            return f"{count:,} of {of} {what} {'is' if count == 1 else 'are'} {name}"
    low, high = float(values.min()), float(values.max())
    if low == high:
        return f"{whose or 'the'} {what} are constant"
    largest = max(abs(low), abs(high))
    if (span := high / largest - low / largest) <= ROUNDING:
        return f"{whose or 'the'} {what} are constant up to rounding (they span {span:.1e} of their size)"
    return None


def _checked(gold: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    left, right = np.asarray(gold, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if left.ndim != 1 or left.shape != right.shape:
        raise ValueError(f"gold has shape {left.shape} and predicted {right.shape}: both must be (n,) with the same n")
    if reason := why_undefined(left, "gold scores") or why_undefined(right):
        raise UndefinedCorrelation(reason)
    return left, right


def _correlation(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    left, right = left - left.mean(), right - right.mean()
    value = np.dot(left, right) / np.sqrt(
        np.dot(left, left) * np.dot(right, right)
    )  # this form gives a perfect 1 exactly
    return float(np.clip(value, -1.0, 1.0))
