"""Scores on graded sentence pairs: the similarities, their correlation, and the evaluator that the trainer takes."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.evaluation import BaseEvaluator
from torch import Tensor

from hf_simtune.evaluation.correlation import UndefinedCorrelation, pearson, spearman
from hf_simtune.evaluation.undisturbed import undisturbed
from hf_simtune.record import Score
from hf_simtune.weights import weights_sha256

__all__ = ["Encoded", "Model", "SimilarityEvaluator", "encode", "score", "similarities"]

log = logging.getLogger("hf_simtune")
Model = SentenceTransformer | SparseEncoder
BLOCK = 1024  # rows at a time: a sparse encoder's vectors are as wide as its vocabulary


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """The two sentences of each row under one model; each distinct sentence was encoded once, in fp32."""

    model: Model
    vectors: Tensor  # (distinct sentences, dimensions); a sparse tensor where the model is a sparse encoder
    first: NDArray[np.int64]  # (rows,): which vector the row's first sentence has
    second: NDArray[np.int64]

    def similarities(self, dimensions: int | None = None) -> NDArray[np.float64]:
        """Of each row's two sentences, shape (rows,), under the model's own similarity function.

        With ``dimensions`` the vectors are cut to their first so many.
        """
        found = []
        for start in range(0, len(self.first), BLOCK):
            rows = slice(start, start + BLOCK)
            left, right = (self._dense(index[rows])[:, :dimensions] for index in (self.first, self.second))
            found.append(self.model.similarity_pairwise(left, right).double().cpu().numpy())
        return np.concatenate(found)

    def _dense(self, index: NDArray[np.int64]) -> Tensor:
        chosen = self.vectors.index_select(0, torch.as_tensor(index, device=self.vectors.device))
        return chosen.to_dense() if chosen.is_sparse else chosen

    @property
    def activity(self) -> tuple[float, float] | None:
        """Dimensions that are not zero, on average over the distinct sentences, and the share that is zero."""
        if not self.vectors.is_sparse:
            return None
        count, width = self.vectors.shape
        active = int((self.vectors.coalesce().values() != 0).sum()) / count
        return active, 1 - active / width

    def dense_vectors(self) -> NDArray[np.float32] | None:
        """The distinct sentences' vectors, shape (distinct sentences, dimensions); None for a sparse encoder."""
        return None if self.vectors.is_sparse else self.vectors.cpu().numpy()


def encode(
    model: Model, rows: Dataset, *, prompt: str | None = None, batch_size: int = 64, progress: bool = False
) -> Encoded:
    """Encode the sentences of scored rows (columns sentence1, sentence2), each distinct one once, in fp32.

    Nothing about the model changes: neither its training flag nor any random state. ``prompt`` stands before each
    sentence; without one the model's own default does.
    """
    first, second = list(rows["sentence1"]), list(rows["sentence2"])
    distinct = {sentence: index for index, sentence in enumerate(dict.fromkeys(first + second))}
    with undisturbed(model):
        # With a device, as otherwise other processes would encode their share, and in a training's half precision.
        vectors = model.encode(
            list(distinct),
            prompt=prompt,
            batch_size=batch_size,
            convert_to_tensor=True,
            show_progress_bar=progress,
            device=str(model.device),
        )
    sides = [np.asarray([distinct[sentence] for sentence in side], dtype=np.int64) for side in (first, second)]
    return Encoded(model, vectors.float(), *sides)


def similarities(model: Model, rows: Dataset, *, batch_size: int = 64, progress: bool = False) -> NDArray[np.float64]:
    """Similarity of each row's two sentences, shape (rows,), under the model's own similarity function."""
    return encode(model, rows, batch_size=batch_size, progress=progress).similarities()


def score(
    gold: NDArray[np.float64], predicted: NDArray[np.float64], activity: tuple[float, float] | None = None
) -> Score:
    """Spearman and Pearson of similarities with gold scores; where undefined, None and the reason.

    ``activity`` is that of a sparse encoder: its active dimensions and its sparsity.
    """
    active, sparsity = activity or (None, None)
    score = Score(n=len(gold), spearman=None, pearson=None, active_dimensions=active, sparsity=sparsity)
    try:
        return dataclasses.replace(score, spearman=spearman(gold, predicted), pearson=pearson(gold, predicted))
    except UndefinedCorrelation as error:
        return dataclasses.replace(score, undefined=str(error))


class SimilarityEvaluator(BaseEvaluator):
    """Spearman correlation with gold scores, for ``SentenceTransformerTrainer(evaluator=...)``.

    Args:
        rows: columns sentence1, sentence2 and score.
        name: goes into the metric's key.
        log_file: one JSON line per call: step, epoch, spearman and the hash of the weights that were scored, so that
            a restored checkpoint can be proved to be the one that was chosen.
    """

    def __init__(self, rows: Dataset, name: str = "select", *, batch_size: int = 64, log_file: Path | None = None):
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows = rows
        self.gold = np.asarray(rows["score"], dtype=np.float64)
        self.name = name
        self.batch_size = batch_size
        self.log_file = log_file
        self.seconds = 0.0  # spent in scoring so far
        self.primary_metric = f"{name}_spearman"

    @property
    def best_model_key(self) -> str:
        """What ``metric_for_best_model`` must be; a mistyped key raises or is silently ignored (#2749)."""
        return f"eval_{self.primary_metric}"

    def __call__(  # type: ignore[override]
        self, model: Model, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Score the model; NaN where the correlation is undefined, which never counts as a best."""
        start = time.perf_counter()
        result = score(self.gold, similarities(model, self.rows, batch_size=self.batch_size))
        self.seconds += time.perf_counter() - start
        if result.undefined:
            log.warning("step %s: the Spearman correlation is undefined: %s", steps, result.undefined)
        if self.log_file is not None and output_path is not None:
            line = {"step": steps, "epoch": epoch, "spearman": result.spearman, "weights": weights_sha256(model)}
            with self.log_file.open("a+b") as file:
                if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n":
                    file.write(b"\n")  # a line cut short by a kill must not take this one with it
                file.write(json.dumps(line).encode() + b"\n")
        value = float("nan") if result.spearman is None else result.spearman
        return {f"{self.name}_spearman": value}

    def get_config_dict(self) -> dict[str, Any]:
        """What the libraries write about the evaluator."""
        return {"name": self.name, "rows": len(self.rows)}
