"""The guard on a real model: silent where training goes well, and not where it is made to collapse."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.sentence_transformer import SentenceTransformerTrainingArguments, losses
from speeding import weights
from torch import nn

from hf_simtune.data.load import load
from hf_simtune.evaluation import geometry
from hf_simtune.guard import CollapseGuard

pytestmark = pytest.mark.slow

BATCH = 8


def probe() -> list[str]:
    """Sentences that are not trained on."""
    return list(dict.fromkeys(load("builtin:sports/scored:test").dataset["sentence1"]))[:32]


def rows(count: int) -> Dataset:
    found = load("builtin:sports/scored:train").dataset.shuffle(seed=1)
    return found.select_columns(["sentence1", "sentence2", "score"]).select(range(count))


def run(
    folder: Path, out: Path, guard: CollapseGuard, loss: type[nn.Module], data: Dataset, rate: float
) -> tuple[SentenceTransformer, Any]:
    model = SentenceTransformer(str(folder), device="cpu")
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(out),
        use_cpu=True,
        num_train_epochs=1,
        per_device_train_batch_size=BATCH,
        learning_rate=rate,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=data, loss=loss(model), callbacks=[guard]
    )
    trainer.train()
    return model, trainer.state


def test_a_healthy_run_is_silent(minilm: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    guard = CollapseGuard(probe(), checks=2)
    with caplog.at_level(logging.WARNING, logger="hf_simtune"):
        model, state = run(minilm, tmp_path, guard, losses.CoSENTLoss, rows(8 * BATCH), 2e-5)
    assert not torch.equal(weights(model), weights(SentenceTransformer(str(minilm), device="cpu")))
    assert [entry.step for entry in guard.history] == [0, 4, 8] and state.global_step == 8
    assert all(entry.findings == () for entry in guard.history) and guard.collapsed is None
    assert not [record for record in caplog.records if record.name == "hf_simtune"]


def test_constant_labels_collapse_it_and_stop_brings_it_back(
    minilm: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # All-MiniLM tuned so as to call every two sentences the same: sentence-transformers issue #3469, provoked.
    data = rows(12 * BATCH).remove_columns("score").add_column("score", [1.0] * 12 * BATCH)
    guard = CollapseGuard(probe(), checks=6, on_collapse="stop")
    model, state = run(minilm, tmp_path, guard, losses.CosineSimilarityLoss, data, 1e-3)
    found = guard.collapsed
    assert found is not None and found.step == state.global_step < 12
    assert found.anisotropy is not None and found.anisotropy >= 0.9 and "collapsed" in found.findings
    assert any("the embeddings have collapsed" in record.getMessage() for record in caplog.records)
    kept = next(entry for entry in guard.history if entry.step == guard.restored_step)
    assert kept.step < found.step and "collapsed" not in kept.findings
    now = geometry.measure(model.encode(probe()))
    assert now.anisotropy == pytest.approx(kept.anisotropy, abs=1e-5) and now.anisotropy < 0.9
    assert now.effective_rank == pytest.approx(kept.effective_rank, rel=1e-4)
