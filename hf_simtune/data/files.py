"""The file formats: csv, tsv, jsonl, txt and parquet, each also gzipped, read as a stream."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import shutil
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from hf_simtune.data.readers import BATCH, Batch, Rows, arrow_columns, peeked_columns, schema_features, shown
from hf_simtune.data.shapes import MOST_TOLD
from hf_simtune.data.spec import data_format
from hf_simtune.errors import DataError, first_line

__all__ = ["open_file"]

_LONGEST = 1 << 24  # characters in a line or a cell; longer is a file that is broken or of another kind
_BAR_FROM = 50_000_000  # bytes of file from which reading it shows a progress bar
_WORDS_IN_A_NAME = 6  # a first csv line with more words in a cell is data, not a header


def open_file(path: Path) -> Rows:
    """The rows of a file, by what its name ends in. Text is UTF-8.

    - csv: a header line, cells quoted as RFC 4180 says; ``;`` or a tab may stand for the comma.
    - tsv: a header line, one row a line. A cell that starts and ends with a quote is unquoted; other quotes are text.
    - jsonl, ndjson, json: one JSON object a line. txt: one sentence a line.

    Empty lines at the end are not rows. An empty line before is a bad row.

    Raises:
        DataError: the file cannot be read at all; the message says why.
    """
    form = data_format(path.name)
    if form == "parquet":
        return _parquet(path)
    reader = {"csv": _csv, "tsv": _tsv, "jsonl": _jsonl, "txt": _txt}[str(form)]

    def read(names: Sequence[str] | None, limit: int = BATCH, quiet: bool = False) -> Iterator[Batch]:
        with _text(path, quiet) as lines:
            yield from _batches(reader(lines, path.name), names, limit)

    # Behind a thousand empty lines there may still be rows, which tell the columns.
    head = next((head for head in read(None, 1_000, True) if head.columns), None) or next(read(None, 1_000, True), None)
    if head is None:
        raise DataError(f"{path.name} has no rows")
    return Rows(path.name, peeked_columns(head.columns), read, "line")


# A row of a text file: its line, its cells by name, or why it has none (reason and value).
_Row = tuple[int, dict[str, Any] | None, tuple[str, str] | None]


def _batches(rows: Iterator[_Row], names: Sequence[str] | None, limit: int) -> Iterator[Batch]:
    first = 0
    held: list[_Row] = []
    empty: list[range] = []  # lines of nothing, held back until a row that is something: at the end they are no rows
    for row in rows:
        if row[2] is not None and row[2][0] == "empty line":
            if empty and empty[-1].stop == row[0]:
                empty[-1] = range(empty[-1].start, row[0] + 1)
            else:
                empty.append(range(row[0], row[0] + 1))
            continue
        nothing: Iterator[_Row] = ((line, None, ("empty line", "")) for lines in empty for line in lines)
        for one in itertools.chain(nothing, [row]):
            held.append(one)
            if len(held) == limit:
                yield _batch(first, held, names)
                first, held = first + limit, []
        empty = []
    if held:
        yield _batch(first, held, names)


def _batch(first: int, rows: list[_Row], names: Sequence[str] | None) -> Batch:
    wanted = names if names is not None else list(dict.fromkeys(name for _, cells, _ in rows for name in cells or ()))
    columns = {name: [cells.get(name) if cells else None for _, cells, _ in rows] for name in wanted}
    broken = {at: why for at, (_, _, why) in enumerate(rows) if why is not None}
    return Batch(first, len(rows), columns, [line for line, _, _ in rows], broken)


@contextmanager
def _text(path: Path, quiet: bool) -> Iterator[Iterator[str]]:
    """The lines of a text file with their ends, bytes that are not UTF-8 kept as surrogates."""
    size = path.stat().st_size
    show = None if size >= _BAR_FROM and not quiet and datasets.is_progress_bar_enabled() else True
    with (
        path.open("rb") as raw,
        datasets.utils.tqdm(total=size, unit="B", unit_scale=True, desc=f"read {path.name}", disable=show) as bar,
    ):
        source: IO[bytes] = gzip.GzipFile(fileobj=raw) if path.name.lower().endswith(".gz") else raw  # type: ignore[assignment]
        # newline="": a line break inside a quoted cell stays what it was.
        text = io.TextIOWrapper(source, encoding="utf-8", errors="surrogateescape", newline="")

        def lines() -> Iterator[str]:
            number = 0
            while line := text.readline(_LONGEST):
                number += 1
                if number == 1:
                    line = _start(line, path.name)
                if len(line) == _LONGEST:
                    raise DataError(f"{path.name}, line {number}: longer than {_LONGEST:,} characters")
                if number % 5_000 == 0:
                    bar.update(raw.tell() - bar.n)
                yield line

        try:
            yield lines()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"{path.name} is not a whole gzip file: {error}", hint="Copy or download it again"
            ) from error


def _start(line: str, name: str) -> str:
    if line.startswith(("\udcff\udcfe", "\udcfe\udcff")):
        raise DataError(f"{name} is UTF-16", hint=f"Save it as UTF-8, or: iconv -f UTF-16 -t UTF-8 {name}")
    if "\0" in line:
        raise DataError(
            f"{name}, line 1: a NUL byte in it: it is not text in UTF-8, or was cut and padded",
            hint=f"If it is UTF-16, save it as UTF-8, or: iconv -f UTF-16LE -t UTF-8 {name}",
        )
    return line.removeprefix("\ufeff")


def _csv(lines: Iterator[str], name: str) -> Iterator[_Row]:
    first = next(lines, "")
    delimiter = max(",;\t", key=first.count)
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))
    # strict: a quote in the wrong place is an error of its row, not the start of a cell that eats the file.
    reader = csv.reader(_chain(first, lines), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # Either way it has eaten rows that nobody counted, so they cannot be dropped as one.
            if "limit" in str(error) or "end of data" in str(error):
                raise DataError(f"{name}, line {line}: a quote that opens there is not closed") from error
            if header is None:
                raise DataError(f"{name}, line {line}: the header cannot be read: {error}") from error
            if reader.line_num > line:
                raise DataError(
                    f"{name}, line {line}: a quote that opens there is closed in line {reader.line_num}, in the wrong "
                    f"place: {error}"
                ) from error
            yield line, None, ("broken quoting", f"{error}")
            continue
        if header is None:
            header = _header(cells, name)
        else:
            yield _row(line, cells, header)


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
    yield from rest


def _tsv(lines: Iterator[str], name: str) -> Iterator[_Row]:
    header: list[str] | None = None
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        cells = [_unquoted(cell) for cell in text.split("\t")] if '"' in text else text.split("\t")
        if header is None:
            header = _header(cells, name)
        else:
            yield _row(number, cells if text else [], header)


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return cell


def _row(line: int, cells: list[str], header: list[str]) -> _Row:
    if len(cells) == len(header):
        return line, dict(zip(header, cells, strict=True)), None
    if not cells:
        return line, None, ("empty line", "")
    found = f"{len(cells)} instead of {len(header)}: {shown(cells)}"
    return line, None, ("wrong number of columns", found)


def _header(cells: list[str], name: str) -> list[str]:
    header = [cell.strip() for cell in cells]
    if not any(header):
        raise DataError(f"{name}, line 1 is empty: the columns' names belong there")
    if any(map(_looks_like_data, header)):
        raise DataError(
            f"{name} has no header: its first line is {shown(cells, 100)}",
            hint="Put a line with the columns' names at the top, such as: sentence1,sentence2,score",
        )
    if twice := sorted(cell for cell, count in Counter(header).items() if count > 1):
        raise DataError(f"{name}, line 1: column {', '.join(map(shown, twice[:MOST_TOLD]))} occurs more than once")
    return header


def _looks_like_data(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return len(cell.split()) > _WORDS_IN_A_NAME or (cell.endswith((".", "?", "!")) and " " in cell)
    return True


class _TwiceError(ValueError):
    """An object that says a name twice, of which a dict would keep the last value alone."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _TwiceError
    return made


def _jsonl(lines: Iterator[str], name: str) -> Iterator[_Row]:
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if number == 1 and text.startswith("["):
            raise DataError(
                f"{name} is one JSON array, which cannot be read as a stream",
                hint=f"Write one object a line: jq -c '.[]' {name} > {Path(name).stem}.jsonl",
            )
        if not text:
            yield number, None, ("empty line", "")
            continue
        try:
            value = json.loads(text, object_pairs_hook=_object)
        except _TwiceError:
            yield number, None, ("a name twice in one object", shown(text))
            continue
        except (ValueError, RecursionError):
            yield number, None, ("not JSON", shown(text))
            continue
        if isinstance(value, dict):
            yield number, value, None
        else:
            yield number, None, ("not a JSON object", shown(text))


def _txt(lines: Iterator[str], name: str) -> Iterator[_Row]:
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        yield number, {"sentence": text} if text else None, None if text else ("empty line", "")


def _parquet(path: Path) -> Rows:
    @contextmanager
    def opened() -> Iterator[pq.ParquetFile]:
        try:
            if path.name.lower().endswith(".gz"):  # parquet is read from its end, which a stream does not have
                with tempfile.TemporaryFile() as plain, gzip.open(path) as packed:
                    shutil.copyfileobj(packed, plain)
                    yield pq.ParquetFile(plain)
            else:
                with pq.ParquetFile(path) as file:
                    yield file
        except (pa.ArrowException, UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path.name} is not a parquet file that can be read: {first_line(error)}") from error

    def read(names: Sequence[str]) -> Iterator[Batch]:
        first = 0
        with opened() as file:
            for batch in file.iter_batches(BATCH, columns=list(names)):
                yield Batch(first, batch.num_rows, {name: batch.column(name) for name in names})
                first += batch.num_rows
            if first != file.metadata.num_rows:
                raise DataError(
                    f"{path.name} says that it has {file.metadata.num_rows:,} rows, and {first:,} are in it"
                )

    with opened() as file:
        features = schema_features(file.schema_arrow, path.name)
        head = next(file.iter_batches(1), None)
        first = pa.Table.from_batches([head]) if head is not None else None
        return Rows(path.name, arrow_columns(features, first), read)
