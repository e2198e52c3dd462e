"""Files in, checked canonical rows out, and every bad row named."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Write
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hf_simtune.data.load import Loaded, load
from hf_simtune.errors import DataError, RequestError

ROWS = [("a cat", "a dog", 0.5), ("it rains", "rain falls", 1.0), ('käse, "alt"', "line\nbreak", 0.0)]


def as_csv(rows: list[Any], header: list[str], **options: Any) -> str:
    text = io.StringIO()
    csv.writer(text, **options).writerows([header, *rows])
    return text.getvalue()


def as_parquet(rows: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(rows), sink)
    return sink.getvalue()


HEADER = ["sentence1", "sentence2", "score"]
SCORED = {
    "rows.csv": as_csv(ROWS, HEADER),
    "rows.csv.gz": as_csv(ROWS, HEADER),
    "semicolons.csv": as_csv(ROWS, HEADER, delimiter=";"),
    "bom.csv": "\ufeff" + as_csv(ROWS, HEADER),
    "rows.jsonl": "".join(json.dumps(dict(zip(HEADER, row, strict=True))) + "\n" for row in ROWS) + "\n\n",
    "rows.json": "".join(json.dumps(dict(zip(HEADER, row, strict=True))) + "\n" for row in ROWS),
    "rows.ndjson.gz": "".join(json.dumps(dict(zip(HEADER, row, strict=True))) + "\r\n" for row in ROWS),
    "rows.parquet": as_parquet(dict(zip(HEADER, zip(*ROWS, strict=True), strict=True))),
    "rows.parquet.gz": as_parquet(dict(zip(HEADER, zip(*ROWS, strict=True), strict=True))),
}


def by_hand(rows: list[tuple[str, str, float]]) -> str:
    """The fingerprint as its docstring defines it, from Python's own types."""
    whole = hashlib.sha256(f"{len(rows)} rows: sentence1, sentence2, score".encode())
    for column in (0, 1):
        texts = [str(row[column]).encode() for row in rows]
        whole.update(hashlib.sha256(b"".join(struct.pack("<q", len(text)) for text in texts)).digest())
        whole.update(hashlib.sha256(b"".join(texts)).digest())
    whole.update(hashlib.sha256(b"").digest())
    whole.update(hashlib.sha256(b"".join(struct.pack("<d", row[2]) for row in rows)).digest())
    return whole.hexdigest()[:16]


@pytest.mark.parametrize("name", SCORED)
def test_the_same_rows_come_out_of_every_format(name: str, write: Write, get: Callable[..., Loaded]) -> None:
    loaded = get(write(name, SCORED[name]))
    assert loaded.dataset[:] == {
        "sentence1": [row[0] for row in ROWS],
        "sentence2": [row[1] for row in ROWS],
        "score": [row[2] for row in ROWS],
        "row": [0, 1, 2],
    }
    assert loaded.source.fingerprint == by_hand(ROWS)
    assert (loaded.source.name, loaded.source.kind, loaded.source.rows) == (name, "file", 3)
    assert loaded.source.columns == tuple(HEADER)


def test_a_tab_separated_cell_keeps_its_lone_quotes(write: Write, get: Callable[..., Loaded]) -> None:
    loaded = get(write("rows.tsv", 'anchor\tpositive\nhe said "no"\t"a ""b"" c"\n5" pipe\t"open\n\n'))
    assert loaded.dataset["anchor"][:] == ['he said "no"', '5" pipe']
    assert loaded.dataset["positive"][:] == ['a "b" c', '"open']


def test_a_text_file_is_one_sentence_a_line(write: Write, get: Callable[..., Loaded]) -> None:
    loaded = get(write("lines.txt.gz", "one\r\ntwo, three\n  four\n\n"))
    assert loaded.dataset["sentence"][:] == ["one", "two, three", "  four"]
    assert loaded.source.shape == "sentences"


def test_lists_of_texts_become_pairs(write: Write, get: Callable[..., Loaded]) -> None:
    lines = ['{"set": ["a", "b"]}', '{"set": ["c"]}', '{"set": "cd"}', '{"set": ["e", null]}', '{"set": ["f", "g"]}']
    path = write("sets.jsonl", "\n".join(lines))
    loaded = get(path, skip_bad_rows=True)
    assert loaded.dataset[:] == {"anchor": ["a", "f"], "positive": ["b", "g"], "row": [0, 4]}
    assert loaded.source.dropped == {"wrong number of texts": 1, "not a list of texts": 1, "null": 1}
    with pytest.raises(DataError, match=r"line 2, column 'set': wrong number of texts: 1 instead of 2: \['c'\]"):
        get(path)


@pytest.mark.parametrize(
    ("scores", "flags"),
    [
        ((0, 4.2), "--score-range 0 5, or --score-range"),
        ((1, 4.2), "--score-range 1 5"),
        ((-0.5, 1), "--score-range -1 1"),
        ((3, 88), "--score-range 0 100"),
        ((0, 54321), "--score-range 0 54321"),
    ],
)
def test_scores_on_an_untold_scale_are_refused_with_the_flag(
    scores: tuple[float, float], flags: str, write: Write, get: Callable[..., Loaded]
) -> None:
    path = write("rows.csv", as_csv([("a", "b", score) for score in scores], HEADER))
    with pytest.raises(DataError) as caught:
        get(path, skip_bad_rows=True)
    assert f"run from {scores[0]:g} to {scores[1]:g}" in str(caught.value)
    assert flags.split(",")[0] in str(caught.value)


def test_told_scales_are_rescaled_and_recorded(write: Write, get: Callable[..., Loaded]) -> None:
    loaded = get(write("rows.csv", as_csv([("a", "b", 1), ("c", "d", 4), ("e", "f", 5)], HEADER)), score_range=(1, 5))
    assert loaded.dataset["score"][:] == [0.0, 0.75, 1.0]
    assert loaded.source.rescaled_from == (1, 5)
    assert loaded.source.rescaled_because == "--score-range"
    plain = get(write("plain.csv", as_csv(ROWS, HEADER)))
    assert (plain.source.rescaled_from, plain.source.rescaled_because) == (None, None)


@pytest.mark.parametrize("told", [(float("nan"), 5), (0, float("inf")), (3, 3), (5, 0), (1,), (0, "five")])
def test_a_scale_that_is_none_is_refused_by_name(told: Any, write: Write, get: Callable[..., Loaded]) -> None:
    path = write("rows.csv", as_csv(ROWS, HEADER))
    with pytest.raises(RequestError, match=r"--eval-score-range is \(.*: it must be two numbers, the lower first"):
        get(path, score_range=told, flags="--eval-", skip_bad_rows=True)


@pytest.mark.parametrize(
    "name", ["nothere.csv", "./nowhere/x.jsonl", "stsb", "builtin:movies", "a b/c d", "data.csv:train"]
)
def test_a_name_that_names_nothing_is_refused(name: str, get: Callable[..., Loaded]) -> None:
    with pytest.raises(RequestError):
        get(name)


def test_a_mistyped_file_is_answered_with_the_one_meant(write: Write, get: Callable[..., Loaded]) -> None:
    path = write("pairs.csv", "anchor,positive\na,b\n")
    with pytest.raises(RequestError, match=r"did you mean '.*pairs\.csv'"):
        get(path.replace("pairs", "pears"))
    with pytest.raises(RequestError, match="a file has no split 'train'"):
        get(path + ":train")


def test_the_first_rows_of_a_seeded_shuffle_are_the_same_each_time(write: Write, get: Callable[..., Loaded]) -> None:
    path = write("rows.csv", as_csv([(f"a{n}", f"b{n}") for n in range(100)], ["anchor", "positive"]))
    ten, twenty, other = get(path, rows=10), get(path, rows=20), get(path, rows=10, seed=7)
    assert ten.dataset["row"][:] == twenty.dataset["row"][:10] != other.dataset["row"][:]
    assert ten.dataset["anchor"][:] == [f"a{n}" for n in ten.dataset["row"][:]]
    assert ten.source.rows == 10
    assert len({loaded.source.fingerprint for loaded in (ten, twenty, other, get(path))}) == 4
    assert get(path, rows=1000).dataset["row"][:] == list(range(100))


def test_a_changed_file_or_option_is_never_answered_from_the_cache(write: Write, get: Callable[..., Loaded]) -> None:
    text = as_csv([("a", "b", 1), ("c", "", 0)], HEADER)
    assert get(write("rows.csv", text), skip_bad_rows=True).source.dropped == {"empty text": 1}
    assert get(write("rows.csv", text), skip_bad_rows=True).source.dropped == {"empty text": 1}
    with pytest.raises(DataError):
        get(write("rows.csv", text))
    assert get(write("rows.csv", text.replace("c,", "c,d"))).source.rows == 2


def test_splits_of_a_folder_are_joined_in_the_order_named(tmp_path: Path, get: Callable[..., Loaded]) -> None:
    folder = tmp_path / "datasets" / "org" / "name"
    folder.mkdir(parents=True)
    for split, rows in (("train", 5), ("validation", 3), ("test", 2)):
        lines = [f"{split} {n},other {split} {n},0.{n}" for n in range(rows)]
        (folder / f"{split}.csv").write_text("\n".join(["sentence1,sentence2,score", *lines]), encoding="utf-8")
    joined = get(f"{folder}:train+validation")
    assert joined.dataset["sentence1"][:] == [f"train {n}" for n in range(5)] + [f"validation {n}" for n in range(3)]
    assert (joined.source.title, joined.source.rows) == ("org/name:train+validation", 8)
    assert joined.source.fingerprint not in {get(f"{folder}:{one}").source.fingerprint for one in ("train", "test")}
    turned = get(f"{folder}:validation+train")
    assert turned.dataset["sentence1"][0] == "validation 0"
    with pytest.raises(RequestError) as caught:
        get(f"{folder}:train+dev+train+tst")
    assert [problem.replace("org/name", "X") for problem in caught.value.problems] == [
        "X has no split 'dev'; it has train, validation, test",
        "X has no split 'tst'; it has train, validation, test",
        "X:train+dev+train+tst names train twice",
    ]


def test_groups_and_parts_come_along(write: Write, get: Callable[..., Loaded]) -> None:
    rows = [("a", "b", 1, 7, "news"), ("c", "d", 0, 8, "captions"), ("e", "f", 0, 1.5, "captions")]
    path = write("rows.csv", as_csv(rows, [*HEADER, "group", "genre"]))
    with pytest.raises(DataError, match=r"line 4, column 'group': group that is not a whole number: '1.5'"):
        get(path)
    loaded = get(path, skip_bad_rows=True)
    assert loaded.dataset["group"][:] == [7, 8]
    assert loaded.dataset["subset"][:] == ["news", "captions"]
    one = get(write("one.csv", as_csv(rows[:1], [*HEADER, "group", "genre"])))
    assert "subset" not in one.dataset.column_names


cell = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=30).filter(
    lambda text: text.strip() != ""
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(cell, cell), min_size=1, max_size=8))
@example(rows=[('"', "\n"), ("\r\nx", "a\tb"), ("a;b;c;d", "'\u2028'")][::-1][:2])
def test_cells_come_back_as_they_were_written(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    path = tmp_path / "cells.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("anchor", "positive"), *rows])
    lines = tmp_path / "cells.jsonl"
    lines.write_text("\n".join(json.dumps({"anchor": a, "positive": b}) for a, b in rows), encoding="utf-8")
    for source in (path, lines):
        dataset = load(str(source), columns=("anchor", "positive"), shape="pairs", cache_dir=tmp_path / "cache").dataset
        assert list(zip(dataset["anchor"], dataset["positive"], strict=True)) == rows


MEASURE = """
import sys
from pathlib import Path
from hf_simtune import machine
from hf_simtune.data.load import load
small, large, cache = sys.argv[1:]
load(small, cache_dir=Path(cache))
before, _ = machine.peak_memory()
loaded = load(large, cache_dir=Path(cache))
print(loaded.source.rows, machine.peak_memory()[0] - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    text = "a sentence of some length, to weigh something " * 8
    paths = {}
    for name, rows in (("small", 20_000), ("large", 200_000)):
        paths[name] = tmp_path / f"{name}.jsonl"
        with paths[name].open("w", encoding="utf-8") as file:
            file.writelines(f'{{"anchor": "{n} {text}", "positive": "{text} {n}"}}\n' for n in range(rows))
    command = [sys.executable, "-c", MEASURE, str(paths["small"]), str(paths["large"]), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    rows, megabytes = done.stdout.split()
    assert paths["large"].stat().st_size > 150_000_000
    assert int(rows) == 200_000
    assert float(megabytes) < 60
