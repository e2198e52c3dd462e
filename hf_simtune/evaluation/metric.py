"""Where the Spearman module for the ``evaluate`` library lies."""

from __future__ import annotations

from pathlib import Path

__all__ = ["metric_path"]


def metric_path() -> str:
    """The folder to give to ``evaluate.load``; it needs no network.

    ``evaluate`` copies a module's script into ``HF_MODULES_CACHE`` before it imports it, so ``evaluate.load`` fails
    where that cache cannot be written. Nothing else here does: the evaluator calls
    :func:`hf_simtune.evaluation.correlation.spearman`, which is also what the module computes with.
    """
    return str(Path(__file__).resolve().parent / "spearman")
