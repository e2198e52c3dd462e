"""Small files that are written whole or not at all, however their writing ends."""

from __future__ import annotations

from pathlib import Path

__all__ = ["forget", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Write a file beside its place and put it there in one go; what was there before stays until then."""
    part = _part(path)
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)  # on a full disk it would be in the way of what is to be written next


def forget(path: Path) -> None:
    """Take away what is half-written of a file, of a start that was killed there; the file itself stays."""
    _part(path).unlink(missing_ok=True)


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")
