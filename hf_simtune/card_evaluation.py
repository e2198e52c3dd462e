"""The figures of a card in words: the verdict, scores, intervals, probes, and how the embeddings lie."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hf_simtune import dense_below, separation, wording
from hf_simtune.card_metadata import kept_base
from hf_simtune.card_provenance import data, model_link
from hf_simtune.card_text import Markdown, code, escape
from hf_simtune.evaluation.compare import Comparison, certainty, power_sentence, probe_answer
from hf_simtune.evaluation.reindex import reindex_sentence
from hf_simtune.evaluation.retrieval import retrieval_sentence
from hf_simtune.evaluation.spread import spread_sentence
from hf_simtune.record import Checkpoint, Evaluation, Health, RunRecord, Score

__all__ = [
    "NOTES",
    "active",
    "answer",
    "curve",
    "difference",
    "figure",
    "findings",
    "geometry",
    "interval",
    "interval_title",
    "lying",
    "measured",
    "outscored",
    "p_value",
    "power",
    "share",
    "sparsity",
    "stand_in",
    "verdict",
]

NOTES = ("narrowing",)
FINDINGS = {  # of health.findings, in words
    "diverged": "the loss of a step, or its gradient, was no number",
    "undefined": "some sentence has a vector of zeros, or one that is not finite",
    "collapsed": "different sentences have nearly the same vector, or few directions are left",
    "dead": "less than one active dimension per sentence",
    "dense": "more than half of all dimensions are active, or ten times the base's share",
    "exploding": "before clipping, a gradient had a hundred times its usual norm: no claim is made from there on",
    "narrowing": "half of the room between sentences is gone; a note, no collapse",
}


def verdict(record: RunRecord) -> Markdown:
    """The answer in words: what the primary comparison says, and on what; or why there can be none."""
    report, comparison = record.report, record.report.comparison
    selected = "; whether the script chose anything on them is not known"
    where_measured = Markdown("On {data} ({n} rows{used})").fill(
        data=data(report.source),
        n=report.base.n,
        used=selected if record.script else ", not used for selection in this run",
    )
    spearman = Markdown("the Spearman correlation \N{MULTIPLICATION SIGN}100 of {kind} similarity").fill(
        kind=report.similarity
    )
    parts = {"at": where_measured, "what": spearman, "base": figure(report.base), "tuned": figure(report.tuned)}
    healthy = Markdown("healthy " if outscored(record) else "")
    if record.base.untrained:
        kept = " The base was kept: no {healthy}checkpoint scored above it on the rows that choose."
        below = dense_below.sentence(record).replace(" x 100", " \N{MULTIPLICATION SIGN}100")
        return Markdown(
            "**No verdict.** The base starts with a part that nobody has trained ({part}): a gain over it proves "
            "nothing. {at}, {what} is {base} before and {tuned} after."
            + (kept if kept_base(record) else "")
            + (" {below}" if below else "")
        ).fill(**parts, healthy=healthy, part=record.base.untrained, below=escape(below, limit=1000))
    if kept_base(record):
        return Markdown(
            "**No evidence of a gain: the base was kept.** No {healthy}checkpoint scored above the untouched base on "
            "the rows that choose, so `model/` holds the base unchanged. {at}, {what} is {base}, before and after."
        ).fill(**parts, healthy=healthy)
    if comparison is None or comparison.reason or None in (comparison.difference, comparison.low, comparison.high):
        reason = comparison.reason if comparison and comparison.reason else "the record gives no figures"
        return Markdown("**No evidence.** {at}, {what} cannot be judged: {reason}.").fill(**parts, reason=reason)
    parts |= {"d": difference(comparison), "sure": escape(certainty(comparison) or "no interval")}
    figures = "{at}, {what} {verb} from **{base}** to **{tuned}**: **{d} points** ({sure})."
    if comparison.verdict == "improved":
        return Markdown("**Improved.** " + figures).fill(**parts, verb="rose")
    if comparison.verdict == "regressed":
        return Markdown("**Regressed: the tuned model is worse than its base.** " + figures).fill(**parts, verb="fell")
    return Markdown(
        "**No evidence of a change.** " + figures + " The interval holds zero: "
        "these rows do not show that the model got better, nor that it got worse."
    ).fill(**parts, verb="went")


def outscored(record: RunRecord) -> bool:
    """Whether another step scored higher than the one that was kept: the guard found it unhealthy, and was to stop."""
    training = record.training
    scores = {point.step: point.spearman for point in training.checkpoints}
    if training.soup:  # its mean or the base; what went into it is no choice
        scores = {step: score for step, score in scores.items() if step in (0, max(scores))}
    kept = scores.get(training.best_step)
    return kept is not None and any(score is not None and score > kept for score in scores.values())


def power(record: RunRecord) -> str:
    """What the rows of the verdict can show; empty where there is no verdict."""
    comparison = record.report.comparison
    return power_sentence(comparison) if comparison and not record.base.untrained else ""


def stand_in(record: RunRecord) -> Markdown:
    """That another model stood in for the one that the recipe names; empty where none did."""
    if not record.base.stand_in_for:
        return Markdown("")
    return Markdown(
        "**STAND-IN: not {wanted}.** The base of this run is {base}, which took the place of {wanted}. No score on "
        "this card is one of {wanted}, untuned or tuned."
    ).fill(wanted=code(record.base.stand_in_for), base=model_link(record.base))


def figure(score: Score) -> Markdown:
    """Spearman x100, or the word undefined with its reason."""
    if score.spearman is None or not math.isfinite(score.spearman):
        return Markdown("undefined: {why}").fill(why=score.undefined or "the record gives no reason")
    return Markdown(wording.points(score.spearman))


def curve(point: Checkpoint) -> Markdown:
    """The score of a checkpoint on the rows that choose."""
    if point.spearman is None or not math.isfinite(point.spearman):
        return Markdown("undefined: the similarities have no rank correlation with the scores")
    return Markdown(wording.points(point.spearman))


def difference(comparison: Comparison) -> Markdown:
    """Tuned minus base, x100, with its sign; where there is none, why."""
    if comparison.difference is None:
        return Markdown("undefined: {why}").fill(why=comparison.reason or "the record gives no reason")
    return Markdown(wording.signed(comparison.difference))


def interval(comparison: Comparison) -> Markdown:
    """``+0.87 to +1.64``; where there is none, why, unless the difference beside it has said so."""
    if comparison.low is not None and comparison.high is not None:
        return Markdown(wording.interval(comparison.low, comparison.high))
    if comparison.difference is None or not comparison.reason:
        return Markdown("undefined")
    return Markdown("undefined: {why}").fill(why=comparison.reason)


def interval_title(evaluations: Sequence[Evaluation]) -> Markdown:
    """``95 % interval``, as the first comparison has it."""
    comparison = next((found.comparison for found in evaluations if found.comparison), None)
    return Markdown(f"{100 * comparison.confidence:g} % interval" if comparison else "Interval")


def p_value(comparison: Comparison) -> Markdown:
    """The two-sided p value."""
    return escape(wording.p_value(comparison.p))


def answer(evaluation: Evaluation, record: RunRecord) -> Markdown:
    """Whether a probe got worse; of a base that nobody has trained, nothing can be told."""
    if record.base.untrained:
        return Markdown("no verdict")
    if evaluation.comparison is None:
        return Markdown("cannot tell")
    said = probe_answer(evaluation.comparison)
    return Markdown(f"**{said}**" if said == "worse" else said)


def share(value: float, digits: int = 1) -> Markdown:
    """0..1 as ``0.8 %``; with more digits only where fewer would show a 0 or a 100 that it is not."""
    shown = (f"{100 * value:.{count}f}" for count in range(digits, 9))
    whole = value in (0, 1)
    return Markdown(next((text for text in shown if whole or float(text) not in (0, 100)), f"{100 * value:g}") + " %")


def active(evaluation: Evaluation) -> Markdown:
    """Active dimensions of a sentence, on average: ``78.3 → 60.1``."""
    base, tuned = evaluation.base.active_dimensions, evaluation.tuned.active_dimensions
    return _before_after(*(None if value is None else f"{value:,.1f}" for value in (base, tuned)))


def sparsity(evaluation: Evaluation) -> Markdown:
    """The share of zeros: ``99.74 % → 99.80 %``."""
    base, tuned = evaluation.base.sparsity, evaluation.tuned.sparsity
    return _before_after(*(None if value is None else share(value, 2) for value in (base, tuned)))


def _before_after(base: str | None, tuned: str | None) -> Markdown:
    if base is None and tuned is None:
        return Markdown("\N{EN DASH}")
    return Markdown(f"{base or 'not known'} \N{RIGHTWARDS ARROW} {tuned or 'not known'}")


def measured(value: float | None, digits: int = 3) -> Markdown:
    """A figure of the geometry, or that there is none."""
    if value is None or not math.isfinite(value):
        return Markdown("undefined")
    return Markdown(f"{value:,.{digits}f}")


def lying(record: RunRecord) -> list[tuple[Markdown, Health]]:
    """What the guard measured of the base and of the step that is scored, with a name for each."""
    rows = [(Markdown("base"), health) for health in record.health if health.step == 0]
    best = record.training.best_step
    return rows + [
        (Markdown("step {n}").fill(n=best), health) for health in record.health if health.step == best and best
    ]


def findings(record: RunRecord) -> list[Markdown]:
    """What the guard found, the worst first; one line says that it found nothing."""
    total, best = len(record.health), record.training.best_step
    times = "measurement" if total == 1 else "measurements"
    lines = []
    for name in dict.fromkeys([*FINDINGS, *(name for health in record.health for name in health.findings)]):
        steps = [health.step for health in record.health if name in health.findings]
        if not steps:
            continue
        what = Markdown("{name} at {first}").fill(
            name=name[:1].upper() + name[1:],
            first="the base, step 0" if steps[0] == 0 else Markdown("step {n}").fill(n=steps[0]),
        )
        lines.append(
            Markdown("{what}{meaning}: found in {n} of {total} {times}{chosen}.").fill(
                what=what if name in NOTES else Markdown(f"**{what}**"),
                meaning=Markdown(f" ({escape(FINDINGS[name])})") if name in FINDINGS else "",
                n=len(steps),
                total=total,
                times=times,
                chosen=", the step that is scored among them" if best in steps else "",
            )
        )
    if not lines:
        also = ", and no dead or dense embeddings," if record.tuned.kind != "dense" else ""
        lines = [Markdown("No collapse{also} in {n} {times}.").fill(also=also, n=total, times=times)]
    if best not in {health.step for health in record.health}:
        lines.append(Markdown("Step {n}, which is scored, was not measured.").fill(n=best))
    return lines


def geometry(record: RunRecord) -> list[Markdown]:
    """How similarities spread, what retrieval gained or lost, and whether an old index must be rebuilt, as measured."""
    said = [wider] if (wider := separation.sentence(record)) else []
    said += [spread_sentence(record.spread)] if record.spread else []
    said += [retrieval_sentence(e.source.title, e.retrieval) for e in record.evaluations if e.retrieval]
    said += [reindex_sentence(record.reindex)] if record.reindex else []
    return [escape(sentence.replace(" x 100", " \N{MULTIPLICATION SIGN}100"), limit=1000) for sentence in said]
