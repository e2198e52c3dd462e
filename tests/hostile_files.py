"""Files that nobody should have written, and what holds of each: rows or a sentence with the place, and none lost.

`cases` is a hypothesis strategy, `check` looks at one case. Shared by tests/test_input_properties.py (some hundreds)
and tests/input_torture.py (thousands).
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import json
import math
import re
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from hf_simtune.data.columns import check_columns
from hf_simtune.data.load import load
from hf_simtune.errors import SimtuneError
from hf_simtune.recipe import Recipe

__all__ = ["Case", "cases", "check", "control", "placed"]

_UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_PLACE = re.compile(r", line \d+|\brow \d+ \(the first is 0\)|: column |[.?] Its columns: |the name of a column ")
# What can be said of a file alone: no row of it can be told from another, or there is none.
_WHOLE = re.compile(
    r" is UTF-16$| is not a whole gzip file: | is not a parquet file that can be read: | is one JSON array, "
    r"| says that it has [\d,]+ rows, | has no header: its first line is | has no rows$| has no rows that can be used$"
    r"|: all [\d,]+ rows have the score "
)
_LONGEST = 12_000  # characters of a message: five bad rows and a hint, never a cell of a megabyte
NAMES = ("anchor", "positive", "negative", "sentence1", "sentence2", "score", "sentence", "text", "label", "set")


@dataclasses.dataclass(frozen=True)
class Case:
    """A file, what is asked of it, and how many rows it holds, where that is known without reading it."""

    name: str
    content: bytes
    rows: int | None
    options: dict[str, Any]

    def __repr__(self) -> str:
        return f"Case({self.name!r}, {self.rows!r} rows, {self.options!r}, {self.content[:2000]!r})"


def control(message: str) -> list[str]:
    """What of a message would move a terminal's cursor, or turn its text."""
    return _UNSEEN.findall(message)


def placed(problem: str, name: str, options: Collection[str] = ()) -> bool:
    """Whether a problem, without the hint behind it, says where to look.

    The flag of an option that was asked for; else the file, with a line, a row or a column of it, or with what is wrong
    with it as a whole.
    """
    if any(re.search(rf"(?<![\w-])--{one.replace('_', '-')}(?![\w-])", problem) for one in options):
        return True
    return name in problem and bool(_PLACE.search(problem) or _WHOLE.search(problem))


def check(case: Case, folder: Path) -> str:
    """Load the file. "result" or the name of the error; AssertionError where a promise is broken.

    Anything else that is raised is a broken promise too.
    """
    path = folder / case.name
    path.write_bytes(case.content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert isinstance(check_columns(Recipe(train_data=str(path))), list)
            loaded = load(str(path), cache_dir=folder / "cache", **case.options)
    except SimtuneError as error:
        message = str(error)
        assert message.strip(), "an error without a word"
        for problem in error.problems:
            assert placed(problem, case.name, case.options), f"no place in it: {problem}"
        assert not control(message), f"control characters in {message!r}"
        assert len(message) < _LONGEST, f"{len(message):,} characters in a message"
        if "rows cannot be used (" in message:
            assert re.search(r", (line \d+|row \d+ \(the first is 0\))", message), f"no row in it: {message}"
        return type(error).__name__
    finally:
        path.unlink()
    rows, source = loaded.dataset, loaded.source
    kept, dropped = len(rows), sum(source.dropped.values())
    assert source.rows == kept > 0
    assert case.options.get("skip_bad_rows") or not dropped, "rows dropped that nobody allowed to be dropped"
    if case.rows is not None and not case.options.get("rows"):
        assert kept + dropped == case.rows, f"{case.rows} rows in, {kept} kept and {dropped} told as dropped"
    numbers = rows["row"][:]
    assert numbers == sorted(set(numbers)) or case.options.get("rows"), "row numbers that are not the source's"
    for name in rows.column_names:
        column = rows.data.column(name)
        assert column.null_count == 0, f"a null in {name}"
        if name == "score":
            assert all(math.isfinite(score) and 0 <= score <= 1 for score in rows["score"][:]), "no score of 0..1"
        elif name not in ("row", "group", "subset"):
            column.combine_chunks().validate(full=True)
            assert all(text.strip() and "\0" not in text for text in rows[name][:]), f"an empty text in {name}"
    json.dumps(dataclasses.asdict(source), allow_nan=False)
    return "result"


def options() -> st.SearchStrategy[dict[str, Any]]:
    """What may be asked of a file."""
    plain = st.fixed_dictionaries({"skip_bad_rows": st.sampled_from([True, True, False])})
    return plain | st.fixed_dictionaries(
        {"skip_bad_rows": st.booleans()},
        optional={
            "shape": st.sampled_from(["pairs", "scored", "triplets", "sentences"]),
            "score_range": st.sampled_from([(0, 5), (1, 5), (-1, 1), (0, 1e308), (-1e308, 1e308), (0, 5e-324)]),
            "columns": st.lists(st.sampled_from([*NAMES, "set[0]", "set[1]", "set[99]", ""]), min_size=1, max_size=3),
            "expect": st.sampled_from([("scored",), ("pairs", "triplets"), ("sentences",)]),
        },
    )


CELLS = st.one_of(
    st.sampled_from(["a", "b", "A man is walking.", "it rains", "k\u00e4se", "\u732b", "\U0001f600"]),
    st.sampled_from(["the cat", "a dog", "rain falls", "no more", "x y z"]),
    st.sampled_from(["a", "A man is walking.", "0.5", "1", "nan", "-inf", "1e999", "1_000", "", " ", "\u2003", "\0"]),
    st.sampled_from(["a\tb", "a\nb", "a\r\nb", "\r", 'say "x"', '"', "'", ",", ";", "\ufeff", "\u2028", "\x1b[31mred"]),
    st.sampled_from(
        ["=1+1", "---\na: b\n---", "<script>alert(1)</script>", "{{ 7*7 }}", "\u202eabc", "\x85", "\ufffe"]
    ),
    st.text(max_size=20),
    st.text(min_size=1, max_size=3).map(lambda text: text * 3_000),
)
SCORES = st.one_of(
    st.sampled_from(["0", "1", "0.5", "0.25"]),
    st.sampled_from(["0.1", "1.0", "0.75", "1e-3"]),
    st.sampled_from(
        ["0", "1", "0.5", "5", "-1", "nan", "inf", "1e400", "1_0", "high", "", " 1 ", "0x1", "\u0663", "1,5"]
    ),
    st.floats().map(str),
)
COLUMNS = st.one_of(
    st.sampled_from([("anchor", "positive"), ("anchor", "positive", "negative"), ("sentence",), ("set",)]),
    st.sampled_from([("sentence1", "sentence2", "score"), ("text_a", "text_b", "label"), ("a", "a"), ("", "b")]),
    st.sampled_from([("sentence1", "sentence2", "score", "group"), ("sentence1", "sentence2", "score", "genre")]),
    st.lists(st.one_of(st.sampled_from(NAMES), st.text(max_size=5)), min_size=1, max_size=5).map(tuple),
)
ENCODINGS = st.sampled_from(["utf-8"] * 8 + ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])


def _bytes(text: str, encoding: str) -> bytes:
    return text.encode(encoding, "replace" if encoding == "latin-1" else "surrogatepass")


@st.composite
def _mangled(draw: st.DrawFn, content: bytes) -> bytes:
    """A file as a bad disk or a bad program leaves it."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        what = draw(st.sampled_from(["cut", "flip", "insert", "repeat"]))
        if what == "cut":
            content = content[:at]
        elif what == "flip" and content:
            content = content[:at] + bytes([content[at] ^ (1 << draw(st.integers(0, 7)))]) + content[at + 1 :]
        elif what == "insert":
            piece = st.sampled_from(
                [b"\0", b'"', b"\n", b"\r", b",", b"\xff", b"\xc3", b'"\n', b"\xed\xa0\x80", b"\x1b"]
            )
            content = content[:at] + draw(piece) + content[at:]
        else:
            content = content[:at] + content[at : at + 50] * 20 + content[at + 50 :]
    return content


@st.composite
def _finished(draw: st.DrawFn, name: str, content: bytes, rows: int | None, *, packs: bool = True) -> Case:
    """The case of a file: packed or not, whole, cut short or mangled."""
    fate = draw(
        st.sampled_from(["whole"] * 6 + ["mangled"] * 2 + (["gz", "cut gz", "no gz", "two gz"] if packs else []))
    )
    if fate == "mangled":
        content, rows = draw(_mangled(content)), None
    elif "gz" in fate:
        name += ".gz"
        packed = gzip.compress(content)
        if fate == "cut gz":
            packed, rows = packed[: draw(st.integers(0, max(0, len(packed) - 1)))], None
        elif fate == "no gz":
            packed, rows = content, None
        elif fate == "two gz":
            half = len(content) // 2
            packed = (
                gzip.compress(content[:half])
                + gzip.compress(content[half:])
                + draw(st.sampled_from([b"", b"\0" * 100, b"junk behind"]))
            )
            rows = rows if packed.endswith(b"\0") or not packed.endswith(b"behind") else None
        content = packed
    return Case(name, content, rows, draw(options()))


@st.composite
def csv_files(draw: st.DrawFn) -> Case:
    """csv as a writer makes it, some rows ragged, in several encodings."""
    header = draw(COLUMNS)
    rows = draw(st.lists(st.tuples(*(SCORES if name in ("score", "label") else CELLS for name in header)), max_size=8))
    for at in draw(st.sets(st.integers(0, 7), max_size=2)):
        if at < len(rows):
            rows[at] = draw(st.sampled_from([rows[at] + ("more",), rows[at][:-1] or ("x", "y"), ("x",) * 300]))
    text = io.StringIO()
    table = csv.writer(
        text,
        delimiter=draw(st.sampled_from([",", ",", ";", "\t"])),
        lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"])),
        quoting=csv.QUOTE_ALL,
    )
    table.writerow(header)
    table.writerows(rows)
    encoding = draw(ENCODINGS)
    known = encoding in ("utf-8", "utf-8-sig", "latin-1")
    return draw(_finished("rows.csv", _bytes(text.getvalue(), encoding), len(rows) if known else None))


@st.composite
def bare_csv_files(draw: st.DrawFn) -> Case:
    """csv as nobody's writer makes it: no quoting at all, quotes anywhere."""
    cells = st.lists(st.one_of(CELLS, st.sampled_from(['"a', 'a"', '"a"b', '""', '"a""'])), min_size=1, max_size=4)
    lines = [",".join(draw(st.one_of(COLUMNS, cells)))] + [",".join(line) for line in draw(st.lists(cells, max_size=8))]
    end = draw(st.sampled_from(["\n", "\r\n", ""]))
    text = "\n".join(lines) + end
    # Where no quote joins or breaks lines, they can be counted.
    body = re.split("\r\n|\r|\n", text)[1:]
    while body and not body[-1]:
        body.pop()
    return draw(_finished("bare.csv", _bytes(text, "utf-8"), None if '"' in text or "\r" in text else len(body)))


def _lines(text: str) -> list[str]:
    found = re.split("\r\n|\r|\n", text)
    while found and not found[-1].strip(" \t"):
        found.pop()
    return found


@st.composite
def line_files(draw: st.DrawFn) -> Case:
    """tsv and txt: a row is a line."""
    name, header = draw(st.sampled_from([("lines.txt", ()), ("rows.tsv", ("anchor", "positive")), ("rows.tsv", None)]))
    head = draw(COLUMNS) if header is None else header
    width = len(head) or 1
    row = st.one_of(st.lists(CELLS, min_size=width, max_size=width), st.lists(CELLS, max_size=5))
    lines = ["\t".join(cells) for cells in draw(st.lists(row, max_size=8))]
    text = "\n".join([*(["\t".join(head)] if head else []), *lines]) + draw(st.sampled_from(["", "\n", "\n\n\n"]))
    found = re.split("\r\n|\r|\n", text)
    while found and not found[-1]:
        found.pop()
    encoding = draw(ENCODINGS)
    known = encoding in ("utf-8", "utf-8-sig") and len(found) > len(bool(head) * "1")
    return draw(_finished(name, _bytes(text, encoding), len(found) - bool(head) if known else None))


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        CELLS,
        st.sampled_from([10**400, "\ud800", -0.0, "0.5"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def json_files(draw: st.DrawFn) -> Case:
    """jsonl whose values are of every kind, nested, deep, or no JSON."""
    header = draw(COLUMNS)
    good = st.fixed_dictionaries({name: st.one_of(CELLS, JSON) if name != "score" else JSON for name in header})
    odd = st.one_of(
        st.sampled_from(["{", "[1]", "null", "{}", '{"a": 1, "a": 2}', "[" * 5_000, '{"a":' * 5_000, "NaN", "", " "]),
        JSON.map(json.dumps),
        good.map(lambda row: json.dumps(row)[:-1]),
    )
    lines = draw(st.lists(st.one_of(good.map(json.dumps), good.map(json.dumps), odd), max_size=8))
    text = "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n\n"]))
    found = _lines(text)
    name = draw(st.sampled_from(["rows.jsonl", "rows.json", "rows.ndjson"]))
    return draw(_finished(name, text.encode("utf-8", "surrogatepass"), len(found) or None))


def _array(draw: st.DrawFn, count: int) -> pa.Array:
    texts = draw(st.lists(st.one_of(st.none(), CELLS), min_size=count, max_size=count))
    plain = pa.array(texts, pa.string())
    numbers = draw(st.lists(st.one_of(st.none(), st.floats()), min_size=count, max_size=count))
    kind = draw(st.sampled_from([*range(17), *[17] * 12, *[0, 1, 4, 16] * 2]))
    bad = pa.array([b"k\xe4se"] * count, pa.binary())
    made = {
        0: lambda: plain.cast(pa.large_string()),
        1: lambda: plain.dictionary_encode(),
        2: lambda: plain.cast(pa.binary()),
        3: lambda: bad.view(pa.string()),
        4: lambda: pa.array(numbers, pa.float64()),
        5: lambda: pa.array(numbers, pa.float32()),
        6: lambda: pa.array([None if n is None or not math.isfinite(n) else int(n) % 100 for n in numbers], pa.int8()),
        7: lambda: pa.array([n is not None and n > 0 for n in numbers], pa.bool_()),
        8: lambda: pa.array([texts[:2]] * count, pa.list_(pa.string())),
        9: lambda: pa.array([None if text is None else [text, text] for text in texts], pa.list_(pa.string(), 2)),
        10: lambda: pa.array([{"a": text, "b": [1]} for text in texts]) if count else plain,
        11: lambda: pa.array([17] * count, pa.timestamp("us")),
        12: lambda: pa.nulls(count),
        13: lambda: pa.array([None] * count, pa.decimal128(10, 2)),
        14: lambda: pa.array([[("k", text)] for text in texts], pa.map_(pa.string(), pa.string())),
        15: lambda: pa.array([2**63 + 1] * count, pa.uint64()),
        16: lambda: plain.cast(pa.string_view()),
    }
    return made[kind]() if kind in made else plain


@st.composite
def parquet_files(draw: st.DrawFn) -> Case:
    """parquet of every type, and parquet that lies: its footer and its pages say different things."""
    header = draw(COLUMNS)
    count = draw(st.integers(0, 6))
    table = pa.Table.from_arrays([_array(draw, count) for _ in header], names=list(header))
    if draw(st.integers(0, 9)) == 0:  # as `datasets` leaves it, with features that the columns do not have
        said = {"info": {"features": {name: {"dtype": "int32", "_type": "Value"} for name in header}}}
        lies = draw(st.sampled_from([json.dumps(said), "{", '{"info": 3}', '{"info": {"features": {"a": 1}}}']))
        table = table.replace_schema_metadata({"huggingface": lies})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression=draw(st.sampled_from(["none", "snappy", "zstd"])), row_group_size=3)
    content, rows = sink.getvalue(), count
    if draw(st.booleans()):
        return draw(_finished("rows.parquet", content, rows))
    # A lie: bytes of the footer, or of the pages, one after the other.
    lied = bytearray(content)
    footer = len(lied) - 8 - int.from_bytes(lied[-8:-4], "little")
    low, high = draw(st.sampled_from([(footer, len(lied) - 8), (4, footer), (len(lied) - 8, len(lied))]))
    for _ in range(draw(st.integers(1, 4))):
        lied[draw(st.integers(low, max(low, high - 1)))] = draw(st.integers(0, 255))
    return Case("lies.parquet", bytes(lied), None, draw(options()))


@st.composite
def odd_files(draw: st.DrawFn) -> Case:
    """Bytes that are no file of that kind."""
    name = draw(
        st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.txt", "a.parquet", "a.csv.gz", "a.parquet.gz", "a.json"])
    )
    content = draw(
        st.one_of(
            st.binary(max_size=300),
            st.sampled_from(
                [
                    b"",
                    b"\n",
                    b"\0" * 5_000,
                    b"\xef\xbb\xbf",
                    b"PAR1",
                    b"PAR1PAR1",
                    b"\x1f\x8b",
                    b"[]",
                    b"%PDF-1.7\n",
                    b"PK\x03\x04",
                ]
            ),
        )
    )
    return Case(name, content, None, draw(options()))


def cases() -> st.SearchStrategy[Case]:
    """A file of any kind."""
    return st.one_of(csv_files(), bare_csv_files(), line_files(), json_files(), parquet_files(), odd_files())


def huge() -> list[Case]:
    """Cells of megabytes, too large to draw by the thousand."""
    cell = "wide " * 400_000
    over = "w" * ((1 << 24) + 1)
    plain: dict[str, Any] = {"skip_bad_rows": True}
    deep = '{"anchor": ' + "[" * 100_000 + "]" * 100_000 + ', "positive": "b"}\n{"anchor": "a", "positive": "b"}\n'
    return [
        Case("huge.csv", f"anchor,positive\n{cell},b\na,b\n".encode(), 2, plain),
        Case("huge.csv", f'anchor,positive\n"{over}",b\na,b\n'.encode(), None, plain),
        Case("huge.tsv", f"anchor\tpositive\n{over}\tb\n".encode(), None, plain),
        Case("huge.txt", f"{cell}\n{over}\n".encode(), None, plain),
        Case("huge.jsonl", json.dumps({"anchor": cell, "positive": "b"}).encode(), 1, plain),
        Case("deep.jsonl", deep.encode(), 2, plain),
        Case("bomb.txt.gz", gzip.compress(b"\0" * (1 << 26)), None, plain),
        Case("many.csv", b"anchor,positive\n" + b"\n" * 200_000 + b"a,b\n", 200_001, plain),
        Case("wide.csv", (",".join(f"c{n}" for n in range(2_000)) + "\n").encode() * 2, None, plain),
    ]
