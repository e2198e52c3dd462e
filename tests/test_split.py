"""One scored file in three parts that share no sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_simtune.data.load import Loaded, load
from hf_simtune.data.split import split
from hf_simtune.errors import RequestError


def scored(tmp_path: Path, rows: list[str]) -> Loaded:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    return load(str(path), cache_dir=tmp_path / "cache")


def row(first: str, second: str, extra: str = "") -> str:
    return f'{{"sentence1": "{first}", "sentence2": "{second}", "score": 0.5{extra}}}'


def test_parts_share_no_sentence_and_hold_every_row(tmp_path: Path) -> None:
    # Row n shares a sentence with row n + 1 where n is not a multiple of 3, in other letters.
    rows = [row(f"Sentence {n} is here", f"sentence {n + 1 if n % 3 else 10_000 + n} is here.") for n in range(600)]
    parts = split(scored(tmp_path, rows), seed=1)
    numbers = [part.dataset["row"][:] for part in parts]
    assert sorted(number for part in numbers for number in part) == list(range(600))
    assert [len(part) for part in numbers] == pytest.approx([480, 60, 60], abs=3)
    texts = [
        {text.lower().rstrip(".") for name in ("sentence1", "sentence2") for text in part.dataset[name]}
        for part in parts
    ]
    assert len(texts[0]) + len(texts[1]) + len(texts[2]) == len(texts[0] | texts[1] | texts[2])
    assert [part.source.rows for part in parts] == [len(part) for part in numbers]
    assert [part.source.part for part in parts] == [
        "train: 80 % of the rows, by connected rows",
        "select: 10 % of the rows, by connected rows",
        "report: 10 % of the rows, by connected rows",
    ]
    assert len({part.source.fingerprint for part in parts}) == 3


def test_the_seed_decides_the_parts(tmp_path: Path) -> None:
    loaded = scored(tmp_path, [row(f"a{n}", f"b{n}") for n in range(300)])
    first, again, other = (split(loaded, seed)[2].source.fingerprint for seed in (1, 1, 2))
    assert first == again != other


def test_rows_of_one_group_of_the_data_stay_together(tmp_path: Path) -> None:
    rows = [row(f"a{n}", f"b{n}", f', "group": {n % 150}') for n in range(450)]
    found = [set(part.dataset["group"]) for part in split(scored(tmp_path, rows), seed=3)]
    assert sum(map(len, found)) == 150


def test_a_large_group_is_trained_on(tmp_path: Path) -> None:
    rows = [row("the same", f"b{n}") for n in range(100)] + [row(f"a{n}", f"c{n}") for n in range(400)]
    train, _, _ = split(scored(tmp_path, rows), seed=0)
    assert list(train.dataset["sentence1"]).count("the same") == 100


def test_too_few_groups_are_refused_with_how_many_are_needed(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"500 rows in 1 groups .* about 100 groups"):
        split(scored(tmp_path, [row("the same", f"b{n}") for n in range(500)]), seed=0)
    with pytest.raises(RequestError, match="60 rows in 60 groups"):
        split(scored(tmp_path, [row(f"a{n}", f"b{n}") for n in range(60)]), seed=0)


def test_rows_without_scores_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("anchor,positive\na,b\n")
    with pytest.raises(RequestError, match="holds pairs: only scored rows"):
        split(load(str(path), cache_dir=tmp_path / "cache"), seed=0)
