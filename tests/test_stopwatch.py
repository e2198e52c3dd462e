"""Seconds of a training over its starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_simtune import stopwatch
from hf_simtune.stopwatch import FILE, Stopwatch


class Clock:
    """A time that is told."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    told = Clock()
    monkeypatch.setattr(stopwatch, "time", told)
    return told


def at(watch: Stopwatch, event: str, step: int, folder: Path) -> None:
    arguments = TrainingArguments(output_dir=str(folder), report_to="none", use_cpu=True)
    getattr(watch, event)(arguments, TrainerState(global_step=step), TrainerControl())


def test_a_resumed_training_counts_on_from_the_checkpoint_it_goes_on_from(tmp_path: Path, clock: Clock) -> None:
    scores = {"of it scores": 1.0}
    first = Stopwatch(tmp_path, lambda: scores)
    clock.now = 10.0  # loading is no training
    at(first, "on_train_begin", 0, tmp_path)
    for step, now, scored in ((5, 15.0, 2.0), (10, 21.0, 3.0)):
        clock.now, scores["of it scores"] = now, scored
        at(first, "on_save", step, tmp_path)
    clock.now = 30.0  # killed here: nine seconds after its last checkpoint, and they are done again
    scores["of it scores"] = 0.5
    second = Stopwatch(tmp_path, lambda: scores)
    second.go_on_from(10)
    clock.now = 100.0
    at(second, "on_train_begin", 10, tmp_path)
    clock.now = 104.0
    assert second.seconds() == {"train": 11.0 + 4.0, "of it scores": 3.0 + 0.5}
    at(second, "on_save", 15, tmp_path)
    third = Stopwatch(tmp_path, dict)
    third.go_on_from(15)
    assert third.seconds() == {"train": 15.0}
    assert set(json.loads((tmp_path / FILE).read_text(encoding="utf-8"))) == {"5", "10", "15"}


@pytest.mark.parametrize("content", [None, "{", '{"3": {"train": 9.0}}'])
def test_where_no_time_was_kept_only_this_start_is_counted(
    content: str | None, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    if content is not None:
        (tmp_path / FILE).write_text(content, encoding="utf-8")
    watch = Stopwatch(tmp_path, dict)
    watch.go_on_from(7)
    clock.now = 2.0
    assert watch.seconds() == {"train": 2.0}
    assert "the time that training took up to step 7 is not known" in caplog.text
    at(watch, "on_save", 8, tmp_path)
    assert json.loads((tmp_path / FILE).read_text(encoding="utf-8"))["8"] == {"train": 2.0}
