"""The figures that this project began with, beside what its own runs measured."""

from __future__ import annotations

from collections.abc import Sequence

from hf_simtune.pairing import evaluation
from hf_simtune.record import Evaluation, RunRecord
from hf_simtune.wording import UNDEFINED, points, signed

__all__ = ["RECIPE", "table"]

RECIPE = "mnrl_minilm"
# Spearman on STSb validation, as they were told: with no seed, commit, rows left out or test score.
BASE, TUNED = 0.8526, 0.8753


def table(runs: Sequence[RunRecord]) -> str:
    """Told and measured side by side, as Markdown; of several runs the means."""
    ours = {role: [evaluation(record, role) for record in runs] for role in ("select", "report")}
    select, report = (tuple(_mean(found, side) for side in ("base", "tuned")) for found in ours.values())
    count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    return "\n".join(
        [
            f"| `{RECIPE}`, Spearman x 100 | as told | measured, {count} |",
            "|---|---:|---:|",
            f"| base, STSb validation | {points(BASE)} | {points(select[0])} |",
            f"| tuned, STSb validation | {points(TUNED)} | {points(select[1])} |",
            f"| gain | {signed(TUNED - BASE)} | {_change(select)} |",
            f"| STSb test | not told | {points(report[0])} -> {points(report[1])} |",
        ]
    )


def _mean(found: Sequence[Evaluation], side: str) -> float | None:
    scores = [getattr(one, side).spearman for one in found]
    return None if None in scores else sum(scores) / len(scores)


def _change(pair: tuple[float | None, ...]) -> str:
    base, tuned = pair
    return UNDEFINED if base is None or tuned is None else signed(tuned - base)
