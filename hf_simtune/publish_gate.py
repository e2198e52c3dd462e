"""What speaks against publishing a run, each by a name with which it can be allowed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

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
    told: str  # a sentence's worth, for whoever publishes
    shown: str = ""  # the same for a stranger who reads the card, where it must be said otherwise


_SHOWN = {  # in a card there is no model/
    "unchanged": "no checkpoint was better than the base, so this is the base as it was",
    "weights": "the weights here are not those that were scored, and no score in this card is theirs",
}


def against(record: RunRecord, weights: str, *, searched: bool = True) -> list[Reason]:
    """Everything that speaks against publishing a run.

    Args:
        record: of the run.
        weights: SHA-256 of what its model folder loads as (``weights.weights_sha256``).
        searched: whether its rows are at hand, so that their texts can be looked for.
    """
    found = [Reason(name, told, _SHOWN.get(name, "")) for name, told in _found(record, weights)]
    if not searched:
        told = "the run's rows are not at hand as they were, so that their texts cannot be looked for in what is sent"
        found.append(Reason("unsearched", told, "its files were not searched for texts of the rows, which were gone"))
    return found


def checked(found: Sequence[Reason], allowed: Sequence[str], again: Callable[[Sequence[str]], str]) -> list[Reason]:
    """Those that were found and allowed, for the card to say.

    Args:
        found: what speaks against it.
        allowed: by name.
        again: the command with the names that it is given, for errors.

    Raises:
        RequestError: some are not allowed, all of them at once; or a name speaks of nothing that is so.
    """
    names = {reason.name for reason in found}
    problems = [f"--allow {name}: this run has no such fault" for name in allowed if name not in names]
    left = [reason for reason in found if reason.name not in allowed]
    problems += [f"{reason.name}: {reason.told}" for reason in left]
    if problems:
        ways = list(dict.fromkeys(reason.name for reason in found))
        hint = "Nothing was sent. To publish it all the same, and have the card say so" if left else "Without it"
        raise RequestError(problems, hint=f"{hint}: {again(ways)}")
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
