"""RunRecord -> README.md, a whole Hugging Face model card. It words what was measured and computes nothing."""

from __future__ import annotations

import functools
import math
import re
from datetime import UTC, datetime
from pathlib import Path

import yaml
from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hf_simtune import card_text as text
from hf_simtune.card_metadata import HUB_ID, LOSS_CLASSES, hub_data_id, metadata
from hf_simtune.card_text import Markdown, code, escape
from hf_simtune.errors import RunError
from hf_simtune.evaluation.compare import Comparison
from hf_simtune.record import Checkpoint, Evaluation, ModelFacts, RunRecord, Score, Source

__all__ = ["render"]

TEMPLATES = Path(__file__).with_name("templates")
# Data sets whose rows come from one another, by the last part of the Hub id in lower case and without punctuation.
STS = frozenset(
    f"{name}{end}" for name in ("sts12", "sts13", "sts14", "sts15", "sts16", "stsbenchmark") for end in ("", "sts")
) | {"stsb", "stsbmultimt"}
RELATIVES = (STS, frozenset({"snli", "multinli", "mnli", "allnli"}), frozenset({"qqp", "quora", "quoraduplicates"}))
# Fields with their own row or section, and those that may hold a path.
TOLD_ELSEWHERE = {
    *("name", "title", "model", "model_revision", "train_data", "select_on", "report_on"),
    *("loss", "temperature", "epochs", "batch_size", "precision"),
}
ROWS = {"pairs": "pairs", "scored": "scored pairs", "triplets": "triplets", "sentences": "sentences"}


def render(record: RunRecord) -> str:
    """The whole card: YAML metadata and Markdown.

    Text that came from data, files or a person is escaped; no text of a row is shown unless the record holds examples.

    Raises:
        RunError: the record has no primary comparison, so there is nothing that a card could say.
    """
    if not any(evaluation.role == "report" for evaluation in record.evaluations):
        raise RunError("the record has no evaluation with the role 'report'; a card states one primary comparison")
    sources = [("training", record.training.source), *((_use(e), e.source) for e in record.evaluations)]
    page = (
        _environment()
        .get_template("card.md.jinja")
        .render(
            record=record,
            training=record.training,
            report=record.report,
            selection=[evaluation for evaluation in record.evaluations if evaluation.role == "select"],
            unchanged=record.training.best_step == 0,
            loss=LOSS_CLASSES.get(record.training.loss, record.training.loss),
            front_matter=front_matter(record),
            offline=Markdown(" (OFFLINE)" if record.offline else ""),
            verdict=verdict(record),
            power=power(record.report),
            base_has_seen=base_has_seen(record),
            settings=settings(record),
            training_in_sts=_key(hub_data_id(record.training.source) or "") in STS,
            unchecked=[
                e for e in record.evaluations if e.source.title not in {found.evaluation for found in record.leakage}
            ],
            example_columns=list(dict.fromkeys(key for example in record.examples for key in example)),
            kind_of_rows=ROWS.get(record.training.source.shape, record.training.source.shape),
            sources=sources,
        )
    )
    return str(page)


@functools.cache
def _environment() -> ImmutableSandboxedEnvironment:
    """Every value passes ``shown``: a plain text is escaped, and a bare float or None is a mistake in the template."""
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        finalize=text.shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        cell=lambda example, column: escape(example.get(column, ""), limit=300),
        code=code,
        duration=lambda seconds: escape(text.duration(seconds)),
        difference=difference,
        fenced=text.fenced,
        figure=figure,
        curve=curve,
        interval=interval,
        license=lambda name: escape(name) if name else Markdown("not stated"),
        jaccards=lambda leaks: Markdown(" or ".join(sorted({f"{leak.jaccard:g}" for leak in leaks}))),
        link=link,
        model_link=model_link,
        moment=moment,
        mean_loss=lambda value: Markdown(f"{value:.4g}" if math.isfinite(value) else "not a number"),
        named=lambda name: escape(name) or Markdown("(no name)"),
        number=text.setting,
        p=p_value,
        percent=lambda share: Markdown(f"{100 * share:g} %"),
        reasons=reasons,
        shell=text.shell,
        tokens=lambda model: Markdown(f"{model.max_length:,} tokens" if model.max_length else "no limit given"),
        where=where,
    )
    return environment


def front_matter(record: RunRecord) -> Markdown:
    """The metadata as YAML, one line per value, so that no value can end the block."""
    return Markdown(yaml.safe_dump(metadata(record), sort_keys=False, allow_unicode=True, width=math.inf))


def verdict(record: RunRecord) -> Markdown:
    """The answer in words: what the primary comparison says, and on what."""
    report, comparison = record.report, record.report.comparison
    where_measured = Markdown("On {data} ({n} rows, never used for selection)").fill(
        data=link(report.source), n=report.base.n
    )
    spearman = Markdown("the Spearman correlation \N{MULTIPLICATION SIGN}100 of {kind} similarity").fill(
        kind=report.similarity
    )
    parts = {"at": where_measured, "what": spearman, "base": figure(report.base), "tuned": figure(report.tuned)}
    if record.training.best_step == 0:
        return Markdown(
            "**No evidence of a gain: the base was kept.** No checkpoint scored above the untouched base on the rows "
            "that choose, so `model/` holds the base unchanged. {at}, {what} is {base}, before and after."
        ).fill(**parts)
    if comparison is None or comparison.reason or None in (comparison.difference, comparison.low, comparison.high):
        reason = comparison.reason if comparison and comparison.reason else "the record gives no figures"
        return Markdown("**No evidence.** {at}, {what} cannot be judged: {reason}.").fill(**parts, reason=reason)
    parts |= {"d": difference(comparison), "i": interval(comparison), "p": p_value(comparison)}
    parts |= {"c": Markdown(f"{100 * comparison.confidence:g} %")}
    figures = "{at}, {what} {verb} from **{base}** to **{tuned}**: **{d} points**, {c} interval {i}, p = {p}."
    if comparison.verdict == "improved":
        return Markdown("**Improved.** " + figures).fill(**parts, verb="rose")
    if comparison.verdict == "regressed":
        return Markdown("**Regressed: the tuned model is worse than its base.** " + figures).fill(**parts, verb="fell")
    return Markdown(
        "**No evidence of a change.** " + figures + " The interval holds zero: "
        "these rows do not show that the model got better, nor that it got worse."
    ).fill(**parts, verb="went")


def power(evaluation: Evaluation) -> Markdown:
    """How small a gain the rows could have shown; empty where the record does not say."""
    comparison = evaluation.comparison
    if comparison is None or not comparison.detectable:
        return Markdown("")
    line = Markdown("With these {n} rows a gain of {gain} points or more would have been seen in 4 of 5 runs").fill(
        n=comparison.n, gain=Markdown(text.hundred(comparison.detectable))
    )
    if comparison.more_rows and comparison.detectable_with_more:
        more = Markdown(text.hundred(comparison.detectable_with_more))
        line = Markdown("{line}; {n} more labelled rows would bring that to {more}").fill(
            line=line, n=comparison.more_rows, more=more
        )
    return Markdown(line + ".")


def figure(score: Score) -> Markdown:
    """Spearman x100, or the word undefined with its reason."""
    if score.spearman is None or not math.isfinite(score.spearman):
        return Markdown("undefined: {why}").fill(why=score.undefined or "the record gives no reason")
    return Markdown(text.hundred(score.spearman))


def curve(point: Checkpoint) -> Markdown:
    """The score of a checkpoint on the rows that choose."""
    if point.spearman is None or not math.isfinite(point.spearman):
        return Markdown("undefined: the similarities have no rank correlation with the scores")
    return Markdown(text.hundred(point.spearman))


def difference(comparison: Comparison) -> Markdown:
    """Tuned minus base, x100, with its sign; where there is none, why."""
    if comparison.difference is None:
        return Markdown("undefined: {why}").fill(why=comparison.reason or "the record gives no reason")
    return Markdown(text.signed(comparison.difference))


def interval(comparison: Comparison) -> Markdown:
    """``+0.87 to +1.64``; where there is none, why, unless the difference beside it has said so."""
    if comparison.low is not None and comparison.high is not None:
        return Markdown(f"{text.signed(comparison.low)} to {text.signed(comparison.high)}")
    if comparison.difference is None or not comparison.reason:
        return Markdown("undefined")
    return Markdown("undefined: {why}").fill(why=comparison.reason)


def p_value(comparison: Comparison) -> Markdown:
    """The two-sided p value."""
    return Markdown("undefined" if comparison.p is None else text.p_value(comparison.p))


def link(source: Source) -> Markdown:
    """The data's name; with a link only where the rows were fetched from the Hub."""
    if source.kind == "hub" and (name := hub_data_id(source)):
        return Markdown(f"[{escape(source.title)}](https://huggingface.co/datasets/{name})")
    return code(source.title)


def model_link(facts: ModelFacts) -> Markdown:
    """The model's name, with a link where it is a model of the Hub."""
    if facts.hub_id and HUB_ID.fullmatch(facts.hub_id):
        return Markdown(f"[{escape(facts.hub_id)}](https://huggingface.co/{facts.hub_id})")
    return code(facts.name)


def where(source: Source) -> Markdown:
    """What kind of source it is, and its revision where the rows came from the Hub itself."""
    if source.kind != "hub":
        return escape(source.kind)
    return Markdown("Hub, revision {it}").fill(it=code(source.revision[:12]) if source.revision else "not known")


def moment(created: str) -> Markdown:
    """``2026-11-20 09:00 UTC``"""
    try:
        return escape(f"{datetime.fromisoformat(created).astimezone(UTC):%Y-%m-%d %H:%M} UTC")
    except (ValueError, OverflowError):
        return escape(created)


def reasons(dropped: dict[str, int]) -> Markdown:
    """``3 with an empty text, 1 with a score that is not a number``"""
    return Markdown(
        ", ".join(
            Markdown("{n} \N{MULTIPLICATION SIGN} {why}").fill(n=count, why=why) for why, count in dropped.items()
        )
    )


def settings(record: RunRecord) -> list[tuple[str, Markdown]]:
    """The recipe's other fields that were set; those with a path in them, and those told elsewhere, are left out."""
    fields = ((name, value) for name, value in record.recipe.items() if name not in TOLD_ELSEWHERE)
    return [(name, text.setting(value)) for name, value in fields if value is not None and value != ""]


def base_has_seen(record: RunRecord) -> list[Markdown]:
    """What the base's own card says it was trained on, as far as it touches this run."""
    names = record.base.trained_on
    if not names:
        return [Markdown("The base model's card names no training data: what the base has seen is not known.")]
    found: list[Markdown] = []
    for source, role in [(record.training.source, "train"), *((e.source, e.role) for e in record.evaluations)]:
        name = hub_data_id(source)
        same = [other for other in names if name and _key(other) == _key(name)]
        kin = [other for other in names if name and any({_key(other), _key(name)} <= family for family in RELATIVES)]
        if same and role == "train":
            line = (
                "**{data}: the base model's card lists this data set among its own training data: "
                "this run retrains on data that the base has seen.** (Listed there as {them}.)"
            )
        elif same:
            line = (
                "**Warning, {data}: the base model's card lists this evaluation data set among its own training data** "
                "(as {them}): neither score is one on unseen data."
            )
        elif kin and role == "train":
            line = "{data}: the base model's card lists {them}, which shares rows with this data set."
        elif kin:
            line = (
                "**Warning, {data}: the base model's card lists {them}, which shares rows with this evaluation data "
                "set**: neither score can be taken as one on unseen data."
            )
        else:
            continue
        them = Markdown(", ".join(map(code, same or kin)))
        found.append(Markdown(line).fill(data=code(source.title), them=them))
    if not found:
        line = "Of the {n} data sets on the base model's card, none is, by name, the training or evaluation data here."
        found.append(Markdown(line).fill(n=len(names)))
    return found


def _use(evaluation: Evaluation) -> str:
    return "verdict" if evaluation.role == "report" else "choosing the checkpoint"


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.rsplit("/", 1)[-1].lower())
