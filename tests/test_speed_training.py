from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from distributed import pairs
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.sentence_transformer import SentenceTransformerTrainingArguments, losses
from speeding import CLOSE, load, relative, set_dropout, weights
from tiny import tiny_model
from torch import nn
from transformers import TrainerCallback, set_seed

from hf_simtune.evaluation.sts import similarities
from hf_simtune.speed.dropout import Dropout
from hf_simtune.speed.forward import METHODS, SortedForward, sorted_forward


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def rows() -> Dataset:
    found = pairs().rename_columns({"anchor": "sentence1", "positive": "sentence2"})
    return found.add_column("score", [i / len(found) for i in range(len(found))])


def trainer_of(
    model: SentenceTransformer, loss: nn.Module, out: Path, data: Dataset, **options: Any
) -> SentenceTransformerTrainer:
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(out),
        use_cpu=True,
        lr_scheduler_type="constant",
        per_device_train_batch_size=8,
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
        dataloader_pin_memory=False,
        **{"optim": "sgd", "learning_rate": 0.05, "max_steps": 3, "save_strategy": "no", **options},
    )
    held_out = data if arguments.eval_strategy != "no" else None
    return SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, eval_dataset=held_out, loss=loss)


LOSSES: dict[str, Any] = {
    "mnrl": losses.MultipleNegativesRankingLoss,
    "cosent": losses.CoSENTLoss,
    "matryoshka": lambda model: losses.MatryoshkaLoss(model, losses.CoSENTLoss(model), [32, 16, 8]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_training_ends_with_the_plain_weights(name: str, folder: Path, tmp_path: Path) -> None:
    found = {}
    for method in ("plain", *METHODS):
        model = load(folder)
        set_dropout(model, 0.0)
        loss = LOSSES[name](model)
        data = pairs() if name == "mnrl" else rows()
        trainer = trainer_of(model, loss, tmp_path, data, gradient_accumulation_steps=2)
        with sorted_forward(model, trainer.loss, method):
            trainer.train()
        assert trainer.state.global_step == 3
        found[method] = weights(model)
    base = weights(load(folder))
    assert relative(found["plain"], base) > 1e-3, "nothing was learned"
    for method in METHODS:
        assert relative(found[method], found["plain"]) <= CLOSE
        assert relative(found[method] - base, found["plain"] - base) <= 1e-4, "the steps themselves"


class Watching(losses.CoSENTLoss):
    """Notes what it gets."""

    def compute_loss_from_embeddings(self, embeddings: list[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        self.dtypes = getattr(self, "dtypes", set()) | {embedding.dtype for embedding in embeddings}
        return super().compute_loss_from_embeddings(embeddings, labels)


class Scoring(TrainerCallback):
    """Scores the model that is trained after the last step, as an evaluator does."""

    def __init__(self, model: SentenceTransformer) -> None:
        self.model = model

    def on_train_end(self, *given: Any, **options: Any) -> None:
        self.model.eval()
        self.plain = self.model.encode(["A ball."], show_progress_bar=False)
        self.scores = similarities(self.model, rows())
        self.forward = self.model.__dict__.get("_original_forward")


@pytest.mark.parametrize("method", METHODS)
def test_a_bf16_run_leaves_the_model_as_it_found_it(method: str, folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    model.preprocess(["A ball.", "go"])  # the tokenizer notes in its own file how it last padded
    model.save_pretrained(str(tmp_path / "before"), create_model_card=False)
    kinds = [type(module) for module in model.modules()]
    attention = model[0].auto_model.config._attn_implementation
    loss = Watching(model)
    trainer = trainer_of(model, loss, tmp_path / "trainer", rows(), bf16=True)
    scoring = Scoring(model)
    trainer.add_callback(scoring)
    with sorted_forward(model, trainer.loss, method):
        assert any(type(module) is Dropout for module in model.modules())
        trainer.train()
        assert model.__dict__["forward"] is not model.__dict__["_original_forward"], "accelerate did not wrap it"
        assert trainer.accelerator.unwrap_model(model) is model
    assert trainer.loss.dtypes == {torch.float32}
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(logged) == 3 and all(math.isfinite(value) for value in logged)
    assert isinstance(scoring.forward, SortedForward)
    assert similarities(model, rows()) == pytest.approx(scoring.scores, abs=0)
    assert "forward" not in model.__dict__ and "_original_forward" not in model.__dict__
    assert model.forward.__func__ is SentenceTransformer.forward
    assert not trainer.loss._forward_hooks and not trainer.loss._forward_pre_hooks
    assert [type(module) for module in model.modules()] == kinds
    assert model[0].auto_model.config._attn_implementation == attention
    model.save_pretrained(str(tmp_path / "after"), create_model_card=False)
    for path in sorted((tmp_path / "before").rglob("*")):
        if path.is_file() and path.suffix != ".safetensors":
            assert (tmp_path / "after" / path.relative_to(tmp_path / "before")).read_bytes() == path.read_bytes()
    assert not torch.equal(weights(model), weights(load(folder)))


@pytest.mark.parametrize("method", METHODS)
def test_a_model_unwrapped_without_its_fp32_wrapper_still_embeds_and_is_given_back(
    method: str, folder: Path, tmp_path: Path
) -> None:
    # accelerate then binds the forward it found to the model once more.
    model = load(folder)
    trainer = trainer_of(model, losses.CoSENTLoss(model), tmp_path, rows(), bf16=True)
    with sorted_forward(model, trainer.loss, method):
        trainer.train()
        model.eval()
        wanted = similarities(model, rows())
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        assert similarities(model, rows()) == pytest.approx(wanted, abs=0)
    assert "forward" not in model.__dict__
    assert similarities(model, rows()) == pytest.approx(wanted, abs=0)


@pytest.mark.parametrize("method", METHODS)
def test_checkpoints_and_evaluation_losses_go_on_as_plainly(method: str, folder: Path, tmp_path: Path) -> None:
    def run(kind: str) -> list[dict[str, float]]:
        model = load(folder)
        set_dropout(model, 0.0)
        options = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
        trainer = trainer_of(model, losses.CoSENTLoss(model), tmp_path / kind, rows(), **options)
        with sorted_forward(model, trainer.loss, kind):
            trainer.train()
        saved = load(tmp_path / kind / "checkpoint-3")
        assert torch.equal(weights(saved), weights(model))
        assert "hf_simtune" not in (tmp_path / kind / "checkpoint-3" / "config.json").read_text(encoding="utf-8")
        return [entry for entry in trainer.state.log_history if "eval_loss" in entry]

    found, wanted = run(method), run("plain")
    assert len(found) == 3
    assert [e["eval_loss"] for e in found] == pytest.approx([e["eval_loss"] for e in wanted], rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_repeats_the_masks_of_the_whole_one(method: str, folder: Path, tmp_path: Path) -> None:
    def run(out: Path, resume: str | None = None, steps: int = 4) -> SentenceTransformer:
        set_seed(3)
        model = load(folder)
        options = {"save_strategy": "steps", "save_steps": 2, "max_steps": steps, "optim": "adamw_torch"}
        trainer = trainer_of(model, losses.CoSENTLoss(model), out, rows(), **{**options, "learning_rate": 1e-3})
        with sorted_forward(model, trainer.loss, method):
            trainer.train(resume_from_checkpoint=resume)
        return model

    whole = run(tmp_path / "whole")
    resumed = run(tmp_path / "again", str(tmp_path / "whole" / "checkpoint-2"))
    assert torch.equal(weights(whole), weights(resumed))
