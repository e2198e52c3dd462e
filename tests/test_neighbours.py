from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from conftest import CHECKOUT
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hf_simtune.errors import RequestError
from hf_simtune.evaluation import bootstrap, neighbours
from hf_simtune.evaluation import reindex as module
from hf_simtune.evaluation.bootstrap import draw
from hf_simtune.evaluation.geometry import UndefinedGeometry
from hf_simtune.evaluation.groups import groups_of_ids
from hf_simtune.evaluation.neighbours import overlap, retrieval
from hf_simtune.evaluation.reindex import Reindex, reindex, reindex_sentence

Vectors = NDArray[np.float64]
Pairs = Sequence[tuple[int, int]]
AXES = np.concatenate([np.eye(4), -np.eye(4)])  # similarities of exactly -1, 0 and 1: ties everywhere


def vectors_of(n: int, dimensions: int, seed: int) -> Vectors:
    return np.random.default_rng(seed).standard_normal((n, dimensions))


def cosine(a: Vectors, b: Vectors) -> float:
    return math.fsum(a * b) / math.sqrt(math.fsum(a * a) * math.fsum(b * b))


def settled(queries: Vectors, documents: Vectors) -> bool:
    """Whether no order rests on a gap that float32 or rounding to six decimals may open or close."""
    for query in queries:
        gaps = np.diff(sorted(cosine(query, document) for document in documents))
        if np.any((gaps > 1e-9) & (gaps < 3e-6)):
            return False
    return True


def nearest(vectors: Vectors, row: int, k: int) -> set[int]:
    """The k nearest, one by one; similarities that agree to six decimals by index."""
    values = {other: cosine(vectors[row], vectors[other]) for other in range(len(vectors)) if other != row}
    return set(sorted(values, key=lambda other: (-round(values[other], 6), other))[:k])


def shared(base: Vectors, tuned: Vectors, k: int) -> float:
    return float(np.mean([len(nearest(base, row, k) & nearest(tuned, row, k)) / k for row in range(len(base))]))


def rank(queries: Vectors, documents: Vectors, query: int, positives: set[int]) -> int:
    values = {other: cosine(queries[query], documents[other]) for other in range(len(documents)) if other != query}
    best = max(values[other] for other in positives)
    rest = [value for other, value in values.items() if other not in positives]
    return 1 + sum(value > best - 1e-7 for value in rest)


def ranks(queries: Vectors, documents: Vectors, pairs: Pairs) -> list[int]:
    found = []
    for query in sorted({query for query, _ in pairs}):
        found.append(rank(queries, documents, query, {document for asked, document in pairs if asked == query}))
    return found


def reciprocal(places: Sequence[int]) -> list[float]:
    return [1 / place if place <= 10 else 0.0 for place in places]


def twins(topics: int, seed: int, noise: float = 0.8) -> tuple[Vectors, NDArray[np.int64]]:
    """Sentences in pairs, 2 i and 2 i + 1, of one topic each; the first asks for the second."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.standard_normal((topics, 32)), 2, axis=0) + noise * rng.standard_normal((2 * topics, 32))
    return rows, np.arange(2 * topics).reshape(-1, 2)


some_vectors = st.builds(
    vectors_of, n=st.just(16), dimensions=st.integers(2, 9), seed=st.integers(0, 2**32 - 1)
) | st.lists(st.sampled_from(range(8)), min_size=16, max_size=16).map(lambda rows: AXES[rows])
some_pairs = st.lists(
    st.tuples(st.integers(0, 15), st.integers(0, 15)).filter(lambda pair: pair[0] != pair[1]), min_size=1, max_size=20
)


@settings(deadline=None, max_examples=60)
@given(base=some_vectors, tuned=some_vectors, k=st.integers(1, 20), block=st.sampled_from([1, 3, 16, 512]))
def test_the_overlap_is_that_of_a_plain_loop_whatever_ties(base: Vectors, tuned: Vectors, k: int, block: int) -> None:
    assume(settled(base, base) and settled(tuned, tuned))
    wanted = shared(base, tuned, min(k, 15))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK", block)
        found = overlap(base, tuned, k)
    assert (found.n, found.k) == (16, min(k, 15))
    assert found.share == pytest.approx(wanted, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(queries=some_vectors, seed=st.integers(0, 99), pairs=some_pairs, block=st.sampled_from([1, 3, 512]))
def test_retrieval_is_that_of_a_plain_loop_whatever_ties(queries: Vectors, seed: int, pairs: Pairs, block: int) -> None:
    rng = np.random.default_rng(seed)
    for documents in (queries, queries[rng.permutation(16)], vectors_of(16, queries.shape[1], seed)):
        assume(settled(queries, documents))
        places = ranks(queries, documents, pairs)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(neighbours, "BLOCK", block)
            found = retrieval(queries, documents, pairs)
        assert found.queries == len(places)
        assert found.mrr == pytest.approx(np.mean(reciprocal(places)), abs=1e-12)
        assert found.accuracy == pytest.approx(np.mean([place == 1 for place in places]), abs=1e-12)


def test_a_sentence_is_neither_its_own_neighbour_nor_its_own_document() -> None:
    rows = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]])
    assert overlap(rows, rows[::-1] * 3, k=1).share == 1
    assert overlap(rows, rows[[0, 2, 1, 3]], k=1).share == 0
    found = retrieval(rows, rows, [(0, 1), (2, 3), (3, 0)])
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.mrr == pytest.approx((1 + 1 + 1 / 3) / 3)


def test_of_several_documents_the_nearest_counts_and_beyond_the_tenth_none() -> None:
    angles = np.linspace(0, 1, 20)
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for positives, wanted in (([3], 1 / 3), ([3, 5, 9], 1 / 3), ([10], 1 / 10), ([11], 0), ([11, 12], 0)):
        found = retrieval(rows, rows, [(0, document) for document in positives] * 2)  # a pair given twice is one pair
        assert (found.queries, found.mrr, found.accuracy) == (1, pytest.approx(wanted), 0)


def test_one_vector_for_all_finds_nothing_and_keeps_the_order_of_the_index() -> None:
    flat = np.random.default_rng(0).random((100, 1)) @ vectors_of(1, 7, 1)
    assert retrieval(flat, flat, [(0, 1), (50, 51), (99, 0)]).mrr == 0
    rows = vectors_of(100, 7, 2)
    lowest = [set([other for other in range(11) if other != row][:10]) for row in range(100)]
    wanted = np.mean([len(nearest(rows, row, 10) & lowest[row]) / 10 for row in range(100)])
    assert overlap(rows, flat).share == pytest.approx(wanted)


@pytest.mark.parametrize("chunk", [1, 700, 10**9])
def test_the_intervals_are_those_of_a_plain_loop_over_the_same_draws(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(bootstrap, "MEANS", chunk)
    base, tuned = vectors_of(40, 5, 0), vectors_of(40, 5, 1)
    tuned[:20] = base[:20] + 0.2 * tuned[:20]
    pairs = [(0, 1), (1, 2), (30, 2), (5, 6), (5, 7), *((row, row + 10) for row in range(10, 20)), (31, 32), (35, 36)]
    found = reindex(base, tuned, pairs, seed=3)
    queries = sorted({query for query, _ in pairs})
    labels = groups_of_ids(np.array([q for q, _ in pairs]), np.array([d for _, d in pairs]))
    of_query = {query: int(label) for (query, _), label in zip(pairs, labels, strict=True)}
    counts = draw(np.random.default_rng(3), int(labels.max()) + 1, 1000)
    rebuilt = reciprocal(ranks(tuned, tuned, pairs))
    assert (found.queries, found.groups, found.resamples) == (len(queries), int(labels.max()) + 1, 1000)
    assert found.base == pytest.approx(np.mean(reciprocal(ranks(base, base, pairs))))
    assert found.tuned == pytest.approx(np.mean(rebuilt))
    for sides, value, low, high in (
        ((base, tuned), found.mixed, found.mixed_low, found.mixed_high),
        ((tuned, base), found.old, found.old_low, found.old_high),
    ):
        met = reciprocal(ranks(*sides, pairs))
        assert value == pytest.approx(np.mean(met))
        means = []
        for column in counts.T.astype(int):
            drawn = [i for i, query in enumerate(queries) for _ in range(column[of_query[query]])]
            means.append(np.mean([met[i] - rebuilt[i] for i in drawn]))
        assert (low, high) == pytest.approx(tuple(np.percentile(means, (2.5, 97.5))), abs=1e-12)


def test_other_dimensions_mean_a_rebuild() -> None:
    base, pairs = twins(50, 0, noise=0.3)
    found = reindex(base, np.hstack([base, np.zeros((100, 1))]), pairs)
    assert (found.answer, found.overlap) == ("rebuild", 1)
    assert found.base == found.tuned is not None
    assert found.mixed is found.mixed_low is found.old is found.old_high is None
    assert found.resamples == 0
    assert reindex_sentence(found) == (
        "Old index: rebuild it, as the two models' vectors differ in their dimensions. MRR@10 x 100 of 50 queries was "
        "100.00 and is 100.00 after a rebuild; 100 % of the 10 nearest neighbours of each sentence stayed (10 % would "
        "by chance)."
    )


def test_the_same_vectors_need_no_rebuild_however_few() -> None:
    base = vectors_of(5, 4, 0)
    found = reindex(base, 2 * base + 5e-7)
    assert found.answer == "keep"
    assert reindex_sentence(found) == "Old index: keep it, as the two models give the same vectors."


def test_a_turned_space_keeps_every_neighbour_and_yet_needs_a_rebuild() -> None:
    base, pairs = twins(60, 1)
    found = reindex(base, base @ np.linalg.qr(vectors_of(32, 32, 0))[0], pairs)
    assert (found.overlap, found.base) == (1, found.tuned)
    assert (found.answer, found.reason) == ("rebuild", "queries find less where old and new vectors meet")
    for value, high in ((found.mixed, found.mixed_high), (found.old, found.old_high)):
        assert value is not None and high is not None and found.tuned is not None
        assert value < found.tuned and high < 0
        assert "interval -" in reindex_sentence(found)


def test_one_way_that_loses_is_enough() -> None:
    rng = np.random.default_rng(0)
    base, pairs = twins(100, 2, noise=0.3)
    tuned = base.copy()
    tuned[::2] = rng.standard_normal((100, 32))  # as queries; the documents stay
    lost = reindex(tuned, base, pairs)  # old queries find nothing on new documents, new ones do on old documents
    assert (lost.answer, lost.reason) == ("rebuild", "queries find less where old and new vectors meet")
    assert lost.mixed_high is not None and lost.mixed_high < 0
    assert lost.old_low == lost.old_high == 0


def test_little_change_and_many_queries_keep_the_index_and_fewer_cannot_tell() -> None:
    base, pairs = twins(736, 3, noise=0.5)
    tuned = base + 0.01 * vectors_of(*base.shape, 4)
    found = reindex(base, tuned, pairs)
    assert (found.answer, found.groups) == ("keep", 736)
    assert found.old_low is not None and found.mixed_low is not None and min(found.old_low, found.mixed_low) > -0.005
    fewer = reindex(base, tuned, pairs[:735])
    assert fewer.answer == "cannot tell"
    assert fewer.reason == "the queries show no loss, but 735 queries do not rule out one of 0.5 points: it takes 736"
    joined = reindex(base, tuned, [*pairs.tolist(), (0, 3)])
    assert (joined.queries, joined.groups) == (736, 735)
    assert "but 735 groups of connected queries do not" in joined.reason


@pytest.mark.parametrize(
    ("changed", "answer"),
    [
        ({}, "keep"),
        ({"old_low": -0.0049, "mixed_low": -0.0049}, "keep"),
        ({"old_low": -0.005}, "cannot tell"),
        ({"mixed_low": -0.005}, "cannot tell"),
        ({"old_low": -0.01, "old_high": 0.0}, "cannot tell"),
        ({"old_low": -0.001, "old_high": -0.0001}, "rebuild"),
        ({"mixed_low": -0.001, "mixed_high": -0.0001}, "rebuild"),
        ({"groups": 735}, "cannot tell"),
        ({"overlap": 0.5}, "keep"),
        ({"overlap": 0.49}, "cannot tell"),
        ({"overlap": 0.49, "groups": 735}, "rebuild"),
        ({"overlap": 0.49, "old_low": -0.005}, "rebuild"),
    ],
)
def test_the_rules_apply_at_their_bounds(changed: dict[str, float], answer: str) -> None:
    sure = {"mixed_low": 0.0, "mixed_high": 0.001, "old_low": 0.0, "old_high": 0.001}
    figures = {"n": 3000, "k": 10, "overlap": 0.9, "queries": 900, "groups": 736, "seed": 0, **sure, **changed}
    assert module._answer(Reindex(**figures), meet=True, same=False)[0] == answer


def test_as_many_queries_as_it_takes_to_meet_a_rare_loss() -> None:
    assert module.FEWEST_TO_KEEP == 736  # as the docstring says
    assert (1 - 0.005) ** 736 <= 0.025 < (1 - 0.005) ** 735


def test_queries_that_scatter_cannot_tell() -> None:
    base, pairs = twins(60, 5, noise=0.9)
    found = reindex(base, base + 0.2 * vectors_of(*base.shape, 6), pairs)
    assert found.old_low is not None and found.old_high is not None
    assert min(found.old_low, found.mixed_low or 0) <= -0.005 < 0 <= found.old_high
    assert found.answer == "cannot tell"
    assert found.reason == "the queries show no loss, but do not rule out one of 0.5 points"


def test_few_or_no_queries_cannot_tell_and_give_no_interval() -> None:
    base, pairs = twins(30, 7, noise=0.5)
    tuned = base + 0.01 * vectors_of(*base.shape, 8)
    few, none = reindex(base, tuned, pairs[:9]), reindex(base, tuned)
    assert (few.answer, few.reason) == ("cannot tell", "9 queries cannot be resampled: it takes 10")
    assert few.mixed is not None and few.mixed_low is few.old_high is None and few.resamples == 0
    assert "(0.00); " in reindex_sentence(few)
    assert (none.answer, none.reason) == ("cannot tell", "there are no queries whose documents are known")
    assert none.base is none.tuned is none.mixed is None
    assert reindex_sentence(none).startswith(
        "Old index: cannot tell whether to rebuild it, as there are no queries whose documents are known. "
    )


def test_other_neighbours_mean_a_rebuild_unless_the_queries_speak_against_it() -> None:
    base, other = vectors_of(200, 16, 0), vectors_of(200, 16, 1)
    found = reindex(base, other)
    assert found.overlap < 0.2
    assert (found.answer, found.reason) == ("rebuild", "most sentences have other neighbours than before")

    rows, pairs = twins(800, 9, noise=0.05)
    moved = rows + 0.6 * np.repeat(vectors_of(800, 32, 10), 2, axis=0)  # topics move, and each sentence with its twin
    known = reindex(rows, moved, pairs)
    assert known.overlap < 0.5 and known.old_low is not None and known.old_low > -0.005
    assert known.answer == "cannot tell"
    assert known.reason == "queries find no less than after a rebuild, but most sentences have other neighbours"


def test_few_sentences_share_their_neighbours_by_chance_and_are_not_taken_for_more() -> None:
    base, tuned = vectors_of(4, 3, 0), vectors_of(4, 3, 1)
    everything = reindex(base, tuned)
    assert (everything.k, everything.overlap, everything.answer) == (3, 1, "cannot tell")
    assert "neighbours" not in reindex_sentence(everything)
    some = reindex(vectors_of(13, 3, 0), vectors_of(13, 3, 1))
    assert "(83 % would by chance)" in reindex_sentence(some)
    assert "nearest neighbours stayed" in reindex_sentence(reindex(vectors_of(50, 3, 0), vectors_of(50, 3, 1), k=1))


def test_a_result_is_a_plain_value_that_json_can_hold_and_a_seed_settles() -> None:
    base, pairs = twins(40, 11, noise=1.5)
    tuned = base + vectors_of(*base.shape, 12)
    found = reindex(base, tuned, pairs, seed=np.int64(1))
    assert Reindex(**json.loads(json.dumps(dataclasses.asdict(found), allow_nan=False))) == found
    assert reindex(base, tuned, pairs, seed=1) == found
    assert reindex(base, tuned, pairs, seed=2).mixed_low != found.mixed_low


def test_the_sentence_gives_every_figure() -> None:
    found = Reindex(
        n=3000,
        k=10,
        overlap=0.4321,
        queries=1000,
        groups=1000,
        base=0.61,
        tuned=0.7132,
        mixed=0.54,
        mixed_low=-0.19,
        mixed_high=-0.156,
        old=0.551,
        old_low=-0.18,
        old_high=-0.144,
        resamples=1000,
        seed=0,
        answer="rebuild",
        reason="queries find less where old and new vectors meet",
    )
    assert reindex_sentence(found) == (
        "Old index: rebuild it, as queries find less where old and new vectors meet. MRR@10 x 100 of 1,000 queries was "
        "61.00 and is 71.32 after a rebuild; 55.10 with new queries on old documents (-16.22, 95 % interval -18.00 to "
        "-14.40); 54.00 with old queries on new documents (-17.32, 95 % interval -19.00 to -15.60); 43 % of the 10 "
        "nearest neighbours of each sentence stayed."
    )


@pytest.mark.parametrize(
    ("base", "tuned", "told"),
    [
        (np.ones((1, 3)), np.ones((1, 3)), "1 vector has no neighbour"),
        (np.ones((0, 3)), np.ones((0, 3)), "0 vector has no neighbour"),
        (np.ones((4, 3)), np.ones((5, 3)), "4 vectors and 5 are not those of the same sentences"),
        (np.zeros((4, 3)), np.ones((4, 3)), "zero throughout"),
        (np.ones((4, 3)), np.full((4, 3), np.inf), "not finite"),
        (np.ones(4), np.ones(4), "the shape"),
    ],
)
def test_vectors_without_neighbours_are_refused(base: Vectors, tuned: Vectors, told: str) -> None:
    for call in (lambda: overlap(base, tuned), lambda: reindex(base, tuned), lambda: retrieval(base, tuned, [(0, 1)])):
        with pytest.raises(UndefinedGeometry, match=told):
            call()


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ([(0, 4)], r"1 of 1 pairs are outside 0\.\.3; the first is \(0, 4\)"),
        ([(0, 1), (-1, 2), (9, 9)], r"2 of 3 pairs are outside 0\.\.3; the first is \(-1, 2\)"),
        ([(0, 1), (2, 2)], r"1 of 2 pairs are of a sentence with itself.*the first is \(2, 2\)"),
        ([0, 1], r"of shape \(2,\): it must be whole numbers of shape \(m, 2\)"),
        ([(0.0, 1.0)], "pairs is float64"),
        ([(0, 1, 2)], r"of shape \(1, 3\)"),
    ],
)
def test_pairs_that_cannot_be_are_refused(pairs: Pairs, told: str) -> None:
    rows = vectors_of(4, 3, 0)
    for call in (lambda: reindex(rows, rows, pairs), lambda: retrieval(rows, rows, pairs)):
        with pytest.raises(RequestError, match=told):
            call()


def test_every_wrong_setting_is_told_at_once() -> None:
    rows = vectors_of(4, 3, 0)
    with pytest.raises(RequestError) as told:
        reindex(rows, rows, [(0, 7)], k=0, seed=-1)
    assert [problem.split(":")[0] for problem in told.value.problems] == [
        "1 of 1 pairs are outside 0..3; the first is (0, 7)",
        "k is 0",
        "seed is -1",
    ]
    with pytest.raises(RequestError, match="k is -2: it must be 1 or more"):
        overlap(rows, rows, k=-2)
    with pytest.raises(RequestError, match="no pair"):
        retrieval(rows, rows, [])
    with pytest.raises(UndefinedGeometry, match="queries have 3 dimensions and documents 2"):
        retrieval(rows, rows[:, :2], [(0, 1)])


@pytest.mark.slow
def test_twenty_thousand_sentences_fit_into_a_gigabyte() -> None:
    program = """
import numpy as np
from hf_simtune import machine
from hf_simtune.evaluation.reindex import reindex
base = np.random.default_rng(0).standard_normal((20_000, 384), dtype=np.float32)
found = reindex(base, base + np.float32(0.1) * base[::-1], np.arange(4000).reshape(-1, 2))
print(found.queries, machine.peak_memory()[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ, cwd=CHECKOUT
    )
    queries, mebibytes = done.stdout.split()
    assert int(queries) == 2000
    assert float(mebibytes) < 1000, "one matrix of all similarities would take 1,526"
