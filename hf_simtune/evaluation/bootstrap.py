"""Spearman correlations of many resamples at once, from how often each group was drawn; nothing is sorted twice."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ranking", "draw", "mean_interval", "resampled_differences", "resampled_spearman"]

Floats = NDArray[np.float64]
ZERO = 1e-12  # two equal correlations may differ by this much in rounding, never by more
CHUNK = 2**17  # rows x resamples at a time: the ten or so float64 arrays of a chunk take 1 MB each
MEANS = 2**20  # groups x resamples of a mean at a time: 8 MB


@dataclasses.dataclass(frozen=True)
class Ranking:
    """One variable, sorted once."""

    order: NDArray[np.intp]  # rows from the lowest value to the highest, shape (n,)
    ends: NDArray[np.intp]  # last place of each run of equal values in that order, shape (distinct values,)
    block: NDArray[np.intp]  # which run a row belongs to, shape (n,)

    @classmethod
    def of(cls, values: Floats) -> Ranking:
        """Rank the values, shape (n,)."""
        _, block, counts = np.unique(values, return_inverse=True, return_counts=True)
        return cls(np.argsort(values, kind="stable"), np.cumsum(counts) - 1, block)

    def centred(self, counts: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Midranks from counts.

        Args:
            counts: how often each row was drawn, rows in this order, shape (n, resamples).

        Returns:
            Twice the midrank of each distinct value, less its mean, shape (distinct values, resamples); three times the
            sum of its squares over all drawn rows, shape (resamples,); and whether a resample holds one distinct value
            only, shape (resamples,). All are whole numbers, exact in float64 while rows**3 is below 2**53.
        """
        upto = np.cumsum(counts, axis=0)
        if len(self.ends) < len(counts):
            upto = upto[self.ends]
        drawn = upto[-1]
        times = upto.copy()
        times[1:] -= upto[:-1]
        # A value drawn t times after b lower ones has midrank b + (t + 1)/2, the mean of all ranks is (drawn + 1)/2:
        # twice the difference is 2 b + t - drawn, and b is upto - t.
        ranks = 2 * upto
        ranks -= times
        ranks -= drawn
        # Their squares sum to (drawn**3 - sum of t**3) / 3, the usual correction for ties.
        squares = drawn**3 - np.einsum("ij,ij,ij->j", times, times, times)
        return ranks, squares, times.max(axis=0) >= drawn


def resampled_differences(
    gold: Floats,
    base: Floats,
    tuned: Floats,
    groups: NDArray[np.int64],
    resamples: int,
    seed: int,
    chunk: int = CHUNK,
) -> Floats:
    """Spearman of tuned less Spearman of base in each resample of the groups, NaN where either is undefined.

    Args:
        gold: shape (n,), finite, as are base and tuned.
        base: shape (n,).
        tuned: shape (n,).
        groups: labels 0..G-1, shape (n,); G groups are drawn with replacement, each with all its rows.
        resamples: how many.
        seed: the same seed gives the same draws, whatever the chunk.
        chunk: rows x resamples worked on at a time.

    Returns:
        Shape (resamples,).
    """
    rng = np.random.default_rng(seed)
    rankings = Ranking.of(gold), Ranking.of(base), Ranking.of(tuned)
    total, size = int(groups.max()) + 1, max(1, chunk // len(gold))
    differences = np.empty(resamples)
    for start in range(0, resamples, size):
        stop = min(start + size, resamples)
        counts = draw(rng, total, stop - start)[groups]
        of_base, of_tuned = resampled_spearman(counts, *rankings)
        differences[start:stop] = of_tuned - of_base
    differences[np.abs(differences) < ZERO] = 0.0
    return differences


def mean_interval(
    values: Floats, groups: NDArray[np.int64], resamples: int, seed: int, confidence: float
) -> tuple[float, float]:
    """The percentile interval of a mean, over resamples of groups.

    Args:
        values: finite, shape (n,).
        groups: labels 0..G-1, shape (n,), none of them unused; G are drawn with replacement, each with all its values.
        resamples: how many.
        seed: of the draws.
        confidence: of the two-sided interval, above 0 and below 1.

    Returns:
        Its lower and upper end.
    """
    sums, sizes = np.bincount(groups, weights=values), np.bincount(groups).astype(np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, MEANS // len(sizes))
    for start in range(0, resamples, step):
        counts = draw(rng, len(sizes), min(step, resamples - start))
        means[start : start + step] = (sums @ counts) / (sizes @ counts)
    means[np.abs(means) < ZERO] = 0.0
    low, high = np.quantile(means, ((1 - confidence) / 2, (1 + confidence) / 2)).tolist()
    return low, high


def draw(rng: np.random.Generator, groups: int, size: int) -> Floats:
    """How often each of the groups comes up in ``size`` draws of as many groups, shape (groups, size)."""
    drawn = rng.integers(groups, size=(size, groups))
    drawn *= size
    drawn += np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=groups * size).reshape(groups, size).astype(np.float64)


def resampled_spearman(counts: Floats, gold: Ranking, *models: Ranking) -> list[Floats]:
    """Spearman of gold with each model, over rows repeated as counted.

    Args:
        counts: how often each row was drawn, shape (n, resamples), whole numbers.
        gold: ranking of the n gold scores.
        models: rankings of the n similarities of each model.

    Returns:
        Per model -1..1, shape (resamples,); NaN where either side of a resample is constant.
    """
    gold_ranks, gold_squares, gold_constant = gold.centred(counts[gold.order])
    found = []
    for model in models:
        counted = counts[model.order]
        ranks, squares, constant = model.centred(counted)
        counted *= gold_ranks[gold.block[model.order]]
        if len(model.ends) < len(counted):
            counted = np.add.reduceat(counted, np.r_[0, model.ends[:-1] + 1], axis=0)
        product = 3 * np.einsum("ij,ij->j", counted, ranks)
        undefined = np.logical_or(gold_constant, constant)
        scale = np.sqrt(np.where(undefined, np.nan, gold_squares * squares))  # one root: a perfect 1 is 1 exactly
        found.append(np.clip(product / scale, -1.0, 1.0))
    return found
