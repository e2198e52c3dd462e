"""A recipe: everything that decides a run, as one frozen value."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, get_type_hints

from hf_simtune.branches import ALLOWED as BRANCHES
from hf_simtune.branches import in_order, wrong
from hf_simtune.errors import RequestError
from hf_simtune.fields import at_most, field, fraction, one_of, positive, rising, wrong_fields, zero_or_more
from hf_simtune.hub_names import is_hub_id
from hf_simtune.lora import ALLOWED, LoRA
from hf_simtune.row_shapes import LOSS_SHAPES
from hf_simtune.rules import together
from hf_simtune.stand_ins import BUILTIN_MINILM, BUILTIN_SPLADE, MINILM, offline_changes
from hf_simtune.trackers import TRACKERS, in_use
from hf_simtune.unread_fields import MINI_BATCH

__all__ = [
    "BUILTIN_MINILM",
    "BUILTIN_SPLADE",
    "FORWARDS",
    "LOSS_SHAPES",
    "MINILM",
    "PRECISIONS",
    "RELEASE",
    "SCHEDULERS",
    "SHAPES",
    "Recipe",
    "fields",
]

SHAPES = ("pairs", "scored", "triplets", "sentences")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
FORWARDS = ("auto", "plain", "packed", "chunked")
SCHEDULERS = ("linear", "cosine", "constant", "constant_with_warmup")
SPARSE = ("splade", "csr")
ON_COLLAPSE = ("warn", "stop", "ignore")
# What becomes of a run, and nothing of its model.
RELEASE = ("push_to_hub", "hub_model_id", "hub_private_repo", "push_checkpoints", "report_to", "export")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a run. Frozen: ``dataclasses.replace`` makes a changed copy.

    Every field but ``stand_in_for`` is a flag of ``hf-simtune tune`` under its own name (``train_rows`` is
    ``--train-rows``). Data are named by a Hub id, a file or a folder, or ``builtin:sports``; a configuration follows
    a slash and a split a colon: ``sentence-transformers/all-nli/triplet:train``.

    >>> Recipe(name="mine", train_data="my_scores.csv", epochs=2, loss="cosent").check()
    []
    >>> Recipe(name="mine", train_data="my_scores.csv", epochs=-2).check()
    ['--epochs is -2: it must be above 0, at most 100,000']
    """

    name: str = field(
        "tune",
        "name of the run folder and of the model",
        lambda v: re.fullmatch(r"[\w][\w .+-]{0,95}", v) is not None,
        "1 to 96 letters, digits, spaces, '.', '_', '+' or '-', a letter or digit first",
    )
    title: str = field("", "one line that says what the recipe does")
    model: str = field(
        MINILM,
        f"base model: Hub id, folder, {BUILTIN_MINILM} or {BUILTIN_SPLADE}",
        lambda v: bool(v.strip()),
        "a Hub id or a folder",
    )
    model_revision: str | None = field(None, "commit, tag or branch of the base model on the Hub")
    allow_pickle: bool = field(
        False, "load a base model that has pickled weights and no safetensors, as weights alone (the card will say so)"
    )
    start: str | None = field(
        None,
        "model whose weights training goes on from, tuned from the same base: Hub id (or ID@REVISION) or folder; "
        "before and after are told of the base (default: begin at the base)",
        lambda v: bool(v.strip()),
        "a Hub id or a folder",
    )
    train_data: str = field(
        "",
        "training rows: Hub id, csv/tsv/jsonl/parquet/txt file, or builtin:sports",
        lambda v: bool(v.strip()),
        "a Hub id, a file or builtin:sports",
    )
    columns: tuple[str, ...] | None = field(
        None,
        "columns of the training rows, in the order of the shape (default: found from their names); set[1] is the "
        "second text of each list in set",
        lambda v: 0 < len(v) <= 3,
        "one to three names",
    )
    shape: str | None = field(
        None,
        "what a training row is: pairs, scored, triplets or sentences (default: found from the columns)",
        *one_of(*SHAPES),
    )
    score_range: tuple[float, float] | None = field(
        None, "scale of the training scores, lowest and highest, as in: 0 5", rising, "two numbers, the lower first"
    )
    train_rows: int | None = field(
        None,
        "use the first N training rows, after a seeded shuffle (default: all)",
        *at_most(10**10, positive, "1 or more"),  # the largest public sets have a tenth of that
    )
    skip_bad_rows: bool = field(False, "drop and count rows that cannot be used, instead of refusing the data")
    keep_leaks: bool = field(False, "keep training rows that are also evaluation pairs (the card will say so)")
    more_data: tuple[str, ...] | None = field(
        None,
        "further training data, each with a loss of its own: LOSS=DATA, as in cosent=scores.csv; the sets take turns, "
        "in proportion to their rows",
        bool,
        "LOSS=DATA once or more",
    )
    mine_negatives: int = field(
        0,
        "hard negatives that the base model looks for among the positives, for each pair",
        *at_most(1_000, zero_or_more, "0 or more"),
    )
    negative_margin: float = field(
        0.05,
        "a mined negative is at most (1 - this) times as similar as the positive; closer ones may be positives too",
        fraction,
        "0 to below 1",
    )
    select_on: str | None = field(
        None,
        "scored rows on which the best checkpoint is chosen (default: kept from the training rows; STSb's for plain "
        "sentences and few pairs)",
    )
    report_on: str | None = field(
        None,
        "scored rows for the verdict, on which the run selects nothing (default: kept from the training rows; STSb's "
        "for plain sentences and few pairs)",
    )
    eval_columns: tuple[str, ...] | None = field(
        None,
        "columns of the evaluation rows: sentence1 sentence2 score (default: found from their names)",
        *(lambda v: len(v) == 3, "three names"),
    )
    eval_score_range: tuple[float, float] | None = field(
        None, "scale of the evaluation scores, lowest and highest", rising, "two numbers, the lower first"
    )
    probe: tuple[str, ...] | None = field(
        None,
        "further scored rows, scored before and after: what the model may have forgotten",
        bool,
        "one name or more",
    )
    loss: str | None = field(
        None,
        "mnrl or cached_mnrl (pairs, triplets); cosent, angle or cosine (scored); simcse (sentences). Default, by "
        "shape: mnrl, cosent or simcse",
        *one_of(*LOSS_SHAPES),
    )
    temperature: float = field(
        0.05,
        "divides the similarities in mnrl, simcse, cosent and angle (the libraries' 'scale' is 1/temperature)",
        *at_most(1_000, lambda v: v >= 1e-6, "0.000001 or more"),  # below, fp32 rounds it all off
    )
    epochs: float = field(1.0, "passes over the training rows", *at_most(100_000, positive, "above 0"))
    batch_size: int = field(64, "rows per step and process", *at_most(1_000_000, lambda v: v >= 2, "2 or more"))
    mini_batch: int | None = field(
        None,
        f"rows that a cached loss runs at a time (default: {MINI_BATCH}, or the batch if that is smaller)",
        *at_most(1_000_000, positive, "1 or more"),
    )
    learning_rate: float = field(2e-5, "highest learning rate", lambda v: 0 < v <= 1e30, "above 0, at most 1e30")
    warmup: float = field(0.1, "share of the steps in which the learning rate rises", fraction, "0 or more, below 1")
    scheduler: str = field(
        "linear", "how the learning rate falls: linear, cosine, constant, constant_with_warmup", *one_of(*SCHEDULERS)
    )
    weight_decay: float = field(0.0, "AdamW's weight decay", *at_most(1_000, zero_or_more, "0 or more"))
    max_length: int | None = field(
        None, "longest text in tokens (default: the base model's own)", *at_most(10**7, positive, "1 or more")
    )
    prompt: str | None = field(None, "text put before each sentence, in training and in scoring, of base and tuned")
    sparse: str | None = field(
        None,
        "make a sparse encoder of the base: splade (from a masked-language model) or csr (an autoencoder on a dense "
        "model); a base that is sparse already needs no flag",
        *one_of(*SPARSE),
    )
    active_dims: int | None = field(
        None, "dimensions that csr keeps active, of 4 times the base's", *at_most(10**6, positive, "1 or more")
    )
    flops_weight: float = field(
        3e-3,
        "SPLADE: weight of the FLOPS regulariser; more makes sparser",
        *at_most(1_000, zero_or_more, "0 or more"),
    )
    lora: LoRA | None = field(
        None,
        "tune low-rank adapters alone: --lora, or --lora r=16 alpha=32 dropout=0.1 targets=query,value",
        LoRA.in_order,
        ALLOWED,
        wrong=LoRA.wrong,
    )
    merge: bool = field(False, "with --lora: write the adapters into the base's weights, a model like any other")
    matryoshka: tuple[int, ...] | None = field(
        None,
        "train the first dimensions to do alone too, and score each: as in 384 256 128 64",
        lambda v: bool(v) and min(v) >= 1 and max(v) <= 10**6,
        "one dimension or more, each 1 or more, at most 1,000,000",
    )
    gradient_checkpointing: bool = field(False, "compute activations again on the way back: less memory, more time")
    evaluations: int | None = field(
        None,
        "how often the selection rows are scored during training (default: 10, or once an epoch if that is more)",
        *at_most(1_000_000, positive, "1 or more"),
    )
    patience: int | None = field(
        None,
        "stop after so many scores without a better one; 0 never stops (default: 5 beyond 10 epochs, else 0)",
        *at_most(1_000_000, zero_or_more, "0 or more"),
    )
    on_collapse: str = field(
        "warn",
        "when different sentences become alike: warn, stop (and keep the last healthy weights) or ignore",
        *one_of(*ON_COLLAPSE),
    )
    seed: int = field(
        42, "seed of the shuffle, the dropout and the bootstrap", lambda v: 0 <= v < 2**32, "0 to 4294967295"
    )
    soup: int = field(
        1,
        "train so many times from the same weights, with the seeds SEED, SEED + 1000 and so on, and keep the mean of "
        "the best weights of all",
        *at_most(1_000, positive, "1 or more"),  # trainings, whose weights are held until the last one ends
    )
    keep_base: float = field(
        0.0,
        "share of the untouched base in the weights that are kept: more of what it knew, less of what was learnt; "
        "below 0 they go on beyond it by this share",
        *(lambda v: -1 <= v < 1, "-1 or more, below 1"),
    )
    branches: tuple[str, ...] | None = field(
        None,
        "recipes trained apart from the same weights, and their shares of what is trained: RECIPE=SHARE, or "
        "RECIPE:DATA=SHARE to train one on other rows",
        *(in_order, BRANCHES),
        wrong=wrong,
    )
    precision: str = field(
        "auto", "fp32, bf16 or fp16; auto takes bf16 where a probe finds it faster", *one_of(*PRECISIONS)
    )
    forward: str = field(
        "auto",
        "how a batch passes the model, with the same loss and gradients: plain (padded to its longest text), packed "
        "(without padding) or chunked (sorted, in chunks); auto takes packed where it is exact, else chunked, else "
        "plain; plain on a GPU",
        *one_of(*FORWARDS),
    )

    export: str | None = field(
        None, "when the run is over, write the model in another format too, scored and timed: onnx", *one_of("onnx")
    )
    push_to_hub: bool = field(False, "publish the run when it is over, if nothing of it speaks against that")
    hub_private_repo: bool = field(False, "with --push-to-hub: a new repository is private")
    hub_model_id: str | None = field(None, "with --push-to-hub: where to (default: YOU/NAME)", is_hub_id, "ORG/NAME")
    push_checkpoints: str | None = field(
        None,
        "send each checkpoint during training to the branch 'checkpoints' of this private repository, made if there "
        "is none; its main branch is left alone",
        *(is_hub_id, "ORG/NAME"),
    )
    report_to: tuple[str, ...] | None = field(
        None,
        f"follow the run with trackers: {', '.join(TRACKERS)} (Weights & Biases), one or more",
        *(in_use, "one or more of " + ", ".join(TRACKERS)),
    )

    # No flag: a card is to name what offline() replaced, not what anybody typed.
    stand_in_for: str | None = field(
        None, "Hub id of the model that the base stands in for; the card says so", flag=False
    )

    def check(self) -> list[str]:
        """Every problem of the recipe, each a sentence that names the flag; empty when it can be run."""
        wrong = wrong_fields(self)
        return [*wrong.values(), *together(self, wrong)]

    def checked(self) -> Recipe:
        """This recipe, if it can be run.

        Raises:
            RequestError: with every problem found.
        """
        if problems := self.check():
            raise RequestError(problems, hint="See: hf-simtune tune --help")
        return self

    def offline(self) -> Recipe:
        """The same recipe on what the package carries: the packaged MiniLM and the built-in sports corpus."""
        return dataclasses.replace(self, **offline_changes(self))


def fields() -> Iterator[tuple[str, Any, Any, str]]:
    """Name, type, default and help text of every recipe field that is a flag, in order."""
    hints = get_type_hints(Recipe)
    for spec in dataclasses.fields(Recipe):
        if not spec.metadata["flag"]:
            continue
        yield spec.name, hints[spec.name], spec.default, spec.metadata["help"]
