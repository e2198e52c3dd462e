"""The commands that train nothing: score, compare, diagnose, bench, recipes, generate."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hf_simtune import catalogue
from hf_simtune.chatter import calm_libraries
from hf_simtune.errors import RequestError

if TYPE_CHECKING:
    from hf_simtune.scoring import Scored

__all__ = ["bench", "compare", "diagnose", "generate", "recipes", "score"]


def score(arguments: argparse.Namespace) -> int:
    """A model's correlation."""
    from hf_simtune import terminal

    calm_libraries(quiet=arguments.quiet)
    from hf_simtune import scoring

    scored = scoring.score(
        arguments.model,
        arguments.data,
        revision=arguments.revision,
        columns=tuple(arguments.columns) if arguments.columns else None,
        score_range=tuple(arguments.score_range) if arguments.score_range else None,
        skip_bad_rows=arguments.skip_bad_rows,
        prompt=arguments.prompt,
        allow_pickle=arguments.allow_pickle,
        progress=not arguments.quiet and sys.stderr.isatty(),
    )
    if arguments.json:
        facts = {
            "model": scored.model,
            "data": scored.evaluation,
            "similarity": scored.similarity,
            "prompt": scored.prompt,
        }
        claim = scored.claim and {**dataclasses.asdict(scored.claim), "holds": scored.claim.holds}
        terminal.plain(json.dumps({**facts, **dataclasses.asdict(scored.score), "claim": claim}))
    else:
        terminal.show_score(scored)
        _tell_prompts([scored], arguments.prompt)
    return 0 if scored.score.undefined is None and (scored.claim is None or scored.claim.holds) else 1


def compare(arguments: argparse.Namespace) -> int:
    """Models on the same rows, the first against each other."""
    from hf_simtune import terminal

    if problems := _page_problems(arguments.out, force=arguments.force):
        raise RequestError(problems, hint=f"See: {arguments.parser.prog} --help")
    calm_libraries(quiet=arguments.quiet)
    from hf_simtune import scoring

    first, others = scoring.compare(
        arguments.models,
        arguments.data,
        columns=tuple(arguments.columns) if arguments.columns else None,
        score_range=tuple(arguments.score_range) if arguments.score_range else None,
        skip_bad_rows=arguments.skip_bad_rows,
        prompt=arguments.prompt,
        allow_pickle=arguments.allow_pickle,
        seed=arguments.seed,
        progress=not arguments.quiet and sys.stderr.isatty(),
    )
    everyone = [first, *(other for other, _ in others)]
    if arguments.json:
        found = [
            {"model": other.model, "prompt": other.prompt, **dataclasses.asdict(comparison)}
            for other, comparison in others
        ]
        facts = {"data": first.evaluation, "first": first.model, "first_prompt": first.prompt, "against": found}
        terminal.plain(json.dumps(facts))
    else:
        terminal.show_comparison(first, others)
        _tell_prompts(everyone, arguments.prompt)
    if arguments.out:
        from hf_simtune import comparison_report

        named = _with_prompts(everyone, arguments.prompt)
        compared = [(other, comparison) for other, (_, comparison) in zip(named[1:], others, strict=True)]
        page = comparison_report.render(named[0], compared, _texts(arguments))
        try:
            Path(arguments.out).write_text(page, encoding="utf-8")
        except OSError as error:
            raise RequestError(f"--out {arguments.out} cannot be written: {error.strerror or error}") from error
        terminal.note(f"page written to {arguments.out}")
    return 0


def _prompts(everyone: Sequence[Scored], given: str | None) -> dict[int, str]:
    """What stood before the sentences of each model by its number; empty where that is nothing, as nobody asked."""
    if given is None and not any(scored.prompt for scored in everyone):
        return {}
    return {
        index: f"prompt {scored.prompt!r}" if scored.prompt else "no prompt"
        for index, scored in enumerate(everyone)
        if scored.prompt is not None
    }


def _tell_prompts(everyone: Sequence[Scored], given: str | None) -> None:
    """A line for each prompt, with the models that it stood before the sentences of."""
    from hf_simtune import terminal

    models: dict[str, list[str]] = {}
    for index, prompt in _prompts(everyone, given).items():
        models.setdefault(prompt, []).append(everyone[index].model)
    for prompt, names in models.items():
        terminal.plain(f"{prompt} before each sentence: {', '.join(dict.fromkeys(names))}")


def _with_prompts(everyone: Sequence[Scored], given: str | None) -> list[Scored]:
    """The models, the prompt behind each name, as a page calls them."""
    told = _prompts(everyone, given)
    return [
        dataclasses.replace(scored, model=f"{scored.model}, {told[index]}") if index in told else scored
        for index, scored in enumerate(everyone)
    ]


def _page_problems(out: str | None, *, force: bool) -> list[str]:
    """What is wrong with a page to write, in sentences."""
    if out is None:
        return []
    path, problems = Path(out), []
    if path.suffix != ".html":
        problems.append(f"--out {out}: it must end in .html")
    if path.exists() and not force:
        problems.append(f"{out} exists; --force writes over it")
    if not path.parent.is_dir():
        problems.append(f"--out {out}: there is no folder {path.parent}")
    return problems


def _texts(arguments: argparse.Namespace) -> dict[int, tuple[str, str]]:
    """The two sentences of each row by row number, where the rows were named: run folders hold none."""
    if arguments.data is None:
        return {}
    from hf_simtune.data.load import load

    rows = load(
        arguments.data,
        columns=tuple(arguments.columns) if arguments.columns else None,
        score_range=tuple(arguments.score_range) if arguments.score_range else None,
        skip_bad_rows=arguments.skip_bad_rows,
        expect=("scored",),
    ).dataset
    columns = (rows["row"], rows["sentence1"], rows["sentence2"])
    return {int(row): (one, two) for row, one, two in zip(*columns, strict=True)}


def diagnose(arguments: argparse.Namespace) -> int:
    """How models spread sentences."""
    from hf_simtune import diagnosis_page, terminal

    if problems := diagnosis_page.check_out(arguments.out, force=arguments.force):
        raise RequestError(problems, hint=f"See: {arguments.parser.prog} --help")
    calm_libraries(quiet=arguments.quiet)
    from hf_simtune import diagnosing

    found = diagnosing.diagnose(
        arguments.models,
        arguments.data,
        columns=tuple(arguments.columns) if arguments.columns else None,
        shape=arguments.shape,
        score_range=tuple(arguments.score_range) if arguments.score_range else None,
        skip_bad_rows=arguments.skip_bad_rows,
        max_rows="auto" if arguments.max_rows is None else arguments.max_rows,
        prompt=arguments.prompt,
        allow_pickle=arguments.allow_pickle,
        seed=arguments.seed,
        progress=not arguments.quiet and sys.stderr.isatty(),
    )
    if arguments.json:
        terminal.plain(json.dumps(diagnosis_page.facts(found)))
    else:
        terminal.show_diagnoses(found)
    if arguments.out:
        diagnosis_page.write(found, arguments.out)
        terminal.note(f"picture written to {arguments.out}")
    return 0


def bench(arguments: argparse.Namespace) -> int:
    """A measurement of speed."""
    from hf_simtune import terminal

    calm_libraries(quiet=True)
    from hf_simtune import threads
    from hf_simtune.bench import commands as benches

    threads.settle()
    found = benches.run(arguments)
    if arguments.json:
        terminal.plain(json.dumps(dataclasses.asdict(found)))
    else:
        terminal.show_told(benches.said(found))
    if arguments.out:
        benches.save(found, Path(arguments.out))
        terminal.note(f"figures written to {arguments.out}")
    return 0


def recipes(arguments: argparse.Namespace) -> int:
    """The list of recipes."""
    from hf_simtune import terminal

    found = catalogue.all_recipes()
    if arguments.json:
        terminal.plain(json.dumps({name: dataclasses.asdict(value) for name, value in found.items()}, indent=2))
    else:
        terminal.show_recipes(found)
    return 0


def generate(arguments: argparse.Namespace) -> int:
    """Rows of a built-in corpus into a file."""
    from hf_simtune import terminal
    from hf_simtune.data import export

    suffix = ".txt" if arguments.shape == "sentences" else ".csv"
    out = arguments.out or f"sports-{arguments.shape}{suffix}"
    written = export.sports(
        out,
        shape=arguments.shape,
        split=arguments.split,
        rows=arguments.rows,
        seed=arguments.seed,
        force=arguments.force,
    )
    if out != "-":
        terminal.note(f"{written:,} rows written to {out}")
    return 0
