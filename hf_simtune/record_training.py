"""What was trained, on what: the parts of a record that say where a model comes from."""

from __future__ import annotations

import dataclasses

__all__ = ["Checkpoint", "FurtherData", "Ingredient", "Mined", "ModelFacts", "Source", "Training"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Where rows came from, and what became of them."""

    name: str  # Hub id, file name, or builtin:NAME; never a path of this machine
    kind: str  # "hub", "local copy" (a folder laid out as on the Hub), "file" or "builtin"
    config: str | None = None
    split: str | None = None
    revision: str | None = None  # a commit of the Hub at huggingface.co, nothing else
    license: str | None = None  # as the data card states it
    shape: str = "scored"  # "pairs", "scored", "triplets" or "sentences"
    columns: tuple[str, ...] = ()  # the source's own names, in the order of the shape
    rows: int = 0  # after dropping bad rows, before leaks are taken out
    fingerprint: str = ""  # SHA-256 over the rows in order, first 16 hex digits
    rescaled_from: tuple[float, float] | None = None
    rescaled_because: str | None = None
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)  # bad rows by reason
    part: str | None = None  # "10 % of the file, by connected rows" when a file was split

    @property
    def title(self) -> str:
        """``sentence-transformers/stsb:test``"""
        return (
            self.name
            + (f"/{self.config}" if self.config and self.config != "default" else "")
            + (f":{self.split}" if self.split else "")
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a model is, read from the loaded model."""

    name: str  # Hub id, builtin:NAME or the folder's last name
    hub_id: str | None = None  # the Hub id that these weights are known to be
    revision: str | None = None
    weights_sha256: str = ""  # over all tensors by name
    parameters: int = 0
    megabytes: float = 0.0  # of the weights in memory, 10**6 bytes
    dimensions: int = 0
    max_length: int | None = None
    similarity: str = "cosine"
    language: tuple[str, ...] = ()
    license: str | None = None
    trained_on: tuple[str, ...] = ()  # data sets that its card lists
    kind: str = "dense"  # "dense", "splade", "csr" or "sparse" (another sparse encoder)
    prompt: str = ""  # what stands before each sentence when it is encoded
    stand_in_for: str | None = None  # Hub id of the model in whose place it was taken
    untrained: str | None = None  # the part of it that starts from random numbers, in words: nothing can be claimed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The selection score at one step; step 0 is the untouched base."""

    step: int
    epoch: float
    spearman: float | None
    loss: float | None = None  # mean training loss since the checkpoint before
    of: str | None = None  # of several trainings, which; None of the base, and where there is one training


@dataclasses.dataclass(frozen=True, kw_only=True)
class FurtherData:
    """One more training set with a loss of its own."""

    source: Source
    rows: int
    loss: str
    branch: str | None = None  # the recipe that was trained on it apart; None: the sets took turns in one training
    temperature: float | None = None  # of a branch
    settings: str = ""  # of a branch, in words


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mined:
    """Hard negatives that were looked for."""

    asked: int  # per pair
    rows: int  # training rows that came of it
    pairs_without: int  # pairs for which none was found; they are not trained on
    margin: float  # a negative is at most (1 - margin) times as similar to the anchor as its positive
    model: str  # that looked for them


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ingredient:
    """One training of several: what of it went into the mean of weights."""

    seed: int
    branch: str | None = None  # the recipe of a branch; None: the run's own
    share: float | None = None  # of a branch in the mean, of all its trainings together; the run's own have the rest
    step: int  # of its own training; 0: it never beat the base, which went in instead
    spearman: float | None  # of that step on the selection rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """What was trained, on what, how long."""

    source: Source
    rows: int  # used, after leaks and --train-rows
    loss: str
    temperature: float | None
    epochs: float
    steps: int
    batch_size: int
    processes: int
    precision: str
    precision_reason: str
    seconds: float
    checkpoints: tuple[Checkpoint, ...]
    best_step: int  # 0: the base itself
    final_loss: float | None
    forward: str = "plain"  # how a batch passed the model: "plain", "packed" or "chunked"
    forward_reason: str = ""
    resumed: int = 0  # how often the run was taken up again
    further: tuple[FurtherData, ...] = ()
    mined: Mined | None = None
    parameters: int = 0  # of the model that was trained, with adapters if it has some
    trainable: int = 0  # of these, trained
    lora: str | None = None  # "r=16 alpha=32 ...": the adapters, where it was not the whole model
    soup: tuple[Ingredient, ...] = ()  # trainings whose weights were averaged; steps count through all of them
    start: ModelFacts | None = None  # whose weights training went on from; None: the base's
    start_spearman: float | None = None  # of these, on the selection rows
    stopped: str | None = None  # why training ended before its last step
    diverged: str | None = None  # at which step a loss or gradient was no number; nothing is claimed then
    across: str = ""  # what several processes had of each other's rows, in words

    @property
    def stretches(self) -> tuple[tuple[Checkpoint, ...], ...]:
        """The checkpoints by training, the base before the first; no line leads from one training to the next."""
        found: list[list[Checkpoint]] = [[]]
        for point in self.checkpoints:
            if found[-1] and found[-1][-1].of is not None and found[-1][-1].of != point.of:
                found.append([])
            found[-1].append(point)
        return tuple(map(tuple, found))
