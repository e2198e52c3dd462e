"""How sentence vectors lie on the unit sphere: their pairwise cosine similarities, and figures that sum them up.

Every pair of vectors is looked at up to ``ENUMERATED`` vectors, a sample of pairs above. The n x n matrix is never
held: its upper half is made block by block, each block is counted and thrown away, and memory stays flat.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ENUMERATED",
    "PERCENTS",
    "SAMPLE",
    "Geometry",
    "UndefinedGeometry",
    "alignment",
    "lengths_of",
    "measure",
    "vectors_of",
]

ENUMERATED = 20_000  # vectors up to which all pairs are looked at: 199,990,000 pairs
SAMPLE = 20_000_000  # pairs that are looked at where there are more vectors
BINS = 400  # of the histogram over -1..1, each 0.005 wide
PERCENTS = (1, 5, 25, 50, 75, 95, 99)
WINDOW = 0.2  # width of the densest window
FINE = 160 * BINS  # bins that the quantiles are read from
RESOLUTION = 2 / FINE  # 0.00003125
BLOCK = 1024  # rows and columns of a block of similarities
SMALLEST_GROUP = 64  # vectors in a group of the sample; smaller ones would spend their time between the products

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Counts = NDArray[np.int64]


class UndefinedGeometry(ValueError):
    """Vectors that have no geometry: fewer than two, not finite, or without a direction."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Geometry:
    """How n vectors lie on the unit sphere. Only directions count: every figure is of the vectors at length one.

    ``mean``, ``deviation`` and ``effective_rank`` are always those of all pairs and all vectors. ``histogram``,
    ``quantiles``, ``uniformity`` and ``dense_share`` are those of the ``pairs`` that were looked at.
    """

    n: int
    dimensions: int
    pairs: int  # unordered pairs of different rows that were looked at, counted
    mean: float  # of the cosine similarities of all pairs, -1..1
    deviation: float  # their standard deviation, 0..1 (of all pairs, hence divided by their number)
    quantiles: tuple[tuple[int, float], ...]  # (percent, the similarity that so many per cent do not exceed)
    uniformity: float  # log of the mean over pairs of exp(-2 |x - y|^2), -8..0; lower is more even (Wang & Isola 2020)
    effective_rank: float  # 1..min(n, dimensions), see ``measure`` (Roy & Vetterli 2007)
    dense_share: float  # 0..1: share of the pairs in the window of width 0.2 that holds most
    dense_from: float  # where that window begins; the middle one, where several hold as many
    histogram: tuple[int, ...]  # pairs in each of 400 equal bins over -1..1

    @property
    def sampled(self) -> bool:
        """Whether some pairs were not looked at."""
        return self.pairs < self.n * (self.n - 1) // 2

    @property
    def anisotropy(self) -> float:
        """Mean cosine similarity of two different vectors, -1..1 (Ethayarajh 2019).

        0 where directions cancel out, 1 where all are one. It is ``mean``: over all pairs, where the paper samples.
        """
        return self.mean


def measure(vectors: ArrayLike, *, seed: int = 0, enumerate_up_to: int = ENUMERATED, sample: int = SAMPLE) -> Geometry:
    """The geometry of some vectors.

    With more than ``enumerate_up_to`` vectors, the rows are shuffled and cut into groups, and the pairs within groups
    are looked at: every pair is as likely to be among them as every other, and every vector is used, up to some
    600,000. For the same number of pairs that is no less precise than drawing each by itself, and a hundred times
    faster. Products are in float32, each similarity right to about 1e-6; everything is summed in float64.
    Quantiles and window are read from bins 0.00003 wide.

    The effective rank is exp of the entropy of the singular values of the n x dimensions matrix of vectors at length
    one, divided by their sum. The mean is not taken off first, so that vectors which all point one way have a rank
    near 1. Singular values below 1e-6 of the largest cannot be told from rounding in float32 and count as zero.

    Args:
        vectors: shape (n, dimensions), n at least 2; taken as float32.
        seed: of the shuffle; without effect where all pairs are looked at.
        enumerate_up_to: vectors up to which all pairs are looked at.
        sample: pairs that are looked at above; a little more or less comes of whole groups.

    Raises:
        UndefinedGeometry: fewer than two vectors, a wrong shape, a value that is not finite, or a vector of zeros.

    >>> round(measure([[1, 0], [0, 1], [1, 0]]).anisotropy, 3)  # of the cosines 0, 1 and 0
    0.333
    """
    rows = vectors_of(vectors)
    n, dimensions = rows.shape
    if n < 2:
        raise UndefinedGeometry(f"{n} vector makes no pair: two or more are needed")
    norms = lengths_of(rows)
    total, gram = _sums(rows, norms)
    everything = n * (n - 1)  # ordered pairs
    # The n similarities of each vector with itself are 1, and taken off.
    mean = (float(total @ total) - n) / everything
    square = (float((gram * gram).sum()) - n) / everything
    counts, pairs, potential = _count(rows, norms, total / n, _groups(n, seed, enumerate_up_to, sample))
    below = np.concatenate([[0], np.cumsum(counts)])
    share, start = _densest(below)
    return Geometry(
        n=n,
        dimensions=dimensions,
        pairs=pairs,
        mean=min(1.0, max(-1.0, mean)),
        deviation=math.sqrt(max(0.0, square - mean * mean)),
        quantiles=tuple((percent, _quantile(below, percent)) for percent in PERCENTS),
        uniformity=min(0.0, math.log(potential / pairs)),
        effective_rank=_effective_rank(gram),
        dense_share=share,
        dense_from=start,
        histogram=tuple(counts.reshape(BINS, -1).sum(axis=1).tolist()),
    )


def alignment(left: ArrayLike, right: ArrayLike) -> float:
    """Mean squared distance of the vectors of positive pairs on the unit sphere (Wang & Isola 2020, alpha = 2).

    Args:
        left: shape (pairs, dimensions), at least one pair.
        right: the same shape; row i is the positive of row i on the left.

    Returns:
        0 (every pair is one point) to 4 (every pair is opposite); 2 for pairs at right angles.

    Raises:
        UndefinedGeometry: no pair, shapes that differ, a value that is not finite, or a vector of zeros.

    >>> alignment([[1, 0], [0, 2]], [[3, 0], [1, 0]])  # the same direction, and a right angle
    1.0
    """
    a, b = vectors_of(left), vectors_of(right)
    if a.shape != b.shape or not len(a):
        raise UndefinedGeometry(f"{a.shape} and {b.shape} are no shapes of the two sides of one pair or more")
    norms_a, norms_b = lengths_of(a), lengths_of(b)
    total = 0.0
    for start in range(0, len(a), BLOCK):
        part = slice(start, start + BLOCK)
        difference = _units(a[part], norms_a[part]) - _units(b[part], norms_b[part])
        total += float((difference * difference).sum())
    return total / len(a)


def vectors_of(vectors: ArrayLike) -> Floats:
    """Vectors as float32, shape (n, dimensions).

    Raises:
        UndefinedGeometry: another shape.
    """
    with np.errstate(over="ignore"):  # what does not fit into float32 becomes infinite, and is told as such
        rows: Floats = np.asarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or not rows.shape[1]:
        raise UndefinedGeometry(f"vectors have the shape (n, dimensions); this is {rows.shape}")
    return rows


def lengths_of(rows: Floats) -> Doubles:
    """The length of each vector, shape (n,). In float64 no square of a float32 overflows or vanishes."""
    norms = np.empty(len(rows))
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK].astype(np.float64)
        norms[start : start + BLOCK] = np.sqrt(np.einsum("ij,ij->i", part, part))
    for wrong, what in ((~np.isfinite(norms), "hold a value that is not finite"), (norms == 0, "are zero throughout")):
        found = np.flatnonzero(wrong)
        if len(found):
            first = ", ".join(map(str, found[:5].tolist())) + (", ..." if len(found) > 5 else "")
            raise UndefinedGeometry(f"{len(found):,} of {len(rows):,} vectors {what}, and have no direction: {first}")
    return norms


def _units(rows: Floats, norms: Doubles) -> Doubles:
    units: Doubles = rows / norms[:, None]
    return units


def _sums(rows: Floats, norms: Doubles) -> tuple[Doubles, Doubles]:
    """The sum of the unit vectors, and their Gram matrix on whichever side is smaller."""
    n, dimensions = rows.shape
    if n <= dimensions:
        units = _units(rows, norms)
        return units.sum(axis=0), units @ units.T
    total, gram = np.zeros(dimensions), np.zeros((dimensions, dimensions))
    for start in range(0, n, BLOCK):
        units = _units(rows[start : start + BLOCK], norms[start : start + BLOCK])
        total += units.sum(axis=0)
        gram += units.T @ units
    return total, gram


def _groups(n: int, seed: int, enumerate_up_to: int, sample: int) -> Iterator[NDArray[np.int64] | None]:
    """The rows among which all pairs are looked at: None for all rows, or disjoint random groups of nearly one size."""
    size = max(SMALLEST_GROUP, 1 + math.ceil(2 * sample / n))
    if n <= enumerate_up_to or size >= n:
        yield None
        return
    used = min(n, size * math.ceil(2 * sample / (size * (size - 1))))
    shuffled = np.random.default_rng(seed).permutation(n)[:used]
    yield from np.array_split(shuffled, round(used / size))


def _count(
    rows: Floats, norms: Doubles, centre: Doubles, groups: Iterator[NDArray[np.int64] | None]
) -> tuple[Counts, int, float]:
    """Pairs by similarity in fine bins, how many there are, and the sum of exp(-2 |x - y|^2) over them."""
    counts, pairs, potential = np.zeros(FINE + 1, np.int64), 0, 0.0
    for group in groups:
        members, lengths = (rows, norms) if group is None else (rows[group], norms[group])
        for similarities in _blocks(members, lengths, centre):
            pairs += similarities.size
            energy = similarities * np.float32(4)  # -2 |x - y|^2 = 4 cos - 4
            energy -= 4
            np.exp(energy, out=energy)
            potential += float(energy.sum(dtype=np.float64))
            similarities += 1
            similarities *= FINE / 2
            # Rounding may put 1 just above the last bin, and -1 below the first: truncation brings the latter to 0.
            counts += np.bincount(similarities.astype(np.intp), minlength=FINE + 1)
    counts[-2] += counts[-1]
    return counts[:-1], pairs, potential


def _blocks(rows: Floats, norms: Doubles, centre: Doubles) -> Iterator[Floats]:
    """The similarities of each pair of rows once, flat, some at a time; the receiver may overwrite them.

    x . y is put together of (x - c) . (y - c), x . c and y . c: where all vectors are nearly one, the first is small,
    and so is its rounding, which would otherwise be the same for every pair and add up.
    """

    def part(start: int) -> tuple[Floats, Floats]:
        units = _units(rows[start : start + BLOCK], norms[start : start + BLOCK])
        offset = units @ centre - centre @ centre / 2
        return (units - centre).astype(np.float32), offset.astype(np.float32)

    for top in range(0, len(rows), BLOCK):
        upper, across = part(top)
        square = upper @ upper.T + across + across[:, None]
        yield square[np.triu(np.ones(square.shape, bool), 1)]
        for left in range(top + BLOCK, len(rows), BLOCK):
            lower, down = part(left)
            block: Floats = upper @ lower.T
            block += down
            block += across[:, None]
            yield block.ravel()


def _quantile(below: Counts, percent: int) -> float:
    """The smallest similarity that at least so many per cent of the pairs do not exceed, right to RESOLUTION."""
    rank = -(-percent * int(below[-1]) // 100)
    bin_ = int(np.searchsorted(below, rank)) - 1  # below[bin_] < rank <= below[bin_ + 1]
    inside = (rank - int(below[bin_]) - 0.5) / int(below[bin_ + 1] - below[bin_])
    return (bin_ + inside) * RESOLUTION - 1


def _densest(below: Counts) -> tuple[float, float]:
    """The largest share of the pairs that a window holds, and where it begins."""
    width = round(WINDOW / RESOLUTION)
    inside = below[width:] - below[:-width]
    fullest = np.flatnonzero(inside == inside.max())
    start = int(fullest[len(fullest) // 2])
    return float(inside[start] / below[-1]), start * RESOLUTION - 1


def _effective_rank(gram: Doubles) -> float:
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0.0))
    shares = values[values > 1e-6 * values[-1]]
    shares /= shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
