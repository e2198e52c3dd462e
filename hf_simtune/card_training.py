"""What was trained and how, in a card's words: settings, what of the model was trained, and what model/ holds."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from hf_simtune import card_text as text
from hf_simtune import origins
from hf_simtune.card_evaluation import share
from hf_simtune.card_losses import loss_words
from hf_simtune.card_provenance import link, model_link
from hf_simtune.card_text import Markdown, code
from hf_simtune.recipe import RELEASE
from hf_simtune.record import Checkpoint, ModelFacts, RunRecord, Source, Training

__all__ = [
    "FORMER",
    "epochs",
    "holds",
    "kind",
    "kind_of_rows",
    "logged",
    "origins_of_weights",
    "prompt",
    "settings",
    "trained",
    "trained_on",
    "untrained",
]

# Fields with their own row or section, and those that may hold a path.
TOLD_ELSEWHERE = {
    *("name", "title", "model", "model_revision", "train_data", "select_on", "report_on", "more_data", "probe"),
    *("loss", "temperature", "epochs", "batch_size", "precision", "forward", "prompt", "matryoshka", "stand_in_for"),
    *("lora", "merge", "mine_negatives", "negative_margin", "soup", "keep_base", "start", "branches"),
}
FORMER = {"layer_decay"}  # fields that recipes had once, and that no kept run set
# Of a script's arguments, those that name a place on its machine or a secret.
PRIVATE = re.compile(r"(^|_)(dir|path|file|folder|token|key|checkpoint|run_name)(_|$)|^(deepspeed|fsdp_config)$")
ROWS = {"pairs": "pairs", "scored": "scored pairs", "triplets": "triplets", "sentences": "sentences"}
KINDS = {"dense": "dense", "splade": "sparse: SPLADE", "csr": "sparse: CSR", "sparse": "sparse"}
UNNAMED = "rows of the script's own"  # what script_facts calls data without a name
MOST_LOGGED = 20


def settings(record: RunRecord) -> list[tuple[str, Markdown]]:
    """The recipe's other fields that were set and mattered, or a script's arguments.

    Those with a path in them, and those told elsewhere, are left out.
    """
    if record.script:
        given = ((name, value) for name, value in record.recipe.items() if not PRIVATE.search(name))
        return [(name, text.setting(value)) for name, value in given if value is not None and value != ""]
    idle = {*TOLD_ELSEWHERE, *FORMER, *RELEASE}
    losses = (record.training.loss, *(more.loss for more in record.training.further))
    if not any(loss.startswith("cached_") for loss in losses):
        idle.add("mini_batch")
    if record.tuned.kind not in ("splade", "sparse"):
        idle.add("flops_weight")
    if not record.recipe.get("gradient_checkpointing"):
        idle.add("gradient_checkpointing")
    if not record.health:
        idle.add("on_collapse")
    fields = ((name, value) for name, value in record.recipe.items() if name not in idle)
    return [(name, text.setting(value)) for name, value in fields if value is not None and value != ""]


def kind_of_rows(source: Source) -> str:
    """``scored pairs``; of a shape that is not known, just rows."""
    return "rows" if source.shape == "unknown" else ROWS.get(source.shape, source.shape)


def trained_on(record: RunRecord) -> Markdown:
    """``4,000 pairs from builtin:sports with CoSENTLoss, and ...``, every data set with its loss."""
    training = record.training
    first = kind_of_rows(training.source) + (" with mined negatives" if training.mined else "")
    sets = [(training.rows, first, training.source, training.loss)]
    sets += [(more.rows, kind_of_rows(more.source), more.source, more.loss) for more in training.further]
    return Markdown(", and on ".join(_set(record, *one) for one in sets))


def _set(record: RunRecord, rows: int, kind: str, source: Source, loss: str) -> Markdown:
    count = Markdown("{n} {kind}").fill(n=rows, kind=kind) if rows else Markdown("{kind}").fill(kind=kind)
    if source.name == UNNAMED:
        return Markdown("{count} of the script's own with {loss}").fill(count=count, loss=loss_words(record, loss))
    return Markdown("{count} from {it} with {loss}").fill(count=count, it=link(source), loss=loss_words(record, loss))


def trained(record: RunRecord) -> Markdown:
    """The share of the parameters that was trained; empty where the record does not say."""
    training = record.training
    if not training.parameters:
        return Markdown("")
    if training.trainable == training.parameters:
        return Markdown("all {n} parameters").fill(n=training.parameters)
    part = Markdown("{part} of {n} parameters").fill(
        part=share(training.trainable / training.parameters), n=training.parameters
    )
    if training.lora is None:
        return part
    return Markdown("{part}: LoRA {how}").fill(part=part, how=training.lora)


def origins_of_weights(record: RunRecord) -> list[Markdown]:
    """What training went on from and which weights were averaged, where there is something to say."""
    return [
        text.escape(said.replace(" x 100", " \N{MULTIPLICATION SIGN}100"), limit=3000)
        for said in origins.sentences(record)
    ]


def untrained(record: RunRecord) -> Markdown:
    """What follows the base's name where a part of it was added and nobody has trained it."""
    part = record.base.untrained
    return Markdown(" with an untrained part ({part})").fill(part=part) if part else Markdown("")


def holds(record: RunRecord) -> Markdown:
    """What is in the folder ``model/``."""
    if record.saved == "":
        return Markdown("nothing: the script saves its model itself")
    if record.saved == "adapter":
        return Markdown("the adapters alone, which need their base, {base}").fill(base=model_link(record.base))
    if record.saved == "merged":
        return Markdown("a plain model: the adapters are merged into the base's weights")
    return Markdown("the whole model")


def kind(facts: ModelFacts) -> Markdown:
    """Dense, or which kind of sparse encoder."""
    return Markdown(KINDS[facts.kind]) if facts.kind in KINDS else text.escape(facts.kind)


def epochs(found: Training) -> Markdown:
    """Passes over the rows; of a run that ended early, how many of those that were planned."""
    planned, done = text.setting(found.epochs), max((point.epoch for point in found.checkpoints), default=found.epochs)
    if found.stopped is None or done >= found.epochs:
        return planned
    return Markdown("{done} of {planned}").fill(done=text.setting(done), planned=planned)


def prompt(facts: ModelFacts) -> Markdown:
    """In quotes, since spaces at its ends count."""
    return code(json.dumps(facts.prompt, ensure_ascii=False)) if facts.prompt else Markdown("none")


def logged(points: Sequence[Checkpoint]) -> list[Checkpoint]:
    """The losses that a script logged, thinned to a table that can be read; the last one always."""
    lossy = [point for point in points if point.loss is not None]
    every = -(-len(lossy) // MOST_LOGGED) or 1
    return lossy[(len(lossy) - 1) % every :: every]
