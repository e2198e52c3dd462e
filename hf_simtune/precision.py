"""Which number format the training step uses, decided once per run."""

from __future__ import annotations

import time

import torch

from hf_simtune.errors import RequestError

__all__ = ["decide"]


def decide(requested: str) -> tuple[str, str]:
    """``fp32``, ``bf16`` or ``fp16``, and why.

    ``auto`` trusts a measurement, not a processor's name: bf16 where a matrix product of the size that a small encoder
    does is at least 1.5 times as fast in it. Weights stay in fp32; only the training forward is cast.

    Raises:
        RequestError: fp16 without a GPU.
    """
    if requested == "fp16" and not torch.cuda.is_available():
        raise RequestError(
            "--precision fp16 needs a CUDA GPU, and there is none: the libraries would train in fp32 without a word",
            hint="Take --precision auto, bf16 or fp32",
        )
    if requested != "auto":
        return requested, "as asked for"
    if torch.cuda.is_available():
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU computes bf16 natively"
        return "fp16", "the GPU has no native bf16"
    if torch.backends.mps.is_available():
        return "fp32", "the safe choice on Apple's GPUs"
    ratio = _seconds(torch.float32) / _seconds(torch.bfloat16)
    if ratio >= 1.5:
        return "bf16", f"a probe found bf16 products {ratio:.1f} times as fast as fp32 on this processor"
    return "fp32", f"a probe found bf16 products only {ratio:.1f} times as fast as fp32 on this processor"


def _seconds(dtype: torch.dtype, rounds: int = 5) -> float:
    """Fastest of a few matrix products, seconds."""
    left, right = torch.ones(2048, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype)
    torch.mm(left, right)
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        torch.mm(left, right)
        best = min(best, time.perf_counter() - start)
    return best
