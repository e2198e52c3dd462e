"""Low-rank adapters as a value of a recipe."""

from __future__ import annotations

import dataclasses
import re

from hf_simtune.fields import at_most, field, fraction, positive
from hf_simtune.words import Words

__all__ = ["ALLOWED", "LoRA"]

RANK = 65_536  # no layer of a model is as wide, and an update has no higher rank than its layer is wide
WEIGHT = 1_000_000
ALLOWED = f"r=N alpha=N dropout=X targets=A,B (r 1 to {RANK:,}, alpha 1 to {WEIGHT:,}, dropout 0 to below 1)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoRA(Words):
    """Low-rank adapters in place of full tuning (Hu et al. 2021, arXiv:2106.09685).

    On the command line: ``--lora``, or ``--lora r=16 alpha=32 targets=query,value``.

    >>> LoRA.of(["r=8", "targets=query,value"])
    LoRA(r=8, alpha=32, dropout=0.0, targets=('query', 'value'))
    """

    r: int = field(16, "rank of the adapters", *at_most(RANK, positive, "1 or more"))
    alpha: int = field(
        32, "their weight: the update is multiplied by alpha / r", *at_most(WEIGHT, positive, "1 or more")
    )
    dropout: float = field(0.0, "share of an adapter's input that is dropped in training", fraction, "0 to below 1")
    targets: tuple[str, ...] = field(
        ("all-linear",),
        "linear layers by the ends of their names; all-linear takes each",
        lambda v: bool(v) and all(re.fullmatch(r"[^\s,]+", name) for name in v),
        "one name or more, none of them empty",
    )
