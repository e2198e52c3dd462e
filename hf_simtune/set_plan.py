"""What a set of runs is to do: its plan, its cells, and what they are called."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_simtune import flags
from hf_simtune.recipe import Recipe

__all__ = ["Axis", "Cell", "Plan", "folder_for", "label", "shown", "value_text"]

LONGEST = 80  # letters of a cell's folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
    """A recipe field with the values that it takes, two or more."""

    field: str
    values: tuple[Any, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that is decided at the start of a set of runs."""

    kind: str  # "sweep" or "several"
    recipe: Recipe  # of every cell but for the cell's own values; as asked for, before --offline changes it
    axes: tuple[Axis, ...]
    created: str  # ISO 8601, UTC, seconds
    trials: int | None = None  # cells that a search looks at; None for all of the grid
    offline: bool = False
    publish_examples: bool = False
    target: str | None = None  # what stands behind ``hf-simtune sweep``, and the recipe that it names
    origin: Recipe | None = None

    def differences(self, other: Plan) -> list[str]:
        """What another plan would do differently; more trials go on with the same search."""
        found = []
        mine, theirs = _choices(self), _choices(other)
        for field in mine:
            if mine[field] != theirs[field]:
                was, now = (" ".join(map(value_text, side[field])) for side in (mine, theirs))
                found.append(f"--{field.replace('_', '-')} was {was} and is now {now}")
        if self.offline != other.offline:
            found.append(f"--offline was {'' if self.offline else 'not '}given at the start")
        if (self.trials is None) != (other.trials is None):
            found.append(f"it was {'a grid' if self.trials is None else 'a search with --trials'} at the start")
        elif self.trials and other.trials and other.trials < self.trials:
            found.append(f"--trials was {self.trials} and is now {other.trials}: it may only grow")
        return found


def _choices(plan: Plan) -> dict[str, tuple[Any, ...]]:
    several = {axis.field: axis.values for axis in plan.axes}
    names = [field.name for field in dataclasses.fields(Recipe)]
    return {name: several.get(name, (getattr(plan.recipe, name),)) for name in names}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of a set."""

    values: dict[str, Any]  # recipe fields in which it differs from the set's recipe
    folder: str  # in the set's folder; its run folder is made inside
    state: str = "waiting"  # "waiting", "running" (or stopped while it did), "done" or "failed"
    run: str | None = None  # the run folder of a finished run, from the set's folder
    problem: str | None = None  # why it failed


def value_text(value: Any) -> str:
    """A value as a person types it: 1 for 1.0, and never fewer digits than it has."""
    return "default" if value is None else " ".join(map(str, value)) if isinstance(value, tuple) else flags.typed(value)


def shown(field: str, value: Any) -> str:
    """A field's value as a page may hold it: local files and folders by their names alone."""
    if field in ("model", "start") and isinstance(value, str):
        name = flags.folder_name(value)
        return name if not name.startswith(("/", ".", "~")) else Path(name).name  # a folder that is gone
    return flags.without_path(value) if field == "train_data" else value_text(value)


def label(values: Mapping[str, Any], plan: Plan) -> str:
    """What tells a cell from the others: ``temperature=0.05, epochs=2``"""
    fields = [axis.field for axis in plan.axes]
    return ", ".join(f"{field}={shown(field, values[field])}" for field in fields if field in values)


def folder_for(name: str, taken: Sequence[str]) -> str:
    """A folder's name for some words, unlike those that are taken."""
    plain = re.sub(r"[^\w=,.+-]+", "-", name).strip("-.")[:LONGEST] or "run"
    lowered = {folder.lower() for folder in taken}
    numbered = (f"{plain}-{number}" for number in range(2, len(taken) + 3))
    return plain if plain.lower() not in lowered else next(n for n in numbered if n.lower() not in lowered)
