"""The losses of loss_table as modules on a model, in what the recipe and the kind of model wrap around them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sentence_transformers import SentenceTransformer, SparseEncoder, util
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer import losses as dense
from sentence_transformers.sparse_encoder import losses as sparse
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder
from torch import nn

from hf_simtune.errors import RequestError
from hf_simtune.loss_table import LOSSES
from hf_simtune.recipe import Recipe
from hf_simtune.unread_fields import MINI_BATCH

__all__ = ["across", "batch_sampler", "build"]


def build(name: str, model: SentenceTransformer | SparseEncoder, recipe: Recipe, *, processes: int = 1) -> nn.Module:
    """The loss called ``name`` on ``model``, in what the recipe and the kind of model wrap around it.

    ``recipe.temperature`` divides the similarities (the libraries' ``scale`` is its inverse). A SPLADE model's loss
    gets the FLOPS regulariser (Formal et al. 2022, arXiv:2205.04733), an autoencoder's the reconstruction of its input
    (Wen et al. 2025, arXiv:2503.01776), a dense one with ``recipe.matryoshka`` is applied to the first dimensions too
    (Kusupati et al. 2022, arXiv:2205.13147). Of several processes, each takes the others' rows for negatives too.

    Raises:
        RequestError: the model does not take the loss, or has fewer dimensions than the recipe cuts to.
    """
    if not isinstance(model, SparseEncoder):
        if LOSSES[name].cached and model.transformers_model is None:
            raise RequestError(f"--loss {name} does not go with a static model, which runs a batch whole: --loss mnrl")
        loss: nn.Module = getattr(dense, LOSSES[name].dense)(model, **_options(name, recipe, processes))
        return _matryoshka(model, loss, recipe.matryoshka) if recipe.matryoshka else loss
    called = LOSSES[name].sparse
    if called is None:
        taken = ", ".join(other for other, entry in LOSSES.items() if entry.sparse)
        raise RequestError(f"--loss {name} is for dense models; a sparse one takes {taken}")
    if recipe.matryoshka:
        raise RequestError("--matryoshka cuts dense embeddings, and the model is a sparse encoder")
    similarity = model.similarity_fn_name
    by_cosine = {"similarity_fct": util.cos_sim} if LOSSES[name].in_batch else {}  # as what is reported
    loss = getattr(sparse, called)(model, **_options(name, recipe, processes), **by_cosine)
    model.similarity_fn_name = similarity  # SparseCosineSimilarityLoss sets it behind one's back
    if any(isinstance(module, SparseAutoEncoder) for module in model.children()):
        return sparse.CSRLoss(model, loss)
    return sparse.SpladeLoss(
        model, loss, document_regularizer_weight=recipe.flops_weight, use_document_regularizer_only=True
    )


def across(names: Iterable[str], recipe: Recipe, processes: int) -> str:
    """What several processes have of each other's rows, as sentences; empty of one alone.

    Args:
        names: of the losses.
        recipe: with the rows per step and process.
        processes: how many train together.
    """
    if processes == 1:
        return ""
    told, whole = list[str](), processes * recipe.batch_size
    left = (
        "gradients are not accumulated, which would add no negatives; rows at the end of an epoch that do not fill a "
    )
    for name in dict.fromkeys(names):
        called = LOSSES[name].dense
        if LOSSES[name].in_batch:
            told.append(
                f"{called} takes its negatives from all {processes} processes, {whole} rows a step; a text that "
                "stands in the batches of two processes is then a negative of itself, as texts come once in each alone"
            )
        elif LOSSES[name].ranks:
            told.append(
                f"{called} compares the {recipe.batch_size} pairs of a process with each other, and not across "
                f"processes: that is another loss than one process with {whole} has"
            )
    return "; ".join([*told, f"{left}batch of every process are left out"])


def _options(name: str, recipe: Recipe, processes: int) -> dict[str, Any]:
    """What a loss takes of the recipe, by the libraries' names."""
    options: dict[str, Any] = {"scale": 1 / recipe.temperature} if LOSSES[name].temperature else {}
    if LOSSES[name].cached:
        options["mini_batch_size"] = recipe.mini_batch or min(MINI_BATCH, recipe.batch_size)
    if LOSSES[name].in_batch and processes > 1:
        options["gather_across_devices"] = True
    return options


def _matryoshka(model: SentenceTransformer, loss: nn.Module, dimensions: tuple[int, ...]) -> nn.Module:
    whole = model.get_embedding_dimension() or 0
    if max(dimensions) > whole:
        raise RequestError(
            f"--matryoshka {' '.join(map(str, dimensions))}: the model has {whole} dimensions",
            hint=f"As in: --matryoshka {whole} {whole // 2} {whole // 4}",
        )
    # The whole embedding is what selects and what is reported: it is trained whether it was named or not.
    return dense.MatryoshkaLoss(model, loss, sorted({*dimensions, whole}, reverse=True))


def batch_sampler(name: str) -> BatchSamplers:
    """Batches for a loss: a text that comes twice in a batch would be its own negative under mnrl."""
    return BatchSamplers.NO_DUPLICATES if LOSSES[name].in_batch else BatchSamplers.BATCH_SAMPLER
