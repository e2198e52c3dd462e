"""Recipe -> run folder: score the base, train, score again, compare, and write it all down."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from huggingface_hub.constants import HF_HOME
from transformers import TrainerCallback, set_seed

from hf_simtune import (
    before_after,
    checkpoint_push,
    fitting,
    flags,
    machine,
    model_names,
    models,
    precision,
    preparing,
    ranks,
    release,
    saving,
    trackers,
    tracking,
    training_facts,
    unwritten,
    writing,
)
from hf_simtune.attempt import Attempt, attempt
from hf_simtune.errors import RequestError
from hf_simtune.hub_names import is_hub_name
from hf_simtune.preparing import Prepared
from hf_simtune.ranks import Ranks
from hf_simtune.recipe import MINILM, Recipe
from hf_simtune.record import RunRecord
from hf_simtune.release import Run
from hf_simtune.run_callback import RunCallback
from hf_simtune.run_folder import Plan, RunFolder
from hf_simtune.speed import choose
from hf_simtune.stopping import Stop

__all__ = ["Run", "tune"]

log = logging.getLogger("hf_simtune")


class Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase under its name."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 2)


def tune(
    recipe: Recipe,
    *,
    offline: bool = False,
    out: str | Path = "runs",
    resume: str | Path | None = None,
    publish_examples: bool = False,
    origin: tuple[str, Recipe] | None = None,
) -> Run:
    """Run a recipe and write its run folder.

    Args:
        recipe: what to run.
        offline: take the packaged MiniLM and the built-in sports corpus in place of everything on the Hub.
        out: folder in which ``NAME-TIME/`` is made.
        resume: an unfinished run folder of the same recipe to take up again; it ends with the same weights.
        publish_examples: let a few rows' texts into record and card.
        origin: what stands behind ``hf-simtune tune`` for this recipe (a recipe's name or file) and the recipe that it
            names; the card's command gives what differs from it. By default the training data.

    Returns:
        The run's folder and record. ``folder/model`` holds the checkpoint that scored best on the selection rows, or
        the untouched base where none scored better.

    Raises:
        RequestError: the recipe, the data or the model cannot be used; nothing was trained.
        HubError: something on the Hub could not be reached, or with ``push_to_hub`` did not take the run.
        RunError: the run could not be brought to its end, or is not to be published; a finished one stays as it is.
        Stopped: by Ctrl-C or SIGTERM, behind a step and its checkpoint; by a second one at once. It knows the folder
            to resume. Both signals are listened to in the main thread alone, until the run is over.
    """
    with attempt(Path(out)) as this:
        return _tune(
            this, recipe, offline=offline, out=out, resume=resume, publish_examples=publish_examples, origin=origin
        )


def _tune(
    this: Attempt,
    recipe: Recipe,
    *,
    offline: bool,
    out: str | Path,
    resume: str | Path | None,
    publish_examples: bool,
    origin: tuple[str, Recipe] | None,
) -> Run:
    folder = None
    if resume is not None:
        this.hold(RunFolder.unfinished(Path(resume)))
        folder = RunFolder.unfinished(Path(resume))  # who held it until now may have finished it
    first = folder.read_plan() if folder else None
    if first and recipe == first.recipe:
        offline = first.offline
    asked = recipe.checked()  # what is replaced offline has to be read first
    recipe = _stand_in((recipe.offline() if offline else recipe), origin).checked()
    if problems := [*model_names.exported(recipe), *trackers.missing(recipe.report_to)]:
        raise RequestError(problems, hint="See: hf-simtune tune --help")
    world = ranks.begin()
    if world.size > 1 and recipe.more_data:
        raise RequestError("--more-data: several processes would draw from different sets in one step; train in one")
    to = world.told(release.target(recipe, offline=offline) if world.first else None)
    checkpoints = checkpoint_push.place(recipe, offline=offline) if world.first else None
    if not folder and Path(out).exists() and not Path(out).is_dir():
        raise RequestError(f"--out {out} is a file: name a folder")
    commit = machine.commit()
    clock = Clock()
    set_seed(recipe.seed)
    decided = (first.precision, first.precision_reason) if first else precision.decide(recipe.precision)
    mode, why = world.told(decided)
    caches = unwritten.writing("what is kept of model and data", Path(HF_HOME))
    log.info("reading %s, and the rows of %s", recipe.model, recipe.train_data)
    with clock.phase("load"), world.in_turn(), caches:
        prepared = preparing.prepare(recipe, offline=offline, precision=mode, progress=_shown(), processes=world.size)
    base = prepared.base
    world.agree("training rows", {name: len(rows) for name, rows in prepared.rows.items()})
    world.agree("rows and weights", {**prepared.inputs.fingerprints, "base": base.weights_sha256})
    if first:
        forward, forward_reason = first.forward, first.forward_reason
    else:
        forward, forward_reason = choose.choose(
            recipe.forward,
            prepared.model,
            prepared.all_losses,
            texts=choose.texts_of(prepared.texts[:8]),
            checkpointing=recipe.gradient_checkpointing,
        )
    pinned = dataclasses.replace(asked, precision=mode, forward=forward)
    if base.revision and not offline:
        pinned = dataclasses.replace(pinned, model_revision=base.revision)
    if prepared.start and prepared.start.facts.revision and recipe.start:
        pinned = dataclasses.replace(
            pinned, start=f"{model_names.at_revision(recipe.start)[0]}@{prepared.start.facts.revision}"
        )
    target, origin_recipe = origin or (None, None)
    plan = Plan(
        recipe=recipe,
        offline=offline,
        command=flags.command(pinned, origin_recipe, target, offline=offline),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        loss=prepared.loss_name,
        precision=mode,
        precision_reason=why,
        forward=forward,
        forward_reason=forward_reason,
        base_weights=base.weights_sha256,
        base_setups=prepared.setups,
        start_weights=prepared.start.facts.weights_sha256 if prepared.start else None,
        branches=tuple(branch.recipe for branch in prepared.branches),
        processes=world.size,
        fingerprints=prepared.inputs.fingerprints,
        publish_examples=publish_examples,
        commit=commit,
        arithmetic=machine.arithmetic(),
    )
    if folder and first:
        plan = first.taken_up(folder.path, plan)
    if not folder:
        folder = _begun(Path(out), recipe, world)
        if world.first:
            this.hold(folder)
    folder, plan = world.told((folder, plan))
    this.folder = folder
    if world.first:
        folder.write_plan(plan)
    this.stop.check()
    log.info("run folder: %s", folder.path)
    log.info("precision: %s (%s)", plan.precision, plan.precision_reason)
    log.info("forward pass: %s (%s)", plan.forward, plan.forward_reason)
    if prepared.across:
        log.info("%d processes: %s", world.size, prepared.across)
    run = _run(plan, folder, prepared, clock, world, this.stop, checkpoints)
    if not world.first:
        return run
    if recipe.export:
        run = release.export(run)
    if to is None:
        return run
    return dataclasses.replace(run, published=release.publish(run, to, private=recipe.hub_private_repo))


def _stand_in(recipe: Recipe, origin: tuple[str, Recipe] | None) -> Recipe:
    """A shipped recipe's Hub model that was replaced by a built-in one is named in record and card."""
    meant = origin[1].model if origin else recipe.model
    replaced = recipe.model.startswith("builtin:") and meant not in (recipe.model, MINILM) and is_hub_name(meant)
    return dataclasses.replace(recipe, stand_in_for=meant) if replaced and recipe.stand_in_for is None else recipe


def _shown() -> bool:
    return sys.stderr.isatty() and log.isEnabledFor(logging.INFO)


def _begun(out: Path, recipe: Recipe, world: Ranks) -> RunFolder:
    """A new run folder; the others than the first of several processes are told where it is."""
    now = datetime.now().strftime("%Y%m%d-%H%M%S")
    return RunFolder.create(out, recipe.name, now) if world.first else RunFolder(out)


def _run(
    plan: Plan,
    folder: RunFolder,
    prepared: Prepared,
    clock: Clock,
    world: Ranks,
    stop: Stop,
    checkpoints: str | None,
) -> Run:
    """Train; the first of several processes scores and writes, the others wait for its record."""
    recipe, inputs = plan.recipe, prepared.inputs
    callback = RunCallback(recipe, inputs)
    if not world.first:
        callback.set_up_guard()
        fitting.fit(plan, folder.trainer, prepared, callback, world, stop)
        world.wait()
        return Run(folder.path, RunRecord.load(folder.record))
    with clock.phase("score base"):
        rows = ", ".join(f"{len(part.loaded.dataset):,} of {part.loaded.source.title}" for part in callback.rows)
        log.info("scoring the untouched base on %s", rows)
        callback.begin(prepared.model, progress=_shown())
    with contextlib.ExitStack() as following:
        before = {f"eval_{role}_base": callback.base_score(role) for role in ("select", "report")}
        told = tracking.Tracking(recipe.report_to or (), recipe.name, folder.trainer, before)
        following.callback(told.end)
        beside: list[TrainerCallback] = [told]
        if checkpoints:
            push = checkpoint_push.CheckpointPush(checkpoints, recipe, folder.trainer)
            following.callback(push.end)
            beside.append(push)
        fitted = fitting.fit(plan, folder.trainer, prepared, callback, world, stop, beside)
        clock.seconds |= {name: round(value, 2) for name, value in fitted.seconds.items()}
        best = fitted.best
        stop.check()
        with clock.phase("save"):
            reloaded, saved = saving.save(plan, folder, prepared, best.step)
        with clock.phase("score tuned"):
            # The base again is the base: rounding must not make a difference of it.
            compared = callback.compare(
                reloaded if best.step else None,
                prepared.similarity,
                step=best.step,
                health=fitted.health,
                progress=_shown(),
            )
            below = callback.beside_dense(recipe, compared, progress=_shown())
        told.conclude(compared.evaluations)
    record = RunRecord(
        name=recipe.name,
        title=recipe.title,
        created=plan.created,
        command=plan.command,
        offline=plan.offline,
        recipe=flags.without_paths(recipe),
        commit=plan.commit,
        base=prepared.base,
        tuned=models.tuned_facts(reloaded, prepared.base, recipe.name),
        training=training_facts.training(plan, prepared, fitted),
        leakage=inputs.leaks.facts,
        evaluations=compared.evaluations,
        machine=machine.describe(),
        seconds=clock.seconds,
        examples=before_after.examples(inputs.report, compared.parts[0]) if plan.publish_examples else (),
        health=fitted.health,
        spread=compared.spread,
        reindex=compared.reindex,
        dense=below[1] if below else None,
        saved=saved,
    )
    stop.check()
    writing.write(folder, record, [*compared.parts, *([below[0]] if below else [])], callback.rows)
    world.wait()
    return Run(folder.path, record)
