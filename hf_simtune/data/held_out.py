"""Graded rows out of pairs or triplets that are kept from training, for data that bring no evaluation rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from scipy.sparse import csr_array

from hf_simtune.data.fingerprint import fingerprint
from hf_simtune.data.load import Loaded
from hf_simtune.data.normalise import normalised, shingles
from hf_simtune.data.shapes import CANONICAL
from hf_simtune.data.split import FEWEST_GROUPS, MEASURED, SHARE, TooFewRows, cut, part_of, shares, titled
from hf_simtune.errors import RequestError

__all__ = ["FEWEST", "MOST", "hold_out", "nearest_others"]

FEWEST = 200  # rows of the source: a tenth of fewer measures nothing
MOST = 1000  # rows held out for each part: about as many sentences to score as STSb has, however large the source
NEAR = 0.8  # Jaccard similarity of shingles from which two texts may say the same, as in the leak check


def hold_out(loaded: Loaded, seed: int, parts: Sequence[str] = MEASURED) -> tuple[Loaded, ...]:
    """Cut pairs or triplets into rows to train on and, of a tenth of them each, graded rows to select or report on.

    No text of a held-out row is trained on: the rows are cut as scored rows are, by groups that share a text. A
    held-out anchor and its positive score 1. Against them stand pairs that score 0: an anchor of a triplet with its
    negative; an anchor of a pair with the positive of another group that has most three-letter shingles in common with
    it (Jaccard). So letters choose what is hard, and no model that could be favoured by its own choice. A text that is
    nearly the anchor or its positive (0.8 or more) is never taken: it may say the same.

    A row of which both texts are the same says nothing of a model and is left out, and a pair stands once. Gold scores
    are 0 and 1 alone, so that Spearman's correlation stays below 1 (0.87 at most) even for a perfect model.

    Args:
        loaded: pairs or triplets.
        seed: of the parts, and of the choice between positives that are equally near.
        parts: the parts that are wanted beside the training rows.

    Returns:
        The rows to train on, as they were, and for each part scored rows of at most some 1,000 held-out rows:
        columns ``sentence1, sentence2, score``; ``row``, twice the number of the source's row, and 1 more for its
        pair that scores 0; ``group``, the number of the connected rows that both came from.

    Raises:
        TooFewRows: fewer than 200 rows, or too few groups that share no text.
        RequestError: rows that are neither pairs nor triplets.
    """
    shape, title, count = loaded.source.shape, loaded.source.title, len(loaded.dataset)
    if shape not in ("pairs", "triplets"):
        raise RequestError(f"{title} holds {shape}: pairs and triplets can be held out and graded")
    if count < FEWEST:
        raise TooFewRows(f"{title} has {count:,} {shape}; to hold some out it needs {FEWEST:,} or more")
    groups, part_of_row = cut(loaded, seed, parts, MOST)
    rows = [np.flatnonzero(part_of_row == number) for number in range(1 + len(parts))]
    few = count * SHARE / 100 > MOST
    told = [
        f"{len(some):,} of {count:,} " if few else f"{share} % of the "
        for some, share in zip(rows, shares(parts), strict=True)
    ]
    graded = (
        _graded(loaded, some, groups, name, share + shape, seed)
        for name, some, share in zip(parts, rows[1:], told[1:], strict=True)
    )
    return part_of(loaded, rows[0], "train", told[0] + "rows"), *graded


def nearest_others(
    anchors: Sequence[str], positives: Sequence[str], groups: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    """For each anchor, the positive of another group that is nearest to it by its letters.

    Args:
        anchors: n normalised texts.
        positives: n normalised texts, each beside its anchor.
        groups: of each pair, shape (n,).
        seed: decides between positives that are equally near.

    Returns:
        The position of the positive, shape (n,); -1 where there is none: all of them are of the anchor's own group, or
        nearly the anchor or its positive.
    """
    left, right = _incidence(anchors, positives)
    near = _jaccard(left, right)
    allowed = groups[:, None] != groups[None, :]
    allowed &= (near < NEAR) & (_jaccard(right, right) < NEAR)
    # A text without a letter or digit has no shingles, and is near nothing: told apart by the text itself.
    texts = np.array(positives, dtype=object)
    allowed &= (texts[:, None] != texts[None, :]) & (np.array(anchors, dtype=object)[:, None] != texts[None, :])
    order = np.random.default_rng(seed).permutation(len(anchors))
    best = order[np.argmax(np.where(allowed, near, -1.0)[:, order], axis=1)]
    found: NDArray[np.int64] = np.where(allowed.any(axis=1), best, -1)
    return found


def _incidence(*sides: Sequence[str]) -> list[csr_array]:
    """Which shingles each text has: for each side a matrix of 0 and 1, shape (texts, distinct shingles of all)."""
    known: dict[str, int] = {}
    rows = [[[known.setdefault(s, len(known)) for s in sorted(shingles(text))] for text in side] for side in sides]
    made = []
    for side in rows:
        ends = np.cumsum([0, *map(len, side)])
        columns = np.fromiter((number for row in side for number in row), dtype=np.int64, count=int(ends[-1]))
        made.append(csr_array((np.ones(len(columns), dtype=np.int32), columns, ends), shape=(len(side), len(known))))
    return made


def _jaccard(left: csr_array, right: csr_array) -> NDArray[np.float64]:
    """Jaccard similarity of each row's set with each other row's, shape (rows of left, rows of right)."""
    both = (left @ right.T).toarray().astype(np.float64)
    sizes = [np.diff(matrix.indptr).astype(np.float64) for matrix in (left, right)]
    found: NDArray[np.float64] = both / np.maximum(sizes[0][:, None] + sizes[1][None, :] - both, 1)
    return found


def _graded(
    loaded: Loaded, positions: NDArray[np.int64], groups: NDArray[np.int64], part: str, share: str, seed: int
) -> Loaded:
    """The held-out rows of one part as scored rows."""
    rows = loaded.dataset.select(positions)
    columns = {name: list(rows[name]) for name in CANONICAL[loaded.source.shape]}
    forms = {name: [normalised(text) for text in texts] for name, texts in columns.items()}
    numbers, own = list(rows["row"]), groups[positions]
    anchors, how = range(len(rows)), "each anchor against its own negative"
    others: NDArray[np.int64] | range = anchors
    if "negative" not in columns:
        others = nearest_others(forms["anchor"], forms["positive"], own, seed)
        columns["negative"], forms["negative"] = columns["positive"], forms["positive"]
        how = "each against its lexically nearest other positive"
    meant = {_pair(one, other) for one, other in zip(forms["anchor"], forms["positive"], strict=True)}
    graded: dict[tuple[str, str], dict[str, object]] = {}
    for row in anchors:
        for name, other, score in (("positive", row, 1.0), ("negative", int(others[row]), 0.0)):
            if other < 0:
                continue
            pair = _pair(forms["anchor"][row], forms[name][other])
            if pair[0] == pair[1] or pair in graded or (not score and pair in meant):
                continue
            graded[pair] = {
                "sentence1": columns["anchor"][row],
                "sentence2": columns[name][other],
                "score": score,
                "row": 2 * numbers[row] + (not score),
                "group": int(own[row]),
            }
    sides = [{line["group"] for line in graded.values() if line["score"] == score} for score in (0.0, 1.0)]
    if min(map(len, sides)) < FEWEST_GROUPS:
        raise TooFewRows(
            f"{loaded.source.title}: of {len(rows):,} rows to {part} on, {len(sides[1]):,} groups have a pair "
            f"that scores 1 and {len(sides[0]):,} one that scores 0; it takes {FEWEST_GROUPS}"
        )
    dataset = Dataset.from_list(list(graded.values()))
    source = dataclasses.replace(
        titled(loaded.source, part),
        shape="scored",
        rows=len(dataset),
        fingerprint=fingerprint(dataset, CANONICAL["scored"]),
        dropped={},
        part=f"{part}: {share} held out, {how}",
    )
    return Loaded(dataset, source)


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one <= other else (other, one)
