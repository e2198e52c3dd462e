"""Names of models, before one is loaded: which stand for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hf_simtune.recipe import BUILTIN_MINILM, BUILTIN_SPLADE, is_hub_name

__all__ = ["problems"]

BUILTINS = (BUILTIN_MINILM, BUILTIN_SPLADE)


def problems(models: Sequence[str]) -> list[str]:
    """What can be seen to be wrong with the names of models without loading one or asking the Hub."""
    found = []
    for name in dict.fromkeys(models):
        place = Path(name).expanduser()
        if models.count(name) > 1:
            found.append(f"--model {name} is given {models.count(name)} times")
        if name.startswith("builtin:"):
            if name not in BUILTINS:
                found.append(f"--model {name}: there is no such built-in model; there are {', '.join(BUILTINS)}")
        elif name and place.is_dir():
            if not any((place / file).is_file() for file in ("modules.json", "config.json", "adapter_config.json")):
                found.append(f"--model {name}: the folder holds no model; in a run folder that is {place / 'model'}")
        elif not name or name.count("/") > 1 or not is_hub_name(name):
            found.append(f"--model {name}: there is no such folder; a model is a Hub id (ORG/NAME) or a folder")
    return found
