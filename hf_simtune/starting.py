"""The weights that training goes on from, where they are not the base's."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import torch
from torch import nn

from hf_simtune import adapters, models
from hf_simtune.errors import RequestError
from hf_simtune.evaluation.sts import Model
from hf_simtune.model_names import at_revision
from hf_simtune.recipe import Recipe
from hf_simtune.record import ModelFacts
from hf_simtune.weights import weights_sha256

__all__ = ["Start", "start"]

log = logging.getLogger("hf_simtune")


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

    An autoencoder on a dense model (``--sparse csr``) may go on from a dense one, and begins anew itself.

    Raises:
        RequestError: no such model, one whose modules or weights do not fit the base, with the first that does not, or
            the base itself.
        HubError: the Hub could not be reached, or does not have it.
    """
    if recipe.start is None:
        return None
    name, revision = at_revision(recipe.start)
    found, facts = models.load(
        name, revision, max_length=recipe.max_length, prompt=recipe.prompt, allow_pickle=recipe.allow_pickle
    )
    if adapters.attached(found):
        raise RequestError(
            f"--start {recipe.start} holds adapters, and training goes on from whole weights",
            hint="Merge them first, with --lora --merge on the run that made them",
        )
    own, given = model.state_dict(), found.state_dict()
    dense_below = recipe.sparse == "csr" and len(found) < len(model)
    wanted = {key for key in own if not (dense_below and key.startswith(f"{len(model) - 1}."))}
    odd = sorted({key for key in wanted & given.keys() if own[key].shape != given[key].shape} | (wanted ^ given.keys()))
    problem = _other_modules(model, found, dense_below)
    if odd:
        sides = [f"{tuple(side[odd[0]].shape)}" if odd[0] in side else "none" for side in (given, own)]
        problem = (
            f"{len(odd):,} of its weights differ in name or shape; {odd[0]} is {sides[0]} there and {sides[1]} in the "
            "base"
        )
    if problem:
        raise RequestError(
            f"--start {recipe.start} does not fit the base {recipe.model}: {problem}",
            hint="Go on from a model that was tuned from this base, or leave --start out and name it with --model",
        )
    if facts.weights_sha256 == weights_sha256(model):
        raise RequestError(f"--start {recipe.start} has the weights of the base: training begins there anyway")
    if (found.max_seq_length, facts.prompt) != (model.max_seq_length, _prompt(model)):
        log.warning("%s was made for another maximum length or prompt than those of the base, used here", facts.name)
    return Start(facts, {key: given[key].detach().to("cpu", copy=True) for key in wanted})


def _other_modules(model: Model, found: Model, dense_below: bool) -> str | None:
    """What tells the modules of two models apart, beside weights; None where nothing does."""
    ours, theirs = list(model.children()), list(found.children())
    if dense_below:
        ours = ours[:-1]
    kinds = [[type(module).__name__ for module in modules] for modules in (theirs, ours)]
    if kinds[0] != kinds[1]:
        return f"its modules are {', '.join(kinds[0])}, those of the base {', '.join(kinds[1])}"
    for one, other in zip(theirs[1:], ours[1:], strict=True):
        theirs_set, ours_set = _settings(one), _settings(other)
        if theirs_set != ours_set:
            return f"its {type(one).__name__} is set to {theirs_set}, that of the base to {ours_set}"
    return None


def _settings(module: nn.Module) -> dict[str, Any]:
    found: dict[str, Any] = getattr(module, "get_config_dict", dict)()
    return found


def _prompt(model: Model) -> str:
    return model.prompts.get(model.default_prompt_name or "", "") or ""
