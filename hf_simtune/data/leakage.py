"""What the evaluation data share with the training data: pairs, which must not be learned, and sentences."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from datasets import Dataset
from tqdm import tqdm

from hf_simtune.data.minhash import NearTexts
from hf_simtune.data.normalise import normalised
from hf_simtune.errors import DataError, RequestError
from hf_simtune.record import Leakage

__all__ = ["EXAMPLES", "Leaks", "find_leaks", "shared_pairs", "without"]

EXAMPLES = 5  # (training row, evaluation row) pairs kept for each evaluation set
_BATCH = 2000  # training rows in memory at a time

# The text columns of each shape, and which of them a loss compares with one another.
_SHAPES: tuple[tuple[tuple[str, ...], tuple[tuple[int, int], ...]], ...] = (
    (("anchor", "positive", "negative"), ((0, 1), (0, 2))),
    (("anchor", "positive"), ((0, 1),)),
    (("sentence1", "sentence2"), ((0, 1),)),
    (("sentence",), ()),
)


@dataclasses.dataclass(frozen=True)
class Leaks:
    """What was found, and which training rows must go.

    Attributes:
        drop: positions in the training set of the rows that hold an evaluation pair, sorted and distinct, int64.
        facts: one record for each evaluation set, in the order they were given, on all training sets together.
        further: as ``drop``, for each further training set, in the order they were given.
    """

    drop: np.ndarray
    facts: tuple[Leakage, ...]
    further: tuple[np.ndarray, ...] = ()


def find_leaks(
    train: Dataset,
    evaluations: Mapping[str, Dataset],
    *,
    further: Sequence[Dataset] = (),
    jaccard: float = 0.8,
    progress: bool = True,
) -> Leaks:
    """Find the evaluation pairs and sentences that occur in the training rows.

    Texts are compared after ``normalised``: case, punctuation, white space and Unicode form make no difference. A
    training pair, in either order, is a leak when it *is* an evaluation pair, and also when both of its sentences are
    *nearly* those of one evaluation pair; rows with either are to be dropped, and the two are counted apart
    (``pairs_exact``, ``pairs_near``; an evaluation pair that is both counts as exact). Pairs are counted as evaluation
    rows, once each. Of a triplet, anchor with positive and anchor with negative are pairs. Plain sentences form no
    pairs, so nothing of them is dropped. Shared sentences alone are counted and stay: each distinct evaluation sentence
    once, as exact or else as near.

    Near is a matter of letters and not of meaning: "Headlines on Dec 30" is near "Headlines on Dec 14". On STSb's
    own splits this drops a few pairs that say something else, and finds those where one word was changed.

    Memory grows with the evaluation rows, and with the leaks found, but not with the training rows.

    Args:
        train: columns ``anchor, positive``, ``anchor, positive, negative``, ``sentence1, sentence2`` or ``sentence``,
            and ``row``, the number of the row in its source.
        evaluations: by title, columns ``sentence1, sentence2, row``.
        further: more training sets, each with such columns of its own. The facts count what occurs in any of the sets
            once, and the rows dropped from all of them; their examples are rows of ``train`` alone.
        jaccard: from which Jaccard similarity of their three-character shingles two sentences are near, 0.5..1.
            Candidates come from MinHash; each is checked exactly.
        progress: show a bar, on a terminal, when it takes more than a second.

    Raises:
        RequestError: ``jaccard`` is out of range.
        DataError: columns are missing.
    """
    if not 0.5 <= jaccard <= 1:  # NaN included
        raise RequestError(f"jaccard is {jaccard}; two sentences can be called near from 0.5 to 1")
    sets = [train, *further]
    shapes = [_columns(rows) for rows in sets]
    known = _Known(evaluations)
    near_texts = NearTexts(list(known.ids), jaccard)
    found = _Found()
    with tqdm(
        total=sum(map(len, sets)), desc="Leak check", unit=" rows", delay=1, disable=None if progress else True
    ) as bar:
        for which, (of, (columns, compared)) in enumerate(zip(sets, shapes, strict=True)):
            for start, rows, forms in _batches(of, columns):
                found.look(which, start, rows, forms, compared, known, near_texts)
                bar.update(len(rows))
    drops = [
        np.array(sorted({hit.position for hit in found.pairs if hit.of == n}), dtype=np.int64) for n in range(len(sets))
    ]
    facts = tuple(_fact(title, part, found, jaccard) for title, part in known.parts.items())
    return Leaks(drops[0], facts, tuple(drops[1:]))


def without(train: Dataset, leaks: Leaks, further: int | None = None) -> Dataset:
    """The training rows that are no evaluation pair, in their order.

    Args:
        train: the very rows that ``find_leaks`` was given.
        leaks: what it answered.
        further: the rows are those of this further training set, counted from 0.
    """
    drop = leaks.drop if further is None else leaks.further[further]
    if not len(drop):
        return train
    keep = np.ones(len(train), dtype=bool)
    keep[drop] = False
    return train.select(np.flatnonzero(keep))


def shared_pairs(first: Dataset, second: Dataset) -> list[tuple[int, int]]:
    """The pairs that two sets of scored rows share, in either order, after ``normalised``.

    Near pairs are left out: there is nothing to drop here, and a pair that says something else must not stop a run.

    Args:
        first: columns ``sentence1, sentence2, row``.
        second: the same.

    Returns:
        For each row of ``second`` that holds such a pair, in its order: the number of the first row of ``first`` that
        holds it, and its own number.
    """
    columns = ("sentence1", "sentence2")
    known = _Known({"": first})
    shared = []
    for _, rows, (some, others) in _batches(second, columns):
        for row, one, other in zip(rows, some, others, strict=True):
            if (pair := known.pair(one, other)) is not None:
                shared.append((known.parts[""].pairs[pair][0], row))
    return shared


_Pair = tuple[int, int]  # the ids of two texts, the lower first


@dataclasses.dataclass(frozen=True)
class _Hit:
    """A training row that holds an evaluation pair."""

    of: int  # 0: the training rows; n: the nth further set
    position: int
    row: int
    pair: _Pair
    exact: bool


@dataclasses.dataclass
class _Found:
    pairs: list[_Hit] = dataclasses.field(default_factory=list)
    exact_texts: set[int] = dataclasses.field(default_factory=set)
    near_texts: set[int] = dataclasses.field(default_factory=set)  # the exact ones too

    def look(
        self,
        of: int,
        start: int,
        rows: list[int],
        forms: list[list[str]],
        compared: tuple[tuple[int, int], ...],
        known: _Known,
        near_texts: NearTexts,
    ) -> None:
        """Add what one batch of a training set holds, as ``_batches`` gives it."""
        distinct = list(dict.fromkeys(form for column in forms for form in column))
        near = {form: ids for form, ids in zip(distinct, near_texts.near(distinct), strict=True) if ids}
        self.exact_texts.update(known.ids[form] for form in distinct if form in known.ids)
        for ids in near.values():
            self.near_texts.update(ids)
        for one, other in compared:
            for offset, (first, second) in enumerate(zip(forms[one], forms[other], strict=True)):
                same = known.pair(first, second)
                pairs = set() if same is None else {same}
                if first in near and second in near:
                    pairs |= known.pairs_between(near[first], near[second])
                at, row = start + offset, rows[offset]
                self.pairs.extend(_Hit(of, at, row, pair, pair == same) for pair in sorted(pairs))


@dataclasses.dataclass
class _Part:
    """One evaluation set: its texts, and the row numbers of each of its pairs."""

    texts: set[int] = dataclasses.field(default_factory=set)
    pairs: dict[_Pair, list[int]] = dataclasses.field(default_factory=lambda: defaultdict(list))


class _Known:
    """The distinct texts of all evaluation sets, numbered, and who is paired with whom."""

    def __init__(self, evaluations: Mapping[str, Dataset]) -> None:
        self.ids: dict[str, int] = {}
        self.parts = {title: _Part() for title in evaluations}
        self._partners: dict[int, set[int]] = defaultdict(set)
        for title, evaluation in evaluations.items():
            _require(evaluation, ("sentence1", "sentence2", "row"), title)
            part = self.parts[title]
            for _, rows, (first, second) in _batches(evaluation, ("sentence1", "sentence2")):
                for row, one, other in zip(rows, first, second, strict=True):
                    pair = _pair(*(self.ids.setdefault(form, len(self.ids)) for form in (one, other)))
                    part.texts.update(pair)
                    part.pairs[pair].append(row)
                    self._partners[pair[0]].add(pair[1])
                    self._partners[pair[1]].add(pair[0])

    def pair(self, first: str, second: str) -> _Pair | None:
        """The evaluation pair that two normalised texts are."""
        one, other = self.ids.get(first), self.ids.get(second)
        if one is None or other is None or other not in self._partners[one]:
            return None
        return _pair(one, other)

    def pairs_between(self, some: list[int], others: list[int]) -> set[_Pair]:
        """The evaluation pairs with one text of each list."""
        allowed = set(others)
        return {_pair(one, other) for one in some for other in self._partners[one] & allowed}


def _pair(one: int, other: int) -> _Pair:
    return (one, other) if one <= other else (other, one)


def _fact(title: str, part: _Part, found: _Found, jaccard: float) -> Leakage:
    hits = [hit for hit in found.pairs if hit.pair in part.pairs]
    exact = {hit.pair for hit in hits if hit.exact}
    near = {hit.pair for hit in hits} - exact
    examples = dict.fromkeys((hit.row, part.pairs[hit.pair][0]) for hit in hits if hit.of == 0)
    return Leakage(
        evaluation=title,
        pairs_exact=sum(len(part.pairs[pair]) for pair in exact),
        pairs_near=sum(len(part.pairs[pair]) for pair in near),
        sentences_exact=len(part.texts & found.exact_texts),
        sentences_near=len(part.texts & found.near_texts - found.exact_texts),
        sentences=len(part.texts),
        rows_dropped=len({(hit.of, hit.position) for hit in hits}),
        jaccard=jaccard,
        examples=tuple(examples)[:EXAMPLES],
    )


def _columns(train: Dataset) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    for columns, compared in _SHAPES:
        if set(columns) <= set(train.column_names):
            _require(train, ("row",), "the training rows")
            return columns, compared
    raise DataError(
        f"the training rows have the columns {', '.join(train.column_names) or '(none)'}",
        hint="A leak check takes " + "; ".join(", ".join(columns) for columns, _ in _SHAPES) + ", each with row.",
    )


def _require(rows: Dataset, columns: tuple[str, ...], what: str) -> None:
    if missing := [column for column in columns if column not in rows.column_names]:
        raise DataError(f"{what}: no column {', '.join(missing)} among {', '.join(rows.column_names) or '(none)'}")


def _batches(rows: Dataset, columns: tuple[str, ...]) -> Iterator[tuple[int, list[int], list[list[str]]]]:
    """Position of the first row, row numbers, and the normalised texts by column, a batch at a time."""
    start = 0
    for batch in rows.select_columns([*columns, "row"]).with_format("arrow").iter(_BATCH):
        numbers = batch["row"].to_pylist()
        yield start, numbers, [[normalised(text) for text in batch[column].to_pylist()] for column in columns]
        start += len(numbers)
