"""Scores on graded sentence pairs: the similarities, their correlation, and the evaluator that the trainer takes."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.evaluation import BaseEvaluator

from hf_simtune.evaluation.correlation import UndefinedCorrelation, pearson, spearman
from hf_simtune.record import Score
from hf_simtune.weights import weights_sha256

__all__ = ["SimilarityEvaluator", "score", "similarities"]

log = logging.getLogger("hf_simtune")


def similarities(
    model: SentenceTransformer, rows: Dataset, *, batch_size: int = 64, progress: bool = False
) -> NDArray[np.float64]:
    """Similarity of each row's two sentences, shape (rows,), under the model's own similarity function.

    Each distinct sentence is encoded once, in fp32.
    """
    first, second = list(rows["sentence1"]), list(rows["sentence2"])
    distinct = {sentence: index for index, sentence in enumerate(dict.fromkeys(first + second))}
    with _full_precision(model):
        vectors = model.encode(
            list(distinct), batch_size=batch_size, convert_to_tensor=True, show_progress_bar=progress
        ).float()
    left = vectors[[distinct[sentence] for sentence in first]]
    right = vectors[[distinct[sentence] for sentence in second]]
    values: NDArray[np.float64] = model.similarity_pairwise(left, right).double().cpu().numpy()
    return values


@contextmanager
def _full_precision(model: SentenceTransformer) -> Iterator[None]:
    """Undo accelerate's autocast for a while.

    In a bf16 run it wraps ``model.forward`` of the very model that is scored, and a score during training would
    differ from the same weights' score after it.
    """
    wrapped = model.__dict__.get("forward")
    original = model.__dict__.get("_original_forward")
    if wrapped is None or original is None:
        yield
        return
    model.__dict__["forward"] = original
    try:
        yield
    finally:
        model.__dict__["forward"] = wrapped


def score(gold: NDArray[np.float64], predicted: NDArray[np.float64]) -> Score:
    """Spearman and Pearson of similarities with gold scores; where undefined, None and the reason."""
    try:
        return Score(n=len(gold), spearman=spearman(gold, predicted), pearson=pearson(gold, predicted))
    except UndefinedCorrelation as error:
        return Score(n=len(gold), spearman=None, pearson=None, undefined=str(error))


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
        self, model: SentenceTransformer, output_path: str | None = None, epoch: float = -1, steps: int = -1
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
