"""The tuned model and its base: loaded once, when first needed; what each says of sentences."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Encoders", "Line", "Loader", "Seen", "UnavailableError", "from_hub"]

AT_ONCE = 128  # texts whose vectors are held at a time: those of a SPLADE model have 30,000 dimensions
# A model ready to encode, and what must be said of it, if anything.
Loader = Callable[[], tuple[Any, str]]


class UnavailableError(Exception):
    """A model cannot be had; the message is a sentence for people."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """Two sentences under one model."""

    cosine: float  # -1..1; NaN where a vector is zero
    active: tuple[int, int] | None = None  # dimensions of each that are not zero; of sparse encoders
    dimensions: int = 0


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a list under both models."""

    text: str
    after: float
    rank_after: int  # from 1; equal similarities have the same rank
    before: float | None = None
    rank_before: int | None = None


class Encoders:
    """Both models, each loaded once.

    Args:
        tuned: gives the tuned model.
        base: gives its base; None where it cannot be had by name.
        why: then, why not, a sentence.

    Attributes:
        caveats: what must be said of the models that were loaded, sentences.
    """

    def __init__(self, tuned: Loader, base: Loader | None, why: str = "") -> None:
        self._loaders = {"tuned": tuned} | ({"base": base} if base else {})
        self._models: dict[str, Any] = {}
        self._lock = threading.Lock()
        self.caveats: list[str] = [why] if why else []

    def loading(self) -> Iterator[str]:
        """Load what is not there yet; says before each model which it is.

        Raises:
            UnavailableError: the tuned model cannot be had. Without a base the caveats say so.
        """
        for name in [name for name in ("tuned", "base") if name in self._loaders and name not in self._models]:
            yield name
            self._load(name)

    def pair(self, first: str, second: str) -> tuple[Seen | None, Seen]:
        """Two sentences before and after tuning; before is None without a base."""
        before, after = (self._seen(name, first, second) for name in ("base", "tuned"))
        assert after is not None
        return before, after

    def ranked(self, query: str, lines: Sequence[str]) -> list[Line]:
        """Lines by their similarity to a query after tuning, the nearest first; before too, where there is a base."""
        after = self._cosines("tuned", query, lines)
        before = self._cosines("base", query, lines)
        assert after is not None
        now, then = _ranks(after), None if before is None else _ranks(before)
        found = [
            Line(
                text,
                float(after[index]),
                int(now[index]),
                None if before is None else float(before[index]),
                None if then is None else int(then[index]),
            )
            for index, text in enumerate(lines)
        ]
        return sorted(found, key=lambda line: line.rank_after)

    def _load(self, name: str) -> Any:
        """A model, or None for a base that cannot be had."""
        with self._lock:
            if name in self._models or name not in self._loaders:
                return self._models.get(name)
            try:
                model, caveat = self._loaders[name]()
            except UnavailableError as error:
                if name == "tuned":
                    raise
                model, caveat = None, f"The base is not to be had, so that there is no before: {error}"
            self._models[name] = model
            self.caveats += [caveat] if caveat else []
            return model

    def _seen(self, name: str, first: str, second: str) -> Seen | None:
        if (model := self._load(name)) is None:
            return None
        one, other = _vectors(model, [first, second])
        counted = tuple(int(np.count_nonzero(vector)) for vector in (one, other))
        sparse = type(model).__name__ == "SparseEncoder"
        return Seen(float(_cosine(one, other)), (counted[0], counted[1]) if sparse else None, len(one))

    def _cosines(self, name: str, query: str, lines: Sequence[str]) -> NDArray[np.float64] | None:
        if (model := self._load(name)) is None:
            return None
        (asked,) = _vectors(model, [query])
        parts = (lines[start : start + AT_ONCE] for start in range(0, len(lines), AT_ONCE))
        return np.concatenate([_cosine(_vectors(model, part), asked) for part in parts])


def from_hub(
    name: str, revision: str | None = None, *, sparse: bool = False, max_length: int | None = None, prompt: str = ""
) -> Loader:
    """A loader of a model on the Hub.

    Args:
        name: ``ORG/NAME``.
        revision: commit, tag or branch.
        sparse: whether it is a sparse encoder.
        max_length: cuts texts after so many tokens.
        prompt: stands before each text.
    """

    def load() -> tuple[Any, str]:
        from sentence_transformers import SentenceTransformer, SparseEncoder

        try:
            model = (SparseEncoder if sparse else SentenceTransformer)(name, revision=revision)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise UnavailableError(f"{name} does not load: {said[0]}") from error
        if max_length is not None:
            model.max_seq_length = max_length
        model.prompts["demo"], model.default_prompt_name = prompt, "demo"
        return model, ""

    return load


def _vectors(model: Any, texts: Sequence[str]) -> NDArray[np.float64]:
    found = model.encode(list(texts), convert_to_tensor=True, show_progress_bar=False)
    dense: NDArray[np.float64] = (found.to_dense() if found.is_sparse else found).double().cpu().numpy()
    return dense


def _cosine(some: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each vector of ``some`` (one, or one a row) with the other; NaN where one is zero."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: NDArray[np.float64] = (some @ other) / (np.linalg.norm(some, axis=-1) * np.linalg.norm(other))
    return found


def _ranks(similarities: NDArray[np.float64]) -> NDArray[np.int64]:
    """1 for the highest; those without a similarity come last."""
    falling = np.sort(-np.nan_to_num(similarities, nan=-2.0))
    return np.searchsorted(falling, -np.nan_to_num(similarities, nan=-2.0), side="left") + 1
