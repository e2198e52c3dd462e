"""Which recipes there are: shipped, installed by other packages, or in a file."""

from __future__ import annotations

import difflib
import importlib.util
import logging
import sys
from importlib.metadata import entry_points
from pathlib import Path

from hf_simtune.errors import RequestError
from hf_simtune.recipe import Recipe

__all__ = ["all_recipes", "find", "load", "recipe_folder", "shipped"]

log = logging.getLogger("hf_simtune")


def recipe_folder() -> Path:
    """Where the shipped recipes lie: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def shipped() -> dict[str, Recipe]:
    """The recipes that come with the package, by name.

    Raises:
        RequestError: two files of one name.
    """
    found: dict[str, Recipe] = {}
    for path in sorted(recipe_folder().rglob("*.py")):
        if path.name.startswith("_"):
            continue
        if path.stem in found:
            raise RequestError(f"two recipes are called {path.stem!r} in {recipe_folder()}")
        found[path.stem] = load(path)
    return found


def all_recipes() -> dict[str, Recipe]:
    """The shipped recipes and those that installed packages register under ``hf_simtune.recipes``, by name.

    An installed one that does not load is named in a warning and left out; it must not take the others with it.
    """
    found = shipped()
    for entry in entry_points(group="hf_simtune.recipes"):
        try:
            value = entry.load()
        except Exception as error:  # noqa: BLE001  another package's code may raise anything
            log.warning("the installed recipe %r (%s) does not load: %s", entry.name, entry.value, error)
            continue
        if isinstance(value, Recipe):
            found.setdefault(entry.name, value)
        else:
            log.warning("the installed recipe %r (%s) is no Recipe", entry.name, entry.value)
    return found


def find(name: str) -> Recipe:
    """The recipe called ``name``, or the ``RECIPE`` of the Python file at that path (which is code, and is run).

    Raises:
        RequestError: no such recipe; the message names the closest.
    """
    if name.endswith(".py"):
        log.warning("the recipe %s is code, and it is run", name)
        return load(Path(name))
    recipes = shipped()
    if name in recipes:
        return recipes[name]
    recipes = all_recipes()
    if name in recipes:
        return recipes[name]
    near = difflib.get_close_matches(name, recipes, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    raise RequestError(f"unknown recipe {name!r}{guess}", hint="See: hf-simtune recipes")


def load(path: Path) -> Recipe:
    """The ``RECIPE`` of a Python file.

    Raises:
        RequestError: no such file, a file that does not import, or one without a ``RECIPE``.
    """
    if not path.is_file():
        raise RequestError(f"no recipe file at {path}", hint="See: hf-simtune recipes")
    name = f"hf_simtune_recipe_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RequestError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    keep, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise RequestError(f"the recipe file {path} does not run: {type(error).__name__}: {error}") from error
    finally:
        sys.dont_write_bytecode = keep
    value = getattr(module, "RECIPE", None)
    if not isinstance(value, Recipe):
        raise RequestError(f"{path} has no RECIPE = Recipe(...)", hint="See recipes/mnrl_minilm.py for the form")
    return value
