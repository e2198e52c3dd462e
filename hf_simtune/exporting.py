"""A finished run's model in another format: its files, their scores and their speed beside the original's."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from hf_simtune import onnx_export, writing
from hf_simtune.data import inputs
from hf_simtune.errors import RequestError
from hf_simtune.evaluation import sts
from hf_simtune.record import Exported, RunRecord
from hf_simtune.run_folder import RunFolder
from hf_simtune.weights import sha256_of

__all__ = ["export"]

TIMED = 512  # sentences in each round
ROUNDS = 3  # in which the formats take turns; the median counts


def export(run: Path | str) -> RunRecord:
    """Write ``model/onnx/`` in a finished run, and its scores into record and card.

    Each format is scored on the report rows, and encodes the same sentences in turn, on this machine's CPU.

    Args:
        run: its folder.

    Returns:
        The record, with ``exports``: the original first.

    Raises:
        RequestError: no finished run, adapters, a sparse or static model, a missing package, or rows that are not at
            hand or are others by now.
        RunError: the exported graph gives other embeddings.
    """
    folder = RunFolder.finished(Path(run))
    record = RunRecord.load(folder.record)
    if record.tuned.kind != "dense":
        raise RequestError(f"{run} holds a sparse encoder, and an export is of a dense model")
    if record.saved == "adapter":
        raise RequestError(
            f"{run} holds adapters, which load on their base and are no graph of their own",
            hint="Make the run again with --lora --merge",
        )
    plan = folder.read_plan()
    report = inputs.prepare(plan.recipe, offline=plan.offline).report
    if report.source.fingerprint != record.report.source.fingerprint:
        raise RequestError("the report rows are other ones by now than the run had: nothing could be compared")
    model = SentenceTransformer(str(folder.model), device="cpu").float()
    first, second = report.dataset["sentence1"], report.dataset["sentence2"]
    texts = list(dict.fromkeys([*first, *second]))
    files = onnx_export.export(model, folder.model, texts[:64])
    encoders: dict[str, Callable[[Sequence[str]], NDArray[np.float32]]] = {"": _torch(model)}
    encoders |= {name: onnx_export.OnnxModel(path, model).encode for name, path in files.items()}
    speeds = _speeds(encoders, texts[:TIMED])
    sizes = {name: round(path.stat().st_size / 1e6, 1) for name, path in files.items()} | {"": record.tuned.megabytes}
    gold = np.asarray(report.dataset["score"], dtype=np.float64)
    exports = []
    for name, encode in encoders.items():
        at = dict(zip(texts, encode(texts), strict=True))
        left, right = (torch.as_tensor(np.stack([at[text] for text in side])) for side in (first, second))
        found = model.similarity_pairwise(left, right).double().numpy()
        exports.append(
            Exported(
                file=name,
                megabytes=sizes[name],
                spearman=sts.score(gold, found).spearman,
                sentences_per_second=round(speeds[name], 1),
                sha256=sha256_of(files[name]) if name else "",
            )
        )
    record = dataclasses.replace(record, exports=tuple(exports))
    writing.tell(folder, record)
    record.save(folder.record)
    return record


def _torch(model: SentenceTransformer) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = model.encode(
            list(texts), batch_size=onnx_export.BATCH, convert_to_numpy=True, show_progress_bar=False
        )
        return found

    return encode


def _speeds(
    encoders: dict[str, Callable[[Sequence[str]], NDArray[np.float32]]], texts: Sequence[str]
) -> dict[str, float]:
    """Sentences a second of each, the median of rounds in which they take turns."""
    taken: dict[str, list[float]] = {name: [] for name in encoders}
    for encode in encoders.values():
        encode(texts[:64])
    for _ in range(ROUNDS):
        for name, encode in encoders.items():
            start = time.perf_counter()
            encode(texts)
            taken[name].append(time.perf_counter() - start)
    return {name: len(texts) / float(np.median(times)) for name, times in taken.items()}
