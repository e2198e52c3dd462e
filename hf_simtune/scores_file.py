"""``scores.parquet``: what every claim of a run rests on, row by row, without a row's text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hf_simtune.errors import DataError

__all__ = ["RowScores", "read", "write"]

SCHEMA = pa.schema(
    [
        pa.field("evaluation", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("group", pa.int64(), nullable=False),
        pa.field("gold", pa.float64(), nullable=False),
        pa.field("base", pa.float64()),
        pa.field("tuned", pa.float64()),
    ]
)
WHOLE = ("row", "group")
NUMBERS = ("gold", "base", "tuned")


@dataclasses.dataclass(frozen=True, eq=False)
class RowScores:
    """Gold scores and both models' similarities on one set of rows; all arrays are one-dimensional and equally long."""

    evaluation: str  # Source.title
    role: str  # "report" or "select"
    row: NDArray[np.int64]  # number of the row in its source
    group: NDArray[np.int64]  # rows connected by a shared sentence have the same number
    gold: NDArray[np.float64]  # 0..1
    base: NDArray[np.float64]  # similarity -1..1, NaN where the model gave none
    tuned: NDArray[np.float64]
    fingerprint: str = ""  # of the rows, as the record has it: two files are paired only on the same rows

    def __len__(self) -> int:
        return len(self.row)


def write(path: Path, parts: Sequence[RowScores]) -> None:
    """Write the parts to one parquet file, whole or not at all. A similarity that is NaN becomes a null.

    Raises:
        DataError: parts that could not be read back as they are; every problem is named.
    """
    if problems := _problems(parts):
        raise DataError([f"{path.name}: {problem}" for problem in problems])
    tables = [
        pa.table(
            {
                "evaluation": pa.array([part.evaluation] * len(part), pa.string()),
                "role": pa.array([part.role] * len(part), pa.string()),
                "fingerprint": pa.array([part.fingerprint] * len(part), pa.string()),
                **{name: pa.array(np.asarray(getattr(part, name)), pa.int64()) for name in WHOLE},
                **{name: pa.array(np.asarray(getattr(part, name), np.float64), from_pandas=True) for name in NUMBERS},
            },
            schema=SCHEMA,
        )
        for part in parts
    ]
    unfinished = path.with_name(path.name + ".part")
    try:
        pq.write_table(pa.concat_tables(tables), unfinished, compression="zstd")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read(path: Path) -> list[RowScores]:
    """The parts of a file, in the order in which they first appear; a null similarity is NaN again.

    Columns beyond the eight are ignored, so that a file may be annotated.

    Raises:
        DataError: no such file, not parquet, or columns that are missing, of another type or with holes.
    """
    if not path.is_file():
        raise DataError(f"no scores file at {path}", hint="A run folder holds it as scores.parquet.")
    try:
        with pq.ParquetFile(path) as file:
            if problems := _schema_problems(file.schema_arrow):
                raise DataError(f"{path} is not a scores file: {'; '.join(problems)}", hint=_columns())
            table = file.read(columns=SCHEMA.names).select(SCHEMA.names)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a parquet file that can be read: {error}") from error
    if problems := [f"column {name!r} has {holes} empty values" for name, holes in _holes(table).items()]:
        raise DataError(f"{path} is not a scores file: {'; '.join(problems)}", hint="Only base and tuned may be empty.")
    columns = {name: table[name].to_numpy() for name in WHOLE + NUMBERS}
    prints = table["fingerprint"].to_pylist()
    names = list(zip(table["evaluation"].to_pylist(), table["role"].to_pylist(), strict=True))
    places: dict[tuple[str, str], list[int]] = {}
    for index, name in enumerate(names):
        places.setdefault(name, []).append(index)
    return [
        RowScores(
            evaluation=evaluation,
            role=role,
            row=columns["row"][here].astype(np.int64),
            group=columns["group"][here].astype(np.int64),
            gold=columns["gold"][here].astype(np.float64),
            base=columns["base"][here].astype(np.float64),
            tuned=columns["tuned"][here].astype(np.float64),
            fingerprint=str(prints[here[0]]),
        )
        for (evaluation, role), here in places.items()
    ]


def _problems(parts: Sequence[RowScores]) -> list[str]:
    """Why these parts cannot be written and read back."""
    problems = [] if parts else ["there are no rows to write"]
    seen: set[tuple[str, str]] = set()
    for part in parts:
        name = f"{part.evaluation} ({part.role})"
        if (part.evaluation, part.role) in seen:
            problems.append(f"{name} is there twice")
        seen.add((part.evaluation, part.role))
        arrays = {column: np.asarray(getattr(part, column)) for column in WHOLE + NUMBERS}
        shapes = {column: array.shape for column, array in arrays.items()}
        if len(set(shapes.values())) > 1 or len(shapes["row"]) != 1:
            problems.append(f"{name} has columns that are not equally long lists: {shapes}")
            continue
        if not len(part):
            problems.append(f"{name} has no rows")
        fractional = [column for column in WHOLE if arrays[column].dtype.kind != "i"]
        problems += [f"{name}: {column} is not of whole numbers" for column in fractional]
        if missing := int(np.isnan(arrays["gold"].astype(np.float64)).sum()):
            problems.append(f"{name}: {missing} gold scores are NaN")
    return problems


def _schema_problems(schema: pa.Schema) -> list[str]:
    kinds: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
        "string": (lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind), "text"),
        "int64": (pa.types.is_integer, "whole numbers"),
        "double": (pa.types.is_floating, "numbers"),
    }
    missing = [field.name for field in SCHEMA if field.name not in schema.names]
    problems = [f"it lacks the columns {', '.join(missing)}"] if missing else []
    for field in SCHEMA:
        fits, wanted = kinds[str(field.type)]
        if schema.names.count(field.name) > 1:
            problems.append(f"column {field.name!r} is there {schema.names.count(field.name)} times")
        elif field.name in schema.names and not fits(schema.field(field.name).type):
            problems.append(f"column {field.name!r} holds {schema.field(field.name).type}, not {wanted}")
    return problems


def _holes(table: pa.Table) -> dict[str, int]:
    """How many values are missing in each column that must have one in every row."""
    needed = [field.name for field in SCHEMA if not field.nullable]
    holes = {
        name: sum(chunk.is_null(nan_is_null=True).sum().as_py() or 0 for chunk in table[name].chunks) for name in needed
    }
    return {name: count for name, count in holes.items() if count}


def _columns() -> str:
    return "It must have the columns " + ", ".join(f"{field.name} ({field.type})" for field in SCHEMA) + "."
