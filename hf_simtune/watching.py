"""One model before and after training on the same rows, with a guard in between: what a run and a script share."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_simtune import before_after
from hf_simtune.before_after import Measured, Rows
from hf_simtune.divergence import StepWatch
from hf_simtune.errors import RunError
from hf_simtune.evaluation.compare import withheld
from hf_simtune.evaluation.health import unfit
from hf_simtune.evaluation.reindex import Reindex
from hf_simtune.evaluation.spread import Spread
from hf_simtune.evaluation.sts import Model
from hf_simtune.guard import FEWEST, CollapseGuard
from hf_simtune.record import Evaluation, Health
from hf_simtune.scores_file import RowScores

__all__ = ["BeforeAfter", "Compared"]

log = logging.getLogger("hf_simtune")


@dataclasses.dataclass(frozen=True)
class Compared:
    """Base and tuned model on every set of rows."""

    parts: tuple[RowScores, ...]
    evaluations: tuple[Evaluation, ...]
    spread: Spread | None
    reindex: Reindex | None

    def withheld(self, reason: str) -> Compared:
        """The same scores without a claim: no interval, no verdict, no answer for a probe."""
        evaluations = [
            dataclasses.replace(
                found, comparison=withheld(found.comparison, reason) if found.comparison else None, retrieval=None
            )
            for found in self.evaluations
        ]
        return dataclasses.replace(self, evaluations=tuple(evaluations), spread=None)


class BeforeAfter(TrainerCallback):
    """Scores a model before training, watches it, and compares it with itself afterwards.

    Args:
        rows: scored rows, one set with the role "report" among them.
        on_collapse: "warn", "stop" or "ignore".
        checks: how often the guard looks, where the trainer does not evaluate.
        dimensions: to score the embeddings cut to, beside the whole ones.
        seed: of the bootstraps and the guard's probe.
    """

    def __init__(
        self,
        rows: Sequence[Rows] = (),
        *,
        on_collapse: str = "warn",
        checks: int = 10,
        dimensions: Sequence[int] = (),
        seed: int = 42,
    ) -> None:
        self.rows = tuple(rows)
        self.on_collapse = on_collapse
        self.checks = checks
        self.dimensions = tuple(dimensions)
        self.seed = seed
        self.prompt: str | None = None  # None: the model's own default
        self.before: list[Measured] | None = None
        self.guard: CollapseGuard | None = None
        self.steps = StepWatch()
        self.unclaimed: str | None = None  # why nothing is claimed of what was compared

    def begin(self, model: Model, *, progress: bool = False) -> None:
        """Score the untouched model, and set up the guard on the sentences that are scored."""
        self.set_up_guard()
        self.before = before_after.measure(model, self.rows, dimensions=self.dimensions, progress=progress)

    def set_up_guard(self) -> None:
        """Watch the sentences of the report rows, if there are enough of them."""
        if self.on_collapse == "ignore":
            return
        dataset = next(part.loaded.dataset for part in self.rows if part.role == "report")
        probed = list(dict.fromkeys([*dataset["sentence1"], *dataset["sentence2"]]))
        if len(probed) < FEWEST:
            log.warning("%d sentences are too few to watch for collapse: it takes %d", len(probed), FEWEST)
            return
        self.guard = CollapseGuard(probed, on_collapse=self.on_collapse, checks=self.checks, seed=self.seed)
        self.guard.steps = self.steps

    def compare(
        self,
        model: Model | None,
        similarity: str,
        *,
        step: int | None = None,
        health: Sequence[Health] | None = None,
        progress: bool = False,
    ) -> Compared:
        """The untouched model against this one; no claim is made where training diverged or the vectors collapsed.

        Args:
            model: None for the untouched one itself.
            similarity: by which its vectors are compared.
            step: that it is of; if that was not measured, or is None, the guard measures how its vectors lie.
            health: of all the training, the base first; None: what the guard has measured.
            progress: whether to show bars.
        """
        if self.before is None:
            raise RunError("nothing was scored before training: there is nothing to compare with")
        after = self.before
        if model is not None:
            after = before_after.measure(
                model, self.rows, dimensions=self.dimensions, prompt=self.prompt, progress=progress
            )
        parts, evaluations = [], []
        spread: Spread | None = None
        index: Reindex | None = None
        for rows, one, other in zip(self.rows, self.before, after, strict=True):
            part, evaluation = before_after.evaluation(rows, one, other, similarity=similarity, seed=self.seed)
            parts.append(part)
            evaluations.append(evaluation)
            if rows.role == "report":
                spread, index = before_after.geometry(rows, one, other, seed=self.seed)
        compared = Compared(tuple(parts), tuple(evaluations), spread, index)
        self.unclaimed = self._unclaimed(model, step, self.health if health is None else health)
        return compared.withheld(self.unclaimed) if self.unclaimed else compared

    def _unclaimed(self, model: Model | None, step: int | None, health: Sequence[Health]) -> str | None:
        """Why nothing may be claimed of this training; None where something may."""
        if self.steps.reason:
            return f"training diverged: {self.steps.reason}"
        if model is None or not health:
            return None
        kept = next((found for found in health if found.step == step), None)
        if kept is None and self.guard:
            kept = self.guard.measured_here(model, health[-1].step if step is None else step, health[-1].epoch)
        return unfit(kept, health) if kept else None

    @property
    def _watcher(self) -> CollapseGuard | StepWatch:
        """Who is told of the steps: the guard, which tells the watch that it shares with this, or the watch itself."""
        return self.guard or self.steps

    @property
    def health(self) -> tuple[Health, ...]:
        """What the guard measured, the base first."""
        return tuple(self.guard.history) if self.guard else ()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let the guard measure the base, or take up its history."""
        self._watcher.on_train_begin(args, state, control, **kwargs)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """End a run that has diverged; let the guard look, when it is due."""
        self._watcher.on_step_end(args, state, control, **kwargs)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """See what a script's trainer says of its steps."""
        self._watcher.on_log(args, state, control, logs, **kwargs)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let the guard look, at the end."""
        if self.guard:
            self.guard.on_epoch_end(args, state, control, **kwargs)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Let the guard look at what was just evaluated."""
        if self.guard:
            self.guard.on_evaluate(args, state, control, **kwargs)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let the guard put healthy weights back, if it is to."""
        if self.guard:
            self.guard.on_train_end(args, state, control, **kwargs)
