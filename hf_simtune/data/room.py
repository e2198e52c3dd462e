"""Where checked rows are kept: in the cache, or for one process where that cannot be written to."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import shutil
import tempfile
from pathlib import Path

from hf_simtune.errors import RequestError

__all__ = ["writable"]

log = logging.getLogger("hf_simtune")


def writable(folder: Path) -> Path:
    """The folder, made if need be; a temporary one where it cannot be made or written to, as under a read-only home.

    Raises:
        RequestError: there is no room for a temporary one either.
    """
    why = "it may only be read"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = error.strerror or str(error)
    else:
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    return _instead_of(folder, why)


@functools.cache
def _instead_of(folder: Path, why: str) -> Path:
    """One folder for the whole process, which is gone with it; told once."""
    hint = "To keep them, name a folder that can be written to: HF_HOME=FOLDER"
    try:
        made = Path(tempfile.mkdtemp(prefix="hf-simtune-rows-"))
    except OSError as error:
        raise RequestError(
            f"checked rows cannot be kept in {folder} ({why}), nor in a temporary folder ({error})",
            hint=f"{hint}, or TMPDIR=FOLDER",
        ) from error
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    log.warning("checked rows cannot be kept in %s (%s): they are checked again in each run. %s", folder, why, hint)
    return made
