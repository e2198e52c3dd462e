"""What ``hf-simtune bench`` does with its words: which benchmark, and how its figures read."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from collections.abc import Sequence

from hf_simtune import bench, bench_answer, bench_data, bench_text
from hf_simtune.errors import RequestError
from hf_simtune.flags import flag, folder_name, without_path
from hf_simtune.recipe import Recipe

__all__ = ["Said", "run", "said"]

Found = bench.StepBench | bench_data.DataBench | bench_answer.AnswerBench
ONLY = {
    "step": ("max_length", "forward", "sides", "steps", "rounds"),
    "data": (),
    "answer": ("seeds", "select_on", "report_on"),
}


@dataclasses.dataclass(frozen=True)
class Said:
    """Figures as people read them."""

    before: Sequence[str]
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    after: Sequence[str]
    words: int  # how many of the first columns are words


def run(arguments: argparse.Namespace) -> Found:
    """The benchmark that the command line asks for.

    Raises:
        RequestError: flags of another benchmark, or values that none can use.
    """
    command = _command(arguments)
    if arguments.what == "data":
        return bench_data.measure(arguments.rows or [10_000, 100_000])
    if arguments.what == "answer":
        recipe = Recipe(
            name="bench",
            model=arguments.model,
            train_data=arguments.data,
            loss=arguments.loss,
            batch_size=arguments.batch_size,
            train_rows=arguments.rows[0] if arguments.rows else None,
            select_on=arguments.select_on,
            report_on=arguments.report_on,
            evaluations=5,
        )
        offline = all(name.startswith("builtin:") for name in (arguments.model, arguments.data))
        return bench_answer.measure(recipe, seeds=arguments.seeds, offline=offline, command=command)
    return bench.measure(
        arguments.data,
        model=arguments.model,
        loss=arguments.loss,
        batch_size=arguments.batch_size,
        max_length=arguments.max_length,
        steps=arguments.steps,
        rounds=arguments.rounds,
        forward=arguments.forward,
        sides=[side.replace("-", " ") for side in arguments.sides],
        command=command,
    )


def _command(arguments: argparse.Namespace) -> str:
    """The words that repeat it, local paths cut to their names."""
    others = {name for what, names in ONLY.items() if what != arguments.what for name in names}
    words = ["hf-simtune", "bench", arguments.what]
    wrong = []
    for name in ("data", "model", "loss", "batch_size", "rows", *(name for names in ONLY.values() for name in names)):
        value = getattr(arguments, name)
        if value == arguments.parser.get_default(name) or value is None:
            continue
        if name in others:
            wrong.append(f"{flag(name)} is no flag of 'bench {arguments.what}'")
        shown = without_path(value) if name in ("data", "select_on", "report_on") else value
        shown = folder_name(value) if name == "model" else shown
        words += [flag(name), *map(str, shown if isinstance(shown, list) else [shown])]
    if wrong:
        raise RequestError(wrong, hint="See: hf-simtune bench --help")
    return shlex.join(words)


def said(found: Found) -> Said:
    """A benchmark as lines and a table."""
    if isinstance(found, bench_data.DataBench):
        return Said([bench_text.data_facts(found)], bench_text.DATA_HEAD, bench_text.data_lines(found), [], 0)
    if isinstance(found, bench_answer.AnswerBench):
        after = [bench_text.ANSWER_NOTE]
        return Said([bench_text.answer_facts(found)], bench_text.ANSWER_HEAD, bench_text.answer_lines(found), after, 2)
    after = [f"Where our step's time goes: {bench_text.parts(found)}."] if found.shares else []
    return Said([bench_text.facts(found)], bench_text.HEAD, bench_text.lines(found), after, 3)
