"""Processes from one that has imported the libraries: each a fork, with an environment, a folder and an end of its own.

Importing the libraries takes longer than most commands on a tiny model. They read their settings when they are
imported, so there is a process for each environment, forked from one that has imported what reads none.

    done = forked.run([sys.executable, "-m", "hf_simtune", "recipes"], env=environment, cwd=tmp_path)
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from loopback_hub import LoopbackHub

__all__ = ["Commands", "run"]

CHECKOUT = Path(__file__).resolve().parents[1]
MOST = 3  # environments whose process is kept
# Libraries that read no setting of the Hub, and those that do or that import one which does.
BARE = ("matplotlib.pyplot", "pandas", "scipy.stats", "sklearn.metrics", "torch._dynamo", "torch.distributed.tensor")
SETTLED = ("datasets", "peft", "sentence_transformers", "hf_simtune.cli", "hf_simtune.publishing", "hf_simtune.tuning")
LATE = {"HF_TOKEN", "PYTEST_CURRENT_TEST"}  # read when it is needed, if at all
_servers: list[subprocess.Popen[str]] = []


class Commands:
    """``commands(words...)`` is ``hf-simtune words...`` with a Hub, and ``commands.python(code)`` a script."""

    def __init__(self, hub: LoopbackHub, home: Path, **more: str) -> None:
        ours = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT), "NO_COLOR": "1", "HF_HUB_OFFLINE": "0"}
        self._environment = hub.environment(home, **more) | ours
        self._home = home

    def __call__(self, *words: str, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hf_simtune", *words]
        return run(command, env=self._environment | more, cwd=cwd or self._home.parent)

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """A script with the libraries alone."""
        return run([sys.executable, "-c", code], env=self._environment, cwd=self._home.parent)


def run(
    words: list[str], *, env: Mapping[str, str], cwd: Path | None = None, timeout: float = 500, processes: int = 1
) -> subprocess.CompletedProcess[str]:
    """As ``subprocess.run`` with text that is captured; of Python's own options -c, -m and a script's path are known.

    Args:
        words: the command; the first is this interpreter or a script beside it.
        env: the whole environment.
        cwd: the folder.
        timeout: seconds after which the process is killed.
        processes: of one run, told of each other as torchrun tells them; the first that fails ends the others.

    Raises:
        subprocess.TimeoutExpired: the process was killed.
    """
    if words[0] == sys.executable:
        words = words[1:]
    elif Path(words[0]).parent != Path(sys.executable).parent:
        raise ValueError(f"{words[0]} is not of this environment")
    if not _servers:
        _servers.append(_started())
    (server,) = _servers
    assert server.stdin and server.stdout
    with tempfile.TemporaryDirectory() as place:
        asked = {"words": words, "cwd": str(cwd or Path.cwd()), "env": dict(env), "place": place}
        asked |= {"timeout": timeout, "processes": processes}
        server.stdin.write(json.dumps(asked) + "\n")
        server.stdin.flush()
        status = server.stdout.readline().strip()
        out, told = (Path(place, name).read_text(encoding="utf-8") for name in ("stdout", "stderr"))
    if status == "late":
        raise subprocess.TimeoutExpired(words, timeout, out, told)
    return subprocess.CompletedProcess(words, int(status), out, told)


def _started() -> subprocess.Popen[str]:
    server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ended() -> None:
        assert server.stdin and server.stdout
        server.stdin.close()
        server.wait(60)
        server.stdout.close()

    atexit.register(ended)
    return server


def _serve() -> None:
    """Answer the lines of ``run``: a process for each environment is kept, the least used one ends first."""
    for name in BARE:
        importlib.import_module(name)
    kept: OrderedDict[str, tuple[int, Any, Any]] = OrderedDict()
    del sys.path[0]  # this folder
    for line in sys.stdin:
        env = json.loads(line)["env"]
        key = json.dumps({name: value for name, value in env.items() if name not in LATE}, sort_keys=True)
        if key not in kept:
            if len(kept) == MOST:
                _, (process, ask, answers) = kept.popitem(last=False)
                ask.close()
                answers.close()
                os.waitpid(process, 0)
            kept[key] = _forked(env, list(kept.values()))
        kept.move_to_end(key)
        _, ask, answers = kept[key]
        ask.write(line)
        ask.flush()
        os.write(1, (answers.readline() or "1\n").encode())  # it may have died of its imports


def _forked(env: dict[str, str], others: list[tuple[int, Any, Any]]) -> tuple[int, Any, Any]:
    """The process for an environment, with its two pipes, and with none of the others', which end when theirs close."""
    to, ask = os.pipe()
    answers, back = os.pipe()
    if child := os.fork():
        os.close(to)
        os.close(back)
        return child, os.fdopen(ask, "w"), os.fdopen(answers)
    for end in (ask, answers, *(pipe.fileno() for _, *pipes in others for pipe in pipes)):
        os.close(end)
    own = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [*filter(None, env.get("PYTHONPATH", "").split(os.pathsep)), *(p for p in sys.path if p not in own)]
    os.environ.clear()
    os.environ.update(env)
    _answer(to, back)
    sys.exit()


def _answer(to: int, back: int) -> None:
    for name in SETTLED:
        importlib.import_module(name)
    gc.freeze()  # a collection in a fork would copy every page
    for line in os.fdopen(to):
        asked = json.loads(line)
        child = os.fork()
        if not child:
            os.close(back)
            _leave(_status(asked))
        handle = os.pidfd_open(child)
        late = not select.select([handle], [], [], asked["timeout"])[0]
        if late:
            os.killpg(child, signal.SIGKILL)
        os.close(handle)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(back, b"late\n" if late else f"{ended}\n".encode())


def _status(asked: dict[str, Any]) -> int:
    """Run what was asked as a fresh interpreter would."""
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(Path(asked["place"], name), os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    if asked["processes"] > 1 and (ended := _together(asked["processes"])) is not None:
        return ended
    try:
        _become(*asked["words"])
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            sys.stderr.write(f"{end.code}\n")
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:  # noqa: BLE001 - told, as an interpreter does
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _leave(status: int) -> NoReturn:
    """End as an interpreter does, without taking thousands of modules apart, which takes a second."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _together(processes: int) -> int | None:
    """Fork so many that know of each other: None in each, and in the one that waits how the first failed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free.getsockname()[1]))
    running = set()
    for rank in range(processes):
        child = os.fork()
        if not child:
            names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
            os.environ.update({name: str(value) for name, value in names.items()})
            return None
        running.add(child)
    failed = 0
    while running:
        child, ended = os.wait()
        running.discard(child)
        if ended and not failed:
            failed = os.waitstatus_to_exitcode(ended)
            for other in running:
                os.kill(other, signal.SIGTERM)
    return failed


def _become(first: str, *rest: str) -> None:
    if first == "-c":
        code, *given = rest
        main = types.ModuleType("__main__")
        sys.modules["__main__"], sys.argv[:] = main, ["-c", *given]
        sys.path.insert(0, "")
        exec(compile(code, "<string>", "exec"), vars(main))
    elif first == "-m":
        name, *given = rest
        sys.argv[:] = ["-m", *given]
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        sys.argv[:] = [first, *rest]
        sys.path.insert(0, str(Path(first).resolve().parent))
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    _serve()
