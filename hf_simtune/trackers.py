"""The trackers that a run can be followed with, by the names that the Trainer has for them."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

__all__ = ["TRACKERS", "in_use", "missing"]

TRACKERS = ("tensorboard", "trackio", "wandb")  # each the name of its package too


def in_use(names: Sequence[str]) -> bool:
    """Whether these are trackers, each once."""
    return bool(names) and set(names) <= set(TRACKERS) and len(set(names)) == len(names)


def missing(names: object) -> list[str]:
    """Which trackers are not installed, in sentences with what to type; what else a recipe may hold is no tracker."""
    return [
        f"--report-to {name}: {name} is not installed; pip install {name}"
        for name in (names if isinstance(names, tuple) else ())
        if name in TRACKERS and importlib.util.find_spec(name) is None
    ]
