"""Settings of a recipe that no part of its run would read: which, and what would read them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hf_simtune.loss_table import LOSSES
from hf_simtune.row_shapes import cached, named_losses

if TYPE_CHECKING:
    from hf_simtune.recipe import Recipe

__all__ = ["MINI_BATCH", "UNREAD", "told", "unread"]

MINI_BATCH = 32  # rows that a cached loss runs at a time where nobody says, or the batch if that is smaller


def unread(recipe: Recipe, wrong: Collection[str] = ()) -> dict[str, str]:
    """Fields that are not as by default and that no part of the run reads, each with why: what would read it.

    The arguments are as ``together`` takes them.
    """
    found: dict[str, str] = {}
    for field, (others, rule) in UNREAD.items():
        if {field, *others}.isdisjoint(wrong) and getattr(recipe, field) != getattr(type(recipe), field):
            found.update((field, why) for why in rule(recipe))
    return found


def told(field: str, values: Sequence[Any], why: str, where: str = "") -> str:
    """The sentence for a field that nothing reads.

    Args:
        field: its name.
        values: that it has, one in a recipe, one or more in a sweep.
        why: as ``unread`` has it.
        where: in which cells of a sweep, to stand behind "nothing reads it".
    """
    flag, end = "--" + field.replace("_", "-"), "sweep those without it" if where else "leave it out"
    return f"{flag} is {' or '.join(map(str, values))}, and nothing reads it{where}: {why}; {end}"


def _temperature(recipe: Recipe) -> Iterator[str]:
    those = [name for name, loss in LOSSES.items() if loss.temperature]
    if {recipe.loss, *(loss for loss, _ in named_losses(recipe.more_data))} <= LOSSES.keys() - those:
        yield f"--loss {recipe.loss} has none, {', '.join(those)} have one"


def _mini_batch(recipe: Recipe) -> Iterator[str]:
    # The number that is taken where none is given does no harm: records of before hold it.
    if recipe.mini_batch != MINI_BATCH and not cached(recipe):
        yield "it is for --loss cached_mnrl"


def _negative_margin(recipe: Recipe) -> Iterator[str]:
    if not recipe.mine_negatives:
        yield "it is for --mine-negatives, as in --mine-negatives 3"


def _flops_weight(recipe: Recipe) -> Iterator[str]:
    if recipe.sparse == "csr":
        yield "it is for a SPLADE model, and --sparse csr makes an autoencoder"


Reader = Callable[["Recipe"], Iterator[str]]


def _warmup(recipe: Recipe) -> Iterator[str]:
    if recipe.scheduler == "constant":
        yield "--scheduler constant does not rise, constant_with_warmup does"


# By field: the others that decide whether it is read, and what says that it is not.
UNREAD: dict[str, tuple[tuple[str, ...], Reader]] = {
    "temperature": (("loss", "more_data"), _temperature),
    "mini_batch": (("loss", "more_data"), _mini_batch),
    "negative_margin": (("mine_negatives",), _negative_margin),
    "flops_weight": (("sparse",), _flops_weight),
    "warmup": (("scheduler",), _warmup),
    "hub_model_id": (("push_to_hub",), lambda recipe: iter(() if recipe.push_to_hub else ["it is for --push-to-hub"])),
}
UNREAD["hub_private_repo"] = UNREAD["hub_model_id"]
