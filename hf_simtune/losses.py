"""The losses by name. What shapes each takes stands in rules.LOSS_SHAPES, which loads without torch."""

from __future__ import annotations

from collections.abc import Callable

from sentence_transformers import SentenceTransformer, SparseEncoder, util
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer import losses as dense
from sentence_transformers.sparse_encoder import losses as sparse
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder
from torch import nn

from hf_simtune.errors import RequestError
from hf_simtune.recipe import Recipe
from hf_simtune.rules import MINI_BATCH

__all__ = ["DENSE", "SPARSE", "batch_sampler", "build"]

DENSE: dict[str, Callable[[SentenceTransformer, Recipe], nn.Module]] = {
    # van den Oord et al. 2018 (InfoNCE), Henderson et al. 2017: every other positive of the batch is a negative.
    "mnrl": lambda model, recipe: dense.MultipleNegativesRankingLoss(model, scale=1 / recipe.temperature),
    # Gao et al. 2021, arXiv:2101.06983: the same gradients as mnrl, a few rows in memory at a time.
    "cached_mnrl": lambda model, recipe: dense.CachedMultipleNegativesRankingLoss(
        model, scale=1 / recipe.temperature, mini_batch_size=recipe.mini_batch or min(MINI_BATCH, recipe.batch_size)
    ),
    # https://kexue.fm/archives/8847: the order of the similarities follows the order of the scores.
    "cosent": lambda model, recipe: dense.CoSENTLoss(model, scale=1 / recipe.temperature),
    # Li and Li 2023, arXiv:2309.12871: CoSENT on angles in the complex plane.
    "angle": lambda model, recipe: dense.AnglELoss(model, scale=1 / recipe.temperature),
    # Reimers and Gurevych 2019, arXiv:1908.10084: the cosine is the score, in squared error.
    "cosine": lambda model, recipe: dense.CosineSimilarityLoss(model),
    # Gao et al. 2021, arXiv:2104.08821: a sentence under another dropout is its own positive.
    "simcse": lambda model, recipe: dense.MultipleNegativesRankingLoss(model, scale=1 / recipe.temperature),
}
# The same on sparse encoders, by cosine too: the figure that is reported is what is trained.
SPARSE: dict[str, Callable[[SparseEncoder, Recipe], nn.Module]] = {
    "mnrl": lambda model, recipe: sparse.SparseMultipleNegativesRankingLoss(
        model, scale=1 / recipe.temperature, similarity_fct=util.cos_sim
    ),
    "cosent": lambda model, recipe: sparse.SparseCoSENTLoss(model, scale=1 / recipe.temperature),
    "angle": lambda model, recipe: sparse.SparseAnglELoss(model, scale=1 / recipe.temperature),
    "cosine": lambda model, recipe: sparse.SparseCosineSimilarityLoss(model),
}
SPARSE["simcse"] = SPARSE["mnrl"]


def build(name: str, model: SentenceTransformer | SparseEncoder, recipe: Recipe) -> nn.Module:
    """The loss called ``name`` on ``model``, in what the recipe and the kind of model wrap around it.

    ``recipe.temperature`` divides the similarities (the libraries' ``scale`` is its inverse). A SPLADE model's loss
    gets the FLOPS regulariser (Formal et al. 2022, arXiv:2205.04733), an autoencoder's the reconstruction of its input
    (Wen et al. 2025, arXiv:2503.01776), a dense one with ``recipe.matryoshka`` is applied to the first dimensions too
    (Kusupati et al. 2022, arXiv:2205.13147).

    Raises:
        RequestError: the model does not take the loss, or has fewer dimensions than the recipe cuts to.
    """
    if not isinstance(model, SparseEncoder):
        loss = DENSE[name](model, recipe)
        return _matryoshka(model, loss, recipe.matryoshka) if recipe.matryoshka else loss
    if name not in SPARSE:
        raise RequestError(f"--loss {name} is for dense models; a sparse one takes {', '.join(SPARSE)}")
    if recipe.matryoshka:
        raise RequestError("--matryoshka cuts dense embeddings, and the model is a sparse encoder")
    similarity = model.similarity_fn_name
    loss = SPARSE[name](model, recipe)
    model.similarity_fn_name = similarity  # SparseCosineSimilarityLoss sets it behind one's back
    if any(isinstance(module, SparseAutoEncoder) for module in model.children()):
        return sparse.CSRLoss(model, loss)
    return sparse.SpladeLoss(
        model, loss, document_regularizer_weight=recipe.flops_weight, use_document_regularizer_only=True
    )


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
    in_batch = name in ("mnrl", "cached_mnrl", "simcse")
    return BatchSamplers.NO_DUPLICATES if in_batch else BatchSamplers.BATCH_SAMPLER
