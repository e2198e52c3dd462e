"""Checked rows on disk: written once as Arrow, then memory-mapped, so that memory does not grow with the data."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from hf_simtune.data.checks import Checker
from hf_simtune.data.fingerprint import Fingerprint
from hf_simtune.data.readers import Bad, Rows
from hf_simtune.data.shapes import CANONICAL, Layout
from hf_simtune.errors import DataError

__all__ = ["Stored", "store"]

_VERSION = 1  # of the checks: a change of what they let through or write must change it
_MOST_SUBSETS = 50  # more names than this are no parts of the data but a property of each row
_SCALES = ((0.0, 5.0), (1.0, 5.0), (-1.0, 1.0), (0.0, 10.0), (1.0, 10.0), (0.0, 100.0), (1.0, 100.0), (0.0, 1000.0))


@dataclasses.dataclass(frozen=True)
class Stored:
    """Checked rows, and what was found on the way."""

    path: Path
    rows: int
    fingerprint: str
    dropped: dict[str, int]
    has_subsets: bool


def store(
    rows: Rows,
    layout: Layout,
    *,
    content: str,
    folder: Path,
    score_range: tuple[float, float] | None = None,
    skip_bad_rows: bool = False,
    flags: str = "--",
) -> Stored:
    """Check all rows and write the good ones; a second call with the same content and options finds them again.

    Args:
        content: stands for the source's rows, such as a file's SHA-256.
        folder: where the Arrow file goes. It is written under another name and moved, so it is whole or not there.

    Raises:
        DataError: rows that cannot be used, scores on an untold scale, or no rows at all.
    """
    options: list[Any] = [_VERSION, content, dataclasses.asdict(layout), score_range, skip_bad_rows]
    key = hashlib.sha256(json.dumps(options).encode()).hexdigest()[:32]
    path, facts = folder / f"{key}.arrow", folder / f"{key}.json"
    if path.is_file() and facts.is_file():
        return Stored(path, **json.loads(facts.read_text(encoding="utf-8")))
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{key}.{os.getpid()}.part"
    try:
        stored = _write(rows, layout, score_range, skip_bad_rows, flags, part, path)
        part.replace(path)
        value = dataclasses.asdict(stored)
        del value["path"]
        part.write_text(json.dumps(value), encoding="utf-8")
        part.replace(facts)
    finally:
        part.unlink(missing_ok=True)
    return stored


def _write(
    rows: Rows,
    layout: Layout,
    score_range: tuple[float, float] | None,
    skip_bad_rows: bool,
    flags: str,
    part: Path,
    path: Path,
) -> Stored:
    checker = Checker(layout, score_range)
    fingerprint = Fingerprint(CANONICAL[layout.shape])
    count, subsets = 0, set[str]()
    with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_stream(sink, checker.schema) as writer:
        for batch in rows.read(checker.columns):
            good = checker.check(batch)
            if checker.outside or (checker.dropped and not skip_bad_rows):
                continue  # the rest is read for the count alone
            writer.write_batch(good)
            fingerprint.update(good)
            count += good.num_rows
            if layout.subset and len(subsets) <= _MOST_SUBSETS:
                subsets.update(good.column("subset").unique().to_pylist())
    if checker.dropped and not skip_bad_rows:
        raise _bad_rows(rows, checker)
    if checker.outside:
        raise _untold_scale(rows, checker, flags)
    if not count:
        raise _bad_rows(rows, checker) if checker.dropped else DataError(f"{rows.title} has no rows that can be used")
    return Stored(path, count, fingerprint.hexdigest(), dict(checker.dropped), 1 < len(subsets) <= _MOST_SUBSETS)


def _bad_rows(rows: Rows, checker: Checker) -> DataError:
    count = sum(checker.dropped.values())
    lines = [
        f"{rows.title}: {count:,} of {checker.rows:,} rows cannot be used ({_reasons(checker)})",
        *(f"  {_place(rows, bad)}: {bad.reason}{f': {bad.value}' if bad.value else ''}" for bad in checker.examples),
    ]
    if count > len(checker.examples):
        lines.append(f"  and {count - len(checker.examples):,} more")
    left = count < checker.rows
    hint = "--skip-bad-rows drops and counts them" if left else "No row is left: give others, or name other columns"
    return DataError("\n".join(lines), hint=hint)


def _place(rows: Rows, bad: Bad) -> str:
    where = f"line {bad.line}" if bad.line is not None else f"row {bad.row} (the first is 0)"
    return f"{rows.title}, {where}" + (f", column {bad.column!r}" if bad.column else "")


def _reasons(checker: Checker) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in checker.dropped.most_common())


def _untold_scale(rows: Rows, checker: Checker, flags: str) -> DataError:
    low, high = checker.lowest, checker.highest
    fits = [scale for scale in _SCALES if scale[0] <= low and high <= scale[1]]
    # The tightest scale, and beside it those with the same top: 1-5 and 0-5 look alike when nobody gave a 0.
    near = [scale for scale in fits if scale[1] == fits[0][1]] or [(low, high)]
    say = ", or ".join(f"{flags}score-range {a:g} {b:g}" for a, b in near)
    assert checker.outside is not None
    return DataError(
        f"{rows.title}: the scores run from {low:g} to {high:g}, and must be 0 to 1 unless their scale is told; the "
        f"first outside is {checker.outside.value} ({_place(rows, checker.outside)})",
        hint=f"Say the scale that they were given on, and they are rescaled: {say}",
    )
