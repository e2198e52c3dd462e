"""What was trained, on what, how long: a run's facts for its record."""

from __future__ import annotations

import numpy as np
from transformers import TrainerState

from hf_simtune.loss_table import LOSSES
from hf_simtune.preparing import Prepared
from hf_simtune.record import Checkpoint, Training
from hf_simtune.run_folder import Plan

__all__ = ["training"]


def training(
    plan: Plan,
    prepared: Prepared,
    state: TrainerState,
    history: tuple[Checkpoint, ...],
    best_step: int,
    stopped: str | None,
    forward_reason: str,
    seconds: float,
) -> Training:
    """What was trained, on what, how long."""
    recipe = plan.recipe
    losses_seen = [float(entry["loss"]) for entry in state.log_history if "loss" in entry]
    return Training(
        source=prepared.inputs.train.source,
        rows=len(prepared.texts),
        loss=plan.loss,
        temperature=recipe.temperature if LOSSES[plan.loss].temperature else None,
        epochs=recipe.epochs,
        steps=state.global_step,
        batch_size=recipe.batch_size,
        processes=1,
        precision=plan.precision,
        precision_reason=plan.precision_reason,
        forward=plan.forward,
        forward_reason=forward_reason,
        seconds=round(seconds, 1),
        checkpoints=history,
        best_step=best_step,
        final_loss=losses_seen[-1] if losses_seen and np.isfinite(losses_seen[-1]) else None,
        resumed=plan.starts - 1,
        further=prepared.further,
        mined=prepared.mined,
        parameters=prepared.trainable[0],
        trainable=prepared.trainable[1],
        lora=prepared.lora,
        stopped=stopped,
    )
