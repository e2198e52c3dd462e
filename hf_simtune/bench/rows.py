"""Rows to measure the path of the data with: as many distinct pairs as are wanted, and some for it to find."""

from __future__ import annotations

import csv
import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from hf_simtune.data import sports

__all__ = ["DUPLICATES", "EMPTY", "FEWEST_ROWS", "PLANTED", "Written", "write_rows"]

FEWEST_ROWS = 200
# Among the rows of every size, so that each step of the path has something to find.
PLANTED = 10  # pairs to evaluate on, every second one turned round
DUPLICATES = 20  # pairs that are there already; they are no bad rows and stay
EMPTY = 5  # rows with an empty cell
_WORDS = range(8, 26)  # in a sentence
_SEASON_ROWS = 20_000  # pairs of one season: within it the corpus repeats none, and two seasons share none


@dataclasses.dataclass(frozen=True)
class Written:
    """What is known of a csv before anything is measured."""

    planted: frozenset[int]  # row numbers
    duplicates: frozenset[int]
    empty: frozenset[int]


def write_rows(path: Path, rows: int, seed: int) -> Written:
    """Write a csv of distinct sentence pairs about sport, a row at a time, with what there is to find among them.

    One season of the built-in corpus after the other, each sentence with its season, so that no two pairs are the same
    and there are as many as are wanted. Their sentences have 8 to 25 words.

    Returns:
        The 0-based numbers of the rows that are no such pair.
    """
    rng = random.Random(f"bench {rows} {seed}")
    special = rng.sample(range(1, rows), PLANTED + DUPLICATES + EMPTY)
    written = Written(frozenset(special[:PLANTED]), frozenset(special[PLANTED:-EMPTY]), frozenset(special[-EMPTY:]))
    scored = [
        (row["sentence1"], row["sentence2"])
        for split in ("validation", "test")
        for row in sports.generate("scored", split, sports.DEFAULT_ROWS["scored", split], 0)
    ]
    leaks = iter([pair[::-1] if at % 2 else pair for at, pair in enumerate(rng.sample(scored, PLANTED))])
    pairs = _pairs(seed)
    last = ("", "")
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("anchor", "positive"))
        for number in tqdm(range(rows), desc=f"Write {rows:,} rows", unit=" rows", delay=1, disable=None, leave=False):
            if number in written.planted:
                table.writerow(next(leaks))
            elif number in written.duplicates:
                table.writerow(last)
            elif number in written.empty:
                table.writerow((last[0], ""))
            else:
                last = next(pairs)
                table.writerow(last)
    return written


def _pairs(seed: int) -> Iterator[tuple[str, str]]:
    season = 1900
    while True:
        taken = 0
        for row in sports.generate("pairs", "train", sports.MAX_ROWS["train"], seed * 1_000_003 + season):
            one = f"{row['anchor'].removesuffix('.')} in the {season} season."
            two = f"{row['positive'].removesuffix('.')} (season {season})."
            if len(one.split()) in _WORDS and len(two.split()) in _WORDS:
                yield one, two
                taken += 1
            if taken == _SEASON_ROWS:
                break
        season += 1
