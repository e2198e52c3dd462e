"""A finished sweep as a page of Markdown with one picture, for a tree that shows no HTML: the reference sweeps."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from hf_simtune.card_figure import QUIET, RULE, TEXT, TUNED, empty, encoded, short, styled
from hf_simtune.card_text import Markdown, escape, fenced, shell, shown
from hf_simtune.run_set import RunSet
from hf_simtune.set_plan import shown as in_words
from hf_simtune.sweep_figures import Figures, best, figures
from hf_simtune.sweep_page import heading, result, said
from hf_simtune.sweep_pictures import Measure, grid_axes, measures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["picture", "render"]

INCH = 2.6  # height of one heat map
STRONGEST = 0.55  # opacity of the highest value: the figures on it stay legible


def render(made: RunSet, command: str, picture_file: str | None = None) -> str:
    """The result, the picture, the table of the cells, how to read it, and the command.

    Args:
        made: the sweep.
        command: that repeats it.
        picture_file: where the picture lies beside the page, if it has one.
    """
    table = said(made)
    lines = [f"# {escape(f'Sweep of {made.plan.recipe.name}')}", escape(heading(made)) + "."]
    lines += [escape(line, 1000) for line in result(made)]
    if picture_file:
        lines.append(f"![{escape(_seen(made), 2000)}]({picture_file})")
    head = [escape(name) if name else Markdown("") for name in table.head]
    rows = ["| " + " | ".join(head) + " |", "|" + "|".join(["---:"] * (len(head) - 1) + ["---"]) + "|"]
    rows += ["| " + " | ".join(escape(value) for value in row) + " |" for row in table.rows]
    lines.append("\n".join(rows))
    lines += [escape(line, 1000) for line in table.after if line not in result(made)]
    lines += [
        "Base, untouched: " + "; ".join(_base(made)) + ".",
        "To run it again:",
        fenced(shell(command), "bash"),
    ]
    return "\n\n".join(lines) + "\n"


def picture(made: RunSet) -> bytes | None:
    """A heat map for each thing that is measured of the cells, as PNG; None where it has not two axes."""
    found = {index: figures(record) for index, record in made.records.items()}
    if not found or len([axis for axis in made.plan.axes if len(axis.values) > 1]) != 2:
        return None
    drawn = [measure for measure in measures(made) if any(measure.value(f) is not None for f in found.values())]
    lines = -(-len(drawn) // 2)
    with styled():
        figure = empty(INCH * lines, heading(made))
        panels = figure.subplots(lines, 2, squeeze=False).ravel().tolist()
        for axes, measure in zip(panels, drawn, strict=False):
            _heat_map(axes, made, measure, found)
        for axes in panels[len(drawn) :]:
            axes.set_axis_off()
        return encoded(figure)


def _heat_map(axes: Axes, made: RunSet, measure: Measure, found: dict[int, Figures]) -> None:
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    columns, rows = grid_axes(made)
    values = {index: value for index, f in found.items() if (value := measure.value(f)) is not None}
    low, high = min(values.values()), max(values.values())
    colours = np.ones((len(rows.values), len(columns.values), 4))
    colours[..., 3] = 0
    for index, value in values.items():
        cell = made.cells[index].values
        place = (rows.values.index(cell[rows.field]), columns.values.index(cell[columns.field]))
        share = (value - low) / (high - low) if high > low else 0.5
        colours[place] = to_rgba(TUNED, 0.04 + (STRONGEST - 0.04) * share)
        axes.text(place[1], place[0], measure.text(value), ha="center", va="center", color=TEXT, fontsize=9)
        if index == best(made):
            box = Rectangle((place[1] - 0.47, place[0] - 0.46), 0.94, 0.92, fill=False, edgecolor=TEXT, linewidth=1.5)
            axes.add_patch(box)
    axes.imshow(colours, aspect="auto", interpolation="nearest")
    axes.grid(visible=False)
    axes.set_title(textwrap.fill(short(measure.title), 40))
    axes.set_xticks(range(len(columns.values)), [in_words(columns.field, value) for value in columns.values])
    axes.set_yticks(range(len(rows.values)), [in_words(rows.field, value) for value in rows.values])
    axes.set_xlabel(columns.field)
    axes.set_ylabel(rows.field)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(color=RULE, labelcolor=QUIET)


def _seen(made: RunSet) -> str:
    names = ", ".join(measure.title for measure in measures(made))
    return f"Heat maps over the settings, the stronger the colour the higher: {names}. The table has the same figures."


def _base(made: RunSet) -> list[Markdown]:
    """The same measures of the untouched base, where all cells began with the same."""
    found = [figures(record) for record in made.records.values()]
    told = []
    for measure in measures(made):
        values = {measure.text(measure.base(f)) for f in found}
        if len(values) == 1:
            told.append(Markdown("{title} {value}").fill(title=measure.title, value=shown(values.pop())))
    return told
