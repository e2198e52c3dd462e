"""How often the benchmark's test rows were looked at, and for what, from the records in model_cards/."""

from __future__ import annotations

from pathlib import Path

from hf_simtune.record import RunRecord
from hf_simtune.wording import points, short_commit

__all__ = ["TEST", "table"]

TEST = "sentence-transformers/stsb:test"


def table(cards: Path) -> str:
    """A row for each run in the tree that scored STSb's test rows, the oldest first, as Markdown."""
    lines = ["| when | run | commit | role | base | tuned |", "|---|---|---|---|---:|---:|"]
    found = []
    for path in cards.rglob("record.json"):
        record = RunRecord.load(path)
        for evaluation in record.evaluations:
            if evaluation.source.title == TEST:
                place = path.parent.relative_to(cards).as_posix()
                figures = f"{points(evaluation.base.spearman)} | {points(evaluation.tuned.spearman)}"
                told = f"[{place}]({place}) | {short_commit(record.commit)} | {evaluation.role} | {figures} |"
                found.append((record.created, told))
    return "\n".join([*lines, *(f"| {created[:16]} | {rest}" for created, rest in sorted(found))])
