"""Trains a run's model: once, or for each seed of a soup and each branch; weights are then averaged."""

from __future__ import annotations

import dataclasses
import logging
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import TrainerCallback, set_seed

from hf_simtune import checkpoint, schedule, train
from hf_simtune.evaluation.health import harm
from hf_simtune.evaluation.sts import Model, SimilarityEvaluator
from hf_simtune.memory import enough
from hf_simtune.preparing import MAIN, Prepared, PreparedBranch
from hf_simtune.progress import ProgressBar
from hf_simtune.ranks import ALONE, Ranks
from hf_simtune.recipe import Recipe
from hf_simtune.record import Checkpoint, Health, Ingredient
from hf_simtune.run_callback import RunCallback
from hf_simtune.run_folder import Plan
from hf_simtune.speed.allocator import freed_memory_kept
from hf_simtune.speed.forward import sorted_forward
from hf_simtune.stopping import Stop
from hf_simtune.stopwatch import Stopwatch
from hf_simtune.trainers import given_back

__all__ = ["Fitted", "fit"]

AVERAGE = "the average"  # beside the names of several trainings
APART = 1000  # between the seeds of a soup, so that soups with neighbouring seeds have no training in common
Weights = dict[str, torch.Tensor]
SMALLER = "Take a smaller --batch-size or --max-length, --gradient-checkpointing, or a cached loss with --mini-batch 16"
log = logging.getLogger("hf_simtune")


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What came of training; the weights that were chosen are in the model."""

    history: tuple[Checkpoint, ...]
    best: Checkpoint  # step 0: the base, and the model holds something else
    steps: int
    final_loss: float | None
    stopped: str | None  # why training ended before its last step
    diverged: str | None  # at which step a loss or gradient was no number
    refused: int  # batches of this start that went plain after all
    health: tuple[Health, ...]
    soup: tuple[Ingredient, ...]
    seconds: dict[str, float]  # "train", and of it "of it scores", "of it checkpoints", "of it guard"
    start: float | None = None  # Spearman, on the selection rows, of the weights that training went on from


def fit(
    plan: Plan,
    folder: Path,
    prepared: Prepared,
    callback: RunCallback,
    world: Ranks = ALONE,
    stop: Stop | None = None,
    beside: Sequence[TrainerCallback] = (),
) -> Fitted:
    """Train as the recipe has it, taking up what there is in the folder.

    With a soup (Wortsman et al. 2022, arXiv:2203.05482) each seed starts from the same weights, and its best
    checkpoint goes into the mean of all weights with the same share. A branch (Li et al. 2022, arXiv:2208.03306) is
    trained from these weights too, with its own data, loss and schedule, once for each seed, and gets its share of what
    was trained. Of the mean, or of the one training, a share may be left to the base (Wortsman et al. 2022,
    arXiv:2109.01903); a share below 0 goes on beyond it (Ilharco et al. 2023, arXiv:2212.04089). This average is what
    is kept, unless it scores no better than the base on the selection rows or its embeddings are unhealthy; it is the
    step after the last one.

    Args:
        plan: with the recipe.
        folder: takes checkpoints and logs; of several trainings, one folder in it for each.
        prepared: with the untouched model.
        callback: that has scored it.
        world: of several processes, which this is. All of them return what the first has found.
        stop: whether it is to end early.
        beside: what else is to hear of every training.

    Raises:
        Stopped: it was to; a checkpoint holds what was trained.
    """
    stop = stop or Stop()
    seeds = [(plan.recipe.seed + APART * number) % 2**32 for number in range(plan.recipe.soup)]
    alone = len(seeds) == 1 and not plan.recipe.keep_base and not prepared.branches
    base = Weights() if alone else _copy(prepared.model)
    begun = callback.go_on_from(prepared.start, prepared.model) if prepared.start else None
    if begun is not None:
        log.info("going on from %s, which scores %.2f on the selection rows", plan.recipe.start, 100 * begun)
    if alone:
        return dataclasses.replace(_Seed(plan, folder, prepared, callback, world, stop, beside).fitted(), start=begun)
    trainings = [_Training(plan.recipe, prepared, seed) for seed in seeds]
    for number, branch in enumerate(prepared.branches, start=1):
        apart = _as_prepared(prepared, branch)
        trainings += [_Training(branch.recipe, apart, seed, number, branch) for seed in seeds]
    runs, kept = [], list[Weights]()
    for number, one in enumerate(trainings, start=1):
        log.info("training %d of %d: %s", number, len(trainings), one.title)
        prepared.model.load_state_dict(base)
        if prepared.start:
            prepared.start.put_into(prepared.model)
        recipe = dataclasses.replace(one.recipe, seed=one.seed)
        (place := folder / one.folder).mkdir(exist_ok=True)
        set_seed(one.seed)
        if callback.guard:  # which looks where the training is scored
            callback.guard.checks = schedule.evaluations(one.recipe)
        own = dataclasses.replace(plan, recipe=recipe)
        runs.append(_Seed(own, place, one.prepared, callback, world, stop, beside).fitted())
        kept.append(_copy(prepared.model) if runs[-1].best.step else base)
    # The seeds of one training stand together.
    means = [kept[first : first + len(seeds)] for first in range(0, len(kept), len(seeds))]
    parts = [branch.share for branch in prepared.branches]
    prepared.model.load_state_dict(_average(means, [1 - math.fsum(parts), *parts], base, plan.recipe.keep_base))
    fitted = _stirred(plan, folder, prepared, callback, list(zip(trainings, runs, strict=True)), world)
    return dataclasses.replace(fitted, start=begun)


@dataclasses.dataclass(frozen=True)
class _Training:
    """One of several."""

    recipe: Recipe
    prepared: Prepared
    seed: int
    number: int = 0  # of its branch, from 1; 0: the run's own
    branch: PreparedBranch | None = None

    @property
    def folder(self) -> str:
        return f"branch-{self.number}-seed-{self.seed}" if self.number else f"seed-{self.seed}"

    @property
    def title(self) -> str:
        """For people: ``seed 42``, of a branch ``simcse_compressions, seed 42``."""
        return f"{self.branch.name}, seed {self.seed}" if self.branch else f"seed {self.seed}"

    def ingredient(self, run: Fitted) -> Ingredient:
        name, share = (self.branch.name, self.branch.share) if self.branch else (None, None)
        return Ingredient(seed=self.seed, branch=name, share=share, step=run.best.step, spearman=run.best.spearman)


def _as_prepared(prepared: Prepared, branch: PreparedBranch) -> Prepared:
    """The run's model before a branch's rows."""
    return dataclasses.replace(
        prepared, rows={MAIN: branch.rows}, losses={MAIN: branch.loss}, sampler=branch.sampler, branches=()
    )


class _Seed:
    """One training."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        prepared: Prepared,
        callback: RunCallback,
        world: Ranks,
        stop: Stop,
        beside: Sequence[TrainerCallback],
    ) -> None:
        self.plan, self.folder, self.prepared, self.callback, self.world = plan, folder, prepared, callback, world
        self.stop, self.hearing = stop, (callback, *beside)
        self.evaluator = SimilarityEvaluator(prepared.inputs.select.dataset, log_file=folder / train.SCORED)
        recipe, key = plan.recipe, self.evaluator.best_model_key
        self.stopper = schedule.StopWithoutGain(key, schedule.patience(recipe), schedule.warmup(recipe))
        self.trainer = train.build(
            recipe,
            prepared.losses,
            prepared.sampler,
            plan.precision,
            prepared.model,
            prepared.rows,
            self.evaluator,
            folder,
            [self.stopper, *self.hearing, ProgressBar(key, callback.base_score("select"))],
            steps=callback.steps,
            prompt=prepared.base.prompt,
        )
        self.watch = Stopwatch(folder, self._shares)
        if world.first:
            self.trainer.add_callback(self.watch)
        self.trainer.add_callback(schedule.StopWhenAsked(stop, world))  # the last: it leaves when the others are done

    def _shares(self) -> dict[str, float]:
        return {
            "of it scores": self.evaluator.seconds,
            "of it checkpoints": self.trainer.checkpoint_seconds,
            "of it guard": self.callback.guard.seconds if self.callback.guard else 0.0,
        }

    def fitted(self) -> Fitted:
        """Train to the end, or see that it was reached."""
        losses = list(self.prepared.losses.values())
        model = self.prepared.model
        with freed_memory_kept(), given_back(model), sorted_forward(model, losses, self.plan.forward) as sorted_:
            self._train()
        self.world.wait()
        return self.world.told(self._found(refused=sorted_.refused if sorted_ else 0))

    def _found(self, *, refused: int) -> Fitted:
        """What the folder and the trainer's state tell of the training."""
        trainer, callback = self.trainer, self.callback
        state = trainer.state
        diverged = str(callback.steps.diverged) if callback.steps.diverged else None
        history = train.checkpoints(self.folder, callback.base_score("select"), state)
        seen = [float(entry["loss"]) for entry in state.log_history if "loss" in entry]
        return Fitted(
            history=history,
            best=train.best(history, callback.unhealthy()),
            steps=state.global_step,
            final_loss=seen[-1] if seen else None,
            stopped=diverged or self.stopper.stopped or callback.stopped,
            diverged=diverged,
            refused=refused,
            health=callback.health,
            soup=(),
            seconds=self.watch.seconds(),
        )

    def _train(self) -> None:
        trainer = self.trainer
        with self.world.in_turn():
            last = checkpoint.last(self.folder)
        if last:
            self.watch.go_on_from(checkpoint.state_of(last).global_step)
        if last and self.stopper.look(checkpoint.state_of(last)):
            log.info("training had ended at %s", last.name)
            train.take_up_end(trainer, last)
            for one in self.hearing:
                one.on_train_begin(trainer.args, trainer.state, trainer.control, model=self.prepared.model)
            return
        if last:
            log.info("going on from %s", last.name)
        batch = trainer.args.per_device_train_batch_size
        told = f"out of memory: a training step with --batch-size {batch} does not fit"
        with self.stop.at_steps(), warnings.catch_warnings(), enough(told, SMALLER):
            # The libraries warn each other of a method of theirs that is to go (sentence-transformers 6.2).
            warnings.filterwarnings("ignore", r".*gradient_checkpointing_enable", FutureWarning)
            # And, of several processes, of two of torch's (accelerate 1.15, sentence-transformers 6.2).
            warnings.filterwarnings("ignore", r"`broadcast_buffers` is deprecated", FutureWarning)
            warnings.filterwarnings("ignore", r"torch\.distributed\.nn\.functional\.all_gather", FutureWarning)
            trainer.train(resume_from_checkpoint=str(last) if last else None)


def _stirred(
    plan: Plan,
    folder: Path,
    prepared: Prepared,
    callback: RunCallback,
    runs: Sequence[tuple[_Training, Fitted]],
    world: Ranks,
) -> Fitted:
    """The trainings one after the other, and their mean, which is in the model, as one more step."""
    points, health, steps, epochs = [runs[0][1].history[0]], list(runs[0][1].health[:1]), 0, 0.0
    for one, run in runs:
        points += [
            dataclasses.replace(p, step=steps + p.step, epoch=epochs + p.epoch, of=one.title) for p in run.history[1:]
        ]
        health += [dataclasses.replace(h, step=steps + h.step, epoch=epochs + h.epoch) for h in run.health[1:]]
        steps, epochs = steps + run.steps, epochs + run.history[-1].epoch
    evaluator = SimilarityEvaluator(prepared.inputs.select.dataset, log_file=folder / train.SCORED)
    (found,) = evaluator(
        prepared.model, output_path=str(folder) if world.first else None, epoch=epochs, steps=steps + 1
    ).values()
    own = sum(run.history[-1].epoch for one, run in runs if not one.branch)  # passes over the run's own rows
    mean = Checkpoint(step=steps + 1, epoch=own, spearman=None if math.isnan(found) else found, of=AVERAGE)
    looked = callback.look(prepared.model, mean.step, epochs)
    health += [looked] if looked else []
    refused = {mean.step} if plan.recipe.on_collapse == "stop" and looked and harm(looked, health[0]) else set()
    seconds = {name: sum(run.seconds[name] for _, run in runs) for name in runs[0][1].seconds}
    seconds["of it scores"] += evaluator.seconds
    return Fitted(
        history=(*points, mean),
        best=train.best([points[0], mean], refused),
        steps=steps,
        final_loss=[run.final_loss for one, run in runs if not one.branch][-1],
        stopped="; ".join(f"{one.title}: {run.stopped}" for one, run in runs if run.stopped) or None,
        diverged="; ".join(f"{one.title}: {run.diverged}" for one, run in runs if run.diverged) or None,
        refused=sum(run.refused for _, run in runs),
        health=tuple(health),
        soup=tuple(one.ingredient(run) for one, run in runs),
        seconds=seconds,
    )


def _copy(model: Model) -> Weights:
    return {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}


def _average(several: Sequence[Sequence[Weights]], shares: Sequence[float], base: Weights, left: float) -> Weights:
    """The mean of each group's mean by shares, with what is left to the base, in its types; whole numbers as it has."""

    def of(name: str, value: torch.Tensor) -> torch.Tensor:
        if not value.is_floating_point():
            return value
        means = [torch.stack([weights[name].double() for weights in group]).mean(0) for group in several]
        mean = torch.stack([share * mean for share, mean in zip(shares, means, strict=True)]).sum(0)
        return ((1 - left) * mean + left * value.double()).to(value.dtype)

    return {name: of(name, value) for name, value in base.items()}
