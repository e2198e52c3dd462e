"""A value of a recipe that has fields of its own: on the command line, words behind one flag."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

from hf_simtune.fields import problems

__all__ = ["Words"]


class Words:
    """Base of frozen dataclasses made with ``fields.field``: ``r=16 targets=query,value`` behind their flag.

    Every field has a default, whose type is the field's own: a whole number, a number, a text, or a tuple of texts.
    """

    def __str__(self) -> str:
        """Every field: ``r=16 alpha=32 dropout=0 targets=all-linear``."""
        return " ".join(self._word(spec) for spec in _specs(self))

    @property
    def words(self) -> list[str]:
        """What stands behind the flag: the fields that are not as by default."""
        return [self._word(spec) for spec in _specs(self) if getattr(self, spec.name) != spec.default]

    def _word(self, spec: dataclasses.Field[Any]) -> str:
        value = getattr(self, spec.name)
        return f"{spec.name}={','.join(value) if isinstance(value, tuple) else str(value).removesuffix('.0')}"

    @classmethod
    def of(cls, words: Sequence[str]) -> Self | None:
        """The value that ``r=16 alpha=32`` stands for; None where the words stand for none."""
        given: dict[str, Any] = {}
        defaults: dict[str, Any] = {spec.name: spec.default for spec in _specs(cls)}
        for word in words:
            name, equals, text = word.partition("=")
            if not equals or name not in defaults or name in given:
                return None
            kind: Any = type(defaults[name])
            try:
                given[name] = tuple(text.split(",")) if kind is tuple else kind(text)
            except ValueError:
                return None
        return cls(**given)

    @classmethod
    def in_order(cls, value: Any) -> bool:
        """Whether every field is in its range."""
        return not problems(value)

    @classmethod
    def wrong(cls, value: Any) -> str:
        """Which words are wrong, to end a sentence; the value may be text that stands for none."""
        words = str(value).split() if isinstance(value, str | cls) else []
        found = [word for word in words if (one := cls.of([word])) is None or problems(one)]
        names = [word.partition("=")[0] for word in words]
        found += [f"{name} twice" for name in dict.fromkeys(names) if names.count(name) > 1]
        return f", not {', '.join(found)}" if found else ""


def _specs(value: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(value)
