"""Did tuning on plain sentences do what it is done for: set similar sentences further apart, and not by noise?"""

from __future__ import annotations

from hf_simtune.record import RunRecord
from hf_simtune.wording import signed

__all__ = ["LOST", "sentence", "separated"]

LOST = 0.005  # Spearman that a probe may lose, half a point


def separated(record: RunRecord) -> bool | None:
    """Whether similarities spread wider, agree better with the scores, and no probe lost half a point or more.

    Wider alone may be noisier. None for a run on anything but plain sentences, and where the spread was not measured.
    """
    if record.training.source.shape != "sentences" or record.spread is None:
        return None
    return record.spread.verdict == "wider" and record.verdict == "improved" and not _lost(record)


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
    answer = separated(record)
    if answer is None or record.spread is None:
        return ""
    probed = [evaluation.source.title for evaluation in record.evaluations if evaluation.role == "probe"]
    if answer:
        kept = f", and {' and '.join(probed)} lost less than half a point" if probed else "; nothing else was probed"
        yes = "Wider separation of similar sentences: yes. Similarities spread wider and agree better with the scores"
        return f"{yes}{kept}."
    missing = [] if record.spread.verdict == "wider" else ["similarities do not spread wider"]
    missing += [] if record.verdict == "improved" else ["they do not agree better with the scores"]
    missing += [f"{title} changed by {signed(change)} points" for title, change in _lost(record)]
    return f"Wider separation of similar sentences: no. {'; '.join(missing).capitalize()}."
