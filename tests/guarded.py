"""A training that is watched by a guard, what may befall it there, and what it told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from distributed import pairs
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SparseEncoder,
    SparseEncoderTrainer,
    SparseEncoderTrainingArguments,
)
from sentence_transformers.sentence_transformer import SentenceTransformerTrainingArguments, losses
from sentence_transformers.sparse_encoder import losses as sparse_losses
from speeding import weights
from torch import nn
from transformers import TrainerCallback

from hf_simtune.guard import CollapseGuard

__all__ = [
    "GENTLE",
    "SENTENCES",
    "STEPS",
    "After",
    "Weights",
    "broken",
    "collapse",
    "rows",
    "sparse_trainer_of",
    "splade_loss",
    "steps",
    "trainer_of",
    "warned",
]

SENTENCES = list(dict.fromkeys(pairs()["anchor"]))[:30]
GENTLE = 1e-3  # a learning rate at which the tiny model keeps its shape
STEPS = 6
QUIET: dict[str, Any] = {
    "use_cpu": True,
    "per_device_train_batch_size": 8,
    "report_to": "none",
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
}
SHORT: dict[str, Any] = {
    "max_steps": STEPS,
    "learning_rate": GENTLE,
    "save_strategy": "no",
    "logging_strategy": "no",
    "lr_scheduler_type": "constant",
}


class Weights(TrainerCallback):
    """Notes the weights after each step, and before the first."""

    def __init__(self) -> None:
        self.at: dict[int, torch.Tensor] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.at[state.global_step] = weights(kwargs["model"])

    on_step_end = on_train_begin


class After(TrainerCallback):
    """Does something to the model at the end of a step, before the guard looks."""

    def __init__(self, step: int, act: Callable[[nn.Module, Any], None]) -> None:
        self.step, self.act = step, act

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            self.act(kwargs["model"], control)


def collapse(model: nn.Module, control: Any = None) -> None:
    """One vector for every sentence, as far as the last layer decides."""
    last = model[0].auto_model.encoder.layer[-1].output.LayerNorm
    with torch.no_grad():
        last.weight.mul_(1e-3)
        last.bias.fill_(1.0)


def broken(model: nn.Module, control: Any = None) -> None:
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))


def rows(score: float | None = None) -> Dataset:
    found = pairs().rename_columns({"anchor": "sentence1", "positive": "sentence2"})
    return found.add_column("score", [score if score is not None else i / len(found) for i in range(len(found))])


def trainer_of(
    model: SentenceTransformer, out: Path, callbacks: list[Any], data: Dataset | None = None, **options: Any
) -> SentenceTransformerTrainer:
    evaluates = options.get("eval_strategy", "no") != "no"
    held_out = options.pop("eval_dataset", rows() if evaluates else None)
    loss = options.pop("loss", losses.CoSENTLoss)(model)
    settings = SHORT | options
    arguments = SentenceTransformerTrainingArguments(output_dir=str(out), **QUIET, **settings)
    return SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=data or rows(),
        eval_dataset=held_out,
        loss=loss,
        callbacks=callbacks,
    )


def sparse_trainer_of(
    model: SparseEncoder, out: Path, callbacks: list[Any], loss: nn.Module, **options: Any
) -> SparseEncoderTrainer:
    arguments = SparseEncoderTrainingArguments(output_dir=str(out), **QUIET, **(SHORT | options))
    return SparseEncoderTrainer(model=model, args=arguments, train_dataset=rows(), loss=loss, callbacks=callbacks)


def splade_loss(model: SparseEncoder, regularizer: float = 1e-3) -> nn.Module:
    return sparse_losses.SpladeLoss(
        model,
        loss=sparse_losses.SparseMultipleNegativesRankingLoss(model),
        document_regularizer_weight=regularizer,
        query_regularizer_weight=regularizer,
    )


def steps(guard: CollapseGuard) -> list[int]:
    return [health.step for health in guard.history]


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record for record in caplog.records if record.name == "hf_simtune"]
    return [record.getMessage() for record in found if record.levelno >= logging.WARNING]
