"""What a run asks of before and after, beside what scripts have."""

from __future__ import annotations

import dataclasses

import numpy as np

from hf_simtune import before_after
from hf_simtune.before_after import Measured, Rows
from hf_simtune.data.inputs import Inputs
from hf_simtune.evaluation.compare import compare, withheld
from hf_simtune.evaluation.health import harm
from hf_simtune.evaluation.sts import Model, score
from hf_simtune.preparing import load_base
from hf_simtune.recipe import Recipe
from hf_simtune.record import DENSE, DenseBelow, Evaluation, Health
from hf_simtune.schedule import evaluations
from hf_simtune.scores_file import RowScores
from hf_simtune.starting import Start
from hf_simtune.watching import BeforeAfter, Compared

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
        return _spearman(self.rows[number], self.before[number])

    def beside_dense(
        self, recipe: Recipe, compared: Compared, *, progress: bool = False
    ) -> tuple[RowScores, DenseBelow] | None:
        """The tuned sparse encoder against the untouched dense model that its autoencoder was put on.

        None for a run that puts no autoencoder on anything.
        """
        if recipe.sparse != "csr":
            return None
        model, facts = load_base(dataclasses.replace(recipe, sparse=None))
        number = next(index for index, part in enumerate(self.rows) if part.role == "report")
        (below,) = before_after.measure(model, [self.rows[number]], progress=progress)
        tuned = compared.evaluations[number]
        part = dataclasses.replace(compared.parts[number], role=DENSE, base=below.similarities)
        comparison = compare(part.gold, part.base, part.tuned, part.group, seed=recipe.seed)
        if self.unclaimed:
            comparison = withheld(comparison, self.unclaimed)
        evaluation = Evaluation(
            source=tuned.source,
            role=DENSE,
            similarity=tuned.similarity,
            base=score(part.gold, part.base, below.activity),
            tuned=tuned.tuned,
            comparison=comparison,
        )
        return part, DenseBelow(dimensions=facts.dimensions, evaluation=evaluation)

    def go_on_from(self, start: Start, model: Model) -> float | None:
        """Put a start's weights into the untouched base, which the guard measures first; their score on the rows."""
        if self.guard:
            self.guard.base = self.look(model, 0, 0.0)
        start.put_into(model)
        (select,) = (part for part in self.rows if part.role == "select")
        (measured,) = before_after.measure(model, [select])
        return _spearman(select, measured)

    def look(self, model: Model, step: int, epoch: float) -> Health | None:
        """How a model's vectors lie that no step of the training made; None where no guard is set up."""
        return self.guard.measured(model, step, epoch) if self.guard else None

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


def _spearman(rows: Rows, measured: Measured) -> float | None:
    return score(np.asarray(rows.loaded.dataset["score"], dtype=np.float64), measured.similarities).spearman
