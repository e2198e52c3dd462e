"""Recipe -> what is trained: rows, model, losses. Everything that can be wrong is found here, before a step is made."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

from datasets import Dataset
from sentence_transformers import SparseEncoder
from sentence_transformers.base.sampler import BatchSamplers
from torch import nn

from hf_simtune import adapters, branching, losses, models, wordless
from hf_simtune.data import inputs, mining
from hf_simtune.data.inputs import Inputs
from hf_simtune.data.mined_leaks import without_leaks
from hf_simtune.data.training import training_rows
from hf_simtune.errors import RequestError
from hf_simtune.evaluation.sts import Model
from hf_simtune.loss_table import LOSSES
from hf_simtune.recipe import Recipe
from hf_simtune.record import FurtherData, Mined, ModelFacts
from hf_simtune.row_shapes import default_loss
from hf_simtune.schedule import LONG, patience
from hf_simtune.setups import setups
from hf_simtune.starting import Start, start

__all__ = ["MAIN", "Prepared", "PreparedBranch", "load_base", "prepare"]

MAIN = "main"  # the recipe's own training set among several
log = logging.getLogger("hf_simtune")


@dataclasses.dataclass(frozen=True)
class PreparedBranch:
    """What a branch trains the run's model on, and with which loss."""

    name: str
    recipe: Recipe
    share: float
    rows: Dataset
    loss: nn.Module
    loss_name: str
    sampler: BatchSamplers


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What a run trains, on what, and with which loss on which rows."""

    inputs: Inputs
    model: Model
    base: ModelFacts
    rows: dict[str, Dataset]  # by training set; "main" is the recipe's own
    names: dict[str, str]  # of the losses
    losses: dict[str, nn.Module]
    sampler: BatchSamplers
    trainable: tuple[int, int]  # parameters of the model with its adapters, and those of them that are trained
    lora: str | None  # the adapters in words
    further: tuple[FurtherData, ...]
    mined: Mined | None
    start: Start | None  # weights to train from, which the model does not have yet
    branches: tuple[PreparedBranch, ...] = ()  # trainings apart, from where the run begins
    processes: int = 1  # that train together
    across: str = ""  # what these have of each other's rows, in words
    setups: dict[str, str] = dataclasses.field(default_factory=dict)  # of the untouched base

    @property
    def all_losses(self) -> list[nn.Module]:
        """Of the recipe's own training and of its branches."""
        return [*self.losses.values(), *(branch.loss for branch in self.branches)]

    @property
    def loss_name(self) -> str:
        """Of the recipe's own training set."""
        return self.names[MAIN]

    @property
    def similarity(self) -> str:
        """By which base and tuned model are compared."""
        return str(self.model.similarity_fn_name or "cosine")

    @property
    def texts(self) -> Dataset:
        """The recipe's own rows."""
        return self.rows[MAIN]


def prepare(
    recipe: Recipe, *, offline: bool, precision: str = "fp32", progress: bool = False, processes: int = 1
) -> Prepared:
    """Load rows, model and a start's weights, attach adapters, look for negatives in ``precision``, build the losses.

    Raises:
        RequestError, DataError, HubError: with what was wrong where.
    """
    if recipe.lora and (problems := adapters.refused(recipe.model, merge=recipe.merge)):
        raise RequestError(problems)
    if problems := branching.problems(recipe, offline=offline):
        raise RequestError(problems)
    apart = branching.resolve(recipe)
    found = inputs.prepare(recipe, branches=apart, offline=offline)
    model, base = load_base(recipe)
    beside_weights = setups(model)
    if apart and isinstance(model, SparseEncoder):
        raise RequestError(f"--branches averages the weights of dense models, and {base.name} is a sparse encoder")
    if recipe.lora is None and adapters.attached(model):
        raise RequestError(
            f"{base.name} is a base with adapters, which are frozen when they are loaded: nothing would be trained",
            hint="Merge them first, with --lora --merge on the run that made them, or name their base with --lora",
        )
    wordless.check(model, base.name, _all_rows(found))
    if processes > 1 and isinstance(model, SparseEncoder):
        raise RequestError(
            f"{base.name} is a sparse encoder, whose regulariser is of one process's rows: train it in one"
        )
    begin = start(model, recipe)
    lora = _adapted(model, base, recipe)
    own, mined = found.rows, None
    if recipe.mine_negatives:
        if isinstance(model, SparseEncoder):
            raise RequestError(f"--mine-negatives looks with dense embeddings, and {base.name} is a sparse encoder")
        own, mined = mining.mine(
            own,
            model,
            negatives=recipe.mine_negatives,
            margin=recipe.negative_margin,
            precision=precision,
            progress=progress,
            name=base.name,
        )
        found, own = without_leaks(found, own, keep=recipe.keep_leaks)
        mined = dataclasses.replace(mined, rows=len(own))
        if len(own) < recipe.batch_size:
            raise RequestError(
                f"{len(own)} rows with a mined negative are left, fewer than one batch of {recipe.batch_size}",
                hint=f"Allow nearer negatives with --negative-margin, or --batch-size {max(2, len(own) // 4)}",
            )
    if processes > 1 and len(own) < processes * recipe.batch_size:
        raise RequestError(
            f"{len(own)} training rows do not fill one batch of {recipe.batch_size} for each of {processes} processes",
            hint=f"Take fewer processes, or --batch-size {max(2, len(own) // processes // 4)}",
        )
    rows = {MAIN: training_rows(own, found.train.source.shape)}
    names = {MAIN: recipe.loss or default_loss(found.train.source.shape)}
    beside = [more for more in found.further if more.branch is None]
    for number, more in enumerate(beside, start=2):
        rows[f"further{number}"] = training_rows(more.rows, more.loaded.source.shape)
        names[f"further{number}"] = more.loss
    branches = tuple(
        _branch(more, apart[more.branch], model, processes) for more in found.further if more.branch is not None
    )
    _warn_of_overfitting(recipe, len(own))
    for branch in branches:
        _warn_of_overfitting(branch.recipe, len(branch.rows), f"the branch {branch.name}: ")
    return Prepared(
        inputs=found,
        model=model,
        base=base,
        rows=rows,
        names=names,
        losses={key: losses.build(name, model, recipe, processes=processes) for key, name in names.items()},
        across=_across(names, recipe, branches, processes),
        processes=processes,
        sampler=max((losses.batch_sampler(name) for name in names.values()), key=_strictness),
        trainable=(
            sum(tensor.numel() for tensor in model.parameters()),
            sum(tensor.numel() for tensor in model.parameters() if tensor.requires_grad),
        ),
        lora=lora,
        further=tuple(
            FurtherData(source=more.loaded.source, rows=len(more.rows), loss=more.loss)
            if more.branch is None
            else _facts(more, apart[more.branch])
            for more in found.further
        ),
        mined=mined,
        start=begin,
        setups=beside_weights,
        branches=branches,
    )


def _all_rows(found: Inputs) -> list[tuple[str, Dataset]]:
    """The rows of a run that its model encodes, each set with its title."""
    measured = [(part.source.title, part.dataset) for part in (found.report, found.select, *found.probes)]
    further = [(more.loaded.source.title, more.rows) for more in found.further]
    return [*measured, (found.train.source.title, found.rows), *further]


def _across(names: dict[str, str], recipe: Recipe, branches: Sequence[PreparedBranch], processes: int) -> str:
    """What several processes have of each other's rows, in the run's own training and in its branches."""
    told = {"": losses.across(names.values(), recipe, processes)}
    told |= {f"{one.name}: ": losses.across([one.loss_name], one.recipe, processes) for one in branches}
    return ". ".join(f"{whose}{words}" for whose, words in told.items() if words)


def _branch(more: inputs.Further, branch: branching.Branch, model: Model, processes: int) -> PreparedBranch:
    return PreparedBranch(
        name=branch.name,
        recipe=branch.recipe,
        share=branch.named.share,
        rows=training_rows(more.rows, more.loaded.source.shape),
        loss=losses.build(more.loss, model, branch.recipe, processes=processes),
        loss_name=more.loss,
        sampler=losses.batch_sampler(more.loss),
    )


def _facts(more: inputs.Further, branch: branching.Branch) -> FurtherData:
    """A branch's data for the record."""
    recipe = branch.recipe
    passes = f"{recipe.epochs:g} {'pass' if recipe.epochs == 1 else 'passes'}"
    told = f"{passes}, batches of {recipe.batch_size}, learning rate {recipe.learning_rate:g}"
    temperature = recipe.temperature if LOSSES[more.loss].temperature else None
    if temperature is not None:
        told += f", temperature {temperature:g}"
    if recipe.train_rows:
        told += f", at most {recipe.train_rows:,} rows"
    odd = ("warmup", "scheduler", "weight_decay", "evaluations", "patience", "mini_batch")
    for name in odd:
        if (value := getattr(recipe, name)) != getattr(Recipe, name):
            told += f", {name.replace('_', ' ')} {value}"
    return FurtherData(
        source=more.loaded.source,
        rows=len(more.rows),
        loss=more.loss,
        branch=branch.name,
        temperature=temperature,
        settings=told,
    )


def _adapted(model: Model, base: ModelFacts, recipe: Recipe) -> str | None:
    """Put adapters on the model, if the recipe has some; what they are, in words."""
    if recipe.lora is None:
        return None
    if problems := adapters.refused(recipe.model, base, merge=recipe.merge):
        raise RequestError(problems)
    made = adapters.attach(model, recipe.lora, recipe.seed)
    lora = recipe.lora
    dropout = f", dropout {lora.dropout:g}" if lora.dropout else ""
    return f"r = {lora.r}, alpha = {lora.alpha}{dropout}, on {made.layers} layers ({', '.join(made.targets)})"


def _strictness(sampler: BatchSamplers) -> int:
    """Batches without duplicates serve every loss; the others do not serve one with in-batch negatives."""
    return int(sampler == BatchSamplers.NO_DUPLICATES)


def load_base(recipe: Recipe) -> tuple[Model, ModelFacts]:
    """The untouched base of a recipe, as it is trained and measured."""
    model, base = models.load(
        recipe.model,
        recipe.model_revision,
        max_length=recipe.max_length,
        sparse=recipe.sparse,
        active_dims=recipe.active_dims,
        prompt=recipe.prompt,
        allow_pickle=recipe.allow_pickle,
        seed=recipe.seed,
    )
    _by_cosine(model, base)
    return model, dataclasses.replace(base, stand_in_for=recipe.stand_in_for)


def _by_cosine(model: Model, base: ModelFacts) -> None:
    """Sparse encoders are trained and measured by cosine here, whatever they were made for; so it is what is saved.

    The base's facts keep what it was made for.
    """
    if isinstance(model, SparseEncoder) and base.similarity != "cosine":
        log.warning("%s compares by %s; here base and tuned model are measured by cosine", base.name, base.similarity)
        model.similarity_fn_name = "cosine"


def _warn_of_overfitting(recipe: Recipe, rows: int, whose: str = "") -> None:
    if recipe.epochs <= LONG:
        return
    stops = patience(recipe)
    log.warning(
        "%s%g passes over %d rows: the model will learn them by heart rather than what they have in common. %s",
        whose,
        recipe.epochs,
        rows,
        f"Training stops after {stops} scores without a better one, and the best checkpoint is kept"
        if stops
        else "The best checkpoint is kept; --patience 5 would stop when nothing is gained any more",
    )
