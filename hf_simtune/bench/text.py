"""A benchmark in words: the rows of its table, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median

from hf_simtune.bench.answer import AnswerBench, Outcome, gap, splits, ways
from hf_simtune.bench.data import DataBench, Size
from hf_simtune.bench.step import Side, StepBench
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
    "ratio",
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
    "times as fast as the first",
    "as plain of its precision",
)
ANSWER_HEAD = ("precision", "forward", "runs", "Spearman x 100", "loss apart", "partings as far", "training")
ANSWER_NOTE = (
    "Spearman: mean over the seeds, and their range. Loss apart: mean distance of a way's loss curve, mean of its "
    "seeds, from the first way's. Partings as far: of all ways to part the curves of these two into two such groups, "
    "those that lie at least as far apart; a way that changes nothing is anywhere among them."
)
DATA_HEAD = ("rows", "file MiB", "check s", "leak search s", "ready s", "times the line above", "grown MiB", "dropped")


def lines(bench: StepBench) -> list[tuple[str, ...]]:
    """One line per side, in the order of ``HEAD``."""
    return [_line(side, bench) for side in bench.sides]


def ratio(bench: StepBench, side: Side, against: str) -> str:
    """``3.06 (2.95 to 3.21)``: the median over the rounds and their range; nothing where it was not taken."""
    found = [ratio for ratio in bench.ratios if (ratio.side, ratio.against) == (side.name, against)]
    return f"{found[0].median:.2f} ({found[0].low:.2f} to {found[0].high:.2f})" if found else ""


def _line(side: Side, bench: StepBench) -> tuple[str, ...]:
    first = bench.sides[0]
    return (
        side.name.split()[0],
        side.precision,
        side.forward,
        f"{1000 * median(side.seconds):,.0f}",
        f"{side.tokens_per_second:,.0f}",
        f"{100 * side.padding:.0f} %",
        f"{side.peak_mib:,.0f}",
        f"{100 * side.gemm_share:.0f} %",
        ratio(bench, side, first.name),
        ratio(bench, side, f"plain {side.precision}") if first.precision != side.precision else "",
    )


def facts(bench: StepBench) -> str:
    """What was measured on what, in a sentence or two."""
    gemm = ", ".join(f"{rate:,.0f} GFLOP/s in {name}" for name, rate in bench.gemm.items())
    return (
        f"{bench.model} with {bench.loss} on {bench.data.title}, batches of {bench.batch_size}, texts of at most "
        f"{bench.max_length} tokens: {bench.rounds} rounds of {bench.steps} steps, {bench.threads} threads of "
        f"{bench.machine.processor}. Matrix products alone reached {gemm}."
    )


def parts(bench: StepBench) -> str:
    """Where the time of the profiled side's step goes, largest share first; those below a hundredth are left out."""
    shown = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in bench.shares.items() if share >= 0.01)
    return f"Where the time of {bench.profiled!r} goes, by operator: {shown}."


def answer_lines(bench: AnswerBench) -> list[tuple[str, ...]]:
    """One line per way of computing, in the order of ``ANSWER_HEAD``."""
    found = ways(bench)
    first = next(iter(found.values()))
    return [_way(precision, forward, runs, first) for (precision, forward), runs in found.items()]


def _way(precision: str, forward: str, runs: Sequence[Outcome], first: Sequence[Outcome]) -> tuple[str, ...]:
    scores = [run.report for run in runs if run.report is not None]
    farther, partings = splits(first, runs) if runs is not first else (0, 0)
    return (
        precision,
        forward,
        str(len(runs)),
        f"{points(fmean(scores))} ({points(min(scores))} to {points(max(scores))})" if scores else UNDEFINED,
        f"{gap(first, runs):.4f}" if partings else "",
        f"{farther} of {partings}" if partings else "",
        duration(fmean(run.seconds for run in runs)),
    )


def answer_facts(bench: AnswerBench) -> str:
    """What was run, in a sentence."""
    seeds = len({outcome.seed for outcome in bench.outcomes})
    return (
        f"{bench.model} on {bench.rows:,} rows of {bench.train}, {bench.steps:,} steps, {seeds} seeds each, scored on "
        f"{bench.report}, where the untouched model has {points(bench.base)}."
    )


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
    times = f"{size.ready_seconds / before.ready_seconds:.1f} for {size.rows / before.rows:g}" if before else ""
    return (
        f"{size.rows:,}",
        f"{size.file_bytes / 2**20:.1f}",
        f"{size.check_seconds:.2f}",
        f"{size.leak_seconds:.2f}",
        f"{size.ready_seconds:.2f}",
        times,
        f"{grown:.0f}",
        f"{sum(size.dropped.values()):,}",
    )


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """A table whose first columns are words and whose others are figures."""
    ruler = ["---" if index < words else "---:" for index in range(len(head))]
    drawn = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([drawn[0], "|" + "|".join(ruler) + "|", *drawn[1:]])
