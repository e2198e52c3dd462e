"""How the report writes figures, names and values: in words where there is no figure, and with nothing unprintable."""

from __future__ import annotations

import math
import re
from typing import Any

from markupsafe import Markup, escape

__all__ = ["breakable", "clean", "decimals", "duration", "minus", "places", "points", "shown", "signed"]

# Control characters, surrogates, and the marks that turn the reading direction of what follows: none belongs in a page.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def minus(text: str) -> str:
    """A number with a typographic minus, and no sign on a zero."""
    return text if not text.startswith("-") else text[1:] if not text.strip("-0.,") else "\N{MINUS SIGN}" + text[1:]


def points(value: float | None) -> str:
    """A correlation x 100, as the field writes it; a missing one is called undefined."""
    return "undefined" if value is None or not math.isfinite(value) else minus(f"{100 * value:.2f}")


def signed(value: float | None) -> str:
    """A difference x 100 with its sign; one that would round to zero keeps the digit that shows its side."""
    if value is None or not math.isfinite(value):
        return "undefined"
    hundred = 100 * value
    if abs(hundred) < 1e-6:
        return "0.00"
    text = f"{hundred:+.2f}" if abs(hundred) >= 0.005 else f"{hundred:+.{-math.floor(math.log10(abs(hundred)))}f}"
    return minus(text)


def decimals(value: float | None, places: int = 3) -> str:
    """A plain figure with a fixed number of decimals."""
    return "undefined" if value is None or not math.isfinite(value) else minus(f"{value:.{places}f}")


def places(value: float) -> str:
    """A distance between two ranks; halves come from ties, and matter where the distance is small."""
    return f"{value:,.0f}" if value >= 20 or value == int(value) else f"{value:.1f}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def clean(value: Any) -> Any:
    """What a page may hold of a value: nothing unprintable, and words for what is missing."""
    if value is None:
        return "unknown"
    if isinstance(value, float) and not math.isfinite(value):
        return "undefined"
    if isinstance(value, str) and not isinstance(value, Markup):
        return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", value.replace("\t", " "))
    return value


def breakable(text: str) -> Markup:
    """A long name that may be broken after its slashes and colons, and is copied without the breaks."""
    return Markup(re.sub(r"([/:_])", r"\1<wbr>", str(escape(clean(text)))))


def shown(value: Any) -> str:
    """A recipe's value in plain words."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
