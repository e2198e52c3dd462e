from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hf_simtune import compare, scores_file
from hf_simtune.errors import DataError, RequestError
from hf_simtune.scores_file import RowScores


def run_folder(folder: Path, *, fingerprint: str = "a" * 16, shift: float = 0.0, role: str = "report") -> str:
    """A run folder with nothing but its scores."""
    folder.mkdir()
    random = np.random.default_rng(0)
    gold = random.random(200)
    base = gold + random.normal(0, 0.5, 200)
    tuned = gold + random.normal(0, 0.2 + shift, 200)
    rows = np.arange(200, dtype=np.int64)
    part = RowScores("org/data:test", role, rows, rows, gold, base, tuned, fingerprint)
    scores_file.write(folder / "scores.parquet", [part])
    return str(folder)


def test_one_run_alone_is_its_base_against_its_tuned_model(tmp_path: Path) -> None:
    first, [(other, comparison)] = compare([run_folder(tmp_path / "a")])
    assert (first.model, other.model) == ("a (base)", "a (tuned)")
    assert comparison.verdict == "improved"
    assert comparison.difference == pytest.approx((other.score.spearman or 0) - (first.score.spearman or 0))


def test_two_runs_are_paired_by_their_tuned_models_without_running_them(tmp_path: Path) -> None:
    a, b = run_folder(tmp_path / "a"), run_folder(tmp_path / "b", shift=0.4)
    first, [(other, comparison)] = compare([a, f"{b}/scores.parquet"])
    assert (first.model, other.model) == ("a (tuned)", "b (tuned)")
    assert comparison.verdict == "regressed"


def test_files_of_other_rows_are_refused_even_with_the_same_numbers_and_scores(tmp_path: Path) -> None:
    a, b = run_folder(tmp_path / "a"), run_folder(tmp_path / "b", fingerprint="b" * 16)
    with pytest.raises(RequestError, match="not the same rows"):
        compare([a, b])


@pytest.mark.parametrize(
    ("names", "data", "told"),
    [
        (["a", "b"], "x.csv", "has no use"),
        (["a", "some/model"], None, "name them"),
        (["some/model"], "x.csv", "name two or more"),
        ([], None, "0 model"),
    ],
)
def test_requests_that_compare_nothing_are_refused(
    tmp_path: Path, names: list[str], data: str | None, told: str
) -> None:
    folders = {name: run_folder(tmp_path / name) for name in ("a", "b")}
    with pytest.raises(RequestError, match=told):
        compare([folders.get(name, name) for name in names], data)


def test_a_file_without_report_rows_or_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no rows with the role 'report'"):
        compare([run_folder(tmp_path / "a", role="select")])
    with pytest.raises(DataError, match="no scores file"):
        compare([str(tmp_path / "nothing.parquet")])
