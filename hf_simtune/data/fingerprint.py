"""What rows are, in sixteen hex digits: the same rows from a csv and from the Hub have the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Fingerprint", "fingerprint"]


class Fingerprint:
    """SHA-256 over rows in order, fed batch by batch; how they were cut into batches does not matter.

    Each text column is two streams, the lengths of its texts in bytes and the bytes themselves; a score column is one
    of float64. The digest is that of all the streams' digests, so nothing is ever joined row by row in Python.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._streams = {(name, part): hashlib.sha256() for name in columns for part in ("lengths", "bytes")}
        self._rows = 0

    def update(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Add rows; their columns hold no nulls."""
        self._rows += rows.num_rows
        for name in self.columns:
            column = rows.column(name)
            for array in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
                self._add(name, array)

    def _add(self, name: str, array: pa.Array) -> None:
        if not len(array):
            return
        if pa.types.is_floating(array.type):
            self._streams[name, "bytes"].update(np.ascontiguousarray(array.to_numpy(), dtype="<f8").data)
            return
        texts = array.cast(pa.large_string())
        lengths = np.ascontiguousarray(pc.binary_length(texts).to_numpy(), dtype="<i8")
        offsets = np.frombuffer(texts.buffers()[1], dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
        data = texts.buffers()[2]
        self._streams[name, "lengths"].update(lengths.data)
        if data is not None:
            self._streams[name, "bytes"].update(memoryview(data)[offsets[0] : offsets[-1]])

    def hexdigest(self) -> str:
        """The first 16 hex digits."""
        whole = hashlib.sha256(f"{self._rows} rows: {', '.join(self.columns)}".encode())
        for stream in self._streams.values():
            whole.update(stream.digest())
        return whole.hexdigest()[:16]


def fingerprint(dataset: datasets.Dataset, columns: Sequence[str]) -> str:
    """The fingerprint of a data set's rows, by the columns that are named."""
    found = Fingerprint(columns)
    for table in dataset.select_columns(list(columns)).with_format("arrow").iter(batch_size=10_000):
        found.update(table)
    return found.hexdigest()
