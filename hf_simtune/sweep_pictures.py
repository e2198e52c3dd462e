"""The pictures of a sweep: a line of points or a heat map for each thing that is measured of its cells."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from markupsafe import Markup

from hf_simtune import grid_plots, wording
from hf_simtune.run_set import RunSet
from hf_simtune.set_plan import Axis, label
from hf_simtune.set_plan import shown as in_words
from hf_simtune.sweep_figures import Figures, best, figure_text, figures, probes

__all__ = ["Measure", "Picture", "grid_axes", "measures", "pictures"]

COLOURS = "The stronger the colour, the higher."
RINGED = "Ringed: the highest selection score."


@dataclasses.dataclass(frozen=True)
class Picture:
    """One figure of the page with its title and what stands under it."""

    title: str
    figure: Markup
    caption: str


@dataclasses.dataclass(frozen=True)
class Measure:
    """One thing that is shown of every cell."""

    name: str  # of the figure's id
    title: str
    caption: str
    value: Callable[[Figures], float | None]
    text: Callable[[float | None], str]
    base: Callable[[Figures], float | None]
    scale: float = 1.0  # from the value to what is shown


MEASURES = (
    Measure(
        "selection",
        "Spearman x 100 on the selection rows",
        "By this score alone the cells are compared.",
        lambda f: f.selection,
        wording.points,
        lambda f: f.base_selection,
        100.0,
    ),
    Measure(
        "deviation",
        "Spread of the similarities",
        "Standard deviation of the cosine similarities of all pairs of the run's probe sentences. The higher, the "
        "further alike and unlike sentences can lie apart; near 0 the model has collapsed.",
        lambda f: f.spread.deviation,
        figure_text,
        lambda f: f.base_spread.deviation,
    ),
    Measure(
        "anisotropy",
        "Anisotropy",
        "Mean cosine similarity of two different probe sentences. Higher is not better: at 1 every sentence has the "
        "same vector.",
        lambda f: f.spread.anisotropy,
        figure_text,
        lambda f: f.base_spread.anisotropy,
    ),
)


def measures(made: RunSet) -> list[Measure]:
    """What is shown of every cell: the score that chose, the scores that did not, and the spread."""
    first, *others = MEASURES
    return [first, *(_of_probe(title, number) for number, title in enumerate(probes(made), 1)), *others]


def _of_probe(title: str, number: int) -> Measure:
    def value(f: Figures) -> float | None:
        probe = f.probed(title)
        return probe.tuned if probe else None

    def base(f: Figures) -> float | None:
        probe = f.probed(title)
        return probe.base if probe else None

    caption = "This score was not used to choose a cell."
    return Measure(f"probe-{number}", f"Spearman x 100 on {title}", caption, value, wording.points, base, 100.0)


def pictures(made: RunSet) -> list[Picture]:
    """One axis: a line of points for each measure; two: a heat map for each; more: heat maps of the selection score
    over the first two, one for each combination of the others.
    """
    axes = [axis for axis in made.plan.axes if len(axis.values) > 1]
    found = {index: figures(record) for index, record in made.records.items()}
    if not found or not axes:
        return []
    if len(axes) > 2:
        return list(_multiples(made, found))
    made_pictures = []
    for measure in measures(made):
        values = {index: value for index, f in found.items() if (value := measure.value(f)) is not None}
        if not values:
            continue
        draw, colours = (_line, "") if len(axes) == 1 else (_map, " " + COLOURS)
        ringed = f" {RINGED}" if best(made) in values else ""
        made_pictures.append(Picture(measure.title, draw(made, measure, values), measure.caption + colours + ringed))
    return made_pictures


def _line(made: RunSet, measure: Measure, values: dict[int, float]) -> Markup:
    axis = next(axis for axis in made.plan.axes if len(axis.values) > 1)
    where = {index: axis.values.index(made.cells[index].values[axis.field]) for index in values}
    bases = {measure.base(figures(made.records[index])) for index in values}
    base = bases.pop() if len(bases) == 1 else None
    winner = best(made)
    return grid_plots.points(
        f"sweep-{measure.name}",
        {where[index]: measure.scale * value for index, value in values.items()},
        {where[index]: measure.text(value) for index, value in values.items()},
        (axis.field, [in_words(axis.field, value) for value in axis.values]),
        "dashed: the untouched base" if base is not None else "",
        title=measure.title,
        about=_about(made, measure, values),
        level=None if base is None else measure.scale * base,
        chosen=where.get(winner) if winner is not None else None,
    )


def _map(
    made: RunSet,
    measure: Measure,
    values: dict[int, float],
    *,
    name: str = "",
    scale: tuple[float, float] | None = None,
    only: dict[str, Any] | None = None,
) -> Markup:
    """A heat map over the first two axes, of the cells that have the values of ``only``."""
    columns, rows = grid_axes(made)
    shown, where = {}, {}
    for index, cell in enumerate(made.cells):
        if any(cell.values[field] != value for field, value in (only or {}).items()):
            continue
        place = (columns.values.index(cell.values[columns.field]), rows.values.index(cell.values[rows.field]))
        where[index] = place
        if index in values:
            shown[place] = measure.text(values[index])
        else:
            shown[place] = "failed" if cell.state == "failed" else "-"
    winner = best(made)
    return grid_plots.heat_map(
        f"sweep-{measure.name}{name}",
        {where[index]: value for index, value in values.items() if index in where},
        shown,
        (columns.field, [in_words(columns.field, value) for value in columns.values]),
        (rows.field, [in_words(rows.field, value) for value in rows.values]),
        title=measure.title,
        about=_about(made, measure, {index: value for index, value in values.items() if index in where}),
        chosen=where.get(winner) if winner is not None else None,
        scale=scale,
    )


def grid_axes(made: RunSet) -> tuple[Axis, Axis]:
    """The columns and the rows of a heat map: the first two axes, that with more values across."""
    rows, columns = [axis for axis in made.plan.axes if len(axis.values) > 1][:2]
    return (rows, columns) if len(rows.values) > len(columns.values) else (columns, rows)


def _multiples(made: RunSet, found: dict[int, Figures]) -> Iterator[Picture]:
    measure = MEASURES[0]
    values = {index: value for index, f in found.items() if (value := measure.value(f)) is not None}
    others = [axis for axis in made.plan.axes if len(axis.values) > 1][2:]
    if not values:
        return
    scale = (min(values.values()), max(values.values()))
    for number, chosen in enumerate(itertools.product(*(axis.values for axis in others))):
        only = {axis.field: value for axis, value in zip(others, chosen, strict=True)}
        if not any(all(made.cells[index].values[f] == v for f, v in only.items()) for index in values):
            continue
        title = ", ".join(f"{field} {in_words(field, value)}" for field, value in only.items())
        drawn = _map(made, measure, values, name=f"-{number}", scale=scale, only=only)
        winner = best(made)
        here = winner is not None and all(made.cells[winner].values[f] == v for f, v in only.items())
        caption = f"{measure.title}. {COLOURS} The same colours in all of these." + (f" {RINGED}" if here else "")
        yield Picture(title, drawn, caption)


def _about(made: RunSet, measure: Measure, values: dict[int, float]) -> str:
    return " ".join(
        f"{label(made.cells[index].values, made.plan)}: {measure.text(value)}." for index, value in values.items()
    )
