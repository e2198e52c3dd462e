"""When a run scores, saves and stops."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_simtune.ranks import Ranks
from hf_simtune.recipe import Recipe
from hf_simtune.stopping import Stop, Stopped

__all__ = ["LONG", "EvaluateEvenly", "StopWhenAsked", "StopWithoutGain", "evaluations", "patience", "warmup"]

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
        if last_epoch and state.global_step < state.max_steps and not control.should_training_stop:
            control.should_log = control.should_evaluate = control.should_save = True


class StopWithoutGain(TrainerCallback):
    """Ends training after so many scores in a row without a better one; a patience of 0 never does.

    Scores from the warm-up do not count against a run: next to nothing has been learnt at so low a rate. It reads the
    trainer's own log, which a resumed run has too: the libraries' callback starts to count anew.

    Args:
        metric: name of the score in the log.
        patience: scores.
        warmup: share of the steps in which the learning rate rises, 0 to below 1.
    """

    def __init__(self, metric: str, patience: int, warmup: float = 0.0) -> None:
        self.metric = metric
        self.patience = patience
        self.warmup = warmup
        self.stopped: str | None = None

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for an end when the last scores are no better than the best one before them."""
        if self.look(state):
            control.should_training_stop = True

    def look(self, state: TrainerState) -> bool:
        """Whether a run is to end where it is; one that was interrupted behind its end makes no further step."""
        entries = [entry for entry in state.log_history if self.metric in entry]
        scores = [-math.inf if math.isnan(value := float(entry[self.metric])) else value for entry in entries]
        best = max(range(len(scores)), key=lambda i: (scores[i], -i), default=0)
        warm = sum(entry["step"] <= math.ceil(self.warmup * state.max_steps) for entry in entries) if self.warmup else 0
        if 0 < self.patience <= len(scores) - max(best + 1, warm) and state.global_step < state.max_steps:
            self.stopped = (
                f"no better score in {self.patience} evaluations, at step {state.global_step} of {state.max_steps}"
            )
        return self.stopped is not None


class StopWhenAsked(TrainerCallback):
    """Ends training at a step's end, with a checkpoint, when it was asked to stop.

    It asks for no score: one more than planned would be one more to choose from, and a resumed run would not be the
    same. It leaves by an exception, behind which the trainer neither restores nor tells anything.

    Args:
        stop: whether it was asked.
        world: its processes, which have to stop at the same step.
    """

    def __init__(self, stop: Stop, world: Ranks) -> None:
        self._stop, self._world = stop, world
        self._number: int | None = None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for a checkpoint, and for the loss so far, which is not in it."""
        self._number = self._world.highest(self._stop.asked)
        if control.should_training_stop and not control.should_save:
            self._number = None  # it ends here by itself, at a step that is not to be kept
        if self._number is not None:
            control.should_log = control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Leave, now that it is written.

        Raises:
            Stopped: it was asked for.
        """
        if self._number is not None:
            raise Stopped(self._number, state.global_step)


def evaluations(recipe: Recipe) -> int:
    """How often a recipe scores the selection rows: ten times, or once an epoch if that is more."""
    return recipe.evaluations or max(10, math.ceil(recipe.epochs))


def warmup(recipe: Recipe) -> float:
    """The share of the steps in which the learning rate rises; a constant one does not."""
    return 0.0 if recipe.scheduler == "constant" else recipe.warmup


def patience(recipe: Recipe) -> int:
    """After how many scores without a better one a recipe stops; 0: never."""
    return recipe.patience if recipe.patience is not None else PATIENCE if recipe.epochs > LONG else 0
