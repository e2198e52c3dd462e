"""Low-rank adapters as a value of a recipe, and as words on the command line."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from hf_simtune.fields import field, fraction, problems

__all__ = ["LoRA", "in_order", "wrong_words"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoRA:
    """Low-rank adapters in place of full tuning (Hu et al. 2021, arXiv:2106.09685).

    On the command line: ``--lora``, or ``--lora r=16 alpha=32 targets=query,value``.
    """

    r: int = field(16, "rank of the adapters", lambda v: v >= 1, "1 or more")
    alpha: int = field(32, "their weight: the update is multiplied by alpha / r", lambda v: v >= 1, "1 or more")
    dropout: float = field(0.0, "share of an adapter's input that is dropped in training", fraction, "0 to below 1")
    targets: tuple[str, ...] = field(
        ("all-linear",),
        "linear layers by the ends of their names; all-linear takes each",
        lambda v: bool(v) and all(re.fullmatch(r"[^\s,]+", name) for name in v),
        "one name or more, none of them empty",
    )

    def __str__(self) -> str:
        """Every field: ``r=16 alpha=32 dropout=0 targets=all-linear``."""
        return " ".join(self._word(spec) for spec in dataclasses.fields(self))

    @property
    def words(self) -> list[str]:
        """What stands behind ``--lora``: the fields that are not as by default."""
        return [self._word(spec) for spec in dataclasses.fields(self) if getattr(self, spec.name) != spec.default]

    def _word(self, spec: dataclasses.Field[Any]) -> str:
        value = getattr(self, spec.name)
        return f"{spec.name}={','.join(value) if isinstance(value, tuple) else str(value).removesuffix('.0')}"

    @classmethod
    def of(cls, words: Sequence[str]) -> LoRA | None:
        """The value that ``r=16 alpha=32`` stands for; None where the words stand for none."""
        given: dict[str, Any] = {}
        for word in words:
            name, equals, text = word.partition("=")
            if not equals or name not in ("r", "alpha", "dropout", "targets") or name in given:
                return None
            try:
                given[name] = (
                    tuple(text.split(",")) if name == "targets" else float(text) if name == "dropout" else int(text)
                )
            except ValueError:
                return None
        return cls(**given)


def in_order(value: LoRA) -> bool:
    """Whether every field is in its range."""
    return not problems(value)


def wrong_words(value: Any) -> str:
    """Which words of adapters are wrong, to end a sentence; the value may be text that stands for none."""
    words = str(value).split() if isinstance(value, str | LoRA) else []
    found = [word for word in words if (one := LoRA.of([word])) is None or problems(one)]
    names = [word.partition("=")[0] for word in words]
    found += [f"{name} twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    return f", not {', '.join(found)}" if found else ""
