"""Files that could not be written, on a full disk above all, whichever library found out."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from hf_simtune.errors import RunError

__all__ = ["UnwrittenError", "writing"]

WHY = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EFBIG: "the file would be larger than this process may write (ulimit -f)",
    errno.EROFS: "the disk can only be read",
    errno.EIO: "the disk reports an error",
}
_NUMBER = re.compile(r"os error (\d+)")  # as the library behind safetensors tells it


class UnwrittenError(RunError):
    """Something could not be written; what is on the disk is as it was, or is recognised as cut short."""


@contextmanager
def writing(what: str, place: Path) -> Iterator[None]:
    """Tell a failed write as a sentence; any other error passes.

    Args:
        what: is being written, for the sentence.
        place: the folder that it goes to.

    Raises:
        UnwrittenError: the disk is full or does not take it.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        why = _why(error)
        if why is None:
            raise
        raise UnwrittenError(f"{what} could not be written in {place}: {why}; {_free(place)}") from error


def _why(error: Exception) -> str | None:
    """What kept a file from being written; None for an error of another kind."""
    if isinstance(error, OSError):
        return WHY.get(error.errno or 0)
    if isinstance(error, SafetensorError):
        found = _NUMBER.search(str(error))
        return WHY.get(int(found[1])) if found else None
    # torch does not hand on the reason; a file that it closes early it calls unexpected.
    told = str(error)
    return "torch could not write all of it" if "PytorchStreamWriter" in told or "unexpected pos" in told else None


def _free(place: Path) -> str:
    try:
        return f"{shutil.disk_usage(place).free / 2**20:,.1f} MiB are free there"
    except OSError as error:
        return f"how much is free there cannot be told ({error.strerror or error})"
