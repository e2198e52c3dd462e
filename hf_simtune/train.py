"""Builds the trainer: the only place that does. And tells what a training's scores were."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import (
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
    SparseEncoder,
    SparseEncoderTrainer,
    SparseEncoderTrainingArguments,
)
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sparse_encoder.callbacks.splade_callbacks import SpladeRegularizerWeightSchedulerCallback
from sentence_transformers.sparse_encoder.losses import SpladeLoss
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerState
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from hf_simtune import checkpoint
from hf_simtune.adapters import attached, restore
from hf_simtune.divergence import StepWatch
from hf_simtune.errors import RunError
from hf_simtune.evaluation.sts import Model, SimilarityEvaluator
from hf_simtune.recipe import Recipe
from hf_simtune.record import Checkpoint
from hf_simtune.schedule import EvaluateEvenly, evaluations
from hf_simtune.unwritten import UnwrittenError, writing

__all__ = [
    "Trainer",
    "best",
    "build",
    "checkpoints",
    "given_back",
    "scored_weights",
    "take_up_end",
]

SCORED = "scored.jsonl"
MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}  # accelerate's names
log = logging.getLogger("hf_simtune")


class Quiet:
    """A trainer without the libraries' card: that one shows training rows and asks the Hub; ours does neither."""

    model: Any
    args: Any
    state: Any
    control: Any
    accelerator: Any
    lr_scheduler: Any
    steps: StepWatch | None = None  # sees every step before it is made
    batch_loss = 0.0  # of the present batch
    checkpoint_seconds = 0.0

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add none."""

    def training_step(self, *inputs: Any, **options: Any) -> Tensor:
        """Forward and backward; the loss is kept for ``_get_grad_norm``."""
        found: Tensor = super().training_step(*inputs, **options)  # type: ignore[misc]
        self.batch_loss = float(found)
        return found

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> float:
        """The last look before the weights change: without a gradient they do not."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[misc]
        value = 0.0 if norm is None else float(norm)
        if self.steps is None:
            return value
        scaled = self.accelerator.scaler is not None
        losses = self.accelerator.gather(torch.tensor([self.batch_loss], device=self.args.device))
        loss = next((value for value in losses.tolist() if not math.isfinite(value)), self.batch_loss)
        step, rate = self.state.global_step + 1, self.lr_scheduler.get_last_lr()[0]
        if not self.steps.allows(loss, value, step, rate, scaled=scaled) and not scaled:
            model.zero_grad(set_to_none=True)
        return value

    def _run_epoch(self, **options: Any) -> None:
        """A pass with its own batches; none for a training whose steps are all made.

        Without this a training of part of a pass makes a step more each time that it is taken up behind its last one
        (transformers 5.23), and several processes that go on inside a later pass draw the first one's batches:
        nothing tells the sampler behind accelerate's two wrappers which pass it is (accelerate 1.15).
        """
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        sampler = options["train_dataloader"]
        while (sampler := getattr(sampler, "batch_sampler", None)) is not None:
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(options["epoch"])
        super()._run_epoch(**options)  # type: ignore[misc]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write, seal, and only then take older ones away: at any moment there is a whole one to go on from."""
        start = time.perf_counter()
        folder = Path(self.args.output_dir)
        path = folder / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            checkpoint.clear(path)
        self.accelerator.wait_for_everyone()  # each process writes into it
        try:
            with writing(path.name, folder):
                super()._save_checkpoint(model, trial)  # type: ignore[misc]
                self.accelerator.wait_for_everyone()
                if self.args.should_save:
                    checkpoint.seal(path)
        except UnwrittenError:
            if self.args.should_save:
                checkpoint.clear(path)  # what there is of it takes the room that something else needs
            raise
        if self.args.should_save:
            checkpoint.tidy(folder, path, self.state.best_model_checkpoint)
        self.checkpoint_seconds += time.perf_counter() - start

    def _load_best_model(self) -> None:
        if attached(self.model):
            restore(self.model, Path(self.state.best_model_checkpoint))
        else:
            super()._load_best_model()  # type: ignore[misc]

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        if attached(self.model):
            restore(self.model, Path(checkpoint_path))
        else:
            super()._load_from_checkpoint(checkpoint_path)  # type: ignore[misc]

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        self.model.save_pretrained(str(output_dir or self.args.output_dir), create_model_card=False)


class DenseTrainer(Quiet, SentenceTransformerTrainer):  # type: ignore[misc]
    """For dense models."""


class SparseTrainer(Quiet, SparseEncoderTrainer):  # type: ignore[misc]
    """For sparse encoders."""


Trainer = DenseTrainer | SparseTrainer


def build(
    recipe: Recipe,
    losses: Mapping[str, nn.Module],
    sampler: BatchSamplers,
    precision: str,
    model: Model,
    rows: Mapping[str, Dataset],
    evaluator: SimilarityEvaluator,
    folder: Path,
    callbacks: Sequence[TrainerCallback],
    *,
    steps: StepWatch,
    prompt: str = "",
) -> Trainer:
    """The trainer of a resolved recipe.

    Args:
        recipe: checked; its evaluations are a number.
        losses: by training set.
        sampler: of the batches.
        precision: fp32, bf16 or fp16.
        model: dense or sparse.
        rows: by training set, under the names that the losses have.
        evaluator: of the selection rows.
        folder: takes checkpoints and logs.
        callbacks: beside those that score and save.
        steps: sees each step before it is made; it is one of the callbacks or asked by one.
        prompt: that the model puts before each text when it is scored.
    """
    # The recipe decides, not what `accelerate config` or `accelerate launch --mixed_precision` left behind.
    told = os.environ.get("ACCELERATE_MIXED_PRECISION")
    os.environ["ACCELERATE_MIXED_PRECISION"] = MIXED[precision]
    sparse = isinstance(model, SparseEncoder)
    kind: Any = SparseEncoderTrainingArguments if sparse else SentenceTransformerTrainingArguments
    arguments = kind(
        output_dir=str(folder.resolve()),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup,
        lr_scheduler_type=recipe.scheduler,
        weight_decay=recipe.weight_decay,
        seed=recipe.seed,
        use_cpu=model.device.type == "cpu",
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        activation_checkpointing=recipe.gradient_checkpointing,
        prompts=prompt or None,
        batch_sampler=sampler,
        eval_strategy="steps",
        eval_steps=2**30,  # EvaluateEvenly decides
        save_strategy="steps",
        save_steps=2**30,
        load_best_model_at_end=True,
        metric_for_best_model=evaluator.best_model_key,
        greater_is_better=True,
        logging_steps=10,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    several = len(rows) > 1
    made: Any = SparseTrainer if sparse else DenseTrainer
    trainer: Trainer = made(
        model=model,
        args=arguments,
        train_dataset=DatasetDict(rows) if several else next(iter(rows.values())),
        loss=dict(losses) if several else next(iter(losses.values())),
        evaluator=evaluator,
        callbacks=[*_schedulers(losses.values()), EvaluateEvenly(evaluations(recipe)), *callbacks],
    )
    del os.environ["ACCELERATE_MIXED_PRECISION"]
    if told is not None:
        os.environ["ACCELERATE_MIXED_PRECISION"] = told
    trainer.steps = steps
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    used = str(trainer.accelerator.mixed_precision)
    if used != MIXED[precision] or trainer.accelerator.native_amp != (used != "no"):
        raise RunError(f"the run is to use {precision}, but the trainer was set up for mixed precision {used!r}")
    return trainer


def _schedulers(losses: Iterable[nn.Module]) -> list[TrainerCallback]:
    """SPLADE's regulariser grows from 0 over the first third of the steps; the library adds this one with a warning."""
    return [SpladeRegularizerWeightSchedulerCallback(loss=loss) for loss in losses if isinstance(loss, SpladeLoss)]


@contextmanager
def given_back(model: Model) -> Iterator[None]:
    """Within it a trainer prepares the model; behind it the model is as it was found.

    accelerate wraps a model's forward for mixed precision and marks it as prepared. A next trainer would take the mark
    for the wrapping, which may be gone, and train in fp32; or it would wrap the wrapped forward once more.
    """
    names = ("forward", "_original_forward", "_is_accelerate_prepared")
    before = {name: model.__dict__[name] for name in names if name in model.__dict__}
    try:
        yield
    finally:
        for name in names:
            model.__dict__.pop(name, None)
        model.__dict__.update(before)


def take_up_end(trainer: Trainer, path: Path) -> None:
    """Bring a trainer to where training had ended: its state, and the best weights in its model."""
    trainer.state = checkpoint.state_of(path)
    if trainer.state.best_model_checkpoint:  # none where no score was defined
        trainer._load_best_model()


def _scored(folder: Path) -> dict[int, dict[str, Any]]:
    """What the evaluator wrote, by step; a step that was scored again after a resume counts once, as the last time."""
    path = folder / SCORED
    if not path.is_file():
        return {}
    lines = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue  # cut short by a kill; that step is scored again
        lines[int(line["step"])] = line
    return lines


def scored_weights(folder: Path, step: int) -> str:
    """The hash of the weights that were scored at a step.

    Raises:
        RunError: nothing was scored at that step.
    """
    lines = _scored(folder)
    if step not in lines:
        raise RunError(f"step {step} was chosen, but no score of it is on record in {SCORED}")
    return str(lines[step]["weights"])


def checkpoints(folder: Path, base: float | None, state: TrainerState) -> tuple[Checkpoint, ...]:
    """The selection scores by step, the untouched base as step 0, with the mean loss in between."""
    logged = [(int(entry["step"]), float(entry["loss"])) for entry in state.log_history if "loss" in entry]
    means = {
        step: (step - before, loss)
        for before, (step, loss) in zip([0, *(at for at, _ in logged)], logged, strict=False)
    }
    found = [Checkpoint(step=0, epoch=0.0, spearman=base)]
    for step, line in sorted(_scored(folder).items()):
        if step > state.global_step:
            continue
        since = [mean for at, mean in means.items() if found[-1].step < at <= step and math.isfinite(mean[1])]
        steps = sum(count for count, _ in since)
        loss = sum(count * value for count, value in since) / steps if steps else None
        found.append(Checkpoint(step=step, epoch=round(line["epoch"], 4), spearman=line["spearman"], loss=loss))
    return tuple(found)


def best(history: Sequence[Checkpoint], refused: Collection[int] = ()) -> Checkpoint:
    """The checkpoint with the best selection score, the earliest of equals; step 0 is the base.

    ``refused`` are steps that do not count, whatever they scored.
    """
    known = [point for point in history if point.spearman is not None and point.step not in refused]
    return max(known, key=lambda point: (point.spearman, -point.step), default=history[0])
