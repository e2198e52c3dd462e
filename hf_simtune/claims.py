"""What a model's own record claims for some rows, beside what was measured on them now."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import httpx2
import huggingface_hub

from hf_simtune.errors import RunError
from hf_simtune.hub import MODEL_CACHE, answers
from hf_simtune.hub_names import local
from hf_simtune.record import RunRecord, Score
from hf_simtune.wording import points

__all__ = ["NEAR", "Claim", "claim_of"]

NEAR = 5e-4  # by which a correlation may differ and hold: another processor rounds otherwise
log = logging.getLogger("hf_simtune")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A score that a model came with, and the one that was measured on the same rows."""

    claimed: float  # Spearman correlation, -1..1
    measured: float | None
    role: str  # of the rows in the run: "report", "select" or "probe"
    same_weights: bool  # whether the weights are those that the record was written of

    @property
    def holds(self) -> bool:
        """Whether both are the same, and of the same weights."""
        return self.same_weights and self.measured is not None and abs(self.measured - self.claimed) <= NEAR

    def sentence(self) -> str:
        """Both figures, and what is to be thought of them."""
        told = f"claimed {points(self.claimed)}, measured {points(self.measured)}"
        if not self.same_weights:
            return f"{told}: the record beside the model is of other weights"
        chosen = " (rows that chose the checkpoint)" if self.role == "select" else ""
        return f"{told}{chosen}: {'the same' if self.holds else 'not the same'}, on the same rows"


def claim_of(model: str, revision: str | None, weights: str, fingerprint: str, measured: Score) -> Claim | None:
    """The claim of a model's record for some rows; None where it has no record, or its record none for these rows.

    Args:
        model: Hub id, or a folder: the record lies in it, or beside it in a run's folder.
        revision: commit, tag or branch on the Hub.
        weights: SHA-256 of the loaded weights.
        fingerprint: of the rows.
        measured: what the model scores on them.
    """
    path = _record(model, revision)
    if path is None:
        return None
    try:
        record = RunRecord.load(path)
    except RunError as error:
        log.warning("the record of %s is not read: %s", model, error.problems[0])
        return None
    found = [evaluation for evaluation in record.evaluations if evaluation.source.fingerprint == fingerprint]
    if not found or found[0].tuned.spearman is None:
        told = ", ".join(evaluation.source.title for evaluation in record.evaluations)
        log.info("the record of %s claims nothing of these rows; it was scored on %s", model, told)
        return None
    return Claim(
        claimed=found[0].tuned.spearman,
        measured=measured.spearman,
        role=found[0].role,
        same_weights=weights == record.tuned.weights_sha256,
    )


def _record(model: str, revision: str | None) -> Path | None:
    folder = local(model)
    if folder.is_dir():
        places = [folder / "record.json", *([folder.parent / "record.json"] if folder.name == "model" else [])]
        return next((place for place in places if place.is_file()), None)
    if model.startswith("builtin:"):
        return None
    try:
        here = not answers(model, "model", revision)  # else the libraries would ask again and again
        return Path(
            huggingface_hub.hf_hub_download(
                model, "record.json", revision=revision, cache_dir=MODEL_CACHE, local_files_only=here
            )
        )
    except (OSError, httpx2.HTTPError, ValueError) as error:
        log.info("no record was read for %s (%s)", model, type(error).__name__)
        return None
