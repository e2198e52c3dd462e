"""RunRecord -> the words of a run page that take more than a field: findings, the index, what was trained."""

from __future__ import annotations

from collections.abc import Iterator

from hf_simtune import card, dense_below, origins, separation, wording
from hf_simtune.card_evaluation import FINDINGS, NOTES, outscored, share
from hf_simtune.card_metadata import kept_base
from hf_simtune.card_training import KINDS
from hf_simtune.errors import RunError
from hf_simtune.evaluation.compare import probe_answer
from hf_simtune.evaluation.reindex import reindex_sentence
from hf_simtune.evaluation.retrieval import retrieval_sentence
from hf_simtune.evaluation.spread import spread_sentence
from hf_simtune.record import Evaluation, FurtherData, Mined, RunRecord, Source
from hf_simtune.report_text import minus

__all__ = ["answer", "card_text", "findings", "geometry", "holds", "kept", "kinds", "sources", "trained", "unhealthy"]

TIMES_100 = " \N{MULTIPLICATION SIGN}\N{NO-BREAK SPACE}100"


def answer(record: RunRecord, evaluation: Evaluation) -> str:
    """Whether a probe got worse: ``not worse``, ``worse``, ``cannot tell``, or ``no verdict`` of an untrained base."""
    if record.base.untrained:
        return "no verdict"
    return probe_answer(evaluation.comparison) if evaluation.comparison else "cannot tell"


def kept(record: RunRecord) -> str:
    """Why ``model/`` holds the base as it was, or not the step with the highest score; empty otherwise."""
    if kept_base(record):
        if outscored(record):
            return (
                "Every checkpoint that scored higher than the untouched base had unhealthy embeddings, and the run was "
                "to stop at that"
            )
        return "No checkpoint scored higher than the untouched base on the rows that choose one"
    if outscored(record) and not record.script:
        return "A checkpoint with a higher score had unhealthy embeddings, and the run was to stop at that"
    return ""


def unhealthy(record: RunRecord) -> list[str]:
    """What was found at the chosen step that the base did not have; notes are left out."""
    found = {health.step: health.findings for health in record.health}
    chosen = found.get(record.training.best_step, ())
    return [name for name in chosen if name not in found.get(0, ()) and name not in NOTES]


def findings(record: RunRecord) -> Iterator[tuple[str, str]]:
    """What the guard found, the worst first: where it was found for the first time, and what it means."""
    total, best = len(record.health), record.training.best_step
    for name in dict.fromkeys([*FINDINGS, *(name for health in record.health for name in health.findings)]):
        steps = [health.step for health in record.health if name in health.findings]
        if not steps:
            continue
        first = "The base, step 0" if steps[0] == 0 else f"Step {steps[0]:,}"
        chosen = ", the chosen step among them" if best in steps and not kept_base(record) else ""
        words = FINDINGS.get(name, "").replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")
        means = f"{words[:1].upper()}{words[1:]}. " if words else ""
        yield f"{first}: {name}", f"{means}Found in {len(steps)} of {total} measurements{chosen}."


def geometry(record: RunRecord) -> Iterator[tuple[str, str]]:
    """Whether an old index must be rebuilt, what retrieval gained or lost, how similarities spread; as measured.

    In two parts: what is answered, and the rest of the sentence.
    """
    if answer := separation.sentence(record):
        head, _, rest = minus(answer).partition(": ")
        yield head, ": " + rest
    said = [(reindex_sentence(record.reindex), ", as ")] if record.reindex else []
    said += [(retrieval_sentence(e.source.title, e.retrieval), ". MRR@10") for e in record.evaluations if e.retrieval]
    said += [(spread_sentence(record.spread), ": ")] if record.spread else []
    for sentence, end in said:
        head, between, rest = minus(sentence.replace(" x 100", TIMES_100)).partition(end)
        yield head, between + rest


def below(record: RunRecord) -> str:
    """What a sparse encoder is worth beside the dense model that its autoencoder was put on; empty without one."""
    return minus(dense_below.sentence(record).replace(" x 100", TIMES_100))


def trained(record: RunRecord) -> Iterator[tuple[str, str]]:
    """Which part of the model was trained, on what beside the training rows, with a name for each."""
    training = record.training
    if training.parameters:
        if training.trainable == training.parameters:
            part = f"all {training.parameters:,} parameters"
        else:
            ratio = share(training.trainable / training.parameters)
            part = f"{training.trainable:,} of {training.parameters:,} parameters ({ratio})"
        yield "trained", part
    if training.lora is not None:
        yield "adapters", f"LoRA {training.lora}".rstrip()
    if training.start:
        yield "went on from", origins.start(record)
    if training.soup:
        yield "averaged", minus(origins.soup(record).replace(" x 100", TIMES_100))
    for more in training.further:
        yield "further data", _further(more)
    if training.mined:
        yield "mined negatives", _mined(training.mined)
    if training.stopped:
        yield "ended early", training.stopped


def _further(more: FurtherData) -> str:
    apart = f"; the branch {more.branch}, trained apart: {more.settings}" if more.branch else ""
    return f"{wording.count(more.rows, 'row')} of {more.source.title}, loss {more.loss}{apart}"


def _mined(mined: Mined) -> str:
    most = f"{100 * (1 - mined.margin):.6g} %"
    without = f"; pairs without any, left out: {mined.pairs_without:,}" if mined.pairs_without else ""
    return (
        f"{mined.asked} per pair asked for, looked for by {mined.model}, each at most {most} as similar to the anchor "
        f"as its positive; {wording.count(mined.rows, 'training row')} came of it{without}"
    )


def holds(record: RunRecord) -> str:
    """What is in the folder ``model/``."""
    if kept_base(record):
        return "the base as it was"
    return {
        "": "nothing: the script saves its model itself",
        "adapter": f"the adapters alone, which need their base, {record.base.hub_id or record.base.name}",
        "merged": "a plain model: the adapters are merged into the base\N{RIGHT SINGLE QUOTATION MARK}s weights",
        "model": "the whole model",
    }.get(record.saved, record.saved)


def kinds(record: RunRecord) -> tuple[str | None, str | None]:
    """Of the base and the tuned model: dense, or which kind of sparse encoder. Dense both goes without saying."""
    base, tuned = record.base, record.tuned
    return (
        (None, None)
        if base.kind == tuned.kind == "dense"
        else (KINDS.get(base.kind, base.kind), KINDS.get(tuned.kind, tuned.kind))
    )


def sources(record: RunRecord) -> Iterator[tuple[str, Source, str]]:
    """Every set of rows with what it was for, and the loss of those that have one of their own."""
    training = record.training
    yield "Training rows", training.source, training.loss if training.further else ""
    for more in training.further:
        yield "Further training rows", more.source, more.loss
    names = {
        "report": "Rows of the primary comparison" if record.base.untrained else "Rows for the verdict",
        "select": "Rows that chose the checkpoint",
        "probe": "Rows of a probe",
    }
    for evaluation in record.evaluations:
        yield names.get(evaluation.role, evaluation.role), evaluation.source, ""


def card_text(record: RunRecord) -> str | None:
    """The model card as it stands in README.md, without its pictures; None where the record has nothing for one."""
    try:
        return card.render(record)
    except RunError:
        return None
