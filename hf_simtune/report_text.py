"""How the report writes figures, names and values: in the common wording, made fit for a typeset page."""

from __future__ import annotations

import math
import re
from typing import Any

import jinja2
from markupsafe import Markup, escape

from hf_simtune import wording

__all__ = ["breakable", "decimals", "minus", "places", "points", "printable", "shown", "signed", "templates"]

# A minus before a number, not the hyphen of a name or of 2026-11-20.
HYPHEN = re.compile(r"(?<![\w.-])-(?=[\d.])")


def minus(text: str) -> str:
    """Figures with the typographic minus."""
    return HYPHEN.sub("\N{MINUS SIGN}", text)


def points(value: float | None) -> str:
    """A correlation x 100, as the field writes it; a missing one is called undefined."""
    return minus(wording.points(value))


def signed(value: float | None) -> str:
    """A difference x 100 with its sign."""
    return minus(wording.signed(value))


def decimals(value: float | None, places: int = 3) -> str:
    """A plain figure with a fixed number of decimals."""
    if value is None or not math.isfinite(value):
        return wording.UNDEFINED
    return minus(f"{round(value, places) + 0.0:.{places}f}")  # + 0.0: a zero has no sign


def places(value: float) -> str:
    """A distance between two ranks; halves come from ties, and matter where the distance is small."""
    return f"{value:,.0f}" if value >= 20 or value == int(value) else f"{value:.1f}"


def printable(value: Any) -> Any:
    """What a page may hold of a value: nothing that cannot be seen, and words for what is missing."""
    if value is None:
        return "unknown"
    if isinstance(value, float) and not math.isfinite(value):
        return wording.UNDEFINED
    if isinstance(value, str) and not isinstance(value, Markup):
        return wording.visible(value.replace("\t", " "))
    return value


def breakable(text: str) -> Markup:
    """A long name that may be broken after its slashes and colons, and is copied without the breaks."""
    return Markup(re.sub(r"([/:_])", r"\1<wbr>", str(escape(printable(text)))))


def shown(value: Any) -> str:
    """A recipe's value in plain words."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return " ".join(f"{name}={shown(part).replace(', ', ',')}" for name, part in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def templates() -> jinja2.Environment:
    """The package's pages: everything that is shown in them is escaped and printable, and a missing value an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("hf_simtune", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
