"""Memory that is not to be had, in a sentence: on a GPU it has a class of its own, on a CPU torch has words for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hf_simtune.errors import RunError, first_line

__all__ = ["enough", "out_of_memory"]


def out_of_memory(error: BaseException) -> bool:
    """Whether an error is that there is too little memory, of the machine or of a GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


@contextmanager
def enough(told: str, hint: str) -> Iterator[None]:
    """Say what did not fit (``told``), and what to do.

    Raises:
        RunError: there was too little memory for what is done within.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise RunError(f"{told} ({first_line(error)})", hint=hint) from error
