"""What a bad row is: every cell checked, batch by batch, good rows handed on in the canonical columns."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hf_simtune.data.readers import Bad, Batch, shown
from hf_simtune.data.shapes import CANONICAL, Layout

__all__ = ["Checker", "schema"]

_EXAMPLES = 5  # bad rows that a message shows
_Problems = dict[int, tuple[str, str]]  # row in the batch -> reason, value


def schema(layout: Layout) -> pa.Schema:
    """The columns of checked rows: those of the shape, ``group`` and ``subset`` where there are, and ``row``."""
    names = CANONICAL[layout.shape]
    fields = [pa.field(name, pa.float64() if name == "score" else pa.string()) for name in names]
    if layout.group:
        fields.append(pa.field("group", pa.int64()))
    if layout.subset:
        fields.append(pa.field("subset", pa.string()))
    return pa.schema([*fields, pa.field("row", pa.int64())])


class Checker:
    """Checks batches one after the other and keeps count of what it found.

    Args:
        layout: the columns and what they make.
        score_range: the scale of the scores, rescaled to 0..1; None for scores that are 0..1 already.

    Attributes:
        dropped: bad rows by reason; a row counts once, for its first bad column.
        examples: the first bad rows.
        lowest, highest: of the finite scores seen.
        outside: the first row whose score lies outside 0..1, where no scale was told. It is not a bad row: the whole
            column may be on another scale, and dropping what does not fit would bend the data.
    """

    def __init__(self, layout: Layout, score_range: tuple[float, float] | None) -> None:
        self.layout, self.score_range = layout, score_range
        self.schema = schema(layout)
        self.dropped: Counter[str] = Counter()
        self.examples: list[Bad] = []
        self.lowest, self.highest = math.inf, -math.inf
        self.outside: Bad | None = None
        self.rows = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The source's columns that are read."""
        extra = (name for name in (self.layout.group, self.layout.subset) if name)
        return (*((self.layout.item[0],) if self.layout.item else self.layout.columns), *extra)

    def check(self, batch: Batch) -> pa.RecordBatch:
        """The good rows of a batch, under the canonical names."""
        self.rows += batch.size
        problems: dict[int, tuple[str | None, str, str]] = {at: (None, *why) for at, why in batch.broken.items()}
        arrays: list[pa.Array] = []
        for column, values, found in self._checked(batch):
            arrays.append(values)
            for at, why in found.items():
                problems.setdefault(at, (column, *why))
        arrays.append(pa.array(np.arange(batch.first, batch.first + batch.size, dtype=np.int64)))
        good = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        if problems:
            self._count(batch, problems)
            keep = np.ones(batch.size, dtype=bool)
            keep[list(problems)] = False
            good = good.filter(pa.array(keep))
        return good

    def _checked(self, batch: Batch) -> list[tuple[str, pa.Array, _Problems]]:
        layout, checked = self.layout, []
        if layout.expand:
            name = layout.columns[0]
            count = len(CANONICAL[layout.shape])
            parts, wrong = _expanded(batch.columns[name], count)
            for part in parts:
                texts, found = _texts(part)
                checked.append((name, texts, {**found, **wrong}))
            return checked
        if layout.item:
            name, number = layout.item
            part, wrong = _item(batch.columns[name], number)
            texts, found = _texts(part)
            return [(layout.columns[0], texts, {**found, **wrong})]
        for target, name in zip(CANONICAL[layout.shape], layout.columns, strict=True):
            values = batch.columns[name]
            checked.append((name, *(self._scores(batch, name, values) if target == "score" else _texts(values))))
        if layout.group:
            checked.append((layout.group, *_whole_numbers(batch.columns[layout.group])))
        if layout.subset:
            texts, found = _texts(batch.columns[layout.subset])
            missing = {at: why for at, why in found.items() if why[0] not in ("null", "empty text")}
            checked.append((layout.subset, pc.fill_null(texts, ""), missing))
        return checked

    def _scores(self, batch: Batch, name: str, values: Any) -> tuple[pa.Array, _Problems]:
        scores, problems = _numbers(values)
        plain = scores.to_numpy(zero_copy_only=False)
        finite = plain[np.isfinite(plain)]
        if len(finite):
            self.lowest, self.highest = min(self.lowest, finite.min()), max(self.highest, finite.max())
        low, high = self.score_range or (0.0, 1.0)
        with np.errstate(invalid="ignore"):
            beyond = np.flatnonzero((plain < low) | (plain > high))
        for at in (int(at) for at in beyond if int(at) not in problems):
            if self.score_range:
                problems[at] = (f"score outside {low:g}..{high:g}", shown(_cell(values, at)))
            elif self.outside is None:
                line = batch.lines[at] if batch.lines else None
                self.outside = Bad(batch.first + at, line, name, shown(_cell(values, at)), "score outside 0..1")
        if self.score_range:
            with np.errstate(over="ignore"):  # of scores outside, which are bad rows
                plain = (plain - low) / (high - low)
        return pa.array(plain + 0.0, from_pandas=False), problems  # + 0.0: there is one zero

    def _count(self, batch: Batch, problems: dict[int, tuple[str | None, str, str]]) -> None:
        for at in sorted(problems):
            column, reason, value = problems[at]
            self.dropped[reason] += 1
            if len(self.examples) < _EXAMPLES:
                line = batch.lines[at] if batch.lines else None
                self.examples.append(Bad(batch.first + at, line, column, value, reason))


def _cell(values: Any, at: int) -> Any:
    return values[at].as_py() if isinstance(values, pa.Array) else values[at]


def _texts(values: Any) -> tuple[pa.Array, _Problems]:
    """Values as an Arrow string array with nulls where they are bad."""
    problems: _Problems = {}
    try:
        if isinstance(values, pa.Array) and not _is_text(values.type):
            texts, problems = _texts_one_by_one(values.to_pylist())
        else:
            texts = values.cast(pa.string()) if isinstance(values, pa.Array) else pa.array(values, pa.string())
            texts.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError, OverflowError):
        texts, problems = _texts_one_by_one(values)
    empty = pc.equal(pc.utf8_trim_whitespace(texts), "")
    bad = pc.or_(pc.is_null(texts), pc.fill_null(pc.or_(empty, pc.match_substring(texts, "\0")), True))
    for at in map(int, np.flatnonzero(bad.to_numpy(zero_copy_only=False))):
        if at in problems:
            continue
        text = texts[at].as_py()
        reason = "null" if text is None else "empty text" if not text.strip() else "NUL character"
        problems[at] = (reason, shown(text))
    return texts, problems


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(test(kind) for test in tests)


def _texts_one_by_one(values: Any) -> tuple[pa.Array, _Problems]:
    if isinstance(values, pa.Array):
        raw = values.cast(pa.large_binary())
        values = [cell if cell is None else cell.decode("utf-8", "surrogateescape") for cell in raw.to_pylist()]
    texts: list[str | None] = []
    problems: _Problems = {}
    for at, value in enumerate(values):
        if isinstance(value, str) and not _has_surrogates(value):
            texts.append(value)
            continue
        texts.append(None)
        if value is not None:
            problems[at] = ("undecodable bytes" if isinstance(value, str) else "not text", shown(value))
    return pa.array(texts, pa.string()), problems


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _numbers(values: Any) -> tuple[pa.Array, _Problems]:
    """Values as float64 with NaN where they are bad."""
    problems: _Problems = {}
    try:
        array = values
        if not isinstance(values, pa.Array):
            array = pa.array(values, pa.string() if any(isinstance(v, str) for v in values) else pa.float64())
        numbers = array.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, UnicodeEncodeError, OverflowError):
        cells = values.to_pylist() if isinstance(values, pa.Array) else values
        numbers = pa.array([_number(cell) for cell in cells], pa.float64())
    finite = pc.fill_null(pc.is_finite(numbers), False)
    for at in map(int, np.flatnonzero(~finite.to_numpy(zero_copy_only=False))):
        value = _cell(values, at)
        if value is None:
            reason = "null"
        elif numbers[at].as_py() is None:
            reason = "not a number"
        else:
            reason = "NaN or infinite score"
        problems[at] = (reason, shown(value))
    return pc.fill_null(numbers, math.nan), problems


def _number(value: object) -> float | None:
    if isinstance(value, str) and "_" in value:  # Python reads 1_000; nobody else does
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return None


def _whole_numbers(values: Any) -> tuple[pa.Array, _Problems]:
    numbers, problems = _numbers(values)
    plain = numbers.to_numpy(zero_copy_only=False)
    for at in map(int, np.flatnonzero(np.isfinite(plain) & (plain != np.round(plain)))):
        problems[at] = ("group that is not a whole number", shown(_cell(values, at)))
    return pa.array(np.where(np.isfinite(plain), plain, 0).astype(np.int64)), problems


def _expanded(values: Any, count: int) -> tuple[Sequence[Any], _Problems]:
    """A column of lists as ``count`` columns, nulls where a list has another length."""
    if isinstance(values, pa.Array):
        lengths = pc.fill_null(pc.list_value_length(values), -1).to_numpy(zero_copy_only=False)
        if (lengths == count).all():
            flat = pc.list_flatten(values)
            return [flat.take(pa.array(np.arange(n, len(flat), count))) for n in range(count)], {}
        values = values.to_pylist()
    problems: _Problems = {}
    parts: list[list[Any]] = [[] for _ in range(count)]
    for at, value in enumerate(values):
        good = isinstance(value, list) and len(value) == count
        if value is None:
            problems[at] = ("null", "None")
        elif not isinstance(value, list):
            problems[at] = ("not a list of texts", shown(value))
        elif not good:
            problems[at] = ("wrong number of texts", f"{len(value)} instead of {count}: {shown(value)}")
        for number, part in enumerate(parts):
            part.append(value[number] if good else None)
    return parts, problems


def _item(values: Any, number: int) -> tuple[Any, _Problems]:
    """One text of each list of a column, nulls where a list is too short."""
    if isinstance(values, pa.Array):
        lengths = pc.fill_null(pc.list_value_length(values), -1).to_numpy(zero_copy_only=False)
        if (lengths > number).all():
            return pc.list_element(values, number), {}
        values = values.to_pylist()
    problems: _Problems = {}
    for at, value in enumerate(values):
        if value is None:
            problems[at] = ("null", "None")
        elif not isinstance(value, list):
            problems[at] = ("not a list of texts", shown(value))
        elif len(value) <= number:
            problems[at] = ("wrong number of texts", f"{len(value)}, and number {number} is read: {shown(value)}")
    return [None if at in problems else value[number] for at, value in enumerate(values)], problems
