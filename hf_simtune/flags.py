"""Recipe fields as command-line flags, and a recipe back as the command that runs it."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import itertools
import re
import shlex
from pathlib import Path
from typing import Any, get_args

from hf_simtune.branches import named_branches
from hf_simtune.data import spec
from hf_simtune.errors import RequestError
from hf_simtune.fields import NONE, optional
from hf_simtune.hub_names import local
from hf_simtune.recipe import RELEASE, Recipe, fields
from hf_simtune.row_shapes import named_losses
from hf_simtune.words import Words

__all__ = ["add", "apply", "command", "for_data", "typed", "unknown", "without_path", "without_paths"]

# What transformers, sentence-transformers and other scripts call what has another name here; "_" may stand for "-".
HABITS = {
    "--scale": "--temperature",
    "--lr": "--learning-rate",
    "--batch": "--batch-size",
    "--per-device-train-batch-size": "--batch-size",
    "--train-batch-size": "--batch-size",
    "--num-epochs": "--epochs",
    "--num-train-epochs": "--epochs",
    "--max-seq-length": "--max-length",
    "--warmup-ratio": "--warmup",
    "--warmup-steps": "--warmup",
    "--output-dir": "--out",
}


def flag(field: str) -> str:
    """``train_rows`` -> ``--train-rows``"""
    return "--" + field.replace("_", "-")


def add(parser: argparse.ArgumentParser, shown: Recipe | None = None) -> None:
    """One flag per recipe field; the help shows the defaults of ``shown``."""
    group = parser.add_argument_group("recipe fields (every field is a flag; none unsets an optional one)")
    for name, hint, default, text in fields():
        value = getattr(shown, name) if shown else default
        told = "" if value in (None, "", False) else f" [{_words(value)}]"
        help_text = (text + told).replace("%", "%%")
        if hint is bool:
            group.add_argument(
                flag(name), action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=help_text
            )
        elif _value(hint):
            group.add_argument(flag(name), nargs="*", metavar="r=N", default=argparse.SUPPRESS, help=help_text)
        elif _is_several(hint):
            group.add_argument(flag(name), nargs="+", metavar="X", default=argparse.SUPPRESS, help=help_text)
        else:
            group.add_argument(flag(name), metavar=_metavar(hint), default=argparse.SUPPRESS, help=help_text)


def _value(hint: Any) -> type[Words] | None:
    """The value with fields of its own that a field may hold: ``LoRA | None`` -> LoRA."""
    return next((part for part in get_args(hint) if isinstance(part, type) and issubclass(part, Words)), None)


def _is_several(hint: Any) -> bool:
    return any("tuple" in str(part) for part in (get_args(hint) or (hint,)))


def _kinds(hint: Any) -> list[type]:
    """The plain types that a value may have: ``int | None`` -> int, ``tuple[float, float] | None`` -> float."""
    found: list[type] = []
    for part in get_args(hint) or (hint,):
        if part in (str, int, float):
            found.append(part)
        elif get_args(part):
            found += _kinds(part)
    return found


def _metavar(hint: Any) -> str:
    return {int: "N", float: "X"}.get(_kinds(hint)[0], "NAME")


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def typed(value: Any) -> str:
    """A value as a person types it: 500 for 500.0, and never fewer digits than it has."""
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _converted(text: str, hint: Any) -> Any:
    """The value that the text stands for; the text itself where it is none, for ``Recipe.check`` to name."""
    kind = _kinds(hint)[0]
    try:
        return kind(text)
    except ValueError:
        return text


def apply(recipe: Recipe, arguments: argparse.Namespace) -> Recipe:
    """The recipe with the flags that were given. Wrong values stay in it for ``check`` to report together."""
    changes: dict[str, Any] = {}
    for name, hint, _, _ in fields():
        if not hasattr(arguments, name):
            continue
        value = getattr(arguments, name)
        if optional(hint) and value in (NONE, [NONE]):
            changes[name] = None
        elif (made := _value(hint)) is not None:
            changes[name] = made.of(value) or " ".join(value)
        elif isinstance(value, list):
            changes[name] = tuple(_converted(item, hint) for item in value)
        elif isinstance(value, str):
            changes[name] = _converted(value, hint)
        else:
            changes[name] = value
    return dataclasses.replace(recipe, **changes)


def unknown(words: list[str], parser: argparse.ArgumentParser) -> list[str]:
    """A sentence for each word that no flag matched, with the flag that may be meant.

    A value behind such a flag is skipped; several values of a field that takes one here are told once.

    Args:
        words: that are left over.
        parser: the command's; its attribute ``given``, if it has one, holds all the words in order.
    """
    known = list(parser._option_string_actions)
    given = list(getattr(parser, "given", ())) or words
    problems = []
    after_flag = False
    for word in words:
        if not word.startswith("-"):
            if not after_flag:
                problems.append(_several(word, given, known) or f"unknown argument {word!r}")
            continue
        name = word.partition("=")[0]
        problems.append(f"unknown flag {name!r}" + (_habit(word, given, known) or _near(name, known)))
        after_flag = True
    return list(dict.fromkeys(problems))


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _habit(word: str, given: list[str], known: list[str]) -> str:
    """What a flag of the libraries or of other scripts is called here; "" where it is none."""
    name, _, value = word.partition("=")
    new = HABITS.get(name.replace("_", "-"))
    if new not in known:
        return ""
    behind = given[given.index(word) + 1 :] if word in given else []
    value = value or (behind[0] if behind else "")
    if new != "--temperature":
        return f"; here it is {new}" + (", a share of the steps, as in 0.1" if "warmup" in name else "")
    try:
        shown = f"{1 / float(value):.6g}"
    except (ValueError, ZeroDivisionError):
        shown = "1/scale"
    return f"; here it is {new} {shown} (the libraries' scale is 1/temperature)"


def _several(word: str, given: list[str], known: list[str]) -> str | None:
    """The sentence for a further value of a recipe field, where a run takes one; None where it is no such word."""
    takes_one = {flag(name) for name, hint, _, _ in fields() if hint is not bool} & set(known)
    starts = [index for index, other in enumerate(given) if other.startswith("--")]
    for start, stop in itertools.pairwise([*starts, len(given)]):
        if given[start] in takes_one and "--train-data" in known and word in given[start + 2 : stop]:
            values = shlex.join(given[start:stop])
            return f"{values}: a run takes one value; for a run with each: hf-simtune sweep TARGET {values}"
    return None


def without_paths(recipe: Recipe) -> dict[str, Any]:
    """What decides a run, as a plain dictionary in which local files and folders go by their names alone."""
    value = {name: held for name, held in dataclasses.asdict(recipe).items() if name not in RELEASE}
    value["model"] = folder_name(value["model"])
    value["start"] = recipe.start and folder_name(recipe.start)
    for name in ("train_data", "select_on", "report_on"):
        if isinstance(value[name], str):
            value[name] = without_path(value[name])
    value["probe"] = recipe.probe and tuple(map(without_path, recipe.probe))
    value["more_data"] = recipe.more_data and tuple(
        f"{loss}={without_path(data)}" if loss else without_path(data) for loss, data in named_losses(recipe.more_data)
    )
    value["branches"] = recipe.branches and tuple(
        f"{Path(one.recipe).name}{f':{without_path(one.data)}' if one.data else ''}={one.share!r}"
        for one in named_branches(recipe.branches)
    )
    return value


def folder_name(name: str) -> str:
    """A model's folder by its last name, ``RUN/model`` by two; a Hub id or a builtin as it is."""
    path = local(name)
    if not path.is_dir():
        return name
    path = path.resolve()
    return path.name if path.name != "model" else f"{path.parent.name}/model"


def without_path(name: str) -> str:
    """Data in a local file or folder by what a record may call them; anything else as it is."""
    try:
        found = spec.parse(name)
    except RequestError:
        return Path(name).name if name.startswith((".", "/", "~")) else name
    if found.kind not in ("file", "folder"):
        return name
    return found.name + (f"/{found.config}" if found.config else "") + (f":{found.split}" if found.split else "")


def for_data(target: str) -> Recipe:
    """The recipe for rows that come without one: named after the file or the data set, everything else by default."""
    place = target.removeprefix("builtin:").partition(":")[0]
    name = re.sub(r"[^\w.+-]+", "-", Path(place).name.split(".")[0]).strip("-.+")
    return Recipe(name=name[:96] or "tune", train_data=target)


def command(
    recipe: Recipe,
    origin: Recipe | None = None,
    target: str | None = None,
    *,
    offline: bool = False,
    whole: bool = False,
) -> str:
    """The command line that runs a recipe: ``target`` (a recipe's name, or the data) and every field that differs.

    Local paths are cut to their names, as a card travels; with ``whole`` they stay, for the terminal of who typed them.
    """
    origin = origin or for_data(recipe.train_data)
    named = target or recipe.train_data
    words = ["hf-simtune", "tune", named if whole else without_path(named)]
    shown = dataclasses.asdict(recipe) if whole else without_paths(recipe)
    for name, hint, _, _ in fields():
        value = getattr(recipe, name)
        if value == getattr(origin, name) or name == "title" or (not whole and name in RELEASE):
            continue
        if hint is bool:
            words.append(flag(name) if value else flag(name).replace("--", "--no-", 1))
        elif isinstance(value, tuple):
            words += [flag(name), *map(typed, shown[name])]
        elif isinstance(value, Words):
            words += [flag(name), *value.words]
        else:
            text = NONE if value is None else typed(shown[name])
            words += [f"{flag(name)}={text}"] if text.startswith("-") else [flag(name), text]
    if offline:
        words.append("--offline")
    return shlex.join(words)
