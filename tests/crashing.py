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
import random
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

__all__ = ["CAME", "Broken", "Moment", "Nursery", "Promises", "recipe_words", "rows"]

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))  # this package, and not one that is installed
_WORDS = "ball bear bird blue boy bread bus car cat city coach cold cook cup day dog eat end fish food game"
FAILED = 70  # an error that is no sentence
CAME = "(the moment has come)"  # in the log of a process that sent itself a signal


@dataclasses.dataclass(frozen=True)
class Moment:
    """Where a process sends itself a signal.

    Attributes:
        doing: "write" (SIGKILL leaves half of the file there; another signal comes before the write), "replace" and
            "replaced" (before and after a file or folder takes its place), "remove" (with half of a folder gone).
        match: of the path, a regular expression that is searched for.
        nth: time that this happens, from 1.
        number: of the signal.
    """

    doing: str
    match: str
    nth: int = 1
    number: int = signal.SIGKILL


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


class Broken(Exception):
    """A promise that was not kept."""


class Promises:
    """What must hold of a run that ended early, and when it is resumed.

    Args:
        nursery: that starts command lines.
        whole: the folder of the same run, uninterrupted.
    """

    def __init__(self, nursery: Nursery, whole: Path) -> None:
        self._nursery, self._whole = nursery, whole

    def ended(self, out: Path, status: int, said: str, number: int | None) -> Path | None:
        """Check how a run in ``out`` ended early; its folder, None where it left none.

        Args:
            out: the folder of run folders.
            status: with which the process ended.
            said: everything that it printed.
            number: of the signal that it got; None: it could not write.
        """
        folders = (
            [path for path in out.iterdir() if path.is_dir() and path.name != "lost+found"] if out.is_dir() else []
        )
        _true(len(folders) <= 1, f"one run made {len(folders)} folders")
        folder = folders[0] if folders else None
        record = bool(folder and (folder / "record.json").is_file())
        begun = bool(folder and (folder / "plan.json").is_file())
        _true("Traceback" not in said, "it ended in a traceback")
        if number == signal.SIGKILL:
            _true(status == -number or (record and status == 0), f"it was killed and ended with {status}")
        elif number is not None:
            # Before the run listens and after it is over the signal does what it does to any process.
            plain = not begun or record
            allowed = {128 + number, *([-number, 0] if plain else [])}
            _true(status in allowed, f"signal {number}, and it ended with {status}")
            if not plain:
                _true(f"tune --resume {folder}\n" in said, "it does not say how to go on")
            for step in re.findall(r"stopped at step (\d+), with a checkpoint", said):
                _true(
                    bool(list(out.glob(f"*/trainer/**/checkpoint-{step}/whole.json"))), f"no checkpoint of step {step}"
                )
        elif status or not record:
            _true(status == 1, f"it could not write, and ended with {status}")
            _true("could not be written in" in said, "it does not say what could not be written")
            _true(not begun or f"tune --resume {folder}" in said, "it does not say how to go on")
        return folder

    def resumed(self, folder: Path, log: Path) -> str:
        """Go on with what there is; says what became of it."""
        from hf_simtune.errors import RequestError
        from hf_simtune.run_folder import RunFolder

        record, begun = (folder / "record.json").is_file(), (folder / "plan.json").is_file()
        if not record:
            try:
                RunFolder.finished(folder)
            except RequestError:
                pass
            else:
                raise Broken("an unfinished run is taken for a finished one")
        status = self._nursery.run(["tune", "--resume", str(folder)], log)
        said = log.read_text(encoding="utf-8")
        _true("Traceback" not in said, f"the resumed run ended in a traceback: {said}")
        if record:
            _true(status == 2 and "is finished" in said, f"a finished run was taken up again: {status}, {said}")
            self.same(folder)
            return "finished before"
        if not begun:
            _true(status == 2 and "plan.json" in said, f"it does not say what is missing: {status}, {said}")
            return "nothing to go on with"
        _true(status == 0, f"the resumed run ended with {status}: {said}")
        self.same(folder)
        return "same weights"

    def same(self, folder: Path) -> None:
        """The weights, byte by byte, and the scores are those of the uninterrupted run."""
        for name in ("model/model.safetensors", "scores.parquet"):
            same = (folder / name).read_bytes() == (self._whole / name).read_bytes()
            _true(same, f"{name} is not that of the uninterrupted run")
        found, wanted = (
            json.loads((path / "record.json").read_text(encoding="utf-8")) for path in (folder, self._whole)
        )
        for name in ("evaluations", "tuned"):
            _true(found[name] == wanted[name], f"{name} in record.json are not those of the uninterrupted run")
        # What is over takes no more room than what it took at once.
        _true(not list(folder.rglob("*.part")), "something half-written is left in a finished run")
        for name in ("README.md", "report.html"):
            _true((folder / name).stat().st_size > 1000, f"{name} is not whole")


def _true(holds: bool, broken: str) -> None:
    if not holds:
        raise Broken(broken)


def rows(folder: Path, count: int = 96) -> None:
    """Three files of graded pairs of common words, and a tiny model; with an own process, as this one may fork."""
    luck = random.Random(3)
    words = [*_WORDS.split()]
    for name, size in (("train", count), ("select", 40), ("report", 60)):
        lines = ["sentence1,sentence2,score"]
        for number in range(size):
            first = luck.sample(words, 5)
            shared = luck.randrange(6)
            second = [*first[:shared], *luck.sample(words, 5 - shared)]
            lines.append(f"{name} {number} {' '.join(first)},{' '.join(second)} {number},{shared / 5}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    code = f"from pathlib import Path; from tiny import tiny_model; tiny_model(Path({str(folder / 'tiny')!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=True)


def recipe_words(folder: Path, out: Path, *further: str) -> list[str]:
    """The command line of a run of a few seconds on those files."""
    words = f"tune {folder}/train.csv --name crash --model {folder}/tiny --loss cosent --select-on {folder}/select.csv"
    words += f" --report-on {folder}/report.csv --batch-size 8 --epochs 2 --evaluations 6 --learning-rate 1e-3"
    words += f" --precision fp32 --forward plain --keep-leaks --out {out}"
    return [*words.split(), *further]


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
    try:
        with Path(asked["log"]).open("wb", buffering=0) as log, Path(os.devnull).open() as nothing:
            for number in (1, 2):
                os.dup2(log.fileno(), number)
            os.dup2(nothing.fileno(), 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if asked["moment"]:
            _wrap(Moment(**asked["moment"]))
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
        os._exit(status if isinstance(status, int) else FAILED)


class _Trap:
    """Counts what a moment waits for, and sends the signal."""

    def __init__(self, moment: Moment) -> None:
        self.moment, self.seen = moment, 0

    def due(self, doing: str, path: object) -> bool:
        if doing != self.moment.doing or not re.search(self.moment.match, str(path)):
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


def _wrap(moment: Moment) -> None:
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
        if trap.due("remove", path):
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


if __name__ == "__main__":
    _serve()
