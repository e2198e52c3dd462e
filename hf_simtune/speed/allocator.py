"""Memory that is freed at the end of a step and needed again at the start of the next."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["freed_memory_kept"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
USUAL = 128 << 10  # bytes; what glibc begins with for both
LARGEST_MMAP_THRESHOLD = 32 << 20  # it takes no more
NEVER = 2**31 - 1


@contextmanager
def freed_memory_kept() -> Iterator[bool]:
    """Within it, the C library keeps what is freed, instead of handing it back and fetching it page by page.

    The activations of a step are as large as those of the step before; on Linux's glibc they would otherwise be
    returned to the system and zeroed by it again each time. Yields whether there is anything to set: not with another
    C library.
    """
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if library is None or not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        yield False
        return
    library.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
    library.mallopt(M_TRIM_THRESHOLD, NEVER)
    try:
        yield True
    finally:
        library.mallopt(M_MMAP_THRESHOLD, USUAL)
        library.mallopt(M_TRIM_THRESHOLD, USUAL)
        library.malloc_trim(0)
