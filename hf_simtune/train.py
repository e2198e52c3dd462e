"""Builds the trainer: the only place that does. And tells what a training's scores were."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import (
    SentenceTransformerTrainingArguments,
    SparseEncoder,
    SparseEncoderTrainingArguments,
)
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sparse_encoder.callbacks.splade_callbacks import SpladeRegularizerWeightSchedulerCallback
from sentence_transformers.sparse_encoder.losses import SpladeLoss
from torch import nn
from transformers import TrainerCallback, TrainerState
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from hf_simtune import checkpoint
from hf_simtune.divergence import StepWatch
from hf_simtune.errors import RunError
from hf_simtune.evaluation.sts import Model, SimilarityEvaluator
from hf_simtune.recipe import Recipe
from hf_simtune.record import Checkpoint
from hf_simtune.schedule import EvaluateEvenly, evaluations
from hf_simtune.trainers import DenseTrainer, SparseTrainer, Trainer

__all__ = [
    "best",
    "build",
    "checkpoints",
    "scored_weights",
    "take_up_end",
]

SCORED = "scored.jsonl"
MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}  # accelerate's names


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
