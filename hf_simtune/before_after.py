"""Base and tuned model on the same rows: the comparison, its parts, and what the rows' file keeps."""

from __future__ import annotations

import dataclasses

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from hf_simtune.data.load import Loaded
from hf_simtune.evaluation.compare import NO_VERDICT, compare
from hf_simtune.evaluation.groups import connected_groups
from hf_simtune.evaluation.sts import score
from hf_simtune.record import Evaluation, Subset
from hf_simtune.scores_file import RowScores

__all__ = ["evaluation", "examples", "groups", "row_scores"]

EXAMPLES = 5
SMALLEST_SUBSET = 20


def groups(rows: Dataset) -> NDArray[np.int64]:
    """Which rows belong together: as the data say, or those connected by a shared sentence."""
    if "group" in rows.column_names:
        return np.asarray(rows["group"], dtype=np.int64)
    return connected_groups(list(rows["sentence1"]), list(rows["sentence2"]))


def row_scores(role: str, loaded: Loaded, before: NDArray[np.float64], after: NDArray[np.float64]) -> RowScores:
    """The similarities before and after, row by row, shape (rows,) each."""
    rows = loaded.dataset
    return RowScores(
        evaluation=loaded.source.title,
        role=role,
        row=np.asarray(rows["row"], dtype=np.int64),
        group=groups(rows),
        gold=np.asarray(rows["score"], dtype=np.float64),
        base=before,
        tuned=after,
        fingerprint=loaded.source.fingerprint,
    )


def evaluation(part: RowScores, loaded: Loaded, similarity: str, seed: int) -> Evaluation:
    """The scores and their comparison; parts that the data name themselves are shown for the report rows alone."""
    subsets = []
    if part.role == "report" and "subset" in loaded.dataset.column_names:
        names = np.asarray([str(name) for name in loaded.dataset["subset"]])
        for name in sorted(set(names)):
            chosen = names == name
            if chosen.sum() >= SMALLEST_SUBSET:
                base, tuned = (score(part.gold[chosen], values[chosen]) for values in (part.base, part.tuned))
                subsets.append(Subset(name=str(name), base=base, tuned=tuned))
    comparison = compare(part.gold, part.base, part.tuned, part.group, seed=seed)
    if part.role == "select":
        comparison = dataclasses.replace(comparison, verdict=NO_VERDICT)
    return Evaluation(
        source=loaded.source,
        role=part.role,
        similarity=similarity,
        base=score(part.gold, part.base),
        tuned=score(part.gold, part.tuned),
        comparison=comparison,
        subsets=tuple(subsets),
    )


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
