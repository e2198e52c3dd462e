"""Which recipes the branches of a run are: found by name, and made to fit the run they are part of."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from hf_simtune import catalogue, flags
from hf_simtune.branches import Named, named_branches
from hf_simtune.data.spec import check_names
from hf_simtune.errors import RequestError, SimtuneError, joined
from hf_simtune.fields import wrong_fields
from hf_simtune.recipe import Recipe

__all__ = ["Branch", "problems", "resolve"]

# A branch is one training of whole weights on one set of rows, from where the run begins.
_ALONE = ("more_data", "mine_negatives", "start", "sparse", "lora", "soup", "keep_base", "branches")
# What is the run's: its model, what it is measured on, and how its machine computes.
_OF_THE_RUN = (
    *("model", "model_revision", "max_length", "prompt", "select_on", "report_on", "eval_columns", "eval_score_range"),
    *("probe", "keep_leaks", "skip_bad_rows", "on_collapse", "matryoshka", "gradient_checkpointing", "seed"),
    *("precision", "forward", "stand_in_for"),
)


_NOT_LOST = ("matryoshka", "prompt", "max_length")  # what of these a branch has, the run has to have too
_NOT_TRAINED = ("name", "title", "branches", "soup", "keep_base", "evaluations", "patience", "start")


@dataclasses.dataclass(frozen=True)
class Branch:
    """One branch of a run."""

    named: Named
    name: str  # without a path and its share, for records and people
    recipe: Recipe  # the named one's data, loss and schedule, and the run's all else


def resolve(recipe: Recipe) -> tuple[Branch, ...]:
    """The branches of a recipe.

    Raises:
        RequestError: with every branch that is no recipe, or one that trains more than whole weights on one data set.
    """
    if recipe.branches and recipe.sparse:
        raise RequestError(
            f"--branches averages the weights of dense models; with --sparse {recipe.sparse} leave it out"
        )
    found, refused = [], list[SimtuneError]()
    for named in named_branches(recipe.branches):
        try:
            found.append(_branch(recipe, named))
        except RequestError as error:
            refused.append(error)
    if refused:
        raise joined(refused)
    return tuple(found)


def problems(recipe: Recipe, *, offline: bool = False) -> list[str]:
    """What is wrong with the branches of a recipe and the names of their data, as far as no row tells."""
    if "branches" in wrong_fields(recipe):  # told already
        return []
    try:
        found = resolve(recipe)
    except RequestError as error:
        return list(error.problems)
    bare = [
        (branch.named.entry, dataclasses.replace(branch.recipe, select_on=None, report_on=None, probe=None))
        for branch in found
    ]
    return [f"--branches {entry}: {told}" for entry, one in bare for told in check_names(one, offline=offline)]


def _branch(recipe: Recipe, named: Named) -> Branch:
    try:
        own = catalogue.find(named.recipe)
    except RequestError as error:
        raise RequestError([f"--branches {named.entry}: {told}" for told in error.problems], hint=error.hint) from error
    if odd := [name for name in _ALONE if getattr(own, name) != getattr(Recipe, name)]:
        told = ", ".join(f"--{name.replace('_', '-')}" for name in odd)
        raise RequestError(
            f"--branches {named.entry}: the recipe {own.name} has {told}, and a branch is one training of whole "
            "weights on one data set, from where the run begins",
            hint="See: hf-simtune recipes",
        )
    if lost := [name for name in _NOT_LOST if getattr(own, name) not in (None, getattr(recipe, name))]:
        flags_of = ", ".join(f"--{name.replace('_', '-')}" for name in lost)
        raise RequestError(f"--branches {named.entry}: the recipe {own.name} has {flags_of}, and the run has not")
    wrong = wrong_fields(recipe)
    changes = {name: getattr(recipe, name) for name in _OF_THE_RUN if name not in wrong}
    if recipe.evaluations is not None and "evaluations" not in wrong:  # asked for, so for each of the trainings
        changes["evaluations"] = recipe.evaluations
    if named.data is not None:
        changes["train_data"] = named.data
    made, known = dataclasses.replace(own, **changes), recipe.check()
    if odd := [f"--branches {named.entry}: {problem}" for problem in made.check() if problem not in known]:
        raise RequestError(odd, hint="See: hf-simtune tune --help")
    if dataclasses.replace(made, **{name: getattr(recipe, name) for name in _NOT_TRAINED}) == recipe:
        raise RequestError(
            f"--branches {named.entry}: that is the run's own training again",
            hint="To average trainings with several seeds: --soup 3",
        )
    data = f":{flags.without_path(named.data)}" if named.data else ""
    return Branch(named, Path(named.recipe).name + data, made)
