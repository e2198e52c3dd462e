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
WAYS = ("noticed", "survived", "too slow", "not run")  # in lines that no test runs
CODES = "exit_code_by_key"  # what mutmut calls them
STATES |= {-24: "too slow", 152: "too slow", 255: "too slow"}


Ended = dict[str, dict[str, int | None]]  # of each module, by the mutant's name; None: it was not tried


def ended() -> Ended:
    """How the mutants that were made ended."""
    place = ROOT / "mutants" / "hf_simtune"
    return {
        path.relative_to(place).with_suffix("").as_posix(): json.loads(path.read_text(encoding="utf-8"))[CODES]
        for path in sorted(place.rglob("*.meta"))
    }


def made() -> Ended:
    """The mutants that are there; if there are none, they are made first."""
    if not ended():  # a name that no mutant has: they are made, and none is tried
        subprocess.run([*MUTMUT, "none.*"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return ended()


def tried(names: frozenset[str]) -> tuple[dict[str, dict[str, int]], list[str]]:
    """How many of each module's mutants ended in which way, and the names of those that survived.

    Args:
        names: of the mutants that count.

    Raises:
        SystemExit: one was not tried, or ended in a way that says nothing.
    """
    found: dict[str, dict[str, int]] = {}
    survived = []
    for module, codes in ended().items():
        for name in [name for name in codes if name in names]:
            if codes[name] not in STATES:
                sys.exit(f"{name} ended with {codes[name]}: start this command again")
            state = STATES[codes[name]]
            found.setdefault(module, dict.fromkeys(WAYS, 0))[state] += 1
            survived += [name] * (state == "survived")
    return found, survived


def main() -> None:
    """Make the mutants, try them, and say what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", type=int, help="so many, drawn from all")
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    parser.add_argument("--children", type=int, default=2, help="processes")
    words, keeper = parsed(parser, "mutants")
    before = {name: code for codes in made().values() for name, code in codes.items()}
    names = list(before)
    if words.draw:
        names = random.Random(words.seed).sample(names, min(words.draw, len(names)))
    left = [name for name in names if before[name] is None]
    if left:
        subprocess.run([*MUTMUT, "--max-children", str(words.children), *left], cwd=ROOT, check=False)
    found, survived = tried(frozenset(names))
    total = {way: sum(ways[way] for ways in found.values()) for way in WAYS}
    sys.stdout.write(json.dumps(total) + "\n")
    earlier = len(names) - len(left)  # by starts of which this one went on
    keeper.keep({"of": len(before), "earlier": earlier, "total": total, "modules": found, "survived": survived})


if __name__ == "__main__":
    main()
