"""What is named on a command line, and what of it is not to be had with --offline."""

from __future__ import annotations

import argparse
import logging

from hf_simtune import catalogue, flags, hub_names
from hf_simtune.fields import NONE
from hf_simtune.recipe import Recipe

__all__ = ["NAMES", "is_data", "needs_hub", "tell_left_out"]

NAMES = ("model", "start", "train_data", "select_on", "report_on")  # fields that name a model or data

log = logging.getLogger("hf_simtune")


def is_data(target: str) -> bool:
    """A file, a folder, a Hub id or a builtin, rather than a recipe: a plain name is a recipe if there is one."""
    if target.endswith(".py"):
        return False
    if target.endswith(hub_names.FILE_ENDINGS) or "/" in target or ":" in target:
        return True
    return hub_names.local(target).exists() and target not in catalogue.all_recipes()


def needs_hub(arguments: argparse.Namespace, target: str | None, fields: tuple[str, ...] = NAMES) -> list[str]:
    """What was asked for by name and is not to be had with --offline."""
    named = []
    for field in fields:
        given = getattr(arguments, field, [])
        named += [(flags.flag(field), str(name)) for name in ([given] if isinstance(given, str) else given)]
    if target is not None and is_data(target) and not target.endswith(".py"):
        named.append(("the data", target))
    return [
        f"{what} {name} is on the Hub, and --offline takes nothing from there"
        for what, name in named
        if name != NONE and hub_names.is_hub_name(name)
    ]


def tell_left_out(chosen: Recipe) -> None:
    """Log which further data and probes an offline run goes without, and why."""
    resolved = chosen.offline()
    if chosen.start is not None and resolved.start is None:
        log.warning("--offline leaves out --start %s: it is on the Hub; training begins at the base", chosen.start)
    for field in ("more_data", "probe", "branches"):
        kept = getattr(resolved, field) or ()
        for name in getattr(chosen, field) or ():
            if name not in kept:
                scored = name in (resolved.select_on, resolved.report_on)
                why = "it is scored already" if scored else "it is on the Hub"
                if field == "branches":
                    why = "its rows may be on the Hub; name rows of your own, RECIPE:DATA=SHARE"
                log.warning("--offline leaves out %s %s: %s", flags.flag(field), name, why)
