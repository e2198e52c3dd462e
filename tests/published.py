"""A run that is worth publishing: a tiny static model that learns which word two sentences share."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from datasets import Dataset
from test_tuning import small

from hf_simtune import Recipe

_WORDS = """
about after again all away back because behind between could every first found great house just
ball bear bird blue boy bread bus car cat city coach cold cook cup day dog eat end evening fish food game girl home
horse hot kitchen league little long lost market match meal money music night paper park people piano plane player
"""
FILLERS, *_KEYS = (line.split() for line in _WORDS.strip().splitlines())
KEYS = [key for line in _KEYS for key in line]


def teachable(model: Path, folder: Path, **changes: Any) -> Recipe:
    """Sentences of common words and a key; those of a pair have the same, and a pair scores 1 where they do."""
    luck = random.Random(7)
    pairs = [dict(zip(("anchor", "positive"), _pair(luck, same=True), strict=True)) for _ in range(640)]
    Dataset.from_list(pairs).to_csv(str(folder / "pairs.csv"))
    for name, count in (("select", 120), ("report", 200)):
        Dataset.from_list([_scored(luck) for _ in range(count)]).to_csv(str(folder / f"{name}.csv"))
    settings = {
        "train_data": str(folder / "pairs.csv"),
        "train_rows": None,
        "select_on": str(folder / "select.csv"),
        "report_on": str(folder / "report.csv"),
        "loss": "mnrl",
        "evaluations": 2,
        "epochs": 3.0,
        "learning_rate": 3e-2,
    }
    return small(model, **settings | changes)


def _scored(luck: random.Random) -> dict[str, object]:
    same = luck.random() < 0.5
    first, second = _pair(luck, same=same)
    return {"sentence1": first, "sentence2": second, "score": float(same)}


def _pair(luck: random.Random, *, same: bool) -> list[str]:
    first, second = luck.sample(KEYS, 2)
    return [_sentence(luck, first), _sentence(luck, first if same else second)]


def _sentence(luck: random.Random, key: str) -> str:
    words = [*luck.choices(FILLERS, k=3), key]
    luck.shuffle(words)
    return " ".join(words)
