"""RunRecord: every fact that a card states, as JSON; a report draws from it and from the scores of the rows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from hf_simtune import whole
from hf_simtune.errors import RunError
from hf_simtune.evaluation.compare import NO_VERDICT, Comparison
from hf_simtune.evaluation.reindex import Reindex
from hf_simtune.evaluation.retrieval import RetrievalChange
from hf_simtune.evaluation.spread import Spread
from hf_simtune.plain import build, not_finite
from hf_simtune.record_training import Checkpoint, FurtherData, Ingredient, Mined, ModelFacts, Source, Training

__all__ = [
    "DENSE",
    "Checkpoint",
    "DenseBelow",
    "Evaluation",
    "Exported",
    "FurtherData",
    "Health",
    "Ingredient",
    "Leakage",
    "Machine",
    "Mined",
    "ModelFacts",
    "RunRecord",
    "Score",
    "Source",
    "Subset",
    "Training",
    "Truncated",
]

DENSE = "dense"  # role of the report rows under the model below an autoencoder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """One model on one set of scored rows."""

    n: int
    spearman: float | None  # -1..1; None where it is undefined
    pearson: float | None
    undefined: str | None = None  # why, in words
    active_dimensions: float | None = None  # sparse models: of the distinct sentences, on average, that are not zero
    sparsity: float | None = None  # 0..1, the share that is zero


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subset:
    """A part of the rows that the data name themselves; shown without a verdict."""

    name: str
    base: Score
    tuned: Score


@dataclasses.dataclass(frozen=True, kw_only=True)
class Truncated:
    """The scores with embeddings cut to their first dimensions."""

    dimensions: int
    base: Score
    tuned: Score


@dataclasses.dataclass(frozen=True, kw_only=True)
class Health:
    """How the vectors of a fixed probe of sentences lay at one step; see ``evaluation.health.findings``.

    The four figures of the geometry are those of the vectors that have a direction (see ``evaluation.geometry``), and
    None where fewer than two have.
    """

    step: int  # 0: the untouched base
    epoch: float
    anisotropy: float | None  # mean cosine of two different sentences, -1..1
    uniformity: float | None  # -8..0, lower is more even
    effective_rank: float | None  # 1 or more
    deviation: float | None  # standard deviation of the cosines
    undefined: int = 0  # sentences whose vector is zero, or not finite
    active_dimensions: float | None = None  # mean per sentence; sparse models only
    sparsity: float | None = None  # share of zeros, 0..1; sparse models only
    gradient: float | None = None  # norm before clipping: the largest, by what was usual, since the measurement before
    usual_gradient: float | None = None  # median of the steps before that one
    diverged: str | None = None  # a loss or gradient that is no number, in words, with its step
    findings: tuple[str, ...] = ()  # of health.UNHEALTHY, "exploding", and the softer "narrowing"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Base and tuned on the same rows, scored by the same code in the same run."""

    source: Source
    role: str  # "report": the primary comparison; "select": chose the checkpoint, so no verdict; "probe": a further set
    similarity: str
    base: Score
    tuned: Score
    comparison: Comparison | None  # of rows that selected: an interval, for the record, and no verdict
    subsets: tuple[Subset, ...] = ()
    truncated: tuple[Truncated, ...] = ()  # Matryoshka dimensions
    retrieval: RetrievalChange | None = None  # of dense models, on rows that hold positive pairs and chose nothing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leakage:
    """What one evaluation set shares with the training rows."""

    evaluation: str  # Source.title
    pairs_exact: int  # evaluation pairs, in either order, that are training pairs after normalisation
    pairs_near: int  # more evaluation pairs whose two sentences are both nearly those of a training pair
    sentences_exact: int  # distinct evaluation sentences that occur in the training rows
    sentences_near: int  # more that nearly occur
    sentences: int  # distinct evaluation sentences
    rows_dropped: int  # training rows taken out for it
    jaccard: float  # from which two sentences count as near
    examples: tuple[tuple[int, int], ...] = ()  # (training row, evaluation row), the first few


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """What it ran on, and with which versions. No host or user name."""

    processor: str
    cores: int
    memory_gb: float
    accelerator: str | None
    system: str
    versions: dict[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseBelow:
    """What a sparse autoencoder is worth: the tuned encoder against the untouched dense model that it was built on."""

    dimensions: int  # of the dense model's embeddings
    evaluation: Evaluation  # role DENSE, on the report rows: the dense model is its base


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exported:
    """The tuned model in one format, on the report rows."""

    file: str  # below the model's folder; "" of the original
    megabytes: float  # of the file, 10**6 bytes; of the original's weights in memory
    spearman: float | None  # -1..1
    sentences_per_second: float  # on the CPU of the machine that exported it
    sha256: str = ""  # of the file


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Everything known about a run. Written once, when it is over."""

    format: int = 1
    name: str
    title: str
    created: str  # ISO 8601, UTC, seconds
    command: str  # reproduces the run
    offline: bool
    recipe: dict[str, Any]  # the resolved Recipe
    commit: str | None  # of hf_simtune's checkout, "+changes" behind it when the tree was not clean
    base: ModelFacts
    tuned: ModelFacts
    training: Training
    leakage: tuple[Leakage, ...]
    evaluations: tuple[Evaluation, ...]  # the one with role "report" first
    machine: Machine
    seconds: dict[str, float]  # by phase: "load", "score base", "train", "score tuned", "compare"
    examples: tuple[dict[str, Any], ...] = ()  # rows' texts, only with --publish-examples
    health: tuple[Health, ...] = ()  # step 0 is the untouched base
    spread: Spread | None = None  # of the similarities among the report rows' sentences
    reindex: Reindex | None = None  # whether an index of the base's vectors must be rebuilt
    dense: DenseBelow | None = None  # of a run that put an autoencoder on a dense model
    saved: str = "model"  # what model/ holds: "model", "adapter" (needs its base), "merged"; "" where the script saves
    exports: tuple[Exported, ...] = ()  # the original first, then the files of `hf-simtune export`
    script: bool = False  # trained by a script of the user's own; ``recipe`` then holds the trainer's arguments

    @property
    def report(self) -> Evaluation:
        """The primary comparison."""
        return next(evaluation for evaluation in self.evaluations if evaluation.role == "report")

    @property
    def built_in(self) -> bool:
        """Whether the verdict's rows are sentences that a program wrote: their scores stand for no benchmark."""
        return self.report.source.kind == "builtin"

    @property
    def verdict(self) -> str:
        """``improved``, ``no evidence`` or ``regressed``; ``no verdict`` where the base was not a trained model."""
        comparison = self.report.comparison
        if self.base.untrained:
            return NO_VERDICT
        return comparison.verdict if comparison else "no evidence"

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all.

        Raises:
            RunError: a figure is NaN or infinite; such a record would claim what nobody measured.
        """
        value = dataclasses.asdict(self)
        if bad := sorted(not_finite(value)):
            raise RunError(f"the record holds figures that are not numbers: {', '.join(bad)}")
        whole.write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> RunRecord:
        """Read a record back.

        Raises:
            RunError: not a record of this format.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value.get("format") != cls.format:
                raise RunError(f"{path} has record format {value.get('format')!r}; this version reads {cls.format}")
            record = build(cls, value)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RunError(f"{path} is not a run record: {error}") from error
        assert isinstance(record, cls)
        return record
