"""A watched training that is taken up again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from guarded import (
    SENTENCES,
    After,
    Weights,
    collapse,
    steps,
    trainer_of,
    warned,
)
from sentence_transformers import (
    SentenceTransformer,
)
from speeding import load, weights
from transformers import set_seed

from hf_simtune.errors import RunError
from hf_simtune.guard import KEY, CollapseGuard


def test_a_resumed_run_is_compared_with_the_same_base(folder: Path, tmp_path: Path) -> None:
    def run(out: Path, resume: str | None = None) -> tuple[CollapseGuard, SentenceTransformer]:
        set_seed(3)
        guard, model = CollapseGuard(SENTENCES, checks=3, on_collapse="stop"), load(folder)
        trainer = trainer_of(model, out, [guard], save_strategy="steps", save_steps=2)
        trainer.train(resume_from_checkpoint=resume)
        return guard, model

    whole, model = run(tmp_path / "whole")
    checkpoint = tmp_path / "whole" / "checkpoint-4"
    resumed, again = run(tmp_path / "again", str(checkpoint))
    assert resumed.history == whole.history and steps(resumed) == [0, 2, 4, 6]
    assert torch.equal(weights(model), weights(again))
    text = (checkpoint / "trainer_state.json").read_text(encoding="utf-8")
    assert len(json.loads(text)["stateful_callbacks"][KEY]["history"]) == 3
    assert not any(sentence in text for sentence in SENTENCES if len(sentence) > 20), "texts stay"


@pytest.mark.parametrize("action", ["warn", "stop"])
def test_a_run_taken_up_between_two_measurements_has_those_of_the_whole_one(
    action: str, folder: Path, tmp_path: Path
) -> None:
    def run(out: Path, resume: str | None = None) -> CollapseGuard:
        set_seed(3)
        guard = CollapseGuard(SENTENCES, checks=2, on_collapse=action)
        every_step = {"logging_strategy": "steps", "logging_steps": 1}
        trainer = trainer_of(load(folder), out, [guard], save_strategy="steps", save_steps=2, **every_step)
        trainer.train(resume_from_checkpoint=resume)
        return guard

    whole = run(tmp_path / "whole")
    again = run(tmp_path / "again", str(tmp_path / "whole" / "checkpoint-2"))
    assert steps(whole) == [0, 3, 6] and again.history == whole.history
    assert whole.history[1].gradient is not None, "the largest of steps 1 to 3, of which two were before"


def test_a_checkpoint_of_another_probe_or_of_none_gives_no_base(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"save_strategy": "steps", "save_steps": 2}
    trainer_of(load(folder), tmp_path / "a", [CollapseGuard(SENTENCES)], **options).train()
    trainer_of(load(folder), tmp_path / "b", [], **options).train()
    for name in "ab":
        caplog.clear()
        guard = CollapseGuard(SENTENCES[:25], checks=3)
        trainer = trainer_of(load(folder), tmp_path / "c", [guard], **options)
        trainer.train(resume_from_checkpoint=str(tmp_path / name / "checkpoint-4"))
        assert steps(guard) == [4, 6]
        [text] = warned(caplog)
        assert "step 4 has no measurements of this probe" in text


def test_a_run_is_not_resumed_where_it_has_collapsed(folder: Path, tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 2}
    guard = CollapseGuard(SENTENCES, checks=3)
    trainer_of(load(folder), tmp_path, [After(3, collapse), guard], **options).train()
    for action in ("stop", "warn"):
        again = CollapseGuard(SENTENCES, checks=3, on_collapse=action)
        trainer = trainer_of(load(folder), tmp_path / "again", [again], **options)
        if action == "warn":
            trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
            assert steps(again) == [0, 2, 4, 6] and again.collapsed == guard.collapsed
            continue
        with pytest.raises(RunError, match="resumed at step 4, where it is collapsed") as caught:
            trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
        assert "earlier checkpoint" in str(caught.value)


def test_a_resumed_run_goes_back_to_where_it_was_resumed_at_most(folder: Path, tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 2}
    trainer_of(load(folder), tmp_path, [CollapseGuard(SENTENCES, checks=3)], **options).train()
    guard, seen = CollapseGuard(SENTENCES, checks=3, on_collapse="stop"), Weights()
    model = load(folder)
    trainer = trainer_of(model, tmp_path / "again", [After(5, collapse), seen, guard], **options)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert guard.restored_step == 4 and torch.equal(weights(model), seen.at[4])
