"""Checked rows as the trainer takes them: the columns that a loss reads, and no others."""

from __future__ import annotations

import datasets
from datasets import Dataset

from hf_simtune.errors import RequestError

__all__ = ["training_rows"]

NOT_LEARNED = ("row", "group", "subset")


def training_rows(rows: Dataset, shape: str) -> Dataset:
    """The columns to train on.

    A sentence becomes its own positive (SimCSE: dropout makes the two embeddings differ). The two columns are two names
    for the same bytes on disk, so that no text is copied. Sentences that occur twice stay: the batches that SimCSE is
    trained on hold no text twice, so none becomes its own negative, and each counts as often as it was given.

    Args:
        rows: checked rows, as ``Loaded.dataset`` has them, or some of them.
        shape: theirs.

    Returns:
        ``anchor, positive`` for sentences; for other shapes every column but ``row``, ``group`` and ``subset``.

    Raises:
        RequestError: rows called sentences without a column ``sentence``.
    """
    if shape != "sentences":
        return rows.select_columns([name for name in rows.column_names if name not in NOT_LEARNED])
    if "sentence" not in rows.column_names:
        raise RequestError(f"sentences to train on have no column sentence among {', '.join(rows.column_names)}")
    if not len(rows):
        return Dataset.from_dict({"anchor": [], "positive": []})
    # Side by side without the choice of rows, which is put back behind: with it `datasets` would copy both columns.
    whole = Dataset(rows.data).select_columns(["sentence"])
    twice = [whole.rename_column("sentence", name) for name in ("anchor", "positive")]
    beside = datasets.concatenate_datasets(twice, axis=1)
    return beside if rows._indices is None else beside.select(rows._indices.column("indices").to_numpy())
