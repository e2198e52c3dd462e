"""Which fields of a recipe go together: losses with shapes, adapters with models, batches with losses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from hf_simtune.row_shapes import COLUMNS, LOSS_SHAPES, cached, holds, named_losses, shapes
from hf_simtune.unread_fields import told, unread

if TYPE_CHECKING:
    from hf_simtune.recipe import Recipe

__all__ = ["DENSE", "RULES", "together"]

DENSE = {"matryoshka": "cuts", "mine_negatives": "looks with"}  # dense embeddings
# A rule says what of some fields of a recipe does not go together, each of them in order when looked at alone.
Rule = Callable[["Recipe"], Iterator[str]]
RULES: list[tuple[frozenset[str], Rule]] = []  # with the fields that it reads


def together(recipe: Recipe, wrong: Collection[str] = ()) -> list[str]:
    """What of a recipe does not go together, and which settings nothing reads, each a sentence.

    Args:
        recipe: every field that is not in ``wrong`` is in order when looked at alone.
        wrong: names of fields. A rule that reads one is left out, and the others are not.
    """
    found = [problem for fields, rule in RULES if fields.isdisjoint(wrong) for problem in rule(recipe)]
    return found + [told(field, [getattr(recipe, field)], why) for field, why in unread(recipe, wrong).items()]


def _rule(*fields: str) -> Callable[[Rule], Rule]:
    def keep(rule: Rule) -> Rule:
        RULES.append((frozenset(fields), rule))
        return rule

    return keep


def _losses_for(wanted: Sequence[str]) -> str:
    losses = ", ".join(loss for loss, learned in LOSS_SHAPES.items() if set(learned) & set(wanted))
    return f"for {' or '.join(wanted)}: {losses}"


@_rule("columns", "shape")
def _columns(recipe: Recipe) -> Iterator[str]:
    columns = recipe.columns or ()
    if len(set(columns)) != len(columns):
        yield f"--columns names a column twice: {' '.join(columns)}"
    if columns and recipe.shape and len(columns) != COLUMNS[recipe.shape]:
        yield f"--columns names {len(columns)} columns; --shape {recipe.shape} takes {COLUMNS[recipe.shape]}"


@_rule("train_data", "columns", "shape")
def _name_of_data(recipe: Recipe) -> Iterator[str]:
    data, columns, held = recipe.train_data, recipe.columns or (), holds(recipe.train_data)
    if held == "sentences" and not data.startswith("builtin:") and len(columns) > 1:
        yield f"--columns names {len(columns)} columns, and {data} has one: a sentence a line"
    # Two texts of a scored row or of a triplet are a pair; nothing else can be made of another shape.
    pairs = recipe.shape == "pairs" and held in ("scored", "triplets")
    if held and recipe.shape not in (None, held) and not columns and not pairs:
        yield f"--shape {recipe.shape} does not go with {data}, which holds {held}"


@_rule("more_data", "columns")
def _more_data(recipe: Recipe) -> Iterator[str]:
    further = named_losses(recipe.more_data)
    for loss, data in further:
        if loss is not None and loss not in LOSS_SHAPES:
            yield f"--more-data {loss}={data}: unknown loss {loss!r}; it must be one of {', '.join(LOSS_SHAPES)}"
        if not data.strip():
            yield f"--more-data {loss}= names no data; as in: --more-data cosent=scores.csv"
    for loss, data in further:
        held = holds(data)
        if loss in LOSS_SHAPES and held and held not in LOSS_SHAPES[loss] and not recipe.columns:
            learned = " or ".join(LOSS_SHAPES[loss])
            yield f"--more-data {loss}={data}: {loss} learns from {learned}, and the data hold {held}"


@_rule("mine_negatives", "shape", "loss", "columns", "train_data")
def _mined_pairs(recipe: Recipe) -> Iterator[str]:
    if not recipe.mine_negatives:
        return
    if recipe.shape not in (None, "pairs"):
        yield f"--mine-negatives looks for negatives of pairs; --shape {recipe.shape} has none to look for"
    elif recipe.loss and "pairs" not in LOSS_SHAPES[recipe.loss]:
        left = ("pairs",)
        yield f"--mine-negatives looks for negatives of pairs, --loss {recipe.loss} takes none; {_losses_for(left)}"
    elif "pairs" not in shapes(recipe)[0]:
        yield f"--mine-negatives looks for negatives of pairs, and {shapes(recipe)[1]}; leave it out"


@_rule("select_on", "report_on")
def _evaluation(recipe: Recipe) -> Iterator[str]:
    if recipe.select_on is not None and recipe.select_on == recipe.report_on:
        yield (
            f"--select-on and --report-on are both {recipe.report_on}: rows that choose the checkpoint cannot prove "
            "the gain"
        )


@_rule("probe", "select_on", "report_on")
def _probes(recipe: Recipe) -> Iterator[str]:
    probes = recipe.probe or ()
    for name in sorted({name for name in probes if probes.count(name) > 1}):
        yield f"--probe names {name} twice"
    for name in probes:
        if name in (recipe.select_on, recipe.report_on):
            yield f"--probe {name} is scored already: it selects or reports"


@_rule("loss", "shape", "columns", "train_data")
def _loss_and_shape(recipe: Recipe) -> Iterator[str]:
    if not recipe.loss:
        return
    left, because = shapes(recipe)
    if not set(left) & set(LOSS_SHAPES[recipe.loss]):
        why = f"not from {recipe.shape}" if recipe.shape else f"and {because}"
        yield f"--loss {recipe.loss} learns from {' or '.join(LOSS_SHAPES[recipe.loss])}, {why}; {_losses_for(left)}"


@_rule("loss", "more_data", "gradient_checkpointing")
def _cached_and_checkpointing(recipe: Recipe) -> Iterator[str]:
    if recipe.gradient_checkpointing:
        for loss in cached(recipe):
            yield (
                f"--loss {loss} does not go with --gradient-checkpointing: it runs the batch twice in small pieces "
                "already; leave one of them out"
            )


@_rule("loss", "more_data", "sparse")
def _cached_and_sparse(recipe: Recipe) -> Iterator[str]:
    if recipe.sparse:
        for loss in cached(recipe):
            yield f"--loss {loss} is for dense models; with --sparse {recipe.sparse}: --loss mnrl"


@_rule("loss", "more_data", "mini_batch", "batch_size")
def _mini_batch_in_batch(recipe: Recipe) -> Iterator[str]:
    if cached(recipe) and recipe.mini_batch is not None and recipe.mini_batch > recipe.batch_size:
        yield f"--mini-batch is {recipe.mini_batch}, more than --batch-size {recipe.batch_size}"


@_rule("forward", "gradient_checkpointing")
def _packed_and_checkpointing(recipe: Recipe) -> Iterator[str]:
    if recipe.forward == "packed" and recipe.gradient_checkpointing:
        yield "--forward packed keeps what --gradient-checkpointing computes again; plain and chunked go with it"


@_rule("forward", "loss", "more_data")
def _cached_and_forward(recipe: Recipe) -> Iterator[str]:
    if recipe.forward in ("packed", "chunked") and (losses := cached(recipe)):
        yield f"--forward {recipe.forward} does not go with --loss {losses[0]}, which cuts the batch itself"


@_rule("merge", "lora")
def _merged_adapters(recipe: Recipe) -> Iterator[str]:
    if recipe.merge and recipe.lora is None:
        yield "--merge writes adapters into their base, and there are none: add --lora"


@_rule("active_dims", "sparse")
def _active_dims(recipe: Recipe) -> Iterator[str]:
    if recipe.active_dims is not None and recipe.sparse != "csr":
        yield "--active-dims is for --sparse csr; how many a SPLADE model keeps active follows from --flops-weight"


@_rule("matryoshka", "sparse")
def _matryoshka(recipe: Recipe) -> Iterator[str]:
    dimensions = recipe.matryoshka or ()
    if len(set(dimensions)) != len(dimensions):
        yield f"--matryoshka names a dimension twice: {' '.join(map(str, dimensions))}"


@_rule(*DENSE, "sparse")
def _dense_alone(recipe: Recipe) -> Iterator[str]:
    for name, why in DENSE.items() if recipe.sparse else ():
        if getattr(recipe, name):
            yield f"--{name.replace('_', '-')} {why} dense embeddings; with --sparse {recipe.sparse} leave it out"


# By field: why adapters, which leave the base's weights as they are, do not go with another value than the default.
_WHOLE_WEIGHTS = {
    "soup": "--soup averages weights, and the mean of two adapters is no adapter of the mean",
    "keep_base": "--keep-base mixes the base's weights into those that were trained, and --lora trains none",
    "branches": "--branches averages weights, and adapters leave those of the base as they are",
    "start": "--start gives the base other weights, which adapters would not hold (or name it with --model)",
}


def _beside_adapters(field: str) -> Rule:
    def rule(recipe: Recipe) -> Iterator[str]:
        if recipe.lora is not None and getattr(recipe, field) != getattr(type(recipe), field):
            yield f"{_WHOLE_WEIGHTS[field]}; leave one of them out"

    return rule


for _field in _WHOLE_WEIGHTS:
    _rule(_field, "lora")(_beside_adapters(_field))


@_rule("sparse", "lora")
def _adapters_and_autoencoder(recipe: Recipe) -> Iterator[str]:
    if recipe.sparse == "csr" and recipe.lora is not None:
        # Adapters freeze all else, and an autoencoder that stays as random as it began is no use.
        yield "--lora does not go with --sparse csr: the autoencoder is trained whole; leave one of them out"
