"""Correlations, resamples and geometry against scipy and slow textbook loops, on vectors made to be hard."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from hf_simtune.evaluation.bootstrap import Ranking, draw, mean_interval, resampled_differences
from hf_simtune.evaluation.correlation import pearson, spearman, why_undefined
from hf_simtune.evaluation.geometry import alignment, measure

MANY = settings(max_examples=150, deadline=None, derandomize=True)
SOME = settings(max_examples=60, deadline=None, derandomize=True)

tied = st.sampled_from([-1.0, 0.0, -0.0, 0.2, 0.4, 0.6, 1.0])
near = st.integers(-40, 40).map(lambda step: 0.7 + step * 1e-4)  # a model that tells little apart
huge = st.sampled_from([1e300, -1e300, 1.5e308, 9e307, 1e-300, 3.0, -3.0])
small = st.sampled_from([1e-308, 5e-324, -1e-308, 2e-308, 0.0])
free = st.floats(-1, 1, width=32)
KINDS = {"tied": tied, "near": near, "huge": huge, "small": small, "free": free}


def loop_ranks(values: np.ndarray) -> list[float]:
    """One more than the values below, and half a place for each other one that is equal."""
    return [1 + sum(v < x for v in values) + (sum(v == x for v in values) - 1) / 2 for x in values]


def loop_pearson(left: list[float], right: list[float]) -> float:
    """Sums of products of what is left of each when its mean is off, in plain Python."""
    a, b = (math.fsum(side) / len(side) for side in (left, right))
    over = math.fsum((x - a) * (y - b) for x, y in zip(left, right, strict=True))
    under = math.sqrt(math.fsum((x - a) ** 2 for x in left)) * math.sqrt(math.fsum((y - b) ** 2 for y in right))
    return over / under


def loop_spearman(left: np.ndarray, right: np.ndarray) -> float:
    """NaN where a side is constant."""
    ranks = loop_ranks(left), loop_ranks(right)
    return math.nan if min(len(set(side)) for side in ranks) < 2 else loop_pearson(*ranks)


@st.composite
def columns(drawn: st.DrawFn, count: int, fewest: int = 2, most: int = 30) -> list[np.ndarray]:
    """Columns of one length, each of a kind of its own, some of them a copy or the reverse of the first."""
    n = drawn(st.integers(fewest, most))
    found: list[np.ndarray] = []
    for _ in range(count):
        made = drawn(arrays(np.float64, n, elements=KINDS[drawn(st.sampled_from(sorted(KINDS)))]))
        how = drawn(st.sampled_from(["own", "own", "own", "same", "turned"])) if found else "own"
        found.append({"own": made, "same": found[0] if found else made, "turned": -found[0] if found else made}[how])
    return found


@MANY
@given(columns(2))
def test_spearman_is_that_of_scipy_and_of_the_loop(sides: list[np.ndarray]) -> None:
    left, right = sides
    assume(why_undefined(left) is None and why_undefined(right) is None)
    value = spearman(left, right)
    assert value == pytest.approx(loop_spearman(left, right), abs=1e-12)
    assert value == pytest.approx(stats.spearmanr(left, right).statistic, abs=1e-12)


@MANY
@given(columns(2))
def test_what_has_no_correlation_in_the_loop_is_refused_here(sides: list[np.ndarray]) -> None:
    for side in sides:
        if len(set(side.tolist())) == 1:
            assert "constant" in str(why_undefined(side))
        elif why_undefined(side) is not None:  # more than one value, and yet refused: apart by rounding alone
            assert np.ptp(side / np.abs(side).max()) <= 1e-6


@pytest.mark.parametrize(("right", "value"), [((0.1, 0.9), 1.0), ((0.9, 0.1), -1.0)])
def test_two_rows_correlate_fully_or_not_at_all(right: tuple[float, float], value: float) -> None:
    assert spearman((0.0, 1.0), right) == value
    assert pearson((0.0, 1.0), right) == pytest.approx(value, abs=1e-15)
    assert value == pytest.approx(loop_pearson([0.0, 1.0], list(right)), abs=1e-15)


@MANY
@given(columns(2), st.sampled_from([1e-200, 1.0, 1e200]))
def test_pearson_is_that_of_the_loop_at_any_scale(sides: list[np.ndarray], scale: float) -> None:
    left, right = (side / max(1e-308, np.abs(side).max()) for side in sides)
    assume(min(np.ptp(left), np.ptp(right)) > 1e-3)
    expected = loop_pearson(left.tolist(), right.tolist())
    assert pearson(left * scale, right) == pytest.approx(expected, abs=1e-9)


@SOME
@given(columns(3, most=18), st.data())
def test_each_resampled_difference_is_that_of_the_loop_on_the_rows_that_were_drawn(
    sides: list[np.ndarray], data: st.DataObject
) -> None:
    gold, base, tuned = sides
    n = len(gold)
    labels = data.draw(st.lists(st.integers(0, n - 1), min_size=n, max_size=n))
    groups = np.unique(labels, return_inverse=True)[1]
    seed = data.draw(st.integers(0, 1000))
    found = resampled_differences(gold, base, tuned, groups, 6, seed)
    total = int(groups.max()) + 1
    members = [[row for row in range(n) if groups[row] == group] for group in range(total)]
    for value, drawn in zip(found, np.random.default_rng(seed).integers(total, size=(6, total)), strict=True):
        rows = [row for group in drawn for row in members[group]]
        expected = loop_spearman(gold[rows], tuned[rows]) - loop_spearman(gold[rows], base[rows])
        np.testing.assert_allclose(value, expected, atol=1e-12, rtol=0, equal_nan=True)


@SOME
@given(columns(1, fewest=1), st.integers(1, 6), st.integers(0, 1000))
def test_the_interval_of_a_mean_is_that_of_the_loop(sides: list[np.ndarray], groups: int, seed: int) -> None:
    values = np.clip(sides[0], -10, 10)
    labels = np.unique(np.arange(len(values)) % groups, return_inverse=True)[1]
    total, means = int(labels.max()) + 1, []
    for drawn in np.random.default_rng(seed).integers(total, size=(40, total)):
        rows = [value for group in drawn for value, label in zip(values, labels, strict=True) if label == group]
        means.append(math.fsum(rows) / len(rows))
    expected = np.percentile(means, (5, 95))
    assert mean_interval(values, labels, 40, seed, 0.9) == pytest.approx(tuple(expected), abs=1e-9)


def test_a_percentile_interval_of_all_draws_is_the_one_written_out() -> None:
    # Three groups have 27 draws; the fast code's resamples must have their frequencies, each draw being as likely.
    gold, base, tuned = np.array([0.0, 1.0, 2.0]), np.array([0.0, 2.0, 1.0]), np.array([0.0, 1.0, 2.0])
    every = [
        loop_spearman(gold[list(rows)], tuned[list(rows)]) - loop_spearman(gold[list(rows)], base[list(rows)])
        for rows in itertools.product(range(3), repeat=3)
    ]
    known = [value for value in every if not math.isnan(value)]
    found = resampled_differences(gold, base, tuned, np.arange(3), 40_000, 0)
    assert np.isnan(found).mean() == pytest.approx(np.isnan(every).mean(), abs=0.01)
    for value in set(np.round(known, 9)):
        share = np.isclose(found, value, atol=1e-9).mean()
        assert share == pytest.approx(np.isclose(known, value, atol=1e-9).sum() / 27, abs=0.01), value


def test_the_draws_of_the_fast_code_are_the_generators_in_its_order() -> None:
    counts = draw(np.random.default_rng(3), 5, 7)
    drawn = np.random.default_rng(3).integers(5, size=(7, 5))
    assert counts.T.tolist() == [[list(row).count(group) for group in range(5)] for row in drawn]
    assert Ranking.of(np.array([2.0, 1.0, 2.0])).ends.tolist() == [0, 2]


@st.composite
def vectors(drawn: st.DrawFn, count: int = 1) -> list[np.ndarray]:
    """Rows of float32 with a direction: spread, all but one direction, repeated, of lengths from 1e-30 to 1e30."""
    n, dimensions = drawn(st.integers(2, 12)), drawn(st.integers(1, 6))
    found = []
    for _ in range(count):
        rng = np.random.default_rng(drawn(st.integers(0, 2**32 - 1)))
        rows = rng.standard_normal((n, dimensions))
        how = drawn(st.sampled_from(["spread", "one", "repeated", "turned", "lengths", "axes"]))
        if how == "one":
            rows = 1 + 10.0 ** drawn(st.integers(-6, -1)) * rows
        elif how == "repeated":
            rows = rows[rng.integers(2, size=n)]
        elif how == "turned":
            rows = rows[:1] * np.where(rng.random(n) < 0.5, 1, -1)[:, None]
        elif how == "lengths":
            rows = rows * 10.0 ** rng.uniform(-30, 30, (n, 1))
        elif how == "axes":
            rows = np.eye(dimensions)[rng.integers(dimensions, size=n)]
        rows = rows.astype(np.float32)
        assume(bool((np.linalg.norm(rows.astype(np.float64), axis=1) > 0).all()))
        found.append(rows)
    return found


def unit(row: np.ndarray) -> list[float]:
    values = [float(value) for value in row]
    length = math.hypot(*values)
    return [value / length for value in values]


def apart(x: list[float], y: list[float]) -> float:
    return math.fsum((a - b) ** 2 for a, b in zip(x, y, strict=True))


@MANY
@given(vectors())
def test_anisotropy_uniformity_and_deviation_are_those_of_the_loop_over_all_pairs(made: list[np.ndarray]) -> None:
    rows = [unit(row) for row in made[0]]
    pairs = list(itertools.combinations(rows, 2))
    cosines = [math.fsum(a * b for a, b in zip(x, y, strict=True)) for x, y in pairs]
    mean = math.fsum(cosines) / len(pairs)
    found = measure(made[0])
    assert found.pairs == len(pairs)
    assert found.anisotropy == pytest.approx(mean, abs=1e-6)
    # A root magnifies rounding near zero: its square is what is right to 1e-6.
    spread = math.fsum((value - mean) ** 2 for value in cosines) / len(pairs)
    assert found.deviation**2 == pytest.approx(spread, abs=1e-6)
    energy = math.fsum(math.exp(-2 * apart(x, y)) for x, y in pairs) / len(pairs)
    assert found.uniformity == pytest.approx(math.log(energy), abs=3e-6)


@MANY
@given(vectors())
def test_the_effective_rank_is_that_of_the_singular_values(made: list[np.ndarray]) -> None:
    singular = np.linalg.svd(np.array([unit(row) for row in made[0]]), compute_uv=False)
    assume(not np.any((singular > 1e-9 * singular[0]) & (singular < 1e-5 * singular[0])))  # neither zero nor not
    shares = [float(value / singular[singular > 1e-6 * singular[0]].sum()) for value in singular]
    entropy = -math.fsum(share * math.log(share) for share in shares if share > 1e-7)
    assert measure(made[0]).effective_rank == pytest.approx(math.exp(entropy), rel=1e-4)


@MANY
@given(vectors(count=2))
def test_alignment_is_the_mean_of_the_loop(made: list[np.ndarray]) -> None:
    width = min(rows.shape[1] for rows in made)
    count = min(len(rows) for rows in made)
    left, right = (rows[:count, :width] for rows in made)
    assume(all((np.linalg.norm(side.astype(np.float64), axis=1) > 0).all() for side in (left, right)))
    distances = [apart(unit(x), unit(y)) for x, y in zip(left, right, strict=True)]
    assert alignment(left, right) == pytest.approx(math.fsum(distances) / count, abs=1e-6)
