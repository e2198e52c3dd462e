"""Files that could not be written, on a full disk above all, whichever library found out."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hf_simtune.errors import RunError

__all__ = ["UnwrittenError", "told", "writing"]

WHY = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EFBIG: "the file would be larger than this process may write (ulimit -f)",
    errno.EROFS: "the disk can only be read",
    errno.EIO: "the disk reports an error",
}
_NUMBER = re.compile(r"(?:os error|\[errno) (\d+)", re.IGNORECASE)  # as Rust, pyarrow and shutil tell it


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
    except UnwrittenError:
        raise
    except Exception as error:  # the libraries raise all kinds, tokenizers even a plain Exception
        why = _why(error)
        if why is None:
            raise
        raise UnwrittenError(f"{what} could not be written in {place}: {why}; {_free(place)}") from error


def told(error: Exception) -> str | None:
    """What kept a file from being written, if that is what the error itself, or what it was raised from, says.

    What was being handled when it was raised is not asked: it may have been a fault of ours.
    """
    return _own(error) or (_own(error.__cause__) if error.__cause__ else None)


def _why(error: BaseException) -> str | None:
    """What kept a file from being written, as an error or the one behind it tells; None for an error of another kind.

    Nested as in ``RuntimeError(...) from OSError(...)``, it is the deepest that knows.
    """
    behind = error.__cause__ or error.__context__
    if behind is not None and (found := _why(behind)):
        return found
    return _own(error)


def _own(error: BaseException) -> str | None:
    """The same of an error alone."""
    text = str(error)
    if isinstance(error, OSError) and error.errno in WHY:
        return WHY[error.errno]
    if number := _NUMBER.search(text):
        return WHY.get(int(number[1]))
    # torch does not hand on the reason; a file that it closes early it calls unexpected.
    return "torch could not write all of it" if "PytorchStreamWriter" in text or "unexpected pos" in text else None


def _free(place: Path) -> str:
    try:
        return f"{shutil.disk_usage(place).free / 2**20:,.1f} MiB are free there"
    except OSError as error:
        return f"how much is free there cannot be told ({error.strerror or error})"
