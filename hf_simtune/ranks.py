"""Several processes that train one model: which of them this is, and what the first one tells the others."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch

from hf_simtune.chatter import processes
from hf_simtune.errors import LeftAloneError, RequestError, RunError

__all__ = ["ALONE", "Ranks", "begin"]

T = TypeVar("T")
PATIENCE = timedelta(hours=6)  # that the others wait for the first: it scores, compares and writes alone
log = logging.getLogger("hf_simtune")


@dataclasses.dataclass(frozen=True)
class Ranks:
    """This process among those of one training."""

    rank: int = 0
    size: int = 1
    group: Any = None  # in which they meet beside training, with a patience of its own

    @property
    def first(self) -> bool:
        """Whether it is the one that scores, logs and writes."""
        return self.rank == 0

    def told(self, value: T) -> T:
        """The first one's value, in all of them."""
        if self.size == 1:
            return value
        values = [value]
        with _together():
            torch.distributed.broadcast_object_list(values, src=0, group=self.group)
        return values[0]

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            with _together():
                torch.distributed.barrier(group=self.group)

    def agree(self, what: str, value: object) -> None:
        """See that all have the same.

        Raises:
            RunError: another process has another value than the first.
        """
        if (first := self.told(value)) != value:
            raise RunError(f"process {self.rank} has other {what} ({value}) than the first one ({first})")

    def highest(self, number: int | None) -> int | None:
        """The highest of their numbers, None being the lowest, in all of them."""
        if self.size == 1:
            return number
        found = torch.tensor(-1 if number is None else number)
        with _together():
            torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX, group=self.group)
        return None if found < 0 else int(found)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first goes ahead, so that the others find in the caches what it fetched."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()


ALONE = Ranks()


@contextmanager
def _together() -> Iterator[None]:
    """A meeting of all processes.

    Raises:
        LeftAloneError: one of them has ended.
    """
    try:
        yield
    except RuntimeError as error:
        raise LeftAloneError(f"another process of this training has ended, and this one with it: {error}") from error


def begin() -> Ranks:
    """Join the processes that torchrun or accelerate started; one alone is alone.

    The others than the first log nothing but errors.

    Raises:
        RequestError: several GPUs are visible to one process, which the Trainer would take for one larger batch; GPUs
            are visible to processes that are to use CPUs; or weights are to be spread over the processes.
        RunError: fewer processes have met than were started.
    """
    size = processes()
    if size == 1:
        if torch.cuda.device_count() > 1:
            raise RequestError(
                f"{torch.cuda.device_count()} GPUs are visible: the batch would silently be that many times as large",
                hint="Show it one with CUDA_VISIBLE_DEVICES=0, or start a process for each: "
                "accelerate launch --multi_gpu recipes/NAME.py",
            )
        return ALONE
    asked_for_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true")
    if asked_for_cpu and torch.cuda.is_available():
        raise RequestError(
            "ACCELERATE_USE_CPU is set, and GPUs are visible, on which the models would be",
            hint="Hide them: CUDA_VISIBLE_DEVICES= before the command",
        )
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        raise RequestError(
            "FSDP spreads the weights over the processes, and a run compares and saves whole ones",
            hint="As in: accelerate launch --config_file recipes/accelerate/several_gpus.yaml recipes/NAME.py",
        )
    if missing := [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise RequestError(
            f"WORLD_SIZE is {size}, and {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set: nobody "
            "started the other processes",
            hint="Start them with torchrun or accelerate launch, or unset WORLD_SIZE for one process",
        )
    from accelerate.state import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    if state.num_processes != size or torch.distributed.get_world_size() != size:
        raise RunError(
            f"{size} processes were started, and {state.num_processes} have met: each would train alone",
            hint="On CPUs set ACCELERATE_USE_CPU=1, as in: "
            "ACCELERATE_USE_CPU=1 torchrun --nproc-per-node 2 recipes/mnrl_minilm.py",
        )
    if state.process_index:
        log.setLevel(logging.ERROR)
    group = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
    return Ranks(state.process_index, size, group)
