"""Which fields of a recipe go together: losses with shapes, adapters with models, batches with losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hf_simtune.recipe import Recipe

__all__ = ["LOSS_SHAPES", "default_loss", "named_losses", "together"]

# Which shapes a loss can learn from. The losses are built in losses.py, which needs torch; this table does not.
LOSS_SHAPES: dict[str, tuple[str, ...]] = {
    "mnrl": ("pairs", "triplets"),
    "cached_mnrl": ("pairs", "triplets"),
    "cosent": ("scored",),
    "angle": ("scored",),
    "cosine": ("scored",),
    "simcse": ("sentences",),
}
COLUMNS = {"pairs": 2, "scored": 3, "triplets": 3, "sentences": 1}


def default_loss(shape: str) -> str:
    """The loss for rows of a shape when nobody names one: the first that learns from it."""
    return next(loss for loss, shapes in LOSS_SHAPES.items() if shape in shapes)


def together(recipe: Recipe) -> list[str]:
    """What of a recipe does not go together, each a sentence; every field alone is in order."""
    return [*_data(recipe), *_evaluation(recipe), *_losses(recipe), *_model(recipe)]


def named_losses(more_data: tuple[str, ...] | None) -> list[tuple[str | None, str]]:
    """``LOSS=DATA`` taken apart; the loss is None where the data's shape decides."""
    found: list[tuple[str | None, str]] = []
    for entry in more_data or ():
        loss, equals, data = entry.partition("=")
        found.append((loss, data) if equals and "/" not in loss and ":" not in loss else (None, entry))
    return found


def _data(recipe: Recipe) -> Iterator[str]:
    if recipe.columns and recipe.shape and len(recipe.columns) != COLUMNS[recipe.shape]:
        count, wanted = len(recipe.columns), COLUMNS[recipe.shape]
        yield f"--columns names {count} columns; --shape {recipe.shape} takes {wanted}"
    if recipe.columns and len(set(recipe.columns)) != len(recipe.columns):
        yield f"--columns names a column twice: {' '.join(recipe.columns)}"
    for loss, data in named_losses(recipe.more_data):
        if loss is not None and loss not in LOSS_SHAPES:
            yield f"--more-data {loss}={data}: unknown loss {loss!r}; it must be one of {', '.join(LOSS_SHAPES)}"
        if not data.strip():
            yield f"--more-data {loss}= names no data; as in: --more-data cosent=scores.csv"
    if recipe.mine_negatives and recipe.shape not in (None, "pairs"):
        yield f"--mine-negatives looks for negatives of pairs; --shape {recipe.shape} has none to look for"


def _evaluation(recipe: Recipe) -> Iterator[str]:
    if (recipe.select_on is None) != (recipe.report_on is None):
        yield "--select-on and --report-on go together: name both, or neither to split the training file"
    if recipe.select_on is not None and recipe.select_on == recipe.report_on:
        yield (
            f"--select-on and --report-on are both {recipe.report_on}: rows that choose the checkpoint cannot prove "
            "the gain"
        )
    probes = recipe.probe or ()
    for name in sorted({name for name in probes if probes.count(name) > 1}):
        yield f"--probe names {name} twice"
    for name in probes:
        if name in (recipe.select_on, recipe.report_on):
            yield f"--probe {name} is scored already: it selects or reports"


def _losses(recipe: Recipe) -> Iterator[str]:
    if recipe.loss and recipe.shape and recipe.shape not in LOSS_SHAPES[recipe.loss]:
        losses = ", ".join(name for name, shapes in LOSS_SHAPES.items() if recipe.shape in shapes)
        takes = " or ".join(LOSS_SHAPES[recipe.loss])
        yield f"--loss {recipe.loss} learns from {takes}, not from {recipe.shape}; for {recipe.shape}: {losses}"
    cached = sorted({loss for loss in (recipe.loss, *_more(recipe)) if loss and loss.startswith("cached_")})
    for loss in cached:
        if recipe.gradient_checkpointing:
            yield (
                f"--loss {loss} does not go with --gradient-checkpointing: it runs the batch twice in small pieces "
                "already; leave one of them out"
            )
        if recipe.sparse:
            yield f"--loss {loss} is for dense models; with --sparse {recipe.sparse}: --loss mnrl"
        if recipe.mini_batch > recipe.batch_size:
            yield f"--mini-batch is {recipe.mini_batch}, more than --batch-size {recipe.batch_size}"
    if recipe.forward in ("packed", "chunked") and cached:
        yield f"--forward {recipe.forward} does not go with --loss {cached[0]}, which cuts the batch itself"


def _more(recipe: Recipe) -> list[str | None]:
    return [loss for loss, _ in named_losses(recipe.more_data)]


def _model(recipe: Recipe) -> Iterator[str]:
    if recipe.merge and recipe.lora is None:
        yield "--merge writes adapters into their base, and there are none: add --lora"
    if recipe.active_dims is not None and recipe.sparse != "csr":
        yield "--active-dims is for --sparse csr; how many a SPLADE model keeps active follows from --flops-weight"
    if recipe.matryoshka and recipe.sparse:
        yield f"--matryoshka cuts dense embeddings; a sparse one (--sparse {recipe.sparse}) has no order to cut"
    if recipe.matryoshka and len(set(recipe.matryoshka)) != len(recipe.matryoshka):
        yield f"--matryoshka names a dimension twice: {' '.join(map(str, recipe.matryoshka))}"
    if recipe.mine_negatives and recipe.sparse:
        yield f"--mine-negatives looks with a dense model; with --sparse {recipe.sparse} leave it out"
    if recipe.sparse == "csr" and recipe.lora is not None:
        # Adapters freeze all else, and an autoencoder that stays as random as it began is no use.
        yield "--lora does not go with --sparse csr: the autoencoder is trained whole; leave one of them out"
