"""Small changes to ``evaluation/`` and ``data/`` that the quick tests beside them should notice (mutmut).

    python tests/mutants_torture.py                 all of them: hours; stopped, it goes on where it was
    python tests/mutants_torture.py --draw 1000     so many, drawn by a seed from all there are

``mutmut results`` then lists those that nothing noticed, and ``mutmut show NAME`` shows one.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

from torture_record import ROOT, parsed

MUTMUT = [str(Path(sys.executable).parent / "mutmut"), "run"]
STATES = {0: "survived", 1: "noticed", 3: "noticed", 33: "not run", 5: "not run", 36: "too slow", 24: "too slow"}
STATES |= {-24: "too slow", 152: "too slow", 255: "too slow"}


def tried(names: frozenset[str] | None) -> dict[str, dict[str, int]]:
    """How many of each module's mutants were noticed, survived, took too long or are in lines that no test runs.

    Args:
        names: of the mutants that count; None: all.

    Raises:
        SystemExit: one was not tried, or ended in a way that says nothing.
    """
    found: dict[str, dict[str, int]] = {}
    for path in sorted((ROOT / "mutants" / "hf_simtune").rglob("*.meta")):
        module = path.relative_to(ROOT / "mutants" / "hf_simtune").with_suffix("").as_posix()
        for name, code in json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"].items():
            if names is not None and name not in names:
                continue
            if code not in STATES:
                sys.exit(f"{name} ended with {code}: start this command again")
            ends = found.setdefault(module, dict.fromkeys(("noticed", "survived", "too slow", "not run"), 0))
            ends[STATES[code]] += 1
    return found


def made() -> list[str]:
    """The names of all mutants; they are made first if they are not there."""
    subprocess.run([*MUTMUT, "none.*"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    metas = sorted((ROOT / "mutants" / "hf_simtune").rglob("*.meta"))
    return [name for meta in metas for name in json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]]


def main() -> None:
    """Make the mutants, try them, and say what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", type=int, help="so many, drawn from all")
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    parser.add_argument("--children", type=int, default=2, help="processes")
    words, keeper = parsed(parser, "mutants")
    names = None
    if words.draw:
        shutil.rmtree(ROOT / "mutants", ignore_errors=True)
        everything = made()
        names = random.Random(words.seed).sample(everything, min(words.draw, len(everything)))
    ran = subprocess.run([*MUTMUT, "--max-children", str(words.children), *(names or [])], cwd=ROOT, check=False)
    if ran.returncode:
        sys.exit(f"mutmut ended with {ran.returncode}")
    found = tried(frozenset(names) if names else None)
    total = {end: sum(ends[end] for ends in found.values()) for end in ("noticed", "survived", "too slow", "not run")}
    sys.stdout.write(json.dumps(total) + "\n")
    keeper.keep({"of": len(made()) if names is None else len(everything), "total": total, "modules": found})


if __name__ == "__main__":
    main()
