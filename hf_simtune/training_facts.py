"""What was trained, on what, how long: a run's facts for its record."""

from __future__ import annotations

import numpy as np

from hf_simtune.fitting import Fitted
from hf_simtune.loss_table import LOSSES
from hf_simtune.preparing import Prepared
from hf_simtune.record import Training
from hf_simtune.run_folder import Plan

__all__ = ["training"]


def training(plan: Plan, prepared: Prepared, fitted: Fitted) -> Training:
    """What was trained, on what, how long."""
    recipe = plan.recipe
    refused = f"; {fitted.refused} of this start's batches went plain" if fitted.refused else ""
    return Training(
        source=prepared.inputs.train.source,
        rows=len(prepared.texts),
        loss=plan.loss,
        temperature=recipe.temperature if LOSSES[plan.loss].temperature else None,
        epochs=recipe.epochs,
        steps=fitted.steps,
        batch_size=recipe.batch_size,
        processes=prepared.processes,
        across=prepared.across,
        precision=plan.precision,
        precision_reason=plan.precision_reason,
        forward=plan.forward,
        forward_reason=plan.forward_reason + refused,
        seconds=round(fitted.seconds["train"], 1),
        checkpoints=fitted.history,
        best_step=fitted.best.step,
        final_loss=fitted.final_loss if fitted.final_loss is not None and np.isfinite(fitted.final_loss) else None,
        resumed=plan.starts - 1,
        further=prepared.further,
        mined=prepared.mined,
        parameters=prepared.trainable[0],
        trainable=prepared.trainable[1],
        lora=prepared.lora,
        soup=fitted.soup,
        start=prepared.start.facts if prepared.start else None,
        start_spearman=fitted.start,
        stopped=fitted.stopped,
        diverged=fitted.diverged,
    )
