"""What the tests of the forward passes share: batches by length, gradients of a loss, distances."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, SparseEncoder
from torch import Tensor, nn

from hf_simtune.speed.dropout import Dropout
from hf_simtune.speed.forward import sorted_forward

__all__ = ["CLOSE", "TEXTS", "columns", "gradients", "load", "relative", "set_dropout", "untouched", "weights"]

CLOSE = 1e-5
TEXTS = [
    "A ball.",
    "The old woman played the piano in the small house by the river, and the dog slept the whole night.",
    "go",
    "They won the last match of the season after three late goals, said the coach on sunday.",
    "A cat sleeps.",
    "A cat sleeps.",
    "Police closed the road to the station.",
    "",
]


def load(folder: Path) -> SentenceTransformer:
    """A saved model on the CPU."""
    return SentenceTransformer(str(folder), device="cpu")


def set_dropout(model: nn.Module, p: float) -> None:
    """Give every dropout module, the attention's as well, this rate."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = p


def columns(lengths: Sequence[Sequence[int]], seed: int = 0, words: int = 300) -> list[dict[str, Any]]:
    """Columns of random token numbers as the collator makes them: rows of these lengths, padded behind."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for column in lengths:
        ids = torch.randint(5, words, (len(column), max(column)), generator=generator)
        mask = (torch.arange(max(column)) < torch.tensor(column)[:, None]).long()
        found.append(
            {
                "input_ids": ids * mask,
                "token_type_ids": torch.randint(0, 2, ids.shape, generator=generator) * mask,
                "attention_mask": mask,
                "modality": "text",
            }
        )
    return found


def gradients(
    model: SentenceTransformer | SparseEncoder,
    loss: nn.Module,
    batch: list[dict[str, Any]],
    labels: Tensor | None,
    method: str,
) -> tuple[Tensor, Tensor]:
    """The loss of a batch and all its gradients end to end; a parameter without one counts as zero."""
    model.train()
    model.zero_grad(set_to_none=True)
    with ExitStack() as stack:
        stack.enter_context(sorted_forward(model, loss, method))
        value = loss([dict(features) for features in batch], labels)
        value = sum(value.values()) if isinstance(value, dict) else value
        value.backward()
    found = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters() if p.requires_grad]
    return value.detach(), torch.cat([gradient.flatten() for gradient in found])


def weights(model: nn.Module) -> Tensor:
    """All parameters end to end."""
    return torch.cat([parameter.detach().flatten().clone() for parameter in model.parameters()])


def relative(found: Tensor, wanted: Tensor) -> float:
    """Norm of the difference over the norm."""
    found, wanted = found.detach().double(), wanted.detach().double()
    return float((found - wanted).norm() / wanted.norm())


def untouched(model: nn.Module, loss: nn.Module) -> bool:
    """Whether nothing of a forward pass is left in the model or its loss."""
    modules = list(model.modules())
    hooks = [*loss._forward_hooks, *loss._forward_pre_hooks, *loss._forward_hooks_always_called]
    swapped = [module for module in modules if type(module) is Dropout]
    # A plain Matryoshka loss leaves the class's own forward bound to the model.
    own = getattr(model.forward, "__func__", None) is type(model).forward and "_original_forward" not in model.__dict__
    return own and not hooks and not swapped
