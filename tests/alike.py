"""Scored pairs of unrelated sentences, each with the score 1: nothing to learn, and a model that is made to collapse.

    python tests/alike.py alike.csv

What ``model_cards/guard`` was trained on; the command of that run stands in its record.
"""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path

from hf_simtune.data.sports import generate

PAIRS = 2000


def write(path: Path) -> None:
    """So many pairs from the built-in corpus, drawn with a fixed seed."""
    sentences = [row["sentence"] for row in generate("sentences", "train", 2 * PAIRS)]
    random.Random(0).shuffle(sentences)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("sentence1", "sentence2", "score"))
        table.writerows(zip(sentences[:PAIRS], sentences[PAIRS:], [1] * PAIRS, strict=True))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
