"""A recipe's branches as they are named, RECIPE=SHARE or RECIPE:DATA=SHARE, taken apart and checked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

__all__ = ["ALLOWED", "Named", "in_order", "named_branches", "wrong"]

ALLOWED = (
    "RECIPE=SHARE or RECIPE:DATA=SHARE once or more, each share above 0 and all together below 1, as in "
    "simcse_compressions=0.3"
)


@dataclasses.dataclass(frozen=True)
class Named:
    """One branch, as an entry of the recipe names it."""

    entry: str
    recipe: str  # a recipe's name, or its file
    data: str | None  # to train it on in place of the recipe's own
    share: float  # of what is trained; NaN where the entry has no number


def named_branches(branches: Sequence[str] | None) -> list[Named]:
    """``RECIPE=SHARE`` taken apart, and ``RECIPE:DATA=SHARE``, which trains the recipe on other rows."""
    found = []
    for entry in branches or ():
        head, _, share = entry.rpartition("=")
        recipe, colon, data = head.partition(":")
        try:
            number = float(share)
        except ValueError:
            number = math.nan
        found.append(Named(entry, recipe.strip(), data.strip() if colon else None, number))
    return found


def in_order(branches: Sequence[str]) -> bool:
    """Whether every entry can be read and something is left for the recipe itself."""
    return bool(branches) and not wrong(branches)


def wrong(branches: object) -> str:
    """Which entry is wrong, and how, to end a sentence; empty where none is."""
    if not isinstance(branches, tuple) or not all(isinstance(entry, str) for entry in branches):
        return ""
    found = named_branches(branches)
    for one in found:
        if "=" not in one.entry:
            return f"; {one.entry!r} has no share"
        if not one.recipe or one.data == "":
            return f"; {one.entry!r} names no {'data' if one.recipe else 'recipe'}"
        if not 0 < one.share < 1:  # NaN included
            return f"; {one.entry!r} ends in no share above 0 and below 1"
    if math.fsum(one.share for one in found) >= 1 - 1e-9:
        return "; the shares leave nothing for the recipe itself"
    heads = [(one.recipe, one.data) for one in found]
    twice = [one.entry for number, one in enumerate(found) if heads[number] in heads[:number]]
    return f"; {twice[0]!r} is there already, with another share" if twice else ""
