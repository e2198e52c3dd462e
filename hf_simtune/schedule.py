"""When a run scores, saves and stops."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_simtune.recipe import Recipe

__all__ = ["LONG", "EvaluateEvenly", "StopWithoutGain", "evaluations", "patience"]

LONG = 10  # epochs beyond which a run stops by itself when it gains nothing
PATIENCE = 5


class EvaluateEvenly(TrainerCallback):
    """Scores and saves at equal distances, the last time after the last step.

    The trainer's own ``eval_steps`` misses the end when it does not divide the number of steps.
    """

    def __init__(self, evaluations: int) -> None:
        self.evaluations = evaluations

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for a score and a checkpoint when one is due."""
        done = state.global_step * self.evaluations // state.max_steps
        before = (state.global_step - 1) * self.evaluations // state.max_steps
        if done > before:
            control.should_log = control.should_evaluate = control.should_save = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """A sampler without duplicates may run out of batches before the last planned step."""
        last_epoch = state.epoch is not None and math.ceil(state.epoch - 1e-9) >= math.ceil(args.num_train_epochs)
        if last_epoch and state.global_step < state.max_steps:
            control.should_log = control.should_evaluate = control.should_save = True


class StopWithoutGain(TrainerCallback):
    """Ends training after so many scores in a row without a better one; a patience of 0 never does.

    It reads the trainer's own log, which a resumed run has too: the libraries' callback starts to count anew.
    """

    def __init__(self, metric: str, patience: int) -> None:
        self.metric = metric
        self.patience = patience
        self.stopped: str | None = None

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for an end when the last scores are no better than the best one before them."""
        if self.look(state):
            control.should_training_stop = True

    def look(self, state: TrainerState) -> bool:
        """Whether a run is to end where it is; one that was interrupted behind its end makes no further step."""
        scores = [float(entry[self.metric]) for entry in state.log_history if self.metric in entry]
        scores = [-math.inf if math.isnan(value) else value for value in scores]
        best = max(range(len(scores)), key=lambda i: (scores[i], -i), default=0)
        if 0 < self.patience <= len(scores) - 1 - best and state.global_step < state.max_steps:
            self.stopped = (
                f"no better score in {self.patience} evaluations, at step {state.global_step} of {state.max_steps}"
            )
        return self.stopped is not None


def evaluations(recipe: Recipe) -> int:
    """How often a recipe scores the selection rows: ten times, or once an epoch if that is more."""
    return recipe.evaluations or max(10, math.ceil(recipe.epochs))


def patience(recipe: Recipe) -> int:
    """After how many scores without a better one a recipe stops; 0: never."""
    return recipe.patience if recipe.patience is not None else PATIENCE if recipe.epochs > LONG else 0
