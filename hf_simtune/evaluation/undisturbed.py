"""Encode in the middle of a training such that it goes on as if nobody had."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

__all__ = ["full_precision", "undisturbed"]


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Within it nothing is differentiated; random states, training flags and buffers are afterwards what they were.

    A sparse autoencoder counts its calls in a buffer, so even encoding would change what is trained.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    flags = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, None if buffer is None else buffer.clone())
        for module, _ in flags
        for name, buffer in module._buffers.items()
    ]
    try:
        with torch.no_grad(), full_precision(model):
            yield
    finally:
        for module, training in flags:
            module.training = training
        for module, name, buffer, content in buffers:
            module._buffers[name] = buffer
            if buffer is not None and content is not None and not torch.equal(buffer, content):
                with torch.no_grad():
                    buffer.copy_(content)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


@contextmanager
def full_precision(model: nn.Module) -> Iterator[None]:
    """Undo accelerate's autocast for a while.

    In a bf16 run it wraps ``model.forward`` of the very model that is scored, and a score during training would
    differ from the same weights' score after it.
    """
    wrapped = model.__dict__.get("forward")
    original = model.__dict__.get("_original_forward")
    if wrapped is None or original is None:
        yield
        return
    model.__dict__["forward"] = original
    try:
        yield
    finally:
        model.__dict__["forward"] = wrapped
