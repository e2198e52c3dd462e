"""A grid or a search over recipe fields: every cell a run, compared on its selection rows alone."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from hf_simtune import branching, flags, model_names, search, sweep_page, trackers, unread_fields
from hf_simtune.chatter import processes
from hf_simtune.data import spec
from hf_simtune.errors import RequestError
from hf_simtune.fields import NONE, wrong_fields
from hf_simtune.hub_names import is_hub_name
from hf_simtune.recipe import RELEASE, Recipe, fields
from hf_simtune.run_set import Runs, RunSet
from hf_simtune.set_plan import Axis, Cell, Plan, folder_for, label, shown, value_text
from hf_simtune.sweep_figures import competing, figures

__all__ = ["cells", "check", "command", "go_on", "grid", "is_single", "plan", "resume", "start", "sweep"]

NEVER = {
    "name": "it names the sweep",
    "title": "it changes nothing",
    "select_on": "cells are compared on the same selection rows",
    "report_on": "the winner is reported on rows that were settled before",
}

# Fields that name a model or data, which can be looked up where they are in order.
NAMES = {"model", "start", "branches", "train_data", "more_data", "select_on", "report_on", "probe"}

log = logging.getLogger("hf_simtune")


def sweep(
    recipe: Recipe,
    axes: Mapping[str, Sequence[Any]],
    *,
    trials: int | None = None,
    offline: bool = False,
    out: str | Path = "runs",
    publish_examples: bool = False,
    origin: tuple[str, Recipe] | None = None,
    run: Runs | None = None,
) -> RunSet:
    """Run a recipe with every combination of some values, or with those that a search picks; one run folder each.

    Cells are compared by their Spearman correlation on the selection rows. The report rows take no part in it: the
    report of the winning cell is the sweep's result, see ``sweep_figures.best``.

    Args:
        recipe: what all cells share.
        axes: recipe fields, each with two or more values of one word: ``{"temperature": (0.05, 0.1)}``.
        trials: how many cells a search looks at; None runs them all. The search takes Optuna's tree-structured Parzen
            estimator, seeded by the recipe's seed; the values given are its choices.
        offline: as in ``tune``.
        out: folder in which ``NAME-sweep-TIME/`` is made, with ``sweep.json``, ``sweep.html`` and ``cells/``.
        publish_examples: as in ``tune``, for every cell.
        origin: as in ``tune``.
        run: what runs a cell; ``tune`` by default.

    Returns:
        The set of runs. A cell that failed says why and does not take the others with it.

    Raises:
        RequestError: with every problem of every cell, before the first one starts.
    """
    planned = plan(recipe, axes, trials=trials, offline=offline, publish_examples=publish_examples, origin=origin)
    return go_on(start(planned, out), run)


def plan(
    recipe: Recipe,
    axes: Mapping[str, Sequence[Any]],
    *,
    trials: int | None = None,
    offline: bool = False,
    publish_examples: bool = False,
    origin: tuple[str, Recipe] | None = None,
) -> Plan:
    """The plan of a sweep, unchecked: see ``check``."""
    kinds = {name: hint for name, hint, _, _ in fields()}
    settled = {field: tuple(_settled(value, kinds.get(field)) for value in values) for field, values in axes.items()}
    first = {field: values[0] for field, values in settled.items() if field in kinds and values}
    target, own = origin or (recipe.train_data, flags.for_data(recipe.train_data))
    return Plan(
        kind="sweep",
        recipe=dataclasses.replace(recipe, **first),
        axes=tuple(Axis(field=field, values=values) for field, values in settled.items()),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        trials=trials,
        offline=offline,
        publish_examples=publish_examples,
        target=target,
        origin=own,
    )


def _settled(value: Any, hint: Any) -> Any:
    """1 as 1.0 where the field is a float, as a file of the plan gives it back."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole and float in (get_args(hint) or (hint,)) else value


def grid(planned: Plan) -> list[dict[str, Any]]:
    """The values of every cell, the last axis turning fastest."""
    names = [axis.field for axis in planned.axes]
    return [
        dict(zip(names, values, strict=True)) for values in itertools.product(*(axis.values for axis in planned.axes))
    ]


def check(planned: Plan) -> list[str]:
    """Every problem of a plan and of all its cells, each a sentence that is told once."""
    found: list[str] = []
    kinds = {name: hint for name, hint, _, _ in fields()}
    for axis in planned.axes:
        flag = flags.flag(axis.field)
        told = [value_text(value) for value in axis.values]
        if axis.field not in kinds:
            found.append(f"there is no recipe field {axis.field!r}")
        elif axis.field in NEVER:
            found.append(f"{flag} takes one value in a sweep: {NEVER[axis.field]}")
        elif not is_single(kinds[axis.field]):
            found.append(f"{flag} takes one setting in a sweep: several words of it are one value")
        found += [f"{flag} names {text} twice" for text in dict.fromkeys(told) if told.count(text) > 1]
    if found:
        return found
    if not any(len(axis.values) > 1 for axis in planned.axes):
        return ["no field has several values: nothing to sweep over"]
    if processes() > 1:
        found.append(f"{processes()} processes train one run together: start several runs from one process")
    if planned.recipe.push_to_hub or any(axis.field in RELEASE for axis in planned.axes):
        found.append("--push-to-hub publishes one run: leave it out, and publish the one that wins")
    if planned.recipe.push_checkpoints or any(axis.field == "push_checkpoints" for axis in planned.axes):
        found.append("--push-checkpoints keeps those of one run: leave it out")
    found += trackers.missing(planned.recipe.report_to)
    everything = grid(planned)
    if planned.trials is not None:
        found += search.problems(planned.trials, len(everything))
    for axis in planned.axes:
        if axis.field == "model":
            found += model_names.problems([name for name in axis.values if isinstance(name, str)])
            if planned.recipe.model_revision:
                found.append("--model-revision is of one model: leave it out where --model has several")
        if axis.field == "model" and planned.recipe.start:
            found.append("--start was tuned from one base: leave it out where --model has several")
        if axis.field in ("model", "start", "train_data") and planned.offline:
            found += [
                f"{flags.flag(axis.field)} {name} is on the Hub, and --offline takes nothing from there"
                for name in axis.values
                if isinstance(name, str) and is_hub_name(name)
            ]
    idle: dict[tuple[str, str], list[dict[str, Any]]] = {}  # a field that nothing reads and why -> the cells
    for values in everything:
        chosen = resolved = dataclasses.replace(planned.recipe, **values)
        problems = chosen.check()
        if isinstance(chosen.name, str) and not NAMES & set(wrong_fields(chosen)):
            resolved = chosen.offline() if planned.offline else chosen
            problems += [*resolved.check(), *model_names.of_recipe(resolved)]
            problems += spec.check_names(resolved, offline=planned.offline)
            problems += branching.problems(resolved, offline=planned.offline)
        unread = {**unread_fields.unread(resolved, wrong_fields(resolved)), **model_names.unread(resolved)}
        for field, why in unread.items():
            idle.setdefault((field, why), []).append(values)
        once = [*found, *(unread_fields.told(field, [getattr(resolved, field)], why) for field, why in unread.items())]
        found += [problem for problem in dict.fromkeys(problems) if problem not in once]
    return found + [_idle(field, why, cells, planned) for (field, why), cells in idle.items()]


def _idle(field: str, why: str, refused: Sequence[dict[str, Any]], planned: Plan) -> str:
    """One sentence for all cells in which nothing reads a field: they would be runs that differ in nothing."""
    given = list(dict.fromkeys(values.get(field, getattr(planned.recipe, field)) for values in refused))
    told = {
        axis.field: list(dict.fromkeys(values[axis.field] for values in refused))
        for axis in planned.axes
        if axis.field != field
    }
    all_of = {axis.field: len(axis.values) for axis in planned.axes}
    cells = ", ".join(
        f"{name}={' or '.join(shown(name, value) for value in values)}"
        for name, values in told.items()
        if len(values) < all_of[name]
    )
    return unread_fields.told(field, given, why, f" in the cells with {cells}" if cells else "")


def is_single(hint: Any) -> bool:
    """Whether a field of that type holds one word or number, which can be a choice."""
    return set(get_args(hint) or (hint,)) - {type(None)} <= {str, int, float}


def start(planned: Plan, out: str | Path = "runs") -> RunSet:
    """The folder of a new sweep.

    Raises:
        RequestError: the plan has problems, or the folder cannot be made.
    """
    if found := check(planned):
        raise RequestError(found, hint="As in: hf-simtune sweep RECIPE --temperature 0.05 0.1 0.2 --epochs 1 2")
    return RunSet.create(Path(out), planned, cells(planned) if planned.trials is None else [])


def cells(planned: Plan) -> list[Cell]:
    """Every cell of the grid; a search runs some of them, in an order of its own."""
    found: list[Cell] = []
    for values in grid(planned):
        found.append(_cell(values, planned, found))
    return found


def _cell(values: dict[str, Any], planned: Plan, others: Sequence[Cell]) -> Cell:
    name = label(values, planned).replace(", ", ",")
    return Cell(values=values, folder="cells/" + folder_for(name, [Path(other.folder).name for other in others]))


def resume(folder: Path, *, wanted: Plan | None = None, trials: int | None = None) -> RunSet:
    """A sweep to go on with.

    Args:
        folder: of the sweep.
        wanted: what this start asks for, where it asks for anything: it must be the same sweep.
        trials: of a search, to have it look at more cells than it was to.

    Raises:
        RequestError: no folder of a sweep, or of another one than wanted.
    """
    made = RunSet.open(folder, "sweep")
    asked = wanted or dataclasses.replace(made.plan, trials=made.plan.trials if trials is None else trials)
    problems = made.plan.differences(asked)
    if not problems and asked.trials is not None:
        problems = search.problems(asked.trials, len(grid(made.plan)))
    if problems:
        raise RequestError(
            [f"{folder} cannot be resumed: {problem}" for problem in problems],
            hint=f"To go on with it: hf-simtune sweep --resume {folder}",
        )
    made.plan = dataclasses.replace(made.plan, trials=asked.trials)
    return made


def go_on(made: RunSet, run: Runs | None = None) -> RunSet:
    """Run every cell that is not done; a cell that failed is tried again, but by a search only what it has not tried.

    ``sweep.json`` and ``sweep.html`` are written after each cell.
    """
    log.info("sweep folder: %s", made.folder)
    with made.held():
        _write(made)
        again = ("waiting", "running", "failed") if made.plan.trials is None else ("waiting", "running")
        for index in [index for index, cell in enumerate(made.cells) if cell.state in again]:
            made.carry_on(index, run)
            _write(made)
        while made.plan.trials is not None and len(made.cells) < made.plan.trials:
            made.cells.append(_cell(_next(made), made.plan, made.cells))
            made.carry_on(len(made.cells) - 1, run)
            _write(made)
    return made


def _next(made: RunSet) -> dict[str, Any]:
    axes = {axis.field: axis.values for axis in made.plan.axes}
    return search.next_values(axes, [cell.values for cell in made.cells], competing(made), made.plan.recipe.seed)


def _write(made: RunSet) -> None:
    made.write({index: dataclasses.asdict(figures(record)) for index, record in made.records.items()})
    sweep_page.write(made, command(made.plan))


def command(planned: Plan) -> str:
    """The command line of a sweep. Local paths are cut to their names: a page travels."""
    own = planned.origin or flags.for_data(planned.recipe.train_data)
    rest = dataclasses.replace(planned.recipe, **{axis.field: getattr(own, axis.field) for axis in planned.axes})
    words = shlex.split(flags.command(rest, own, planned.target, offline=planned.offline))
    words[1] = "sweep"
    for axis in planned.axes:
        words += [flags.flag(axis.field), *(NONE if v is None else shown(axis.field, v) for v in axis.values)]
    if planned.trials is not None:
        words += ["--trials", str(planned.trials)]
    return shlex.join(words)
