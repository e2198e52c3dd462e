"""The proof of a release: loaded back by its name with plain sentence-transformers, it is the model that was scored."""

from __future__ import annotations

from pathlib import Path

import httpx2
import numpy as np
from datasets import Dataset
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer, SparseEncoder

from hf_simtune import scores_file
from hf_simtune.errors import RunError, first_line
from hf_simtune.evaluation import sts
from hf_simtune.evaluation.sts import Model
from hf_simtune.record import RunRecord
from hf_simtune.tellable import tellable_cause
from hf_simtune.weights import weights_sha256
from hf_simtune.wording import count

__all__ = ["round_trip"]

SAMPLE = 64  # report rows that are scored again
NEAR = 1e-4  # of a similarity, or of 1 where that is less: other batches and other processors round otherwise
# What the libraries raise over a download that broke off, or over files that are no model.
BROKEN = (
    *(OSError, httpx2.HTTPError, ValueError, KeyError, RuntimeError, TypeError, AttributeError),
    *(ImportError, SafetensorError),
)


def round_trip(
    record: RunRecord, scores: Path, rows: Dataset | None, to: str, commit: str, *, weights: str, again: str
) -> str:
    """Load a published model back and score it on some of the report rows.

    Args:
        record: of the run.
        scores: the run's scores.parquet.
        rows: the report rows; None where they are not at hand.
        to: ``ORG/NAME``.
        commit: at which it was published.
        weights: SHA-256 of those that were sent.
        again: the command that tries again, for errors.

    Returns:
        What was seen, a sentence.

    Raises:
        RunError: it does not load, or is not the model that was scored.
    """
    place = f"{to} at {commit}"
    try:
        model = _loaded(record, to, commit)
    except BROKEN as error:
        raise RunError(
            f"{to} was published, at {commit}, and could not be loaded back: {first_line(error)}",
            hint=f"What is there is not sent again, only loaded: {again}",
        ) from tellable_cause(error)
    if weights_sha256(model) != weights:
        raise RunError(f"{place} loads with other weights than those that were sent", hint=f"Again: {again}")
    if rows is None:
        return "loaded back by its name: the weights that were sent; nothing was scored again"
    part = next(part for part in scores_file.read(scores) if part.role == "report")
    sample = rows.select(np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).round().astype(int))
    at = {number: index for index, number in enumerate(part.row.tolist())}
    if missing := [number for number in sample["row"] if number not in at]:
        raise RunError(f"{scores} has no scores of {count(len(missing), 'row')} that the run had")
    kept = part.tuned[[at[number] for number in sample["row"]]]
    found = sts.similarities(model, sample)
    near = np.abs(found - kept) <= NEAR * np.maximum(1.0, np.abs(kept))
    unlike = ~(near | (np.isnan(found) & np.isnan(kept)))
    if unlike.any():
        raise RunError(
            f"{place} gives other similarities than those that were scored, on {int(unlike.sum())} of "
            f"{count(len(sample), 'row')}, by up to {np.nanmax(np.abs(found - kept)):.1e}",
            hint=f"Again: {again}",
        )
    return f"loaded back by its name: the weights that were scored, and the same similarities on {len(sample)} rows"


def _loaded(record: RunRecord, to: str, commit: str) -> Model:
    """With plain sentence-transformers, as anybody would; in fp32, as it was scored."""
    kind = SentenceTransformer if record.tuned.kind == "dense" else SparseEncoder
    model: Model = kind(to, revision=commit, trust_remote_code=False)
    model.float()
    return model
