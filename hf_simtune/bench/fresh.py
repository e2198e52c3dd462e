"""A fresh Python process of this package: what is typed, and what it finds around it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["environment", "words"]


def words(module: str, argument: str) -> list[str]:
    """The command that runs a module of this package."""
    # -P: a file of the folder that it is called in must not be taken for a library.
    return [sys.executable, "-P", "-m", f"hf_simtune.{module}", argument]


def environment(**more: str) -> dict[str, str]:
    """This process's own, where the same package is found, without what a run or a launcher left behind in it."""
    home = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE_")}
    return {**kept, "PYTHONPATH": os.pathsep.join([home, inherited] if inherited else [home]), **more}
