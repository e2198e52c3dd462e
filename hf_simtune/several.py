"""One recipe on several base models: a run each, and one table over all of them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from hf_simtune import branching, flags, model_names, several_page, trackers
from hf_simtune.chatter import processes
from hf_simtune.data import spec
from hf_simtune.errors import RequestError
from hf_simtune.hub_names import is_hub_name
from hf_simtune.recipe import Recipe
from hf_simtune.run_set import Runs, RunSet
from hf_simtune.set_plan import Axis, Cell, Plan, folder_for

__all__ = ["cells", "check", "go_on", "plan", "resume", "start", "tune_several"]

BUILTIN = "builtin:"

log = logging.getLogger("hf_simtune")


def tune_several(
    recipe: Recipe,
    models: Sequence[str],
    *,
    offline: bool = False,
    out: str | Path = "runs",
    publish_examples: bool = False,
    origin: tuple[str, Recipe] | None = None,
    run: Runs | None = None,
) -> RunSet:
    """Run a recipe once for each of some base models.

    Args:
        recipe: what all runs share.
        models: two or more, each a Hub id, a folder or a builtin.
        offline: as in ``tune``.
        out: folder in which ``NAME-several-TIME/`` is made, with ``several.json``, ``several.html`` and the run
            folders.
        publish_examples: as in ``tune``.
        origin: as in ``tune``.
        run: what runs a recipe; ``tune`` by default.

    Returns:
        The set of runs. A model whose run failed says why and does not take the others with it.

    Raises:
        RequestError: with every problem of every model, before the first run starts.
    """
    planned = plan(recipe, models, offline=offline, publish_examples=publish_examples, origin=origin)
    return go_on(start(planned, out), run)


def plan(
    recipe: Recipe,
    models: Sequence[str],
    *,
    offline: bool = False,
    publish_examples: bool = False,
    origin: tuple[str, Recipe] | None = None,
) -> Plan:
    """The plan of runs of several models, unchecked: see ``check``."""
    target, own = origin or (recipe.train_data, flags.for_data(recipe.train_data))
    return Plan(
        kind="several",
        recipe=recipe,
        axes=(Axis(field="model", values=tuple(models)),),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        offline=offline,
        publish_examples=publish_examples,
        target=target,
        origin=own,
    )


def check(planned: Plan) -> list[str]:
    """Every problem of a plan and of all its runs, each a sentence that is told once."""
    models = planned.axes[0].values
    found = model_names.problems(models)
    if len(models) < 2:
        found.append(f"{len(models)} model is named: name two or more, or tune it alone")
    own = planned.origin.model_revision if planned.origin else None
    if planned.recipe.model_revision not in (None, own):
        found.append("--model-revision is of one model: leave it out where several are tuned")
    if processes() > 1:
        found.append(f"{processes()} processes train one run together: start several runs from one process")
    if planned.recipe.push_to_hub:
        found.append("--push-to-hub publishes one run: leave it out, and publish the one that you choose")
    if planned.recipe.push_checkpoints:
        found.append("--push-checkpoints keeps those of one run: leave it out where several models are tuned")
    found += trackers.missing(planned.recipe.report_to)
    if planned.recipe.start is not None:
        found.append("--start was tuned from one base: leave it out where several are tuned")
    if planned.offline:
        found += [
            f"--model {name} is on the Hub, and --offline takes nothing from there"
            for name in models
            if is_hub_name(name)
        ]
    for cell in cells(planned):
        chosen = dataclasses.replace(planned.recipe, **cell.values)
        problems = chosen.check()
        # check() has named what is no text; only text can be looked up.
        if all(isinstance(getattr(chosen, name), str | None) for name in ("train_data", "select_on", "report_on")):
            resolved = chosen.offline() if planned.offline and not problems else chosen
            problems += [*resolved.check(), *model_names.of_recipe(resolved)]
            problems += spec.check_names(resolved, offline=planned.offline)
            problems += branching.problems(resolved, offline=planned.offline)
        found += [problem for problem in dict.fromkeys(problems) if problem not in found]
    return found


def cells(planned: Plan) -> list[Cell]:
    """A run for each model, named after it."""
    found: list[Cell] = []
    recipe = planned.recipe
    for model in planned.axes[0].values:
        short = flags.folder_name(model).removeprefix(BUILTIN).removesuffix("/model").rpartition("/")[2]
        folder = folder_for(short, [cell.folder for cell in found])
        found.append(
            Cell(
                values={
                    "model": model,
                    "name": f"{recipe.name}-{folder}".replace("=", "-").replace(",", "-")[:96],
                    "model_revision": recipe.model_revision if model == recipe.model else None,
                },
                folder=folder,
            )
        )
    return found


def start(planned: Plan, out: str | Path = "runs") -> RunSet:
    """The folder of new runs.

    Raises:
        RequestError: the plan has problems, or the folder cannot be made.
    """
    if found := check(planned):
        raise RequestError(found, hint="As in: hf-simtune tune pairs.csv --model ORG/A --model ORG/B")
    return RunSet.create(Path(out), planned, cells(planned))


def resume(folder: Path, wanted: Plan | None = None) -> RunSet:
    """Runs of several models to go on with.

    Args:
        folder: of the set.
        wanted: what this start asks for, where it asks for anything: it must be the same.

    Raises:
        RequestError: no such folder, or of other runs than wanted.
    """
    made = RunSet.open(folder, "several")
    if wanted and (problems := made.plan.differences(wanted)):
        raise RequestError(
            [f"{folder} cannot be resumed: {problem}" for problem in problems],
            hint=f"To go on with it: hf-simtune tune --resume {folder}",
        )
    return made


def go_on(made: RunSet, run: Runs | None = None) -> RunSet:
    """Run every model that is not done, those that failed again; JSON and page are written after each."""
    log.info("folder of the runs: %s", made.folder)
    with made.held():
        _write(made)
        for index in [index for index, cell in enumerate(made.cells) if cell.state != "done"]:
            made.carry_on(index, run)
            _write(made)
    return made


def _write(made: RunSet) -> None:
    made.write({index: several_page.facts(record) for index, record in made.records.items()})
    several_page.write(made)
