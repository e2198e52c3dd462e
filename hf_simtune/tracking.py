"""What trackers are told of a run: the Trainer's own log, and the scores before and after."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import TensorBoardCallback, get_reporting_integration_callbacks

from hf_simtune.record import Evaluation

__all__ = ["Tracking", "scores"]

FOLDER = "tensorboard"  # in that of the trainer


class Tracking(TrainerCallback):
    """Hands what happens in the trainings of a run to trackers, which end when the run has told its last scores.

    They hear the arguments of a training without the place of the run's folder, and nothing of its rows.

    Args:
        names: of trackers, as the Trainer has them.
        title: of the run.
        folder: of the trainer, for what is kept on this machine.
        before: scores of the untouched base by name, as far as they are defined.
    """

    def __init__(self, names: Sequence[str], title: str, folder: Path, before: Mapping[str, float | None]) -> None:
        self.names, self.title, self.folder, self.before = names, title, folder.resolve(), before
        self._open: list[TrainerCallback] = []
        self._heard: tuple[TrainingArguments, TrainerState, TrainerControl] | None = None
        self._part = Path()  # of the folder, where several trainings have one each

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the trackers; those of a training before this one end."""
        self.end()
        self._part = Path(str(args.output_dir)).resolve().relative_to(self.folder)
        told = copy.copy(args)
        told.run_name = f"{self.title} {self._part}" if self._part.name else self.title
        told.output_dir = Path(str(args.output_dir)).name
        self._heard = (told, state, control)
        self._begin()
        if state.global_step == 0:
            self.on_log(args, state, control, logs={name: one for name, one in self.before.items() if one is not None})

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Hand on what the trainer logs: loss, learning rate, scores on the selection rows."""
        if self._heard is None:
            return
        self._heard = (self._heard[0], state, control)
        for tracker in self._open:
            tracker.on_log(*self._heard, logs=dict(kwargs.get("logs") or {}))

    def conclude(self, evaluations: Sequence[Evaluation]) -> None:
        """Tell the scores before and after, at the last step; of several trainings, beside them."""
        if self._heard is None:
            return
        told, state, control = self._heard
        if self._part.name:
            self.end()
            self._part, told.run_name = Path(), self.title
            self._begin()
        self.on_log(told, state, control, logs=scores(evaluations))

    def end(self) -> None:
        """Close the trackers."""
        while self._open and self._heard:
            self._open.pop(0).on_train_end(*self._heard)

    def _begin(self) -> None:
        for kind in get_reporting_integration_callbacks(list(self.names)):
            tracker = kind()
            if isinstance(tracker, TensorBoardCallback) and tracker.logging_dir is None:
                tracker.logging_dir = str(self.folder / FOLDER / self._part)
            self._open.append(tracker)
            if self._heard:
                tracker.on_train_begin(*self._heard)


def scores(evaluations: Sequence[Evaluation]) -> dict[str, float]:
    """Before and after by name: ``eval_report_base``, ``eval_report_tuned``, ``eval_report_change``."""
    found: dict[str, float] = {}
    for one in evaluations:
        name = one.role if one.role in ("report", "select") else re.sub(r"\W+", "_", f"{one.role}_{one.source.title}")
        base, tuned = one.base.spearman, one.tuned.spearman
        found |= {f"eval_{name}_base": base} if base is not None else {}
        found |= {f"eval_{name}_tuned": tuned} if tuned is not None else {}
        found |= {f"eval_{name}_change": tuned - base} if base is not None and tuned is not None else {}
    return found
