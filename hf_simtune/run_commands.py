"""The commands that run recipes: tune, for one model or several, and sweep."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_simtune import branching, catalogue, flags, hub_names, model_names, recipe, trackers
from hf_simtune.chatter import calm_libraries, speaks
from hf_simtune.data import spec
from hf_simtune.errors import RequestError
from hf_simtune.fields import mistyped
from hf_simtune.recipe import Recipe
from hf_simtune.row_shapes import named_losses
from hf_simtune.stopping import Stopped
from hf_simtune.unwritten import UnwrittenError
from hf_simtune.without_hub import NAMES, is_data, needs_hub, tell_left_out

if TYPE_CHECKING:
    from hf_simtune.run_set import RunSet

__all__ = ["run_recipe", "sweep", "tell_stopped", "tune"]

SEVERAL = ("more_data", "probe", "branches", "columns", "eval_columns")  # fields that name some more


def tune(arguments: argparse.Namespace) -> int:
    """Find the recipe that is meant, and run it."""
    if arguments.target is None:
        if arguments.resume is None:
            raise RequestError("tune what? Name a recipe or a data file", hint="See: hf-simtune recipes")
        from hf_simtune.run_folder import RunFolder
        from hf_simtune.run_set import kind_of

        if kind_of(Path(arguments.resume)) == "several":
            return _several(arguments, None, None)
        plan = RunFolder.unfinished(Path(arguments.resume)).read_plan()
        return run_recipe(arguments, plan.recipe, plan.recipe.name)
    return run_recipe(arguments, _meant(arguments), arguments.target)


def _meant(arguments: argparse.Namespace) -> Recipe:
    """The recipe that the target names, or the one for the data that it names."""
    target: str = arguments.target
    if is_data(target):
        return flags.for_data(target)
    try:
        return catalogue.find(target)
    except RequestError as error:
        raise RequestError([*error.problems, *arguments.problems], hint=error.hint) from error


def _further(chosen: Recipe) -> list[str]:
    """The names of further training data."""
    return [data for _, data in named_losses(chosen.more_data)] if isinstance(chosen.more_data, tuple) else []


def run_recipe(arguments: argparse.Namespace, own: Recipe, target: str) -> int:
    """Run a recipe with the flags that were given, once for each model that they name."""
    from hf_simtune import terminal
    from hf_simtune.run_set import kind_of

    resumed = Path(arguments.resume) if arguments.resume else None
    if len(getattr(arguments, "models", ())) > 1 or (resumed and kind_of(resumed) == "several"):
        return _several(arguments, own, target)
    if resumed and kind_of(resumed) == "sweep":
        raise RequestError(f"{resumed} is a sweep's folder", hint=f"As in: hf-simtune sweep --resume {resumed}")
    chosen = flags.apply(own, arguments)
    problems = [*arguments.problems, *chosen.check(), *trackers.missing(chosen.report_to)]
    if arguments.offline:
        problems += needs_hub(arguments, target)
    resolved = chosen
    # A recipe file may hold anything; only names can be looked up, and check() has told of the rest.
    if not mistyped(chosen) & {"name", *NAMES, *SEVERAL}:
        resolved = chosen.offline() if arguments.offline else chosen
        problems += [*resolved.check(), *model_names.of_recipe(resolved)]
        problems += spec.check_names(resolved, offline=arguments.offline)
        problems += branching.problems(resolved, offline=arguments.offline)
        if any(hub_names.local(name).is_file() for name in (resolved.train_data, *_further(resolved))):
            from hf_simtune.data.columns import check_columns  # imports what reads files

            problems += check_columns(resolved)
    if problems:
        raise RequestError(list(dict.fromkeys(problems)), hint=f"See: {arguments.parser.prog} --help")
    if arguments.offline:
        tell_left_out(chosen)
    if arguments.dry_run:
        terminal.show_recipe(resolved, flags.command(chosen, own, target, offline=arguments.offline, whole=True))
        return 0
    calm_libraries(quiet=arguments.quiet)
    from hf_simtune import terminal_run, threads, tuning
    from hf_simtune.release import FinishedError

    threads.settle()
    try:
        run = tuning.tune(
            chosen,
            offline=arguments.offline,
            out=arguments.out,
            resume=arguments.resume,
            publish_examples=arguments.publish_examples,
            origin=(target, own),
        )
    except FinishedError as error:
        terminal_run.show_run(error.run.record, error.run.folder)
        raise
    failed = int(run.record.training.diverged is not None)
    if not speaks():
        return failed
    terminal_run.show_run(run.record, run.folder, published=run.published is not None)
    if run.record.exports:
        terminal.show_exports(run.record, run.folder)
    if run.published:
        terminal.show_published(run.published, dry_run=False)
    return failed


def _several(arguments: argparse.Namespace, own: Recipe | None, target: str | None) -> int:
    """One run for each model that was named; or go on with such runs, then ``own`` and ``target`` may be None."""
    from hf_simtune import several, several_page, terminal
    from hf_simtune.run_set import RunSet

    models = list(getattr(arguments, "models", ()))
    folder = Path(arguments.resume) if arguments.resume else None
    before = RunSet.open(folder, "several") if folder else None
    asked = target is not None or _given(arguments)
    problems: list[str] = list(arguments.problems)
    planned = before.plan if before else None
    if asked or planned is None:
        own = own or (planned.origin if planned else None)
        target = target or (planned.target if planned else None)
        if own is None or target is None:
            raise RequestError(f"{folder} does not say what it tuned: name it, as in: tune TARGET --resume {folder}")
        chosen = flags.apply(own, argparse.Namespace(**{**vars(arguments), "model": own.model}))
        planned = several.plan(
            chosen,
            models or (planned.axes[0].values if planned else []),
            offline=arguments.offline or bool(planned and planned.offline),
            publish_examples=arguments.publish_examples,
            origin=(target, own),
        )
        problems += several.check(planned)
        if arguments.offline:
            problems += needs_hub(arguments, target, NAMES[1:])
    if problems:
        raise RequestError(list(dict.fromkeys(problems)), hint=f"See: {arguments.parser.prog} --help")
    if planned and planned.offline:
        tell_left_out(planned.recipe)
    if arguments.dry_run:
        terminal.show_told(several_page.plan_said(RunSet(Path(), planned, several.cells(planned))))
        return 0
    made = several.resume(folder, planned) if folder else several.start(planned, arguments.out)
    words = ["tune", "--resume", str(made.folder)]
    if ended := _ended_early(made, several.go_on, words, quiet=arguments.quiet):
        return ended
    terminal.show_told(several_page.said(made))
    terminal.show_places(made.folder, made.page)
    return _status(made)


def sweep(arguments: argparse.Namespace) -> int:
    """A grid, or a search, over the fields that were given several values; or go on with one."""
    from hf_simtune import sweep_page, sweeping, terminal
    from hf_simtune.run_set import RunSet
    from hf_simtune.sweep_figures import best

    folder = Path(arguments.resume) if arguments.resume else None
    before = RunSet.open(folder, "sweep") if folder else None
    own = _meant(arguments) if arguments.target is not None else before.plan.origin if before else None
    target = arguments.target or (before.plan.target if before else None)
    if own is None or target is None:
        raise RequestError(
            "sweep over what? Name a recipe or a data file first",
            hint="As in: hf-simtune sweep simcse_unsup --temperature 0.05 0.1 0.2 --epochs 1 2",
        )
    problems: list[str] = list(arguments.problems)
    for flag in dict.fromkeys(getattr(arguments, "repeated", ())):
        problems.append(f"{flag} is given several times: several words of it are one setting; run a sweep for each")
    wanted = None
    if before is None or arguments.target is not None or _given(arguments):
        chosen, axes = _axes(arguments, own)
        trials = arguments.trials
        if before and trials is None:
            trials = before.plan.trials
        wanted = sweeping.plan(
            chosen,
            axes,
            trials=trials,
            offline=arguments.offline or bool(before and before.plan.offline),
            publish_examples=arguments.publish_examples,
            origin=(target, own),
        )
        problems += sweeping.check(wanted)
        if arguments.offline:
            problems += needs_hub(arguments, target)
    if problems:
        raise RequestError(list(dict.fromkeys(problems)), hint=f"See: {arguments.parser.prog} --help")
    asked = wanted or (before.plan if before else None)
    if asked and asked.offline:
        tell_left_out(asked.recipe)
    if arguments.dry_run:
        planned = wanted or before.plan if before else wanted
        assert planned is not None
        everything = RunSet(Path(), planned, sweeping.cells(planned))
        terminal.show_told(sweep_page.plan_said(everything, sweeping.command(planned)))
        return 0
    if folder:
        made = sweeping.resume(folder, wanted=wanted, trials=arguments.trials)
    else:
        assert wanted is not None
        made = sweeping.start(wanted, arguments.out)
    words = ["sweep", "--resume", str(made.folder)]
    if ended := _ended_early(made, sweeping.go_on, words, quiet=arguments.quiet):
        return ended
    terminal.show_told(sweep_page.said(made))
    winner = best(made)
    terminal.show_places(
        made.folder, made.page, made.folder / str(made.cells[winner].run) if winner is not None else None
    )
    return _status(made)


def _given(arguments: argparse.Namespace) -> bool:
    """Whether any recipe field was named."""
    return any(hasattr(arguments, name) for name, _, _, _ in recipe.fields())


def _axes(arguments: argparse.Namespace, own: Recipe) -> tuple[Recipe, dict[str, list[Any]]]:
    """The recipe with what was given once, and the values of each field that was given several."""
    from hf_simtune.sweeping import is_single

    once, axes = argparse.Namespace(), {}
    for name, hint, _, _ in recipe.fields():
        if not hasattr(arguments, name):
            continue
        given = getattr(arguments, name)
        if not is_single(hint) or not isinstance(given, list):
            setattr(once, name, given)
        elif len(given) == 1:
            setattr(once, name, given[0])
        else:
            axes[name] = [getattr(flags.apply(own, argparse.Namespace(**{name: text})), name) for text in given]
    return flags.apply(own, once), axes


def tell_stopped(stopped: Stopped) -> None:
    """Say that a run was stopped, and the command that goes on with it."""
    from hf_simtune import terminal

    if stopped.folder is None or stopped.finished:
        terminal.note(f"\n{stopped}")
    else:
        terminal.note(f"\n{stopped.how}; to go on:")
        terminal.note(f"  {terminal.program()} {shlex.join(['tune', '--resume', str(stopped.folder)])}")


def _ended_early(made: RunSet, go_on: Callable[[RunSet], RunSet], words: list[str], *, quiet: bool) -> int:
    """Run what is left; 0, or the status of an interruption, behind which how to go on was said."""
    from hf_simtune import terminal, threads

    try:
        calm_libraries(quiet=quiet)
        threads.settle()
        go_on(made)
    except KeyboardInterrupt as stopped:
        done = sum(cell.state == "done" for cell in made.cells)
        terminal.note(f"\ninterrupted, {done} of {made.plan.trials or len(made.cells)} runs are finished; to go on:")
        terminal.note(f"  {terminal.program()} {shlex.join(words)}")
        return stopped.exit_status if isinstance(stopped, Stopped) else 130
    except UnwrittenError as error:
        hint = f"Make room there, then go on: hf-simtune {shlex.join(words)}"
        raise UnwrittenError(error.problems, hint=hint) from error
    return 0


def _status(made: RunSet) -> int:
    """1 where a run failed, was not begun, or diverged."""
    undone = any(cell.state != "done" for cell in made.cells)
    return int(undone or any(record.training.diverged for record in made.records.values()))
