"""How long a training took, over all of its starts."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_simtune import whole

__all__ = ["FILE", "Stopwatch"]

FILE = "seconds.json"
log = logging.getLogger("hf_simtune")


class Stopwatch(TrainerCallback):
    """Counts seconds, and keeps them beside each checkpoint, so that a resumed training counts on from there.

    What was done between the last checkpoint and a kill is done again, and counted once.

    Args:
        folder: of the checkpoints.
        shares: seconds of this start by what they were spent on, beside "train", which is counted here.
    """

    def __init__(self, folder: Path, shares: Callable[[], dict[str, float]]) -> None:
        self._path, self._shares = folder / FILE, shares
        self._before: dict[str, float] = {}
        self._start = time.perf_counter()

    def go_on_from(self, step: int) -> None:
        """Count on from the checkpoint of a step."""
        whole.forget(self._path)  # a training that is at its end writes it no more
        kept = self._kept()
        if str(step) not in kept:
            log.warning("the time that training took up to step %d is not known and not counted", step)
        self._before = kept.get(str(step), {})

    def seconds(self) -> dict[str, float]:
        """Since the first start: "train", and of it the shares."""
        now = {"train": time.perf_counter() - self._start, **self._shares()}
        return {name: value + self._before.get(name, 0.0) for name, value in now.items()}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """This start begins."""
        self._start = time.perf_counter()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A checkpoint was written."""
        whole.write_text(self._path, json.dumps(self._kept() | {str(state.global_step): self.seconds()}))

    def _kept(self) -> dict[str, dict[str, float]]:
        if not self._path.is_file():
            return {}
        try:
            kept: dict[str, dict[str, float]] = json.loads(self._path.read_text(encoding="utf-8"))
        except ValueError:
            return {}  # cut short by a kill
        return kept
