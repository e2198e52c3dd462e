"""What the long tests found, on record: ``model_cards/torture/NAME.json`` each, and the README's table of them.

    python tests/torture_record.py            the table, written anew; a part of ``make cards``

Each ``*_torture.py`` writes its own record with ``--keep``, which ``make torture`` gives: what it found, how long that
took, on what, at which commit, and the command that does it again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- tried: make cards -->", "<!-- end of tried -->"
Found = dict[str, Any]


def folder(root: Path = ROOT) -> Path:
    """Where the records lie."""
    return root / "model_cards" / "torture"


@dataclasses.dataclass
class Keeper:
    """Writes a torture's record when it has ended, if it was asked to."""

    name: str
    wanted: bool
    commit: str | None  # that it began at
    script: str | None = None  # NAME of NAME_torture.py, where that is not the record's
    start: float = dataclasses.field(default_factory=time.perf_counter)

    def keep(self, found: Found) -> None:
        """Write what was found."""
        if not self.wanted:
            return
        from hf_simtune import machine

        words = [word for word in sys.argv[1:] if word != "--keep"]
        record = {
            "found": found,
            "command": shlex.join(["python", f"tests/{self.script or self.name}_torture.py", *words]),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": self.commit,
            "machine": dataclasses.asdict(machine.describe()),
            "seconds": round(time.perf_counter() - self.start, 1),
        }
        path = folder() / f"{self.name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def parsed(parser: argparse.ArgumentParser, name: str) -> tuple[argparse.Namespace, Keeper]:
    """The words of a torture's command line, ``--keep`` among them, and what writes its record."""
    parser.add_argument("--keep", action="store_true", help="write the figures to model_cards/torture/")
    words = parser.parse_args()
    from hf_simtune import machine

    return words, Keeper(name, words.keep, machine.commit() if words.keep else None)


def _crash(found: Found) -> tuple[str, str]:
    became: dict[str, int] = {}
    for kind in found["of them"].values():
        for end, count in kind.items():
            became[end] = became.get(end, 0) + count
    ways = "; ".join(f"{sum(ends.values())} {way}" for way, ends in found["of them"].items())
    ends = "; ".join(f"{count} {end}" for end, count in sorted(became.items(), key=lambda one: -one[1]))
    drawn = f", {found['drawn']} of them drawn," if "drawn" in found else ""
    # An older record is of runs of one kind.
    runs = ", ".join(f"{count} {kind}" for kind, count in sorted(found.get("runs", {}).items()))
    return f"{found['moments']} moments{drawn} at which a run ended: {ways}" + (f"; runs: {runs}" if runs else ""), ends


def _input(found: Found) -> tuple[str, str]:
    kinds = {kind: found[kind] for kind in ("files", "recipes", "texts")}
    tried = ", ".join(f"{sum(ends.values()):,} {kind}" for kind, ends in kinds.items())
    ends = "; ".join(
        f"{kind}: " + ", ".join(f"{count:,} {end}" for end, count in ends.items()) for kind, ends in kinds.items()
    )
    return f"{found['cases']:,} inputs that nobody should have given: {tried}", ends


def _coverage(found: Found) -> tuple[str, str]:
    runs, ends = 0, []
    for groups in sorted({world["groups"] for world in found["worlds"]}):
        worlds = [world for world in found["worlds"] if world["groups"] == groups]
        runs += sum(world["runs"] for world in worlds)
        held = [world["held"][0] for world in worlds]
        improved = [world["improved"][0] for world in worlds if not world["truth"]]
        ends.append(f"{groups:,} groups: the 95 % interval held the truth in {min(held):.1f} to {max(held):.1f} %")
        if improved:
            ends[-1] += f", and {min(improved):.1f} to {max(improved):.1f} % were *improved* where nothing had changed"
    if found["outside"]:
        ends.append(f"{found['outside']} of these shares are not what is promised")
    return f"{runs:,} simulated comparisons with a known truth, in {len(worlds)} worlds", "; ".join(ends)


def _few_groups(found: Found) -> tuple[str, str]:
    what, ends = _coverage(found | {"outside": 0})
    return f"{what}, with fewer groups than anything is promised of", ends


def _endurance(found: Found) -> tuple[str, str]:
    first, last = found["first"], found["last"]
    kinds = f" of {len(found['kinds'])} kinds ({', '.join(found['kinds'])})" if "kinds" in found else ""
    return (
        f"{last['run']} runs{kinds} in one process",
        f"{first['resident']:.1f} MiB, {first['files']} open files and {first['threads']} threads after the "
        f"{first['run']}th; {last['resident']:.1f}, {last['files']} and {last['threads']} after the last",
    )


def _publish(found: Found) -> tuple[str, str]:
    kinds = ", ".join(f"{found[kind]} {kind}" for kind in ("model", "adapter", "pull request") if found.get(kind))
    return (
        f"{found['cases']:,} pushes with a fault at one request: {kinds}",
        f"the old state or the new one each time, {found['refused']} told in a sentence; "
        f"with a commit for each file {found['mixtures by hand']} of 9 left a mixture",
    )


def _mutants(found: Found) -> tuple[str, str]:
    total = found["total"]
    tried = sum(total.values())
    drawn = f", drawn from {found['of']:,}" if tried < found["of"] else ""
    ends = ", ".join(f"{total[end]:,} {end}" for end in ("noticed", "too slow", "survived", "not run"))
    earlier = f"; {found['earlier']:,} of them in earlier starts" if found["earlier"] else ""
    what = f"{tried:,} small changes to `evaluation/` and `data/`{drawn}"
    return what, f"{ends} (in lines that no quick test runs){earlier}"


TOLD = {
    "crash": _crash,
    "input": _input,
    "publish": _publish,
    "coverage": _coverage,
    "few_groups": _few_groups,
    "endurance": _endurance,
    "mutants": _mutants,
}


def table(root: Path = ROOT) -> str:
    """The README's table, a row for each record."""
    lines = ["| tried | what became of it | command | time, machine, commit |", "|---|---|---|---|"]
    for name, told in TOLD.items():
        path = folder(root) / f"{name}.json"
        if not path.is_file():
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        tried, became = told(record["found"])
        where = (
            f"{record['seconds'] / 60:.0f} min, {record['machine']['processor']}, {record['machine']['cores']} cores, "
            f"`{(record['commit'] or 'unknown')[:12]}`"
        )
        lines.append(f"| [{tried}](model_cards/torture/{name}.json) | {became} | `{record['command']}` | {where} |")
    return "\n".join(lines)


def main() -> None:
    """Write the table into the README."""
    from hf_simtune.reference import between

    readme = ROOT / "README.md"
    readme.write_text(between(readme.read_text(encoding="utf-8"), BEGIN, table(), END), encoding="utf-8")


if __name__ == "__main__":
    main()
