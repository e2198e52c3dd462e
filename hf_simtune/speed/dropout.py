"""Dropout with the same distribution and cheaper random numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Dropout", "drop", "fast_dropout", "keep_mask", "plain_dropout"]

LEVELS = 2**16  # a mask entry is decided by 16 random bits
LOWEST = -(2**63)


def keep_mask(shape: torch.Size | tuple[int, ...], p: float, device: torch.device) -> tuple[Tensor, float]:
    """Which entries stay, and what they are multiplied by.

    Four entries are decided by one 64-bit draw of torch's own generator, so that a resumed run repeats them; drawing
    each from a Bernoulli distribution takes longer on a CPU. ``p`` is rounded to a multiple of
    1/65536, and the factor belongs to the rounded value: the expectation stays exact.

    Returns:
        A boolean tensor of the shape, true with probability 1 - p, and 1 / (1 - p).
    """
    dropped = round(p * LEVELS)
    if dropped == LEVELS:  # its threshold is no 16-bit number, and a comparison with it is true everywhere
        return torch.zeros(shape, dtype=torch.bool, device=device), 1.0
    count = 1
    for size in shape:
        count *= size
    draws = torch.empty((count + 3) // 4, dtype=torch.int64, device=device).random_(LOWEST, None)
    mask = draws.view(torch.int16)[:count].view(shape) >= dropped - LEVELS // 2
    return mask, LEVELS / (LEVELS - dropped)


class _Drop(torch.autograd.Function):
    """Keeps one byte per entry for the way back, where torch's own keeps a number."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: Tensor, p: float) -> Tensor:
        mask, factor = keep_mask(values.shape, p, values.device)
        ctx.save_for_backward(mask)
        ctx.factor = factor  # type: ignore[attr-defined]
        return (values * mask).mul_(factor)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return (gradient * mask).mul_(ctx.factor), None  # type: ignore[attr-defined]


def drop(values: Tensor, p: float) -> Tensor:
    """Dropout (Srivastava et al. 2014) of a share ``p`` of the values, the others scaled up."""
    dropped: Tensor = _Drop.apply(values, p)  # type: ignore[no-untyped-call]
    return dropped


class Dropout(nn.Dropout):
    """``nn.Dropout`` with :func:`drop`; without parameters, so a model's state is the same with either."""

    def forward(self, input: Tensor) -> Tensor:
        """The input with entries dropped in training, itself otherwise."""
        if not self.training or self.p == 0.0 or self.p == 1.0 or input.device.type != "cpu":
            return super().forward(input)
        return drop(input, self.p)


def fast_dropout(model: nn.Module) -> int:
    """Let every plain ``nn.Dropout`` of the model draw its masks the cheaper way; returns how many."""
    return _swap(model, nn.Dropout, Dropout)


def plain_dropout(model: nn.Module) -> int:
    """Undo :func:`fast_dropout`."""
    return _swap(model, Dropout, nn.Dropout)


def _swap(model: nn.Module, old: type[nn.Dropout], new: type[nn.Dropout]) -> int:
    found = [module for module in model.modules() if type(module) is old and not module.inplace]
    for module in found:
        module.__class__ = new
    return len(found)
