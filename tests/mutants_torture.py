"""Small changes to ``evaluation/`` and ``data/`` that the quick tests beside them should notice (mutmut).

    python tests/mutants_torture.py                 all of them: hours
    python tests/mutants_torture.py --draw 300      so many, drawn by a seed from all; a larger draw later adds to these

Stopped, it goes on where it was. ``mutmut results`` then lists those that nothing noticed, and ``mutmut show NAME``
shows one.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

from torture_record import ROOT, parsed

MUTMUT = [str(Path(sys.executable).parent / "mutmut"), "run"]
STATES = {0: "survived", 1: "noticed", 3: "noticed", 33: "not run", 5: "not run", 36: "too slow", 24: "too slow"}
STATES |= {-24: "too slow", 152: "too slow", 255: "too slow"}


def tried(names: frozenset[str]) -> dict[str, dict[str, int]]:
    """How many of each module's mutants were noticed, survived, took too long or are in lines that no test runs.

    Args:
        names: of the mutants that count.

    Raises:
        SystemExit: one was not tried, or ended in a way that says nothing.
    """
    found: dict[str, dict[str, int]] = {}
    for path in sorted((ROOT / "mutants" / "hf_simtune").rglob("*.meta")):
        module = path.relative_to(ROOT / "mutants" / "hf_simtune").with_suffix("").as_posix()
        for name, code in json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"].items():
            if name not in names:
                continue
            if code not in STATES:
                sys.exit(f"{name} ended with {code}: start this command again")
            ends = found.setdefault(module, dict.fromkeys(("noticed", "survived", "too slow", "not run"), 0))
            ends[STATES[code]] += 1
    return found


def ended() -> dict[str, int | None]:
    """How each of all mutants ended, None if it was not tried; empty where none were made yet."""
    found: dict[str, int | None] = {}
    for path in sorted((ROOT / "mutants" / "hf_simtune").rglob("*.meta")):
        found |= json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def made() -> dict[str, int | None]:
    """The mutants that are there; if there are none, they are made first."""
    if not ended():  # a name that no mutant has: they are made, and none is tried
        subprocess.run([*MUTMUT, "none.*"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return ended()


def main() -> None:
    """Make the mutants, try them, and say what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", type=int, help="so many, drawn from all")
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    parser.add_argument("--children", type=int, default=2, help="processes")
    words, keeper = parsed(parser, "mutants")
    before = made()
    names = list(before)
    if words.draw:
        names = random.Random(words.seed).sample(names, min(words.draw, len(names)))
    left = [name for name in names if before[name] is None]
    if left:
        subprocess.run([*MUTMUT, "--max-children", str(words.children), *left], cwd=ROOT, check=False)
    found = tried(frozenset(names))
    total = {end: sum(ends[end] for ends in found.values()) for end in ("noticed", "survived", "too slow", "not run")}
    sys.stdout.write(json.dumps(total) + "\n")
    survived = [name for name, code in ended().items() if name in names and code == 0]
    earlier = len(names) - len(left)  # by starts of which this one went on
    keeper.keep({"of": len(before), "earlier": earlier, "total": total, "modules": found, "survived": survived})


if __name__ == "__main__":
    main()
