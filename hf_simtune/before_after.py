"""Base and tuned model on the same rows: what is measured of each, the comparisons, and what the rows' file keeps."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from hf_simtune.data.load import Loaded
from hf_simtune.evaluation.compare import NO_VERDICT, compare
from hf_simtune.evaluation.geometry import UndefinedGeometry
from hf_simtune.evaluation.groups import connected_groups
from hf_simtune.evaluation.reindex import Reindex, reindex
from hf_simtune.evaluation.retrieval import RetrievalChange, compare_retrieval
from hf_simtune.evaluation.spread import Spread, compare_spread
from hf_simtune.evaluation.sts import Model, encode, score
from hf_simtune.record import Evaluation, Subset, Truncated
from hf_simtune.scores_file import RowScores

__all__ = ["POSITIVE", "Measured", "Rows", "evaluation", "examples", "geometry", "groups", "measure"]

log = logging.getLogger("hf_simtune")
EXAMPLES = 5
SMALLEST_SUBSET = 20
POSITIVE = 0.8  # scored rows above it, on 0..1, are positive pairs: SimCSE (Gao et al. 2021) takes those above 4 of 5


@dataclasses.dataclass(frozen=True)
class Rows:
    """Scored rows and what they are for."""

    role: str  # "report", "select" or "probe"
    loaded: Loaded


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """One model on one set of rows."""

    similarities: NDArray[np.float64]  # (rows,)
    activity: tuple[float, float] | None  # sparse encoders: active dimensions, sparsity
    truncated: dict[int, NDArray[np.float64]]  # by dimensions
    vectors: NDArray[np.float32] | None  # dense, not of rows that select: (distinct sentences, dimensions)
    first: NDArray[np.int64]  # which vector is the row's first sentence
    second: NDArray[np.int64]


def measure(
    model: Model,
    rows: Sequence[Rows],
    *,
    dimensions: Sequence[int] = (),
    prompt: str | None = None,
    progress: bool = False,
) -> list[Measured]:
    """Encode each set of rows once, in fp32; the model is left as it was, its random states too.

    Args:
        model: dense or sparse.
        rows: the vectors of those that select nothing are kept.
        dimensions: to cut the embeddings to, beside the whole ones.
        prompt: put before each sentence; None leaves it to the model's own default.
        progress: show a bar while encoding.
    """
    found = []
    for part in rows:
        encoded = encode(model, part.loaded.dataset, prompt=prompt, progress=progress)
        found.append(
            Measured(
                similarities=encoded.similarities(),
                activity=encoded.activity,
                truncated={count: encoded.similarities(count) for count in dimensions},
                vectors=encoded.dense_vectors() if part.role != "select" else None,
                first=encoded.first,
                second=encoded.second,
            )
        )
    return found


def groups(rows: Dataset) -> NDArray[np.int64]:
    """Which rows belong together: as the data say, or those connected by a shared sentence."""
    if "group" in rows.column_names:
        return np.asarray(rows["group"], dtype=np.int64)
    return connected_groups(list(rows["sentence1"]), list(rows["sentence2"]))


def evaluation(
    rows: Rows, before: Measured, after: Measured, *, similarity: str, seed: int
) -> tuple[RowScores, Evaluation]:
    """The similarities row by row, and their comparison; parts that the data name are shown for report rows alone."""
    dataset, source = rows.loaded.dataset, rows.loaded.source
    part = RowScores(
        evaluation=source.title,
        role=rows.role,
        row=np.asarray(dataset["row"], dtype=np.int64),
        group=groups(dataset),
        gold=np.asarray(dataset["score"], dtype=np.float64),
        base=before.similarities,
        tuned=after.similarities,
        fingerprint=source.fingerprint,
    )
    comparison = compare(part.gold, part.base, part.tuned, part.group, seed=seed)
    if rows.role == "select":
        comparison = dataclasses.replace(comparison, verdict=NO_VERDICT)
    return part, Evaluation(
        source=source,
        role=rows.role,
        similarity=similarity,
        base=score(part.gold, part.base, before.activity),
        tuned=score(part.gold, part.tuned, after.activity),
        comparison=comparison,
        subsets=_subsets(part, dataset) if rows.role == "report" else (),
        truncated=tuple(
            Truncated(dimensions=count, base=score(part.gold, cut), tuned=score(part.gold, after.truncated[count]))
            for count, cut in before.truncated.items()
        ),
        retrieval=_retrieval(rows, before, after, seed),
    )


def _subsets(part: RowScores, rows: Dataset) -> tuple[Subset, ...]:
    if "subset" not in rows.column_names:
        return ()
    names = np.asarray([str(name) for name in rows["subset"]])
    found = []
    for name in sorted(set(names)):
        chosen = names == name
        if chosen.sum() >= SMALLEST_SUBSET:
            base, tuned = (score(part.gold[chosen], values[chosen]) for values in (part.base, part.tuned))
            found.append(Subset(name=str(name), base=base, tuned=tuned))
    return tuple(found)


def geometry(rows: Rows, before: Measured, after: Measured, *, seed: int) -> tuple[Spread | None, Reindex | None]:
    """Whether similarities are spread wider, and whether an index must be rebuilt; None for sparse encoders.

    Neighbours are looked for among the distinct sentences of the rows; pairs scored above 0.8 are query and document.
    """
    if before.vectors is None or after.vectors is None:
        return None, None
    try:
        return (
            compare_spread(before.vectors, after.vectors, _labels(rows, before), seed=seed),
            reindex(before.vectors, after.vectors, _positives(rows, before), seed=seed),
        )
    except UndefinedGeometry as error:
        log.warning("%s: neither spread nor neighbours can be compared: %s", rows.loaded.source.title, error)
        return None, None


def _retrieval(rows: Rows, before: Measured, after: Measured, seed: int) -> RetrievalChange | None:
    if before.vectors is None or after.vectors is None:
        return None
    try:
        return compare_retrieval(
            before.vectors, after.vectors, _positives(rows, before), _labels(rows, before), seed=seed
        )
    except UndefinedGeometry as error:
        log.warning("%s: retrieval cannot be compared: %s", rows.loaded.source.title, error)
        return None


def _positives(rows: Rows, measured: Measured) -> NDArray[np.int64]:
    """The pairs of different sentences that are scored above 0.8, by the numbers of their vectors, shape (m, 2)."""
    positive = np.asarray(rows.loaded.dataset["score"], dtype=np.float64) > POSITIVE
    apart = measured.first != measured.second
    pairs: NDArray[np.int64] = np.stack([measured.first, measured.second], axis=1)[positive & apart]
    return pairs


def _labels(rows: Rows, measured: Measured) -> NDArray[np.int64]:
    """The group of each vector's sentence, shape (distinct sentences,)."""
    labels = np.empty(int(max(measured.first.max(), measured.second.max())) + 1, dtype=np.int64)
    labels[measured.first] = labels[measured.second] = groups(rows.loaded.dataset)
    return labels


def examples(loaded: Loaded, part: RowScores) -> tuple[dict[str, object], ...]:
    """The rows whose similarity moved most, with their texts; only for users who ask to publish them."""
    order = np.argsort(-np.abs(part.tuned - part.base), kind="stable")[:EXAMPLES]
    return tuple(
        {
            "row": int(part.row[index]),
            "sentence1": loaded.dataset[int(index)]["sentence1"],
            "sentence2": loaded.dataset[int(index)]["sentence2"],
            "gold": float(part.gold[index]),
            "base": float(part.base[index]),
            "tuned": float(part.tuned[index]),
        }
        for index in order
    )
