"""Runs that train nothing, for the tests of sets of runs: a record with made-up scores in a run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import sample_record

from hf_simtune.recipe import Recipe
from hf_simtune.record import Health, RunRecord
from hf_simtune.run_folder import RunFolder
from hf_simtune.run_set import RunSet

__all__ = ["RECIPE", "Done", "FakeRuns", "record_of", "score", "states"]

RECIPE = Recipe(
    name="trial",
    train_data="builtin:sports/pairs:train",
    select_on="builtin:sports/scored:validation",
    report_on="builtin:sports/scored:test",
)


@dataclasses.dataclass(frozen=True)
class Done:
    folder: Path
    record: RunRecord


def record_of(
    recipe: Recipe,
    selection: float | None,
    *,
    report: float = 0.72,
    best_step: int = 10,
    fingerprint: str = "5e1e" * 4,
    health: bool = True,
) -> RunRecord:
    """A record in which the kept checkpoint has this score on the selection rows."""
    record = sample_record.improved()
    evaluations = []
    for evaluation in record.evaluations:
        if evaluation.role == "select":
            tuned = dataclasses.replace(evaluation.tuned, spearman=selection)
            source = dataclasses.replace(evaluation.source, fingerprint=fingerprint)
        else:
            tuned, source = dataclasses.replace(evaluation.tuned, spearman=report), evaluation.source
        evaluations.append(dataclasses.replace(evaluation, tuned=tuned, source=source))
    lies = [
        Health(
            step=step, epoch=0.1 * step, anisotropy=0.02 + a, uniformity=-3.1, effective_rank=80.0, deviation=0.14 + a
        )
        for step, a in ((0, 0.0), (5, 0.01), (10, 0.1 * recipe.temperature * recipe.epochs), (15, 0.5))
    ]
    return dataclasses.replace(
        record,
        name=recipe.name,
        evaluations=tuple(evaluations),
        training=dataclasses.replace(record.training, best_step=best_step),
        health=tuple(lies) if health else (),
    )


class FakeRuns:
    """Stands in for ``tune``.

    Args:
        score: the selection score of a recipe.
        failing: what a recipe's run fails with.
        stop: the number of the start, from 1, that is interrupted after its folder was made.
    """

    def __init__(
        self,
        score: Callable[[Recipe], float | None] = lambda recipe: 0.8,
        *,
        failing: Callable[[Recipe], Exception | None] = lambda recipe: None,
        stop: int | None = None,
    ) -> None:
        self.score, self.failing, self.stop = score, failing, stop
        self.started: list[Recipe] = []
        self.resumed: list[Path] = []
        self.origins: list[tuple[str, Recipe] | None] = []

    def __call__(
        self,
        recipe: Recipe,
        *,
        offline: bool,
        out: Path,
        resume: Path | None,
        publish_examples: bool,
        origin: tuple[str, Recipe] | None,
    ) -> Done:
        self.started.append(recipe)
        self.origins.append(origin)
        folder = RunFolder.unfinished(resume) if resume else RunFolder.create(out, recipe.name, "20260101-000000")
        if resume:
            self.resumed.append(resume)
        folder.plan.write_text("{}", encoding="utf-8")
        if len(self.started) == self.stop:
            raise KeyboardInterrupt
        if error := self.failing(recipe):
            raise error
        record = record_of(recipe, self.score(recipe))
        record.save(folder.record)
        return Done(folder.path, record)


def score(recipe: Recipe) -> float:
    """Highest at temperature 0.1 and 2 epochs."""
    return 0.8 - 0.1 * abs(recipe.temperature - 0.1) + 0.001 * recipe.epochs


def states(made: RunSet) -> list[str]:
    return [cell.state for cell in made.cells]
