"""One progress bar for a training run, in place of the Trainer's printed dictionaries."""

from __future__ import annotations

import logging
from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

__all__ = ["ProgressBar"]

log = logging.getLogger("hf_simtune")


class ProgressBar(TrainerCallback):
    """Steps done, the loss, and the last selection score; nothing where the output is not a terminal."""

    def __init__(self, metric: str, base: float | None) -> None:
        self.metric = metric
        self.shown = {"select": "undefined" if base is None else f"{100 * base:.2f}"}
        self.bar: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the bar, at the step from which a resumed run goes on."""
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc="train",
            unit="step",
            disable=None if log.isEnabledFor(logging.INFO) else True,
        )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """One step on."""
        self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Show the newest figures."""
        if logs and "loss" in logs:
            self.shown["loss"] = f"{float(logs['loss']):.4f}"
        if logs and self.metric in logs:
            self.shown["select"] = f"{100 * float(logs[self.metric]):.2f}"
            if self.bar.disable:  # no terminal: a line now and then says that the run is alive
                log.info("step %d of %d: %s", state.global_step, state.max_steps, self._words())
        self.bar.set_postfix(self.shown, refresh=False)

    def _words(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.shown.items())

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the bar."""
        self.bar.close()
