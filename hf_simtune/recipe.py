"""A recipe: everything that decides a run, as one frozen value."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from hf_simtune.errors import RequestError

__all__ = ["FORWARDS", "LOSS_SHAPES", "PRECISIONS", "SCHEDULERS", "SHAPES", "Recipe", "fields", "is_hub_name"]

SHAPES = ("pairs", "scored", "triplets", "sentences")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
FORWARDS = ("auto", "plain", "packed", "chunked")
SCHEDULERS = ("linear", "cosine", "constant", "constant_with_warmup")
# Which shapes a loss can learn from. The losses are built in losses.py, which needs torch; this table does not.
LOSS_SHAPES: dict[str, tuple[str, ...]] = {
    "mnrl": ("pairs", "triplets"),
    "cosent": ("scored",),
    "angle": ("scored",),
    "cosine": ("scored",),
}
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
BUILTIN_MINILM = "builtin:all-MiniLM-L6-v2"
FILE_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".txt", ".gz")


def _field(default: Any, text: str, check: Callable[[Any], bool] | None = None, allowed: str = "") -> Any:
    """A recipe field with its help text and the values it may take, both beside its name and nowhere else."""
    return dataclasses.field(default=default, metadata={"help": text, "check": check, "allowed": allowed})


def _one_of(*values: str) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value in values), "one of " + ", ".join(values)


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _rising(ends: tuple[float, float]) -> bool:
    return all(map(math.isfinite, ends)) and ends[0] < ends[1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a run. Frozen: ``dataclasses.replace`` makes a changed copy.

    Every field is a flag of ``hf-simtune tune`` under its own name (``train_rows`` is ``--train-rows``).
    Data are named by a Hub id, a file or a folder, or ``builtin:sports``; a configuration follows a slash
    and a split a colon: ``sentence-transformers/all-nli/triplet:train``.
    """

    name: str = _field(
        "tune",
        "name of the run folder and of the model",
        lambda v: re.fullmatch(r"[\w][\w .+-]{0,95}", v) is not None,
        "1 to 96 letters, digits, spaces, '.', '_', '+' or '-', a letter or digit first",
    )
    title: str = _field("", "one line that says what the recipe does")
    model: str = _field(
        MINILM,
        "base model: Hub id, folder, or builtin:all-MiniLM-L6-v2",
        lambda v: bool(v.strip()),
        "a Hub id or a folder",
    )
    model_revision: str | None = _field(None, "commit, tag or branch of the base model on the Hub")
    train_data: str = _field(
        "",
        "training rows: Hub id, csv/tsv/jsonl/parquet/txt file, or builtin:sports",
        lambda v: bool(v.strip()),
        "a Hub id, a file or builtin:sports",
    )
    columns: tuple[str, ...] | None = _field(
        None,
        "columns of the training rows, in the order of the shape (default: found from their names)",
        lambda v: 0 < len(v) <= 3,
        "one to three names",
    )
    shape: str | None = _field(
        None,
        "what a training row is: pairs, scored, triplets or sentences (default: found from the columns)",
        *_one_of(*SHAPES),
    )
    score_range: tuple[float, float] | None = _field(
        None,
        "scale of the training scores, lowest and highest, rescaled to 0..1 (as in: 0 5)",
        _rising,
        "two numbers, the lower first",
    )
    train_rows: int | None = _field(
        None, "use the first N training rows, after a seeded shuffle (default: all)", _positive, "1 or more"
    )
    skip_bad_rows: bool = _field(False, "drop and count rows that cannot be used, instead of refusing the data")
    keep_leaks: bool = _field(False, "keep training rows that are also evaluation pairs (the card will say so)")
    select_on: str | None = _field(
        None, "scored rows on which the best checkpoint is chosen (default: a part of the scored training file)"
    )
    report_on: str | None = _field(
        None,
        "scored rows for the verdict, on which the run selects nothing (default: another part of that file)",
    )
    eval_columns: tuple[str, ...] | None = _field(
        None,
        "columns of the evaluation rows: sentence1 sentence2 score (default: found from their names)",
        lambda v: len(v) == 3,
        "three names",
    )
    eval_score_range: tuple[float, float] | None = _field(
        None,
        "scale of the evaluation scores, lowest and highest",
        _rising,
        "two numbers, the lower first",
    )
    loss: str | None = _field(
        None,
        "mnrl (pairs, triplets); cosent, angle or cosine (scored). Default: mnrl or cosent, by shape",
        *_one_of(*LOSS_SHAPES),
    )
    temperature: float = _field(
        0.05,
        "divides the similarities in mnrl, cosent and angle (the libraries' 'scale' is 1/temperature)",
        _positive,
        "above 0",
    )
    epochs: float = _field(1.0, "passes over the training rows", _positive, "above 0")
    batch_size: int = _field(64, "rows per step and process", lambda v: v >= 2, "2 or more")
    learning_rate: float = _field(2e-5, "highest learning rate", _positive, "above 0")
    warmup: float = _field(
        0.1, "share of the steps in which the learning rate rises", lambda v: 0 <= v < 1, "0 or more, below 1"
    )
    scheduler: str = _field(
        "linear", "how the learning rate falls: linear, cosine, constant, constant_with_warmup", *_one_of(*SCHEDULERS)
    )
    weight_decay: float = _field(0.0, "AdamW's weight decay", lambda v: math.isfinite(v) and v >= 0, "0 or more")
    max_length: int | None = _field(
        None, "longest text in tokens (default: the base model's own)", _positive, "1 or more"
    )
    evaluations: int = _field(10, "how often the selection rows are scored during training", _positive, "1 or more")
    seed: int = _field(
        42, "seed of the shuffle, the dropout and the bootstrap", lambda v: 0 <= v < 2**32, "0 to 4294967295"
    )
    precision: str = _field(
        "auto", "fp32, bf16 or fp16; auto takes bf16 where a probe finds it faster", *_one_of(*PRECISIONS)
    )
    forward: str = _field(
        "auto",
        "how a batch passes the model, with the same loss and gradients: plain (padded to its longest text), packed "
        "(without padding) or chunked (sorted, in chunks); auto takes packed where it is exact, else chunked, else "
        "plain; plain on a GPU",
        *_one_of(*FORWARDS),
    )

    def check(self) -> list[str]:
        """Every problem of the recipe, each a sentence that names the flag; empty when it can be run."""
        problems = []
        hints = get_type_hints(type(self))
        for spec in dataclasses.fields(self):
            value = getattr(self, spec.name)
            flag = "--" + spec.name.replace("_", "-")
            if not _is_a(value, hints[spec.name]):
                problems.append(f"{flag} is {value!r}: it must be {_type_name(hints[spec.name])}")
            elif value is not None and spec.metadata["check"] and not spec.metadata["check"](value):
                allowed = spec.metadata["allowed"]
                problems.append(f"{flag} is {_shown(value)}: it must be {allowed}{_closest(value, allowed)}")
        if not problems:
            problems += self._check_together()
        return problems

    def _check_together(self) -> list[str]:
        problems = []
        if self.loss and self.shape and self.shape not in LOSS_SHAPES[self.loss]:
            losses = ", ".join(name for name, shapes in LOSS_SHAPES.items() if self.shape in shapes) or "none yet"
            takes = " or ".join(LOSS_SHAPES[self.loss])
            problems.append(
                f"--loss {self.loss} learns from {takes}, not from {self.shape}; for {self.shape}: {losses}"
            )
        wanted = {"pairs": 2, "scored": 3, "triplets": 3, "sentences": 1}
        if self.columns and self.shape and len(self.columns) != wanted[self.shape]:
            problems.append(
                f"--columns names {len(self.columns)} columns; --shape {self.shape} takes {wanted[self.shape]}"
            )
        if (self.select_on is None) != (self.report_on is None):
            problems.append("--select-on and --report-on go together: name both, or neither to split the training file")
        if self.select_on is not None and self.select_on == self.report_on:
            problems.append(
                f"--select-on and --report-on are both {self.report_on}: "
                "rows that choose the checkpoint cannot prove the gain"
            )
        if self.columns and len(set(self.columns)) != len(self.columns):
            problems.append(f"--columns names a column twice: {' '.join(self.columns)}")
        return problems

    def checked(self) -> Recipe:
        """This recipe, if it can be run.

        Raises:
            RequestError: with every problem found.
        """
        if problems := self.check():
            raise RequestError(problems, hint="See: hf-simtune tune --help")
        return self

    def offline(self) -> Recipe:
        """The same recipe on what the package carries: the packaged MiniLM and the built-in sports corpus.

        Only what would come from the Hub is replaced; files and folders of your own stay. The scores are then on the
        sports corpus and never stand for STSb.
        """
        changes: dict[str, Any] = {"name": f"{self.name.removesuffix('-offline')}-offline"}
        if is_hub_name(self.model):
            changes |= {"model": BUILTIN_MINILM, "model_revision": None}
        if is_hub_name(self.train_data):
            changes |= {
                "title": f"offline trial of {self.name}: the packaged MiniLM on the built-in sports corpus",
                "train_data": f"builtin:sports/{self.shape or 'pairs'}:train",
                "columns": None,
                "score_range": None,
            }
        own_scores = self.select_on is None and self.shape in (None, "scored") and not is_hub_name(self.train_data)
        if not own_scores and (
            self.select_on is None or is_hub_name(self.select_on) or is_hub_name(self.report_on or "")
        ):
            changes |= {
                "select_on": "builtin:sports/scored:validation",
                "report_on": "builtin:sports/scored:test",
                "eval_columns": None,
                "eval_score_range": None,
            }
        return dataclasses.replace(self, **changes)


def is_hub_name(name: str) -> bool:
    """Whether a name stands for something on the Hub, rather than a builtin or a local file or folder."""
    place = name.partition(":")[0]
    local = place.startswith((".", "/", "~")) or Path(place).exists() or place.endswith(FILE_ENDINGS)
    return bool(name) and not name.startswith("builtin:") and not local


def _is_a(value: object, hint: Any) -> bool:
    if get_origin(hint) in (Union, types.UnionType):
        return any(_is_a(value, part) for part in get_args(hint))
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        if not isinstance(value, tuple):
            return False
        if parts[-1] is Ellipsis:
            return all(_is_a(item, parts[0]) for item in value)
        return len(value) == len(parts) and all(_is_a(item, part) for item, part in zip(value, parts, strict=True))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _type_name(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_type_name(part) for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is tuple:
        return "several of " + _type_name(get_args(hint)[0])
    name = str(hint.__name__)
    return {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}.get(name, name)


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else repr(value)


def _closest(value: Any, allowed: str) -> str:
    near = difflib.get_close_matches(str(value), allowed.removeprefix("one of ").split(", "), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def fields() -> Iterator[tuple[str, Any, Any, str]]:
    """Name, type, default and help text of every recipe field, in order."""
    hints = get_type_hints(Recipe)
    for spec in dataclasses.fields(Recipe):
        yield spec.name, hints[spec.name], spec.default, spec.metadata["help"]
