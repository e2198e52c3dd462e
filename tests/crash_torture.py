"""Runs that are killed, stopped or left without room at many moments, and are then resumed.

    python tests/crash_torture.py [--seed N] [--only WAY ...] [--runs KIND ...] [--first N] [--threads N]

Real runs of tiny models, in processes of their own, of each kind in ``crash_runs.RUNS``. Some moments are named: while
a certain file is written, or just before or behind its taking its place; the kind of run that meets each is drawn. The
others are drawn: a time, one of all the files that a run writes, a size of the disk; each way to end meets each kind.
After each: no traceback, the right exit status and the command to go on, no folder that is taken for a finished run;
and resumed, the weights at every score, the saved model and the scores of the uninterrupted run, byte by byte, or an
error that says what is missing. Prints how many moments of each way and of each kind were tried and what became of
them, as JSON; exits with 1 at the first promise that is broken. The disk is a tmpfs, for which one has to be root; for
others the size of a file is limited instead.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path

import conftest  # noqa: F401 - now, as it puts the caches elsewhere
from crash_promises import Broken
from crash_runs import RUNS
from crash_ways import Torture, nursery_in
from crashing import Moment
from torture_record import parsed

KILLED = [
    # A checkpoint, each file of it, its seal, and an older one on its way out.
    Moment("write", r"checkpoint-\d+/(adapter_)?model.safetensors", 1),
    Moment("write", r"checkpoint-\d+/(adapter_)?model.safetensors", 3),
    Moment("write", r"checkpoint-\d+/optimizer.pt", 2),
    Moment("write", r"checkpoint-\d+/scheduler.pt", 3),
    Moment("write", r"checkpoint-\d+/rng_state.pth", 6),
    Moment("write", r"checkpoint-\d+/trainer_state.json", 2),
    Moment("write", r"checkpoint-\d+/whole.json.part", 2),
    Moment("replace", r"checkpoint-\d+/whole.json", 5),
    Moment("replaced", r"checkpoint-\d+/whole.json", 3),
    Moment("remove", r"checkpoint-\d+$", 1),
    Moment("write", r"scored.jsonl", 2),
    Moment("write", r"seconds.json.part", 3),
    Moment("write", r"seconds.json.part", 6),  # behind the last step
    Moment("write", r"plan.json.part"),
    Moment("replace", r"plan.json"),
    Moment("replaced", r"plan.json"),
    Moment("write", r"model.part/(adapter_)?model.safetensors"),
    Moment("replace", r"/model$"),
    Moment("replaced", r"/model$"),
    Moment("write", r"scores.parquet.part"),
    Moment("write", r"plots/.*png", 2),
    Moment("write", r"README.md.part", 1),
    Moment("write", r"model/README.md.part", 1),
    Moment("write", r"report.html.part"),
    Moment("write", r"record.json.part"),
    Moment("replace", r"record.json"),
    Moment("replaced", r"record.json"),
]
STOPPED = [
    Moment("replaced", r"plan.json", 1, signal.SIGTERM),
    Moment("write", r"scored.jsonl", 2, signal.SIGINT),
    Moment("write", r"checkpoint-\d+/optimizer.pt", 2, signal.SIGINT),
    Moment("write", r"checkpoint-\d+/optimizer.pt", 6, signal.SIGTERM),  # behind the last step
    Moment("write", r"model.part/(adapter_)?model.safetensors", 1, signal.SIGTERM),
    Moment("write", r"README.md.part", 1, signal.SIGTERM),
    Moment("write", r"report.html.part", 1, signal.SIGINT),
    Moment("replace", r"record.json", 1, signal.SIGINT),
    Moment("replaced", r"record.json", 1, signal.SIGTERM),
]


Case = tuple[str, Callable[[str], str]]  # a kind of run, and what is done to one


def ways(torture: Torture, runs: Collection[str] = RUNS) -> tuple[dict[str, list[Case]], dict[str, list[Case]]]:
    """Every way to end, and its cases: those of which only the kind of run is drawn, and those that are drawn."""
    order = list(runs)
    torture.luck.shuffle(order)
    turns = cycle(order)

    def named(moments: Sequence[Moment]) -> list[Case]:
        return [(next(turns), partial(torture.named, moment=moment)) for moment in moments]

    def each(act: Callable[[str], str], count: int = 1) -> list[Case]:
        return [(of, act) for of in order] * count

    return {
        "SIGKILL at a file": named(KILLED),
        "SIGTERM or SIGINT at a file": named(STOPPED),
        "two fresh runs at once": each(torture.beside),
    }, {
        "SIGKILL at a drawn file": each(partial(torture.drawn, number=signal.SIGKILL), 2),
        "SIGTERM or SIGINT at a drawn file": each(torture.drawn),
        "SIGKILL at a time": each(partial(torture.timed, number=signal.SIGKILL), 2),
        "SIGTERM at a time": each(partial(torture.timed, number=signal.SIGTERM)),
        "SIGINT at a time": each(partial(torture.timed, number=signal.SIGINT)),
        "SIGINT twice": each(partial(torture.timed, number=signal.SIGINT, again=True)),
        "SIGKILL, and again when resumed": each(torture.twice),
        "a full disk": each(torture.full if os.geteuid() == 0 else torture.limited),
        "a limit on the size of a file": each(torture.limited),
        "two --resume at once": each(torture.together),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="WAY", help="words in the names of ways to end")
    parser.add_argument("--runs", nargs="+", metavar="KIND", choices=RUNS, default=list(RUNS), help="kinds of runs")
    parser.add_argument("--first", type=int, help="so many cases of each way")
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    words, keeper = parsed(parser, "crash")
    tried: dict[str, Counter[str]] = {}
    runs, by_chance = Counter[str](), 0
    with tempfile.TemporaryDirectory() as temporary, nursery_in(Path(temporary), words.threads) as nursery:
        torture = Torture(Path(temporary), nursery, words.seed)
        named, drawn = ways(torture, words.runs)
        for way, cases in (named | drawn).items():
            if words.only and not any(word in way for word in words.only):
                continue
            tried[way] = Counter()
            for number, (of, case) in enumerate(cases[: words.first]):
                start = time.monotonic()
                try:
                    became = case(of)
                except Broken as broken:
                    said = torture.log.read_text(encoding="utf-8")
                    sys.stderr.write(f"{way}, case {number}, {of}: {broken}\n{said}\n")
                    return 1
                tried[way][became] += 1
                runs[of] += 1
                by_chance += way in drawn
                sys.stderr.write(f"{way}, {number}, {of}: {became} ({time.monotonic() - start:.1f} s)\n")
    found = {"moments": runs.total(), "drawn": by_chance, "of them": tried, "runs": runs}
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    keeper.keep(found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
