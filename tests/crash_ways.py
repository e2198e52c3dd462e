"""Ways in which a run ends early, and what must become of it: what ``crash_torture`` does many times."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from crash_promises import Broken, Promises
from crash_runs import files, recipe_words
from crashing import CAME, Moment, Nursery, seen_in

__all__ = ["Torture", "nursery_in"]

CACHE = "cache"


@dataclasses.dataclass(frozen=True)
class Whole:
    """An uninterrupted run."""

    folder: Path
    promises: Promises
    moments: int  # files that it wrote, put in their place or took away
    kibibytes: int

    @classmethod
    def of(cls, folder: Path, nursery: Nursery, moments: int) -> Whole:
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return cls(folder, Promises(nursery, folder), moments, size // 1024)


def nursery_in(folder: Path, threads: int = 1) -> Nursery:
    """Whose runs keep their checked rows in ``folder``, where a torture takes them away."""
    return Nursery({"HF_HOME": str(folder / CACHE), "HF_SIMTUNE_THREADS": str(threads)})


class Torture:
    """All ways to end, and all kinds of runs, on files and models made for them.

    Args:
        folder: takes everything.
        nursery: of the same folder.
        seed: of what is drawn.
    """

    def __init__(self, folder: Path, nursery: Nursery, seed: int) -> None:
        self.folder, self.nursery, self.luck = folder, nursery, random.Random(seed)
        self.log = folder / "log"
        files(folder)
        self._wholes: dict[tuple[str, str | None], Whole] = {}
        self._seconds: dict[str, float] = {}
        self.number = 0

    def whole(self, of: str, precision: str | None = None) -> Whole:
        """The uninterrupted run of a kind, made when it is first asked for.

        ``auto`` decides for a precision by a measurement, which may tell another one the next time; ``precision`` is
        that of a run which is held against this one.
        """
        if (of, precision) not in self._wholes:
            further = ("--precision", precision) if precision else ()
            out = self.folder / " ".join(["whole", of, *further])
            self._must_run(recipe_words(self.folder, out, of, *further), Moment("any", nth=0))
            whole = Whole.of(next(out.iterdir()), self.nursery, seen_in(self.log))
            self._wholes |= {(of, precision): whole, (of, _precision(whole.folder)): whole}
        return self._wholes[of, precision]

    def seconds(self, of: str) -> float:
        """How long a run of a kind takes; it is made once more, and has to end with the same weights."""
        if of not in self._seconds:
            self.whole(of)  # warms the caches
            out, start = self._out(), time.monotonic()
            self._must_run(recipe_words(self.folder, out, of))
            self._seconds[of] = time.monotonic() - start
            self._promises(of, next(out.iterdir())).same(next(out.iterdir()))
        return self._seconds[of]

    def _must_run(self, words: list[str], moment: Moment | None = None) -> None:
        if self.nursery.run(words, self.log, moment):
            raise Broken("the uninterrupted run fails")

    def _out(self) -> Path:
        self.number += 1
        return self.folder / f"out-{self.number}"

    def _promises(self, of: str, folder: Path | None) -> Promises:
        return self.whole(of, _precision(folder) if folder else None).promises

    def _after(self, of: str, out: Path, status: int, number: int | None) -> str:
        said = self.log.read_text(encoding="utf-8")
        folder = self.whole(of).promises.ended(out, status, said, number)
        return self._promises(of, folder).resumed(folder, self.log) if folder else "nothing begun"

    def named(self, of: str, moment: Moment) -> str:
        """At a file."""
        out = self._out()
        status = self.nursery.run(recipe_words(self.folder, out, of), self.log, moment)
        if CAME not in self.log.read_text(encoding="utf-8"):
            raise Broken("the moment never came")
        return self._after(of, out, status, moment.number)

    def drawn(self, of: str, number: int | None = None) -> str:
        """At a file that is drawn from all that a run of this kind writes, puts in its place or takes away."""
        number = number or self.luck.choice([signal.SIGTERM, signal.SIGINT])
        moment = Moment("any", "", self.luck.randint(1, self.whole(of).moments), number)
        out = self._out()
        return self._after(of, out, self.nursery.run(recipe_words(self.folder, out, of), self.log, moment), number)

    def timed(self, of: str, number: int, *, again: bool = False) -> str:
        """At a time that is drawn, or at that and once more a little later."""
        wait, later, out = self.luck.uniform(0, self.seconds(of)), self.luck.uniform(0, 0.2), self._out()
        process = self.nursery.start(recipe_words(self.folder, out, of), self.log)
        self._signal(process, number, wait)
        if again:
            self._signal(process, number, later)
        return self._after(of, out, self.nursery.wait(process), number)

    def _signal(self, process: int, number: int, wait: float) -> None:
        """It is the nursery that waits for the process, so that its number is taken until then."""
        time.sleep(wait)
        os.kill(process, number)

    def twice(self, of: str) -> str:
        """Killed, resumed, and killed again."""
        first, second = (self.luck.uniform(*ends) * self.seconds(of) for ends in ((0.3, 0.7), (0.1, 0.6)))
        out = self._out()
        process = self.nursery.start(recipe_words(self.folder, out, of), self.log)
        self._signal(process, signal.SIGKILL, first)
        status = self.nursery.wait(process)
        said = self.log.read_text(encoding="utf-8")
        folder = self.whole(of).promises.ended(out, status, said, signal.SIGKILL)
        if folder and (folder / "plan.json").is_file() and not (folder / "record.json").is_file():
            process = self.nursery.start(["tune", "--resume", str(folder)], self.log)
            self._signal(process, signal.SIGKILL, second)
            status = self.nursery.wait(process)
        return self._after(of, out, status, signal.SIGKILL)

    def full(self, of: str) -> str:
        """On a disk of a size that is drawn, halved until a run does not fit, which is then made larger."""
        size = self.luck.randrange(60, self.whole(of).kibibytes)
        while True:
            place = self._out()
            with _disk(place, size):
                out = place / "runs"
                status = self.nursery.run(recipe_words(self.folder, out, of), self.log)
                if status:
                    _mount("-o", f"remount,size={2**16}k", str(place))
                    return self._after(of, out, status, None)
            size //= 2

    def limited(self, of: str, largest: int | None = None) -> str:
        """With a largest file that is drawn, if it is not given, and halved until one does not fit."""
        largest = largest or self.luck.randrange(2**9, 2**18)
        out = self._out()
        while not (status := self.nursery.run(recipe_words(self.folder, out, of), self.log, largest=largest)):
            largest, out = largest // 2, self._out()
        return self._after(of, out, status, None)

    def together(self, of: str) -> str:
        """Two processes resume one run: one of them does, the other says why not."""
        out = self._out()
        moment = Moment("replaced", r"checkpoint-\d+/whole.json", self.luck.randrange(1, 5))
        self.nursery.run(recipe_words(self.folder, out, of), self.log, moment)
        (folder,) = out.iterdir()
        logs = [self.folder / "first", self.folder / "second"]
        both = [self.nursery.start(["tune", "--resume", str(folder)], log) for log in logs]
        ended = [self.nursery.wait(process) for process in both]
        said = {status: log.read_text(encoding="utf-8") for status, log in zip(ended, logs, strict=True)}
        if sorted(ended) != [0, 2] or "another process works in" not in said[2]:
            raise Broken(f"two processes in one folder ended with {ended}: {said}")
        self._promises(of, folder).same(folder)
        return "one of two"

    def beside(self, of: str) -> str:
        """Two fresh runs begin at once, in one folder of runs and with one empty cache: each is as if it were alone."""
        self.whole(of)
        shutil.rmtree(self.folder / CACHE)
        out, logs = self._out(), [self.folder / "first", self.folder / "second"]
        both = [self.nursery.start(recipe_words(self.folder, out, of), log) for log in logs]
        ended = [self.nursery.wait(process) for process in both]
        said = [log.read_text(encoding="utf-8") for log in logs]
        folders = sorted(out.iterdir())
        if ended != [0, 0] or len(folders) != 2 or "Traceback" in "".join(said):
            raise Broken(f"two runs at once ended with {ended} in {folders}: {said}")
        for folder in folders:
            self._promises(of, folder).same(folder)
            if sum(f"run folder: {folder}\n" in text for text in said) != 1:
                raise Broken(f"not one run says that {folder} is its own: {said}")
        kept = list((self.folder / CACHE).rglob("hf_simtune/*"))
        facts = [path for path in kept if path.suffix == ".json"]
        for path in facts:
            rows = pa.ipc.open_stream(path.with_suffix(".arrow").read_bytes()).read_all().num_rows
            if rows != json.loads(path.read_text(encoding="utf-8"))["rows"]:
                raise Broken(f"{path} tells of other rows than there are")
        if not facts or len(kept) != 2 * len(facts):
            raise Broken(f"the rows that are kept are not whole: {sorted(path.name for path in kept)}")
        return "both whole"


def _precision(folder: Path) -> str | None:
    """What a run decided for, if it came to that."""
    plan = folder / "plan.json"
    return str(json.loads(plan.read_text(encoding="utf-8"))["precision"]) if plan.is_file() else None


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
