"""``hf-simtune bench``: a plain trainer script and ours, side by side on this machine, step against step."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import statistics
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from hf_simtune import losses, machine, models, precision
from hf_simtune.bench import gemm
from hf_simtune.bench.process import Worker
from hf_simtune.bench.worker import Job
from hf_simtune.data.load import load
from hf_simtune.data.shapes import CANONICAL
from hf_simtune.errors import RequestError
from hf_simtune.recipe import BUILTIN_MINILM, LOSS_SHAPES, Recipe
from hf_simtune.record import Machine, Source
from hf_simtune.row_shapes import default_loss
from hf_simtune.speed import choose

__all__ = ["Ratio", "Side", "StepBench", "measure"]

log = logging.getLogger("hf_simtune")
TEMPERATURE = 0.05
TRAINABLE = tuple(dict.fromkeys(shape for shapes in LOSS_SHAPES.values() for shape in shapes))
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """One of the processes that took turns."""

    name: str
    precision: str
    forward: str
    seconds: tuple[float, ...]  # per step, one figure a round
    tokens: float  # real ones per step, mean over the rounds
    computed: float  # places per step that passed the model, padding included
    peak_mib: float
    resident_mib: tuple[float, ...]  # at the end of each round
    gemm_share: float  # of the rate that plain matrix products of this precision reached in the same rounds

    @property
    def steps_per_second(self) -> float:
        """Median over the rounds."""
        return 1 / statistics.median(self.seconds)

    @property
    def tokens_per_second(self) -> float:
        """Real tokens, at the median round."""
        return self.tokens * self.steps_per_second

    @property
    def padding(self) -> float:
        """Share of the computed places that held no token."""
        return 1 - self.tokens / self.computed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times as many steps a second one side does as another, round by round."""

    side: str
    against: str
    median: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepBench:
    """Everything that a benchmark of the training step found."""

    format: int = 1
    created: str
    commit: str | None
    command: str
    machine: Machine
    threads: int
    load_before: float | None  # the system's one-minute load average when it began
    model: str
    data: Source
    loss: str
    batch_size: int
    max_length: int | None
    steps: int  # a round
    rounds: int
    gemm: dict[str, float]  # GFLOP/s of matrix products as large as the model's own, by precision
    sides: tuple[Side, ...]
    ratios: tuple[Ratio, ...]
    profiled: str  # the side whose time the shares are of
    shares: dict[str, float]  # of its operators' time, by kind; empty without a side of ours or on a GPU


def measure(
    data: str,
    *,
    model: str = BUILTIN_MINILM,
    loss: str | None = None,
    batch_size: int = 64,
    max_length: int | None = None,
    steps: int = 4,
    rounds: int = 5,
    forward: str = "auto",
    sides: Sequence[str] = ("plain fp32", "plain bf16", "ours fp32", "ours auto"),
    command: str = "",
    **reading: Any,
) -> StepBench:
    """Train the same batches by a plain script and by ours, in processes that take turns, and compare.

    Each side is a process of its own with the whole Trainer in it: sampler, collation, forward, backward, clipping,
    optimiser. In every round each side does the same steps, one after the other; a ratio is taken within a round, so
    that a machine whose speed drifts does not decide it. The first round warms up and does not count.

    Args:
        data: pairs, triplets or scored rows, named as for ``tune``.
        model: Hub id, folder or ``builtin:all-MiniLM-L6-v2``.
        loss: by default what ``tune`` takes for the shape of the rows.
        batch_size: rows per step.
        max_length: cut texts after so many tokens.
        steps: a round.
        rounds: that count, 2 or more.
        forward: of our sides, as in a recipe.
        sides: which take part; the first is what the others are compared with.
        command: what to write down as the command.
        reading: how the rows are read, as for ``data.load.load``: ``columns``, ``score_range``, ``skip_bad_rows``.

    Raises:
        RequestError: sizes that cannot be measured, all of them at once; too few rows, or rows that the loss does not
            learn from.
        RunError: a process ended early.
    """
    before = machine.load()
    if problems := _problems(batch_size, steps, rounds, sides):
        raise RequestError(problems, hint="See: hf-simtune bench --help")
    loaded = load(data, expect=LOSS_SHAPES[loss] if loss else TRAINABLE, **reading)
    if len(loaded.dataset) < batch_size:
        raise RequestError(f"{data} has {len(loaded.dataset)} rows: a step takes {batch_size}")
    loss_name = loss or default_loss(loaded.source.shape)
    rows = loaded.dataset.shuffle(seed=0).select_columns(list(CANONICAL[loaded.source.shape]))
    rows = rows.select(range(min(len(rows), 4 * batch_size * steps * (rounds + 2))))
    base, facts = models.load(model, max_length=max_length)
    if max_length is None:
        max_length = base.max_seq_length
    built = losses.build(loss_name, base, Recipe(temperature=TEMPERATURE))
    method, why = choose.choose(forward, base, built, texts=choose.texts_of(rows[:8]))
    log.info("our forward pass: %s (%s)", method, why)
    automatic, why = precision.decide("auto")
    log.info("automatic precision: %s (%s)", automatic, why)
    matrices, device = gemm.shapes(base), base.device
    with tempfile.TemporaryDirectory(prefix="hf-simtune-bench-") as place:
        folder = Path(place)
        rows.flatten_indices().save_to_disk(str(folder / "rows"))
        base.save_pretrained(str(folder / "model"), create_model_card=False)
        del base, built
        common: dict[str, Any] = {
            "model": str(folder / "model"),
            "max_length": max_length,
            "rows": str(folder / "rows"),
            "loss": loss_name,
            "temperature": TEMPERATURE,
            "batch_size": batch_size,
            "learning_rate": 2e-5,
            "seed": 0,
            "steps": steps,
            "rounds": rounds,
            "threads": torch.get_num_threads(),
        }
        with contextlib.ExitStack() as stack:
            workers = []
            for name in sides:
                workers.append(Worker(name, _job(name, automatic, method, common), folder))
                stack.callback(workers[-1].end)
            told, rates = _take_turns(workers, rounds, matrices, device)
            ours = [worker for worker in workers if worker.job.ours]
            shares = ours[-1].ask("profile").get("shares", {}) if ours else {}
    found = [_side(worker, told[worker.name], rates, matrices) for worker in workers]
    return StepBench(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=machine.commit(),
        command=command,
        machine=machine.describe(),
        threads=torch.get_num_threads(),
        load_before=before,
        model=facts.name,
        data=loaded.source,
        loss=loss_name,
        batch_size=batch_size,
        max_length=max_length,
        steps=steps,
        rounds=rounds,
        gemm={name: round(statistics.median(values), 1) for name, values in rates.items()},
        sides=tuple(found),
        ratios=tuple(_ratios(found)),
        profiled=ours[-1].name if ours else "",
        shares=shares,
    )


def _problems(batch_size: int, steps: int, rounds: int, sides: Sequence[str]) -> list[str]:
    """What cannot be measured, all of it."""
    found = [
        f"{flag} is {value}: it must be {least} or more"
        for flag, value, least in (("--batch-size", batch_size, 2), ("--steps", steps, 1), ("--rounds", rounds, 2))
        if value < least
    ]
    if len(set(sides)) != len(sides):
        found.append(f"--sides names one twice: {' '.join(side.replace(' ', '-') for side in sides)}")
    if torch.cuda.device_count() > 1:
        found.append("several GPUs are visible, which the Trainer would take for one larger batch; show it one")
    return found


def _job(name: str, automatic: str, method: str, common: dict[str, Any]) -> Job:
    who, _, number_format = name.partition(" ")
    ours = who == "ours"
    chosen = automatic if number_format == "auto" else number_format
    return Job(precision=chosen, forward=method if ours else "plain", ours=ours, **common)


Told = dict[str, list[dict[str, Any]]]


def _take_turns(
    workers: Sequence[Worker], rounds: int, matrices: Sequence[tuple[int, int]], device: torch.device
) -> tuple[Told, dict[str, list[float]]]:
    """Round after round: what each worker reported, and the rate of matrix products in each of their precisions.

    Every second round goes the other way round, so that no side always follows the same one.
    """
    for worker in workers:
        worker.hear()  # it is ready
    told: Told = {worker.name: [] for worker in workers}
    rates: dict[str, list[float]] = {worker.job.precision: [] for worker in workers}
    for turn in range(rounds + 1):
        for worker in workers if turn % 2 else workers[::-1]:
            report = worker.ask("go")
            if turn:
                told[worker.name].append(report)
        if turn:
            tokens = round(told[workers[0].name][-1]["real"] / workers[0].job.steps)
            for name, values in rates.items():
                values.append(gemm.rate(matrices, tokens, TYPES[name], device))
            log.info("round %d of %d", turn, rounds)
    return told, rates


def _side(
    worker: Worker, told: list[dict[str, Any]], rates: dict[str, list[float]], matrices: Sequence[tuple[int, int]]
) -> Side:
    steps = worker.job.steps
    work = 6.0 * sum(left * right for left, right in matrices)  # FLOP per token, forward and backward
    real = sum(report["real"] for report in told) / len(told) / steps
    computed = sum(report["computed"] for report in told) / len(told) / steps
    seconds = tuple(round(report["seconds"] / steps, 5) for report in told)
    achieved = [
        work * report["real"] / report["seconds"] / 1e9 / rate
        for report, rate in zip(told, rates[worker.job.precision], strict=True)
    ]
    return Side(
        name=worker.name,
        precision=worker.job.precision,
        forward=worker.job.forward,
        seconds=seconds,
        tokens=round(real, 1),
        computed=round(computed, 1),
        peak_mib=max(report["peak_mib"] for report in told),
        resident_mib=tuple(report["resident_mib"] for report in told),
        gemm_share=round(statistics.median(achieved), 4),
    )


def _ratios(sides: Sequence[Side]) -> list[Ratio]:
    """Each side against the first, and each of ours against the plain one of its precision."""
    plain = {side.precision: side for side in sides if side.name.startswith("plain")}
    found = []
    for side in sides[1:]:
        found.append(_ratio(side, sides[0]))
        other = plain.get(side.precision)
        if side.name.startswith("ours") and other is not None and other is not sides[0]:
            found.append(_ratio(side, other))
    return found


def _ratio(side: Side, against: Side) -> Ratio:
    found = [theirs / ours for ours, theirs in zip(side.seconds, against.seconds, strict=True)]
    return Ratio(
        side=side.name,
        against=against.name,
        median=round(statistics.median(found), 3),
        low=round(min(found), 3),
        high=round(max(found), 3),
    )
