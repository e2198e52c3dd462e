"""Is an autoencoder worth it? What a record says of a sparse encoder beside the dense model that it was built on."""

from __future__ import annotations

from hf_simtune.evaluation.compare import certainty
from hf_simtune.record import RunRecord
from hf_simtune.wording import UNDEFINED, points, signed

__all__ = ["sentence"]


def sentence(record: RunRecord) -> str:
    """The comparison in words, with its interval; empty where there was no dense model below.

    It takes the place of a verdict: an autoencoder begins with random numbers, and a gain over those proves nothing.
    """
    if record.dense is None:
        return ""
    found, dimensions = record.dense.evaluation, record.dense.dimensions
    comparison, active = found.comparison, found.tuned.active_dimensions
    used = f" ({active:,.1f} of {record.tuned.dimensions:,} dimensions)" if active is not None else ""
    answer = comparison.verdict if comparison else "no evidence"
    change = UNDEFINED
    if comparison and comparison.difference is not None:
        change = f"{signed(comparison.difference)} points"
        if sure := certainty(comparison):
            change += f" ({sure})"
    dense, sparse = points(found.base.spearman), points(found.tuned.spearman)
    after = f" (and before its tuning to {record.training.start.name})" if record.training.start else ""
    return (
        f"Beside the dense model below the autoencoder, untuned{after}: {answer}. Spearman x 100 is {dense} for the "
        f"dense one ({dimensions:,} dimensions) and {sparse} for this one{used}: {change}."
    )
