"""What tuning does to retrieval: whether queries still find their paraphrases among distractors."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from hf_simtune.errors import RequestError
from hf_simtune.evaluation.bootstrap import mean_interval
from hf_simtune.evaluation.compare import FEWEST_GROUPS
from hf_simtune.evaluation.groups import groups_of_ids
from hf_simtune.evaluation.neighbours import both_sides, checked_pairs, ranks, reciprocal
from hf_simtune.evaluation.reindex import FEWEST_TO_KEEP, LOSS
from hf_simtune.wording import count, interval, points, signed

__all__ = ["RetrievalChange", "compare_retrieval", "retrieval_sentence"]

CONFIDENCE = 0.95
RESAMPLES = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrievalChange:
    """Two models' retrieval of the same documents by the same queries, each with its own vectors throughout."""

    n: int  # sentences, every one of them a document
    queries: int  # sentences with a positive document
    groups: int  # of queries that share a sentence, directly or through others
    base: float  # MRR@10, 0..1
    tuned: float
    base_first: float  # accuracy@1, 0..1
    tuned_first: float
    low: float | None = None  # interval of tuned - base, MRR@10; None for fewer than ten groups
    high: float | None = None
    confidence: float = CONFIDENCE
    resamples: int = 0  # that the interval rests on
    seed: int

    @property
    def answer(self) -> str:
        """``better``, ``not worse``, ``worse`` or ``cannot tell``.

        Better, worse: the interval lies on one side of zero. Not worse: it rules out a loss of half a point, and there
        are 736 groups or more. From fewer, queries of a kind that loses half a point may be missing altogether, however
        narrow the interval (see ``reindex``).
        """
        if self.low is not None and self.low > 0:
            return "better"
        if self.low is not None and self.low > -LOSS and self.groups >= FEWEST_TO_KEEP:
            return "not worse"
        return "worse" if self.high is not None and self.high < 0 else "cannot tell"


def compare_retrieval(
    base: ArrayLike, tuned: ArrayLike, pairs: ArrayLike, labels: ArrayLike | None = None, *, seed: int = 0
) -> RetrievalChange | None:
    """MRR@10 and accuracy@1 by cosine under two models, with a paired bootstrap of the change in MRR@10.

    Each query looks for its documents among all other sentences, as in ``neighbours.retrieval``. Groups of queries that
    belong together are drawn together (95 % percentile interval).

    Args:
        base: one model's vectors of n sentences, shape (n, dimensions), n at least 2.
        tuned: the other's of the same sentences, shape (n, any dimensions).
        pairs: (query, document) by index, shape (m, 2).
        labels: a group for each sentence, shape (n,); None: queries connected by a sentence.
        seed: of the bootstrap; the same seed and arrays give the same result.

    Returns:
        The change; None without a pair.

    Raises:
        UndefinedGeometry: as in ``neighbours.overlap``.
        RequestError: pairs, seed or a number of labels that cannot be.
    """
    left, right = both_sides(base, tuned)
    positives = checked_pairs(pairs, len(left), seed=seed)
    if labels is not None and np.shape(labels) != (len(left),):
        raise RequestError(f"labels has shape {np.shape(labels)}: it must be ({len(left)},), one for each sentence")
    if not len(positives):
        return None
    queries, first = np.unique(positives[:, 0], return_index=True)
    if labels is None:
        of_query = groups_of_ids(positives[:, 0], positives[:, 1])[first]
    else:
        of_query = np.unique(np.asarray(labels)[queries], return_inverse=True)[1].astype(np.int64)
    before, after = (ranks(side, side, positives) for side in (left, right))
    change = RetrievalChange(
        n=len(left),
        queries=len(queries),
        groups=int(of_query.max()) + 1,
        base=float(reciprocal(before).mean()),
        tuned=float(reciprocal(after).mean()),
        base_first=float((before == 1).mean()),
        tuned_first=float((after == 1).mean()),
        seed=int(seed),
    )
    if change.groups < FEWEST_GROUPS:
        return change
    low, high = mean_interval(reciprocal(after) - reciprocal(before), of_query, RESAMPLES, seed, CONFIDENCE)
    return dataclasses.replace(change, low=low, high=high, resamples=RESAMPLES)


def retrieval_sentence(title: str, change: RetrievalChange) -> str:
    """``Retrieval on T: not worse. MRR@10 x 100 of 320 queries among 2,552 sentences went from 91.20 to 93.40 ...``"""
    c = change
    sure = ""
    if c.low is not None and c.high is not None:
        sure = f", {100 * c.confidence:g} % interval {interval(c.low, c.high)}"
    said = "cannot tell whether it got worse" if c.answer == "cannot tell" else c.answer
    return (
        f"Retrieval on {title}: {said}. MRR@10 x 100 of {_queries(c)} among {c.n:,} sentences went from "
        f"{points(c.base)} to {points(c.tuned)} ({signed(c.tuned - c.base)}{sure}); the nearest sentence is the right "
        f"one for {100 * c.tuned_first:.0f} % of them, before {100 * c.base_first:.0f} %."
    )


def _queries(change: RetrievalChange) -> str:
    asked = "1 query" if change.queries == 1 else f"{change.queries:,} queries"
    return asked if change.groups == change.queries else f"{asked} ({count(change.groups, 'group')})"
