"""What a reader must know beside the figures of a run, wherever they are shown."""

from __future__ import annotations

from collections.abc import Iterator

from hf_simtune import dense_below
from hf_simtune.card_evaluation import outscored
from hf_simtune.record import RunRecord

__all__ = ["cautions"]


def cautions(record: RunRecord) -> Iterator[str]:
    """Sentences: that a base stands in for another, is untrained, that scores are on built-in rows, or nothing came."""
    base = record.base
    if base.stand_in_for:
        yield f"STAND-IN: {base.name} was taken in place of {base.stand_in_for}; these are not that model's scores."
    if base.untrained:
        yield f"No verdict: the base begins with {base.untrained} untrained, and a gain over that proves nothing."
    if beside := dense_below.sentence(record):
        yield beside
    if record.offline and record.built_in:
        yield "Offline: these scores are on the built-in sports corpus and do not stand for STSb."
    if record.training.best_step == 0:
        healthy = " with healthy embeddings" if outscored(record) else ""
        yield f"No checkpoint{healthy} beat the base on the selection rows: model/ holds the base unchanged."
