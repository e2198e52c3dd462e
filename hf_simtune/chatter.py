"""What is said while a command runs: our messages to standard error, and the libraries' away."""

from __future__ import annotations

import logging
import os
import sys

__all__ = ["calm_libraries", "listen", "processes", "speaks"]

# Open MPI's, Intel MPI's and MVAPICH's names for what torchrun calls so.
MPI = {
    "WORLD_SIZE": ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"),
    "RANK": ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK"),
    "LOCAL_RANK": ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "MV2_COMM_WORLD_LOCAL_RANK"),
}


def listen(*, quiet: bool) -> None:
    """Our messages to standard error; the libraries' chatter away."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("hf_simtune")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if quiet:
        os.environ["TQDM_DISABLE"] = "1"
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
        os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"


def processes() -> int:
    """How many processes torchrun, accelerate or mpirun started for one training.

    What mpirun says of this process is told on by the names that torchrun has for it: accelerate starts several
    processes on CPUs so, and whoever looks for torchrun's names alone takes each for the only one.
    """
    for name, others in MPI.items():
        told = next((os.environ[other] for other in others if other in os.environ), None)
        if told is not None:
            os.environ.setdefault(name, told)
    return int(os.environ.get("WORLD_SIZE", "1"))


def speaks() -> bool:
    """Whether this process tells people what comes of a run: it is alone, or the first of several."""
    return processes() == 1 or os.environ.get("RANK", "0") == "0"


def calm_libraries(*, quiet: bool) -> None:
    """The libraries' own bars and warnings away."""
    import datasets
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    if quiet or not sys.stderr.isatty():
        datasets.disable_progress_bars()
