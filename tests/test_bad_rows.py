"""Rows and files that cannot be used: refused by place and value, or dropped and counted."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_simtune.data.load import Loaded, load
from hf_simtune.errors import DataError


def as_parquet(rows: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(rows), sink)
    return sink.getvalue()


BAD = """anchor,positive,negative
good,row,here
  ,row,here
"two
lines",\t,here
only,two
nul\0here,row,here
,row,here

"x"y,row,here
good,row,too
"""


def test_bad_rows_are_refused_with_line_column_and_value(write: Write, get: Callable[..., Loaded]) -> None:
    with pytest.raises(DataError) as caught:
        get(write("bad.csv", BAD))
    message = str(caught.value)
    assert message.splitlines()[0].startswith("bad.csv: 7 of 9 rows cannot be used (3 empty text, ")
    assert "bad.csv, line 3, column 'anchor': empty text: '  '" in message
    assert "bad.csv, line 4, column 'positive': empty text: '\\t'" in message
    assert "bad.csv, line 6: wrong number of columns: 2 instead of 3: ['only', 'two']" in message
    assert "bad.csv, line 7, column 'anchor': NUL character: 'nul\\x00here'" in message
    assert message.count("bad.csv, line") == 5
    assert "and 2 more" in message
    assert message.endswith("--skip-bad-rows drops and counts them")


def test_empty_lines_by_the_thousand_before_the_first_row_are_bad_rows_of_a_file_that_has_columns(
    write: Write, get: Callable[..., Loaded]
) -> None:
    path = write("late.csv", "anchor,positive\n" + "\n" * 2500 + "a,b\nc,d\n")
    with pytest.raises(DataError, match=r"2,500 of 2,502 rows cannot be used \(2,500 empty line\)"):
        get(path)
    assert get(path, skip_bad_rows=True).dataset["row"][:] == [2500, 2501]
    with pytest.raises(DataError, match="has no rows"):
        get(write("none.csv", "anchor,positive\n" + "\n" * 2500))


def test_skipped_rows_are_counted_by_reason_once_each(write: Write, get: Callable[..., Loaded]) -> None:
    loaded = get(write("bad.csv", BAD), skip_bad_rows=True)
    assert loaded.dataset["row"][:] == [0, 8]
    assert loaded.source.rows == 2
    assert loaded.source.dropped == {
        "empty text": 3,
        "wrong number of columns": 1,
        "NUL character": 1,
        "empty line": 1,
        "broken quoting": 1,
    }


def test_bytes_that_are_not_utf8_are_found_in_their_cell(write: Write, get: Callable[..., Loaded]) -> None:
    data = "sentence1,sentence2,score\na,b,1\nkäse,b,0\n".encode("latin-1")
    with pytest.raises(DataError, match=r"line 3, column 'sentence1': undecodable bytes: 'k\\xe4se'"):
        get(write("latin.csv", data))
    lone = write("lone.jsonl", '{"anchor": "\\ud800", "positive": "b"}\n{"anchor": "a", "positive": "b"}\n')
    assert get(lone, skip_bad_rows=True).source.dropped == {"undecodable bytes": 1}
    invalid = pa.array([b"k\xe4se", b"fine"]).view(pa.string())
    path = write("latin.parquet", as_parquet({"anchor": invalid, "positive": ["b", "c"]}))
    with pytest.raises(DataError, match=r"row 0 \(the first is 0\), column 'anchor': undecodable bytes"):
        get(path)


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        ('"high"', "not a number"),
        ("null", "null"),
        ("NaN", "NaN or infinite score"),
        ("-Infinity", "NaN or infinite score"),
        ("1e999", "NaN or infinite score"),
        ('"1_0"', "not a number"),
        ("[1]", "not a number"),
        ("7", "score outside 0..5"),
    ],
)
def test_a_score_that_is_none_is_a_bad_row(score: str, reason: str, write: Write, get: Callable[..., Loaded]) -> None:
    good = '{"sentence1": "a", "sentence2": "b", "score": 2.5}\n'
    path = write("scores.jsonl", good + good.replace("2.5", score) + good.replace("2.5", '"5"') + good)
    with pytest.raises(DataError, match=rf"line 2, column 'score': {reason}"):
        get(path, score_range=(0, 5))
    loaded = get(path, score_range=(0, 5), skip_bad_rows=True)
    assert loaded.dataset["score"][:] == [0.5, 1.0, 0.5]
    assert loaded.source.dropped == {reason: 1}


def test_lines_that_are_no_json_objects_are_bad_rows(write: Write, get: Callable[..., Loaded]) -> None:
    good = '{"anchor": "a", "positive": "b"}\n'
    path = write(
        "rows.jsonl", good + '{"anchor": "a", \n' + "[1]\n" + '{"anchor": "a"}\n' + '{"anchor": 3, "positive": "b"}\n'
    )
    loaded = get(path, skip_bad_rows=True)
    assert loaded.source.dropped == {"not JSON": 1, "not a JSON object": 1, "null": 1, "not text": 1}


def test_a_name_that_an_object_says_twice_loses_no_cell_in_silence(write: Write, get: Callable[..., Loaded]) -> None:
    path = write("twice.jsonl", '{"anchor": "a", "positive": "b"}\n{"anchor": "a", "anchor": "z", "positive": "b"}\n')
    with pytest.raises(DataError, match=r"twice\.jsonl, line 2: a name twice in one object"):
        get(path)
    assert get(path, skip_bad_rows=True).source.dropped == {"a name twice in one object": 1}


def test_numbers_are_not_texts_even_where_arrow_would_cast_them(write: Write, get: Callable[..., Loaded]) -> None:
    path = write("numbers.parquet", as_parquet({"anchor": [1, 2], "positive": ["b", "c"]}))
    with pytest.raises(DataError, match="column 'anchor': not text: 1"):
        get(path)


def test_a_column_whose_name_is_not_utf8_is_refused(write: Write, get: Callable[..., Loaded]) -> None:
    with pytest.raises(DataError, match=r"name of a column is not UTF-8: 's\\xe4tze'"):
        get(write("names.csv", "s\xe4tze,b\na,b\n".encode("latin-1")))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "A man is walking his dog.,A dog walks.,4.5\nx,y,1\n", "has no header"),
        ("a.csv", "anchor,positive,anchor\n1,2,3\n", "'anchor' occurs more than once"),
        ("a.csv", "", "no rows"),
        ("a.csv", "anchor,positive\n", "no rows"),
        ("a.csv", 'anchor,positive\na,"b\nc,d\n', "line 2: a quote that opens there is not closed"),
        ("a.csv", "anchor,positive\n".encode("utf-16"), "is UTF-16"),
        ("a.json", '[{"anchor": "a"}]', "one JSON array"),
        ("a.parquet", b"PAR1 not really", "not a parquet file"),
        ("a.txt", "\n\n", "no rows"),
        ("a.jsonl", '{"anchor": " ", "positive": "b"}', "cannot be used"),
    ],
)
def test_a_file_that_cannot_be_read_at_all_is_one_sentence(
    name: str, content: str | bytes, says: str, write: Write, get: Callable[..., Loaded]
) -> None:
    with pytest.raises(DataError) as caught:
        get(write(name, content))
    assert says in str(caught.value)
    assert name in str(caught.value)


def test_a_gzip_file_that_ends_early_is_refused(tmp_path: Path, get: Callable[..., Loaded]) -> None:
    whole = gzip.compress("".join(f"{number}, {hash(str(number))}\n" for number in range(9_000)).encode())
    for name, data in (("cut.txt.gz", whole[: len(whole) // 2]), ("plain.txt.gz", b"no gzip\n")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=f"{name} is not a whole gzip file"):
            get(str(tmp_path / name))
    assert not list((tmp_path / "cache").rglob("*.part"))


cell = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=30).filter(
    lambda text: text.strip() != ""
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(good=st.lists(cell, min_size=0, max_size=6), bad=st.sampled_from(["", "  ", "\n", "\u2003"]))
def test_a_bad_row_is_found_at_its_physical_line(tmp_path: Path, good: list[str], bad: str) -> None:
    path = tmp_path / "cells.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("anchor", "positive"), *((text, "x") for text in good)])
        writer.writerows([(bad, "x"), ("last", "x")])
    with path.open(encoding="utf-8", newline="") as file:
        before = csv.reader(file)
        for _ in range(1 + len(good)):
            next(before)
        line = before.line_num + 1
    with pytest.raises(DataError, match=rf"cells\.csv, line {line}, column 'anchor': empty text"):
        load(str(path), cache_dir=tmp_path / "cache")
