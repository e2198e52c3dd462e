"""Many command lines from one process that has imported the libraries: each in a fork of its own, as a user's would be.

Importing them takes longer than a command on a tiny model. The process is given a Hub's address when it starts, as the
libraries read it when they are imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loopback_hub import LoopbackHub

__all__ = ["Commands"]

CHECKOUT = Path(__file__).resolve().parents[1]


class Commands:
    """A context manager: ``commands(words...)`` is ``hf-simtune words...``, and ``commands.python(code)`` a script."""

    def __init__(self, hub: LoopbackHub, home: Path, **more: str) -> None:
        ours = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT), "NO_COLOR": "1", "HF_HUB_OFFLINE": "0"}
        self._environment = hub.environment(home, **more) | ours
        self._home = home

    def __enter__(self) -> Commands:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._environment
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def __call__(self, *words: str, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        return self._ask({"words": words, "cwd": str(cwd or self._home.parent), "more": more})

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """A script with the libraries alone."""
        return self._ask({"code": code, "cwd": str(self._home.parent), "more": {}})

    def _ask(self, what: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        assert self._process.stdin and self._process.stdout
        with tempfile.TemporaryDirectory() as place:
            self._process.stdin.write(json.dumps(what | {"place": place}) + "\n")
            self._process.stdin.flush()
            status = int(self._process.stdout.readline())
            out, told = (Path(place, name).read_text() for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(what.get("words", ["-c"]), status, out, told)


def _serve() -> None:
    import datasets  # noqa: F401
    import peft  # noqa: F401
    import sentence_transformers  # noqa: F401

    import hf_simtune.cli
    import hf_simtune.publishing
    import hf_simtune.tuning

    for line in sys.stdin:
        asked = json.loads(line)
        if child := os.fork():
            _, ended, used = os.wait4(child, 0)
            status = os.waitstatus_to_exitcode(ended)
            if "FORKED_TIMES" in os.environ:
                sys.stderr.write(f"{used.ru_utime + used.ru_stime:.2f} s {asked.get('words')}\n")
            os.write(1, f"{status}\n".encode())
            continue
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(Path(asked["place"], name), os.O_CREAT | os.O_WRONLY), number)
        os.environ.update(asked["more"])
        os.chdir(asked["cwd"])
        sys.argv[1:] = asked.get("words", [])
        if "code" in asked:
            exec(compile(asked["code"], "script", "exec"), {"__name__": "__main__"})
            sys.exit()
        hf_simtune.cli.main()


if __name__ == "__main__":
    _serve()
