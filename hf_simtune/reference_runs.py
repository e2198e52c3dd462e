"""The runs whose records lie in model_cards/: those that are missing, one after the other. ``make reference`` runs it.

A run is kept in ``runs/reference/`` until its record is written, so that one that was cut short is taken up again.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from hf_simtune import ablation, catalogue, tuning
from hf_simtune.ablation import SEEDS
from hf_simtune.branches import named_branches
from hf_simtune.errors import RunError, SimtuneError
from hf_simtune.hub_names import is_hub_name
from hf_simtune.recipe import BUILTIN_MINILM, MINILM, Recipe
from hf_simtune.row_shapes import named_losses

__all__ = ["Wanted", "local", "main", "missing", "wanted"]

# On STSb from all-MiniLM-L6-v2, with three seeds. The others, such as those on a stand-in, have one run each, made by
# the command that its card names.
RECIPES = (
    "cosent_minilm",
    "lora_minilm",
    "csr_minilm",
    "best_minilm",
    "simcse_compressions",
    "mnrl_minilm",
    "matryoshka_minilm",
    "angle_minilm",
)
KEPT = ("record.json", "scores.parquet")
log = logging.getLogger("hf_simtune")


@dataclasses.dataclass(frozen=True)
class Wanted:
    """One run: where its record goes in model_cards, what it is a change of, and the whole of it."""

    place: str
    origin: str
    recipe: Recipe
    first: str | None = None  # the place of the run from whose model it goes on


def wanted() -> list[Wanted]:
    """Every run, the short ones of the ablation first, and those that go on from another last."""
    tried = [
        Wanted(
            f"{ablation.FOLDER}/{name}/{seed}",
            ablation.STAGE,
            ablation.recipe(name, seed),
            lever.first and f"{lever.first}/{seed}",
        )
        for seed in SEEDS
        for name, lever in ablation.LEVERS.items()
        if seed in lever.seeds
    ]
    shipped = catalogue.shipped()
    whole = [
        Wanted(f"{name}/{seed}", name, dataclasses.replace(shipped[name], seed=seed))
        for name in RECIPES
        if name in shipped
        for seed in SEEDS
    ]
    return sorted([*tried, *whole], key=lambda one: one.first is not None)


def missing(cards: Path, only: Sequence[str] = ()) -> list[Wanted]:
    """Those without a record in the tree, whose place holds one of some words."""
    return [
        one
        for one in wanted()
        if not (cards / one.place / "record.json").is_file() and (not only or any(word in one.place for word in only))
    ]


def local(recipe: Recipe, hub: str) -> Recipe:
    """The same recipe on copies of what the Hub has: data below a folder, and the packaged MiniLM.

    Args:
        recipe: on the Hub's names.
        hub: stands before each name of data, as in ``copy/``; empty for the Hub itself.
    """
    if not hub:
        return recipe

    def copied(name: str | None) -> str | None:
        return f"{hub}{name}" if name and is_hub_name(name) else name

    more = tuple((f"{loss}=" if loss else "") + (copied(data) or "") for loss, data in named_losses(recipe.more_data))
    return dataclasses.replace(
        recipe,
        model=BUILTIN_MINILM if recipe.model == MINILM else recipe.model,
        train_data=copied(recipe.train_data) or "",
        select_on=copied(recipe.select_on),
        report_on=copied(recipe.report_on),
        probe=recipe.probe and tuple(copied(name) or "" for name in recipe.probe),
        more_data=more or None,
        branches=tuple(
            f"{one.recipe}:{copied(one.data or catalogue.find(one.recipe).train_data)}={one.share!r}"
            for one in named_branches(recipe.branches)
        )
        or None,
    )


def run(one: Wanted, checkout: Path, hub: str) -> None:
    """Run it, or take it up again, and put its record into the tree.

    Raises:
        RunError: the run from whose model it goes on was not made here.
    """
    kept = checkout / "runs" / "reference"
    out = kept / one.place
    started = sorted(path.parent for path in out.glob("*/plan.json"))
    done = [path for path in started if (path / "record.json").is_file()]
    if done:
        folder = done[-1]
    else:
        origin = (one.origin, catalogue.find(one.origin))
        resume = started[-1] if started else None
        recipe = dataclasses.replace(local(one.recipe, hub), start=_first(one, kept))
        folder = tuning.tune(recipe, out=out, resume=resume, origin=origin).folder
    place = checkout / "model_cards" / one.place
    place.mkdir(parents=True, exist_ok=True)
    for name in reversed(KEPT):  # the record last: a place with a record is done
        shutil.copyfile(folder / name, place / name)


def _first(one: Wanted, kept: Path) -> str | None:
    """The model that a run goes on from."""
    if one.first is None:
        return one.recipe.start
    made = sorted(path.parent for path in (kept / one.first).glob("*/record.json"))
    if not made:
        raise RunError(
            f"model_cards/{one.place} goes on from the model of {one.first}, and runs/reference/{one.first} has none",
            hint=f"Take model_cards/{one.first} away and run with --only {one.first}, which makes it again",
        )
    return str(made[-1] / "model")


def main(words: Sequence[str] | None = None) -> int:
    """``python -m hf_simtune.reference_runs [--hub COPY/] [--only WORD ...] [--list]``"""
    parser = argparse.ArgumentParser(prog="reference_runs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkout", type=Path, default=Path(), help="the project's folder")
    parser.add_argument("--hub", default="", metavar="COPY/", help="take data from a folder laid out as on the Hub")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="runs whose place has one of these")
    parser.add_argument("--list", action="store_true", help="say what is missing, and run nothing")
    given = parser.parse_args(words)
    checkout = given.checkout.resolve()
    left = missing(checkout / "model_cards", given.only)
    for number, one in enumerate(left, start=1):
        sys.stdout.write(f"{number} of {len(left)}: model_cards/{one.place}\n")
        sys.stdout.flush()
        try:
            if not given.list:
                run(one, checkout, given.hub)
        except SimtuneError as error:
            sys.stderr.write(f"{error}\n")
            return error.exit_status
    return 0


if __name__ == "__main__":
    from hf_simtune import threads
    from hf_simtune.chatter import calm_libraries, listen

    listen(quiet=False)
    calm_libraries(quiet=False)
    threads.settle()
    sys.exit(main())
