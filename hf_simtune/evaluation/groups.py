"""Which rows belong together because they share a sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hf_simtune.errors import RequestError

__all__ = ["connected_groups", "groups_of_ids"]


def connected_groups(sentence1: Sequence[str], sentence2: Sequence[str]) -> NDArray[np.int64]:
    """Group the rows that are connected, directly or through other rows, by a sentence on either side.

    Such rows are not independent evidence, so a bootstrap draws them together. Sentences are the same when they agree
    after outer white space is stripped and case is folded, which is how much an uncased model ignores.

    Args:
        sentence1: n sentences.
        sentence2: n sentences, row by row beside the first.

    Returns:
        Labels 0..G-1 in order of first appearance, shape (n,).

    Raises:
        RequestError: the two are not equally long.

    >>> connected_groups(["A dog.", "A cat.", "a dog. "], ["It barks.", "It meows.", "It runs."]).tolist()
    [0, 1, 0]
    """
    known: dict[str, int] = {}
    first, second = (
        np.array([known.setdefault(text.strip().casefold(), len(known)) for text in side], dtype=np.int64)
        for side in (sentence1, sentence2)
    )
    return groups_of_ids(first, second)


def groups_of_ids(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Group the rows that are connected, directly or through other rows, by an id on either side.

    What ``connected_groups`` does, for a caller who can name sentences by numbers: memory then grows with the rows, but
    not with their texts.

    Args:
        first: any int64 numbers, shape (n,); one number is one sentence, on both sides.
        second: the same, row by row beside the first.

    Returns:
        Labels 0..G-1 in order of first appearance, shape (n,).

    Raises:
        RequestError: the two are not equally long.
    """
    n = len(first)
    if n != len(second):
        raise RequestError(f"sentence1 has {n:,} rows and sentence2 {len(second):,}: they must be equally long")
    if n == 0:
        return np.empty(0, dtype=np.int64)
    distinct, dense = np.unique(np.concatenate([first, second]), return_inverse=True)
    left, right = dense[:n], dense[n:]
    graph = coo_array((np.ones(n, dtype=np.int8), (left, right)), shape=(len(distinct), len(distinct)))
    component = connected_components(graph, directed=False)[1][left]
    _, first, which = np.unique(component, return_index=True, return_inverse=True)
    # np.unique numbers components by scipy's labels; number them by the row in which each is first seen.
    order = np.empty(len(first), dtype=np.int64)
    order[np.argsort(first)] = np.arange(len(first))
    labels: NDArray[np.int64] = order[which]
    return labels
