"""What ``hf-simtune bench`` does with its words: which benchmark, and how its figures read."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_simtune.bench import answer, data, step, text
from hf_simtune.errors import RequestError
from hf_simtune.flags import flag, folder_name, without_path
from hf_simtune.recipe import BUILTIN_MINILM, Recipe

__all__ = ["Said", "run", "said", "save"]

Found = step.StepBench | data.DataBench | answer.AnswerBench
READING = ("columns", "shape", "score_range", "skip_bad_rows")
DEFAULTS: dict[str, Any] = {
    "data": "builtin:sports/pairs:train",
    "model": BUILTIN_MINILM,
    "batch_size": 64,
    "forward": "auto",
    "sides": ["plain-fp32", "plain-bf16", "ours-fp32", "ours-auto"],
    "steps": 4,
    "rounds": 5,
    "seeds": [0, 1, 2],
}
TAKES = {
    "step": ("data", *READING, "model", "loss", "batch_size", "max_length", "forward", "sides", "steps", "rounds"),
    "data": ("rows",),
    "answer": ("data", *READING, "model", "loss", "batch_size", "rows", "seeds", "select_on", "report_on"),
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
        RequestError: flags of another benchmark, or a file that could not be written; before anything is measured.
    """
    problems = _problems(arguments)
    if problems:
        raise RequestError(problems, hint="See: hf-simtune bench --help")
    command = _command(arguments)
    given = {name: getattr(arguments, name) for name in _given(arguments)}
    arguments = argparse.Namespace(**{**vars(arguments), **DEFAULTS, **given})
    reading = _reading(arguments)
    if arguments.what == "data":
        return data.measure(arguments.rows or [10_000, 100_000], command=command)
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
            **reading,
        )
        offline = all(name.startswith("builtin:") for name in (arguments.model, arguments.data))
        return answer.measure(recipe, seeds=arguments.seeds, offline=offline, command=command)
    return step.measure(
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
        **reading,
    )


def _reading(arguments: argparse.Namespace) -> dict[str, Any]:
    """How the rows are read, only what was said."""
    said_of = {name: getattr(arguments, name) for name in READING}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in said_of.items() if value}


def _given(arguments: argparse.Namespace) -> list[str]:
    names = dict.fromkeys(name for names in TAKES.values() for name in names)
    return [name for name in names if getattr(arguments, name) not in (None, False)]


def _problems(arguments: argparse.Namespace) -> list[str]:
    what = arguments.what
    found = [f"{flag(name)} is no flag of 'bench {what}'" for name in _given(arguments) if name not in TAKES[what]]
    if what == "answer" and arguments.rows and len(arguments.rows) > 1:
        found.append(f"--rows is {' '.join(map(str, arguments.rows))}: 'bench answer' takes one number")
    if arguments.out:
        out = Path(arguments.out)
        if out.is_dir():
            found.append(f"--out {out} is a folder: name a file, as in --out bench.json")
        elif out.exists() and not arguments.force:
            found.append(f"--out {out} exists: --force writes over it")
        else:
            there = next(parent for parent in out.absolute().parents if parent.exists())
            if not there.is_dir():
                found.append(f"--out {out} cannot be written: {there.name} is a file")
            elif not os.access(there, os.W_OK):
                found.append(f"--out {out} cannot be written: no permission in its folder")
    return found


def _command(arguments: argparse.Namespace) -> str:
    """The words that repeat it, local paths cut to their names."""
    words = ["hf-simtune", "bench", arguments.what]
    for name in _given(arguments):
        value = getattr(arguments, name)
        if name in ("data", "select_on", "report_on"):
            value = without_path(value)
        if name == "model":
            value = folder_name(value)
        words.append(flag(name))
        if value is not True:
            words += map(str, value if isinstance(value, list) else [value])
    return shlex.join(words)


def save(found: Found, path: Path) -> None:
    """Write a benchmark as JSON, whole or not at all.

    Raises:
        RequestError: it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(dataclasses.asdict(found), indent=2) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise RequestError(f"--out {path} cannot be written: {error.strerror or error}") from error


def said(found: Found) -> Said:
    """A benchmark as lines and a table."""
    if isinstance(found, data.DataBench):
        return Said([text.data_facts(found)], text.DATA_HEAD, text.data_lines(found), [], 0)
    if isinstance(found, answer.AnswerBench):
        return Said([text.answer_facts(found)], text.ANSWER_HEAD, text.answer_lines(found), [text.ANSWER_NOTE], 2)
    after = [text.parts(found)] if found.shares else []
    return Said([text.facts(found)], text.HEAD, text.lines(found), after, 3)
