"""Lines as inline SVG: a figure by training step, and two models by dimension. Colours come from the style sheet."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup, escape

from hf_simtune.plots import WHOLE, Axis, Frame, svg
from hf_simtune.report_text import printable

__all__ = ["PANEL", "by_dimension", "curve", "dimensions"]

PANEL = Frame(width=300, height=200, left=42, right=20, top=24, bottom=40)  # one of several side by side
LETTER = 7  # width of a figure in front of the upright axis, about
ROW = 14  # height of a line of words above a plot
APART = 30.0  # least distance of two dimensions' names


def curve(
    name: str,
    points: Sequence[tuple[int, float | None]],
    x: Axis,
    label: str,
    *,
    title: str,
    about: str,
    level: float | None = None,
    chosen: int | None = None,
    marks: Sequence[tuple[int, str]] = (),
    holds: Sequence[float] = (),
    frame: Frame = WHOLE,
) -> Markup:
    """A value by training step.

    Args:
        name: the figure's id.
        points: (step, value); None breaks the line.
        x: the steps.
        label: what the values are.
        title: for those who do not see the figure.
        about: what there is to see.
        level: is dashed across.
        chosen: the step that gets a ring.
        marks: (step, word): the step's point is crossed out, and a word stands above it, with a line down, unless it
            is empty.
        holds: values that the upright axis shows in any case, so that a small change looks small.
        frame: the drawing, without the lines that the words take.
    """
    known = [(step, value) for step, value in points if value is not None and math.isfinite(value)]
    values = [value for _, value in known] + ([level] if level is not None else []) + list(holds)
    lift = level is not None and not holds
    margin = [min(values) - 0.05 * (max(values) - min(values))] if lift else []  # keeps the level off the axis
    y = Axis.over(values + margin, label)
    words = [(step, word) for step, word in marks if word]
    more = ROW * len(words)
    left = max(frame.left, 11 + LETTER * max(map(len, y.texts())))
    frame = dataclasses.replace(frame, height=frame.height + more, top=frame.top + more, left=left)
    parts = [frame.axes(x, y)]
    if level is not None:
        parts.append(f'<path class="level" d="M{frame.left} {frame.y(y, level):.1f}H{frame.width - frame.right}"/>')
    for row, (step, word) in enumerate(words):
        at, above = frame.x(x, step), frame.top - 6 - ROW * (len(words) - 1 - row)
        parts.append(f'<path class="found" d="M{at:.1f} {above + 3}V{frame.height - frame.bottom}"/>')
        parts.append(_word(frame, at, above, word, "found"))
    for run in _runs(points):
        places = [f"{frame.x(x, step):.1f} {frame.y(y, value):.1f}" for step, value in run]
        parts.append(f'<path class="line tuned" d="M{"L".join(places)}"/>')
        parts += [f'<path class="point tuned" d="M{place}h0"/>' for place in places]
    marked = {step for step, _ in marks}
    for step, value in known:
        at, up = frame.x(x, step), frame.y(y, value)
        if step in marked:
            parts.append(f'<path class="cross" d="M{at - 5:.1f} {up - 5:.1f}l10 10m0 -10l-10 10"/>')
        if step == chosen:
            parts.append(f'<circle class="chosen" cx="{at:.1f}" cy="{up:.1f}" r="7"/>')
            below = bool(words) and up < frame.top + 2 * ROW  # clear of the words above the plot
            parts.append(_word(frame, at, up + 24 if below else up - 12, "chosen", "mark"))
    return svg(name, _classes(frame), frame.width, frame.height, title, about, "".join(parts))


def by_dimension(
    name: str,
    base: Sequence[tuple[int, float | None]],
    tuned: Sequence[tuple[int, float | None]],
    label: str,
    *,
    title: str,
    about: str,
) -> Markup:
    """Two models' values by dimension, the base dashed with squares, the tuned drawn through with dots.

    ``base`` and ``tuned`` are (dimensions, value), rising; None breaks the line.
    """
    frame, x = WHOLE, dimensions([count for count, _ in (*base, *tuned)], WHOLE)
    y = Axis.over([value for _, value in (*base, *tuned) if value is not None], label)
    parts = [frame.axes(x, y)]
    for series, points in (("base", base), ("tuned", tuned)):
        for run in _runs(points):
            places = [(frame.x(x, math.log2(count)), frame.y(y, value)) for count, value in run]
            line = "L".join(f"{left:.1f} {up:.1f}" for left, up in places)
            parts.append(f'<path class="line {series}" d="M{line}"/>')
            for left, up in places:
                if series == "base":
                    parts.append(f'<path class="square base" d="M{left - 3.5:.1f} {up - 3.5:.1f}h7v7h-7Z"/>')
                else:
                    parts.append(f'<path class="point tuned" d="M{left:.1f} {up:.1f}h0"/>')
    return svg(name, _classes(frame), frame.width, frame.height, title, about, "".join(parts))


def dimensions(counts: Sequence[int], frame: Frame) -> Axis:
    """An axis over numbers of dimensions, each 1 or more, by their logarithm to base 2.

    Each number has a tick; of numbers whose names would touch, the higher keeps its own.
    """
    given = sorted(set(counts))
    places = [math.log2(count) for count in given]
    low, high = places[0], places[-1]
    if low == high:
        low, high = low - 0.5, high + 0.5
    axis = Axis(low, high, tuple(places), "dimensions")
    names: list[str] = []
    last = math.inf
    for count, place in zip(reversed(given), reversed(places), strict=True):
        left = frame.x(axis, place)
        names.append(f"{count:,}" if last - left >= APART else "")
        last = left if names[-1] else last
    return dataclasses.replace(axis, names=tuple(reversed(names)))


def _word(frame: Frame, left: float, up: float, word: str, style: str) -> str:
    """A word above a place, kept inside the drawing."""
    side = "start" if left < frame.left + 60 else "end" if left > frame.width - frame.right - 60 else "middle"
    shift = {"start": -5, "end": 5, "middle": 0}[side]
    return (
        f'<text class="{style}" x="{left + shift:.1f}" y="{up:.1f}" text-anchor="{side}">'
        f"{escape(printable(word))}</text>"
    )


def _classes(frame: Frame) -> str:
    return "plot" if frame.width == WHOLE.width else "plot panel"


def _runs(points: Sequence[tuple[int, float | None]]) -> Iterator[list[tuple[int, float]]]:
    """The stretches of a curve between values that are missing."""
    run: list[tuple[int, float]] = []
    for step, value in points:
        if value is not None and math.isfinite(value):
            run.append((step, value))
        elif run:
            yield run
            run = []
    if run:
        yield run
