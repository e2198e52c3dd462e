"""Publish against a Hub that fails at each request in turn: afterwards it has the old state or the new one.

    python tests/publish_torture.py [--every N] [--start N] [--kinds KIND ...]

One process for all: the loopback Hub runs in a thread, and the libraries read its address when they are imported. Each
case has a repository of its own with an earlier release in it, or none. After the fault the repository must hold what
it held, or exactly the new files; the error must be one of this package's with the command that tries again; and a
second try must succeed. A pull request leaves main alone whatever happens, and there is one of it in the end.

The loopback Hub takes a commit whole or not at all, as the Hub does, so what is tried is that a release is one commit:
``by hand``, with a commit for each file, the same faults leave mixtures, and these are counted too. Prints the numbers,
as JSON; exits with 1 at the first case that breaks the rule, or where no mixture is found by hand.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import conftest  # noqa: F401 - now, as it takes the token out of the environment
from loopback_hub import LoopbackHub
from loopback_repos import Refused
from torture_record import parsed

FAULTS: dict[str, dict[str, object]] = {
    "500": {"status": 500, "headers": {"Retry-After": "0"}},
    "429": {"status": 429, "headers": {"Retry-After": "0"}},
    "507": {"status": 507},  # no space left on the server
    "403": {"status": 403},
    "reset": {"how": "reset"},
    "lost": {"how": "lost"},
    "silent": {"how": "silent"},
}
KINDS = {"model": tuple(FAULTS), "adapter": ("500", "lost"), "pull request": ("429", "reset", "lost")}
ATTRIBUTES = ".gitattributes"  # of a new repository, empty but for that
AGAIN = 9  # times that a fault comes back: more than the libraries try


@dataclasses.dataclass(frozen=True)
class Case:
    """One fault: at which request, which, how often, and what was there before."""

    kind: str
    before: bool
    number: int
    fault: str
    times: int

    @property
    def name(self) -> str:
        kind = self.kind.replace(" ", "-")
        return f"t/{kind}-{'old' if self.before else 'new'}-{self.number}-{self.fault}-{self.times}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="take each so manieth case")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    words, keeper = parsed(parser, "publish")
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary, LoopbackHub(storage=Path(temporary) / "storage") as hub:
        os.environ.update(hub.environment(Path(temporary) / "home"), HF_SIMTUNE_HUB_TIMEOUT="1")
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            os.environ.pop(name, None)
        import huggingface_hub.utils._http as http

        # The pauses before another try, and they alone: a Hub that is silent must be so for its seconds.
        http.time = types.SimpleNamespace(sleep=lambda _: None)  # type: ignore[attr-defined]
        publish = {kind: _publisher(hub, kind, Path(temporary) / kind) for kind in words.kinds}
        cases = [case for kind in words.kinds for case in _cases(hub, kind, publish[kind])]
        counted = {"cases": 0, "refused": 0, **dict.fromkeys(words.kinds, 0)}
        for case in cases[words.start :: words.every]:
            refused, problems = _try(hub, case, publish[case.kind])
            if problems:
                sys.stderr.write(f"{case}: {'; '.join(problems)}\n")
                return 1
            counted["cases"] += 1
            counted[case.kind] += 1
            counted["refused"] += refused
        counted["mixtures by hand"] = _by_hand(hub)
        sys.stdout.write(json.dumps(counted) + "\n")
        keeper.keep(counted)
    return 0 if counted["mixtures by hand"] else 1


Publish = Callable[[bool, str], Any]  # whether the later of two runs, and where


def _publisher(hub: LoopbackHub, kind: str, folder: Path) -> Publish:
    """What publishes one of two finished runs."""
    from published import teachable
    from tiny import tiny_model, tiny_static

    from hf_simtune import publishing, tune
    from hf_simtune.errors import RequestError
    from hf_simtune.lora import LoRA
    from hf_simtune.publish_reasons import REASONS

    more: dict[str, Any] = {}
    folder.mkdir()
    if kind == "adapter":
        hub.create("t/tiny")
        for path in sorted(tiny_model(folder / "tiny").rglob("*")):
            if path.is_file():
                hub.put("t/tiny", path.relative_to(folder / "tiny").as_posix(), path.read_bytes())
        model, more = Path("t/tiny"), {"lora": LoRA(r=4, alpha=8), "learning_rate": 3e-3, "epochs": 2.0}
    else:
        model = tiny_static(folder / "tiny")
    _once(publishing)
    runs = [tune(teachable(model, folder, seed=seed, **more), out=folder / f"{seed}").folder for seed in (1, 2)]
    allow = []
    for run in runs:
        try:
            publishing.publish(run, "t/none", dry_run=True)
            allow.append([])
        except RequestError as error:  # so small a model: whatever speaks against it
            allow.append([name for name in REASONS if any(one.startswith(f"{name}: ") for one in error.problems)])
    how: dict[str, Any] = {"create_pr": True} if kind == "pull request" else {"tag": "v1"}

    def publish(later: bool, name: str) -> Any:
        return publishing.publish(runs[later], name, allow=allow[later], **(how if later else {}))

    return publish


def _once(publishing: Any) -> None:
    """What a push finds out on this machine is the same each time: how a run's weights load, its rows, the search."""
    for name in ("_rows", "_weights", "_searched"):
        found = getattr(publishing, name)
        if not hasattr(found, "kept"):
            setattr(publishing, name, _Kept(found))


class _Kept:
    """A function that is called once for each run."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.kept = function, dict[str, Any]()

    def __call__(self, run: Any, *more: Any) -> Any:  # its folder or its record
        key = str(run.path) if hasattr(run, "path") else run.tuned.weights_sha256
        if key not in self.kept:
            self.kept[key] = self.function(run, *more)
        return self.kept[key]


def _cases(hub: LoopbackHub, kind: str, publish: Publish) -> list[Case]:
    found = []
    for before in (True, False):
        name = f"t/count-{kind.replace(' ', '-')}-{before}"
        if before:
            publish(False, name)
        asked = len(hub.requests)
        publish(True, name)
        requests = range(len(hub.requests) - asked)
        found += [
            Case(kind, before, number, fault, times)
            for number in requests
            for fault in KINDS[kind]
            for times in (1, AGAIN)
        ]
    return found


def _try(hub: LoopbackHub, case: Case, publish: Publish) -> tuple[bool, list[str]]:
    """Whether an error was told, and what was wrong with what it left."""
    from hf_simtune.errors import SimtuneError

    if case.before:
        publish(False, case.name)
    old = _tree(hub, case.name)
    hub.fail("*", "", times=case.times, skip=case.number, **FAULTS[case.fault])  # type: ignore[arg-type]
    told = ""
    try:
        publish(True, case.name)
    except SimtuneError as error:
        told = str(error)
    hub.calm()
    now = _tree(hub, case.name)
    second = publish(True, case.name)
    new = _tree(hub, case.name)
    problems = []
    if now not in (old, new):
        problems.append("it is a mixture")
    if told and "hf-simtune" not in told:
        problems.append(f"the error does not say what to type: {told}")
    if not told and second.changed:
        problems.append("the first try did not end it")
    if case.kind == "pull request":
        if new != old or len(hub.pulls(case.name)) != 1 or hub.pulls(case.name)[0] != second.commit:
            problems.append(f"main is another, or the pull requests are {len(hub.pulls(case.name))}")
    elif hub.sha("models", case.name, "v1") != second.commit:
        problems.append("the second try did not end it")
    return bool(told), [*problems, told] if problems else []


def _by_hand(hub: LoopbackHub) -> int:
    """How many faults leave a mixture where each file is a commit of its own: what the rule is there to find."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    files = ("README.md", "config.json", "record.json")
    new = {f"{name} {hash(name.encode())}" for name in files}
    mixtures = 0
    for number in range(9):
        name = f"t/by-hand-{number}"
        hub.create(name)
        hub.fail("*", "", 403, skip=number)
        try:
            for path in files:
                HfApi().upload_file(path_or_fileobj=path.encode(), path_in_repo=path, repo_id=name)
        except HfHubHTTPError:
            pass
        hub.calm()
        mixtures += _tree(hub, name) not in (set(), new)
    return mixtures


def _tree(hub: LoopbackHub, name: str) -> set[str]:
    """What main holds, each file by its path and content."""
    try:
        paths = [path for path in hub.paths("models", name) if path != ATTRIBUTES]
    except Refused:
        return set()
    return {f"{path} {hash(hub.read('models', name, path))}" for path in paths}


if __name__ == "__main__":
    raise SystemExit(main())
