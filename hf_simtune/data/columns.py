"""Whether the columns of training files make what a recipe's losses take, seen before anything is loaded."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from hf_simtune.data.files import open_file
from hf_simtune.data.shapes import find_layout
from hf_simtune.data.spec import data_format
from hf_simtune.errors import RequestError
from hf_simtune.fields import wrong_fields
from hf_simtune.hub_names import local
from hf_simtune.recipe import Recipe
from hf_simtune.row_shapes import COLUMNS, LOSS_SHAPES, named_losses, shapes

__all__ = ["check_columns"]


def check_columns(recipe: Recipe) -> list[str]:
    """Training files whose columns do not make what a named loss or ``--mine-negatives`` takes, each a sentence.

    Looks at the columns and the first thousand rows of local files, where the recipe itself leaves it open; that costs
    the import of ``datasets``. What is on the Hub, a folder's, or packed parquet is seen on loading alone.

    Args:
        recipe: its ``train_data`` and ``more_data`` are looked at.
    """
    if not {"train_data", "more_data", "loss", "mine_negatives", "shape", "columns"}.isdisjoint(wrong_fields(recipe)):
        return []
    return [*_own_columns(recipe), *_further_columns(recipe)]


def _own_columns(recipe: Recipe) -> Iterator[str]:
    for asks, takes in (
        (f"--loss {recipe.loss}", LOSS_SHAPES.get(recipe.loss or "", ())),
        (f"--mine-negatives {recipe.mine_negatives}", ("pairs",) if recipe.mine_negatives else ()),
        ("--train-data", () if recipe.loss or recipe.mine_negatives else tuple(COLUMNS)),
    ):
        if set(takes) & set(shapes(recipe)[0]):  # else the rules have told it
            unlike = _unlike(recipe.train_data, takes, recipe.shape, [recipe.columns])
            if unlike:
                yield f"{asks}: {unlike}"
                return


def _further_columns(recipe: Recipe) -> Iterator[str]:
    for loss, data in named_losses(recipe.more_data):
        unlike = _unlike(data, LOSS_SHAPES.get(loss or "", ()), None, [None, recipe.columns])
        if unlike:
            yield f"--more-data {loss}={data}: {unlike}"


def _unlike(
    name: str, takes: Collection[str], shape: str | None, columns: Collection[tuple[str, ...] | None]
) -> str | None:
    """Why a local file's columns, read in the first way that fits, make none of some shapes; None where one does."""
    path = local(name)
    form = data_format(path.name)
    if not takes or form in (None, "txt") or name.lower().endswith(".parquet.gz") or not path.is_file():
        return None
    first: RequestError | None = None
    for said in columns:
        try:
            rows = open_file(path)
            find_layout(rows.columns, columns=said, shape=shape, expect=tuple(takes), title=rows.title)
            return None
        except OSError:
            return None
        except RequestError as error:
            first = first or error
    return ". ".join(part.removesuffix(".") for part in (*first.problems, first.hint) if part) if first else None
