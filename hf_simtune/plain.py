"""Frozen values to JSON and back, by their annotations."""

from __future__ import annotations

import dataclasses
import math
import types
from typing import Any, Union, get_args, get_origin, get_type_hints

__all__ = ["build", "not_finite"]


def not_finite(value: Any, place: str = "") -> list[str]:
    """Where a value made of dictionaries and lists holds NaN or an infinity, as in ``report.base.spearman``."""
    if isinstance(value, float):
        return [] if math.isfinite(value) else [place]
    if isinstance(value, dict):
        return [bad for key, item in value.items() for bad in not_finite(item, f"{place}.{key}" if place else str(key))]
    if isinstance(value, list | tuple):
        return [bad for index, item in enumerate(value) for bad in not_finite(item, f"{place}[{index}]")]
    return []


def build(hint: Any, value: Any) -> Any:
    """A value of the annotated type from what JSON holds.

    Raises:
        ValueError, TypeError, KeyError: it holds something else.
    """
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return build(next(part for part in get_args(hint) if part is not type(None)), value)
    if origin is tuple:
        parts = get_args(hint)
        kinds = [parts[0]] * len(value) if parts[-1] is Ellipsis else parts
        return tuple(build(kind, item) for kind, item in zip(kinds, value, strict=True))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = get_type_hints(hint)
        if unknown := sorted(set(value) - set(hints)):
            raise ValueError(f"unknown fields of {hint.__name__}: {', '.join(unknown)}")
        return hint(**{name: build(hints[name], item) for name, item in value.items()})
    return value
