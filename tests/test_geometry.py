from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import CHECKOUT
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from scipy.stats import entropy

from hf_simtune.evaluation import geometry
from hf_simtune.evaluation.geometry import UndefinedGeometry, alignment, measure

TOLERANCE = 1e-6
Vectors = NDArray[np.float32]


def textbook(vectors: Vectors) -> dict[str, float]:
    """The definitions, pair by pair in plain Python, in float64."""
    rows = [[float(value) / math.hypot(*map(float, row)) for value in row] for row in vectors]
    cosines, energies = [], []
    for x, y in itertools.combinations(rows, 2):
        cosines.append(sum(a * b for a, b in zip(x, y, strict=True)))
        energies.append(math.exp(-2 * sum((a - b) ** 2 for a, b in zip(x, y, strict=True))))
    mean = math.fsum(cosines) / len(cosines)
    return {
        "pairs": len(cosines),
        "mean": mean,
        "deviation": math.sqrt(math.fsum((value - mean) ** 2 for value in cosines) / len(cosines)),
        "uniformity": math.log(math.fsum(energies) / len(energies)),
    }


def cosines_of(vectors: Vectors) -> NDArray[np.float64]:
    values: NDArray[np.float64] = 1 - pdist(vectors.astype(np.float64), "cosine")
    return values


def check(found: geometry.Geometry, cosines: NDArray[np.float64]) -> None:
    """Against all similarities in float64; those within rounding of a bin's edge may fall on either side."""
    assert found.pairs == len(cosines) == sum(found.histogram)
    assert not found.sampled
    assert found.mean == found.anisotropy == pytest.approx(cosines.mean(), abs=TOLERANCE)
    assert found.deviation == pytest.approx(cosines.std(), abs=TOLERANCE)
    assert found.uniformity == pytest.approx(math.log(np.exp(4 * cosines - 4).mean()), abs=TOLERANCE)
    edges = np.linspace(-1, 1, 401)[1:-1]
    ordered, below = np.sort(cosines), np.cumsum(found.histogram)[:-1]
    assert np.all(np.searchsorted(ordered, edges - TOLERANCE) <= below)
    assert np.all(below <= np.searchsorted(ordered, edges + TOLERANCE))
    for percent, value in found.quantiles:
        rank = -(-percent * len(ordered) // 100)
        assert value == pytest.approx(ordered[rank - 1], abs=geometry.RESOLUTION + TOLERANCE)

    slack = geometry.RESOLUTION + TOLERANCE
    inside = (found.dense_from - slack <= cosines) & (cosines <= found.dense_from + 0.2 + slack)
    narrower = max(np.mean((start <= cosines) & (cosines <= start + 0.2 - 2 * slack)) for start in cosines)
    assert narrower <= found.dense_share <= inside.mean()


def collapsed(n: int, dimensions: int) -> Vectors:
    rows = np.ones((n, dimensions)) + 1e-5 * np.random.default_rng(1).standard_normal((n, dimensions))
    return rows.astype(np.float32)


@pytest.mark.parametrize(
    "vectors",
    [
        np.random.default_rng(0).standard_normal((83, 17)).astype(np.float32),
        np.random.default_rng(1).standard_normal((20, 64)).astype(np.float32) + 2,  # fewer vectors than dimensions
        collapsed(40, 8),
        np.repeat(np.eye(5, dtype=np.float32), 7, axis=0),  # similarities of exactly 0 and 1
        np.concatenate([np.eye(9), -np.eye(9)]).astype(np.float32),  # and of -1
        np.random.default_rng(2).standard_normal((30, 6)).astype(np.float32)
        * np.logspace(-40, 38, 30, dtype=np.float32)[:, None],  # lengths from subnormal to nearly infinite
        np.array([[3.0], [-2.0], [1.0]], np.float32),  # one dimension
        np.array([[1, 0], [1, 1]], np.float32),  # one pair
        np.array([[1, 2], [-1, -2]], np.float32),
    ],
    ids=["random", "wide", "collapsed", "orthogonal", "opposite", "lengths", "line", "pair", "opposite-pair"],
)
def test_every_figure_is_that_of_the_textbook_loop(vectors: Vectors) -> None:
    found, wanted = measure(vectors), textbook(vectors)
    for name, value in wanted.items():
        assert getattr(found, name) == pytest.approx(value, abs=TOLERANCE), name
    check(found, cosines_of(vectors))


@pytest.mark.parametrize("block", [1, 2, 7, 50, 99, 100, 1024])
def test_blocks_that_do_not_divide_the_rows_count_each_pair_once(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    vectors = np.random.default_rng(3).standard_normal((100, 12)).astype(np.float32) + 0.3
    monkeypatch.setattr(geometry, "BLOCK", block)
    found = measure(vectors)
    check(found, cosines_of(vectors))
    singular = np.linalg.svd(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), compute_uv=False)
    assert found.effective_rank == pytest.approx(math.exp(entropy(singular)), rel=TOLERANCE)


def test_the_real_blocks_are_crossed_too() -> None:
    vectors = np.random.default_rng(4).standard_normal((geometry.BLOCK * 2 + 3, 8)).astype(np.float32)
    found, cosines = measure(vectors), cosines_of(vectors)
    assert found.pairs == len(cosines) == sum(found.histogram)
    assert found.mean == pytest.approx(cosines.mean(), abs=TOLERANCE)
    assert found.uniformity == pytest.approx(math.log(np.exp(4 * cosines - 4).mean()), abs=TOLERANCE)


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(2, 24),
    dimensions=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
    shift=st.sampled_from([0.0, 0.5, 30.0]),
    twins=st.booleans(),
)
def test_any_vectors_have_the_textbook_geometry(n: int, dimensions: int, seed: int, shift: float, twins: bool) -> None:
    rng = np.random.default_rng(seed)
    vectors = (rng.integers(-3, 4, (n, dimensions)) + shift + 0.01 * rng.random((n, dimensions))).astype(np.float32)
    if twins:
        vectors[-1] = -vectors[0] * 1000
    found = measure(vectors)
    check(found, cosines_of(vectors))
    for name, value in textbook(vectors).items():
        assert getattr(found, name) == pytest.approx(value, abs=TOLERANCE), name
    assert 1 <= found.effective_rank <= min(n, dimensions) + TOLERANCE


def test_identical_vectors_have_figures_and_no_nan() -> None:
    found = measure(np.full((50, 384), -0.01, np.float32))
    assert (found.mean, found.deviation, found.uniformity) == pytest.approx((1, 0, 0), abs=TOLERANCE)
    assert found.effective_rank == pytest.approx(1)
    assert found.dense_share == 1
    assert found.histogram[-1] == found.pairs == 1225


def test_the_effective_rank_counts_directions() -> None:
    assert measure(np.repeat(np.eye(6, dtype=np.float32), 50, axis=0)).effective_rank == pytest.approx(6)
    low = np.random.default_rng(0).standard_normal((500, 3)) @ np.random.default_rng(1).standard_normal((3, 64))
    assert 2 < measure(low).effective_rank <= 3 + 1e-3  # not the 64 that rounding would make of it


@pytest.mark.parametrize(
    ("vectors", "told"),
    [
        (np.array([[1, 0], [np.nan, 1], [1, 1]]), "1 of 3 vectors hold a value that is not finite.*: 1$"),
        (np.array([[1, 0], [np.inf, 1], [-np.inf, 1]]), "2 of 3 vectors hold.*: 1, 2$"),
        (np.array([[1, 0], [1e300, 1]]), "not finite"),
        (np.zeros((9, 4)), "9 of 9 vectors are zero.*: 0, 1, 2, 3, 4, ...$"),
        (np.ones((1, 4)), "1 vector makes no pair"),
        (np.ones((0, 4)), "0 vector makes no pair"),
        (np.ones(4), "the shape"),
        (np.ones((4, 0)), "the shape"),
    ],
)
def test_vectors_without_a_geometry_are_refused_by_name(vectors: NDArray[np.float64], told: str) -> None:
    with pytest.raises(UndefinedGeometry, match=told):
        measure(vectors)


def test_above_the_limit_pairs_are_drawn_and_the_moments_stay_those_of_all() -> None:
    rng = np.random.default_rng(5)
    vectors = (rng.standard_normal((3000, 10)) + np.array([1, *[0] * 9])).astype(np.float32)
    whole = measure(vectors)
    drawn = measure(vectors, seed=1, enumerate_up_to=1000, sample=400_000)
    assert drawn.sampled and not whole.sampled
    assert drawn.pairs == sum(drawn.histogram) == pytest.approx(400_000, rel=0.02)
    assert (drawn.mean, drawn.deviation, drawn.effective_rank) == (whole.mean, whole.deviation, whole.effective_rank)
    assert drawn.uniformity == pytest.approx(whole.uniformity, abs=0.01)
    assert drawn.dense_share == pytest.approx(whole.dense_share, abs=0.01)
    for (_, a), (_, b) in zip(drawn.quantiles, whole.quantiles, strict=True):
        assert a == pytest.approx(b, abs=0.01)
    assert drawn == measure(vectors, seed=1, enumerate_up_to=1000, sample=400_000)
    assert drawn.histogram != measure(vectors, seed=2, enumerate_up_to=1000, sample=400_000).histogram


def test_each_pair_is_as_likely_to_be_drawn_as_every_other() -> None:
    n, times = 150, 400
    seen = np.zeros((n, n))
    for seed in range(times):
        groups = [group for group in geometry._groups(n, seed, 10, 3) if group is not None]
        assert len(np.unique(np.concatenate(groups))) == sum(map(len, groups))
        for group in groups:
            seen[np.ix_(group, group)] += 1
    drawn = seen[np.triu_indices(n, 1)] / times
    assert drawn.mean() == pytest.approx(64 * 63 / (n * (n - 1)), rel=0.01)  # one group of 64
    # Binomial scatter and no more: a pair that is never or always drawn would widen it.
    assert drawn.std() == pytest.approx(math.sqrt(drawn.mean() * (1 - drawn.mean()) / times), rel=0.15)
    assert drawn.min() > 0.05 and drawn.max() < 0.35


def test_more_pairs_than_there_are_are_not_drawn() -> None:
    found = measure(np.random.default_rng(0).standard_normal((70, 4)), enumerate_up_to=10, sample=10**6)
    assert found.pairs == 70 * 69 // 2
    assert not found.sampled


def test_alignment_is_the_mean_squared_distance_on_the_sphere(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal((2, 100, 7)).astype(np.float32)
    b[0], b[1] = a[0] * 5, -a[1]
    wanted = np.mean([np.sum((x / np.linalg.norm(x) - y / np.linalg.norm(y)) ** 2) for x, y in zip(a, b, strict=True)])
    monkeypatch.setattr(geometry, "BLOCK", 33)
    assert alignment(a, b) == pytest.approx(wanted, abs=TOLERANCE)
    assert alignment(a[:1], b[:1]) == pytest.approx(0, abs=TOLERANCE)
    assert alignment(a[1:2], b[1:2]) == pytest.approx(4)
    for left, right in ((a, b[:5]), (a[:0], b[:0]), (a, b[:, :3])):
        with pytest.raises(UndefinedGeometry, match="no shapes"):
            alignment(left, right)
    with pytest.raises(UndefinedGeometry, match="zero"):
        alignment(a, np.zeros_like(a))


def test_a_geometry_is_a_plain_value_that_json_can_hold() -> None:
    found = measure(np.random.default_rng(0).standard_normal((5, 3)))
    held = json.loads(json.dumps(dataclasses.asdict(found), allow_nan=False))
    assert held["pairs"] == 10
    assert len(held["histogram"]) == geometry.BINS
    assert hash(found) == hash(measure(np.random.default_rng(0).standard_normal((5, 3))))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_square_of_the_rows() -> None:
    program = """
import numpy as np
from hf_simtune import machine
from hf_simtune.evaluation.geometry import measure
vectors = np.random.default_rng(0).standard_normal((12_000, 64), dtype=np.float32)
measure(vectors[:2100])
before, _ = machine.peak_memory()
found = measure(vectors)
print(found.pairs, machine.peak_memory()[0] - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ, cwd=CHECKOUT
    )
    pairs, mebibytes = done.stdout.split()
    assert int(pairs) == 12_000 * 11_999 // 2
    assert float(mebibytes) < 50, "the whole matrix would take 549"
