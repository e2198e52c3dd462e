"""Memory that is freed at the end of a step and needed again at the start of the next."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGEST_MMAP_THRESHOLD = 32 << 20  # bytes; the C library takes no more
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell the C library to keep what is freed, instead of handing it back and fetching it page by page.

    The activations of a step are as large as those of the step before; on Linux's glibc they would otherwise be
    returned to the system and zeroed by it again each time. The peak of memory does not change by it. Returns whether
    it took effect: there is nothing to set with another C library.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    took = [mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD), mallopt(M_TRIM_THRESHOLD, NEVER)]
    return all(value == 1 for value in took)
