"""The runs that are to die: their files and tiny models, and a command line for each kind of training."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

__all__ = ["RUNS", "files", "recipe_words"]

_WORDS = "ball bear bird blue boy bread bus car cat city coach cold cook cup day dog eat end fish food game"
_PLAIN = "--precision fp32 --forward plain"
# Short names of the kinds, which the record has too. Where nothing is said of them, precision and forward pass are the
# defaults, which this processor and the model decide.
RUNS = {
    "CoSENT": f"{{here}}/train.csv --model {{here}}/tiny --loss cosent {_PLAIN}",
    "packed MNRL": "{here}/pairs.csv --model {here}/tiny --loss mnrl",
    "LoRA": "{here}/train.csv --model {here}/tiny --loss cosent --lora r=8 alpha=16 dropout=0.1",
    "SPLADE": "{here}/pairs.csv --model {here}/splade --loss mnrl",
    "two sets and mined negatives": "{here}/pairs.csv --model {here}/tiny --loss mnrl --mine-negatives 1 "
    "--more-data cosent={here}/train.csv",
    "soup": f"{{here}}/train.csv --model {{here}}/tiny --loss cosent {_PLAIN} --soup 2 --keep-base 0.1",
}


def files(folder: Path, count: int = 96) -> None:
    """Graded and plain pairs of common words, and two tiny models; with an own process, as this one may fork."""
    luck = random.Random(3)
    for name, size in (("train", count), ("select", 40), ("report", 60)):
        lines = ["sentence1,sentence2,score"]
        for number in range(size):
            first, second, shared = _pair(luck, 0)
            lines.append(f"{name} {number} {first},{second} {number},{shared / 5}")
        _write(folder / f"{name}.csv", lines)
    pairs = (_pair(luck, 3) for _ in range(count))
    lines = [f"pair {number} {first},{second} {number}" for number, (first, second, _) in enumerate(pairs)]
    _write(folder / "pairs.csv", ["anchor,positive", *lines])
    models = f"tiny_model(Path({str(folder / 'tiny')!r})); tiny_splade(Path({str(folder / 'splade')!r}))"
    code = f"from pathlib import Path; from tiny import tiny_model, tiny_splade; {models}"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=True)


def _pair(luck: random.Random, fewest: int) -> tuple[str, str, int]:
    """Two sentences of five words, and how many of them they share."""
    words = _WORDS.split()
    first, shared = luck.sample(words, 5), luck.randrange(fewest, 6)
    return " ".join(first), " ".join([*first[:shared], *luck.sample(words, 5 - shared)]), shared


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def recipe_words(folder: Path, out: Path, of: str = "CoSENT", *further: str) -> list[str]:
    """The command line of a run of a few seconds on those files, of the kind ``of``."""
    words = f"tune {RUNS[of]} --name crash --select-on {{here}}/select.csv --report-on {{here}}/report.csv"
    words += " --batch-size 8 --epochs 2 --evaluations 6 --learning-rate 5e-3 --keep-leaks --out {out}"
    return [word.format(here=folder, out=out) for word in words.split()] + [*further]
