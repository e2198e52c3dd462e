"""What a field of a recipe carries beside its value: its help, what it may be, and how a wrong value is told."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import types
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin, get_type_hints

from hf_simtune.tellable import holds_secret, secrets

__all__ = [
    "NONE",
    "at_most",
    "field",
    "fraction",
    "is_a",
    "mistyped",
    "one_of",
    "optional",
    "positive",
    "problems",
    "rising",
    "type_name",
    "wrong_fields",
    "zero_or_more",
]

MOST = 10**300  # beyond, a whole number is no float
SMALLEST = 1e-300  # distance between two numbers
LONGEST = 500  # letters of a value in a sentence
NONE = "none"  # unsets an optional field on the command line


def field(
    default: Any,
    text: str,
    check: Callable[[Any], bool] | None = None,
    allowed: str = "",
    *,
    flag: bool = True,
    wrong: Callable[[Any], str] | None = None,
) -> Any:
    """A recipe field with its help text and the values it may take, both beside its name and nowhere else.

    Args:
        default: its value where none is given.
        text: its help.
        check: whether a value of the right type may be taken.
        allowed: what may be taken, to end the sentence "it must be".
        flag: whether the command line has a flag for it.
        wrong: which part of a wrong value is wrong, of whatever type, to end the sentence; "" for nothing to add.
    """
    metadata = {"help": text, "check": check, "allowed": allowed, "flag": flag, "wrong": wrong}
    return dataclasses.field(default=default, metadata=metadata)


def optional(hint: Any) -> bool:
    """Whether a field of that type may be None, for which the command line's word is ``none``."""
    return type(None) in get_args(hint)


def one_of(*values: str) -> tuple[Callable[[Any], bool], str]:
    """A check and what it allows: one of some words."""
    return (lambda value: value in values), "one of " + ", ".join(values)


def positive(value: float) -> bool:
    """Finite and above 0."""
    return math.isfinite(value) and value > 0


def zero_or_more(value: float) -> bool:
    """Finite and 0 or above."""
    return math.isfinite(value) and value >= 0


def at_most(most: int, check: Callable[[Any], bool], allowed: str) -> tuple[Callable[[Any], bool], str]:
    """A check and what it allows with an upper end, far above any use: what lies beyond is a slip.

    Past it training would not end in a lifetime, or the libraries would count no further and raise what they please.
    """
    return (lambda value: check(value) and value <= most), f"{allowed}, at most {most:,}"


def fraction(value: float) -> bool:
    """From 0 up to, not including, 1."""
    return 0 <= value < 1


def rising(ends: tuple[float, float]) -> bool:
    """Two finite numbers, the lower first, and between them a distance that can be divided by."""
    return all(map(math.isfinite, ends)) and SMALLEST < ends[1] - ends[0] < math.inf


def is_a(value: object, hint: Any) -> bool:
    """Whether a value is of an annotated type; an int is a float, a bool is no number."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(is_a(value, part) for part in get_args(hint))
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        if not isinstance(value, tuple):
            return False
        if parts[-1] is Ellipsis:
            return all(is_a(item, parts[0]) for item in value)
        return len(value) == len(parts) and all(is_a(item, part) for item, part in zip(value, parts, strict=True))
    if hint is float:
        if isinstance(value, int) and not isinstance(value, bool):
            return abs(value) < MOST
        return isinstance(value, float)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < MOST
    return isinstance(value, hint)


def type_name(hint: Any) -> str:
    """What a type is called in a message."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(type_name(part) for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is tuple:
        return "several of " + type_name(get_args(hint)[0])
    name = str(hint.__name__)
    return {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}.get(name, name)


def _text(value: Any, *, quoted: bool = False) -> str:
    """A value in words; whatever it is, this does not fail."""
    try:
        if quoted or not (dataclasses.is_dataclass(value) or isinstance(value, tuple)):
            return repr(value)
        return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    except Exception as error:  # noqa: BLE001 - whatever a value's own code raises; a number may have too many digits
        return f"a {type(value).__name__} that cannot be shown ({type(error).__name__})"


def _shown(value: Any, *, quoted: bool = False) -> str:
    """A value as a sentence shows it."""
    return _cut(_text(value, quoted=quoted))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _closest(value: Any, allowed: str) -> str:
    words = allowed.removeprefix("one of ").split(", ") if isinstance(value, str) else []
    near = difflib.get_close_matches(str(value), words, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


_hints = functools.cache(get_type_hints)  # a sweep asks for them thousands of times


def problems(value: Any) -> list[str]:
    """What is wrong with each field of a dataclass whose fields were made here, by type and then by value."""
    return list(wrong_fields(value).values())


def mistyped(value: Any) -> set[str]:
    """The names of fields that hold something of another type than theirs, which no other check may read."""
    hints = _hints(value.__class__)
    return {spec.name for spec in dataclasses.fields(value) if not is_a(getattr(value, spec.name), hints[spec.name])}


def wrong_fields(value: Any) -> dict[str, str]:
    """The sentences of ``problems`` by the name of the field."""
    found = {}
    hints, own = _hints(value.__class__), secrets()
    for spec in dataclasses.fields(value):
        held = getattr(value, spec.name)
        hint, wrong = hints[spec.name], spec.metadata["wrong"]
        flag = "--" + spec.name.replace("_", "-") if spec.metadata["flag"] else spec.name
        part = _cut(wrong(held)) if wrong and held is not None else ""
        if holds_secret(_text(held), own):
            # Plan, record and card would keep it.
            found[spec.name] = (
                f"{flag} holds a token or a password: it must be without; the Hub's token is taken from HF_TOKEN or "
                "hf auth login"
            )
        elif not is_a(held, hint):
            wanted = spec.metadata["allowed"] if part else type_name(hint)
            found[spec.name] = f"{flag} is {_shown(held, quoted=True)}: it must be {wanted}{part}"
        elif optional(hint) and held in (NONE, (NONE,)):
            # The command line could not say it: there the word unsets the field.
            found[spec.name] = f"{flag} is {_shown(held)}, the word for no value: leave it out"
        elif held is not None and spec.metadata["check"] and not spec.metadata["check"](held):
            allowed = spec.metadata["allowed"]
            found[spec.name] = f"{flag} is {_shown(held)}: it must be {allowed}{part or _closest(held, allowed)}"
    return found
