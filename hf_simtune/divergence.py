"""What each step of a training tells of itself: a loss or gradient that is no number, a gradient that explodes."""

from __future__ import annotations

import dataclasses
import logging
import math
from statistics import median
from typing import Any, cast

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

__all__ = ["Diverged", "StepWatch"]

log = logging.getLogger("hf_simtune")

KEY = "hf_simtune.gradients"  # of the norms in a checkpoint's trainer_state.json
LATEST = 100  # norms that the usual one is the median of
FEWEST = 10  # steps before a norm is usual
WAYS = (
    "Try a lower learning rate or a longer warm-up (--learning-rate, --warmup), --precision fp32, or another loss; "
    "a row that is unlike the others can do it too"
)


@dataclasses.dataclass(frozen=True)
class Diverged:
    """The step at which a training had a loss or a gradient that is no number."""

    what: str  # "the loss is NaN", "the gradient is infinite"
    step: int
    rate: float | None  # learning rate

    def __str__(self) -> str:
        at = "" if self.rate is None else f", at a learning rate of {self.rate:.3g}"
        return f"{self.what} at step {self.step}{at}"


@dataclasses.dataclass(frozen=True)
class Norm:
    """The gradient's norm at a step, before it is clipped, and what is usual: the median of the steps before."""

    value: float
    usual: float | None = None  # None: too few steps before

    @property
    def times(self) -> float:
        """How many times the usual one it is; 0 where none is usual."""
        return self.value / self.usual if self.usual else 0.0


class StepWatch(TrainerCallback):
    """Notes when a training diverges, and the largest gradient since somebody asked.

    A trainer of this package shows it each step before the step is made, so that one that is no number never reaches
    the weights, and training ends there. Of a script's trainer it sees what that logs, and changes nothing.

    Attributes:
        every: each divergence that it saw, in all trainings.
        diverged: that of the present or the last training, if any.
    """

    def __init__(self) -> None:
        self.every: list[Diverged] = []
        self.diverged: Diverged | None = None
        self._stops = False  # whether a trainer of this package shows its steps
        self._norms: list[float] = []
        self._largest: Norm | None = None
        self._kept: dict[str, Any] = {}  # what a checkpoint holds of it

    @property
    def reason(self) -> str | None:
        """All divergences in words; None where there was none."""
        return "; ".join(map(str, self.every)) or None

    def allows(self, loss: float, norm: float, step: int, rate: float | None, *, scaled: bool = False) -> bool:
        """Whether a step may be made.

        Args:
            loss: of its batch.
            norm: of the gradient.
            step: counted from 1.
            rate: learning rate.
            scaled: whether the loss is scaled, as in fp16: a gradient that overflows then lowers the scale, and the
                trainer leaves that step out by itself.
        """
        self._stops = True
        return self._seen(loss, norm, step, rate, scaled=scaled)

    def largest(self) -> Norm | None:
        """The largest gradient beside what was usual then, since this was last asked."""
        found, self._largest = self._largest, None
        self._note()
        return found

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin anew, or where the run is taken up."""
        stored = cast(dict[str, Any], state.stateful_callbacks).get(KEY) if state.global_step else None
        self.diverged = None
        self._norms = list(stored["norms"]) if stored else []
        largest = stored.get("largest") if stored else None
        self._largest = Norm(**largest) if largest else None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """End a training of this package that has diverged: what is there now was kept from changing, not trained."""
        self._note()
        cast(dict[str, Any], state.stateful_callbacks)[KEY] = self._kept
        if self._stops and self.diverged:
            control.should_training_stop = True
            control.should_evaluate = control.should_save = False

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Look at what a script's trainer says of its last step."""
        if self._stops or not logs or "grad_norm" not in logs:
            return
        loss, norm, rate = (logs.get(name) for name in ("loss", "grad_norm", "learning_rate"))
        self._seen(
            0.0 if loss is None else float(loss),
            float(cast(float, norm)),
            state.global_step,
            None if rate is None else float(rate),
            scaled=args.fp16,
        )

    def _seen(self, loss: float, norm: float, step: int, rate: float | None, *, scaled: bool) -> bool:
        what = _no_number("loss", loss) or ("" if scaled else _no_number("gradient", norm))
        if what:
            if self.diverged is None:
                self.diverged = Diverged(what, step, rate)
                self.every.append(self.diverged)
                log.warning("%s: nothing will be claimed of this run. %s", self.diverged, WAYS)
            return False
        if math.isfinite(norm):
            usual = median(self._norms) if len(self._norms) >= FEWEST else None
            now = Norm(norm, usual)
            if self._largest is None or (now.times, now.value) > (self._largest.times, self._largest.value):
                self._largest = now
            self._norms = [*self._norms[1 - LATEST :], norm]
            self._note()
        return True

    def _note(self) -> None:
        self._kept |= {"norms": self._norms, "largest": self._largest and dataclasses.asdict(self._largest)}


def _no_number(what: str, value: float) -> str:
    """``the loss is NaN``; empty for a number."""
    if math.isfinite(value):
        return ""
    return f"the {what} is {'NaN' if math.isnan(value) else 'infinite'}"
