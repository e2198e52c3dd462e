"""A dense model that collapses while it is trained: told once, and with ``stop`` brought back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from guarded import (
    SENTENCES,
    STEPS,
    After,
    Weights,
    broken,
    collapse,
    rows,
    steps,
    trainer_of,
    warned,
)
from peft import LoraConfig, TaskType
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
)
from sentence_transformers.sentence_transformer import losses
from speeding import load, weights
from torch import nn
from transformers import TrainerCallback

from hf_simtune.evaluation import geometry
from hf_simtune.guard import CollapseGuard


def test_a_collapse_is_told_once_and_changes_nothing(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guard, seen = CollapseGuard(SENTENCES, checks=STEPS), Weights()
    model = load(folder)
    trainer_of(model, tmp_path, [After(3, collapse), seen, guard]).train()
    assert steps(guard) == list(range(STEPS + 1))
    assert [entry.findings for entry in guard.history[:3]] == [()] * 3
    assert all("collapsed" in entry.findings for entry in guard.history[3:])
    assert guard.collapsed is guard.history[3]
    [text] = warned(caplog)
    base, now = guard.history[0], guard.history[3]
    assert text.startswith("step 3: the embeddings have collapsed: ")
    assert f"a cosine of {now.anisotropy:.2f} on average ({base.anisotropy:.2f} before training)" in text
    assert "learning rate" in text and "epochs" in text
    assert guard.restored_step is None and torch.equal(weights(model), seen.at[STEPS])


def test_training_itself_can_collapse_a_model(folder: Path, tmp_path: Path) -> None:
    guard = CollapseGuard(SENTENCES, checks=8, on_collapse="stop")
    model = load(folder)
    options = {"loss": losses.CosineSimilarityLoss, "learning_rate": 0.02, "max_steps": 80}
    trainer = trainer_of(model, tmp_path, [guard], rows(1.0), **options)
    trainer.train()
    assert guard.collapsed is not None and trainer.state.global_step == guard.collapsed.step < 80
    assert guard.restored_step is not None and guard.restored_step < guard.collapsed.step
    kept = next(entry for entry in guard.history if entry.step == guard.restored_step)
    assert geometry.measure(model.encode(SENTENCES)).mean == pytest.approx(kept.anisotropy, abs=1e-6)


@pytest.mark.parametrize("step", [1, 4, STEPS])
def test_stop_goes_back_to_the_last_healthy_weights(
    step: int, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guard, seen = CollapseGuard(SENTENCES, checks=3, on_collapse="stop"), Weights()
    model = load(folder)
    options = {"save_strategy": "steps", "save_steps": 2}
    trainer = trainer_of(model, tmp_path, [After(step, collapse), seen, guard], **options)
    trainer.train()
    stopped = step + step % 2  # it looks at steps 2, 4 and 6
    assert trainer.state.global_step == stopped and guard.collapsed is guard.history[-1]
    assert steps(guard) == list(range(0, stopped + 1, 2))
    assert guard.restored_step == stopped - 2
    assert torch.equal(weights(model), seen.at[stopped - 2])
    assert not torch.equal(weights(model), seen.at[stopped])
    assert warned(caplog)[-1] == f"the weights of step {stopped - 2}, the last healthy ones, are back"
    saved = {path.name for path in tmp_path.glob("checkpoint-*")}
    assert saved == {f"checkpoint-{number}" for number in range(2, stopped, 2)}


def test_stop_saves_no_collapsed_end(folder: Path, tmp_path: Path) -> None:
    # The last step is saved before the evaluation at the end of its epoch.
    guard, seen = CollapseGuard(SENTENCES, on_collapse="stop"), Weights()
    model = load(folder)
    options = {"eval_strategy": "epoch", "save_strategy": "steps", "save_steps": 100}
    trainer_of(model, tmp_path, [After(5, collapse), seen, guard], **options).train()
    assert steps(guard) == [0, 6] and guard.restored_step == 0 and torch.equal(weights(model), seen.at[0])
    assert not list(tmp_path.glob("checkpoint-*"))


@pytest.mark.parametrize("strategy", ["steps", "epoch"])
def test_stop_at_an_evaluation_saves_no_collapsed_checkpoint(strategy: str, folder: Path, tmp_path: Path) -> None:
    guard, seen = CollapseGuard(SENTENCES, on_collapse="stop"), Weights()
    model = load(folder)
    options = {"eval_strategy": strategy, "save_strategy": strategy, "eval_steps": 3, "save_steps": 3}
    halves = {"max_steps": -1, "num_train_epochs": 3}  # of 6 steps each
    trainer = trainer_of(model, tmp_path, [After(8, collapse), seen, guard], **options, **halves)
    trainer.train()
    healthy, stopped = (6, 9) if strategy == "steps" else (6, 12)
    assert trainer.state.global_step == stopped
    assert torch.equal(weights(model), seen.at[healthy])
    assert not (tmp_path / f"checkpoint-{stopped}").exists() and (tmp_path / f"checkpoint-{healthy}").is_dir()


def best(model: SentenceTransformer, out: Path, callbacks: list[Any], **options: Any) -> SentenceTransformerTrainer:
    """A run that is evaluated at each step and returns with its best checkpoint."""
    settings = {
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": True,
        **options,
    }
    return trainer_of(model, out, callbacks, **settings)


class Scores(TrainerCallback):
    """Puts a score in the place of the evaluation loss: 0, or what is said for the step."""

    def __init__(self, scores: dict[int, float]) -> None:
        self.scores = scores

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        kwargs["metrics"]["eval_loss"] = self.scores.get(state.global_step, 0.0)


def test_a_healthy_best_checkpoint_is_left_alone(folder: Path, tmp_path: Path) -> None:
    guard, seen = CollapseGuard(SENTENCES, on_collapse="stop"), Weights()
    model = load(folder)
    best(model, tmp_path, [After(4, collapse), seen, Scores({2: 1.0}), guard]).train()
    assert steps(guard) == [0, 1, 2, 3, 4] and guard.collapsed is not None
    assert guard.restored_step is None and torch.equal(weights(model), seen.at[2])


def test_a_best_checkpoint_that_was_lost_is_not_relied_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The library logs a failed restore and goes on with the weights that are there.
    guard, seen = CollapseGuard(SENTENCES, on_collapse="stop"), Weights()
    model = load(folder)
    trainer = best(model, tmp_path, [After(4, collapse), seen, Scores({2: 1.0}), guard])
    monkeypatch.setattr(trainer, "_load_best_model", lambda: None)
    trainer.train()
    assert guard.restored_step == 3 and torch.equal(weights(model), seen.at[3])


def test_a_collapsed_best_checkpoint_is_replaced(folder: Path, tmp_path: Path) -> None:
    guard, seen = CollapseGuard(SENTENCES, on_collapse="stop"), Weights()
    model = load(folder)
    scores = Scores({2: 0.5, 4: 1.0})
    trainer = best(model, tmp_path, [After(4, collapse), seen, scores, guard], save_strategy="best")
    trainer.train()
    saved = tmp_path / "checkpoint-4"  # with this strategy the trainer decides after the guard has spoken
    assert saved.is_dir() and trainer.state.best_model_checkpoint == str(saved)
    assert guard.restored_step == 3 and torch.equal(weights(model), seen.at[3])


@pytest.mark.parametrize("on_collapse", ["warn", "stop"])
def test_weights_that_are_no_numbers_are_a_finding(
    on_collapse: str, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guard, seen = CollapseGuard(SENTENCES, checks=STEPS, on_collapse=on_collapse), Weights()
    model = load(folder)
    trainer_of(model, tmp_path, [After(2, broken), seen, guard]).train()
    found = guard.collapsed
    assert found is not None and found.step == 2 and found.findings == ("undefined",)
    assert found.undefined == len(SENTENCES) and found.anisotropy is None
    json.dumps([dataclasses.asdict(entry) for entry in guard.history], allow_nan=False)
    assert "30 of 30 sentences have a vector that is zero or not finite" in warned(caplog)[0]
    if on_collapse == "stop":
        assert guard.restored_step == 1 and torch.equal(weights(model), seen.at[1])
        assert bool(torch.isfinite(weights(model)).all())


def test_a_base_that_is_broken_is_told_and_not_stopped(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = load(folder)
    broken(model)
    guard = CollapseGuard(SENTENCES, checks=2, on_collapse="stop")
    trainer = trainer_of(model, tmp_path, [guard])
    trainer.train()
    assert trainer.state.global_step == STEPS and guard.collapsed is None
    assert [entry.findings for entry in guard.history] == [("undefined",)] * 3 and len(warned(caplog)) == 1


def test_only_what_an_adapter_trains_is_kept_and_put_back(folder: Path, tmp_path: Path) -> None:
    def blow(model: nn.Module, control: Any) -> None:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.fill_(float("nan"))

    model = load(folder)
    model.add_adapter(LoraConfig(task_type=TaskType.FEATURE_EXTRACTION, r=2, target_modules=["query", "value"]))
    guard, seen = CollapseGuard(SENTENCES, checks=STEPS, on_collapse="stop"), Weights()
    sizes = []

    class Sizes(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            assert guard._healthy is not None
            sizes.append(set(guard._healthy[1]))

    trainer_of(model, tmp_path, [After(4, blow), seen, Sizes(), guard]).train()
    assert guard.restored_step == 3 and torch.equal(weights(model), seen.at[3])
    assert not torch.equal(seen.at[3], seen.at[0])
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained and all("lora" in name for name in trained)
    buffers = {name for name, _ in model.named_buffers()}
    assert all(names == trained | buffers for names in sizes)


def test_warn_keeps_no_copy(folder: Path, tmp_path: Path) -> None:
    kept = []
    guard = CollapseGuard(SENTENCES, checks=STEPS)
    look = After(3, lambda model, control: kept.append(guard._healthy))
    trainer_of(load(folder), tmp_path, [look, guard]).train()
    assert kept == [None]
