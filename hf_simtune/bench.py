"""``hf-simtune bench``: a plain trainer script and ours, side by side on this machine, step against step."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from hf_simtune import bench_gemm, losses, machine, models, precision
from hf_simtune.bench_worker import Job
from hf_simtune.data.load import load
from hf_simtune.errors import RequestError, RunError
from hf_simtune.models import packaged_minilm
from hf_simtune.recipe import BUILTIN_MINILM
from hf_simtune.record import Machine, Source
from hf_simtune.speed import choose

__all__ = ["Ratio", "Side", "StepBench", "measure", "save"]

log = logging.getLogger("hf_simtune")
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
    shares: dict[str, float]  # of our step's time with the automatic precision, by kind of operator


class Worker:
    """A process that trains a round when asked."""

    def __init__(self, name: str, job: Job, folder: Path) -> None:
        self.name = name
        self.job = job
        file = folder / f"{name.replace(' ', '-')}.json"
        file.write_text(json.dumps(dataclasses.asdict(job)), encoding="utf-8")
        self.errors = (folder / f"{file.stem}.log").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hf_simtune.bench_worker", str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(job.threads), "TOKENIZERS_PARALLELISM": "false"},
        )

    def hear(self) -> dict[str, Any]:
        """The next line.

        Raises:
            RunError: the process ended without one.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            last = self.errors.read().strip().splitlines()[-1:] or ["nothing"]
            raise RunError(f"the benchmark's process {self.name!r} ended early; its last words: {last[0]}")
        value: dict[str, Any] = json.loads(line)
        return value

    def ask(self, word: str) -> dict[str, Any]:
        """A round."""
        self.tell(word)
        return self.hear()

    def tell(self, word: str) -> None:
        """A word."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Stop it, kindly or not."""
        if self.process.poll() is None:
            try:
                self.tell("stop")
                self.process.wait(60)
            except (OSError, subprocess.TimeoutExpired):
                self.process.kill()
                self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            if stream is not None:
                stream.close()


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

    Raises:
        RequestError: too few rows, or rows that no loss learns from.
        RunError: a process ended early.
    """
    if rounds < 2 or steps < 1 or batch_size < 2:
        raise RequestError("a benchmark needs --rounds 2, --steps 1 and --batch-size 2 or more")
    loaded = load(data)
    needed = batch_size * steps * (rounds + 2)
    if len(loaded.dataset) < batch_size:
        raise RequestError(f"{data} has {len(loaded.dataset)} rows: a step takes {batch_size}")
    loss_name = loss or losses.default_loss(loaded.source.shape)
    columns = [name for name in loaded.dataset.column_names if name not in ("row", "group", "subset")]
    rows = loaded.dataset.shuffle(seed=0).select_columns(columns)
    rows = rows.select(range(min(len(rows), 4 * needed)))
    base, facts = models.load(model, max_length=max_length)
    built = losses.build(loss_name, base, 0.05)
    texts = [value for values in rows[:8].values() for value in values if isinstance(value, str)]
    method, why = choose.choose(forward, base, built, texts=texts)
    log.info("our forward pass: %s (%s)", method, why)
    automatic, why = precision.decide("auto")
    log.info("automatic precision: %s (%s)", automatic, why)
    threads = torch.get_num_threads()
    shapes = bench_gemm.shapes(base)
    work = 6.0 * sum(left * right for left, right in shapes)  # FLOP per token, forward and backward
    del base, built
    started = datetime.now(UTC).isoformat(timespec="seconds")
    load_before = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    with tempfile.TemporaryDirectory(prefix="hf-simtune-bench-") as place:
        folder = Path(place)
        rows.flatten_indices().save_to_disk(str(folder / "rows"))
        common: dict[str, Any] = {
            "model": str(packaged_minilm()) if model == BUILTIN_MINILM else model,
            "max_length": max_length,
            "rows": str(folder / "rows"),
            "loss": loss_name,
            "temperature": 0.05,
            "batch_size": batch_size,
            "learning_rate": 2e-5,
            "seed": 0,
            "steps": steps,
            "rounds": rounds,
            "threads": threads,
        }
        workers = [Worker(name, _job(name, automatic, method, common), folder) for name in sides]
        try:
            told, gemm, shares = _take_turns(workers, rounds, shapes, automatic)
        finally:
            for worker in workers:
                worker.end()
    found = [_side(worker, told[worker.name], gemm, steps, work) for worker in workers]
    return StepBench(
        created=started,
        commit=machine.commit(),
        command=command,
        machine=machine.describe(),
        threads=threads,
        load_before=load_before,
        model=facts.name,
        data=loaded.source,
        loss=loss_name,
        batch_size=batch_size,
        max_length=max_length,
        steps=steps,
        rounds=rounds,
        gemm={name: round(statistics.median(values), 1) for name, values in gemm.items()},
        sides=tuple(found),
        ratios=tuple(_ratio(side, found[0]) for side in found[1:]),
        shares=shares,
    )


def _job(name: str, automatic: str, method: str, common: dict[str, Any]) -> Job:
    who, _, number_format = name.partition(" ")
    ours = who == "ours"
    chosen = automatic if number_format == "auto" else number_format
    return Job(precision=chosen, forward=method if ours else "plain", ours=ours, **common)


Told = dict[str, list[dict[str, Any]]]


def _take_turns(
    workers: Sequence[Worker], rounds: int, shapes: Sequence[tuple[int, int]], automatic: str
) -> tuple[Told, dict[str, list[float]], dict[str, float]]:
    """Round after round: what each worker reported, the rate of matrix products, and at the end our step's parts."""
    for worker in workers:
        worker.hear()  # it is ready
    told: Told = {worker.name: [] for worker in workers}
    rates: dict[str, list[float]] = {name: [] for name in dict.fromkeys(["fp32", automatic, *_formats(workers)])}
    for turn in range(rounds + 1):
        for worker in workers:
            report = worker.ask("go")
            if turn:
                told[worker.name].append(report)
        if turn:
            tokens = round(told[workers[-1].name][-1]["real"] / workers[-1].job.steps)
            for name, values in rates.items():
                values.append(bench_gemm.rate(shapes, tokens, TYPES[name]))
            log.info("round %d of %d", turn, rounds)
    return told, rates, dict(workers[-1].ask("profile").get("shares", {}))


def _formats(workers: Sequence[Worker]) -> list[str]:
    return [worker.job.precision for worker in workers]


def _side(worker: Worker, told: list[dict[str, Any]], rates: dict[str, list[float]], steps: int, work: float) -> Side:
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


def _ratio(side: Side, against: Side) -> Ratio:
    found = [theirs / ours for ours, theirs in zip(side.seconds, against.seconds, strict=True)]
    return Ratio(
        side=side.name,
        against=against.name,
        median=round(statistics.median(found), 3),
        low=round(min(found), 3),
        high=round(max(found), 3),
    )


def save(bench: Any, path: Path) -> None:
    """Write a benchmark as JSON, whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(json.dumps(dataclasses.asdict(bench), indent=2) + "\n", encoding="utf-8")
    part.replace(path)
