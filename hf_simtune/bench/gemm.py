"""How fast this machine multiplies matrices as large as a model's own: what a training step is held against."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

__all__ = ["rate", "shapes"]


def shapes(model: torch.nn.Module) -> list[tuple[int, int]]:
    """The model's weight matrices that every token is multiplied with; look-ups and heads of single tokens are none."""
    return [
        (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "pooler" not in name
    ]


def rate(
    shapes: Sequence[tuple[int, int]], tokens: int, dtype: torch.dtype, device: str | torch.device = "cpu"
) -> float:
    """GFLOP/s of the forward products of a model on so many tokens, with nothing else in between.

    The best of four passes: what the machine can do, not what it did while something else ran.
    """
    inputs = {width: torch.randn(tokens, width, device=device).to(dtype) for _, width in shapes}
    weights = {shape: torch.randn(shape, device=device).to(dtype) for shape in shapes}
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        for shape in shapes:
            torch.mm(inputs[shape[1]], weights[shape].t())
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return sum(2 * tokens * left * right for left, right in shapes) / best / 1e9
