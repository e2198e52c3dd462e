"""A hundred runs of all kinds in one process: what it holds after the last is what it held after the first ones.

    python tests/endurance_torture.py [--cycles 15] [--after 2] [--seeds 1]

Each run tunes a tiny model, scores, compares and writes its folder, which is then deleted; a cycle is one run of each
kind in ``kinds``. Prints a line of JSON for every cycle: resident memory, bytes of live tensors, open files, threads,
log handlers, warning filters, variables of the environment, and the kinds of objects that became most since the cycle
before. Exits with 1 where one of them has grown since the cycle ``--after``. Minutes.

Each cycle has the same seeds, and so batches of the same sizes. The libraries keep the code that they make for products
in bf16 for each size (oneDNN up to 1,024 of them), and a packed batch may have any number of tokens: with other seeds
memory grows with each new size, as ``--seeds 15`` shows, and not with the runs.
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
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

import conftest  # noqa: F401 - before the libraries, which read the environment once
from torture_record import parsed

if TYPE_CHECKING:
    from hf_simtune import Recipe

MEBIBYTE = 2**20
# Pages of freed memory that the allocator keeps, and what Python interns, settle over many runs: resident memory may
# grow by so much in 90 runs, which is a sixth of a MiB a run. A kept trainer or table of scores is more.
MOST_MEMORY = 15.0


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


def kinds(folder: Path) -> dict[str, Recipe]:
    """A recipe of a second or two for each kind of run, with its rows and tiny models."""
    from datasets import Dataset
    from published import teachable
    from tiny import tiny_model, tiny_splade, tiny_static

    from hf_simtune.lora import LoRA

    static = teachable(tiny_static(folder / "static"), folder, epochs=0.25, evaluations=1)
    tiny, splade = str(tiny_model(folder / "tiny")), str(tiny_splade(folder / "splade"))
    short = {"precision": "auto", "train_rows": 64, "epochs": 1.0, "learning_rate": 5e-3}
    dense = dataclasses.replace(static, model=tiny, **short)
    # Sentences that are all to be the same: what they learn is a collapse.
    alike = [{"sentence1": f"good dog {i}", "sentence2": f"bad cat {i % 7}", "score": 1.0} for i in range(320)]
    Dataset.from_list(alike).to_csv(str(folder / "alike.csv"))
    still = {"evaluations": 6, "learning_rate": 1e-12, "warmup": 0.0}  # no score is better than the first
    collapse = {"train_data": str(folder / "alike.csv"), "train_rows": None, "loss": "cosine", "learning_rate": 0.05}
    return {
        "static": static,
        "packed": dense,
        "LoRA": dataclasses.replace(dense, lora=LoRA()),
        "SPLADE": dataclasses.replace(dense, model=splade),
        "soup": dataclasses.replace(dense, soup=2, keep_base=0.1),
        "stopped early": dataclasses.replace(dense, patience=1, **still),
        "stopped by the guard": dataclasses.replace(dense, on_collapse="stop", epochs=2.0, evaluations=6, **collapse),
    }


def cycles(
    folder: Path, count: int, watch: Callable[[int, Held], None], *, seeds: int = 1, only: Collection[str] = ()
) -> list[str]:
    """Tune each kind so many times in turn, with other seeds up to ``seeds``; ``watch`` what is held after a cycle.

    Returns:
        The kinds; all of them, if not ``only`` some were asked for.
    """
    from hf_simtune import tune

    recipes = {kind: recipe for kind, recipe in kinds(folder).items() if not only or kind in only}
    for cycle in range(1, count + 1):
        for kind, recipe in recipes.items():
            run = tune(dataclasses.replace(recipe, seed=cycle % seeds), out=folder / "runs")
            told = run.record.training
            stopped = told.stopped is not None
            if not run.record.report.comparison or stopped != ("stopped" in kind):
                raise RuntimeError(f"{kind}, cycle {cycle}: it compared nothing, or stopped: {told.stopped}")
            shutil.rmtree(run.folder)
            del run, told
        watch(cycle, Held.now())
    return list(recipes)


def objects() -> Counter[str]:
    """How many live objects there are of each type."""
    gc.collect()
    return Counter(f"{type(value).__module__}.{type(value).__qualname__}" for value in gc.get_objects())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=15)
    parser.add_argument("--after", type=int, default=2, help="the cycle whose figures the last ones are held against")
    parser.add_argument("--seeds", type=int, default=1, help="so many cycles differ in their batches")
    words, keeper = parsed(parser, "endurance")
    seen: dict[int, Held] = {}
    alive = Counter[str]()

    def watch(cycle: int, held: Held) -> None:
        nonlocal alive
        seen[cycle] = held
        now = objects()
        more = dict((now - alive).most_common(5)) if alive else {}
        alive = now
        sys.stdout.write(json.dumps({"cycle": cycle} | dataclasses.asdict(held) | {"more": more}) + "\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as temporary:
        made = cycles(Path(temporary), words.cycles, watch, seeds=words.seeds)
    first, last = ({"run": len(made) * at} | dataclasses.asdict(seen[at]) for at in (words.after, words.cycles))
    keeper.keep({"kinds": made, "first": first, "last": last})
    problems = seen[words.cycles].grown(seen[words.after])
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return int(bool(problems))


if __name__ == "__main__":
    raise SystemExit(main())
