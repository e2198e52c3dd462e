from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resampled import Data, dependent_rows, textbook

from hf_simtune.evaluation.bootstrap import Ranking, draw, resampled_differences, resampled_spearman
from hf_simtune.evaluation.correlation import spearman


def few_values(n: int) -> st.SearchStrategy[np.ndarray]:
    some = st.sampled_from([0.0, 0.2, 0.2 + 1e-12, 1.0, -3.0])
    many = st.floats(-1, 1)
    one = st.floats(-1, 1).map(lambda value: [value] * n)
    return st.one_of(st.lists(some, min_size=n, max_size=n), st.lists(many, min_size=n, max_size=n), one).map(np.array)


@st.composite
def tied_data(draw_from: st.DrawFn) -> Data:
    n = draw_from(st.integers(1, 30))
    labels = draw_from(st.lists(st.integers(0, n - 1), min_size=n, max_size=n))
    return (
        draw_from(few_values(n)),
        draw_from(few_values(n)),
        draw_from(few_values(n)),
        np.unique(labels, return_inverse=True)[1],
    )


@given(tied_data(), st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_resampled_correlations_are_scipys_on_repeated_rows_under_every_kind_of_tie(data, seed):
    gold, base, tuned, groups = data
    counts = draw(np.random.default_rng(seed), groups.max() + 1, 8)[groups]
    found = resampled_spearman(counts, *map(Ranking.of, (gold, base, tuned)))
    for model, values in zip((base, tuned), found, strict=True):
        np.testing.assert_allclose(values, textbook(counts, gold, model), rtol=0, atol=1e-12, equal_nan=True)


def test_resampled_correlations_are_scipys_on_data_of_real_size():
    gold, base, tuned, groups = dependent_rows(0, groups=500)
    counts = draw(np.random.default_rng(1), 500, 20)[groups]
    found = resampled_spearman(counts, *map(Ranking.of, (gold, np.round(base, 2), tuned)))
    np.testing.assert_allclose(found[0], textbook(counts, gold, np.round(base, 2)), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found[1], textbook(counts, gold, tuned), rtol=0, atol=1e-12)


def test_every_row_once_gives_the_plain_correlation():
    gold, base, tuned, _ = dependent_rows(3)
    found = resampled_spearman(np.ones((len(gold), 1)), *map(Ranking.of, (gold, base, tuned)))
    assert [value[0] for value in found] == pytest.approx([spearman(gold, base), spearman(gold, tuned)], abs=1e-14)


def test_draws_take_as_many_groups_as_there_are_each_equally_often():
    counts = draw(np.random.default_rng(0), 40, 5000)
    assert counts.shape == (40, 5000)
    assert set(counts.sum(axis=0)) == {40}
    assert counts.mean(axis=1) == pytest.approx(np.ones(40), abs=0.07)  # five standard errors
    assert counts.var() == pytest.approx(1 - 1 / 40, abs=0.03)


@pytest.mark.parametrize("chunk", [1, 700, 10_000, 10**7])
def test_neither_chunks_nor_the_order_of_work_change_a_result(chunk):
    gold, base, tuned, groups = dependent_rows(1)
    whole = resampled_differences(gold, base, tuned, groups, 200, seed=4)
    np.testing.assert_array_equal(resampled_differences(gold, base, tuned, groups, 200, seed=4, chunk=chunk), whole)
