"""What somebody typed or pasted, cut to what a page can take, with a sentence where it was."""

from __future__ import annotations

import dataclasses

__all__ = ["MOST_LETTERS", "MOST_LINES", "Typed", "lines", "sentence"]

MOST_LETTERS = 5_000  # of a sentence or a line; no model reads as far
MOST_LINES = 1_000  # of a list: a few seconds of two small models on a CPU


@dataclasses.dataclass(frozen=True)
class Typed:
    """Texts to encode, and what was done to them."""

    texts: tuple[str, ...]
    notes: tuple[str, ...] = ()


def sentence(text: str | None, called: str) -> Typed:
    """One text without the blanks around it; none where nothing was typed.

    Args:
        text: as it was typed.
        called: what the field is called, for notes.
    """
    kept = _sound(text).strip()
    if len(kept) <= MOST_LETTERS:
        return Typed((kept,) if kept else ())
    note = f"{called} has {len(kept):,} characters: the first {MOST_LETTERS:,} were read."
    return Typed((kept[:MOST_LETTERS],), (note,))


def lines(text: str | None) -> Typed:
    """The lines of a list that hold something, the same one once."""
    held = [line.strip() for line in _sound(text).splitlines() if line.strip()]
    found = list(dict.fromkeys(line[:MOST_LETTERS] for line in held))
    notes = []
    if len(found) > MOST_LINES:
        notes.append(f"The list has {len(found):,} lines: the first {MOST_LINES:,} were ranked.")
    if long := sum(len(line) > MOST_LETTERS for line in held):
        told = f"{long:,} lines have" if long > 1 else "1 line has"
        notes.append(f"{told} more than {MOST_LETTERS:,} characters: only these were read.")
    return Typed(tuple(found[:MOST_LINES]), tuple(notes))


def _sound(text: str | None) -> str:
    """The text with a question mark for each half of a character, which no tokenizer takes."""
    return (text or "").encode("utf-8", errors="replace").decode("utf-8")
