"""How long ``tune`` takes until it can train, and in how much memory, by the number of rows: measured, on this machine.

For each size a csv of sentence pairs is written, and a fresh process does with it what ``tune`` does before training:
``hf_simtune.data.inputs.prepare``. Nothing is on the Hub and nothing is kept afterwards.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from hf_simtune import machine
from hf_simtune.bench import fresh
from hf_simtune.bench.rows import FEWEST_ROWS, Written, write_rows
from hf_simtune.data import inputs, measured
from hf_simtune.errors import RequestError, RunError
from hf_simtune.recipe import Recipe
from hf_simtune.record import Machine

__all__ = ["DataBench", "Size", "measure"]

_EVERY = 0.02  # seconds between two looks at the memory that is a process's own
_MIB = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """One size, measured in a process of its own."""

    rows: int  # in the csv
    file_bytes: int
    check_seconds: float  # to read and check the csv and keep its good rows as Arrow
    leak_seconds: float  # to look for evaluation pairs among the training rows
    ready_seconds: float  # until the first batch could be taken: the two above, evaluation rows and all the rest
    cpu_seconds: float  # of the processor in that time; fewer than ``ready_seconds``: it waited, or others worked
    start_mib: float  # resident, after the imports
    peak_mib: float  # resident, at most; it counts the pages of memory-mapped rows, which the system may take back
    growth_mib: float  # the peak over the start
    own_growth_mib: float | None  # the same without pages of files; None where the system does not tell them apart
    kept: int  # rows to train on
    dropped: dict[str, int]  # rows by reason
    planted: int  # rows that were made of a pair to evaluate on
    planted_found: int  # of these, dropped as such
    duplicates: int  # rows that were written twice; they are kept


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataBench:
    """What was measured, where, and with which version. No host name, user name or path."""

    format: int = 1
    created: str
    commit: str | None
    command: str
    machine: Machine
    load_before: float | None  # the system's one-minute load average when it began
    seed: int  # of the rows
    peak_from: str  # where ``peak_mib`` was read
    sizes: tuple[Size, ...]  # by rows


def measure(rows: Sequence[int], *, seed: int = 0, folder: Path | None = None, command: str = "") -> DataBench:
    """Time the path of the data at each size, the smallest first, one process after the other.

    Args:
        rows: rows of each csv, distinct, each ``FEWEST_ROWS`` or more.
        seed: of the rows that are made.
        folder: where files may lie for as long as it runs, about 500 bytes a row; the system's own when not given.
        command: what to write down as the command.

    Raises:
        RequestError: sizes that cannot be measured, or a folder that is none.
        RunError: a process did not come to its end.
    """
    problems = [f"{count:,} rows: it must be {FEWEST_ROWS} or more" for count in rows if count < FEWEST_ROWS]
    if not rows:
        problems.append("no number of rows was given")
    if len(set(rows)) != len(rows):
        problems.append(f"a number of rows is given twice: {' '.join(map(str, rows))}")
    if folder is not None and not folder.is_dir():
        problems.append(f"there is no folder {folder}")
    if problems:
        raise RequestError(problems, hint="As in: hf-simtune bench data --rows 10000 100000 1000000")
    created, before = datetime.now(UTC).isoformat(timespec="seconds"), machine.load()
    sizes, peak_from = [], ""
    for count in sorted(rows):
        with tempfile.TemporaryDirectory(prefix="hf-simtune-bench-", dir=folder) as place:
            path = Path(place) / "rows.csv"
            written = write_rows(path, count, seed)
            size, peak_from = _in_a_process_of_its_own(path, count, written)
            sizes.append(size)
    return DataBench(
        created=created,
        commit=machine.commit(),
        command=command,
        machine=machine.describe(),
        load_before=before,
        seed=seed,
        peak_from=peak_from,
        sizes=tuple(sizes),
    )


def _in_a_process_of_its_own(path: Path, rows: int, written: Written) -> tuple[Size, str]:
    # Rows that were checked once are not checked again; here they must be.
    surroundings = fresh.environment(HF_DATASETS_CACHE=str(path.parent / "cache"), HF_HUB_OFFLINE="1")
    command = fresh.words("bench.data", str(path))
    done = subprocess.run(command, env=surroundings, stdout=subprocess.PIPE, check=False, text=True)
    if done.returncode:
        raise RunError(
            f"the process that was to prepare {rows:,} rows ended with status {done.returncode}",
            hint="It may have said why above; status -9 is often too little memory. Try fewer rows",
        )
    found = json.loads(done.stdout)
    leaked = frozenset(found.pop("leaked"))
    peak_from = str(found.pop("peak_from"))
    size = Size(
        rows=rows,
        file_bytes=path.stat().st_size,
        planted=len(written.planted),
        planted_found=len(leaked & written.planted),
        duplicates=len(written.duplicates),
        **found,
    )
    return size, peak_from


def _prepared(path: Path) -> dict[str, Any]:
    """Prepare a csv as ``tune`` would, in this process, and say what it took. For a fresh process.

    ``prepare`` itself runs and no copy of it: its two long steps are timed where it calls them.
    """
    recipe = Recipe(
        train_data=str(path), skip_bad_rows=True, select_on=measured.SPORTS[0], report_on=measured.SPORTS[1]
    ).checked()
    seconds: dict[str, list[float]] = {"load": [], "find_leaks": []}
    with contextlib.ExitStack() as stack:
        for name, spent in seconds.items():
            stack.enter_context(_timed(inputs, name, spent))
        own = stack.enter_context(_watched())
        start = psutil.Process().memory_info().rss / _MIB
        began, worked = time.perf_counter(), time.process_time()
        ready = inputs.prepare(recipe, offline=True)
        took, cpu = time.perf_counter() - began, time.process_time() - worked
    peak, peak_from = machine.peak_memory()
    numbers = ready.train.dataset.select(ready.leaks.drop)["row"]
    return {
        "check_seconds": round(seconds["load"][0], 3),  # the first rows that it loads are those to train on
        "leak_seconds": round(sum(seconds["find_leaks"]), 3),
        "ready_seconds": round(took, 3),
        "cpu_seconds": round(cpu, 3),
        "start_mib": round(start, 1),
        "peak_mib": round(peak, 1),
        "growth_mib": round(peak - start, 1),
        "own_growth_mib": round(max(own) - own[0], 1) if own else None,
        "kept": len(ready.rows),
        "dropped": {**ready.train.source.dropped, "evaluation pair": len(ready.leaks.drop)},
        "leaked": [int(number) for number in numbers],
        "peak_from": peak_from,
    }


@contextlib.contextmanager
def _timed(module: Any, name: str, spent: list[float]) -> Iterator[None]:
    """Add the seconds of each call of a module's function to ``spent``."""
    plain: Callable[..., Any] = getattr(module, name)

    def timed(*args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return plain(*args, **options)
        finally:
            spent.append(time.perf_counter() - start)

    setattr(module, name, timed)
    try:
        yield
    finally:
        setattr(module, name, plain)


@contextlib.contextmanager
def _watched() -> Iterator[list[float]]:
    """MiB of memory that are no pages of files, from the start on; nothing where the system does not tell."""
    process, seen, over = psutil.Process(), list[float](), threading.Event()

    def look() -> None:
        info = process.memory_info()
        if hasattr(info, "shared"):
            seen.append((info.rss - info.shared) / _MIB)

    def keep_looking() -> None:
        while not over.wait(_EVERY):
            look()

    look()
    watcher = threading.Thread(target=keep_looking, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()
        look()


if __name__ == "__main__":
    logging.getLogger("hf_simtune").setLevel(logging.ERROR)  # what it drops was put there, and is counted
    sys.stdout.write(json.dumps(_prepared(Path(sys.argv[1]))))
