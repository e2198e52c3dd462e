"""Must I rebuild my index? What retrieval loses where a base's vectors and a tuned model's meet."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_simtune.evaluation.bootstrap import mean_interval
from hf_simtune.evaluation.compare import FEWEST_GROUPS
from hf_simtune.evaluation.groups import groups_of_ids
from hf_simtune.evaluation.neighbours import SAME, both_sides, checked_pairs, overlap_of, ranks, reciprocal
from hf_simtune.wording import interval, points, signed

__all__ = ["Reindex", "reindex", "reindex_sentence"]

CONFIDENCE = 0.95
RESAMPLES = 1000
STALE = 0.5  # overlap below which an index is rebuilt, unless the queries speak against it
LOSS = 0.005  # of MRR@10, half a point: what an index may lose and be kept
CHANCE = 0.05  # overlap that chance alone gives, from which on a sentence says so

Doubles = NDArray[np.float64]
Ids = NDArray[np.int64]

# Queries that are no evidence of each other below which a loss of LOSS may hide in queries like none of them: were a
# share LOSS of all queries to lose their document outright, all of so many would miss those with probability 2.5 %.
FEWEST_TO_KEEP = math.ceil(math.log((1 - CONFIDENCE) / 2) / math.log(1 - LOSS))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reindex:
    """Whether an index of the base's vectors must be rebuilt for the tuned model, and what says so."""

    n: int  # sentences
    k: int  # neighbours that ``overlap`` compares
    overlap: float  # 0..1
    queries: int  # sentences with a positive document
    groups: int = 0  # groups of queries that share no sentence, directly or through others
    base: float | None = None  # MRR@10, 0..1, all base; None without queries
    tuned: float | None = None  # all tuned: what a rebuilt index gives
    mixed: float | None = None  # base-encoded queries, tuned-encoded documents; None where the dimensions differ
    mixed_low: float | None = None  # interval of mixed - tuned
    mixed_high: float | None = None
    old: float | None = None  # tuned-encoded queries, base-encoded documents: the old index under the new model
    old_low: float | None = None  # interval of old - tuned
    old_high: float | None = None
    confidence: float = CONFIDENCE
    resamples: int = 0  # that the intervals rest on; 0 where there are none
    seed: int
    answer: str = "cannot tell"  # or "rebuild" or "keep"
    reason: str = ""  # in plain words


def reindex(base: ArrayLike, tuned: ArrayLike, pairs: ArrayLike = (), *, k: int = 10, seed: int = 0) -> Reindex:
    """Must an index of the base's vectors be rebuilt for the tuned model?

    Old and new vectors meet in two ways: the new model's queries on the old index, and, while documents are encoded
    again, the old model's queries on new documents. Each is held against the tuned model throughout, which is what a
    rebuilt index gives, by a paired bootstrap of the difference in MRR@10 over groups of queries that share a sentence
    (95 % percentile interval). The first rule that applies gives the answer:

    1. *rebuild*: the dimensions differ, so that old vectors cannot be searched at all;
    2. *keep*: both models give the same vectors, within 0.000001;
    3. *rebuild*: in either way the interval lies wholly below zero (two chances to err, on the safe side);
    4. *keep*: in both ways the lower end is above -0.5 points (MRR@10 x 100), there are 736 groups or more, and the
       overlap of the k nearest neighbours is one half or more. From fewer groups, queries of a kind that loses half a
       point may be missing altogether, however narrow the interval. Where only the overlap is wanting, *cannot tell*:
       the known documents are found, and the others have changed;
    5. *rebuild*: the overlap is below one half, and the queries do not speak against it. Chance can only raise the
       overlap, so that few sentences do not lead here;
    6. *cannot tell*: anything else, with what is missing.

    Args:
        base: the base's vectors of n distinct sentences, shape (n, dimensions), n at least 2.
        tuned: the tuned model's vectors of the same sentences, shape (n, any dimensions).
        pairs: (query, document) by index, shape (m, 2); none is allowed.
        k: neighbours in the overlap, 1 or more.
        seed: of the bootstrap; the same seed and arrays give the same result.

    Raises:
        UndefinedGeometry: as in ``overlap``.
        RequestError: k, seed or pairs that cannot be; with every problem found.
    """
    left, right = both_sides(base, tuned)
    positives = checked_pairs(pairs, len(left), k, seed)
    common = overlap_of(left, right, k)
    result = Reindex(n=common.n, k=common.k, overlap=common.share, queries=0, seed=int(seed))
    meet = left.shape == right.shape
    if len(positives):
        queries, first = np.unique(positives[:, 0], return_index=True)
        labels = groups_of_ids(positives[:, 0], positives[:, 1])[first]
        figures: dict[str, Any] = {"queries": len(queries), "groups": int(labels.max()) + 1}
        before, after = (reciprocal(ranks(side, side, positives)) for side in (left, right))
        figures |= {"base": float(before.mean()), "tuned": float(after.mean())}
        for name, asking, indexed in (("mixed", left, right), ("old", right, left)) if meet else ():
            found = reciprocal(ranks(asking, indexed, positives))
            figures[name] = float(found.mean())
            if figures["groups"] >= FEWEST_GROUPS:
                low, high = mean_interval(found - after, labels, RESAMPLES, seed, CONFIDENCE)
                figures |= {f"{name}_low": low, f"{name}_high": high, "resamples": RESAMPLES}
        result = dataclasses.replace(result, **figures)
    answer, reason = _answer(result, meet, meet and bool(np.abs(left - right).max() <= SAME))
    return dataclasses.replace(result, answer=answer, reason=reason)


def reindex_sentence(reindex: Reindex) -> str:
    """The answer for a card: what to do with the old index, why, and the figures that say so."""
    r = reindex
    todo = {"rebuild": "rebuild it", "keep": "keep it", "cannot tell": "cannot tell whether to rebuild it"}[r.answer]
    figures = []
    if r.base is not None and r.tuned is not None:
        queries = "1 query" if r.queries == 1 else f"{r.queries:,} queries"
        figures.append(f"MRR@10 x 100 of {queries} was {points(r.base)} and is {points(r.tuned)} after a rebuild")
        for value, low, high, what in (
            (r.old, r.old_low, r.old_high, "with new queries on old documents"),
            (r.mixed, r.mixed_low, r.mixed_high, "with old queries on new documents"),
        ):
            if value is not None:
                change = signed(value - r.tuned)
                if low is not None and high is not None:
                    change += f", {100 * r.confidence:g} % interval {interval(low, high)}"
                figures.append(f"{points(value)} {what} ({change})")
    if r.k < r.n - 1:
        chance = r.k / (r.n - 1)
        by_chance = f" ({100 * chance:.0f} % would by chance)" if chance >= CHANCE else ""
        nearest = "nearest neighbours" if r.k == 1 else f"{r.k} nearest neighbours of each sentence"
        figures.append(f"{100 * r.overlap:.0f} % of the {nearest} stayed{by_chance}")
    return f"Old index: {todo}, as {r.reason}." + (f" {'; '.join(figures)}." if figures else "")


def _answer(r: Reindex, meet: bool, same: bool) -> tuple[str, str]:
    """The rules of ``reindex``, in their order."""
    loss = f"{100 * LOSS:g} points"
    if not meet:
        return "rebuild", "the two models' vectors differ in their dimensions"
    if same:
        return "keep", "the two models give the same vectors"
    if any(high is not None and high < 0 for high in (r.old_high, r.mixed_high)):
        return "rebuild", "queries find less where old and new vectors meet"
    groups = f"{r.groups:,} queries" if r.groups == r.queries else f"{r.groups:,} groups of connected queries"
    if not r.queries:
        missing = "there are no queries whose documents are known"
    elif r.old_low is None or r.mixed_low is None:
        missing = f"{groups} cannot be resampled: it takes {FEWEST_GROUPS}"
    elif min(r.old_low, r.mixed_low) <= -LOSS:
        missing = f"the queries show no loss, but do not rule out one of {loss}"
    elif r.groups < FEWEST_TO_KEEP:
        missing = f"the queries show no loss, but {groups} do not rule out one of {loss}: it takes {FEWEST_TO_KEEP}"
    elif r.overlap >= STALE:
        return "keep", f"queries lose less than {loss} where old and new vectors meet"
    else:
        return "cannot tell", "queries find no less than after a rebuild, but most sentences have other neighbours"
    if r.overlap < STALE:
        return "rebuild", "most sentences have other neighbours than before"
    return "cannot tell", missing
