"""What a file's columns are told to be, and that its cells are those that were written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Write

from hf_simtune.data.files import open_file
from hf_simtune.data.load import Loaded
from hf_simtune.data.readers import BATCH, from_dataset
from hf_simtune.errors import DataError, RequestError

LISTS = [["a one", "b one"], ["a two", "b two"], ["a three", "b three"]]


@pytest.mark.parametrize("kind", ["list", "fixed", "large"])
def test_lists_of_texts_in_parquet_are_taken_apart_in_their_order(
    kind: str, tmp_path: Path, get: Callable[..., Loaded]
) -> None:
    types = {"list": pa.list_(pa.string()), "fixed": pa.list_(pa.string(), 2), "large": pa.large_list(pa.string())}
    path = tmp_path / "lists.parquet"
    pq.write_table(pa.table({"set": pa.array(LISTS, types[kind])}), path)
    assert open_file(path).columns["set"].length == 2
    loaded = get(str(path), shape="pairs").dataset
    assert [[row["anchor"], row["positive"]] for row in loaded] == LISTS
    one = get(str(path), columns=("set[1]",), shape="sentences").dataset
    assert one["sentence"][:] == [second for _, second in LISTS]
    with pytest.raises(RequestError, match=r"set\[2\] is number 2 of a list, from 0"):
        get(str(path), columns=("set[2]",), shape="sentences")


def test_a_list_of_another_length_in_parquet_is_a_bad_row(tmp_path: Path, get: Callable[..., Loaded]) -> None:
    path = tmp_path / "lists.parquet"
    pq.write_table(pa.table({"set": [*LISTS, ["alone"], None]}), path)
    loaded = get(str(path), shape="pairs", skip_bad_rows=True)
    assert loaded.source.dropped == {"wrong number of texts": 1, "null": 1}
    assert [[row["anchor"], row["positive"]] for row in loaded.dataset] == LISTS


def test_classes_that_datasets_wrote_into_parquet_are_told_by_name(tmp_path: Path) -> None:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = datasets.Dataset.from_dict({"text": ["x", "y"], "label": [1, 0]}, features=features)
    rows.to_parquet(str(path := tmp_path / "classes.parquet"))
    for columns in (open_file(path).columns, from_dataset(rows, "rows").columns):
        assert (columns["label"].kind, columns["label"].names) == ("class", ("no", "yes"))
        assert (columns["text"].kind, columns["text"].names, columns["text"].example) == ("text", (), "'x'")
    pq.write_table(pq.read_table(path).replace_schema_metadata({}), path)
    assert open_file(path).columns["label"].kind == "number", "nothing says what its numbers are"


def test_a_sentence_of_a_txt_file_keeps_its_blanks(write: Write) -> None:
    rows = open_file(Path(write("lines.txt", "  a line \r\n\tanother\t\n")))
    (batch,) = rows.read(["sentence"])
    assert batch.columns["sentence"] == ["  a line ", "\tanother\t"]


def test_rows_are_numbered_through_all_batches(tmp_path: Path, get: Callable[..., Loaded]) -> None:
    path, many = tmp_path / "many.parquet", 2 * BATCH + 5
    table = pa.table({"anchor": [f"the {n}th" for n in range(many)], "positive": [f"number {n}" for n in range(many)]})
    pq.write_table(table, path)
    loaded = get(str(path), shape="pairs").dataset
    assert loaded["row"][:] == list(range(many)) and loaded["anchor"][-1] == f"the {many - 1}th"
    for rows in (open_file(path), from_dataset(datasets.Dataset(table), "rows")):
        assert [batch.first for batch in rows.read(["anchor"])] == [0, BATCH, 2 * BATCH]


def test_a_column_that_parquet_has_twice_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "twice.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 3, names=["x", "anchor", "x"]), path)
    with pytest.raises(DataError, match=r"twice\.parquet: column 'x' occurs more than once"):
        open_file(path)
