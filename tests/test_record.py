from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from sample_record import improved

from hf_simtune.errors import RunError
from hf_simtune.record import RunRecord


def test_a_record_comes_back_from_json_as_it_was(tmp_path: Path) -> None:
    record = improved()
    record.save(tmp_path / "record.json")
    assert RunRecord.load(tmp_path / "record.json") == record
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_a_figure_that_is_not_a_number_is_never_written(tmp_path: Path) -> None:
    record = improved()
    broken = dataclasses.replace(record, training=dataclasses.replace(record.training, final_loss=float("nan")))
    with pytest.raises(RunError, match=r"training\.final_loss"):
        broken.save(tmp_path / "record.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 99}, "format 99"),
        ({"extra": 1}, "unknown fields of RunRecord: extra"),
        ({"training": 3}, "not a run record"),
    ],
)
def test_a_file_that_is_no_record_is_refused_in_a_sentence(
    tmp_path: Path, change: dict[str, object], told: str
) -> None:
    path = tmp_path / "record.json"
    improved().save(path)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(RunError, match=told):
        RunRecord.load(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match="not a run record"):
        RunRecord.load(path)


def test_the_primary_comparison_is_the_one_reported_on() -> None:
    record = improved()
    assert record.report.role == "report"
    assert record.report.comparison is not None
    assert record.verdict == record.report.comparison.verdict
