"""The page over all reference runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import sample_record
import sample_ways

from hf_simtune import run_list
from hf_simtune.record import RunRecord


def timed(seconds: float, **changes: object) -> RunRecord:
    record = sample_record.improved()
    machine = dataclasses.replace(record.machine, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(record, machine=machine, training=dataclasses.replace(record.training, seconds=seconds))


def test_each_run_has_a_row_and_its_command() -> None:
    record = dataclasses.replace(
        timed(254.0, processor="Some CPU", cores=2, accelerator=None),
        created="2026-11-20T12:34:56+00:00",
        commit=f"{'0123456789abcdef' * 3:.40}+changes, resumed at {'f' * 40}",
        command="hf-simtune tune mnrl_minilm --seed 1",
    )
    other = dataclasses.replace(record, commit=None, command="hf-simtune tune other")
    found = {"mnrl_minilm": [(Path("any/1"), record)], "other": [(Path("any/42"), other)]}
    page = run_list.page(found)
    what = f"{record.base.name} | Some CPU, 2 cores | bf16 | 4 min 14 s | sentence-transformers/stsb:test"
    rows = [line for line in page.splitlines() if line.startswith("| [")]
    assert rows == [
        "| [mnrl_minilm/1](mnrl_minilm/1) | 2026-11-20 12:34 | 0123456789ab+changes, resumed at ffffffffffff "
        f"| {what} | 70.00 | 72.25 |",
        f"| [other/42](other/42) | 2026-11-20 12:34 | not known | {what} | 70.00 | 72.25 |",
    ]
    assert "```bash\nhf-simtune tune mnrl_minilm --seed 1\nhf-simtune tune other\n```\n" in page


def test_the_time_of_several_runs_is_their_median_and_machines_are_named_once() -> None:
    runs = [timed(10, accelerator=None, cores=2), timed(500, accelerator=None, cores=2), timed(70, accelerator="a GPU")]
    assert run_list.training_time(runs) == "1 min 10 s"
    processor = runs[0].machine.processor
    assert run_list.machines(runs) == f"on {processor}, 2 cores, a GPU, in bf16; on {processor}, 2 cores, in bf16"


def test_a_stand_in_and_an_untrained_base_are_called_so() -> None:
    for record in (sample_ways.splade(), sample_ways.csr()):
        page = run_list.page({"any": [(Path("any/1"), record)]})
        assert f"{record.base.untrained} untrained |" in page
        assert (f"in place of {record.base.stand_in_for}" in page) is (record.base.stand_in_for is not None)
