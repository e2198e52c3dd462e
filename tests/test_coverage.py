"""A short version of ``coverage_torture.py``: fewer runs and wider bounds, and proof that a wrong method falls out."""

from __future__ import annotations

import numpy as np
import pytest
from simulated import GROUPS, SIZES, WORLDS, World, count, latent, population

from hf_simtune.evaluation.compare import Comparison, compare
from hf_simtune.evaluation.correlation import spearman

RUNS, RESAMPLES = 400, 400
NOTHING, TIED, _, MUCH = WORLDS
# Of 400 runs that hold the truth with 95 %, 91.5 to 97.75 % do with 99.8 %; of 2.5 %, 0.5 to 5.5 % with 99.8 %.
COVERS, IMPROVED = (91.5, 97.75), (0.5, 5.5)


@pytest.mark.parametrize("world", [TIED, MUCH], ids=lambda world: world.name)
def test_the_interval_holds_the_truth_as_often_as_it_says(world: World) -> None:
    found = count(world, 200, RUNS, RESAMPLES)
    assert COVERS[0] <= found.share("held")[0] <= COVERS[1], found.line()
    if world.base == world.tuned:
        assert IMPROVED[0] <= found.share("improved")[0] <= IMPROVED[1], found.line()


@pytest.mark.parametrize("together", [True, False], ids=["drawn-together", "each-for-itself"])
def test_repeated_rows_are_no_evidence_where_they_are_drawn_together_and_fall_out_where_not(together: bool) -> None:
    def thrice(*rows: np.ndarray, **options: int) -> Comparison:
        *scores, labels = (np.repeat(values, 3) for values in rows)
        return compare(*scores, labels if together else None, **options)

    found = count(NOTHING, 200, 100, RESAMPLES, method=thrice)  # with each row a group of three at least
    assert (found.share("held")[0] >= 88) == together, found.line()  # 95 of 100, and 74 where each is for itself
    assert (found.share("held")[0] <= 85) != together, found.line()


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_the_truth_is_what_many_rows_show(world: World) -> None:
    gold, base, tuned, _ = world.rows(np.random.default_rng(1), 300_000)
    # The spread of three such samples is some 0.0004 for a correlation, and less for a difference.
    assert spearman(gold, base) == pytest.approx(population(latent(world.base), world.tied), abs=2e-3)
    assert spearman(gold, tuned) - spearman(gold, base) == pytest.approx(world.difference, abs=1e-3)


def test_the_groups_are_those_of_the_benchmark() -> None:
    assert (GROUPS, sum(size * times for size, times in SIZES.items())) == (1179, 1379)
    _, _, _, labels = NOTHING.rows(np.random.default_rng(0), 5000)
    assert np.bincount(labels).mean() == pytest.approx(1379 / 1179, rel=0.05)
