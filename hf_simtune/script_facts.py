"""What can be told of a training that a script of the user's own set up: from model, arguments and state."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainerState, TrainingArguments

from hf_simtune.data.leakage import find_leaks
from hf_simtune.data.shapes import CANONICAL
from hf_simtune.evaluation.sts import Model
from hf_simtune.models import facts_of
from hf_simtune.record import Checkpoint, Leakage, ModelFacts, Source, Training

__all__ = ["arguments", "base", "leaks", "prompt", "training"]

log = logging.getLogger("hf_simtune")

LABELS = ("label", "labels", "score", "scores")  # columns that the trainer's collator takes for labels
TOLD = (
    *("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate"),
    *("lr_scheduler_type", "warmup_steps", "weight_decay", "seed", "bf16", "fp16", "batch_sampler", "prompts"),
    *("load_best_model_at_end", "metric_for_best_model", "activation_checkpointing", "optim"),
)


def base(model: Model) -> ModelFacts:
    """The facts of the model as it is before training; its Hub id where the library noted one."""
    card = model.model_card_data
    hub_id = card.base_model or None
    name = hub_id or Path(str(getattr(getattr(model[0], "auto_model", None), "name_or_path", "") or "model")).name
    return facts_of(model, name or "model", hub_id=hub_id, revision=card.base_model_revision)


def prompt(args: TrainingArguments) -> str | None:
    """The prompt that the script trains each text with; None, and a warning, where columns or sets have several."""
    given = getattr(args, "prompts", None)
    if not given or isinstance(given, str):
        return given or None
    leaves = list(_leaves(given))
    several = list(dict.fromkeys(leaves if len(leaves) > 1 else [*leaves, ""]))  # one column's alone is not all texts'
    if len(several) == 1:
        return several[0] or None
    told = ", ".join(map(repr, several))
    log.warning("the script trains with several prompts (%s): base and trained model are scored without one", told)
    return None


def _leaves(prompts: Any) -> Iterator[str]:
    """The texts of prompts by column, by data set, or both; a column without one has the empty text."""
    for value in prompts.values() if isinstance(prompts, dict) else [prompts]:
        yield from _leaves(value) if isinstance(value, dict) else [str(value or "")]


def arguments(args: TrainingArguments) -> dict[str, Any]:
    """The trainer's arguments that decide a result, as JSON can hold them; none of them holds a path."""
    values = {name: getattr(args, name) for name in TOLD if hasattr(args, name)}
    values = {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}
    return {
        name: value if isinstance(value, bool | int | float | str | None) else str(value)
        for name, value in values.items()
    }


def training(model: Model, rows: Any, args: TrainingArguments, state: TrainerState, processes: int) -> Training:
    """What was trained, as far as the libraries noted it; what they did not is called unknown."""
    noted: list[dict[str, Any]] = list(model.model_card_data.train_datasets) or [{}]
    losses = [str(entry["loss"]["fullname"]).rsplit(".", 1)[-1] for entry in noted if entry.get("loss")]
    parameters = list(model.parameters())
    logged = [
        (int(entry["step"]), round(float(entry.get("epoch") or 0.0), 4), float(entry["loss"]))
        for entry in state.log_history
        if "loss" in entry
    ]
    runtime = [entry["train_runtime"] for entry in state.log_history if "train_runtime" in entry]
    best = state.best_global_step if args.load_best_model_at_end and state.best_model_checkpoint else state.global_step
    count = sum(int(entry.get("size") or 0) for entry in noted) or _length(rows)
    return Training(
        source=_source(noted[0], rows, count),
        rows=count,
        loss=" and ".join(dict.fromkeys(losses)) or "unknown",
        temperature=_temperature(noted[0]),
        epochs=round(state.epoch or 0.0, 4),
        steps=state.global_step,
        batch_size=args.train_batch_size,
        processes=processes,
        precision=_precision(args),
        precision_reason="as the script has it",
        forward="plain",
        forward_reason="as the script has it",
        seconds=round(float(runtime[-1]), 1) if runtime else 0.0,
        checkpoints=tuple(
            Checkpoint(step=step, epoch=epoch, spearman=None, loss=loss)
            for step, epoch, loss in logged
            if math.isfinite(loss)
        ),
        best_step=int(best or 0),
        final_loss=logged[-1][2] if logged and math.isfinite(logged[-1][2]) else None,
        parameters=sum(tensor.numel() for tensor in parameters),
        trainable=sum(tensor.numel() for tensor in parameters if tensor.requires_grad),
    )


def leaks(rows: Any, evaluations: dict[str, Dataset]) -> tuple[Leakage, ...]:
    """What the training rows, of all sets, share with the evaluation rows; empty where a set cannot be read.

    Nothing is dropped: the script decides what it trains on.
    """
    sets = [rows] if isinstance(rows, Dataset) else list(getattr(rows, "datasets", []))
    chosen = [_canonical(one) for one in sets if isinstance(one, Dataset)]
    known = [one for one in chosen if one is not None]
    if not known or len(known) < len(sets):
        return ()
    known += [part for one in sets for part in _further_negatives(one)]
    facts = find_leaks(known[0], evaluations, further=known[1:], progress=False).facts
    return tuple(dataclasses.replace(fact, rows_dropped=0) for fact in facts)


def _canonical(rows: Dataset) -> Dataset | None:
    """The texts under the names that the leak check knows; None where there are too few columns of text."""
    texts = _texts(rows)
    wanted = [name for name in CANONICAL[_shape(rows)] if name != "score"]
    if not texts or len(texts) < len(wanted):
        return None
    chosen = rows.select_columns(texts[: len(wanted)]).rename_columns(dict(zip(texts, wanted, strict=False)))
    return chosen.add_column("row", list(range(len(chosen))))


def _further_negatives(rows: Dataset) -> list[Dataset]:
    """Behind the third column of text of unscored rows, each with the anchor: more negatives, as pairs."""
    texts = _texts(rows)
    return [
        rows.select_columns([texts[0], other])
        .rename_columns({texts[0]: "anchor", other: "positive"})
        .add_column("row", list(range(len(rows))))
        for other in (texts[3:] if _shape(rows) == "triplets" else ())
    ]


def _texts(rows: Dataset) -> list[str]:
    return [
        name
        for name, feature in rows.features.items()
        if getattr(feature, "dtype", None) in ("string", "large_string") and name not in LABELS
    ]


def _shape(rows: Dataset) -> str:
    texts = _texts(rows)
    if len(texts) >= 2 and any(name in LABELS for name in rows.column_names):
        return "scored"
    return {0: "sentences", 1: "sentences", 2: "pairs"}.get(len(texts), "triplets")


def _source(noted: dict[str, Any], rows: Any, count: int) -> Source:
    readable = isinstance(rows, Dataset)
    identity, name = noted.get("id"), str(noted.get("name") or "")
    revision = noted.get("revision")
    return Source(
        name=str(identity or (name if name and name != "Unnamed Dataset" else "rows of the script's own")),
        kind="hub" if identity and revision else "script",
        revision=str(revision) if identity and revision else None,
        shape=_shape(rows) if readable else "unknown",
        columns=tuple(re.sub(r"</?code>", "", column) for column in noted.get("columns") or ()),
        rows=count,
    )


def _precision(args: TrainingArguments) -> str:
    """What the trainer's accelerator was set up with: the launcher may have asked for it, not the arguments."""
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if args.bf16 or args.fp16:
        return "bf16" if args.bf16 else "fp16"
    return asked if asked in ("bf16", "fp16") else "fp32"


def _temperature(noted: dict[str, Any]) -> float | None:
    """1 / scale, where the loss has one."""
    code = str((noted.get("loss") or {}).get("config_code") or "").replace("```json", "").replace("```", "")
    try:
        scale = float(json.loads(code)["scale"])
    except (ValueError, KeyError, TypeError):
        return None
    return 1 / scale if scale > 0 else None


def _length(rows: Any) -> int:
    try:
        return len(rows)
    except TypeError:  # an iterable data set
        return 0
