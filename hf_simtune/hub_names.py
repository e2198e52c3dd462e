"""Which names stand for something on the Hub, and what a name there looks like."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["FILE_ENDINGS", "HUB_ID", "is_hub_id", "is_hub_name", "local"]

FILE_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".txt", ".gz")
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def local(name: str) -> Path:
    """Where a name would lie on this disk, ``~`` spelled out; nothing is there under a name that no disk can hold."""
    try:
        path = Path(name).expanduser()
    except RuntimeError:  # nobody here has that home
        path = Path(name)
    # A disk refuses a longer name with an error, where a shorter one is merely not there.
    return Path(*(part[:255] for part in path.parts[:64]))


def is_hub_id(name: str) -> bool:
    """Whether it is ``ORG/NAME`` in the signs that the Hub allows."""
    return bool(HUB_ID.fullmatch(name))


def is_hub_name(name: str) -> bool:
    """Whether a name stands for something on the Hub, rather than a builtin or a local file or folder."""
    place = name.partition(":")[0]
    here = place.startswith((".", "/", "~")) or local(place).exists() or place.endswith(FILE_ENDINGS)
    return bool(name) and not name.startswith("builtin:") and not here
