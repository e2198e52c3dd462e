"""The runs of several models in one table, for the terminal and as a page."""

from __future__ import annotations

from typing import Any

from hf_simtune import flags, wording
from hf_simtune.record import RunRecord
from hf_simtune.report_text import minus, templates
from hf_simtune.run_set import RunSet
from hf_simtune.sweep_figures import figures
from hf_simtune.sweep_page import STATES, Said

__all__ = ["facts", "plan_said", "said", "write"]

HEAD = ("model", "base", "tuned", "change", "95 % interval", "verdict", "selection", "time", "folder")


def facts(record: RunRecord) -> dict[str, Any]:
    """What ``several.json`` holds of a finished run; Spearman correlations -1..1."""
    comparison = record.report.comparison
    return {
        "data": record.report.source.title,
        "rows": record.report.base.n,
        "base": record.report.base.spearman,
        "tuned": record.report.tuned.spearman,
        "low": comparison.low if comparison else None,
        "high": comparison.high if comparison else None,
        "verdict": record.verdict,
        "selection": figures(record).selection,
        "seconds": figures(record).seconds,
    }


def said(made: RunSet) -> Said:
    """The table, in the order in which the models were named."""
    rows = []
    for index, cell in enumerate(made.cells):
        if index not in made.records:
            rows.append((_name(made, index), "-", "-", "-", "-", STATES[cell.state], "-", "-", cell.folder))
            continue
        f = facts(made.records[index])
        known = f["base"] is not None and f["tuned"] is not None
        rows.append(
            (
                _name(made, index),
                wording.points(f["base"]),
                wording.points(f["tuned"]),
                wording.signed(f["tuned"] - f["base"]) if known else "-",
                "-" if f["low"] is None else wording.interval(f["low"], f["high"]),
                f["verdict"],
                wording.points(f["selection"]),
                wording.duration(f["seconds"]),
                str(cell.run),
            )
        )
    return Said(
        before=(heading(made),), head=HEAD, rows=tuple(rows), words=1, after=tuple([*notes(made), *failures(made)])
    )


def plan_said(made: RunSet) -> Said:
    """What would be run, before it is."""
    return Said(
        before=(f"{made.plan.recipe.name}: {wording.count(len(made.cells), 'run')}, one for each model",),
        head=("run", "model", "name"),
        rows=tuple((str(n), cell.values["model"], cell.values["name"]) for n, cell in enumerate(made.cells, 1)),
        words=3,
        after=("Every run is in order; nothing was loaded or run.",),
    )


def heading(made: RunSet) -> str:
    """What was measured on what, and how many of the runs there are."""
    data = dict.fromkeys(f"{r.report.source.title}, {r.report.base.n:,} rows" for _, r in sorted(made.records.items()))
    over = f" on {'; '.join(data)}" if data else ""
    states = [cell.state for cell in made.cells]
    failed = f", {states.count('failed')} failed" if "failed" in states else ""
    return f"Spearman x 100{over}: {states.count('done')} of {wording.count(len(states), 'run')} finished{failed}"


def notes(made: RunSet) -> list[str]:
    """How to read the table."""
    if not made.records:
        return []
    told = [
        "Each verdict is about a tuned model and its own base. To choose among the models, take the selection score: a "
        "model that is chosen by its report score has used up its report rows."
    ]
    sources = {record.report.source.fingerprint for record in made.records.values()}
    if len(sources) > 1:
        told.append("The models were scored on different rows: do not compare their scores with each other.")
    if any(record.offline and record.built_in for record in made.records.values()):
        told.append("Offline: these scores are on the built-in sports corpus and do not stand for STSb.")
    return told


def failures(made: RunSet) -> list[str]:
    """Which runs failed, and why."""
    return [
        f"{_name(made, index)} failed: {cell.problem}"
        for index, cell in enumerate(made.cells)
        if cell.state == "failed"
    ]


def _name(made: RunSet, index: int) -> str:
    """The base as its record calls it; before there is one, what was typed, without a path."""
    if index in made.records:
        return made.records[index].base.name
    return flags.folder_name(made.cells[index].values["model"])


def write(made: RunSet) -> None:
    """Write ``several.html`` into the set's folder: a page that needs no other file, whole or not at all."""
    environment = templates()
    environment.filters["minus"] = minus
    text = environment.get_template("several.html.jinja").render(
        name=made.plan.recipe.name,
        created=made.plan.created,
        offline=made.plan.offline and any(record.built_in for record in made.records.values()),
        heading=heading(made),
        said=said(made),
        notes=notes(made),
        failures=failures(made),
        links={index: f"{cell.run}/report.html" for index, cell in enumerate(made.cells) if index in made.records},
        resume=any(cell.state != "done" for cell in made.cells),
        folder=made.folder.name,
    )
    made.write_page(text)
