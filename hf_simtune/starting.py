"""The weights that training goes on from, where they are not the base's."""

from __future__ import annotations

import dataclasses

import torch

from hf_simtune import models
from hf_simtune.errors import RequestError
from hf_simtune.evaluation.sts import Model
from hf_simtune.recipe import Recipe
from hf_simtune.record import ModelFacts

__all__ = ["Start", "start"]


@dataclasses.dataclass(frozen=True)
class Start:
    """A model that an earlier training made of the same base, or of one like it."""

    facts: ModelFacts
    weights: dict[str, torch.Tensor]  # by the names of the model that is trained; of an autoencoder's none

    def put_into(self, model: Model) -> None:
        """Give a model these weights; of what they do not have, an autoencoder, it keeps its own."""
        model.load_state_dict({**model.state_dict(), **self.weights})


def start(model: Model, recipe: Recipe) -> Start | None:
    """The weights that a recipe goes on from; None where it begins at its base.

    An autoencoder on a dense model (``--sparse csr``) goes on from a dense one, and begins anew itself.

    Raises:
        RequestError: no such model, or one whose weights do not fit the base, with the first that does not.
        HubError: the Hub could not be reached, or does not have it.
    """
    if recipe.start is None:
        return None
    found, facts = models.load(recipe.start, max_length=recipe.max_length)
    own, given = model.state_dict(), found.state_dict()
    added = f"{len(model) - 1}." if recipe.sparse == "csr" and len(found) < len(model) else None
    wanted = {name for name in own if added is None or not name.startswith(added)}
    odd = sorted(
        {name for name in wanted & given.keys() if own[name].shape != given[name].shape} | (wanted ^ given.keys())
    )
    if odd:
        name = odd[0]
        sides = [f"{tuple(side[name].shape)}" if name in side else "none" for side in (given, own)]
        raise RequestError(
            f"--start {recipe.start} does not fit the base {recipe.model}: {len(odd):,} of its weights differ in name "
            f"or shape; {name} is {sides[0]} there and {sides[1]} in the base",
            hint="Go on from a model that was tuned from this base, or leave --start out and name it with --model",
        )
    if facts.kind != "dense" and recipe.sparse:
        raise RequestError(f"--start {recipe.start} is sparse already, and --sparse {recipe.sparse} makes a new one")
    return Start(facts, {name: given[name].detach().to("cpu", copy=True) for name in wanted})
