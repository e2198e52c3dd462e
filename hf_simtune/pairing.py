"""Runs beside other runs, row by row: how far apart they are, and within which interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hf_simtune import scores_file
from hf_simtune.errors import RunError
from hf_simtune.evaluation.bootstrap import resampled_differences
from hf_simtune.record import Evaluation, RunRecord, Score
from hf_simtune.wording import points

__all__ = ["RESAMPLES", "Placed", "by_seed", "evaluation", "gain", "spearman", "spread"]

RESAMPLES = 10_000
Placed = tuple[Path, RunRecord]  # a run and the folder that has its record and its scores


def gain(pairs: Sequence[tuple[Placed, Placed]], role: str) -> tuple[float, float, float]:
    """The mean difference of the tuned models of runs from those of others, with its 95 % interval.

    Each resample of groups of connected rows is the same for every pair: the interval covers the choice of rows, not
    the luck of a seed.

    Args:
        pairs: runs, each with the one it is compared with.
        role: of the rows: "select" or "report".

    Returns:
        Lower end, mean and upper end, in Spearman.

    Raises:
        RunError: two runs of a pair were measured on other rows, or a run has no such rows or no score on them.
    """
    drawn = np.zeros(RESAMPLES)
    for (folder, _), (beside, _) in pairs:
        ours, theirs = _rows(folder, role), _rows(beside, role)
        if ours.fingerprint != theirs.fingerprint:
            raise RunError(f"{folder} and {beside} were measured on other rows")
        groups = np.unique(ours.group, return_inverse=True)[1].astype(np.int64)
        drawn += resampled_differences(ours.gold, theirs.tuned, ours.tuned, groups, RESAMPLES, 0) / len(pairs)
    low, high = np.quantile(drawn, [0.025, 0.975])
    apart = [spearman(evaluation(a, role).tuned) - spearman(evaluation(b, role).tuned) for (_, a), (_, b) in pairs]
    return float(low), float(np.mean(apart)), float(high)


def by_seed(runs: Sequence[Placed], plain: Sequence[Placed]) -> list[tuple[Placed, Placed]]:
    """Each run with the plain one of its seed, as the folders are named; those without one are left out."""
    of_seed = {folder.name: (folder, record) for folder, record in plain}
    return [(run, of_seed[run[0].name]) for run in runs if run[0].name in of_seed]


def evaluation(record: RunRecord, role: str) -> Evaluation:
    """Before and after on the rows of a role."""
    return next(found for found in record.evaluations if found.role == role)


def spearman(score: Score) -> float:
    """A score that has to be there.

    Raises:
        RunError: with why it is not.
    """
    if score.spearman is None:
        raise RunError(f"a run that is compared has no score: {score.undefined}")
    return score.spearman


def spread(values: Sequence[float]) -> str:
    """The mean, and of several the range."""
    mean = points(float(np.mean(values)))
    return mean if len(values) == 1 else f"{mean} ({points(min(values))} to {points(max(values))})"


def _rows(folder: Path, role: str) -> scores_file.RowScores:
    for part in scores_file.read(folder / "scores.parquet"):
        if part.role == role:
            return part
    raise RunError(f"{folder}/scores.parquet has no rows of the role {role}")
