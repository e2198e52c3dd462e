"""Runs that are killed, stopped or left without room at many moments, and are then resumed.

    python tests/crash_torture.py [--seed N] [--only KIND ...] [--first N]

Real runs of a tiny model, in processes of their own. Some moments are named: while a certain file is written, or just
before or behind its taking its place. The others are drawn: a time, a size of the disk. After each: no traceback, the
right exit status and the command to go on, no folder that is taken for a finished run; and resumed, the weights and
scores of the uninterrupted run, byte by byte, or an error that says what is missing. Prints how many moments of each
kind were tried and what became of them, as JSON; exits with 1 at the first promise that is broken. The disk is a tmpfs,
for which one has to be root; for others the size of a file is limited instead.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import conftest  # noqa: F401 - now, as it puts the caches elsewhere
from crashing import CAME, Broken, Moment, Nursery, Promises, recipe_words, rows
from torture_record import parsed

KILLED = [
    # A checkpoint, each file of it, its seal, and an older one on its way out.
    Moment("write", r"checkpoint-\d+/model.safetensors", 1),
    Moment("write", r"checkpoint-\d+/model.safetensors", 3),
    Moment("write", r"checkpoint-\d+/optimizer.pt", 2),
    Moment("write", r"checkpoint-\d+/scheduler.pt", 3),
    Moment("write", r"checkpoint-\d+/rng_state.pth", 6),
    Moment("write", r"checkpoint-\d+/trainer_state.json", 2),
    Moment("write", r"checkpoint-\d+/whole.json.part", 2),
    Moment("replace", r"checkpoint-\d+/whole.json", 5),
    Moment("replaced", r"checkpoint-\d+/whole.json", 3),
    Moment("remove", r"checkpoint-\d+$", 1),
    Moment("write", r"scored.jsonl", 2),
    Moment("write", r"seconds.json.part", 3),
    Moment("write", r"plan.json.part"),
    Moment("replace", r"plan.json"),
    Moment("replaced", r"plan.json"),
    Moment("write", r"model.part/model.safetensors"),
    Moment("replace", r"/model$"),
    Moment("replaced", r"/model$"),
    Moment("write", r"scores.parquet.part"),
    Moment("write", r"plots/.*png", 2),
    Moment("write", r"README.md.part", 1),
    Moment("write", r"model/README.md.part", 1),
    Moment("write", r"report.html.part"),
    Moment("write", r"record.json.part"),
    Moment("replace", r"record.json"),
    Moment("replaced", r"record.json"),
]
STOPPED = [
    Moment("replaced", r"plan.json", 1, signal.SIGTERM),
    Moment("write", r"scored.jsonl", 2, signal.SIGINT),
    Moment("write", r"checkpoint-\d+/optimizer.pt", 2, signal.SIGINT),
    Moment("write", r"checkpoint-\d+/optimizer.pt", 6, signal.SIGTERM),  # behind the last step
    Moment("write", r"model.part/model.safetensors", 1, signal.SIGTERM),
    Moment("write", r"README.md.part", 1, signal.SIGTERM),
    Moment("write", r"report.html.part", 1, signal.SIGINT),
    Moment("replace", r"record.json", 1, signal.SIGINT),
    Moment("replaced", r"record.json", 1, signal.SIGTERM),
]
SOUP = ("--soup", "2", "--keep-base", "0.1")


class Torture:
    """All kinds of moments, on files and a model made for them."""

    def __init__(self, folder: Path, nursery: Nursery, seed: int, *, soups: bool = True) -> None:
        self.folder, self.nursery, self.luck = folder, nursery, random.Random(seed)
        self.log = folder / "log"
        rows(folder)
        self.promises: dict[str, Promises] = {}
        self.seconds: dict[str, float] = {}
        for name, words in [("one", ()), ("soup", SOUP)][: 1 + soups]:
            out = folder / f"whole-{name}"
            self._must_run(recipe_words(folder, out, *words))  # warms the caches
            shutil.rmtree(out)
            start = time.monotonic()
            self._must_run(recipe_words(folder, out, *words))
            self.seconds[name] = time.monotonic() - start
            self.promises[name] = Promises(nursery, next(out.iterdir()))
        self.number = 0

    def _must_run(self, words: list[str]) -> None:
        if self.nursery.run(words, self.log):
            raise Broken(f"the uninterrupted run fails: {self.log.read_text(encoding='utf-8')}")

    def _out(self) -> Path:
        self.number += 1
        return self.folder / f"out-{self.number}"

    def _after(self, out: Path, status: int, number: int | None, of: str = "one") -> str:
        folder = self.promises[of].ended(out, status, self.log.read_text(encoding="utf-8"), number)
        return self.promises[of].resumed(folder, self.log) if folder else "nothing begun"

    def named(self, moment: Moment) -> str:
        """At a file."""
        out = self._out()
        status = self.nursery.run(recipe_words(self.folder, out), self.log, moment)
        if CAME not in self.log.read_text(encoding="utf-8"):
            raise Broken("the moment never came")
        return self._after(out, status, moment.number)

    def timed(self, number: int, again: float | None = None) -> str:
        """At a time that is drawn; with ``again``, once more so many seconds later."""
        of = self.luck.choice(["one", *self.promises])
        out = self._out()
        process = self.nursery.start(recipe_words(self.folder, out, *(SOUP if of == "soup" else ())), self.log)
        self._signal(process, number, self.luck.uniform(0, self.seconds[of]))
        if again is not None:
            self._signal(process, number, again)
        return self._after(out, self.nursery.wait(process), number, of)

    def _signal(self, process: int, number: int, wait: float) -> None:
        """It is the nursery that waits for the process, so that its number is taken until then."""
        time.sleep(wait)
        os.kill(process, number)

    def twice(self) -> str:
        """Killed, resumed, and killed again."""
        out = self._out()
        process = self.nursery.start(recipe_words(self.folder, out), self.log)
        self._signal(process, signal.SIGKILL, self.luck.uniform(0.3, 0.7) * self.seconds["one"])
        status = self.nursery.wait(process)
        folder = self.promises["one"].ended(out, status, self.log.read_text(encoding="utf-8"), signal.SIGKILL)
        if folder and (folder / "plan.json").is_file() and not (folder / "record.json").is_file():
            process = self.nursery.start(["tune", "--resume", str(folder)], self.log)
            self._signal(process, signal.SIGKILL, self.luck.uniform(0.1, 0.6) * self.seconds["one"])
            status = self.nursery.wait(process)
        return self._after(out, status, signal.SIGKILL)

    def full(self) -> str:
        """On a disk of a size that is drawn, halved until a run does not fit, which is then made larger."""
        size = self.luck.randrange(60, 1800)
        while True:
            place = self._out()
            with _disk(place, size):
                out = place / "runs"
                status = self.nursery.run(recipe_words(self.folder, out), self.log)
                if status:
                    _mount("-o", f"remount,size={2**16}k", str(place))
                    return self._after(out, status, None)
            size //= 2

    def limited(self, largest: int | None = None) -> str:
        """With a largest file that is drawn, if it is not given, and halved until one does not fit."""
        largest = largest or self.luck.randrange(2**9, 2**18)
        out = self._out()
        while not (status := self.nursery.run(recipe_words(self.folder, out), self.log, largest=largest)):
            largest, out = largest // 2, self._out()
        return self._after(out, status, None)

    def together(self) -> str:
        """Two processes resume one run: one of them does, the other says why not."""
        out = self._out()
        moment = Moment("replaced", r"checkpoint-\d+/whole.json", self.luck.randrange(1, 5))
        self.nursery.run(recipe_words(self.folder, out), self.log, moment)
        (folder,) = out.iterdir()
        logs = [self.folder / "first", self.folder / "second"]
        both = [self.nursery.start(["tune", "--resume", str(folder)], log) for log in logs]
        ended = [self.nursery.wait(process) for process in both]
        said = {status: log.read_text(encoding="utf-8") for status, log in zip(ended, logs, strict=True)}
        if sorted(ended) != [0, 2] or "another process works in" not in said[2]:
            raise Broken(f"two processes in one folder ended with {ended}: {said}")
        self.promises["one"].same(folder)
        return "one of two"


def kinds(torture: Torture) -> dict[str, list[Callable[[], str]]]:
    """Every kind of moment, and its cases."""
    luck = torture.luck

    def drawn(number: int) -> list[Callable[[], str]]:
        return [lambda: torture.timed(number)] * 8

    return {
        "SIGKILL at a file": [lambda m=m: torture.named(m) for m in KILLED],  # type: ignore[misc]
        "SIGTERM or SIGINT at a file": [lambda m=m: torture.named(m) for m in STOPPED],  # type: ignore[misc]
        "SIGKILL at a time": drawn(signal.SIGKILL),
        "SIGTERM at a time": drawn(signal.SIGTERM),
        "SIGINT at a time": drawn(signal.SIGINT),
        "SIGINT twice": [lambda: torture.timed(signal.SIGINT, luck.uniform(0, 0.2))] * 4,
        "SIGKILL, and again when resumed": [torture.twice] * 3,
        "a full disk": [torture.full if os.geteuid() == 0 else torture.limited] * 8,
        "a limit on the size of a file": [torture.limited] * 4,
        "two --resume at once": [torture.together] * 2,
    }


@contextmanager
def _disk(place: Path, kibibytes: int) -> Iterator[None]:
    place.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(place))
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="KIND", help="words in the names of kinds")
    parser.add_argument("--first", type=int, help="so many cases of each kind")
    words, keeper = parsed(parser, "crash")
    tried: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as temporary, Nursery() as nursery:
        torture = Torture(Path(temporary), nursery, words.seed)
        for kind, cases in kinds(torture).items():
            if words.only and not any(word in kind for word in words.only):
                continue
            tried[kind] = Counter()
            for number, case in enumerate(cases[: words.first]):
                start = time.monotonic()
                try:
                    became = case()
                except Broken as broken:
                    said = torture.log.read_text(encoding="utf-8")
                    sys.stderr.write(f"{kind}, case {number}: {broken}\n{said}\n")
                    return 1
                tried[kind][became] += 1
                sys.stderr.write(f"{kind}, {number}: {became} ({time.monotonic() - start:.1f} s)\n")
    moments = sum(sum(found.values()) for found in tried.values())
    found = {"moments": moments, "of them": tried}
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    keeper.keep(found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
