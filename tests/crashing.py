"""Command lines in processes that are to die: forked from one that has imported everything, so that a run is seconds.

    python tests/crashing.py        answers lines of JSON; ``Nursery`` is the other side of it

What dies where is decided here, by functions of the libraries that are wrapped in the child: the package itself has no
way to be told.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["CAME", "Moment", "Nursery", "seen_in"]

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))  # this package, and not one that is installed
FAILED = 70  # an error that is no sentence
CAME = "(the moment has come)"  # in the log of a process that sent itself a signal
SEEN = "moments were seen"  # in that of one which waited for one and ended by itself


@dataclasses.dataclass(frozen=True)
class Moment:
    """Where a process sends itself a signal.

    Attributes:
        doing: "write" (SIGKILL leaves half of the file there; another signal comes before the write), "replace" and
            "replaced" (before and after a file or folder takes its place), "remove" (with half of a folder gone), or
            "any" of these.
        match: of the path, a regular expression that is searched for.
        nth: time that this happens, from 1; 0 never comes, and how often it happened stands in the log.
        number: of the signal.
    """

    doing: str
    match: str = ""
    nth: int = 1
    number: int = signal.SIGKILL


def seen_in(log: Path) -> int:
    """How often what a process waited for happened, if it ended by itself."""
    return int(re.findall(rf"(\d+) {SEEN}", log.read_text(encoding="utf-8"))[-1])


class Nursery:
    """Starts command lines, and waits for their ends."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), **(environment or {})},
        )

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *given: object) -> None:
        assert self._server.stdin and self._server.stdout
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def start(self, words: list[str], log: Path, moment: Moment | None = None, largest: int | None = None) -> int:
        """The process of a command line; its output goes to ``log``. No file of it may be larger than ``largest``."""
        asked = {"words": words, "log": str(log), "largest": largest}
        return int(self._ask(asked | {"moment": dataclasses.asdict(moment) if moment else None}))

    def wait(self, process: int) -> int:
        """Its exit status; below 0, the signal that killed it."""
        return int(self._ask({"wait": process}))

    def run(self, words: list[str], log: Path, moment: Moment | None = None, largest: int | None = None) -> int:
        """Start and wait."""
        return self.wait(self.start(words, log, moment, largest))

    def _ask(self, value: dict[str, Any]) -> str:
        assert self._server.stdin and self._server.stdout
        self._server.stdin.write(json.dumps(value) + "\n")
        self._server.stdin.flush()
        return self._server.stdout.readline()


def _serve() -> None:
    import matplotlib
    import torch

    matplotlib.use("Agg")
    torch.set_num_threads(1)
    import matplotlib.pyplot

    from hf_simtune import commands, publish_command, run_commands, terminal_run, tuning  # noqa: F401

    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            answer = os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1])
        else:
            answer = os.fork()
            if not answer:
                _child(asked)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def _child(asked: dict[str, Any]) -> None:
    """Be the command line; never returns."""
    status: Any = FAILED
    trap = None
    try:
        with Path(asked["log"]).open("wb", buffering=0) as log, Path(os.devnull).open() as nothing:
            for number in (1, 2):
                os.dup2(log.fileno(), number)
            os.dup2(nothing.fileno(), 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if asked["moment"]:
            trap = _wrap(Moment(**asked["moment"]))
        if asked["largest"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (asked["largest"], asked["largest"]))
        from hf_simtune import cli

        sys.argv = ["hf-simtune", *asked["words"]]
        try:
            cli.main()
        except SystemExit as end:
            status = end.code
    finally:
        if sys.exc_info()[1] is not None:
            traceback.print_exc()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if trap:
            os.write(2, f"{trap.seen} {SEEN}\n".encode())
        os._exit(status if isinstance(status, int) else FAILED)


class _Trap:
    """Counts what a moment waits for, and sends the signal."""

    def __init__(self, moment: Moment) -> None:
        self.moment, self.seen = moment, 0

    def due(self, doing: str, path: object) -> bool:
        if self.moment.doing not in (doing, "any") or not re.search(self.moment.match, str(path)):
            return False
        self.seen += 1
        return self.seen == self.moment.nth

    def spring(self) -> None:
        os.write(2, f"{CAME}\n".encode())
        os.kill(os.getpid(), self.moment.number)

    def write(self, path: object, content: Callable[[], bytes]) -> None:
        """Leave half of the file, and die; or be told to stop, and go on."""
        if not self.due("write", path):
            return
        if self.moment.number == signal.SIGKILL:
            whole = content()
            file = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.write(file, whole[: len(whole) // 2])
        self.spring()


def _wrap(moment: Moment) -> _Trap:
    import pyarrow.parquet as pq
    import safetensors.torch
    import torch
    import transformers.modeling_utils
    from transformers import TrainerState

    trap = _Trap(moment)

    def around(owner: Any, name: str, before: Callable[..., None], after: Callable[..., None] | None = None) -> None:
        original = getattr(owner, name)

        def wrapped(*given: Any, **named: Any) -> Any:
            before(*given, **named)
            found = original(*given, **named)
            if after:
                after(*given, **named)
            return found

        setattr(owner, name, wrapped)

    def saved(value: Any) -> bytes:
        buffer = io.BytesIO()
        original_save(value, buffer)
        return buffer.getvalue()

    def parquet(table: Any) -> bytes:
        sink = io.BytesIO()
        original_table(table, sink)
        return sink.getvalue()

    def half_gone(path: object, *given: Any, **named: Any) -> None:
        if Path(str(path)).is_dir() and trap.due("remove", path):
            for file in sorted(Path(str(path)).iterdir())[::2]:
                if file.is_file():
                    file.unlink()
            trap.spring()

    def appended(self: Path, mode: str = "r", *given: Any, **named: Any) -> None:
        if mode.startswith("a") and trap.due("write", self):
            if moment.number == signal.SIGKILL:
                os.write(os.open(self, os.O_WRONLY | os.O_CREAT | os.O_APPEND), b'{"step": 1, "epo')
            trap.spring()

    original_save, original_table = torch.save, pq.write_table
    around(Path, "write_text", lambda self, text, *a, **k: trap.write(self, text.encode))
    around(Path, "write_bytes", lambda self, data: trap.write(self, lambda: data))
    around(Path, "open", appended)
    around(torch, "save", lambda value, path, *a, **k: trap.write(path, lambda: saved(value)))
    around(pq, "write_table", lambda table, path, **k: trap.write(path, lambda: parquet(table)))
    tensors = safetensors.torch.save
    around(
        transformers.modeling_utils,
        "safe_save_file",
        lambda weights, path, *a, **k: trap.write(path, lambda: tensors(weights)),
    )
    around(
        TrainerState,
        "save_to_json",
        lambda self, path: trap.write(path, json.dumps(dataclasses.asdict(self), default=str).encode),
    )

    def before_place(path: object, target: object) -> None:
        if trap.due("replace", target):
            trap.spring()

    def after_place(path: object, target: object) -> None:
        if trap.due("replaced", target):
            trap.spring()

    for name in ("replace", "rename"):
        around(Path, name, before_place, after_place)
    around(shutil, "rmtree", half_gone)
    return trap


if __name__ == "__main__":
    _serve()
