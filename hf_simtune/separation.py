"""Did tuning on plain sentences do what it is done for: set similar sentences further apart, and not by noise?"""

from __future__ import annotations

from hf_simtune.record import RunRecord
from hf_simtune.wording import signed

__all__ = ["LOST", "sentence", "separated"]

LOST = 0.005  # Spearman that a probe may lose, half a point


def separated(record: RunRecord) -> bool | None:
    """Whether similarities spread wider, agree better with the scores, and no probe lost half a point or more.

    Wider alone may be noisier. None for a run on anything but plain sentences, where the spread was not measured, and
    where nothing was probed that could have been lost.
    """
    if not _asked(record):
        return None
    found = _wider(record) and record.verdict == "improved" and not _lost(record)
    return None if found and not _probed(record) else found


def _asked(record: RunRecord) -> bool:
    return record.training.source.shape == "sentences" and record.spread is not None


def _wider(record: RunRecord) -> bool:
    return record.spread is not None and record.spread.verdict == "wider"


def _probed(record: RunRecord) -> list[str]:
    return [evaluation.source.title for evaluation in record.evaluations if evaluation.role == "probe"]


def _lost(record: RunRecord) -> list[tuple[str, float]]:
    """The probes that lost so much, and how much; one without a figure counts as lost."""
    found = []
    for evaluation in record.evaluations:
        if evaluation.role == "probe":
            base, tuned = evaluation.base.spearman, evaluation.tuned.spearman
            change = -1.0 if base is None or tuned is None else tuned - base
            if change <= -LOST:
                found.append((evaluation.source.title, change))
    return found


def sentence(record: RunRecord) -> str:
    """The answer in words, with what is missing; empty where the question does not arise."""
    if not _asked(record):
        return ""
    answer = separated(record)
    wider = f"Similarities on {record.report.source.title} spread wider and agree better with the scores"
    if answer is None:
        return (
            f"Wider separation of similar sentences: cannot tell. {wider}, but what that cost elsewhere was not "
            "measured, as with --probe sentence-transformers/stsb:test."
        )
    if answer:
        kept = f"{' and '.join(_probed(record))} lost less than half a point"
        return f"Wider separation of similar sentences: yes. {wider}, and {kept}."
    missing = [] if _wider(record) else ["similarities do not spread wider"]
    missing += [] if record.verdict == "improved" else ["they do not agree better with the scores"]
    missing += [f"{title} changed by {signed(change)} points" for title, change in _lost(record)]
    return f"Wider separation of similar sentences: no. {'; '.join(missing).capitalize()}."
