from __future__ import annotations

import dataclasses
import itertools
import json
import math
import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from hf_simtune.errors import RequestError
from hf_simtune.evaluation import spread
from hf_simtune.evaluation.bootstrap import draw
from hf_simtune.evaluation.geometry import UndefinedGeometry, measure
from hf_simtune.evaluation.spread import Spread, compare_spread, spread_sentence

Vectors = NDArray[np.float64]


def vectors_of(n: int, dimensions: int, seed: int, shift: float = 0.3) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((n, dimensions)) + shift
    return rows.astype(np.float32).astype(np.float64)


def textbook(vectors: Vectors, labels: Sequence[int], times: Sequence[int]) -> float:
    """The groups really copied, and the pairs of the copies looked at one by one; NaN without any."""
    units = [row / math.sqrt(math.fsum(row * row)) for row in vectors]
    drawn = [
        (label, copy, unit) for unit, label in zip(units, labels, strict=True) for copy in range(int(times[label]))
    ]
    cosines = [
        math.fsum(a * b)
        for (label_a, copy_a, a), (label_b, copy_b, b) in itertools.combinations(drawn, 2)
        if label_a != label_b or copy_a == copy_b
    ]
    if not cosines:
        return math.nan
    mean = math.fsum(cosines) / len(cosines)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in cosines) / len(cosines))


def on_the_circle(seed: int, groups: int, size: int, wider: float = 1.0) -> tuple[Vectors, Vectors, NDArray[np.int64]]:
    """Two models that put sentences on a circle at normal angles, most of which the sentences of a group share."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(groups), size)

    def angles() -> Vectors:
        shared, own = rng.normal(size=groups)[labels], rng.normal(size=groups * size)
        return np.sqrt(0.7) * shared + np.sqrt(0.3) * own

    base, other = angles(), angles()
    models = 0.5 * base, 0.5 * wider * (0.8 * base + 0.6 * other)
    left, right = (np.stack([np.cos(model), np.sin(model)], axis=1) for model in models)
    return left, right, labels


def known_deviation(groups: int, size: int, wider: float) -> float:
    """What the similarities of such a model scatter by: if d is normal with variance v, E cos d = exp(-v / 2)."""
    within = (size - 1) / (groups * size - 1)  # share of the pairs that lie in one group
    variances = ((within, 2 * 0.3 * 0.25 * wider**2), (1 - within, 2 * 0.25 * wider**2))
    mean = sum(share * math.exp(-v / 2) for share, v in variances)
    square = sum(share * (1 + math.exp(-2 * v)) / 2 for share, v in variances)
    return math.sqrt(square - mean**2)


def test_the_figures_are_those_of_a_plain_loop_over_the_same_draws() -> None:
    labels = np.array([3, 0, 0, 5, 7, 1, 2, 2, 2, 4, 6, 8, 9, 9, 10])
    base, tuned = vectors_of(15, 6, 0), vectors_of(15, 9, 1, shift=0.0)
    found = compare_spread(base, tuned, labels, resamples=60, seed=4)
    times = draw(np.random.default_rng(4), 11, 60)
    differences = [textbook(tuned, labels, column) - textbook(base, labels, column) for column in times.T]
    assert found.base == pytest.approx(textbook(base, labels, [1] * 11), abs=1e-12)
    assert found.tuned == pytest.approx(textbook(tuned, labels, [1] * 11), abs=1e-12)
    assert found.difference == pytest.approx(found.tuned - found.base, abs=1e-12)
    assert found.low == pytest.approx(np.percentile(differences, 2.5), abs=1e-12)
    assert found.high == pytest.approx(np.percentile(differences, 97.5), abs=1e-12)
    assert (found.n, found.given, found.groups, found.resamples, found.seed) == (15, 15, 11, 60, 4)


@settings(deadline=None, max_examples=40)
@given(
    labels=st.lists(st.integers(0, 6), min_size=2, max_size=14),
    dimensions=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
    shift=st.sampled_from([0.0, 0.5, 30.0]),
    block=st.sampled_from([1, 3, 1024]),
)
def test_any_draw_of_any_groups_is_that_of_the_textbook(
    labels: list[int], dimensions: int, seed: int, shift: float, block: int
) -> None:
    dense = np.unique(sorted(labels), return_inverse=True)[1]
    vectors = vectors_of(len(dense), dimensions, seed, shift)
    times = draw(np.random.default_rng(seed), int(dense.max()) + 1, 4)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spread, "BLOCK", block)
        found = spread._deviations(units, dense, times)
    wanted = [textbook(vectors, dense.tolist(), column) for column in times.T]
    np.testing.assert_allclose(
        found, wanted, rtol=0, atol=1e-7, equal_nan=True
    )  # 0 is the root of what rounding leaves


def test_the_figures_themselves_are_those_that_measure_gives() -> None:
    base, tuned = vectors_of(300, 16, 0), vectors_of(300, 40, 1)
    found = compare_spread(base, tuned, resamples=100)
    for value, vectors in ((found.base, base), (found.tuned, tuned)):
        assert value == pytest.approx(measure(vectors).deviation, abs=1e-6)
        assert value == pytest.approx((1 - pdist(vectors, "cosine")).std(), abs=1e-12)


@pytest.mark.parametrize("block", [1, 7, 64, 100, 299, 300])
@pytest.mark.parametrize("grouped", [False, True])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, block: int, grouped: bool) -> None:
    base, tuned = vectors_of(300, 5, 0), vectors_of(300, 5, 1)
    groups = np.random.default_rng(2).integers(0, 60, 300) if grouped else None
    whole = compare_spread(base, tuned, groups, resamples=50)
    monkeypatch.setattr(spread, "BLOCK", block)
    found = compare_spread(base, tuned, groups, resamples=50)
    assert dataclasses.astuple(found)[3:8] == pytest.approx(dataclasses.astuple(whole)[3:8], abs=1e-12)


def test_vectors_that_nearly_all_point_one_way_keep_their_digits() -> None:
    rng = np.random.default_rng(0)
    base, tuned = ((1 + size * rng.standard_normal((50, 20))).astype(np.float32) for size in (0.003, 0.006))
    found = compare_spread(base, tuned, resamples=200)
    for value, vectors in ((found.base, base), (found.tuned, tuned)):
        units = vectors.astype(np.longdouble)
        units /= np.sqrt((units * units).sum(axis=1, keepdims=True))
        similarities = (units @ units.T)[np.triu_indices(50, 1)]
        assert 1e-6 < value < 1e-4
        assert value == pytest.approx(float(similarities.std()), rel=1e-6)
    assert found.verdict == "wider"


def test_verdicts_follow_the_interval_and_turn_round_with_the_models() -> None:
    base, tuned, labels = on_the_circle(0, 150, 2, wider=1.5)
    wider, narrower = compare_spread(base, tuned, labels), compare_spread(tuned, base, labels)
    assert (wider.verdict, narrower.verdict) == ("wider", "narrower")
    assert wider.low is not None and wider.high is not None and 0 < wider.low < wider.difference < wider.high
    assert (narrower.low, narrower.high) == (-wider.high, -wider.low) or (
        narrower.low == pytest.approx(-wider.high) and narrower.high == pytest.approx(-wider.low)
    )
    alike = compare_spread(*on_the_circle(1, 150, 2))
    assert alike.verdict == "no evidence"
    assert alike.low is not None and alike.high is not None and alike.low <= 0 <= alike.high


def test_lengths_and_turns_of_the_whole_space_widen_nothing() -> None:
    base = vectors_of(80, 12, 0).astype(np.float32)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((12, 12)))[0]
    for tuned in (base, base * np.float32(3.7), base @ turn, np.hstack([base, np.zeros((80, 3))])):
        found = compare_spread(base, tuned, resamples=100)
        assert (found.difference, found.low, found.high, found.verdict) == (0, 0, 0, "no evidence")


def test_constant_vectors_have_no_spread_and_no_nan() -> None:
    rows = vectors_of(30, 4, 0)
    flat = np.full((30, 4), 0.1)
    both = compare_spread(flat, 7 * flat, resamples=100)
    assert (both.base, both.tuned) == pytest.approx((0, 0), abs=1e-7)
    assert (both.difference, both.low, both.high, both.verdict) == (0, 0, 0, "no evidence")
    collapsed = compare_spread(rows, flat, resamples=100)
    assert collapsed.verdict == "narrower"
    assert collapsed.tuned == pytest.approx(0, abs=1e-7)


def test_a_draw_without_a_pair_is_undefined_and_no_warning() -> None:
    found = spread._deviations(np.eye(3), np.arange(3), np.array([[3.0, 1.0], [0.0, 1.0], [0.0, 1.0]]))
    assert math.isnan(found[0]) and found[1] == pytest.approx(0)


@pytest.mark.parametrize("rows", [2, 9])
def test_too_few_sentences_have_figures_and_a_reason_for_no_interval(rows: int) -> None:
    found = compare_spread(vectors_of(rows, 3, 0), vectors_of(rows, 3, 1))
    assert found.reason == f"{rows} sentences: it takes 10 sentences to resample"
    assert (found.low, found.high, found.resamples, found.verdict) == (None, None, 0, "no evidence")
    assert math.isfinite(found.difference)
    assert compare_spread(vectors_of(10, 3, 0), vectors_of(10, 3, 1)).resamples == 1000


def test_too_few_groups_have_a_reason_too() -> None:
    found = compare_spread(vectors_of(40, 3, 0), vectors_of(40, 3, 1), np.arange(40) // 20)
    assert found.reason == "40 sentences in 2 groups: it takes 10 groups to resample"
    assert spread_sentence(found).startswith(f"Spread of similarities, no evidence: {found.reason}; the standard")


def coverage(groups: int, size: int, wider: float, datasets: int = 300) -> tuple[float, float]:
    """How often the interval held the known difference: with the groups, and as if every sentence stood alone."""
    truth = known_deviation(groups, size, wider) - known_deviation(groups, size, 1)
    held = np.zeros(2)
    for seed in range(datasets):
        base, tuned, labels = on_the_circle(seed, groups, size, wider)
        for which, together in enumerate((labels, None)):
            found = compare_spread(base, tuned, together, resamples=400, seed=seed)
            assert found.low is not None and found.high is not None
            held[which] += found.low <= truth <= found.high
    return float(held[0] / datasets), float(held[1] / datasets)


def test_intervals_hold_the_known_difference_about_as_often_as_promised() -> None:
    few, _ = coverage(60, 1, 1.3, datasets=800)
    more, _ = coverage(300, 1, 1.3)
    assert few == pytest.approx(0.91, abs=0.03), "as the docstring says; three standard errors"
    assert more == pytest.approx(0.93, abs=0.04), "as the docstring says; three standard errors"


def test_groups_are_needed_where_sentences_hang_together() -> None:
    grouped, alone = coverage(100, 3, 1.3)
    assert grouped >= 0.88, f"{grouped:.1%}"
    assert alone < 0.85, f"{alone:.1%}"


def test_of_too_many_sentences_whole_groups_are_used_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    base, tuned = vectors_of(600, 8, 0), vectors_of(600, 8, 1)
    groups = np.random.default_rng(3).integers(0, 200, 600)
    monkeypatch.setattr(spread, "MOST", 150)
    found = compare_spread(base, tuned, groups, resamples=100, seed=1)
    used, labels = spread._part(np.unique(groups, return_inverse=True)[1], 1)
    assert (found.n, found.given, found.groups) == (len(used), 600, len(np.unique(groups[used])))
    assert 130 < found.n <= 150
    assert len(np.unique(used)) == len(used)
    assert all(np.isin(np.flatnonzero(groups == label), used).all() for label in groups[used])
    assert np.all(np.diff(labels) >= 0) and np.array_equal(np.unique(labels), np.arange(found.groups))
    assert found.base == pytest.approx((1 - pdist(base[used], "cosine")).std(), abs=1e-12)
    assert compare_spread(base, tuned, groups, resamples=100, seed=1) == found
    assert compare_spread(base, tuned, groups, resamples=100, seed=2).base != found.base
    assert f"of {found.n} sentences drawn from 600 went" in spread_sentence(found)
    assert compare_spread(base, tuned, np.arange(600) // 50, resamples=100).groups == 10  # of 50 sentences, ten fit not


def test_labels_may_be_anything_that_tells_groups_apart_and_rows_may_come_in_any_order() -> None:
    base, tuned, labels = on_the_circle(0, 30, 2)
    found = compare_spread(base, tuned, labels, resamples=100)
    assert compare_spread(base, tuned, [f"frame {label:03}" for label in labels], resamples=100) == found
    order = np.random.default_rng(0).permutation(60)
    mixed = compare_spread(base[order], tuned[order], labels[order], resamples=100)
    assert dataclasses.astuple(mixed)[3:8] == pytest.approx(dataclasses.astuple(found)[3:8], abs=1e-12)


@pytest.mark.parametrize(
    ("base", "tuned", "told"),
    [
        (np.ones((1, 3)), np.ones((1, 3)), "1 vector makes no pair"),
        (np.ones((0, 3)), np.ones((0, 3)), "0 vector makes no pair"),
        (np.ones((4, 3)), np.ones((5, 3)), "4 vectors and 5 are not those of the same sentences"),
        (np.zeros((4, 3)), np.ones((4, 3)), "zero throughout"),
        (np.ones((4, 3)), np.full((4, 3), np.nan), "not finite"),
        (np.ones(4), np.ones(4), "the shape"),
    ],
)
def test_vectors_without_a_spread_are_refused(base: Vectors, tuned: Vectors, told: str) -> None:
    with pytest.raises(UndefinedGeometry, match=told):
        compare_spread(base, tuned)


def test_every_wrong_setting_is_told_at_once() -> None:
    vectors = vectors_of(12, 3, 0)
    with pytest.raises(RequestError) as told:
        compare_spread(vectors, vectors, [1, 2], resamples=10, seed=-1)
    assert told.value.problems == (
        "groups has shape (2,): a label for each of 12 sentences is (12,)",
        "resamples is 10: a confidence of 0.95 takes 40 or more",
        "seed is -1: it must be 0 or more",
    )
    for groups, what in (([math.nan] * 12, "12 of 12 groups are NaN"), ([None, "a"] * 6, "cannot be compared")):
        with pytest.raises(RequestError, match=what):
            compare_spread(vectors, vectors, groups)
    for confidence in (0, 1, math.nan):
        with pytest.raises(RequestError, match="confidence is"):
            compare_spread(vectors, vectors, confidence=confidence)


def test_a_spread_is_a_plain_value_that_json_can_hold_and_a_seed_settles() -> None:
    base, tuned, labels = on_the_circle(0, 30, 2)
    found = compare_spread(base, tuned, labels, resamples=100, seed=np.int64(3))
    assert Spread(**json.loads(json.dumps(dataclasses.asdict(found), allow_nan=False))) == found
    assert compare_spread(base, tuned, labels, resamples=100, seed=3) == found
    assert compare_spread(base, tuned, labels, resamples=100, seed=4).low != found.low


def test_the_sentence_gives_every_figure() -> None:
    found = Spread(
        n=2000,
        given=2000,
        groups=2000,
        base=0.142,
        tuned=0.18104,
        difference=0.03904,
        low=0.03501,
        high=0.0431,
        confidence=0.95,
        resamples=1000,
        seed=0,
        verdict="wider",
    )
    assert spread_sentence(found) == (
        "Spread of similarities, wider: the standard deviation x 100 of the cosine similarities of all pairs of 2,000 "
        "sentences went from 14.20 to 18.10, +3.90 (95 % interval +3.50 to +4.31)."
    )


def test_two_thousand_sentences_and_a_thousand_resamples_take_a_second_or_two() -> None:
    base, tuned = vectors_of(2000, 384, 0), vectors_of(2000, 384, 1)
    started = time.process_time()
    assert compare_spread(base, tuned).resamples == 1000
    assert time.process_time() - started < 10  # 0.8 s where nothing else runs
