"""Data whose rows depend on each other, and the slow textbook bootstrap that the fast one is held against."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import stats

Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def dependent_rows(seed: int, groups: int = 200, gain: float = 0.0) -> Data:
    """Gold, base, tuned and groups of one to many rows that share most of their error; gain 0: two equal models."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(groups), rng.geometric(0.35, groups))
    n = len(labels)

    def shared_and_own() -> np.ndarray:
        return np.sqrt(0.6) * rng.normal(size=groups)[labels] + np.sqrt(0.4) * rng.normal(size=n)

    gold = shared_and_own()
    return np.round(gold, 1), gold + shared_and_own(), gold + (1 - gain) * shared_and_own(), labels


def textbook(counts: np.ndarray, gold: np.ndarray, model: np.ndarray) -> list[float]:
    """scipy's Spearman on rows that are really repeated, one resample after the other."""
    found = []
    for column in counts.T.astype(int):
        rows = np.repeat(np.arange(len(gold)), column)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", stats.ConstantInputWarning)
            found.append(stats.spearmanr(gold[rows], model[rows]).statistic)
    return found
