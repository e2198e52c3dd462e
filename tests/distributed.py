"""A training run of a few steps, in one process or as one of several under torchrun: arguments MODEL OUT."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import SentenceTransformerTrainingArguments, losses
from torch import nn

from hf_simtune.speed.forward import sorted_forward
from hf_simtune.trainers import DenseTrainer

__all__ = ["CASES", "GLOBAL_BATCH", "pairs", "train"]

GLOBAL_BATCH = 12
CASES = ("plain", "packed", "chunked", "hidden")


class Hidden(nn.Module):
    """Shows no model, so that the trainer cannot give it the wrapped one."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, features: Any, labels: Any) -> torch.Tensor:
        value: torch.Tensor = self.loss(features, labels)
        return value


def pairs() -> Dataset:
    """Pairs of texts of very different lengths."""
    words = [
        "the",
        "old",
        "dog",
        "slept",
        "in",
        "a",
        "small",
        "house",
        "by",
        "river",
        "and",
        "ball",
        "game",
        "was",
        "won",
        "on",
        "sunday",
        "after",
        "rain",
    ]
    texts = [" ".join(words[(i * 7 + j * 3) % len(words)] for j in range(1 + (i * i) % 23)) for i in range(96)]
    return Dataset.from_dict({"anchor": texts[:48], "positive": texts[48:]})


def train(case: str, folder: Path, out: Path, processes: int) -> DenseTrainer:
    """Train by a case in this process, one of so many."""
    model = SentenceTransformer(str(folder), device="cpu")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    loss: nn.Module = losses.MultipleNegativesRankingLoss(model, gather_across_devices=processes > 1)
    if case == "hidden":
        loss = Hidden(loss)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(out),
        use_cpu=True,
        optim="sgd",
        learning_rate=0.05,
        lr_scheduler_type="constant",
        max_steps=4,
        per_device_train_batch_size=GLOBAL_BATCH // processes,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = DenseTrainer(model=model, args=arguments, train_dataset=pairs(), loss=loss)
    with sorted_forward(model, trainer.loss, "packed" if case == "hidden" else case):
        trainer.train()
    return trainer


def main(folder: Path, out: Path) -> None:
    """Every case; each rank leaves its weights and what it saw."""
    torch.set_num_threads(1)
    for case in CASES:
        trainer = train(case, folder, out / "trainer", int(os.environ["WORLD_SIZE"]))
        rank = trainer.accelerator.process_index
        torch.save(trainer.model.state_dict(), out / f"{case}-{rank}.pt")
        facts = {
            "processes": torch.distributed.get_world_size(),
            "backend": torch.distributed.get_backend(),
            "wrapped": type(trainer.model_wrapped).__name__,
            "in the loss": type(getattr(trainer.loss, "model", None)).__name__,
        }
        (out / f"{case}-{rank}.json").write_text(json.dumps(facts), encoding="utf-8")
    torch.distributed.barrier()
    # All is written. To take the process group down has been seen to wait for ever.
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
