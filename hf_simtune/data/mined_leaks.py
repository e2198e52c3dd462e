"""Mined negatives that make evaluation pairs: a pair that was nobody's in the data can be one of those to be scored."""

from __future__ import annotations

import dataclasses
import logging

from datasets import Dataset

from hf_simtune.data.inputs import Inputs
from hf_simtune.data.leakage import find_leaks, without

__all__ = ["without_leaks"]

log = logging.getLogger("hf_simtune")


def without_leaks(inputs: Inputs, mined: Dataset, *, keep: bool) -> tuple[Inputs, Dataset]:
    """Look for leaks once more, in the rows of the run and in each anchor with its mined negative.

    Args:
        inputs: of the run; their own rows have been looked through.
        mined: ``anchor, positive, negative, row``.
        keep: leave such rows in, as the recipe asks.

    Returns:
        The inputs with what all of these share with the evaluation rows, and the mined rows that are left.
    """
    pairs = mined.remove_columns("positive").rename_column("negative", "positive")
    measured = {part.source.title: part.dataset for part in (inputs.select, inputs.report, *inputs.probes)}
    further = [more.loaded.dataset for more in inputs.further]
    # All sets again, so that an evaluation pair that stands in several of them counts once.
    leaks = find_leaks(inputs.train.dataset, measured, further=[*further, pairs])
    if found := len(leaks.further[-1]):
        log.warning("%d mined negatives make evaluation pairs: %s", found, "kept, as asked for" if keep else "dropped")
    if keep:
        facts = tuple(dataclasses.replace(fact, rows_dropped=0) for fact in leaks.facts)
        return dataclasses.replace(inputs, leaks=dataclasses.replace(leaks, facts=facts)), mined
    return dataclasses.replace(inputs, leaks=leaks), without(mined, leaks, len(further))
