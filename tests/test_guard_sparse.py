"""Sparse models that die or turn dense while they are trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from guarded import (
    SENTENCES,
    STEPS,
    After,
    Weights,
    sparse_trainer_of,
    splade_loss,
    warned,
)
from sentence_transformers import (
    SparseEncoder,
)
from sentence_transformers.sparse_encoder import losses as sparse_losses
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder
from speeding import load, weights
from torch import nn
from transformers import set_seed

from hf_simtune.guard import CollapseGuard


def test_a_sparse_model_that_dies_is_found_and_brought_back(
    splade: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def die(model: nn.Module, control: Any) -> None:
        with torch.no_grad():
            model[0].auto_model.cls.predictions.bias.fill_(-1e4)

    model = SparseEncoder(str(splade), device="cpu")
    guard, seen = CollapseGuard(SENTENCES, checks=STEPS, on_collapse="stop"), Weights()
    sparse_trainer_of(model, tmp_path, [After(3, die), seen, guard], splade_loss(model)).train()
    found = guard.collapsed
    assert found is not None and found.step == 3 and "dead" in found.findings and found.active_dimensions == 0
    assert guard.restored_step == 2 and torch.equal(weights(model), seen.at[2])
    assert any("step 3: the sparse embeddings are dead: 0.0 (" in text for text in warned(caplog))


def test_a_sparse_model_that_turns_dense_is_found(
    splade: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def bias(value: float) -> Callable[[nn.Module, Any], None]:
        def act(model: nn.Module, control: Any = None) -> None:
            with torch.no_grad():
                model[0].auto_model.cls.predictions.bias.fill_(value)

        return act

    model = SparseEncoder(str(splade), device="cpu")
    spread = model.encode(SENTENCES, convert_to_sparse_tensor=False)
    bias(-float(torch.expm1(spread).quantile(0.97)))(model, None)
    guard = CollapseGuard(SENTENCES, checks=STEPS)
    sparse_trainer_of(model, tmp_path, [After(4, bias(1e3)), guard], splade_loss(model)).train()
    base = guard.history[0]
    assert base.sparsity is not None and base.sparsity > 0.5 and "dense" not in base.findings
    assert guard.collapsed is not None and guard.collapsed.step == 4 and "dense" in guard.collapsed.findings
    assert any("step 4: the embeddings are not sparse" in text for text in warned(caplog))


def test_a_base_that_is_dense_itself_is_told_once_and_not_stopped(
    splade: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = SparseEncoder(str(splade), device="cpu")
    guard = CollapseGuard(SENTENCES, checks=2, on_collapse="stop")
    trainer = sparse_trainer_of(model, tmp_path, [guard], splade_loss(model))
    trainer.train()
    share = guard.history[0].sparsity
    assert share is not None and share < 0.5, "the tiny model is no such base"
    assert trainer.state.global_step == STEPS and guard.collapsed is None
    assert len([text for text in warned(caplog) if "sparse" in text]) == 1


def test_a_sparse_autoencoder_counts_its_dead_latents_as_without(folder: Path, tmp_path: Path) -> None:
    found = []
    for guards in ([], [CollapseGuard(SENTENCES, checks=STEPS)]):
        set_seed(2)
        dense = load(folder)
        latents = SparseAutoEncoder(input_dim=32, hidden_dim=64, k=4, k_aux=8)
        model = SparseEncoder(modules=[*dense, latents], device="cpu")
        loss = sparse_losses.CSRLoss(model, loss=sparse_losses.SparseMultipleNegativesRankingLoss(model))
        sparse_trainer_of(model, tmp_path, guards, loss).train()
        found.append((weights(model), latents.stats_last_nonzero.clone()))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    assert int(found[0][1].max()) > 0
    assert all(entry.active_dimensions is not None and entry.active_dimensions <= 4 for entry in guards[0].history)
