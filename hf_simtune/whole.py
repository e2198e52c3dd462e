"""Small files that are written whole or not at all, however their writing ends."""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_text"]


def write_text(path: Path, text: str) -> None:
    """Write a file beside its place and put it there in one go; what was there before stays until then."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)  # on a full disk it would be in the way of what is to be written next
