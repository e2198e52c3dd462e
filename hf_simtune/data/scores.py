"""Whether the scores of rows can measure anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hf_simtune.data.load import Loaded
from hf_simtune.errors import DataError

__all__ = ["check_scores"]


def check_scores(measured: Sequence[Loaded]) -> None:
    """Refuse scored rows to measure on that have one score only: no order agrees with it, or disagrees.

    Raises:
        DataError: naming each set, its rows and the score.
    """
    problems = []
    for loaded in measured:
        scores = np.asarray(loaded.dataset["score"], dtype=np.float64)
        if len(scores) == 1:
            problems.append(f"{loaded.source.title} has 1 row: a correlation takes 2 or more, with scores that differ")
        elif len(scores) and scores.min() == scores.max():
            problems.append(
                f"{loaded.source.title}: all {len(scores):,} rows have the score {scores[0]:g} (on a scale of 0 to 1): "
                "a correlation takes scores that differ"
            )
    if problems:
        raise DataError(problems, hint="Give rows that people scored differently, or name another column for the score")
