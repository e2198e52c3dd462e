"""The losses by name. What shapes each takes stands in recipe.LOSS_SHAPES, which loads without torch."""

from __future__ import annotations

from collections.abc import Callable

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer import losses
from torch import nn

__all__ = ["LOSSES", "batch_sampler", "build", "default_loss"]

LOSSES: dict[str, Callable[[SentenceTransformer, float], nn.Module]] = {
    # van den Oord et al. 2018 (InfoNCE), Henderson et al. 2017: every other positive of the batch is a negative.
    "mnrl": lambda model, temperature: losses.MultipleNegativesRankingLoss(model, scale=1 / temperature),
    # https://kexue.fm/archives/8847: the order of the similarities follows the order of the scores.
    "cosent": lambda model, temperature: losses.CoSENTLoss(model, scale=1 / temperature),
    # Li and Li 2023, arXiv:2309.12871: CoSENT on angles in the complex plane.
    "angle": lambda model, temperature: losses.AnglELoss(model, scale=1 / temperature),
    # Reimers and Gurevych 2019, arXiv:1908.10084: the cosine is the score, in squared error.
    "cosine": lambda model, temperature: losses.CosineSimilarityLoss(model),
}


def default_loss(shape: str) -> str:
    """The loss for rows of a shape when the recipe names none."""
    return {"pairs": "mnrl", "triplets": "mnrl", "scored": "cosent"}[shape]


def build(name: str, model: SentenceTransformer, temperature: float) -> nn.Module:
    """The loss called ``name`` on ``model``; ``temperature`` divides the similarities (``scale`` is its inverse)."""
    return LOSSES[name](model, temperature)


def batch_sampler(name: str) -> BatchSamplers:
    """Batches for a loss: a text that comes twice in a batch would be its own negative under mnrl."""
    return BatchSamplers.NO_DUPLICATES if name == "mnrl" else BatchSamplers.BATCH_SAMPLER
