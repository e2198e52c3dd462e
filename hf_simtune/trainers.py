"""The trainers of the libraries with what a run needs: whole checkpoints, steps that are numbers, no card of theirs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformerTrainer, SparseEncoderTrainer
from torch import Tensor, nn

from hf_simtune import checkpoint
from hf_simtune.adapters import attached, restore
from hf_simtune.divergence import StepWatch
from hf_simtune.evaluation.sts import Model
from hf_simtune.unwritten import UnwrittenError, writing

__all__ = ["DenseTrainer", "SparseTrainer", "Trainer", "given_back"]


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
