"""The scores that the Hub draws: which are told, and what of them."""

from __future__ import annotations

import dataclasses

import yaml
from sample_record import improved

from hf_simtune.eval_results import eval_results
from hf_simtune.record import RunRecord

STSB = "sentence-transformers/stsb"


def on_stsb(record: RunRecord, **changes: object) -> RunRecord:
    """The sample's report rows as STSb's test split."""
    report = record.report
    named = {"name": STSB, "kind": "hub", "split": "test", "part": None, "revision": "a" * 40, **changes}
    source = dataclasses.replace(report.source, **named)  # type: ignore[arg-type]
    return dataclasses.replace(
        record, evaluations=(dataclasses.replace(report, source=source), *record.evaluations[1:])
    )


def test_each_data_set_has_a_file_with_what_was_scored() -> None:
    record = on_stsb(improved())
    files = eval_results(record, "me/model")
    assert ".eval_results/simtune-stsb.yaml" in files
    entry = yaml.safe_load(files[".eval_results/simtune-stsb.yaml"])[0]
    assert entry["dataset"] == {"id": STSB, "task_id": record.report.source.config or "default", "revision": "a" * 40}
    assert entry["value"] == record.report.tuned.spearman
    assert entry["source"]["url"] == "https://huggingface.co/me/model/blob/main/record.json"
    assert f"split test, {record.report.tuned.n} rows; the base has " in entry["notes"]


def test_rows_that_chose_and_parts_and_files_and_stand_ins_are_not_told() -> None:
    record = improved()
    entries = [entry for text in eval_results(on_stsb(record), "me/model").values() for entry in yaml.safe_load(text)]
    assert len(entries) == sum(one.role != "select" for one in on_stsb(record).evaluations if one.source.kind == "hub")
    for change in ({"part": "10 % of the file"}, {"kind": "file", "name": "rows.csv"}):
        alone = on_stsb(dataclasses.replace(record, evaluations=record.evaluations[:1]), **change)
        assert eval_results(alone, "me/model") == {}
    stand_in = dataclasses.replace(record.base, stand_in_for="naver/splade")
    assert eval_results(dataclasses.replace(on_stsb(record), base=stand_in), "me/model") == {}


def test_a_copy_of_a_known_data_set_is_told_without_a_revision() -> None:
    record = on_stsb(improved(), kind="local copy", revision=None)
    entry = yaml.safe_load(eval_results(record, "me/model")[".eval_results/simtune-stsb.yaml"])[0]
    assert "revision" not in entry["dataset"]
