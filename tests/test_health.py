"""The figures of a set of embeddings, and when they are a finding."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sample_ways import lora

from hf_simtune.evaluation import geometry
from hf_simtune.evaluation.health import UNHEALTHY, SparsityFigures, findings, harm, unclaimed, unfit
from hf_simtune.evaluation.health import measure as health_of
from hf_simtune.record import Health

VECTORS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
    elements=st.floats(-2, 2, width=32) | st.sampled_from([0.0, -0.0, math.nan, math.inf]),
)


@given(VECTORS)
def test_sparsity_is_what_counting_gives(vectors: Any) -> None:
    active = sum(1 for row in vectors.tolist() for value in row if value != 0)
    found = SparsityFigures.of(vectors)
    assert found.active_dimensions == pytest.approx(active / len(vectors))
    assert found.sparsity == pytest.approx(1 - active / vectors.size)


@given(VECTORS, st.booleans())
def test_any_vectors_give_figures_that_json_takes_or_none(vectors: Any, sparse: bool) -> None:
    health = health_of(vectors, sparse, 7, 0.5)
    directed = [row for row in vectors.tolist() if all(map(math.isfinite, row)) and any(value != 0 for value in row)]
    assert health.undefined == len(vectors) - len(directed)
    assert (health.anisotropy is None) == (len(directed) < 2)
    for name in ("uniformity", "effective_rank", "deviation"):
        assert (getattr(health, name) is None) == (health.anisotropy is None)
    if health.anisotropy is not None:
        cosines = [
            sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))
            for a, b in itertools.combinations(directed, 2)
        ]
        assert health.anisotropy == pytest.approx(sum(cosines) / len(cosines), abs=1e-5)
    assert (health.sparsity is not None) == sparse
    found = dataclasses.replace(health, findings=findings(health, health))
    json.dumps(dataclasses.asdict(found), allow_nan=False)
    assert not harm(found, found)


def health(anisotropy: float | None = 0.2, rank: float | None = 40.0, **options: Any) -> Health:
    figures = (
        {"uniformity": -2.0, "deviation": 0.1} if anisotropy is not None else {"uniformity": None, "deviation": None}
    )
    return Health(**{"step": 1, "epoch": 0.1, "anisotropy": anisotropy, "effective_rank": rank, **figures, **options})


@pytest.mark.parametrize(
    ("now", "base", "wanted"),
    [
        (health(), health(), ()),
        (health(0.89), health(), ("narrowing",)),
        (health(0.901), health(), ("collapsed",)),
        (health(0.97), health(0.96), ()),  # began there
        (health(0.981), health(0.96), ("collapsed",)),
        (health(0.84), health(), ()),  # more than halved, but far from one direction
        (health(0.86), health(), ("narrowing",)),
        (health(0.86), health(0.75), ()),  # 0.25 is not halved by 0.14
        (health(1.0), health(1.0), ()),
        (health(0.2, 9.9), health(), ("narrowing",)),
        (health(0.0, 3.9), health(), ("collapsed",)),
        (health(0.0, 1.9), health(0.0, 10.0), ("collapsed",)),
        (health(0.0, 2.1), health(0.0, 10.0), ("narrowing",)),
        (health(0.0, 1.9), health(0.0, 3.0), ()),  # two or three dimensions are no collapse
        (health(0.0, 1.4), health(0.0, 3.0), ("collapsed",)),
        (health(0.95, 30.0), health(None, None, undefined=30), ("collapsed",)),
        (health(0.1, 30.0), health(None, None, undefined=30), ()),
        (health(None, None, undefined=30), health(), ("undefined",)),
        (health(undefined=1), health(), ("undefined",)),
        (health(0.99, 1.2, undefined=1), health(), ("undefined", "collapsed")),
    ],
)
def test_the_rules_of_a_collapse(now: Health, base: Health, wanted: tuple[str, ...]) -> None:
    assert findings(now, base) == wanted


def sparse(active: float, dimensions: int = 1000, **options: Any) -> Health:
    return health(active_dimensions=active, sparsity=1 - active / dimensions, **options)


@pytest.mark.parametrize(
    ("now", "base", "wanted"),
    [
        (sparse(40), sparse(40), ()),
        (sparse(0.99), sparse(40), ("dead",)),
        (sparse(0.0, anisotropy=None, rank=None, undefined=30), sparse(40), ("undefined", "dead")),
        (sparse(399), sparse(40), ()),
        (sparse(401), sparse(40), ("dense",)),
        (sparse(501), sparse(100), ("dense",)),
        (sparse(9.9), sparse(0.5), ()),  # 1 % of the dimensions, however few the base had
        (sparse(11), sparse(0.5), ("dense",)),
        (sparse(501), None, ("dense",)),
        (sparse(499), None, ()),
        (sparse(0.5), None, ("dead",)),
    ],
)
def test_the_rules_of_sparse_models(now: Health, base: Health | None, wanted: tuple[str, ...]) -> None:
    assert findings(now, base) == wanted


COSINES = st.floats(-1, 1)
RANKS = st.floats(1, 512)


@given(COSINES, RANKS, COSINES, RANKS, COSINES, RANKS)
def test_worse_figures_are_never_healthier(a: float, r: float, b: float, s: float, base: float, rank: float) -> None:
    before = health(base, rank)
    assert findings(before, before) == ()
    better = findings(health(min(a, b), max(r, s)), before)
    worse = findings(health(max(a, b), min(r, s)), before)
    order = ["", "narrowing", "collapsed"]
    assert order.index("".join(better)) <= order.index("".join(worse))
    if a < 0.9 and r >= max(2.0, rank / 10):
        assert "collapsed" not in findings(health(a, r), before)


@given(st.integers(0, 2**32 - 1), st.floats(0, 30))
def test_the_uniformity_is_bounded_by_the_anisotropy(seed: int, offset: float) -> None:
    # Why it has no threshold: Jensen's inequality, as the docstring of findings says.
    vectors = np.random.default_rng(seed).normal(size=(25, 6)) + offset
    found = geometry.measure(vectors)
    assert found.uniformity >= -4 * (1 - found.anisotropy) - 1e-5


def test_harm_leaves_out_what_the_base_brought_and_notes() -> None:
    base = dataclasses.replace(sparse(900, undefined=1), findings=("undefined", "dense"))
    assert harm(dataclasses.replace(base, findings=("undefined", "dense", "narrowing")), base) == ()
    assert harm(dataclasses.replace(base, findings=("dead", "dense")), base) == ("dead",)
    assert harm(dataclasses.replace(base, undefined=2), base) == ("undefined",)


def test_of_a_model_that_is_unhealthy_or_lies_behind_an_explosion_nothing_is_claimed() -> None:
    base = sparse(900)
    steps = [dataclasses.replace(base, step=step) for step in (1, 2, 3)]
    assert unfit(steps[-1], [base, *steps]) is None
    for name in UNHEALTHY:
        told = unfit(dataclasses.replace(steps[1], findings=(name,)), [base, *steps])
        assert told == f"the embeddings of step 2, which was kept, are unhealthy: {name}"
        assert unfit(steps[1], [base, steps[0], steps[1], dataclasses.replace(steps[2], findings=(name,))]) is None
    steps[1] = dataclasses.replace(steps[1], findings=("exploding",), gradient=250.0, usual_gradient=2.0)
    assert unfit(steps[0], [base, *steps]) is None
    for kept in steps[1:]:
        told = unfit(kept, [base, *steps])
        assert told and told.startswith(f"the gradient exploded by step 2, and step {kept.step} was kept: its norm was")
        assert "250, where 2 was usual" in told


def test_a_record_claims_nothing_of_a_kept_step_that_is_unhealthy() -> None:
    assert "are unhealthy: collapsed" in (unclaimed(lora()) or "")
    record = dataclasses.replace(lora(), health=tuple(dataclasses.replace(at, findings=()) for at in lora().health))
    assert unclaimed(record) is None
    ill = [dataclasses.replace(at, findings=("collapsed",)) for at in record.health]
    kept = [at.step for at in record.health].index(record.training.best_step)
    others = (*record.health[:kept], ill[kept], *record.health[kept + 1 :])
    assert "are unhealthy: collapsed" in (unclaimed(dataclasses.replace(record, health=others)) or "")
    elsewhere = (*record.health[:kept], record.health[kept], *ill[kept + 1 :])
    assert unclaimed(dataclasses.replace(record, health=elsewhere)) is None
    untouched = dataclasses.replace(record.training, best_step=0)
    assert unclaimed(dataclasses.replace(record, training=untouched, health=tuple(ill))) is None
    diverged = dataclasses.replace(record.training, diverged="the loss is NaN at step 3")
    assert unclaimed(dataclasses.replace(record, training=diverged)) == "training diverged: the loss is NaN at step 3"
