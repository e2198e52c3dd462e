"""How many processor threads a run uses."""

from __future__ import annotations

import logging
import os

import torch

from hf_simtune.errors import RequestError

__all__ = ["VARIABLE", "settle"]

VARIABLE = "HF_SIMTUNE_THREADS"
log = logging.getLogger("hf_simtune")


def settle() -> None:
    """Use all cores where ``accelerate launch`` left one process with one thread.

    It sets OMP_NUM_THREADS=1 for its workers unless told otherwise, which halves a single process on two cores. The
    environment variable HF_SIMTUNE_THREADS decides where it is set.

    Raises:
        RequestError: the variable holds no whole number above 0.
    """
    wanted = os.environ.get(VARIABLE)
    if wanted is not None:
        if not wanted.isdecimal() or int(wanted) < 1:
            raise RequestError(f"{VARIABLE} is {wanted!r}: it must be a whole number above 0")
        torch.set_num_threads(int(wanted))
        return
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and "WORLD_SIZE" not in os.environ
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if launched and os.environ.get("OMP_NUM_THREADS") == "1" and cores > 1:
        torch.set_num_threads(cores)
        log.info("accelerate launch gave this process one thread: using %d (%s=1 keeps one)", cores, VARIABLE)
