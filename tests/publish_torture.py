"""Publish against a Hub that fails at each request in turn: afterwards it has the old state or the new one.

    python tests/publish_torture.py [--every N] [--start N]

One process for all: the loopback Hub runs in a thread, and the libraries read its address when they are imported. Each
case has a repository of its own with an earlier release in it, or none. After the fault the repository must hold what
it held, or exactly the new files; the error must be one of this package's with the command that tries again; and a
second try must succeed. Prints the number of cases, as JSON; exits with 1 at the first that breaks the rule.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

import conftest  # noqa: F401 - now, as it takes the token out of the environment
from loopback_hub import LoopbackHub
from loopback_repos import Refused

FAULTS: dict[str, dict[str, object]] = {
    "500": {"status": 500, "headers": {"Retry-After": "0"}},
    "429": {"status": 429, "headers": {"Retry-After": "0"}},
    "507": {"status": 507},  # no space left on the server
    "403": {"status": 403},
    "reset": {"how": "reset"},
    "lost": {"how": "lost"},
    "silent": {"how": "silent"},
}
ATTRIBUTES = ".gitattributes"  # of a new repository, empty but for that
AGAIN = 9  # times that a fault comes back: more than the libraries try


@dataclasses.dataclass(frozen=True)
class Case:
    """One fault: at which request, which, how often, and what was there before."""

    number: int
    fault: str
    times: int
    before: bool

    @property
    def name(self) -> str:
        return f"t/{'old' if self.before else 'new'}-{self.number}-{self.fault}-{self.times}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="take each so manieth case")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--faults", nargs="+", default=list(FAULTS))
    words = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary, LoopbackHub(storage=Path(temporary) / "storage") as hub:
        os.environ.update(hub.environment(Path(temporary) / "home"), HF_SIMTUNE_HUB_TIMEOUT="1")
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            os.environ.pop(name, None)
        words.run, words.earlier = _runs(Path(temporary))
        sys.stdout.write(json.dumps(_torture(hub, words)) + "\n")
    return 0


def _runs(folder: Path) -> list[Path]:
    """Two finished runs."""
    from published import teachable
    from tiny import tiny_static

    from hf_simtune import tune

    model = tiny_static(folder / "tiny")
    return [tune(teachable(model, folder, seed=seed), out=folder / f"runs-{seed}").folder for seed in (1, 2)]


def _torture(hub: LoopbackHub, words: argparse.Namespace) -> dict[str, int]:
    import huggingface_hub.utils._http as http

    from hf_simtune import publishing
    from hf_simtune.errors import SimtuneError

    http.time.sleep = lambda _: None  # type: ignore[attr-defined]  # the libraries' pauses before they try again
    cases = []
    for before in (True, False):
        name = f"t/count-{before}"
        if before:
            publishing.publish(words.earlier, name)
        asked = len(hub.requests)
        publishing.publish(words.run, name, tag="v1")
        requests = len(hub.requests) - asked
        cases += [
            Case(number, fault, times, before)
            for number in range(requests)
            for fault in words.faults
            for times in (1, AGAIN)
        ]
    failed = 0
    for case in cases[words.start :: words.every]:
        if case.before:
            publishing.publish(words.earlier, case.name)
        old = _tree(hub, case.name)
        hub.fail("*", "", times=case.times, skip=case.number, **FAULTS[case.fault])  # type: ignore[arg-type]
        told = ""
        try:
            publishing.publish(words.run, case.name, tag="v1")
        except SimtuneError as error:
            told = str(error)
        hub.calm()
        now = _tree(hub, case.name)
        second = publishing.publish(words.run, case.name, tag="v1")
        new = _tree(hub, case.name)
        failed += bool(told)
        problems = []
        if now not in (old, new):
            problems.append("it is a mixture")
        if told and "hf-simtune" not in told:
            problems.append(f"the error does not say what to type: {told}")
        if hub.sha("models", case.name, "v1") != second.commit or (not told and second.changed):
            problems.append("the second try did not end it")
        if problems:
            sys.stderr.write(f"{case}: {'; '.join(problems)}\n{told}\n")
            raise SystemExit(1)
    return {"cases": len(cases[words.start :: words.every]), "refused": failed}


def _tree(hub: LoopbackHub, name: str) -> set[str]:
    """What main holds, each file by its path and content."""
    try:
        paths = [path for path in hub.paths("models", name) if path != ATTRIBUTES]
    except Refused:
        return set()
    return {f"{path} {hash(hub.read('models', name, path))}" for path in paths}


if __name__ == "__main__":
    raise SystemExit(main())
