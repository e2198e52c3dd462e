"""``hf-simtune bench answer``: whether the faster ways of training change what comes out."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

from hf_simtune import machine
from hf_simtune.errors import RequestError
from hf_simtune.recipe import Recipe
from hf_simtune.record import Machine, RunRecord
from hf_simtune.tuning import tune

__all__ = ["WAYS", "AnswerBench", "Outcome", "gap", "measure", "splits", "ways"]

WAYS = (("fp32", "plain"), ("fp32", "packed"), ("bf16", "packed"))
log = logging.getLogger("hf_simtune")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run."""

    precision: str
    forward: str
    seed: int
    losses: tuple[float | None, ...]  # mean training loss between two scores
    select: tuple[float | None, ...]  # Spearman at each score; the first is the base
    report: float | None  # Spearman of the chosen checkpoint on the report rows
    seconds: float  # of training, with its scores


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnswerBench:
    """Runs that differ in their seed and in how they were computed, and in nothing else."""

    format: int = 1
    created: str
    commit: str | None
    command: str
    machine: Machine
    model: str
    train: str
    rows: int
    steps: int
    report: str
    base: float | None  # Spearman of the untouched model on the report rows
    outcomes: tuple[Outcome, ...]


def measure(
    recipe: Recipe,
    *,
    seeds: Sequence[int],
    offline: bool = False,
    command: str = "",
    ways: Sequence[tuple[str, str]] = WAYS,
) -> AnswerBench:
    """Run a recipe with each seed in each way.

    Args:
        recipe: what to run; its seed, precision and forward pass are set here.
        seeds: two or more.
        offline: as for ``tune``.
        command: what to write down as the command.
        ways: pairs of precision and forward pass; the first is what the others are compared with.

    Raises:
        RequestError: fewer than two seeds; and what ``tune`` raises.
    """
    if len(set(seeds)) < 2:
        raise RequestError("one seed shows nothing of the spread: give two or more, as in --seeds 0 1 2")
    created = datetime.now(UTC).isoformat(timespec="seconds")
    outcomes = []
    record: RunRecord | None = None
    with tempfile.TemporaryDirectory(prefix="hf-simtune-bench-") as place:
        for seed in seeds:
            for precision, forward in ways:
                chosen = dataclasses.replace(recipe, seed=seed, precision=precision, forward=forward)
                record = tune(chosen, offline=offline, out=Path(place)).record
                outcomes.append(_outcome(record))
                if (outcomes[-1].precision, outcomes[-1].forward) != (precision, forward):
                    told = record.training.forward_reason
                    raise RequestError(f"there is nothing to compare: asked for {forward}, the run took {told}")
                log.info("seed %d, %s, %s: %s", seed, precision, forward, outcomes[-1].report)
    if record is None:
        raise RequestError("nothing to compare: no way of computing was named")
    return AnswerBench(
        created=created,
        commit=machine.commit(),
        command=command,
        machine=machine.describe(),
        model=record.base.name,
        train=record.training.source.title,
        rows=record.training.rows,
        steps=record.training.steps,
        report=record.report.source.title,
        base=record.report.base.spearman,
        outcomes=tuple(outcomes),
    )


def _outcome(record: RunRecord) -> Outcome:
    training = record.training
    return Outcome(
        precision=training.precision,
        forward=training.forward,
        seed=int(record.recipe["seed"]),
        losses=tuple(point.loss for point in training.checkpoints[1:]),
        select=tuple(point.spearman for point in training.checkpoints),
        report=record.report.tuned.spearman,
        seconds=training.seconds,
    )


def ways(bench: AnswerBench) -> dict[tuple[str, str], list[Outcome]]:
    """The runs by precision and forward pass, in the order in which they were made."""
    found: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in bench.outcomes:
        found.setdefault((outcome.precision, outcome.forward), []).append(outcome)
    return found


def gap(first: Sequence[Outcome], other: Sequence[Outcome]) -> float:
    """How far two ways' loss curves lie apart: the mean over the curve of the distance between their means.

    Raises:
        ValueError: a loss is missing.
    """
    return _apart(_curves(first), _curves(other))


def splits(first: Sequence[Outcome], other: Sequence[Outcome]) -> tuple[int, int]:
    """Whether two ways can be told apart by their loss curves: an exact permutation test (Fisher 1935).

    Returns:
        In how many of all ways to part the curves of both into two groups as large these, the groups lie at least as
        far apart as the ways do; and how many there are. A way that changes nothing is no more likely to be among the
        farthest than any other parting.

    Raises:
        ValueError: a loss is missing.
    """
    curves = [*_curves(first), *_curves(other)]
    observed = gap(first, other)
    found = total = 0
    for chosen in itertools.combinations(range(len(curves)), len(first)):
        left = [curves[index] for index in chosen]
        right = [curve for index, curve in enumerate(curves) if index not in chosen]
        total += 1
        found += _apart(left, right) >= observed * (1 - 1e-12)
    return found, total


def _apart(left: Sequence[Sequence[float]], right: Sequence[Sequence[float]]) -> float:
    means = [[fmean(values) for values in zip(*side, strict=True)] for side in (left, right)]
    return fmean(abs(one - two) for one, two in zip(*means, strict=True))


def _curves(outcomes: Sequence[Outcome]) -> list[list[float]]:
    """The loss curves, none of them with a gap."""
    curves = [[loss for loss in outcome.losses if loss is not None] for outcome in outcomes]
    if any(len(curve) != len(outcome.losses) for curve, outcome in zip(curves, outcomes, strict=True)):
        raise ValueError("a loss is missing from a curve")
    return curves
