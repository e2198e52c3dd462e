"""Takes the mean embedding out of a tuned model: what all sentences have in common tells none of them apart."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

import torch
from sentence_transformers.base.modules import Dense, Normalize
from torch import nn

from hf_simtune.evaluation.sts import Model
from hf_simtune.evaluation.undisturbed import undisturbed

__all__ = ["SENTENCES", "Shift", "center", "undo"]

SENTENCES = 10_000  # that the mean is taken of, at most


@dataclasses.dataclass(frozen=True)
class Shift:
    """What was put behind a model."""

    modules: int  # how many
    sentences: int  # whose mean was taken
    length: float  # of the mean; an embedding's is 1


def center(model: Model, texts: Sequence[str], share: float, *, seed: int = 0) -> Shift:
    """Subtract a share of the mean embedding of some sentences from every embedding, by modules behind the others.

    Tuning by ranks alone, as CoSENT does, is free to move all sentences into one direction, and does; without it their
    order by cosine is better on texts unlike the training rows (Mu and Viswanath 2018, arXiv:1702.01417; Su et al.
    2021, arXiv:2103.15316). The modules are sentence-transformers' own: ``Normalize``, where the model does not end
    with one, ``Dense`` with the identity for weights and the mean in its bias, and ``Normalize``.

    Args:
        model: dense; gets the modules.
        texts: sentences; of more than SENTENCES distinct ones that many are drawn.
        share: of the mean, above 0 to 1.
        seed: of the draw.
    """
    distinct = list(dict.fromkeys(texts))
    if len(distinct) > SENTENCES:
        distinct = random.Random(seed).sample(distinct, SENTENCES)
    with undisturbed(model):
        vectors = model.encode(distinct, batch_size=64, convert_to_tensor=True, show_progress_bar=False)
    mean = nn.functional.normalize(vectors.double(), dim=-1).mean(0)
    width, device = len(mean), vectors.device
    bias = (-share * mean).float()
    dense = Dense(width, width, activation_function=nn.Identity(), init_weight=torch.eye(width), init_bias=bias)
    added = [dense, Normalize()]
    if not isinstance(list(model.children())[-1], Normalize):
        added.insert(0, Normalize())
    for module in added:
        model.append(module.to(device).train(model.training))
    return Shift(modules=len(added), sentences=len(distinct), length=float(mean.norm()))


def undo(model: Model, shift: Shift) -> None:
    """Take the modules away again."""
    for _ in range(shift.modules):
        model.pop(-1)
