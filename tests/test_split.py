"""One scored file in three parts that share no sentence."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import CHECKOUT

from hf_simtune.data.load import Loaded, load
from hf_simtune.data.normalise import normalised
from hf_simtune.data.split import TooFewRows, _groups, cut, split
from hf_simtune.errors import RequestError
from hf_simtune.evaluation.groups import connected_groups, groups_of_ids

PARTS = ("train", "select", "report")


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


@pytest.mark.parametrize("part", ["select", "report"])
def test_one_part_alone_leaves_nine_tenths_to_train_on(tmp_path: Path, part: str) -> None:
    loaded = scored(tmp_path, [row(f"a{n}", f"b{n}") for n in range(300)])
    train, kept = split(loaded, 0, [part])
    assert sorted(train.dataset["row"][:] + kept.dataset["row"][:]) == list(range(300))
    assert (len(train.dataset), len(kept.dataset)) == (270, 30)
    assert train.source.part == "train: 90 % of the rows, by connected rows"
    assert (kept.source.part, kept.source.title) == (
        f"{part}: 10 % of the rows, by connected rows",
        f"rows.jsonl:{part}",
    )


def test_one_part_alone_needs_no_more_groups_than_it_takes(tmp_path: Path) -> None:
    train, select = split(scored(tmp_path, [row(f"a{n}", f"b{n}") for n in range(100)]), 0, ["select"])
    assert (len(train.dataset), len(select.dataset)) == (90, 10)
    few = scored(tmp_path, [row(f"c{n}", f"d{n}") for n in range(80)])
    with pytest.raises(TooFewRows) as caught:
        split(few, 0, ["report"])
    assert "to be split into rows to train and report on it needs about 100 groups" in str(caught.value)
    assert caught.value.hint == "Give more rows, or name evaluation rows of their own with --report-on"


def test_each_part_has_a_title_of_its_own_that_no_split_can_have(tmp_path: Path) -> None:
    loaded = scored(tmp_path, [row(f"a{n}", f"b{n}") for n in range(300)])
    assert [part.source.title for part in split(loaded, 0)] == [f"rows.jsonl:{name}" for name in PARTS]
    source = dataclasses.replace(loaded.source, name="org/rows", split="train")
    of_hub = split(Loaded(loaded.dataset, source), 0)
    assert [part.source.title for part in of_hub] == [f"org/rows:train[{name}]" for name in PARTS]


def test_groups_by_hash_are_those_by_the_texts_themselves(tmp_path: Path) -> None:
    draw = np.random.default_rng(0).integers
    rows = [row(f"Sentence {draw(4000)}!", f"SENTENCE {draw(4000)}") for _ in range(2500)]
    loaded = scored(tmp_path, rows)
    forms = ([normalised(text) for text in loaded.dataset[name]] for name in ("sentence1", "sentence2"))
    expected = connected_groups(*forms)
    assert _groups(loaded).tolist() == expected.tolist()
    assert 100 < len(set(expected.tolist())) < 2400


def test_ids_may_be_any_whole_numbers() -> None:
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    assert groups_of_ids(np.array([low, 5, 0]), np.array([high, -7, low])).tolist() == [0, 1, 0]
    assert groups_of_ids(np.empty(0, np.int64), np.empty(0, np.int64)).shape == (0,)
    with pytest.raises(RequestError, match="sentence1 has 1 rows and sentence2 2"):
        groups_of_ids(np.array([1]), np.array([1, 2]))


MEASURE = """
import sys
from pathlib import Path
from hf_simtune import machine
from hf_simtune.data.load import load
from hf_simtune.data.split import split
small, large = (load(path, cache_dir=Path(sys.argv[3])) for path in sys.argv[1:3])
split(small, 0)
before, _ = machine.peak_memory()
parts = split(large, 0)
print(sum(part.source.rows for part in parts), machine.peak_memory()[0] - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_texts_of_a_file_that_is_split(tmp_path: Path) -> None:
    paths = {}
    for name, rows in (("small", 2_000), ("large", 200_000)):
        paths[name] = tmp_path / f"{name}.jsonl"
        with paths[name].open("w", encoding="utf-8") as file:
            file.writelines(
                row(f"sentence {n} of the first column", f"and {n} of the second") + "\n" for n in range(rows)
            )
    command = [sys.executable, "-c", MEASURE, str(paths["small"]), str(paths["large"]), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=CHECKOUT)
    rows_seen, megabytes = done.stdout.split()
    assert int(rows_seen) == 200_000
    # The file's own pages, read through a memory map, are counted too: some 20 MB. As lists of texts it took 130 MB.
    assert float(megabytes) < 60


def test_the_seed_decides_the_parts(tmp_path: Path) -> None:
    loaded = scored(tmp_path, [row(f"a{n}", f"b{n}") for n in range(300)])
    first, again, other = (split(loaded, seed)[2].source.fingerprint for seed in (1, 1, 2))
    assert first == again != other


def test_rows_of_one_group_of_the_data_stay_together(tmp_path: Path) -> None:
    rows = [row(f"a{n}", f"b{n}", f', "group": {n % 150}') for n in range(450)]
    found = [set(part.dataset["group"]) for part in split(scored(tmp_path, rows), seed=3)]
    assert sum(map(len, found)) == 150


def test_a_triplet_is_connected_by_any_of_its_three_texts(tmp_path: Path) -> None:
    draw = np.random.default_rng(0).integers
    rows = [[f"Sentence {number}" for number in draw(3000, size=3)] for _ in range(800)]
    path = tmp_path / "rows.jsonl"
    names = ("anchor", "positive", "negative")
    path.write_text("\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows), encoding="utf-8")
    found = _groups(load(str(path), cache_dir=tmp_path / "cache")).tolist()
    # By hand: join two rows' labels wherever they share a text, until nothing changes.
    labels = list(range(len(rows)))
    holders: dict[str, list[int]] = {}
    for at, row in enumerate(rows):
        for text in row:
            holders.setdefault(text, []).append(at)
    changed = True
    while changed:
        changed = False
        for shared in holders.values():
            lowest = min(labels[at] for at in shared)
            changed = changed or any(labels[at] != lowest for at in shared)
            for at in shared:
                labels[at] = lowest
    order = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    assert found == [order[label] for label in labels]
    assert 20 < len(order) < 800


def test_the_smaller_parts_can_be_bounded(tmp_path: Path) -> None:
    loaded = scored(tmp_path, [row(f"a{n}", f"b{n}") for n in range(500)])
    groups, parts = cut(loaded, 0, most=20)
    assert groups.tolist() == list(range(500))
    assert np.bincount(parts).tolist() == [460, 20, 20]
    assert np.array_equal(cut(loaded, 0, most=50)[1], cut(loaded, 0)[1])


def test_a_large_group_is_trained_on(tmp_path: Path) -> None:
    rows = [row("the same", f"b{n}") for n in range(100)] + [row(f"a{n}", f"c{n}") for n in range(400)]
    train, _, _ = split(scored(tmp_path, rows), seed=0)
    assert list(train.dataset["sentence1"]).count("the same") == 100


def test_too_few_groups_are_refused_with_how_many_are_needed(tmp_path: Path) -> None:
    with pytest.raises(TooFewRows, match=r"500 rows in 1 groups .* about 100 groups"):
        split(scored(tmp_path, [row("the same", f"b{n}") for n in range(500)]), seed=0)
    with pytest.raises(TooFewRows, match="60 rows in 60 groups") as both:
        split(scored(tmp_path, [row(f"a{n}", f"b{n}") for n in range(60)]), seed=0)
    assert "to be split into rows to train, select and report on it needs about 100 groups or more" in str(both.value)
    assert both.value.hint == "Give more rows, or name evaluation rows of their own with --select-on and --report-on"


def test_a_hundred_groups_are_enough_and_each_part_has_ten(tmp_path: Path) -> None:
    parts = split(scored(tmp_path, [row(f"a{n}", f"b{n}") for n in range(100)]), seed=3)
    assert [len(part.dataset) for part in parts] == [80, 10, 10]


def test_large_groups_are_trained_on(tmp_path: Path) -> None:
    together = [row(f"the same {n // 12}", f"b{n}") for n in range(240)]  # 20 groups, each a third of a small part
    alone = [row(f"alone {n}", f"c{n}") for n in range(120)]
    for seed in range(5):
        _, *small = split(scored(tmp_path, [*alone, *together]), seed)
        assert all(text.startswith("alone") for part in small for text in part.dataset["sentence1"])


def test_rows_without_scores_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("anchor,positive\na,b\n")
    with pytest.raises(RequestError, match="holds pairs: only scored rows"):
        split(load(str(path), cache_dir=tmp_path / "cache"), seed=0)
