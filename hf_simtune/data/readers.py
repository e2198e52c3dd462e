"""Rows out of a file or a data set, batch by batch: csv, tsv, jsonl, txt, parquet, Arrow.

A reader knows a format and nothing of shapes. It keeps count of rows and lines, and hands on what cannot be taken
apart (a ragged row, a line that is not JSON) as a bad row, so that nothing is lost in silence.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import datasets
import pyarrow as pa

from hf_simtune.data.shapes import Column
from hf_simtune.errors import DataError
from hf_simtune.tellable import spelled

__all__ = [
    "BATCH",
    "Bad",
    "Batch",
    "Rows",
    "arrow_columns",
    "from_dataset",
    "from_dicts",
    "peeked_columns",
    "schema_features",
    "shown",
]

BATCH = 10_000  # rows that are held at a time
_LONGEST_NAME = 500  # characters; a longer name of a column is a row of data
_TOLD = 5  # names that a message shows
_PEEK = 1_000  # rows from which a column's kind is told in a format that has no types


@dataclass(frozen=True)
class Bad:
    """A row that cannot be used, and why."""

    row: int  # 0-based
    line: int | None  # 1-based, where the source has lines
    column: str | None
    value: str  # shortened and escaped
    reason: str


@dataclass
class Batch:
    """Consecutive rows of a source. A column is a list of Python values or an Arrow array."""

    first: int  # number of the first row
    size: int
    columns: dict[str, Any]
    lines: list[int] | None = None
    broken: dict[int, tuple[str, str]] = field(default_factory=dict)  # row in the batch -> reason, value


@dataclass(frozen=True)
class Rows:
    """A source of rows that can be read more than once."""

    title: str  # what to call it in a message
    columns: dict[str, Column]
    read: Callable[[Sequence[str]], Iterator[Batch]]  # yields the columns that are asked for
    unit: str = "row"  # how a place in it is named: "line" or "row"

    def __post_init__(self) -> None:
        """Refuse columns that nobody can name.

        Raises:
            DataError: with their names, shortened.
        """
        wrong = [name for name in self.columns if not name.isascii() and re.search("[\ud800-\udfff]", name)]
        if wrong:
            raise DataError(f"{self.title}: the name of a column is not UTF-8: {', '.join(map(shown, wrong[:_TOLD]))}")
        if long := [name for name in self.columns if len(name) > _LONGEST_NAME]:
            raise DataError(
                f"{self.title}: the name of a column has {len(long[0]):,} characters, more than {_LONGEST_NAME}: "
                f"{shown(long[0])}",
                hint="Is its first line a header? Put the columns' names there, such as: sentence1,sentence2,score",
            )


def shown(value: object, width: int = 60) -> str:
    """A value as a message shows it: at most ``width`` characters, nothing that moves a terminal's cursor."""
    if isinstance(value, str):
        value = value[: width + 1]  # before any work on it: a cell can be megabytes long
        text = "'" + spelled(value.replace("\\", "\\\\")).replace("\n", "\\n") + "'"
    else:
        text = spelled(repr(value)).replace("\n", "\\n")
    return text if len(text) <= width else text[: width - 3] + "..."


def from_dataset(dataset: datasets.Dataset, title: str) -> Rows:
    """The rows of a data set."""

    def read(names: Sequence[str]) -> Iterator[Batch]:
        part, first = dataset.select_columns(list(names)).with_format("arrow"), 0
        for table in part.iter(batch_size=BATCH):
            yield Batch(first, table.num_rows, {name: table.column(name).combine_chunks() for name in names})
            first += table.num_rows

    peek = dataset.with_format("arrow")[:1] if len(dataset) else None
    return Rows(title, arrow_columns(dataset.features, peek), read)


def from_dicts(rows: Callable[[], Iterable[dict[str, Any]]], title: str) -> Rows:
    """Rows that a function makes, each a dictionary with the keys of the first."""

    def batches() -> Iterator[Batch]:
        first, held = 0, []
        for row in rows():
            held.append(row)
            if len(held) == BATCH:
                yield _of_dicts(first, held)
                first, held = first + len(held), []
        if held:
            yield _of_dicts(first, held)

    def read(names: Sequence[str]) -> Iterator[Batch]:
        for batch in batches():
            yield Batch(batch.first, batch.size, {name: batch.columns[name] for name in names})

    head = next(batches(), Batch(0, 0, {}))
    return Rows(title, peeked_columns(head.columns), read)


def _of_dicts(first: int, rows: list[dict[str, Any]]) -> Batch:
    return Batch(first, len(rows), {name: [row.get(name) for row in rows] for name in rows[0]})


def arrow_columns(features: datasets.Features, first: pa.Table | None) -> dict[str, Column]:
    """What typed columns hold, told by their types; ``first`` is a table with the first row."""
    columns = {}
    for name, feature in features.items():
        value = _first_cell(first, name)
        kind, names, length = _kind(feature), (), None
        if isinstance(feature, datasets.ClassLabel):
            names = tuple(feature.names or ())
        if kind == "list" and isinstance(value, list):
            length = len(value)
        columns[name] = Column(kind, names, length, shown(value))
    return columns


def schema_features(schema: pa.Schema, title: str) -> datasets.Features:
    """What typed columns are, by their types; names of classes come from what `datasets` wrote beside them, if it did.

    A column of a type that `datasets` does not know is of no use here, and is bytes.

    Raises:
        DataError: a name occurs twice.
    """
    if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        raise DataError(f"{title}: column {', '.join(map(shown, twice[:_TOLD]))} occurs more than once")
    told, found = _told_features(schema.metadata or {}), {}
    for column in schema:
        one = told.get(column.name)
        names = one.get("names") if isinstance(one, dict) and one.get("_type") == "ClassLabel" else None
        if pa.types.is_integer(column.type) and isinstance(names, list) and names and all(map(_is_word, names)):
            found[column.name] = datasets.ClassLabel(names=list(dict.fromkeys(names)))
            continue
        try:
            found[column.name] = datasets.Features.from_arrow_schema(pa.schema([column.remove_metadata()]))[column.name]
        except (ValueError, TypeError, KeyError, AttributeError):
            found[column.name] = datasets.Value("binary")
    return datasets.Features(found)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _told_features(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    """What `datasets` wrote of each column; nothing of it is taken for true that the types do not say too."""
    try:
        value = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _first_cell(table: pa.Table | None, name: str) -> Any:
    if table is None or not table.num_rows:
        return None
    try:
        return table.column(name)[0].as_py()
    except UnicodeDecodeError:  # the checks will find it; here it is an example alone
        return None


def _kind(feature: Any) -> str:
    if isinstance(feature, datasets.ClassLabel):
        return "class"
    if isinstance(feature, datasets.List | datasets.LargeList):
        return "list" if _kind(feature.feature) == "text" else "other"
    dtype = str(getattr(feature, "dtype", ""))
    if dtype in ("string", "large_string", "string_view", "null"):
        return "text"
    return "number" if re.match(r"(u?int|float|bool|decimal)", dtype) else "other"


def peeked_columns(columns: dict[str, list[Any]]) -> dict[str, Column]:
    """What untyped columns hold, told by the first rows: numbers where at least half of what is there are numbers."""
    found = {}
    for name, values in columns.items():
        there = [value for value in values[:_PEEK] if value is not None and value != ""]
        lists = [value for value in there if isinstance(value, list)]
        if lists and 2 * len(lists) >= len(there):
            found[name] = Column("list", length=len(lists[0]), example=shown(lists[0]))
        else:
            numbers = sum(map(_is_number, there))
            texts = sum(isinstance(value, str) for value in there)
            kind = "number" if there and 2 * numbers >= len(there) else "text" if texts or not there else "other"
            found[name] = Column(kind, example=shown(there[0]) if there else "nothing")
    return found


def _is_number(value: object) -> bool:
    if isinstance(value, int | float):
        return True
    try:
        return isinstance(value, str) and not math.isnan(float(value))
    except ValueError:
        return False
