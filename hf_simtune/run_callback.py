"""What a run asks of before and after, beside what scripts have."""

from __future__ import annotations

import numpy as np

from hf_simtune.before_after import Rows
from hf_simtune.data.inputs import Inputs
from hf_simtune.evaluation.health import harm
from hf_simtune.evaluation.sts import score
from hf_simtune.recipe import Recipe
from hf_simtune.schedule import evaluations
from hf_simtune.watching import BeforeAfter

__all__ = ["RunCallback"]


class RunCallback(BeforeAfter):
    """Before and after as a run has it: on a recipe's rows, and compared by the run when its model is saved."""

    def __init__(self, recipe: Recipe, inputs: Inputs) -> None:
        super().__init__(
            (
                Rows("report", inputs.report),
                Rows("select", inputs.select),
                *(Rows("probe", loaded) for loaded in inputs.probes),
            ),
            on_collapse=recipe.on_collapse,
            checks=evaluations(recipe),
            dimensions=recipe.matryoshka or (),
            seed=recipe.seed,
        )

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
        return f"{' and '.join(harm(found, self.health[0]))} at step {found.step}" if found else None

    def unhealthy(self) -> set[int]:
        """The steps that the guard would not have kept, where it was to stop there."""
        if self.on_collapse != "stop":
            return set()
        return {health.step for health in self.health if harm(health, self.health[0])}
