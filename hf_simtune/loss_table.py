"""Every loss in one place: what it learns from, what sentence-transformers calls it, where it comes from. No torch."""

from __future__ import annotations

import dataclasses

__all__ = ["LOSSES", "Loss"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss:
    """One loss. Recipes are checked, cards are worded and trainers are built from it."""

    shapes: tuple[str, ...]  # of rows, that it learns from
    dense: str  # its class in sentence_transformers.sentence_transformer.losses
    sparse: str | None  # in sentence_transformers.sparse_encoder.losses; None: it is for dense models alone
    papers: tuple[str, ...] = ()  # what a card cites: keys of templates/card_citation.md.jinja
    temperature: bool = True  # it divides similarities by one
    in_batch: bool = False  # every other positive of a batch is a negative, so that no text may come twice in one
    ranks: bool = False  # it compares the pairs of a batch with each other
    cached: bool = False  # it runs mini-batches of its own, with the gradients of the whole batch


# The first of those that learn from a shape is its default.
LOSSES: dict[str, Loss] = {
    # van den Oord et al. 2018 (InfoNCE), Henderson et al. 2017: every other positive of the batch is a negative.
    "mnrl": Loss(
        shapes=("pairs", "triplets"),
        dense="MultipleNegativesRankingLoss",
        sparse="SparseMultipleNegativesRankingLoss",
        papers=("mnrl",),
        in_batch=True,
    ),
    # Gao et al. 2021, arXiv:2101.06983: the same gradients as mnrl, a few rows in memory at a time.
    "cached_mnrl": Loss(
        shapes=("pairs", "triplets"),
        dense="CachedMultipleNegativesRankingLoss",
        sparse=None,
        papers=("mnrl", "cached"),
        in_batch=True,
        cached=True,
    ),
    # https://kexue.fm/archives/8847: the order of the similarities follows the order of the scores.
    "cosent": Loss(shapes=("scored",), dense="CoSENTLoss", sparse="SparseCoSENTLoss", papers=("cosent",), ranks=True),
    # Li and Li 2023, arXiv:2309.12871: CoSENT on angles in the complex plane.
    "angle": Loss(shapes=("scored",), dense="AnglELoss", sparse="SparseAnglELoss", papers=("angle",), ranks=True),
    # Reimers and Gurevych 2019, arXiv:1908.10084: the cosine is the score, in squared error.
    "cosine": Loss(
        shapes=("scored",), dense="CosineSimilarityLoss", sparse="SparseCosineSimilarityLoss", temperature=False
    ),
    # Gao et al. 2021, arXiv:2104.08821: a sentence under another dropout is its own positive.
    "simcse": Loss(
        shapes=("sentences",),
        dense="MultipleNegativesRankingLoss",
        sparse="SparseMultipleNegativesRankingLoss",
        papers=("mnrl", "simcse"),
        in_batch=True,
    ),
}
