"""Recipe -> run folder: score the base, train, score again, compare, and write it all down."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from transformers import set_seed

from hf_simtune import before_after, card, flags, losses, machine, models, precision, report, scores_file, train
from hf_simtune.data.inputs import Inputs, prepare
from hf_simtune.data.load import Loaded
from hf_simtune.errors import RequestError, RunError
from hf_simtune.evaluation.sts import SimilarityEvaluator, score, similarities
from hf_simtune.recipe import Recipe
from hf_simtune.record import ModelFacts, RunRecord, Training
from hf_simtune.run_folder import Plan, RunFolder
from hf_simtune.scores_file import RowScores
from hf_simtune.speed import choose
from hf_simtune.speed.allocator import freed_memory_kept
from hf_simtune.speed.forward import sorted_forward
from hf_simtune.weights import weights_sha256

__all__ = ["Run", "tune"]

log = logging.getLogger("hf_simtune")


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run: its folder and its record."""

    folder: Path
    record: RunRecord


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
        HubError: something on the Hub could not be reached.
        RunError: the run could not be brought to its end.
    """
    folder = RunFolder.unfinished(Path(resume)) if resume is not None else None
    first = folder.read_plan() if folder else None
    if first and recipe == first.recipe:
        offline = first.offline
    asked = recipe
    recipe = (recipe.offline() if offline else recipe).checked()
    _one_process()
    if not folder and Path(out).exists() and not Path(out).is_dir():
        raise RequestError(f"--out {out} is a file: name a folder")
    commit = machine.commit()
    clock = Clock()
    set_seed(recipe.seed)
    with clock.phase("load"):
        inputs = prepare(recipe, offline=offline)
        model, base = models.load(recipe.model, recipe.model_revision, max_length=recipe.max_length)
    loss_name = recipe.loss or losses.default_loss(inputs.train.source.shape)
    loss = losses.build(loss_name, model, recipe.temperature)
    mode, why = (first.precision, first.precision_reason) if first else precision.decide(recipe.precision)
    if first:
        forward, forward_reason = first.forward, first.forward_reason
    else:
        forward, forward_reason = choose.choose(recipe.forward, model, loss, texts=choose.texts_of(inputs.rows[:8]))
    pinned = dataclasses.replace(asked, precision=mode, forward=forward)
    if base.revision and not offline:
        pinned = dataclasses.replace(pinned, model_revision=base.revision)
    target, origin_recipe = origin or (None, None)
    plan = Plan(
        recipe=recipe,
        offline=offline,
        command=flags.command(pinned, origin_recipe, target, offline=offline),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        loss=loss_name,
        precision=mode,
        precision_reason=why,
        forward=forward,
        forward_reason=forward_reason,
        base_weights=base.weights_sha256,
        fingerprints=inputs.fingerprints,
        publish_examples=publish_examples,
        commit=commit,
    )
    if folder and first:
        plan = _taken_up(folder, first, plan)
    else:
        folder = RunFolder.create(Path(out), recipe.name, datetime.now().strftime("%Y%m%d-%H%M%S"))
    folder.write_plan(plan)
    log.info("run folder: %s", folder.path)
    log.info("precision: %s (%s)", plan.precision, plan.precision_reason)
    log.info("forward pass: %s (%s)", plan.forward, plan.forward_reason)
    return _run(plan, folder, inputs, model, loss, base, clock)


def _one_process() -> None:
    """Refuse what would train something else than the record says.

    Raises:
        RequestError: several processes, or several GPUs, which the Trainer would take for one larger batch.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RequestError(
            "several processes at once are not supported yet",
            hint="As in: CUDA_VISIBLE_DEVICES=0 accelerate launch --num_processes 1 recipes/mnrl_minilm.py",
        )
    if torch.cuda.device_count() > 1:
        raise RequestError(
            f"{torch.cuda.device_count()} GPUs are visible: the batch would silently be that many times as large",
            hint="Show it one: CUDA_VISIBLE_DEVICES=0 before the command",
        )


def _taken_up(folder: RunFolder, first: Plan, plan: Plan) -> Plan:
    """The plan of the run's first start, if this start would go on with the same run."""
    if differences := first.differences(plan):
        raise RequestError(
            [f"{folder.path} cannot be resumed: {difference}" for difference in differences],
            hint="Give the same recipe and data as at the start, or start a new run without --resume",
        )
    commit = first.commit
    if plan.commit != first.commit:
        log.warning("the run began at commit %s of hf_simtune and goes on at %s", first.commit, plan.commit)
        commit = f"{first.commit}, resumed at {plan.commit}"
    publish = first.publish_examples or plan.publish_examples
    return dataclasses.replace(first, starts=first.starts + 1, commit=commit, publish_examples=publish)


def _run(
    plan: Plan,
    folder: RunFolder,
    inputs: Inputs,
    model: SentenceTransformer,
    loss: nn.Module,
    base: ModelFacts,
    clock: Clock,
) -> Run:
    recipe = plan.recipe
    scored = {"report": inputs.report, "select": inputs.select}
    with clock.phase("score base"):
        log.info("scoring the untouched base on %d + %d rows", len(inputs.select.dataset), len(inputs.report.dataset))
        shown = sys.stderr.isatty() and log.isEnabledFor(logging.INFO)
        before = {role: similarities(model, loaded.dataset, progress=shown) for role, loaded in scored.items()}
    evaluator = SimilarityEvaluator(inputs.select.dataset, log_file=folder.trainer / train.SCORED)
    base_score = score(evaluator.gold, before["select"]).spearman
    sampler = losses.batch_sampler(plan.loss)
    trainer = train.build(
        recipe, loss, sampler, plan.precision, model, inputs.rows, evaluator, folder.trainer, base_score
    )
    with clock.phase("train"), freed_memory_kept(), sorted_forward(model, loss, plan.forward) as sorted_:
        checkpoint = train.last_checkpoint(folder.trainer)
        if checkpoint:
            log.info("going on from %s", checkpoint.name)
        result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    clock.seconds["of it scores"] = round(evaluator.seconds, 2)
    clock.seconds["of it checkpoints"] = round(trainer.checkpoint_seconds, 2)
    forward_reason = plan.forward_reason
    if sorted_ is not None and sorted_.refused:
        forward_reason += f"; {sorted_.refused} of this start's batches went plain"
    state = trainer.state
    history = train.checkpoints(folder.trainer, base_score, state)
    best = max(
        (point for point in history if point.spearman is not None),
        key=lambda point: (point.spearman, -point.step),
        default=history[0],
    )
    with clock.phase("save"):
        reloaded = _saved(plan, folder, model, best.step)
    with clock.phase("score tuned"):
        # The base again is the base: rounding must not make a difference of it.
        after = before
        if best.step > 0:
            after = {role: similarities(reloaded, loaded.dataset, progress=shown) for role, loaded in scored.items()}
    with clock.phase("compare"):
        parts = [before_after.row_scores(role, loaded, before[role], after[role]) for role, loaded in scored.items()]
        evaluations = [before_after.evaluation(part, scored[part.role], base.similarity, recipe.seed) for part in parts]
    losses_seen = [float(entry["loss"]) for entry in state.log_history if "loss" in entry]
    record = RunRecord(
        name=recipe.name,
        title=recipe.title,
        created=plan.created,
        command=plan.command,
        offline=plan.offline,
        recipe=flags.without_paths(recipe),
        commit=plan.commit,
        base=base,
        tuned=models.tuned_facts(reloaded, base, recipe.name),
        training=Training(
            source=inputs.train.source,
            rows=len(inputs.rows),
            loss=plan.loss,
            temperature=None if plan.loss == "cosine" else recipe.temperature,
            epochs=recipe.epochs,
            steps=state.global_step,
            batch_size=recipe.batch_size,
            processes=1,
            precision=plan.precision,
            precision_reason=plan.precision_reason,
            forward=plan.forward,
            forward_reason=forward_reason,
            seconds=round(result.metrics.get("train_runtime", clock.seconds["train"]), 1),
            checkpoints=history,
            best_step=best.step,
            final_loss=losses_seen[-1] if losses_seen and np.isfinite(losses_seen[-1]) else None,
            resumed=plan.starts - 1,
        ),
        leakage=inputs.leaks.facts,
        evaluations=tuple(evaluations),
        machine=machine.describe(),
        seconds=clock.seconds,
        examples=before_after.examples(inputs.report, parts[0]) if plan.publish_examples else (),
    )
    _write(folder, record, parts, scored)
    return Run(folder.path, record)


def _saved(plan: Plan, folder: RunFolder, model: SentenceTransformer, step: int) -> SentenceTransformer:
    """Save the model of the best step (0: the untouched base) and load it back, proving its weights both times.

    The Trainer logs a failed restore and goes on, and a model can be saved such that it loads with other weights.
    """
    wanted = plan.base_weights
    if step == 0:
        log.warning("no checkpoint scored better than the base on the selection rows: model/ holds the base unchanged")
        recipe = plan.recipe
        model, _ = models.load(recipe.model, recipe.model_revision, max_length=recipe.max_length)
    else:
        wanted = train.scored_weights(folder.trainer, step)
    if weights_sha256(model) != wanted:
        raise RunError(
            f"the weights restored for step {step} are not those that were scored there",
            hint=f"Look at {folder.trainer}",
        )
    models.save(model, folder.model)
    reloaded = SentenceTransformer(str(folder.model), device=str(model.device))
    if weights_sha256(reloaded) != wanted:
        raise RunError(f"the model saved in {folder.model} does not load with the weights that were scored")
    return reloaded


def _write(folder: RunFolder, record: RunRecord, parts: list[RowScores], scored: dict[str, Loaded]) -> None:
    """Scores, card and report first, the record last: a folder with a record is a finished run."""
    scores_file.write(folder.scores, parts)
    text = card.render(record)
    folder.card.write_text(text, encoding="utf-8")
    (folder.model / "README.md").write_text(text, encoding="utf-8")
    texts = {
        (loaded.source.title, int(row)): (first, second)
        for loaded in scored.values()
        for row, first, second in zip(
            loaded.dataset["row"], loaded.dataset["sentence1"], loaded.dataset["sentence2"], strict=True
        )
    }
    folder.report.write_text(report.render(record, parts, texts=texts), encoding="utf-8")
    record.save(folder.record)
