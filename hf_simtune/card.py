"""RunRecord -> README.md, a whole Hugging Face model card. It words what was measured and computes nothing."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import yaml
from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hf_simtune import card_text as text
from hf_simtune import wording
from hf_simtune.card_metadata import HUB_ID, LOSS_CLASSES, data_name, metadata
from hf_simtune.card_text import Markdown, code, escape
from hf_simtune.errors import RunError
from hf_simtune.evaluation.compare import Comparison, certainty, power_sentence
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
    *("loss", "temperature", "epochs", "batch_size", "precision", "forward"),
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
            power=power_sentence(record.report.comparison) if record.report.comparison else "",
            seen_before=seen_before(record),
            names_alone=names_alone(record),
            base_has_seen=base_has_seen(record),
            settings=settings(record),
            training_in_sts=_key(data_name(record.training.source) or "") in STS,
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
        data=data,
        duration=lambda seconds: escape(wording.duration(seconds)),
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
    where_measured = Markdown("On {data} ({n} rows, not used for selection in this run)").fill(
        data=data(report.source), n=report.base.n
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


def p_value(comparison: Comparison) -> Markdown:
    """The two-sided p value."""
    return escape(wording.p_value(comparison.p))


def link(source: Source) -> Markdown:
    """The data's name; with a link only where the rows were fetched from the Hub."""
    if source.kind == "hub" and (name := data_name(source)):
        return Markdown(f"[{escape(source.title)}](https://huggingface.co/datasets/{name})")
    return code(source.title)


def data(source: Source) -> Markdown:
    """``link``, and that it is a part where it is one."""
    return Markdown("{it} (a part, {part})").fill(it=link(source), part=source.part) if source.part else link(source)


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
    for source, role in _sources_by_role(record):
        same, kin = _seen(source, names)
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


def seen_before(record: RunRecord) -> list[Markdown]:
    """``base_has_seen`` for those who read no further: the data of this run that the base's own card lists."""
    said = {
        "train": "**This run retrains on data that the base has seen**: the base model's card lists {them}.",
        "report": "**Not unseen data**: the base model's card lists {them}, on which the verdict rests.",
    }
    return [
        Markdown(said[role]).fill(them=Markdown(", ".join(map(code, same))))
        for source, role in _sources_by_role(record)
        if role in said and (same := _seen(source, record.base.trained_on)[0])
    ]


def names_alone(record: RunRecord) -> bool:
    """Whether the command names files or folders, which a record holds without the way to them."""
    model_folder = record.base.hub_id is None and not record.base.name.startswith("builtin:")
    return model_folder or any(source.kind in ("file", "local copy") for source, _ in _sources_by_role(record))


def _sources_by_role(record: RunRecord) -> list[tuple[Source, str]]:
    return [(record.training.source, "train"), *((e.source, e.role) for e in record.evaluations)]


def _seen(source: Source, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Of the names, those of this data set and those of data sets that share rows with it."""
    name = data_name(source)
    if name is None:
        return [], []
    same = [other for other in names if _key(other) == _key(name)]
    return same, [other for other in names if any({_key(other), _key(name)} <= family for family in RELATIVES)]


def _use(evaluation: Evaluation) -> str:
    return "verdict" if evaluation.role == "report" else "choosing the checkpoint"


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.rsplit("/", 1)[-1].lower())
