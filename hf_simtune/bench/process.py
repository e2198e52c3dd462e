"""The parent's end of one side of a benchmark: starts its process, asks for rounds, ends it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

from hf_simtune.bench import fresh
from hf_simtune.bench.worker import Job
from hf_simtune.errors import RunError

__all__ = ["Worker"]


class Worker:
    """A process that trains a round when asked."""

    def __init__(self, name: str, job: Job, folder: Path) -> None:
        self.name = name
        self.job = job
        file = folder / f"{name.replace(' ', '-')}.json"
        file.write_text(json.dumps(dataclasses.asdict(job)), encoding="utf-8")
        self.errors = (folder / f"{file.stem}.log").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            fresh.words("bench.worker", str(file)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=fresh.environment(OMP_NUM_THREADS=str(job.threads), TOKENIZERS_PARALLELISM="false"),
        )

    def hear(self) -> dict[str, Any]:
        """The next line.

        Raises:
            RunError: the process ended without one.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            last = self.errors.read().strip().splitlines()[-1:] or ["nothing"]
            raise RunError(f"the benchmark's process {self.name!r} ended early; its last words: {last[0]}")
        value: dict[str, Any] = json.loads(line)
        return value

    def ask(self, word: str) -> dict[str, Any]:
        """A round.

        Raises:
            RunError: the process is gone.
        """
        with contextlib.suppress(OSError):  # it ended in between: hearing it says how
            self.tell(word)
        return self.hear()

    def tell(self, word: str) -> None:
        """A word."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Stop it, kindly or not."""
        if self.process.poll() is None:
            try:
                self.tell("stop")
                self.process.wait(60)
            except (OSError, subprocess.TimeoutExpired):
                self.process.kill()
                self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            if stream is not None:
                stream.close()
