"""Which names stand for something on the Hub."""

from __future__ import annotations

from pathlib import Path

__all__ = ["FILE_ENDINGS", "is_hub_name"]

FILE_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".txt", ".gz")


def is_hub_name(name: str) -> bool:
    """Whether a name stands for something on the Hub, rather than a builtin or a local file or folder."""
    place = name.partition(":")[0]
    local = place.startswith((".", "/", "~")) or Path(place).exists() or place.endswith(FILE_ENDINGS)
    return bool(name) and not name.startswith("builtin:") and not local
