"""hf-simtune: the command line. Calls the rooms below and prints what they return; decides nothing."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from hf_simtune import arguments as arguments_of
from hf_simtune import catalogue, flags, recipe
from hf_simtune.data import spec
from hf_simtune.errors import RequestError, SimtuneError
from hf_simtune.recipe import Recipe

__all__ = ["main"]

NAMES = ("model", "train_data", "select_on", "report_on")  # fields that name a model or data


def main(own: Recipe | None = None, argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, or, given a recipe, that recipe's: the same flags without a target.

    Exits with 0 (done), 1 (the run failed), 2 (the request was wrong) or 130 (interrupted).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _dispatch(own, words)
    except SimtuneError as error:
        from hf_simtune import terminal

        terminal.error(str(error))
        status = error.exit_status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; an unfinished run goes on with --resume RUN_FOLDER\n")
        status = 130
    sys.exit(status)


def _dispatch(own: Recipe | None, words: list[str]) -> int:
    parser = arguments_of.recipe_parser(own) if own else arguments_of.parser()
    arguments, words_left = parser.parse_known_args(words)
    chosen = parser if own or arguments.command is None else arguments.parser
    arguments.problems = flags.unknown(words_left, chosen)
    if not own and arguments.command is None and not arguments.problems:
        parser.print_help()
        return 0
    if arguments.problems and (not own and arguments.command != "tune"):
        raise RequestError(arguments.problems, hint=f"See: {chosen.prog} --help")
    _listen(quiet=getattr(arguments, "quiet", False))
    if own:
        known = catalogue.shipped().get(own.name) == own
        return _tune(arguments, own, own.name if known else sys.argv[0])
    return COMMANDS[arguments.command](arguments)


def _listen(*, quiet: bool) -> None:
    """Our messages to standard error; the libraries' chatter away."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("hf_simtune")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if quiet:
        os.environ["TQDM_DISABLE"] = "1"
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
        os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"


def _tune_target(arguments: argparse.Namespace) -> int:
    if arguments.target is None:
        if arguments.resume is None:
            raise RequestError("tune what? Name a recipe or a data file", hint="See: hf-simtune recipes")
        from hf_simtune.run_folder import RunFolder

        plan = RunFolder.unfinished(Path(arguments.resume)).read_plan()
        return _tune(arguments, plan.recipe, plan.recipe.name)
    target: str = arguments.target
    if _is_data(target):
        return _tune(arguments, flags.for_data(target), target)
    try:
        own = catalogue.find(target)
    except RequestError as error:
        raise RequestError([*error.problems, *arguments.problems], hint=error.hint) from error
    return _tune(arguments, own, target)


def _is_data(target: str) -> bool:
    """A file, a folder, a Hub id or a builtin, rather than a recipe: a plain name is a recipe if there is one."""
    if target.endswith(".py"):
        return False
    if target.endswith(recipe.FILE_ENDINGS) or "/" in target or ":" in target:
        return True
    return Path(target).exists() and target not in catalogue.all_recipes()


def _tune(arguments: argparse.Namespace, own: Recipe, target: str) -> int:
    from hf_simtune import terminal

    chosen = flags.apply(own, arguments)
    problems = [*arguments.problems, *chosen.check()]
    if arguments.offline:
        problems += _needs_hub(arguments, target)
    resolved = chosen
    # A recipe file may hold anything; only text can be looked up, and check() has named the rest.
    if all(isinstance(getattr(chosen, field), str | None) for field in ("name", *NAMES)):
        resolved = chosen.offline() if arguments.offline else chosen
        problems += spec.check_names(resolved, offline=arguments.offline)
    if problems:
        raise RequestError(problems, hint=f"See: {arguments.parser.prog} --help")
    if arguments.dry_run:
        terminal.show_recipe(resolved, flags.command(chosen, own, target, offline=arguments.offline))
        return 0
    _calm_libraries(quiet=arguments.quiet)
    from hf_simtune import threads
    from hf_simtune.tuning import tune

    threads.settle()
    run = tune(
        chosen,
        offline=arguments.offline,
        out=arguments.out,
        resume=arguments.resume,
        publish_examples=arguments.publish_examples,
        origin=(target, own),
    )
    terminal.show_run(run.record, run.folder)
    return 0


def _needs_hub(arguments: argparse.Namespace, target: str) -> list[str]:
    """What was asked for by name and is not to be had with --offline."""
    named = [(flags.flag(field), str(getattr(arguments, field))) for field in NAMES if hasattr(arguments, field)]
    if _is_data(target) and not target.endswith(".py"):
        named.append(("the data", target))
    return [
        f"{what} {name} is on the Hub, and --offline takes nothing from there"
        for what, name in named
        if recipe.is_hub_name(name)
    ]


def _calm_libraries(*, quiet: bool) -> None:
    import datasets
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    if quiet or not sys.stderr.isatty():
        datasets.disable_progress_bars()


def _score(arguments: argparse.Namespace) -> int:
    from hf_simtune import terminal

    _calm_libraries(quiet=arguments.quiet)
    from hf_simtune.scoring import score

    scored = score(
        arguments.model,
        arguments.data,
        revision=arguments.revision,
        columns=tuple(arguments.columns) if arguments.columns else None,
        score_range=tuple(arguments.score_range) if arguments.score_range else None,
        skip_bad_rows=arguments.skip_bad_rows,
        progress=not arguments.quiet and sys.stderr.isatty(),
    )
    if arguments.json:
        facts = {"model": scored.model, "data": scored.evaluation, "similarity": scored.similarity}
        terminal.plain(json.dumps({**facts, **dataclasses.asdict(scored.score)}))
    else:
        terminal.show_score(scored)
    return 0 if scored.score.undefined is None else 1


def _compare(arguments: argparse.Namespace) -> int:
    from hf_simtune import terminal

    _calm_libraries(quiet=arguments.quiet)
    from hf_simtune.scoring import compare

    first, others = compare(
        arguments.models,
        arguments.data,
        columns=tuple(arguments.columns) if arguments.columns else None,
        score_range=tuple(arguments.score_range) if arguments.score_range else None,
        skip_bad_rows=arguments.skip_bad_rows,
        seed=arguments.seed,
        progress=not arguments.quiet and sys.stderr.isatty(),
    )
    if arguments.json:
        found = [{"model": other.model, **dataclasses.asdict(comparison)} for other, comparison in others]
        terminal.plain(json.dumps({"data": first.evaluation, "first": first.model, "against": found}))
    else:
        terminal.show_comparison(first, others)
    return 0


def _diagnose(arguments: argparse.Namespace) -> int:
    from hf_simtune import diagnosis_page, terminal

    if problems := diagnosis_page.check_out(arguments.out, force=arguments.force):
        raise RequestError(problems, hint=f"See: {arguments.parser.prog} --help")
    _calm_libraries(quiet=arguments.quiet)
    from hf_simtune.diagnosing import diagnose

    found = diagnose(
        arguments.models,
        arguments.data,
        columns=tuple(arguments.columns) if arguments.columns else None,
        shape=arguments.shape,
        score_range=tuple(arguments.score_range) if arguments.score_range else None,
        skip_bad_rows=arguments.skip_bad_rows,
        max_rows=arguments.max_rows,
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


def _bench(arguments: argparse.Namespace) -> int:
    from hf_simtune import terminal

    _calm_libraries(quiet=True)
    from hf_simtune import threads
    from hf_simtune.bench import commands

    threads.settle()
    found = commands.run(arguments)
    if arguments.json:
        terminal.plain(json.dumps(dataclasses.asdict(found)))
    else:
        terminal.show_bench(commands.said(found))
    if arguments.out:
        commands.save(found, Path(arguments.out))
        terminal.note(f"figures written to {arguments.out}")
    return 0


def _recipes(arguments: argparse.Namespace) -> int:
    from hf_simtune import terminal

    found = catalogue.all_recipes()
    if arguments.json:
        terminal.plain(json.dumps({name: dataclasses.asdict(value) for name, value in found.items()}, indent=2))
    else:
        terminal.show_recipes(found)
    return 0


def _generate(arguments: argparse.Namespace) -> int:
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


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "bench": _bench,
    "tune": _tune_target,
    "score": _score,
    "compare": _compare,
    "diagnose": _diagnose,
    "recipes": _recipes,
    "generate": _generate,
}
