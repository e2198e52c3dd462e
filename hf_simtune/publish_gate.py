"""What speaks against publishing a run, each by a name with which it can be allowed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from hf_simtune.card_metadata import kept_base
from hf_simtune.errors import RequestError
from hf_simtune.evaluation.compare import NO_VERDICT
from hf_simtune.evaluation.health import harm
from hf_simtune.publish_reasons import REASONS
from hf_simtune.record import RunRecord
from hf_simtune.wording import points, signed

__all__ = ["Reason", "against", "checked", "unknown"]


@dataclasses.dataclass(frozen=True)
class Reason:
    """One thing that speaks against it."""

    name: str  # of REASONS
    told: str  # a sentence's worth, for people


def against(record: RunRecord, weights: str, *, searched: bool = True) -> list[Reason]:
    """Everything that speaks against publishing a run.

    Args:
        record: of the run.
        weights: SHA-256 of what its model folder loads as (``weights.weights_sha256``).
        searched: whether its rows are at hand, so that their texts can be looked for.
    """
    found = [Reason(name, told) for name, told in _found(record, weights)]
    if not searched:
        told = "the run's rows are not at hand as they were, so that their texts cannot be looked for in what is sent"
        found.append(Reason("unsearched", told))
    return found


def checked(found: Sequence[Reason], allowed: Sequence[str]) -> list[Reason]:
    """Those that were found and allowed, for the card to say.

    Raises:
        RequestError: some are not allowed, all of them at once; or a name speaks of nothing that is so.
    """
    names = {reason.name for reason in found}
    problems = [f"--allow {name}: this run has no such fault" for name in allowed if name not in names]
    left = [reason for reason in found if reason.name not in allowed]
    problems += [f"{reason.name}: {reason.told}" for reason in left]
    if problems:
        ways = " ".join(dict.fromkeys(reason.name for reason in found))
        hint = f"To publish it all the same, and have the card say so: --allow {ways}" if left else "Leave it out"
        raise RequestError(problems, hint=hint)
    return list(found)


def unknown(allowed: Sequence[str]) -> list[str]:
    """What is wrong with names to allow, in sentences."""
    return [f"--allow {name}: it must be one of {', '.join(REASONS)}" for name in allowed if name not in REASONS]


def _found(record: RunRecord, weights: str) -> Iterator[tuple[str, str]]:
    report = record.report
    change = ""
    if report.comparison and report.base.spearman is not None and report.tuned.spearman is not None:
        before, after = report.base.spearman, report.tuned.spearman
        change = f" ({points(before)} to {points(after)}, {signed(after - before)}, on {report.source.title})"
    if kept_base(record):
        yield "unchanged", "no checkpoint was better than the base, and model/ holds the base as it was"
    elif record.verdict == "regressed":
        yield "regressed", f"the tuned model is worse than its base{change}"
    elif record.verdict == NO_VERDICT:
        yield "no-verdict", f"the base was not a trained model, so that a gain over it proves nothing{change}"
    elif record.verdict != "improved":
        yield "no-evidence", f"there is no evidence that it is better than its base{change}"
    kept = next((health for health in record.health if health.step == record.training.best_step), None)
    if kept is None:
        yield "unwatched", "how the embeddings of the kept step lie was not measured"
    elif kept.step and (harms := harm(kept, record.health[0])):
        yield "collapsed", f"the embeddings of step {kept.step}, which was kept, are unhealthy: {', '.join(harms)}"
    for leak in record.leakage:
        pairs = leak.pairs_exact + leak.pairs_near
        if pairs and not leak.rows_dropped:
            yield "leaks", f"{pairs:,} pairs of {leak.evaluation} were trained on"
    if weights != record.tuned.weights_sha256:
        yield "weights", "the weights in model/ are not those that were scored: their SHA-256 is another one"
