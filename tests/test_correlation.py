from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from hf_simtune.errors import SimtuneError
from hf_simtune.evaluation.correlation import UndefinedCorrelation, midranks, pearson, spearman, why_undefined

tied = st.sampled_from([-2.0, -0.5, 0.0, 0.1, 0.2, 0.2000001, 0.9, 5.0])
free = st.floats(-1e3, 1e3).map(lambda value: round(value, 6))


def two_sides(values: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    return st.integers(2, 60).flatmap(
        lambda n: st.tuples(arrays(np.float64, n, elements=values), arrays(np.float64, n, elements=values))
    )


@given(two_sides(st.one_of(tied, free)))
@settings(max_examples=200, deadline=None)
def test_spearman_is_scipys_with_and_without_ties(sides):
    left, right = sides
    assume(why_undefined(left) is None and why_undefined(right) is None)
    assert spearman(left, right) == pytest.approx(stats.spearmanr(left, right).statistic, abs=1e-12)


@given(two_sides(tied))
@settings(max_examples=100, deadline=None)
def test_pearson_is_scipys(sides):
    left, right = sides
    assume(np.ptp(left) > 0.05 and np.ptp(right) > 0.05)
    assert pearson(left, right) == pytest.approx(stats.pearsonr(left, right).statistic, abs=1e-12)


@given(arrays(np.float64, st.integers(1, 40), elements=tied))
@settings(max_examples=100, deadline=None)
def test_midranks_are_scipys(values):
    np.testing.assert_array_equal(midranks(values), stats.rankdata(values))


@given(two_sides(st.one_of(tied, free)))
@example((np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0])))
@settings(max_examples=100, deadline=None)
def test_spearman_is_symmetric_turns_with_the_sign_and_stays_within_one(sides):
    left, right = sides
    assume(why_undefined(left) is None and why_undefined(right) is None)
    value = spearman(left, right)
    assert -1 <= value <= 1
    assert spearman(right, left) == value
    assert spearman(left, -right) == pytest.approx(-value, abs=1e-14)
    order = np.random.default_rng(0).permutation(len(left))
    assert spearman(left[order], right[order]) == pytest.approx(value, abs=1e-14)


@pytest.mark.parametrize("n", [2, 3, 10, 1379])
def test_the_same_order_is_exactly_one_and_the_reverse_exactly_minus_one(n):
    gold = np.random.default_rng(n).random(n)
    assert spearman(gold, np.exp(gold)) == 1.0
    assert spearman(gold, -(gold**3)) == -1.0


def test_a_spearman_worked_by_hand():
    # Ranks 1, 2.5, 2.5, 4 against 1, 3, 2, 4: the centred products sum to 4.5, the squares to 4.5 and 5.
    assert spearman([1, 2, 2, 3], [0.1, 0.3, 0.2, 0.4]) == pytest.approx(4.5 / math.sqrt(4.5 * 5), abs=1e-15)


@pytest.mark.parametrize(
    ("gold", "predicted", "reason"),
    [
        ([0, 1, 2], [0.5, 0.5, 0.5], "the similarities are constant"),
        ([0, 1, 2], [0.0, -0.0, 0.0], "the similarities are constant"),
        ([3, 3, 3], [0.1, 0.2, 0.3], "the gold scores are constant"),
        ([3, 3, 3], [0.1, 0.1, 0.1], "the gold scores are constant"),
        (range(10), [0, 1, 2, 3, 4, 5, 6, *[math.nan] * 3], "3 of 10 similarities are NaN"),
        ([0, 1, 2], [0.1, math.inf, 0.2], "1 of 3 similarities is infinite"),
        ([0, 1, -math.inf], [0.1, 0.3, 0.2], "1 of 3 gold scores is infinite"),
        ([0, None, 2], [0.1, 0.3, 0.2], "1 of 3 gold scores is NaN"),
        ([1], [0.5], "there is 1 row; a correlation needs at least 2"),
        ([], [], "there are no rows; a correlation needs at least 2"),
    ],
)
@pytest.mark.parametrize("function", [spearman, pearson])
def test_what_has_no_correlation_is_undefined_and_says_why(function, gold, predicted, reason):
    with pytest.raises(UndefinedCorrelation) as caught:
        function(gold, predicted)
    assert caught.value.reason == reason == str(caught.value)
    assert not isinstance(caught.value, SimtuneError)


def test_a_collapsed_model_is_undefined_though_its_float32_similarities_differ_in_the_last_bits():
    step = np.float32(2**-24)
    noise = 1 - step * np.random.default_rng(0).integers(0, 10, 200).astype(np.float32)
    assert len(np.unique(noise)) > 5
    with pytest.raises(UndefinedCorrelation, match="the similarities are constant up to rounding"):
        spearman(np.arange(200), noise)


@pytest.mark.parametrize("offset", [0.0, 0.9, -0.9])
def test_a_span_of_a_hundred_thousandth_is_still_a_ranking(offset):
    assert spearman(range(50), offset + np.linspace(0, 1e-5, 50)) == 1.0


def test_small_similarities_around_zero_are_not_taken_for_rounding():
    assert spearman(range(5), np.array([-2, -1, 0, 1, 2]) * 1e-12) == 1.0


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_the_scale_changes_nothing_and_overflows_nowhere(scale):
    gold, predicted = np.array([-1.5, 0.2, 0.3, 1.7]), np.array([0.1, 0.5, 0.2, 0.8])
    assert pearson(gold * scale, predicted) == pytest.approx(pearson(gold, predicted), abs=1e-12)
    assert pearson(gold, predicted * scale) == pytest.approx(pearson(gold, predicted), abs=1e-12)
    assert spearman(gold * scale, predicted / scale) == spearman(gold, predicted)


@pytest.mark.parametrize(
    ("gold", "predicted"), [([1, 2, 3], [1, 2]), ([[1, 2], [3, 4]], [[1, 2], [3, 4]]), ([1, 2], [[1], [2]])]
)
def test_shapes_that_do_not_go_together_are_refused_and_not_called_undefined(gold, predicted):
    with pytest.raises(ValueError, match="same n") as caught:
        spearman(gold, predicted)
    assert not isinstance(caught.value, UndefinedCorrelation)


def test_an_owner_is_named_where_one_is_given():
    assert why_undefined(np.ones(3), whose="the tuned model's") == "the tuned model's similarities are constant"
    bad = np.array([1, 2, np.nan])
    assert why_undefined(bad, whose="the tuned model's") == "1 of the tuned model's 3 similarities is NaN"
    assert why_undefined(np.array([1.0, 2.0]), whose="the tuned model's") is None
