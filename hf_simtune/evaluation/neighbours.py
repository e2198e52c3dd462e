"""Nearest neighbours under two models, and how well queries find their documents, from vectors alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_simtune.errors import RequestError
from hf_simtune.evaluation.geometry import UndefinedGeometry, lengths_of, vectors_of

__all__ = [
    "SAME",
    "Overlap",
    "Retrieval",
    "both_sides",
    "checked_pairs",
    "overlap",
    "overlap_of",
    "ranks",
    "reciprocal",
    "retrieval",
]

CUTOFF = 10  # ranks that a reciprocal rank is taken from: MRR@10
SAME = 1e-6  # similarities that are closer are equal: float32 does not tell them apart
BLOCK = 512  # rows of similarities at a time

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overlap:
    """How many nearest neighbours two models have in common."""

    n: int
    k: int  # neighbours looked at: those asked for, or n - 1 where there are fewer
    share: float  # 0..1: mean over sentences of the share of their k neighbours that is the same


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retrieval:
    """How well queries find their documents among all other sentences."""

    queries: int
    mrr: float  # MRR@10, 0..1
    accuracy: float  # accuracy@1, 0..1: share of the queries whose nearest document is one of theirs


def overlap(base: ArrayLike, tuned: ArrayLike, k: int = 10) -> Overlap:
    """The share of each sentence's k nearest neighbours by cosine similarity that two models have in common.

    A sentence is not its own neighbour. Of similarities that agree to six decimals, the one with the lower index is
    nearer. Products are in float32, a block of rows at a time. By chance alone the share is k / (n - 1).

    Args:
        base: one model's vectors, shape (n, dimensions), n at least 2.
        tuned: the other's vectors of the same sentences, shape (n, any dimensions).
        k: neighbours, 1 or more; n - 1 where there are fewer, and the share is then 1.

    Raises:
        UndefinedGeometry: fewer than two vectors, numbers of vectors that differ, a value that is not finite, or a
            vector of zeros.
        RequestError: k below 1.
    """
    left, right = both_sides(base, tuned)
    if k < 1:
        raise RequestError(f"k is {k!r}: it must be 1 or more")
    return overlap_of(left, right, k)


def retrieval(queries: ArrayLike, documents: ArrayLike, pairs: ArrayLike) -> Retrieval:
    """MRR@10 and accuracy@1 of queries that look for their documents among all sentences but themselves.

    A query's rank is that of its nearest positive document; one that is not among the first ten counts as 0. Documents
    as near as the positive, within 0.000001, count as nearer: a model with one vector for all sentences finds nothing.

    Args:
        queries: the vectors of all n sentences as queries, shape (n, dimensions).
        documents: the vectors of the same sentences as documents, the same shape; from another model, if need be.
        pairs: (query, document) by index, shape (m, 2), at least one; a query may have several documents.

    Raises:
        UndefinedGeometry: fewer than two vectors, shapes that differ, a value that is not finite, or zeros throughout.
        RequestError: pairs of another shape, outside 0..n-1, of a sentence with itself, or none.

    Source: Voorhees, The TREC-8 question answering track report (1999); MS MARCO takes its first ten ranks.
    """
    left, right = both_sides(queries, documents)
    if left.shape != right.shape:
        raise UndefinedGeometry(f"queries have {left.shape[1]:,} dimensions and documents {right.shape[1]:,}")
    positives = checked_pairs(pairs, len(left))
    if not len(positives):
        raise RequestError("there is no pair: retrieval takes a query with a document at least")
    found = ranks(left, right, positives)
    return Retrieval(queries=len(found), mrr=float(reciprocal(found).mean()), accuracy=float((found == 1).mean()))


def both_sides(base: ArrayLike, tuned: ArrayLike) -> tuple[Floats, Floats]:
    """Both sides' vectors at length one."""
    sides = vectors_of(base), vectors_of(tuned)
    n = len(sides[0])
    if n != len(sides[1]):
        raise UndefinedGeometry(f"{n:,} vectors and {len(sides[1]):,} are not those of the same sentences")
    if n < 2:
        raise UndefinedGeometry(f"{n} vector has no neighbour: two or more are needed")
    left, right = ((rows / lengths_of(rows)[:, None]).astype(np.float32) for rows in sides)
    return left, right


def checked_pairs(pairs: ArrayLike, n: int, k: int = 1, seed: int = 0) -> Ids:
    """The distinct pairs, sorted by query, shape (m, 2), once they and the settings are found in order."""
    problems = []
    given = np.asarray(pairs)
    if given.size == 0:
        given = np.empty((0, 2), np.int64)
    if given.ndim != 2 or given.shape[1] != 2 or given.dtype.kind not in "iu":
        problems.append(f"pairs is {given.dtype} of shape {given.shape}: it must be whole numbers of shape (m, 2)")
    else:
        for wrong, what in (
            (((given < 0) | (given >= n)).any(axis=1), f"outside 0..{n - 1:,}"),
            (given[:, 0] == given[:, 1], "of a sentence with itself, which is no document of its own"),
        ):
            if wrong.any():
                first = tuple(given[np.flatnonzero(wrong)[0]].tolist())
                problems.append(f"{int(wrong.sum()):,} of {len(given):,} pairs are {what}; the first is {first}")
    if k < 1:
        problems.append(f"k is {k!r}: it must be 1 or more")
    if seed < 0:
        problems.append(f"seed is {seed!r}: it must be 0 or more")
    if problems:
        raise RequestError(problems)
    return np.unique(given.astype(np.int64), axis=0)


def overlap_of(left: Floats, right: Floats, k: int) -> Overlap:
    """``overlap`` of vectors of length one."""
    n = len(left)
    k = min(k, n - 1)
    shared = 0
    for a, b in zip(_nearest(left, k), _nearest(right, k), strict=True):
        both = np.sort(np.hstack([a, b]), axis=1)
        shared += int((both[:, 1:] == both[:, :-1]).sum())
    return Overlap(n=n, k=k, share=shared / (n * k))


def _nearest(units: Floats, k: int) -> Iterator[Ids]:
    """The k nearest neighbours of each row, in no order, a block of rows at a time, shape (rows, k)."""
    n = len(units)
    for start in range(0, n, BLOCK):
        similarities = units[start : start + BLOCK] @ units.T
        rows = np.arange(len(similarities))
        similarities[rows, start + rows] = -2  # below every similarity
        similarities /= np.float32(SAME)
        # One whole number for similarity and index together: no two are equal, and so no order is left to chance.
        keys = np.rint(similarities, out=similarities).astype(np.int64)
        keys *= n
        keys += np.arange(n - 1, -1, -1)
        keys.partition(n - k, axis=1)
        yield n - 1 - keys[:, n - k :] % n


def ranks(queries: Floats, documents: Floats, positives: Ids) -> Ids:
    """The rank of each query's nearest positive among all sentences but itself, by rising query, shape (queries,)."""
    asked, starts = np.unique(positives[:, 0], return_index=True)
    found_at = np.empty(len(asked), np.int64)
    ends = np.append(starts[1:], len(positives))
    for start in range(0, len(asked), BLOCK):
        part = asked[start : start + BLOCK]
        similarities = queries[part] @ documents.T
        similarities[np.arange(len(part)), part] = -np.inf
        inside = slice(int(starts[start]), int(ends[start + len(part) - 1]))
        row = np.searchsorted(part, positives[inside, 0])
        found = similarities[row, positives[inside, 1]]
        nearest = np.maximum.reduceat(found, starts[start : start + len(part)] - starts[start])
        similarities[row, positives[inside, 1]] = -np.inf
        found_at[start : start + len(part)] = 1 + (similarities >= nearest[:, None] - np.float32(SAME)).sum(axis=1)
    return found_at


def reciprocal(at: Ids) -> Doubles:
    """1 / rank, and 0 beyond the first ten."""
    return np.where(at <= CUTOFF, 1 / at, 0.0)
