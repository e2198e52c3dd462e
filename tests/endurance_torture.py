"""A hundred runs in one process: what it holds after the last is what it held after the tenth.

    python tests/endurance_torture.py [--runs 100] [--after 10]

Each run tunes a tiny model, scores, compares and writes its folder, which is then deleted. Prints a line of JSON for
every tenth run: resident memory, bytes of live tensors, open files, threads, log handlers, warning filters, variables
of the environment. Exits with 1 where one of them has grown since ``--after``. Minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import conftest  # noqa: F401 - before the libraries, which read the environment once
from torture_record import parsed

MEBIBYTE = 2**20
# Pages of freed memory that the allocator keeps, and what Python interns, settle over many runs: resident memory may
# grow by so much in 90 runs, which is a third of a MiB a run. A kept model, trainer or table of scores is more.
MOST_MEMORY = 30.0


@dataclasses.dataclass(frozen=True)
class Held:
    """What a process holds."""

    resident: float  # MiB
    tensors: float  # MiB of live tensors, each storage once
    files: int
    threads: int
    handlers: int
    filters: int
    variables: int

    @classmethod
    def now(cls) -> Held:
        import torch

        gc.collect()
        storages = {}
        for value in gc.get_objects():
            if issubclass(type(value), torch.Tensor) and value.layout == torch.strided:
                storage = value.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        figures = dict(line.split(":", 1) for line in status.splitlines())
        logs = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
        return cls(
            resident=round(int(figures["VmRSS"].split()[0]) / 1024, 1),
            tensors=round(sum(storages.values()) / MEBIBYTE, 3),
            files=len(list(Path("/proc/self/fd").iterdir())),
            threads=int(figures["Threads"]),
            handlers=sum(len(log.handlers) for log in logs),
            filters=len(warnings.filters),
            variables=len(os.environ),
        )

    def grown(self, before: Held, memory: float = MOST_MEMORY) -> list[str]:
        """What is more than it was before, in words."""
        allowed = {"resident": memory, "tensors": 0.01}
        return [
            f"{name} went from {was} to {now}"
            for name, was in dataclasses.asdict(before).items()
            if (now := getattr(self, name)) > was + allowed.get(name, 0)
        ]


def runs(
    folder: Path, count: int, watch: Callable[[int, Held], None], after: Callable[[], None] = lambda: None
) -> None:
    """Tune a tiny model so many times; ``after`` each run do something, and ``watch`` what the process holds."""
    from published import teachable
    from tiny import tiny_static

    from hf_simtune import tune

    recipe = teachable(tiny_static(folder / "tiny"), folder, epochs=0.25, evaluations=1)
    for number in range(1, count + 1):
        run = tune(dataclasses.replace(recipe, seed=number), out=folder / "runs")
        if not run.record.report.comparison:
            raise RuntimeError(f"run {number} compared nothing")
        shutil.rmtree(run.folder)
        del run
        after()
        watch(number, Held.now())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--after", type=int, default=10, help="the run whose figures the last ones are held against")
    words, keeper = parsed(parser, "endurance")
    seen: dict[int, Held] = {}

    def watch(number: int, held: Held) -> None:
        seen[number] = held
        if number in (1, words.after, words.runs) or not number % 10:
            sys.stdout.write(json.dumps({"run": number} | dataclasses.asdict(held)) + "\n")
            sys.stdout.flush()

    with tempfile.TemporaryDirectory() as temporary:
        runs(Path(temporary), words.runs, watch)
    first, last = ({"run": run} | dataclasses.asdict(seen[run]) for run in (words.after, words.runs))
    keeper.keep({"first": first, "last": last})
    problems = seen[words.runs].grown(seen[words.after])
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return int(bool(problems))


if __name__ == "__main__":
    raise SystemExit(main())
