"""What a recipe's names tell of the rows that it learns from, and of its losses, before anything is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hf_simtune.loss_table import LOSSES

if TYPE_CHECKING:
    from hf_simtune.recipe import Recipe

__all__ = ["COLUMNS", "LOSS_SHAPES", "cached", "default_loss", "holds", "named_losses", "shapes"]

LOSS_SHAPES = {name: loss.shapes for name, loss in LOSSES.items()}
COLUMNS = {"pairs": 2, "scored": 3, "triplets": 3, "sentences": 1}
BUILTIN = re.compile(r"builtin:\w+/(\w+)")


def default_loss(shape: str) -> str:
    """The loss for rows of a shape when nobody names one: the first that learns from it."""
    return next(loss for loss, shapes in LOSS_SHAPES.items() if shape in shapes)


def named_losses(more_data: tuple[str, ...] | None) -> list[tuple[str | None, str]]:
    """``LOSS=DATA`` taken apart; the loss is None where the data's shape decides."""
    found: list[tuple[str | None, str]] = []
    for entry in more_data or ():
        loss, equals, data = entry.partition("=")
        found.append((loss, data) if equals and "/" not in loss and ":" not in loss else (None, entry))
    return found


def holds(data: str) -> str | None:
    """The shape of rows that their name alone tells: a txt file's, and a part's of the built-in corpus."""
    if data.lower().removesuffix(".gz").endswith(".txt"):
        return "sentences"
    found = BUILTIN.match(data)
    return found[1] if found and found[1] in COLUMNS else None


def shapes(recipe: Recipe) -> tuple[tuple[str, ...], str]:
    """The shapes that the training rows can have, as far as a recipe tells before they are read, and what tells it.

    One column may hold lists of texts, which are pairs or triplets, but in a file whose cells are plain text.
    """
    if recipe.shape:
        return (recipe.shape,), f"--shape is {recipe.shape}"
    data, count = recipe.train_data, len(recipe.columns or ())
    if count == 1:
        plain = data.lower().removesuffix(".gz").endswith((".csv", ".tsv", ".txt"))
        left: tuple[str, ...] = ("sentences",) if plain else ("pairs", "triplets", "sentences")
        return left, f"--columns names one column: {' or '.join(left)}"
    if count:
        left = tuple(shape for shape, wanted in COLUMNS.items() if wanted == count)
        return left, f"--columns names {count} columns: {' or '.join(left)}"
    if held := holds(data):
        return (held,), f"{data} holds {held}"
    return tuple(COLUMNS), "nothing tells"


def cached(recipe: Recipe) -> list[str]:
    """The cached losses of a recipe, that of further data too."""
    losses = (recipe.loss, *(loss for loss, _ in named_losses(recipe.more_data)))
    return sorted({loss for loss in losses if loss in LOSSES and LOSSES[loss].cached})
