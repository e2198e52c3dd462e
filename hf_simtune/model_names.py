"""Names of models, before one is loaded: which stand for nothing, and which take no adapters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hf_simtune.recipe import BUILTIN_MINILM, BUILTIN_SPLADE, Recipe, is_hub_name

__all__ = ["FORMS", "is_static", "of_recipe", "problems"]

BUILTINS = (BUILTIN_MINILM, BUILTIN_SPLADE)
FORMS = f"Hub id, folder, {BUILTIN_MINILM} or {BUILTIN_SPLADE}"
STATIC = ("static-", "potion-", "m2v_")  # how the published models start that look words up in a table


def of_recipe(recipe: Recipe) -> list[str]:
    """What can be seen to be wrong with a recipe's model: no such folder or built-in, or none that takes adapters."""
    found = problems([recipe.model])
    if recipe.lora is not None and is_static(recipe.model):
        found.append(
            f"--lora does not go with {recipe.model}, a static model: it has no linear layers to adapt; leave it out"
        )
    return found


def is_static(name: str) -> bool:
    """Whether a model looks words up in a table, as far as its folder or, on the Hub, its name tells."""
    modules = Path(name).expanduser() / "modules.json"
    if modules.is_file():
        return "StaticEmbedding" in modules.read_text(encoding="utf-8")
    return name.rpartition("/")[2].lower().startswith(STATIC)


def problems(models: Sequence[str], called: str = "--model") -> list[str]:
    """What can be seen to be wrong with the names of models without loading one or asking the Hub.

    Args:
        models: the names.
        called: what stands before a name in a message.
    """
    found = []
    for name in dict.fromkeys(models):
        place = Path(name).expanduser()
        if models.count(name) > 1:
            found.append(f"{called} {name} is given {models.count(name)} times")
        if name.startswith("builtin:"):
            if name not in BUILTINS:
                found.append(f"{called} {name}: there is no such built-in model; there are {', '.join(BUILTINS)}")
        elif name and place.is_dir():
            if not any((place / file).is_file() for file in ("modules.json", "config.json", "adapter_config.json")):
                found.append(f"{called} {name}: the folder holds no model; in a run folder that is {place / 'model'}")
        elif not name or name.count("/") > 1 or not is_hub_name(name):
            found.append(f"{called} {name}: there is no such folder; a model is a Hub id (ORG/NAME) or a folder")
    return found
