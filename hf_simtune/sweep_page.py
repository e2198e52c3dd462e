"""A sweep in words and as a page: the table of its cells, the result, and how to read them."""

from __future__ import annotations

import dataclasses

from hf_simtune import wording
from hf_simtune.evaluation.compare import power_sentence, verdict_sentence
from hf_simtune.evaluation.health import unclaimed
from hf_simtune.report_text import minus, templates
from hf_simtune.run_set import RunSet
from hf_simtune.set_plan import label, shown
from hf_simtune.sweep_figures import NOT_MEASURED, best, figure_text, figures, probes, same_rows
from hf_simtune.sweep_pictures import pictures

__all__ = ["Said", "plan_said", "said", "write"]

STATES = {"waiting": "not run yet", "running": "stopped in the middle", "failed": "failed", "done": ""}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Said:
    """A table with what is said before and after it."""

    before: tuple[str, ...]
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int  # how many of the columns, from the left, hold words
    after: tuple[str, ...]


def heading(made: RunSet) -> str:
    """What was swept over, and how far it has come."""
    axes = [axis for axis in made.plan.axes if len(axis.values) > 1]
    size = 1
    for axis in axes:
        size *= len(axis.values)
    over = " x ".join(f"{axis.field} ({len(axis.values)})" for axis in axes)
    states = [cell.state for cell in made.cells]
    planned = made.plan.trials or size
    told = [f"{states.count('done')} of {wording.count(planned, 'run')} finished"]
    if failed := states.count("failed"):
        told.append(f"{failed} failed")
    search = f"; a search looks at {planned} of {size} cells" if made.plan.trials else ""
    return f"{over}: {', '.join(told)}{search}"


def plan_said(made: RunSet, command: str) -> Said:
    """What a sweep would run, before it does."""
    axes = made.plan.axes
    planned = made.plan.trials or len(made.cells)
    runs = wording.count(planned, "run")
    search = f", of {len(made.cells)} cells, as a search picks them" if made.plan.trials else ""
    return Said(
        before=(f"sweep of {made.plan.recipe.name}: {runs}{search}",),
        head=("run" if not made.plan.trials else "cell", *(axis.field for axis in axes)),
        rows=tuple(
            (str(number), *(shown(axis.field, cell.values[axis.field]) for axis in axes))
            for number, cell in enumerate(made.cells, 1)
        ),
        words=1 + len(axes),
        after=("Every cell is in order; nothing was loaded or run. To run it:", f"  {command}"),
    )


def said(made: RunSet) -> Said:
    """The table of the cells, best selection score first, and the result."""
    axes = [axis.field for axis in made.plan.axes]
    winner, known = best(made), probes(made)
    rows = []
    for index in _order(made):
        cell = made.cells[index]
        values = [shown(field, cell.values[field]) for field in axes]
        if index in made.records:
            f = figures(made.records[index])
            change = (
                "-"
                if f.selection is None or f.base_selection is None
                else wording.signed(f.selection - f.base_selection)
            )
            if index == winner:
                note = "highest selection score"
            else:
                note = ", ".join(f.findings) or ("kept the base" if f.best_step == 0 else "")
            probed = [f.probed(title) for title in known]
            further = [NOT_MEASURED if probe is None else wording.points(probe.tuned) for probe in probed]
            lies = [figure_text(figure) for figure in (f.spread.deviation, f.spread.anisotropy, f.spread.uniformity)]
            scores = (wording.points(f.selection), change, *further)
            rows.append((*values, *scores, *lies, wording.duration(f.seconds), note))
        else:
            rows.append((*values, *["-"] * (6 + len(known)), STATES[cell.state]))
    return Said(
        before=(f"sweep of {made.plan.recipe.name}, {heading(made)}",),
        head=(
            *axes,
            *("selection", "change", *(f"probe {name}" for name in known.values())),
            *("spread", "anisotropy", "uniformity", "time", ""),
        ),
        rows=tuple(rows),
        words=len(axes),
        after=tuple([*result(made), *notes(made), *failures(made)]),
    )


def _order(made: RunSet) -> list[int]:
    def rank(index: int) -> tuple[bool, float, int]:
        score = figures(made.records[index]).selection if index in made.records else None
        return (score is None, -(score or 0.0), index)

    return sorted(range(len(made.cells)), key=rank)


def result(made: RunSet) -> list[str]:
    """Which cell won, and what its report rows say: the sweep's result."""
    if not made.records:
        return []
    if not same_rows(made):
        return [
            "The cells were scored on different selection rows, so their scores cannot be compared and none has won. "
            "Name fixed rows with --select-on and --report-on."
        ]
    index = best(made)
    if index is None:
        none = "No cell won: nothing that a run kept scored higher on the selection rows than the untouched base"
        unfit = sum(unclaimed(record) is not None for record in made.records.values())
        return [f"{none}, the {unfit} that diverged or collapsed left out." if unfit else f"{none}."]
    record = made.records[index]
    told = [f"Highest selection score: {label(made.cells[index].values, made.plan)}."]
    comparison = record.report.comparison
    if record.base.untrained:
        told.append(f"No verdict: {record.base.untrained} of its base starts from random numbers.")
    elif comparison:
        told.append(f"Its report rows ({record.report.source.title}): {verdict_sentence(comparison)}")
        if power := power_sentence(comparison):
            told.append(power)
    if record.offline and record.built_in:
        told.append("Offline: these scores are on the built-in sports corpus and do not stand for STSb.")
    return told


def notes(made: RunSet) -> list[str]:
    """How to read the table."""
    if not made.records:
        return []
    told = ["Cells were compared on the selection rows only. Do not pick a cell by the verdict of its own report."]
    if best(made) is not None and len(made.records) > 1:
        told[0] += (
            f" The highest of {len(made.records)} scores is higher than it would be on new rows, the more so the more "
            "cells there are; the report rows of the winner, which chose nothing, are the result."
        )
    if known := probes(made):
        told.append(
            f"Probe columns: Spearman x 100 of the kept checkpoint on {', '.join(known)}. They were not used to choose."
        )
    if all(figures(record).spread.anisotropy is None for record in made.records.values()):
        told.append("Spread and anisotropy were not measured in these runs.")
    elif said_of_guard := _guard(made):
        told.append(said_of_guard)
    return told


def _guard(made: RunSet) -> str:
    """What the guard found in the finished cells."""
    found = {index: figures(record).findings for index, record in made.records.items()}
    unhealthy = [label(made.cells[index].values, made.plan) for index, names in found.items() if names]
    if not unhealthy:
        return f"The guard was silent: nothing collapsed in {wording.count(len(found), 'run')}."
    return (
        f"The guard found something in {len(unhealthy)} of {wording.count(len(found), 'run')}: {'; '.join(unhealthy)}."
    )


def failures(made: RunSet) -> list[str]:
    """Which cells failed, and why."""
    return [
        f"{label(made.cells[index].values, made.plan)} failed: {cell.problem}"
        for index, cell in enumerate(made.cells)
        if cell.state == "failed"
    ]


def write(made: RunSet, command: str) -> None:
    """Write ``sweep.html`` into the sweep's folder: a page that needs no other file, whole or not at all."""
    environment = templates()
    environment.filters["minus"] = minus
    winner = best(made)
    text = environment.get_template("sweep.html.jinja").render(
        name=made.plan.recipe.name,
        heading=heading(made),
        created=made.plan.created,
        offline=made.plan.offline and any(record.built_in for record in made.records.values()),
        winner=label(made.cells[winner].values, made.plan) if winner is not None else None,
        report=f"{made.cells[winner].run}/report.html" if winner is not None else None,
        again=made.records[winner].command if winner is not None else None,
        result=result(made),
        notes=notes(made),
        failures=failures(made),
        pictures=pictures(made),
        said=said(made),
        best_row=None if winner is None else _order(made).index(winner),
        command=command,
        resume=any(cell.state != "done" for cell in made.cells)
        or (made.plan.trials is not None and len(made.cells) < made.plan.trials),
        folder=made.folder.name,
    )
    made.write_page(text)
