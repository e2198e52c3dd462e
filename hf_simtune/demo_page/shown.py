"""Similarities -> HTML: two bars for a pair, a ranked table for a list. Every text stands there as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from .encoders import Line, Seen
from .escaped import escape

__all__ = ["MOST_ROWS", "message", "notes", "pair", "ranking", "state"]

MOST_ROWS = 100  # of a ranking; the rest is counted
SAME = 0.0005  # a change that three decimals show as none
LENGTH = 400  # characters of a line that a table shows


def pair(before: Seen | None, after: Seen, told: Sequence[str] = ()) -> str:
    """Two sentences under both models.

    Args:
        before: under the base, where there is one.
        after: under the tuned model.
        told: notes, sentences.
    """
    bars = (_bar("Before", "st-before", before) if before else "") + _bar("After", "st-after", after)
    change = f'<p class="st-change">{_change(round(after.cosine, 3) - round(before.cosine, 3))}</p>' if before else ""
    return f'<div class="st-pair">{bars}{change}</div>{_active(before, after)}{notes(told)}'


def ranking(found: Sequence[Line], told: Sequence[str] = ()) -> str:
    """Lines by their similarity to the query, the nearest first."""
    if not found:
        return notes(told)
    with_base = found[0].before is not None
    before = '<th scope="col" class="st-number">Before</th><th scope="col" class="st-number">Rank before</th>'
    head = (
        '<th scope="col" class="st-number">Rank</th><th scope="col">Line</th><th scope="col">After</th>'
        f"{before if with_base else ''}"
    )
    more = [] if len(found) <= MOST_ROWS else [f"The {MOST_ROWS} nearest of {len(found):,} lines."]
    rows = "".join(map(_row, found[:MOST_ROWS]))
    return (
        f'<div class="st-scrolls"><table class="st-ranks"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{notes([*told, *more])}"
    )


def message(text: str) -> str:
    """A sentence in the place of a result."""
    return f'<p class="st-message" role="status">{escape(text)}</p>'


def notes(told: Iterable[str]) -> str:
    """Sentences below a result."""
    return "".join(f'<p class="st-quiet">{escape(text)}</p>' for text in told)


def state(text: str, caveats: Iterable[str] = ()) -> str:
    """How far the models are, and what must be said of them."""
    told = "".join(f'<p class="st-caveat">{escape(caveat)}</p>' for caveat in caveats)
    return (f'<p class="st-state" role="status">{escape(text)}</p>' if text else "") + told


def _bar(label: str, kind: str, seen: Seen) -> str:
    return (
        f'<div class="st-side {kind}"><span class="st-label">{label}</span>'
        f'<span class="st-big">{_number(seen.cosine)}</span>'
        f"{_track(seen.cosine)}</div>"
    )


def _track(cosine: float) -> str:
    """A bar from 0 to 1."""
    width = 0.0 if math.isnan(cosine) else 100 * max(0.0, min(1.0, cosine))
    return f'<span class="st-track"><span class="st-fill" style="width:{width:.1f}%"></span></span>'


def _number(cosine: float) -> str:
    return "undefined" if math.isnan(cosine) else f"{cosine:.3f}".replace("-", "\N{MINUS SIGN}")


def _change(difference: float) -> str:
    if math.isnan(difference):
        return "One of the vectors is zero, and has no direction."
    if abs(difference) < SAME:
        return "<b>No change:</b> tuning left this pair where it was."
    sign, words = ("+", "closer together") if difference > 0 else ("\N{MINUS SIGN}", "further apart")
    return f"<b>{sign}{abs(difference):.3f}:</b> tuning moved this pair {words}."


def _active(before: Seen | None, after: Seen) -> str:
    """How many dimensions each sentence takes, of sparse encoders."""
    told = []
    for label, seen in (("before", before), ("after", after)):
        if seen and seen.active:
            first, second = seen.active
            told.append(f"{label} {first:,} and {second:,} of {seen.dimensions:,}")
    return notes([f"Active dimensions of the two sentences: {'; '.join(told)}."] if told else [])


def _row(line: Line) -> str:
    text = line.text if len(line.text) <= LENGTH else line.text[:LENGTH] + "\N{HORIZONTAL ELLIPSIS}"
    before = ""
    if line.before is not None and line.rank_before is not None:
        before = (
            f'<td class="st-number">{_number(line.before)}</td>'
            f'<td class="st-number">{_moved(line.rank_before - line.rank_after)}{line.rank_before}</td>'
        )
    return (
        f'<tr><td class="st-number st-rank">{line.rank_after}</td><td class="st-text"><bdi>{escape(text)}</bdi></td>'
        f'<td class="st-cell"><span class="st-value">{_number(line.after)}</span>'
        f"{_track(line.after)}</td>{before}</tr>"
    )


def _moved(up: int) -> str:
    if not up:
        return ""
    kind, arrow, word = ("st-up", "\N{UPWARDS ARROW}", "up") if up > 0 else ("st-down", "\N{DOWNWARDS ARROW}", "down")
    return f'<span class="st-moved {kind}" title="{word} by {abs(up)}">{arrow}{abs(up)}</span>'
