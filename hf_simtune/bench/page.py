"""The README's table of speeds and the page of benchmarks, from the figures in model_cards/bench/."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from statistics import median
from typing import TypeVar

from hf_simtune.bench import text
from hf_simtune.bench.answer import AnswerBench
from hf_simtune.bench.data import DataBench
from hf_simtune.bench.step import Side, StepBench
from hf_simtune.errors import RunError
from hf_simtune.plain import build
from hf_simtune.wording import duration

__all__ = ["page", "read", "readme"]

Kind = TypeVar("Kind", StepBench, DataBench, AnswerBench)
HEAD = (
    "training rows",
    "precision of ours",
    "plain in fp32",
    "ours",
    "times as fast",
    "times plain in bf16",
    "peak memory",
    "padding",
)
LONG_HEAD = ("after steps", "a step of the round", "memory held")
GROWTH_HEAD = (
    "rows a step",
    "longest text",
    "tokens a step",
    "plain",
    "ours",
    "times as fast",
    "peak, plain",
    "peak, ours",
)


def read(path: Path, kind: type[Kind]) -> Kind:
    """A benchmark from its file.

    Raises:
        RunError: not one of this kind.
    """
    try:
        found = build(kind, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{path} is no {kind.__name__}: {error}") from error
    if not isinstance(found, kind):
        raise RunError(f"{path} is no {kind.__name__}")
    return found


def readme(folder: Path) -> str:
    """The README's part: per benchmark of a step and precision the plain script and ours, and what else was found."""
    benches = [(path, read(path, StepBench)) for path in sorted(folder.glob("step-*.json"))]
    rows = [row for path, bench in benches for row in _compared(bench, path)]
    said = [text.markdown(HEAD, rows, words=2)]
    for _, bench in benches[:1]:
        said.append(
            f"{bench.rounds} rounds of {bench.steps} steps on {bench.threads} threads of {bench.machine.processor}: "
            f"medians, and the range of the rounds."
        )
    for path in sorted(folder.glob("answer*.json")):
        said.append(_same_answer(read(path, AnswerBench)))
    for path in sorted(folder.glob("data*.json")):
        largest = read(path, DataBench).sizes[-1]
        said.append(
            f"A csv of {largest.rows:,} pairs ({largest.file_bytes / 2**20:,.0f} MiB) is checked, searched for "
            f"evaluation pairs and ready to train after {duration(largest.ready_seconds)}, in "
            f"{largest.growth_mib if largest.own_growth_mib is None else largest.own_growth_mib:,.0f} MiB more memory "
            "than the imports take."
        )
    return "\n\n".join(textwrap.fill(part, 132) if part[0] != "|" else part for part in said)


def _same_answer(bench: AnswerBench) -> str:
    """What came out of each way of computing, in a sentence."""
    head, found = text.ANSWER_HEAD, []
    for line in text.answer_lines(bench):
        named = dict(zip(head, line, strict=True))
        found.append(f"{named['forward']} in {named['precision']} {named['Spearman x 100']}")
    return f"Spearman x 100, mean and range: {', '.join(found)}; {text.answer_facts(bench)}"


def _sides(bench: StepBench, path: Path) -> list[tuple[Side, Side]]:
    """The plain script's side that came first, and each of ours."""
    plain = bench.sides[0]
    found = [(plain, side) for side in bench.sides[1:] if side.name.startswith("ours")]
    if not plain.name.startswith("plain") or not found:
        raise RunError(f"{path.name} compares nothing with a plain script")
    return found


def _compared(bench: StepBench, path: Path) -> list[tuple[str, ...]]:
    return [
        (
            f"[{bench.data.title}](model_cards/bench)",
            ours.precision,
            _milliseconds(plain),
            _milliseconds(ours),
            text.ratio(bench, ours, plain.name),
            text.ratio(bench, ours, "plain bf16"),
            f"{plain.peak_mib:,.0f} to {ours.peak_mib:,.0f} MiB",
            f"{100 * plain.padding:.0f} to {100 * ours.padding:.0f} %",
        )
        for plain, ours in _sides(bench, path)
    ]


def _milliseconds(side: Side) -> str:
    return f"{1000 * median(side.seconds):,.0f} ms"


def page(folder: Path) -> str:
    """All benchmarks with the commands that repeat them, as Markdown."""
    parts = [
        "# Benchmarks\n\nFigures of one machine each, from the JSON files beside this page; `make bench` makes them "
        "anew on yours. A step is one of the Trainer: sampling, collation, forward, backward, clipping, optimiser. The "
        "sides are processes of their own that take turns; a ratio is taken within a round. `plain` is "
        "SentenceTransformerTrainer as its documentation shows it, without this package. The share of the GEMM rate is "
        "that of 6 FLOP per real token and weight, of what matrix products alone reached in the same rounds."
    ]
    for path in sorted(folder.glob("step-*.json")):
        bench = read(path, StepBench)
        table = text.markdown(text.HEAD, text.lines(bench), words=3)
        told = text.parts(bench) if bench.shares else ""
        parts.append(f"## A training step: {bench.data.title}\n\n{_origin(bench)}\n\n{table}\n\n{told}")
    if growth := [(path, read(path, StepBench)) for path in sorted(folder.glob("growth-*.json"))]:
        growth.sort(key=lambda item: (item[1].max_length or 0, item[1].batch_size))
        rows = [_grown(plain, ours, bench) for path, bench in growth for plain, ours in _sides(bench, path)]
        commands = "\n".join(f"    {bench.command}" for _, bench in growth)
        table = text.markdown(GROWTH_HEAD, rows, words=0)
        told = f"The plain script in {growth[0][1].sides[0].precision}, ours in {growth[0][1].sides[-1].precision}."
        parts.append(f"## How a step grows with rows and length\n\n{told}\n\n{table}\n\n{commands}")
    for path in sorted(folder.glob("long*.json")):
        bench = read(path, StepBench)
        table = text.markdown(LONG_HEAD, _rounds(bench), words=0)
        parts.append(f"## Whether a long run slows down or grows\n\n{_origin(bench)}\n\n{table}")
    for path in sorted(folder.glob("data*.json")):
        data = read(path, DataBench)
        table = text.markdown(text.DATA_HEAD, text.data_lines(data), words=0)
        commit = (data.commit or "unknown")[:12]
        origin = f"{text.data_facts(data)} Commit {commit}.\n\n    {data.command}"
        parts.append(f"## From a file to ready to train\n\n{origin}\n\n{table}")
    for path in sorted(folder.glob("answer*.json")):
        answer = read(path, AnswerBench)
        table = text.markdown(text.ANSWER_HEAD, text.answer_lines(answer), words=2)
        parts.append(
            f"## Whether speed changes the answer\n\n{text.answer_facts(answer)}\n\n{table}\n\n"
            f"{text.ANSWER_NOTE} Commit {(answer.commit or 'unknown')[:12]}.\n\n    {answer.command}"
        )
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _rounds(bench: StepBench) -> list[tuple[str, ...]]:
    """Time and memory of our side in each round."""
    ours = bench.sides[-1]
    return [
        (f"{(number + 2) * bench.steps:,}", f"{1000 * seconds:,.0f} ms", f"{resident:,.0f} MiB")
        for number, (seconds, resident) in enumerate(zip(ours.seconds, ours.resident_mib, strict=True))
    ]


def _origin(bench: StepBench) -> str:
    busy = f" Load average when it began: {bench.load_before:g}." if bench.load_before is not None else ""
    return f"{text.facts(bench)}{busy} Commit {(bench.commit or 'unknown')[:12]}.\n\n    {bench.command}"


def _grown(plain: Side, ours: Side, bench: StepBench) -> tuple[str, ...]:
    return (
        f"{bench.batch_size}",
        f"{bench.max_length}",
        f"{ours.tokens:,.0f}",
        _milliseconds(plain),
        _milliseconds(ours),
        text.ratio(bench, ours, plain.name),
        f"{plain.peak_mib:,.0f} MiB",
        f"{ours.peak_mib:,.0f} MiB",
    )
