"""``hf-simtune bench answer``: whether the faster ways of training change what comes out."""

from __future__ import annotations

import dataclasses
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

__all__ = ["WAYS", "AnswerBench", "Outcome", "gap", "measure", "ways"]

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


def gap(first: Sequence[Outcome], other: Sequence[Outcome]) -> tuple[float, float]:
    """How far two ways' loss curves lie apart, and how far those of one way's seeds do.

    Returns:
        The mean over the curve of the distance between the two ways' mean losses; and of the distance between the
        largest and the smallest loss of the first way's seeds at the same place.

    Raises:
        ValueError: a loss is missing.
    """
    points = list(zip(*([*_curves(first), *_curves(other)]), strict=True))
    apart = [abs(fmean(values[: len(first)]) - fmean(values[len(first) :])) for values in points]
    spread = [max(values[: len(first)]) - min(values[: len(first)]) for values in points]
    return fmean(apart), fmean(spread)


def _curves(outcomes: Sequence[Outcome]) -> list[list[float]]:
    """The loss curves, none of them with a gap."""
    curves = [[loss for loss in outcome.losses if loss is not None] for outcome in outcomes]
    if any(len(curve) != len(outcome.losses) for curve, outcome in zip(curves, outcomes, strict=True)):
        raise ValueError("a loss is missing from a curve")
    return curves
