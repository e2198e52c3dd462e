"""scores.parquet holds what was measured, and says what is wrong with a file that does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_simtune import scores_file
from hf_simtune.errors import DataError
from hf_simtune.scores_file import RowScores

COLUMNS = ("row", "group", "gold", "base", "tuned")


def part(evaluation: str = "org/data:test", role: str = "report", n: int = 4, seed: int = 0) -> RowScores:
    rng = np.random.default_rng(seed)
    return RowScores(
        evaluation=evaluation,
        role=role,
        row=np.arange(n, dtype=np.int64) * 3,
        group=np.arange(n, dtype=np.int64) // 2,
        gold=rng.uniform(0, 1, n),
        base=rng.uniform(-1, 1, n),
        tuned=rng.uniform(-1, 1, n),
    )


WORDS = ("evaluation", "role", "fingerprint")


def as_table(scores: RowScores) -> pa.Table:
    columns = {name: getattr(scores, name) for name in COLUMNS}
    words = {name: [getattr(scores, name)] * len(scores) for name in WORDS}
    return pa.table({**words, **columns})


def assert_same(left: RowScores, right: RowScores) -> None:
    assert [getattr(left, name) for name in WORDS] == [getattr(right, name) for name in WORDS]
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), strict=True)


def test_what_is_written_is_read_back_bit_for_bit_and_in_order(tmp_path: Path) -> None:
    parts = [part(), part("org/data:validation", "select", n=7, seed=1)]
    scores_file.write(tmp_path / "scores.parquet", parts)
    back = scores_file.read(tmp_path / "scores.parquet")
    assert len(back) == 2
    for left, right in zip(parts, back, strict=True):
        assert_same(left, right)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.parquet"]


def test_the_file_is_plain_parquet_with_the_eight_columns(tmp_path: Path) -> None:
    scores_file.write(tmp_path / "scores.parquet", [part()])
    table = pq.read_table(tmp_path / "scores.parquet")
    assert table.column_names == [*WORDS, *COLUMNS]
    assert table["row"].to_pylist() == [0, 3, 6, 9]


def test_a_similarity_that_is_nan_is_a_null_in_the_file_and_nan_again_when_read(tmp_path: Path) -> None:
    scores = part()
    scores.tuned[1] = np.nan
    scores_file.write(tmp_path / "scores.parquet", [scores])
    assert pq.read_table(tmp_path / "scores.parquet")["tuned"].null_count == 1
    (back,) = scores_file.read(tmp_path / "scores.parquet")
    assert_same(scores, back)


def test_similarities_that_are_all_nan_survive(tmp_path: Path) -> None:
    scores = part()
    scores.base[:] = np.nan
    scores_file.write(tmp_path / "scores.parquet", [scores])
    assert np.isnan(scores_file.read(tmp_path / "scores.parquet")[0].base).all()


@settings(deadline=None, max_examples=25)
@given(
    similarities=st.lists(st.floats(-1, 1) | st.just(float("nan")), min_size=1, max_size=30),
    title=st.text(st.characters(codec="utf-8"), max_size=20),
)
def test_any_similarities_and_any_title_make_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, similarities: list[float], title: str
) -> None:
    n = len(similarities)
    values = np.array(similarities)
    scores = RowScores(title, "report", np.arange(n), np.zeros(n, np.int64), np.linspace(0, 1, n), values, -values)
    path = tmp_path_factory.mktemp("scores") / "scores.parquet"
    scores_file.write(path, [scores])
    (back,) = scores_file.read(path)
    assert_same(scores, back)


def test_a_file_that_another_program_sorted_and_annotated_is_still_read(tmp_path: Path) -> None:
    first, second = part(), part("other:test", "select", seed=2)
    table = pa.concat_tables([as_table(first), as_table(second)]).sort_by("row")
    table = table.append_column("note", pa.array(["seen"] * len(table)))
    table = table.set_column(0, "evaluation", table["evaluation"].cast(pa.large_string()))
    pq.write_table(table, tmp_path / "scores.parquet")
    back = {scores.evaluation: scores for scores in scores_file.read(tmp_path / "scores.parquet")}
    assert_same(back["org/data:test"], first)
    assert_same(back["other:test"], second)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scores.parquet"
    scores_file.write(path, [part()])
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        scores_file.write(path, [part(seed=5)])
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.parquet"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no scores file at .*gone\.parquet"):
        scores_file.read(tmp_path / "gone.parquet")


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    path.write_text("row,gold\n1,0.5\n")
    with pytest.raises(DataError, match=r"scores\.parquet is not a parquet file"):
        scores_file.read(path)


def test_missing_and_mistyped_columns_are_named_together(tmp_path: Path) -> None:
    table = as_table(part()).drop_columns(["gold", "group"])
    table = table.set_column(table.column_names.index("base"), "base", pa.array(["a", "b", "c", "d"]))
    pq.write_table(table, tmp_path / "scores.parquet")
    with pytest.raises(DataError) as caught:
        scores_file.read(tmp_path / "scores.parquet")
    text = str(caught.value)
    assert "lacks the columns group, gold" in text
    assert "column 'base' holds string, not numbers" in text
    assert "evaluation (string)" in text


def test_a_column_with_holes_where_there_may_be_none_is_named(tmp_path: Path) -> None:
    table = as_table(part())
    table = table.set_column(5, "gold", pa.array([0.1, None, float("nan"), 0.2]))
    pq.write_table(table, tmp_path / "scores.parquet")
    with pytest.raises(DataError, match="column 'gold' has 2 empty values"):
        scores_file.read(tmp_path / "scores.parquet")


def test_parts_that_could_not_be_read_back_are_refused_with_every_problem(tmp_path: Path) -> None:
    short = RowScores("a:test", "report", np.arange(3), np.arange(3), np.ones(3), np.ones(2), np.ones(3))
    empty = part("b:test", n=0)
    unlabelled = part("c:test")
    unlabelled.gold[0] = np.nan
    fractions = RowScores("d:test", "report", np.ones(2), np.arange(2), np.ones(2), np.ones(2), np.ones(2))  # type: ignore[arg-type]
    with pytest.raises(DataError) as caught:
        scores_file.write(tmp_path / "scores.parquet", [short, empty, unlabelled, fractions, part(), part()])
    text = str(caught.value)
    assert "a:test (report) has columns that are not equally long" in text
    assert "b:test (report) has no rows" in text
    assert "c:test (report): 1 gold scores are NaN" in text
    assert "d:test (report): row is not of whole numbers" in text
    assert "org/data:test (report) is there twice" in text
    assert not list(tmp_path.iterdir())


def test_no_parts_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows to write"):
        scores_file.write(tmp_path / "scores.parquet", [])
