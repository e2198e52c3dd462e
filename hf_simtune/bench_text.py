"""A benchmark in words: the rows of its table, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median

from hf_simtune.bench import Ratio, Side, StepBench
from hf_simtune.bench_answer import AnswerBench, Outcome, gap, ways
from hf_simtune.bench_data import DataBench, Size
from hf_simtune.wording import UNDEFINED, duration, points

__all__ = [
    "ANSWER_HEAD",
    "ANSWER_NOTE",
    "DATA_HEAD",
    "HEAD",
    "answer_facts",
    "answer_lines",
    "data_facts",
    "data_lines",
    "facts",
    "lines",
    "markdown",
    "parts",
]

HEAD = (
    "script",
    "precision",
    "forward",
    "ms a step",
    "real tokens/s",
    "padding",
    "peak MiB",
    "of GEMM rate",
    "times as fast",
)
ANSWER_HEAD = ("precision", "forward", "runs", "Spearman x 100", "loss apart", "loss of seeds apart", "training")


def lines(bench: StepBench) -> list[tuple[str, ...]]:
    """One line per side, in the order of ``HEAD``; the last column is the median of the rounds and their range."""
    ratios = {ratio.side: ratio for ratio in bench.ratios}
    return [_line(side, ratios.get(side.name)) for side in bench.sides]


def _line(side: Side, ratio: Ratio | None) -> tuple[str, ...]:
    return (
        side.name.split()[0],
        side.precision,
        side.forward,
        f"{1000 * median(side.seconds):,.0f}",
        f"{side.tokens_per_second:,.0f}",
        f"{100 * side.padding:.0f} %",
        f"{side.peak_mib:,.0f}",
        f"{100 * side.gemm_share:.0f} %",
        f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})" if ratio else "1",
    )


def facts(bench: StepBench) -> str:
    """What was measured on what, in a sentence or two."""
    gemm = ", ".join(f"{rate:,.0f} GFLOP/s in {name}" for name, rate in bench.gemm.items())
    longest = f", texts cut at {bench.max_length} tokens" if bench.max_length else ""
    return (
        f"{bench.model} with {bench.loss} on {bench.data.title}, batches of {bench.batch_size}{longest}: "
        f"{bench.rounds} rounds of {bench.steps} steps, {bench.threads} threads of {bench.machine.processor}. "
        f"Matrix products alone reached {gemm}."
    )


def parts(bench: StepBench) -> str:
    """Where the time of our step goes, largest share first; shares below a hundredth are left out."""
    return ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in bench.shares.items() if share >= 0.01)


def answer_lines(bench: AnswerBench) -> list[tuple[str, ...]]:
    """One line per way of computing, in the order of ``ANSWER_HEAD``."""
    found = ways(bench)
    first = next(iter(found.values()))
    return [_way(precision, forward, runs, first) for (precision, forward), runs in found.items()]


def _way(precision: str, forward: str, runs: Sequence[Outcome], first: Sequence[Outcome]) -> tuple[str, ...]:
    scores = [run.report for run in runs if run.report is not None]
    apart, spread = gap(first, runs)
    return (
        precision,
        forward,
        str(len(runs)),
        f"{points(fmean(scores))} ({points(min(scores))} to {points(max(scores))})" if scores else UNDEFINED,
        "-" if runs is first else f"{apart:.4f}",
        f"{spread:.4f}" if runs is first else "",
        duration(fmean(run.seconds for run in runs)),
    )


def answer_facts(bench: AnswerBench) -> str:
    """What was run, in a sentence."""
    seeds = len({outcome.seed for outcome in bench.outcomes})
    return (
        f"{bench.model} on {bench.rows:,} rows of {bench.train}, {bench.steps:,} steps, {seeds} seeds each, scored on "
        f"{bench.report}, where the untouched model has {points(bench.base)}."
    )


ANSWER_NOTE = (
    "Spearman: mean over the seeds and their range. Loss apart: mean distance of a way's loss curve, mean of its "
    "seeds, from the first way's; loss of seeds apart: of the highest from the lowest of the first way's seeds."
)
DATA_HEAD = ("rows", "file MiB", "check s", "leak search s", "ready s", "times the line above", "grown MiB", "dropped")


def data_facts(bench: DataBench) -> str:
    """What was measured, in a sentence."""
    return (
        "From a csv of sentence pairs to ready to train, each size in a process of its own on "
        f"{bench.machine.processor}; grown: memory at most over that after the imports, without the pages of "
        "memory-mapped files."
    )


def data_lines(bench: DataBench) -> list[tuple[str, ...]]:
    """One line per size, in the order of ``DATA_HEAD``."""
    return [_size(size, before) for size, before in zip(bench.sizes, [None, *bench.sizes], strict=False)]


def _size(size: Size, before: Size | None) -> tuple[str, ...]:
    grown = size.growth_mib if size.own_growth_mib is None else size.own_growth_mib
    return (
        f"{size.rows:,}",
        f"{size.file_bytes / 2**20:.1f}",
        f"{size.check_seconds:.2f}",
        f"{size.leak_seconds:.2f}",
        f"{size.ready_seconds:.2f}",
        f"{size.ready_seconds / before.ready_seconds:.1f} for {size.rows / before.rows:g} times the rows"
        if before
        else "",
        f"{grown:.0f}",
        f"{sum(size.dropped.values()):,}",
    )


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """A table whose first columns are words and whose others are figures."""
    ruler = ["---" if index < words else "---:" for index in range(len(head))]
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "|".join(ruler) + "|", *lines[1:]])
