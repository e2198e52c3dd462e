"""Retrieval under two models: the figures, the interval, the answer, the sentence, and where a run puts them."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from numpy.typing import NDArray

from hf_simtune.errors import RequestError
from hf_simtune.evaluation.bootstrap import mean_interval
from hf_simtune.evaluation.neighbours import retrieval
from hf_simtune.evaluation.retrieval import RetrievalChange, compare_retrieval, retrieval_sentence

Floats = NDArray[np.float64]
QUERIES = 100


def sentences(noise: float, seed: int = 0) -> Floats:
    """Each query beside its document, the nearer the smaller the noise."""
    rng = np.random.default_rng(seed)
    topics = rng.normal(size=(QUERIES, 16))
    return np.stack([topics, topics + noise * rng.normal(size=topics.shape)], axis=1).reshape(-1, 16)


PAIRS = np.arange(2 * QUERIES).reshape(-1, 2)


def change(**fields: object) -> RetrievalChange:
    figures = {"n": 200, "queries": 100, "groups": 100, "base": 0.9, "tuned": 0.8, "base_first": 0.85, "seed": 0}
    return RetrievalChange(**{**figures, "tuned_first": 0.7, **fields})  # type: ignore[arg-type]


def test_the_figures_are_those_of_each_model_alone_and_the_interval_those_of_the_same_queries() -> None:
    base, tuned = sentences(1.0), sentences(1.6)
    found = compare_retrieval(base, tuned, PAIRS, seed=3)
    assert found
    before, after = retrieval(base, base, PAIRS), retrieval(tuned, tuned, PAIRS)
    assert (found.base, found.base_first) == (before.mrr, before.accuracy)
    assert (found.tuned, found.tuned_first) == (after.mrr, after.accuracy)
    assert (found.n, found.queries, found.groups) == (2 * QUERIES, QUERIES, QUERIES)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.tuned - found.base < found.high < 0
    assert found.answer == "worse"
    back = compare_retrieval(tuned, base, PAIRS, seed=3)
    assert back
    assert back.low == pytest.approx(-found.high)
    assert back.answer == "better"
    assert compare_retrieval(base, tuned, PAIRS, seed=3) == found
    assert RetrievalChange(**json.loads(json.dumps(dataclasses.asdict(found)))) == found


def test_the_same_vectors_lose_nothing_and_two_dimensions_may_differ() -> None:
    base = sentences(1.0)
    same = compare_retrieval(base, base, PAIRS)
    assert same
    assert (same.low, same.high, same.answer) == (0.0, 0.0, "cannot tell")
    wider = compare_retrieval(base, np.hstack([base, np.zeros((len(base), 3))]), PAIRS)
    assert wider
    assert (wider.low, wider.high) == (0.0, 0.0)


def test_queries_of_one_group_are_drawn_together() -> None:
    base, tuned = sentences(1.0), sentences(1.6)
    alone, labels = compare_retrieval(base, tuned, PAIRS), np.arange(2 * QUERIES) // 8
    together = compare_retrieval(base, tuned, PAIRS, labels)
    assert alone
    assert together
    assert (alone.groups, together.groups) == (QUERIES, QUERIES // 4)
    assert (alone.base, alone.tuned) == (together.base, together.tuned)
    assert (alone.low, alone.high) != (together.low, together.high)
    few = compare_retrieval(base, tuned, PAIRS, np.arange(2 * QUERIES) % 9)
    assert few
    assert (few.groups, few.low, few.resamples, few.answer) == (9, None, 0, "cannot tell")
    enough = compare_retrieval(base, tuned, PAIRS, np.arange(2 * QUERIES) // 2 % 10)
    assert enough and enough.groups == 10 and enough.low is not None


def test_without_a_pair_there_is_no_retrieval_and_wrong_pairs_are_refused() -> None:
    base = sentences(1.0)
    assert compare_retrieval(base, base, []) is None
    with pytest.raises(RequestError, match="outside") as refused:
        compare_retrieval(base, base, [(0, 1000)], seed=-1)
    assert len(refused.value.problems) == 2
    with pytest.raises(RequestError, match=r"labels has shape \(3,\): it must be \(200,\)"):
        compare_retrieval(base, base, PAIRS, [1, 2, 3])


def test_the_interval_of_a_mean_is_wider_where_it_is_to_be_surer() -> None:
    values, groups = np.random.default_rng(0).normal(0.5, 1, 60), np.arange(60, dtype=np.int64) // 3
    low, high = mean_interval(values, groups, 1000, 1, 0.95)
    assert (low, high) == mean_interval(values, groups, 1000, 1, 0.95)
    wide = mean_interval(values, groups, 1000, 1, 0.99)
    assert wide[0] < low < values.mean() < high < wide[1]
    assert mean_interval(np.ones(60), groups, 100, 0, 0.95) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("low", "high", "groups", "answer"),
    [
        (0.001, 0.2, 12, "better"),
        (-0.004, 0.2, 736, "not worse"),
        (-0.004, 0.2, 735, "cannot tell"),  # so few may hold no query of a kind that loses half a point
        (0.0, 0.0, 12, "cannot tell"),
        (-0.005, 0.2, 5000, "cannot tell"),
        (-0.2, 0.0, 5000, "cannot tell"),
        (-0.2, -0.001, 12, "worse"),
        (-0.004, -0.001, 5000, "not worse"),
        (None, None, 5000, "cannot tell"),
    ],
)
def test_the_answer_takes_an_interval_and_enough_queries(
    low: float | None, high: float | None, groups: int, answer: str
) -> None:
    assert change(low=low, high=high, groups=groups).answer == answer


def test_the_sentence_tells_what_was_asked_and_what_changed() -> None:
    assert retrieval_sentence("my rows", change(low=-0.13, high=-0.07, groups=90)) == (
        "Retrieval on my rows: worse. MRR@10 x 100 of 100 queries (90 groups) among 200 sentences went from 90.00 to "
        "80.00 (-10.00, 95 % interval -13.00 to -7.00); the nearest sentence is the right one for 70 % of them, before "
        "85 %."
    )
    assert retrieval_sentence("T", change(queries=1, groups=1)) == (
        "Retrieval on T: cannot tell whether it got worse. MRR@10 x 100 of 1 query among 200 sentences went from 90.00 "
        "to 80.00 (-10.00); the nearest sentence is the right one for 70 % of them, before 85 %."
    )
