"""Figures over the values of one or two settings as inline SVG: a line of points, a heat map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from hf_simtune.plots import HEIGHT, WIDTH, Axis
from hf_simtune.report_text import minus, printable

__all__ = ["heat_map", "points"]

LETTER = 6.2  # width of a letter at 12 px, about
LONGEST = 16  # letters of a value beside an axis
STRONGEST = 0.5  # opacity of the highest value: the figures on it stay legible in light and in dark
ROW = 34

Place = tuple[int, int]


def heat_map(
    name: str,
    values: Mapping[Place, float],
    shown: Mapping[Place, str],
    x: tuple[str, Sequence[str]],
    y: tuple[str, Sequence[str]],
    *,
    title: str,
    about: str,
    chosen: Place | None = None,
    scale: tuple[float, float] | None = None,
) -> Markup:
    """Values in a grid, the stronger the colour the higher.

    Args:
        name: the figure's id, unique on its page.
        values: by (column, row), from 0; a place without one is drawn empty.
        shown: the text in each place, also in those without a value.
        x: what the columns are of, and each column's value.
        y: what the rows are of, and each row's value.
        title: what the values are of.
        about: what there is to see, for those who do not.
        chosen: the place that is ringed.
        scale: the values that get the weakest and the strongest colour; by default the lowest and the highest.
    """
    finite = [value for value in values.values() if math.isfinite(value)]
    low, high = scale or ((min(finite), max(finite)) if finite else (0.0, 0.0))
    rows = [_short(text) for text in y[1]]
    columns = [_short(text) for text in x[1]]
    left = 12 + LETTER * max(map(len, rows))
    top, wide = 40, (WIDTH - left - 2) / len(columns)
    crowded = wide < LETTER * max([len(text) for text in shown.values()] + [3]) + 6
    parts = [
        f'<text class="label" x="2" y="12">{_text(y[0])}</text>',
        f'<text class="label" x="{WIDTH - 2}" y="12" text-anchor="end">{_text(x[0])}</text>',
    ]
    every = math.ceil(LETTER * (max(map(len, columns)) + 1) / wide)
    for index, text in enumerate(columns):
        if index % every == 0:
            parts.append(
                f'<text x="{left + wide * (index + 0.5):.1f}" y="32" text-anchor="middle">{_text(text)}</text>'
            )
    for row, text in enumerate(rows):
        middle = top + ROW * (row + 0.5) + 4
        parts.append(f'<text x="{left - 8:.1f}" y="{middle:.1f}" text-anchor="end">{_text(text)}</text>')
        for column in range(len(columns)):
            place = (column, row)
            box = (
                f'x="{left + wide * column + 1:.1f}" y="{top + ROW * row + 1}" width="{wide - 2:.1f}" '
                f'height="{ROW - 2}" rx="2"'
            )
            if place in values and math.isfinite(values[place]):
                share = (values[place] - low) / (high - low) if high > low else 0.5
                share = min(1.0, max(0.0, share))
                parts.append(f'<rect class="heat" {box} fill-opacity="{0.04 + (STRONGEST - 0.04) * share:.3f}"/>')
            parts.append(f'<rect class="cell" {box}/>')
            if place in shown and not crowded:
                style = ' class="mark in"' if place == chosen else ' class="value"'
                at = f'x="{left + wide * (column + 0.5):.1f}" y="{middle:.1f}" text-anchor="middle"'
                parts.append(f"<text{style} {at}>{_text(shown[place])}</text>")
    if chosen:
        parts.append(
            f'<rect class="chosen" x="{left + wide * chosen[0] + 1:.1f}" y="{top + ROW * chosen[1] + 1}" '
            f'width="{wide - 2:.1f}" height="{ROW - 2}" rx="2"/>'
        )
    return _svg(name, top + ROW * len(rows) + 2, title, about, "".join(parts))


def points(
    name: str,
    values: Mapping[int, float],
    shown: Mapping[int, str],
    x: tuple[str, Sequence[str]],
    label: str,
    *,
    title: str,
    about: str,
    level: float | None = None,
    chosen: int | None = None,
) -> Markup:
    """A value for each of some settings, side by side at equal distances, neighbours joined by a line.

    Args:
        name: the figure's id, unique on its page.
        values: by column, from 0; a column without one is left empty.
        shown: the text above each point.
        x: what the columns are of, and each column's value.
        label: what the values are of, as the axis says it.
        title: the same as a heading.
        about: what there is to see, for those who do not.
        level: a value that is dashed across.
        chosen: the column that is ringed.
    """
    known = {column: value for column, value in values.items() if math.isfinite(value)}
    drawn = [*known.values(), *([level] if level is not None else [])]
    margin = 0.05 * (max(drawn) - min(drawn)) if level is not None and drawn else 0.0  # keeps it off the axis
    up = Axis.over([*drawn, *(value - margin for value in drawn)], label)
    ticks = up.texts()
    left, right, top, bottom = 12 + LETTER * max(map(len, ticks)), WIDTH - 16, 44, HEIGHT - 44
    columns = [_short(text) for text in x[1]]
    wide = (right - left) / len(columns)
    parts = [
        f'<path class="grid" d="{"".join(f"M{left:.1f} {up.place(t, bottom, top):.1f}H{right}" for t in up.ticks)}"/>',
        f'<path class="axis" d="M{left:.1f} {bottom}H{right}"/>',
        f'<text class="label" x="2" y="12">{_text(label)}</text>',
        f'<text class="label" x="{right}" y="{HEIGHT - 6}" text-anchor="end">{_text(x[0])}</text>',
    ]
    for tick, text in zip(up.ticks, ticks, strict=True):
        parts.append(
            f'<text x="{left - 7:.1f}" y="{up.place(tick, bottom, top) + 4:.1f}" text-anchor="end">{text}</text>'
        )
    every = math.ceil(LETTER * (max(map(len, columns)) + 1) / wide)
    for column, text in enumerate(columns):
        if column % every == 0:
            at = f'x="{left + wide * (column + 0.5):.1f}" y="{bottom + 19}"'
            parts.append(f'<text {at} text-anchor="middle">{_text(text)}</text>')
    if level is not None:
        parts.append(f'<path class="level" d="M{left:.1f} {up.place(level, bottom, top):.1f}H{right}"/>')
    places = {c: (left + wide * (c + 0.5), up.place(value, bottom, top)) for c, value in known.items()}
    for column, (across, height) in sorted(places.items()):
        if column + 1 in places:
            after = places[column + 1]
            parts.append(f'<path class="line tuned" d="M{across:.1f} {height:.1f}L{after[0]:.1f} {after[1]:.1f}"/>')
    crowded = wide < LETTER * max([len(text) for text in shown.values()] + [3]) + 4
    for column, (across, height) in sorted(places.items()):
        parts.append(f'<path class="point tuned" d="M{across:.1f} {height:.1f}h0"/>')
        if column == chosen:
            parts.append(f'<circle class="chosen" cx="{across:.1f}" cy="{height:.1f}" r="7"/>')
        if column in shown and (not crowded or column == chosen):
            parts.append(
                f'<text class="mark" x="{across:.1f}" y="{height - 12:.1f}" text-anchor="middle">'
                f"{_text(shown[column])}</text>"
            )
    return _svg(name, HEIGHT, title, about, "".join(parts))


def _short(text: str) -> str:
    """The end of a long value: names of models and files tell themselves apart there."""
    return text if len(text) <= LONGEST else "\N{HORIZONTAL ELLIPSIS}" + text[1 - LONGEST :]


def _text(text: str) -> Markup:
    return escape(printable(minus(text)))


def _svg(name: str, height: float, title: str, about: str, body: str) -> Markup:
    title, about = escape(printable(title)), escape(printable(about))
    return Markup(
        f'<svg class="plot" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{title}</title><desc id="{name}-d">{about}</desc>{body}</svg>'
    )
