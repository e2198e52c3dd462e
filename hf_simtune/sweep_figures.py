"""What a sweep knows of each cell: its scores and how its model spreads sentences; and which cell won."""

from __future__ import annotations

import dataclasses
from typing import Any

from hf_simtune.evaluation.health import unclaimed
from hf_simtune.record import Evaluation, RunRecord
from hf_simtune.run_set import RunSet

__all__ = [
    "Figures",
    "Probed",
    "Spread",
    "best",
    "competing",
    "figure_text",
    "figures",
    "probes",
    "same_rows",
    "selection",
    "spread",
]

NOT_MEASURED = "not measured"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread:
    """How a model's embeddings of a run's probe sentences lie; None where it was not measured or is undefined."""

    anisotropy: float | None = None  # mean cosine of two different sentences, -1..1
    deviation: float | None = None  # standard deviation of these cosines, 0..1
    uniformity: float | None = None  # -8..0, lower is more even


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probed:
    """Spearman on the rows of one probe, -1..1, of the untouched base and of the checkpoint that was kept."""

    title: str  # of the rows
    base: float | None
    tuned: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """One finished cell. Nothing of its report rows: cells are not compared on them."""

    def probed(self, title: str) -> Probed | None:
        """Its scores on the probe of that title; None where it has none."""
        return next((probe for probe in self.probes if probe.title == title), None)

    base_selection: float | None  # Spearman of the untouched base on the selection rows, -1..1
    selection: float | None  # of the checkpoint that was kept
    best_step: int  # 0: the base itself
    probes: tuple[Probed, ...]  # chose nothing
    base_spread: Spread
    spread: Spread
    findings: tuple[str, ...]  # of the guard at any step: "collapsed", ...
    seconds: float  # the whole run


def figure_text(value: float | None) -> str:
    """A figure of the spread with three decimals."""
    return NOT_MEASURED if value is None else f"{round(value, 3) + 0.0:.3f}"


def _select(record: RunRecord) -> Evaluation | None:
    return next((evaluation for evaluation in record.evaluations if evaluation.role == "select"), None)


def selection(record: RunRecord) -> float | None:
    """The score by which cells are compared: Spearman on the selection rows; None where it is undefined."""
    evaluation = _select(record)
    return evaluation.tuned.spearman if evaluation else None


def spread(record: RunRecord, step: int | None = None) -> Spread:
    """How the model of one step spreads the run's probe sentences, as the run's guard measured it.

    Args:
        record: of the run.
        step: 0 for the untouched base; by default the step that was kept.
    """
    wanted = record.training.best_step if step is None else step
    found = [health for health in record.health if health.step == wanted]
    if not found:
        return Spread()
    last = found[-1]
    return Spread(anisotropy=last.anisotropy, deviation=last.deviation, uniformity=last.uniformity)


def figures(record: RunRecord) -> Figures:
    """What tables, pictures and ``sweep.json`` show of a finished cell."""
    evaluation = _select(record)
    phases = {name: value for name, value in record.seconds.items() if not name.startswith("of it")}
    return Figures(
        base_selection=evaluation.base.spearman if evaluation else None,
        selection=selection(record),
        best_step=record.training.best_step,
        probes=tuple(
            Probed(title=one.source.title, base=one.base.spearman, tuned=one.tuned.spearman)
            for one in record.evaluations
            if one.role == "probe"
        ),
        base_spread=spread(record, 0),
        spread=spread(record),
        findings=tuple(dict.fromkeys(finding for health in record.health for finding in health.findings)),
        seconds=round(sum(phases.values()), 1),
    )


def probes(made: RunSet) -> dict[str, str]:
    """The probes that finished cells were scored on, by title, each with a short name for a column."""
    titles = [probe.title for record in made.records.values() for probe in figures(record).probes]
    short = {title: title.removeprefix("builtin:").rpartition("/")[2] for title in dict.fromkeys(titles)}
    alone = [name for name in short.values() if list(short.values()).count(name) == 1]
    return {title: name if name in alone else title for title, name in short.items()}


def same_rows(made: RunSet) -> bool:
    """Whether every finished cell was scored on the same selection rows; else their scores cannot be compared."""
    found: set[Any] = set()
    for record in made.records.values():
        evaluation = _select(record)
        found.add(evaluation.source.fingerprint if evaluation else None)
    return len(found) < 2


def competing(made: RunSet) -> dict[int, float]:
    """The selection scores of the cells that may win: those that have one, and of which something may be claimed."""
    return {
        index: score
        for index, record in made.records.items()
        if (score := selection(record)) is not None and unclaimed(record) is None
    }


def best(made: RunSet) -> int | None:
    """The cell with the highest selection score, the first of equals.

    A cell that diverged or collapsed wins nothing. None where no cell is finished, no score is defined, the cells were
    scored on different rows, or the highest score is that of an untouched base.
    """
    if not same_rows(made):
        return None
    found = [(score, made.records[index].training.best_step > 0, -index) for index, score in competing(made).items()]
    if not found:
        return None
    _, tuned, place = max(found)
    return -place if tuned else None
