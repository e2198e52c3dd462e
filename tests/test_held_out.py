"""Graded rows out of pairs and triplets: nothing of them is trained on, and what scores 0 is no positive."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_simtune.before_after import groups
from hf_simtune.data import held_out
from hf_simtune.data.held_out import FEWEST, NEAR, hold_out, nearest_others
from hf_simtune.data.load import Loaded, load
from hf_simtune.data.normalise import normalised, shingles
from hf_simtune.data.split import TooFewRows
from hf_simtune.errors import RequestError
from hf_simtune.record import Source

NAMES = {2: ("anchor", "positive"), 3: ("anchor", "positive", "negative")}
# fmt: off
WORDS = [
    "river", "goal", "piano", "horse", "night", "bread", "train", "music",
    "coach", "paper", "street", "evening", "kitchen", "season", "garden", "window",
]
# fmt: on


def loaded(rows: Sequence[tuple[str, ...]]) -> Loaded:
    names = NAMES[len(rows[0])]
    values: dict[str, list[Any]] = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    dataset = Dataset.from_dict({**values, "row": list(range(100, 100 + len(rows)))})
    shape = "pairs" if len(names) == 2 else "triplets"
    return Loaded(dataset, Source(name="rows.csv", kind="file", shape=shape, columns=names, rows=len(rows)))


def drawn(count: int, width: int, seed: int = 0) -> list[tuple[str, ...]]:
    rng = np.random.default_rng(seed)
    return [tuple(f"{' '.join(rng.choice(WORDS, 5))} {n} {side}" for side in range(width)) for n in range(count)]


def forms(dataset: Dataset) -> set[str]:
    names = [name for name in dataset.column_names if name not in ("row", "group", "score")]
    return {normalised(text) for name in names for text in dataset[name]}


def jaccard(one: str, other: str) -> float:
    some, others = shingles(one), shingles(other)
    return len(some & others) / len(some | others) if some | others else 0.0


@pytest.mark.parametrize("width", [2, 3])
def test_no_text_of_a_graded_row_is_trained_on_and_no_row_is_lost(width: int) -> None:
    rows = drawn(600, width)
    rows += [
        (rows[n][0].upper() + "!", f"another answer {n}", *(["a no"] if width == 3 else []))[:width]
        for n in range(0, 60, 3)
    ]
    source = loaded(rows)
    train, select, report = hold_out(source, seed=1)
    found = [forms(part.dataset) for part in (train, select, report)]
    assert not (found[0] & found[1] or found[0] & found[2] or found[1] & found[2])
    numbers = [set(train.dataset["row"]), *({row // 2 for row in part.dataset["row"]} for part in (select, report))]
    assert set.union(*numbers) == set(range(100, 100 + len(rows)))
    assert sum(map(len, numbers)) == len(rows)
    assert [len(part) for part in numbers] == pytest.approx([0.8 * len(rows), 0.1 * len(rows), 0.1 * len(rows)], abs=6)
    for part in (select, report):
        assert part.source.rows == len(part.dataset) == len(set(part.dataset["row"]))
        for line in part.dataset:
            anchor, *texts = rows[line["row"] // 2 - 100]
            assert line["score"] == 1.0 - line["row"] % 2
            assert line["sentence1"] == anchor
            if line["score"] == 1.0 or width == 3:
                assert line["sentence2"] == texts[line["row"] % 2]
            else:
                assert line["sentence2"] in {other[1] for other in rows} - {texts[0]}
        groups_of: dict[str, set[int]] = {}
        for line in part.dataset:
            groups_of.setdefault(normalised(line["sentence1"]), set()).add(line["group"])
        assert all(len(of) == 1 for of in groups_of.values())
        assert groups(part.dataset).tolist() == part.dataset["group"][:]


def test_the_parts_say_what_they_are() -> None:
    of_pairs, of_triplets = (hold_out(loaded(drawn(300, width)), 0) for width in (2, 3))
    assert [part.source.title for part in of_pairs] == ["rows.csv:train", "rows.csv:select", "rows.csv:report"]
    assert [part.source.part for part in of_pairs] == [
        "train: 80 % of the rows, by connected rows",
        "select: 10 % of the pairs held out, each against its lexically nearest other positive",
        "report: 10 % of the pairs held out, each against its lexically nearest other positive",
    ]
    assert of_triplets[2].source.part == "report: 10 % of the triplets held out, each anchor against its own negative"
    assert [part.source.shape for part in of_triplets] == ["triplets", "scored", "scored"]
    assert len({part.source.fingerprint for part in (*of_pairs, *of_triplets)}) == 6
    named = dataclasses.replace(loaded(drawn(300, 2)).source, name="org/rows", split="train", dropped={"empty text": 3})
    parts = hold_out(Loaded(loaded(drawn(300, 2)).dataset, named), 0)
    assert [part.source.title for part in parts] == [
        f"org/rows:train[{name}]" for name in ("train", "select", "report")
    ]
    assert [part.source.dropped for part in parts] == [{"empty text": 3}, {}, {}]


def test_the_seed_decides_and_nothing_else() -> None:
    source = loaded(drawn(400, 2))
    prints = [[part.source.fingerprint for part in hold_out(source, seed)] for seed in (1, 1, 2)]
    assert prints[0] == prints[1]
    assert not set(prints[0]) & set(prints[2])


def test_of_a_large_source_a_bounded_number_of_rows_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "MOST", 30)
    train, select, report = hold_out(loaded(drawn(1000, 2)), 0)
    assert [len(part.dataset) for part in (train, select, report)] == [940, 60, 60]
    assert train.source.part == "train: 940 of 1,000 rows, by connected rows"
    assert str(report.source.part).startswith("report: 30 of 1,000 pairs held out, each against")


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.tuples(*[st.text("abc d", max_size=8)] * 2, st.integers(0, 3)), min_size=1, max_size=12),
    seed=st.integers(0, 5),
)
def test_the_nearest_other_is_that_of_the_slow_search(texts: list[tuple[str, str, int]], seed: int) -> None:
    anchors, positives = [normalised(row[0]) for row in texts], [normalised(row[1]) for row in texts]
    labels = [row[2] for row in texts]
    found = nearest_others(anchors, positives, np.array(labels), seed)
    for at, other in enumerate(found.tolist()):
        allowed = [
            n
            for n in range(len(texts))
            if labels[n] != labels[at]
            and positives[n] not in (anchors[at], positives[at])
            and max(jaccard(anchors[at], positives[n]), jaccard(positives[at], positives[n])) < NEAR
        ]
        if other < 0:
            assert not allowed
            continue
        assert other in allowed
        best = max(jaccard(anchors[at], positives[n]) for n in allowed)
        assert jaccard(anchors[at], positives[other]) == pytest.approx(best)


def test_a_text_that_is_nearly_the_anchor_or_its_positive_is_never_its_negative() -> None:
    anchors = ["headlines of today", "the headlines on dec 30", "a bird"]
    positives = ["headlines on december 30", "headlines on december 31", "birds are on the line"]
    one, other = [normalised(text) for text in anchors], [normalised(text) for text in positives]
    assert nearest_others(one, other, np.arange(3), 0).tolist()[:2] == [2, 2]


def test_a_negative_that_is_a_positive_elsewhere_scores_1() -> None:
    words = [(f"{WORDS[n % 16]} {n} asked", *(f"{WORDS[n % 16]} {n} {side}" for side in "abc")) for n in range(200)]
    rows = [row for q, a, b, c in words for row in ((q, a, b), (q, b, c))]
    _, _, report = hold_out(loaded(rows), 0)
    scores = {line["sentence2"][-1]: line["score"] for line in report.dataset}
    assert scores == {"a": 1.0, "b": 1.0, "c": 0.0}
    assert len(report.dataset) == 3 * len(set(report.dataset["group"]))


@settings(max_examples=25, deadline=None)
@given(data=st.data(), width=st.sampled_from([2, 3]), kinds=st.integers(150, 900))
def test_whatever_the_rows_share_the_graded_rows_contradict_neither_the_data_nor_each_other(
    data: st.DataObject, width: int, kinds: int
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    rows = [tuple(f"{WORDS[n % 16]} {n}" for n in rng.integers(kinds, size=width).tolist()) for _ in range(FEWEST)]
    rows += [tuple(f"{word} {n} {side}" for side in range(width)) for n in range(200) for word in ("own",)]
    source = loaded(rows)
    try:
        train, select, report = hold_out(source, 0)
    except TooFewRows:
        return
    meant = {frozenset(map(normalised, row[:2])) for row in rows}
    refused = {frozenset((normalised(row[0]), normalised(row[-1]))) for row in rows}
    for part in (select, report):
        assert not forms(part.dataset) & forms(train.dataset)
        found = [frozenset((normalised(line["sentence1"]), normalised(line["sentence2"]))) for line in part.dataset]
        assert len(set(found)) == len(found)
        for pair, line in zip(found, part.dataset, strict=True):
            assert len(pair) == 2
            assert (pair in meant) == (line["score"] == 1.0)
            assert line["score"] == 1.0 or width == 2 or pair in refused


def test_a_pair_of_one_text_and_a_pair_that_stands_twice_are_no_further_evidence() -> None:
    rows = drawn(300, 2)
    rows += [(text.upper(), text) for text, _ in drawn(300, 2, seed=1)] + [(b, a) for a, b in rows]
    _, select, report = hold_out(loaded(rows), 0)
    for part in (select, report):
        ones = [line for line in part.dataset if line["score"] == 1.0]
        assert (
            0 < len(ones) < 40
        )  # of some 90 held-out rows a third is of one text, and two thirds are each there twice
        assert all(normalised(line["sentence1"]) != normalised(line["sentence2"]) for line in ones)


def test_too_few_rows_groups_or_pairs_are_refused_with_their_numbers() -> None:
    with pytest.raises(TooFewRows, match=r"rows\.csv has 199 pairs; to hold some out it needs 200 or more"):
        hold_out(loaded(drawn(199, 2)), 0)
    hold_out(loaded(drawn(200, 2)), 0)
    with pytest.raises(TooFewRows, match="300 rows in 1 groups"):
        hold_out(loaded([("the same", f"answer {n}") for n in range(300)]), 0)
    with pytest.raises(TooFewRows, match="0 groups have a pair that scores 1"):
        hold_out(loaded([(f"Text {n}", f"text {n}.") for n in range(300)]), 0)
    with pytest.raises(TooFewRows, match="and 0 one that scores 0; it takes 10"):
        hold_out(loaded([(f"query {n}", f"answer {n}", f"Answer {n}!") for n in range(300)]), 0)


def test_rows_that_are_no_pairs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"sentence": f"sentence {n}"}) for n in range(300)), encoding="utf-8")
    with pytest.raises(RequestError, match=r"rows\.jsonl holds sentences: pairs and triplets"):
        hold_out(load(str(path), cache_dir=tmp_path / "cache"), 0)


def test_texts_of_signs_alone_can_be_held_out() -> None:
    signs = "!?#%&@$"
    rows = [tuple(f"{signs[n % 7]}{signs[n // 7 % 7]}{signs[n // 49]}{side}" for side in "+=") for n in range(300)]
    _, _, report = hold_out(loaded(rows), 0)
    assert sorted(set(report.dataset["score"])) == [0.0, 1.0]
