"""Where a card's rows and models came from, and what the base has seen of them before."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from hf_simtune.card_metadata import data_name
from hf_simtune.card_text import Markdown, code, escape, shown
from hf_simtune.hub_names import HUB_ID
from hf_simtune.record import Evaluation, ModelFacts, RunRecord, Source

__all__ = [
    "base_has_seen",
    "data",
    "fingerprint",
    "held_out",
    "in_sts",
    "link",
    "model_link",
    "moment",
    "names_alone",
    "reasons",
    "rows",
    "seen_before",
    "sources",
    "start_has_seen",
    "where",
]

# Data sets whose rows come from one another, by the last part of the Hub id in lower case and without punctuation.
STS = frozenset(
    f"{name}{end}" for name in ("sts12", "sts13", "sts14", "sts15", "sts16", "stsbenchmark") for end in ("", "sts")
) | {"stsb", "stsbmultimt"}
RELATIVES = (STS, frozenset({"snli", "multinli", "mnli", "allnli"}), frozenset({"qqp", "quora", "quoraduplicates"}))
NOT_KNOWN = Markdown("not known")


def sources(record: RunRecord) -> list[tuple[str, Source]]:
    """Every set of rows of the run with what it was used for."""
    training = [("training", record.training.source), *(("training", more.source) for more in record.training.further)]
    return [*training, *((_use(record, evaluation), evaluation.source) for evaluation in record.evaluations)]


def link(source: Source) -> Markdown:
    """The data's name; with a link only where the rows were fetched from the Hub."""
    if source.kind == "hub" and (name := data_name(source)):
        return Markdown(f"[{escape(source.title)}](https://huggingface.co/datasets/{name})")
    return escape(source.title) if source.kind == "script" else code(source.title)


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
        return escape("the script" if source.kind == "script" else source.kind)
    return Markdown("Hub, revision {it}").fill(it=code(source.revision[:12]) if source.revision else NOT_KNOWN)


def fingerprint(source: Source) -> Markdown:
    """Of the rows; a script's own are not read."""
    return code(source.fingerprint) if source.fingerprint else NOT_KNOWN


def held_out(source: Source) -> bool:
    """Whether the rows were made out of training pairs, and graded by a program (``data.held_out``)."""
    return source.part is not None and " held out, " in source.part


def rows(count: int) -> Markdown:
    """How many; 0 stands for not known."""
    return shown(count) if count else NOT_KNOWN


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


def base_has_seen(record: RunRecord) -> list[Markdown]:
    """What the base's own card says it was trained on, as far as it touches this run."""
    names = record.base.trained_on
    if not names:
        return [Markdown("The base model's card names no training data: what the base has seen is not known.")]
    found: list[Markdown] = []
    for source, role in _by_role(record):
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


def start_has_seen(record: RunRecord) -> list[Markdown]:
    """What the card of the model that training went on from was trained on, as far as the evaluation data go."""
    start = record.training.start
    if start is None:
        return []
    line = (
        "**Warning, {data}: the card of {start}, from which training went on, lists {them}: the tuned score is not one "
        "on unseen data, while the base's may be.**"
    )
    return [
        Markdown(line).fill(data=code(source.title), start=code(start.name), them=Markdown(", ".join(map(code, them))))
        for source, role in _by_role(record)
        if role != "train" and (them := list(dict.fromkeys(itertools.chain(*_seen(source, start.trained_on)))))
    ]


def seen_before(record: RunRecord) -> list[Markdown]:
    """``base_has_seen`` for those who read no further: the data of this run that the base's own card lists."""
    said = {
        "train": "**This run retrains on data that the base has seen**: the base model's card lists {them}.",
        "report": "**Not unseen data**: the base model's card lists {them}, on which the verdict rests.",
    }
    lines = [
        Markdown(said[role]).fill(them=Markdown(", ".join(map(code, same))))
        for source, role in _by_role(record)
        if role in said and (same := _seen(source, record.base.trained_on)[0])
    ]
    return list(dict.fromkeys(lines))


def names_alone(record: RunRecord) -> bool:
    """Whether the command names files or folders, which a record holds without the way to them."""
    used = [record.base, *([record.training.start] if record.training.start else [])]
    model_folder = any(facts.hub_id is None and not facts.name.startswith("builtin:") for facts in used)
    return model_folder or any(source.kind in ("file", "local copy") for source, _ in _by_role(record))


def in_sts(source: Source) -> bool:
    """Whether it is one of the STS data sets, whose rows come from one another."""
    return _key(data_name(source) or "") in STS


def _by_role(record: RunRecord) -> list[tuple[Source, str]]:
    training = [record.training.source, *(more.source for more in record.training.further)]
    return [*((source, "train") for source in training), *((e.source, e.role) for e in record.evaluations)]


def _seen(source: Source, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Of the names, those of this data set and those of data sets that share rows with it."""
    name = data_name(source)
    if name is None:
        return [], []
    same = [other for other in names if _key(other) == _key(name)]
    return same, [other for other in names if any({_key(other), _key(name)} <= family for family in RELATIVES)]


def _use(record: RunRecord, evaluation: Evaluation) -> str:
    report = "primary comparison" if record.base.untrained else "verdict"
    uses = {"report": report, "select": "choosing the checkpoint", "probe": "probe"}
    return uses.get(evaluation.role, evaluation.role)


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.rsplit("/", 1)[-1].lower())
