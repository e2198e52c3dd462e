"""Figures as inline SVG: numbers in, markup out. Colours come from the page's style sheet, by class."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from hf_simtune.report_text import minus, printable

__all__ = ["WHOLE", "Axis", "Frame", "forest", "histogram", "outlines", "scatter", "svg", "verdict_mark"]

Floats = NDArray[np.float64]
WIDTH, HEIGHT = 420, 320
LEFT, RIGHT, TOP, BOTTOM = 46, 20, 26, 44
# Shapes as well as colours tell the verdicts apart: an arrow up in a disc, a bar in a ring, an arrow down in a square.
MARKS = {
    "improved": '<circle cx="16" cy="16" r="15"/><path class="on" d="M16 24V9M9 15.5L16 8.5L23 15.5"/>',
    "no evidence": '<circle class="ring" cx="16" cy="16" r="13.5"/><path class="bar" d="M9.5 16H22.5"/>',
    "regressed": '<rect x="1" y="1" width="30" height="30" rx="3"/><path class="on" d="M16 8V23M9 17L16 23.5L23 17"/>',
}
NO_MARK = '<circle class="ring broken" cx="16" cy="16" r="13.5"/>'  # no verdict was to be had, which is no verdict


@dataclasses.dataclass(frozen=True)
class Axis:
    """A range on an axis, with the values that get a tick."""

    low: float
    high: float
    ticks: tuple[float, ...]
    label: str = ""
    names: tuple[str, ...] = ()  # of the ticks, where they are not to be called by their values

    @classmethod
    def over(
        cls, values: Sequence[float] | Floats, label: str = "", *, whole: bool = False, tight: bool = False
    ) -> Axis:
        """A range that holds every finite value.

        Args:
            values: what is to be drawn; 0..1 stands in where none is finite.
            label: what the axis says.
            whole: ticks are whole numbers only.
            tight: end at the outermost values, not at the ticks beyond them.
        """
        finite = np.asarray(values, np.float64)
        finite = finite[np.isfinite(finite)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        if high - low < 1e-9 * max(1.0, abs(low)):  # one value, or several that no eye could part
            spread = max(abs(low) * 0.05, 0.01)
            low, high = low - spread, high + spread
        step = _step((high - low) / 5, whole)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        ticks = tuple(round(index * step, 12) for index in range(first, last + 1))
        if tight:
            return cls(low, high, tuple(tick for tick in ticks if low <= tick <= high), label)
        return cls(ticks[0], ticks[-1], ticks, label)

    def place(self, value: float, start: float, end: float) -> float:
        """Where ``value`` lies between ``start`` and ``end``, in the units of the drawing."""
        return start + (value - self.low) / (self.high - self.low) * (end - start)

    def texts(self) -> list[str]:
        """The ticks, all with as many decimals as the step between them needs."""
        if self.names:
            return list(self.names)
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else 1.0
        decimals = next((count for count in range(9) if abs(step - round(step, count)) < step * 1e-6), 9)
        return [minus(f"{tick + 0.0:,.{decimals}f}") for tick in self.ticks]


def _step(rough: float, whole: bool) -> float:
    magnitude = 10.0 ** math.floor(math.log10(rough))
    factors = (1, 2, 5, 10) if whole else (1, 2, 2.5, 5, 10)
    step = next(factor * magnitude for factor in factors if factor * magnitude >= rough * 0.999)
    return max(1.0, step) if whole else step


@dataclasses.dataclass(frozen=True)
class Frame:
    """A drawing, and the room around its axes."""

    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP
    bottom: int = BOTTOM

    def x(self, axis: Axis, value: float) -> float:
        """How far from the left edge ``value`` lies."""
        return axis.place(value, self.left, self.width - self.right)

    def y(self, axis: Axis, value: float) -> float:
        """How far from the upper edge ``value`` lies."""
        return axis.place(value, self.height - self.bottom, self.top)

    def axes(self, x: Axis, y: Axis) -> str:
        """Both axes with ticks and labels, and lines across."""
        bottom, right = self.height - self.bottom, self.width - self.right
        grid = "".join(f"M{self.left} {self.y(y, tick):.1f}H{right}" for tick in y.ticks)
        nicks = "".join(f"M{self.x(x, tick):.1f} {bottom}v5" for tick in x.ticks)
        parts = [f'<path class="grid" d="{grid}"/><path class="axis" d="M{self.left} {bottom}H{right}{nicks}"/>']
        for tick, text in zip(y.ticks, y.texts(), strict=True):
            parts.append(f'<text x="{self.left - 7}" y="{self.y(y, tick) + 4:.1f}" text-anchor="end">{text}</text>')
        for tick, text in zip(x.ticks, x.texts(), strict=True):
            parts.append(f'<text x="{self.x(x, tick):.1f}" y="{bottom + 19}" text-anchor="middle">{text}</text>')
        name = escape(printable(x.label))
        parts.append(f'<text class="label" x="{right}" y="{self.height - 6}" text-anchor="end">{name}</text>')
        parts.append(f'<text class="label" x="2" y="12">{escape(printable(y.label))}</text>')
        return "".join(parts)


WHOLE = Frame()


def scatter(
    name: str, gold: Floats, similarity: Floats, x: Axis, y: Axis, *, series: str, title: str, about: str
) -> Markup:
    """Gold scores against similarities, one translucent dot a row. ``series`` is the class that colours them."""
    dots = "".join(
        f'<path d="M{WHOLE.x(x, a):.1f} {WHOLE.y(y, b):.1f}h0"/>'
        for a, b in zip(gold.tolist(), similarity.tolist(), strict=True)
    )
    return _figure(name, title, about, WHOLE.axes(x, y) + f'<g class="dots {series}">{dots}</g>')


def histogram(name: str, base: Floats, tuned: Floats, label: str, *, title: str, about: str) -> Markup:
    """How many rows have which similarity, before (filled) and after (outlined), in the same bins."""
    both = np.concatenate([base, tuned])
    x = Axis.over(both, label)
    bins = np.linspace(x.low, x.high, 1 + (len(x.ticks) - 1) * (5 if len(both) > 400 else 2))
    counts = [np.histogram(np.clip(values, x.low, x.high), bins)[0] for values in (base, tuned)]
    y = Axis.over([0, *counts[0].tolist(), *counts[1].tolist()], "rows", whole=True)
    parts = [WHOLE.axes(x, y)]
    for series, count in zip(("base", "tuned"), counts, strict=True):
        first, last = np.flatnonzero(count)[[0, -1]].tolist()
        line = f"M{WHOLE.x(x, bins[first]):.1f} {WHOLE.y(y, 0):.1f}"
        for high, amount in zip(bins[first + 1 : last + 2].tolist(), count[first : last + 1].tolist(), strict=True):
            line += f"V{WHOLE.y(y, amount):.1f}H{WHOLE.x(x, high):.1f}"
        parts.append(f'<path class="area {series}" d="{line}V{WHOLE.y(y, 0):.1f}Z"/>')
    return _figure(name, title, about, "".join(parts))


def outlines(
    name: str, series: Sequence[tuple[str, Sequence[int]]], low: float, high: float, x: str, y: str, *, about: str
) -> Markup:
    """Several histograms over the same bins as outlines on shared axes, each in shares of its own sum, with a key.

    The lines have the classes ``s0``, ``s1`` ... ``s5`` and again from ``s0``; colour and dash are the style sheet's.

    Args:
        name: the figure's id.
        series: what each is called, and how many fall into each of its bins.
        low: where the first bin begins; the bins that are empty in every series are not drawn.
        high: where the last bin ends.
        x: what the bins are of.
        y: what a share is of, as in "% of pairs".
        about: what there is to see, for those who do not.
    """
    shares = [100 * np.asarray(counts, np.float64) / sum(counts) for _, counts in series]
    edges = np.linspace(low, high, len(shares[0]) + 1)
    first, last = np.flatnonzero(np.sum(shares, axis=0))[[0, -1]].tolist()
    across = Axis.over([edges[first], edges[last + 1]], x)
    up = Axis.over([0, *(float(share.max()) for share in shares)], f"{y} in each {edges[1] - edges[0]:.2g}")
    parts = [WHOLE.axes(across, up)]
    for index, ((title, _), share) in enumerate(zip(series, shares, strict=True)):
        own_first, own_last = np.flatnonzero(share)[[0, -1]].tolist()
        line = f"M{WHOLE.x(across, edges[own_first]):.1f} {WHOLE.y(up, 0):.1f}"
        for end, value in zip(edges[own_first + 1 : own_last + 2], share[own_first : own_last + 1], strict=True):
            line += f"V{WHOLE.y(up, value):.1f}H{WHOLE.x(across, end):.1f}"
        row, style = HEIGHT + 14 + 20 * index, f"series s{index % 6}"
        parts.append(f'<path class="{style}" d="{line}V{WHOLE.y(up, 0):.1f}"/>')
        parts.append(f'<path class="{style}" d="M{WHOLE.left} {row - 4}h32"/>')
        parts.append(f'<text class="name" x="{WHOLE.left + 40}" y="{row}">{escape(printable(title))}</text>')
    return svg(name, "plot", WIDTH, HEIGHT + 8 + 20 * len(series), x, about, "".join(parts))


def forest(
    name: str,
    low: float | None,
    value: float,
    high: float | None,
    x: Axis,
    verdict: str,
    *,
    title: str,
    about: str,
    margin: float | None = None,
) -> Markup:
    """One line of a forest plot: the interval, the difference on it, a line at zero. No interval: a hollow point.

    ``margin`` gets a line of its own, dotted: what the interval is held against besides zero.
    """
    width, height = 180, 24
    left, zero = x.place(value, 6, width - 6), x.place(0, 6, width - 6)
    parts = [f'<path class="axis" d="M6 12H{width - 6}"/><path class="zero" d="M{zero:.1f} 1V23"/>']
    if margin is not None:
        parts.append(f'<path class="margin" d="M{x.place(margin, 6, width - 6):.1f} 1V23"/>')
    if low is not None and high is not None:
        a, b = x.place(low, 6, width - 6), x.place(high, 6, width - 6)
        parts.append(f'<path class="span" d="M{a:.1f} 12H{b:.1f}M{a:.1f} 8V16M{b:.1f} 8V16"/>')
        parts.append(f'<rect x="{left - 4.5:.1f}" y="7.5" width="9" height="9"/>')
    else:
        parts.append(f'<circle class="hollow" cx="{left:.1f}" cy="12" r="4.5"/>')
    return svg(name, f"forest {verdict.replace(' ', '-')}", width, height, title, about, "".join(parts))


def verdict_mark(name: str, verdict: str) -> Markup:
    """The sign of a verdict: an arrow up in a disc, a bar in a ring, an arrow down in a square; or a broken ring."""
    about = {
        "improved": "an arrow up in a disc",
        "regressed": "an arrow down in a square",
        "no verdict": "a broken ring with nothing in it",
    }.get(verdict, "a bar in a ring")
    mark = NO_MARK if verdict == "no verdict" else MARKS.get(verdict, MARKS["no evidence"])
    return svg(
        name, f"verdict {verdict.replace(' ', '-')}", 32, 32, verdict, f"The sign of this verdict: {about}.", mark
    )


def _figure(name: str, title: str, about: str, body: str) -> Markup:
    return svg(name, "plot", WIDTH, HEIGHT, title, about, body)


def svg(name: str, classes: str, width: int, height: int, title: str, about: str, body: str) -> Markup:
    """An image to a screen reader: its title, then what there is to see. ``name`` is its id and must be unique."""
    title, about = escape(printable(title)), escape(printable(about))
    return Markup(
        f'<svg class="{classes}" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{title}</title><desc id="{name}-d">{about}</desc>{body}</svg>'
    )
