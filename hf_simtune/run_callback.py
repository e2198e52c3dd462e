"""SimtuneCallback as a run uses it: on rows that are loaded, and finished by the run itself."""

from __future__ import annotations

import numpy as np
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_simtune.before_after import Rows
from hf_simtune.callback import SimtuneCallback
from hf_simtune.data.inputs import Inputs
from hf_simtune.evaluation.health import harm
from hf_simtune.evaluation.sts import score
from hf_simtune.recipe import Recipe
from hf_simtune.schedule import evaluations

__all__ = ["RunCallback"]


class RunCallback(SimtuneCallback):
    """The callback as a run uses it: on rows that are loaded, and finished by the run when its model is saved."""

    def __init__(self, recipe: Recipe, inputs: Inputs) -> None:
        super().__init__(recipe.report_on or "sentence-transformers/stsb", seed=recipe.seed)
        self.rows = (
            Rows("report", inputs.report),
            Rows("select", inputs.select),
            *(Rows("probe", loaded) for loaded in inputs.probes),
        )
        self.on_collapse = recipe.on_collapse
        self.checks = evaluations(recipe)
        self.dimensions = recipe.matryoshka or ()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Only the guard: the run goes on from here."""
        if self.guard:
            self.guard.on_train_end(args, state, control, **kwargs)

    def base_score(self, role: str) -> float | None:
        """The untouched model's Spearman on the rows of a role."""
        if self.before is None:
            return None
        number = next(index for index, part in enumerate(self.rows) if part.role == role)
        gold = np.asarray(self.rows[number].loaded.dataset["score"], dtype=np.float64)
        return score(gold, self.before[number].similarities).spearman

    @property
    def stopped(self) -> str | None:
        """Why the guard ended training, if it did."""
        found = self.guard.collapsed if self.guard and self.on_collapse == "stop" else None
        return f"step {found.step} was unhealthy: {', '.join(found.findings)}" if found else None

    def unhealthy(self) -> set[int]:
        """The steps that the guard would not have kept, where it was to stop there."""
        if self.on_collapse != "stop":
            return set()
        return {health.step for health in self.health if harm(health, self.health[0])}
