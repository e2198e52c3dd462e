"""The best recipe beside the plain one of which it is a change."""

from __future__ import annotations

from collections.abc import Sequence

from hf_simtune import pairing
from hf_simtune.pairing import Placed
from hf_simtune.wording import interval, signed

__all__ = ["BEST", "PLAIN", "table"]

BEST, PLAIN = "best_minilm", "cosent_minilm"


def table(best: Sequence[Placed], plain: Sequence[Placed]) -> str:
    """Both on STSb's validation and test rows, as Markdown: means and ranges, and the mean difference over seeds.

    Runs are compared seed by seed; those without a counterpart are left out. Empty where there are none.
    """
    pairs = pairing.by_seed(best, plain)
    if not pairs:
        return ""
    count = "1 run" if len(pairs) == 1 else f"{len(pairs)} runs"
    lines = [
        f"| Spearman x 100, {count} each | `{PLAIN}` | `{BEST}` | difference | 95 % interval |",
        "|---|---:|---:|---:|---:|",
    ]
    for role in ("select", "report"):
        low, middle, high = pairing.gain(pairs, role)
        scores = [
            pairing.spread([pairing.spearman(pairing.evaluation(pair[side][1], role).tuned) for pair in pairs])
            for side in (1, 0)
        ]
        title = pairing.evaluation(pairs[0][0][1], role).source.title
        lines.append(f"| {title} | {scores[0]} | {scores[1]} | {signed(middle)} | {interval(low, high)} |")
    return "\n".join(lines)
