"""A folder is one process's while it works there; one that dies holds nothing."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hf_simtune.errors import RequestError

try:
    import fcntl
except ImportError:  # on Windows, where nothing keeps two processes out of one folder
    fcntl = None  # type: ignore[assignment]

__all__ = ["held"]

log = logging.getLogger("hf_simtune")


@contextmanager
def held(folder: Path, lock: Path) -> Iterator[None]:
    """Work in a folder that no other process works in at the same time.

    The system lets go of the lock when its process ends, however it ends, so that the file may stay.

    Args:
        folder: for the error.
        lock: the file that is locked; made if need be.

    Raises:
        RequestError: another process works there.
    """
    if fcntl is None:
        yield
        return
    with lock.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise RequestError(
                f"another process works in {folder}: {file.read().strip() or 'it does not say which'}",
                hint="Wait until it has ended, or stop it first; or start a run of your own without --resume",
            ) from error
        except OSError as error:  # some network file systems
            log.warning("%s cannot be locked (%s): see that no other process works there", folder, error.strerror)
            yield
            return
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # a process that was forked meanwhile holds the file too
