"""How a figure reads, wherever it is shown: one form for the terminal, the card and the report."""

from __future__ import annotations

import math
import re
import unicodedata

__all__ = ["UNDEFINED", "count", "duration", "interval", "p_phrase", "p_value", "points", "signed", "unseen", "visible"]

UNDEFINED = "undefined"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"  # Persian, Hindi and emoji are spelled with them
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format (bidirectional marks among them), surrogates, separators
MOST_DECIMALS = 6  # a difference that is smaller than that is one of rounding


def points(value: float | None) -> str:
    """A correlation -1..1, or a difference of two, in points: times 100, with two decimals.

    More decimals only where two would show a zero that it is not.
    """
    if value is None or not math.isfinite(value):
        return UNDEFINED
    hundred = 100 * value
    shown = (f"{hundred:.{digits}f}" for digits in range(2, MOST_DECIMALS + 1))
    return next((text for text in shown if float(text) != 0), "0.00")


def signed(value: float | None) -> str:
    """``points`` with its sign; zero has none."""
    text = points(value)
    return text if text[0] in "-u" or float(text) == 0 else f"+{text}"


def interval(low: float, high: float) -> str:
    """``+0.45 to +1.98``"""
    return f"{signed(low)} to {signed(high)}"


def p_value(value: float | None) -> str:
    """``0.42``, ``0.003``, ``< 0.001``: what tells it apart, and never zero."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    if value < 0.001:
        return "< 0.001"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def p_phrase(value: float | None) -> str:
    """``p = 0.42``, ``p < 0.001``"""
    text = p_value(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def count(number: int, noun: str) -> str:
    """``1 row``, ``1,379 rows``"""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """``3.2 s``, ``42 s``, ``4 min 20 s``, ``1 h 2 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if round(seconds, 1) < 10 else f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def short_commit(commit: str | None) -> str:
    """A record's commit with 12 digits: ``0123456789ab+changes``; ``..., resumed at ...`` of a run that was."""
    return re.sub(r"\b[0-9a-f]{40}", lambda found: found[0][:12], commit) if commit else "not known"


def unseen(sign: str) -> bool:
    """Whether a character shows nothing of itself, or turns what stands beside it; a line break is one."""
    return (unicodedata.category(sign) in UNSEEN and sign not in JOINERS) or ord(sign) & 0xFFFE == 0xFFFE


def visible(text: str) -> str:
    """``text`` with U+FFFD for every character that cannot be seen, so that it shows; line breaks stay."""
    if text.isprintable():
        return text
    return "".join(REPLACEMENT if sign != "\n" and unseen(sign) else sign for sign in text)
