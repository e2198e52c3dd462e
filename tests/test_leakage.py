"""Planted leaks of every kind are found, nothing else is, and the known figures of STSb come out."""

# ruff: noqa: RUF001  (the look-alikes of this file are what it tests)

from __future__ import annotations

import dataclasses
import gzip
import json
import tracemalloc
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_simtune.data.leakage import EXAMPLES, Leaks, find_leaks, without
from hf_simtune.data.normalise import normalised, shingles
from hf_simtune.errors import DataError, RequestError
from hf_simtune.record import Leakage

HUB = Path(__file__).resolve().parents[2] / "shared" / "hub" / "datasets"
STSB = HUB / "sentence-transformers" / "stsb" / "data"
COMPRESSION = HUB / "embedding-data" / "sentence-compression" / "sentence-compression_compressed.jsonl.gz"

LONG = "The harbour master closed the northern basin after the storm, and two ferries waited outside until noon."
OTHER = "Two ferries could not enter because the northern part of the port was shut by the weather."
PAIRS = [("A goalkeeper saves a penalty.", "The penalty is stopped by the keeper."), (LONG, OTHER)]
FILLER = [
    (f"Question {n} concerns the {word} of bees.", f"{word.title()} of ants, answer {n}.")
    for n, word in enumerate(("song", "dance", "flight", "sleep"))
]


def rows(pairs: Sequence[tuple[str, ...]], columns: str = "anchor positive", first_row: int = 0) -> Dataset:
    names = columns.split()
    values = {name: [pair[index] for pair in pairs] for index, name in enumerate(names)}
    return Dataset.from_dict({**values, "row": [first_row + index for index in range(len(pairs))]})


def graded(pairs: list[tuple[str, str]], first_row: int = 0) -> Dataset:
    return rows(pairs, "sentence1 sentence2", first_row).add_column("score", [0.5] * len(pairs))


def check(train: Dataset, pairs: list[tuple[str, str]], *, jaccard: float = 0.8) -> tuple[Leaks, Leakage]:
    leaks = find_leaks(train, {"held out": graded(pairs)}, progress=False, jaccard=jaccard)
    assert leaks.drop.dtype == np.int64
    return leaks, leaks.facts[0]


SAME = {
    "as it is": ("He didn't say: 'New York-based' costs $5.", "He didn't say: 'New York-based' costs $5."),
    "case": ("The EU voted.", "the eu VOTED."),
    "final punctuation": ("A man is singing.", "A man is singing"),
    "white space": ("A man is singing.", "  A  man\tis\u00a0singing .\n"),
    "curly quotes": ('He said "it\'s late".', "He said “it’s late”."),
    "accents as quotes": ("I'm very proud of Tuesday's vote.", "I´m very proud of Tuesday`s vote."),
    "tokenised contraction": ("They don't and can't.", "They do n't and ca n't ."),
    "tokenised hyphen": ("The New York-based firm", "The New York - based firm"),
    "hyphen, space or none": ("He does push-ups.", "He does push ups."),
    "decomposed accents": ("Café à Zürich", unicodedata.normalize("NFD", "Café à Zürich")),
    "full width": ("Tokyo 2020, finally", "Ｔｏｋｙｏ　２０２０，ｆｉｎａｌｌｙ"),
    "ligature": ("The first office", "The ﬁrst oﬃce"),
    "sharp s": ("Große Straße", "GROSSE STRASSE"),
    "invisible characters": ("cooperate today", "\ufeffco\u00adoperate\u200b today"),
    "dashes in a range": ("It ended 3-2 there", "It ended 3–2 there"),
    "spaced currency": ("It costs $5 or 10%.", "It costs $ 5 or 10 % ."),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
@pytest.mark.parametrize("swapped", [False, True])
def test_a_pair_is_found_in_either_order_however_it_is_written(one: str, other: str, swapped: bool) -> None:
    partner = "A partner sentence that is quite different."
    planted = (partner.upper(), other) if swapped else (other, partner.upper())
    leaks, fact = check(rows([*FILLER, planted]), [PAIRS[0], (one, partner)])
    assert leaks.drop.tolist() == [len(FILLER)]
    assert (fact.pairs_exact, fact.pairs_near, fact.rows_dropped) == (1, 0, 1)
    assert (fact.sentences_exact, fact.sentences_near, fact.sentences) == (2, 0, 4)
    assert fact.examples == ((len(FILLER), 1),)


def test_texts_of_punctuation_or_emoji_match_only_their_like() -> None:
    train = rows([("...", "?!"), ("😀😀😀😀😀", "!!!!!!"), ("-", "—"), ("\u200b", "\u200d")])
    leaks, fact = check(train, [("!!!", "…?"), ("😀😀😀😀", "**"), ("😂", ";")])
    assert leaks.drop.size == 0
    assert (fact.sentences_exact, fact.sentences_near, fact.sentences) == (0, 0, 6)
    leaks, fact = check(train, [("?!", "...")])
    assert leaks.drop.tolist() == [0]
    assert (fact.pairs_exact, fact.sentences_exact) == (1, 2)


@pytest.mark.parametrize(
    "changed",
    [
        LONG.replace("storm", "gale"),
        LONG.replace("closed", "had closed"),
        LONG.replace("two ", ""),
        LONG.replace("harbour", "harbor"),
        "Reportedly, " + LONG,
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_a_pair_that_differs_by_one_word_is_near_and_dropped_too(changed: str, swapped: bool) -> None:
    planted = (OTHER, changed) if swapped else (changed, OTHER)
    leaks, fact = check(rows([*FILLER, planted]), PAIRS)
    assert leaks.drop.tolist() == [len(FILLER)]
    assert (fact.pairs_exact, fact.pairs_near, fact.rows_dropped) == (0, 1, 1)
    assert (fact.sentences_exact, fact.sentences_near) == (1, 1)


def test_one_shared_sentence_is_reported_and_kept() -> None:
    leaks, fact = check(rows([(LONG.upper(), FILLER[0][0]), (FILLER[1][0], OTHER + " Again."), (LONG, LONG)]), PAIRS)
    assert leaks.drop.size == 0
    assert (fact.pairs_exact, fact.pairs_near, fact.sentences_exact, fact.sentences_near) == (0, 0, 1, 1)
    assert fact.examples == ()


def test_the_threshold_decides_what_is_near() -> None:
    changed = LONG.replace("storm", "gale")
    one, other = shingles(normalised(LONG)), shingles(normalised(changed))
    similarity = len(one & other) / len(one | other)
    for jaccard, near in ((similarity, 1), (similarity + 0.001, 0), (0.5, 1), (1.0, 0)):
        leaks, fact = check(rows([(changed, OTHER)]), PAIRS, jaccard=jaccard)
        assert (fact.pairs_near, leaks.drop.size, fact.jaccard) == (near, near, jaccard)


WORDS = st.sampled_from(
    ["otter", "river", "stone", "bright", "carries", "slowly", "under", "seven", "maple", "quiet", "engine"]
)
SENTENCES = st.lists(WORDS, min_size=1, max_size=12).map(" ".join)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(SENTENCES, SENTENCES), max_size=6), st.tuples(SENTENCES, SENTENCES), st.data())
def test_a_planted_pair_is_found_wherever_it_lies(
    others: list[tuple[str, str]], pair: tuple[str, str], data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, len(others)))
    written = tuple(
        data.draw(st.sampled_from([text, text.upper() + "!", f" “{text}” ", text.replace(" ", "-")])) for text in pair
    )
    planted = written[::-1] if data.draw(st.booleans()) else written
    leaks, fact = check(rows([*others[:position], planted, *others[position:]]), [PAIRS[0], pair])
    assert position in leaks.drop
    assert fact.pairs_exact == 1
    assert fact.sentences_exact == len({normalised(text) for text in pair})


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(SENTENCES, SENTENCES), max_size=8), st.lists(st.tuples(SENTENCES, SENTENCES), max_size=8))
def test_corpora_that_share_no_letter_share_nothing(
    train: list[tuple[str, str]], held_out: list[tuple[str, str]]
) -> None:
    greek = str.maketrans("abcdefghijklmnopqrstuvwxyz", "αβγδεζηθικλμνξοπρστυφχψωϊϋ")
    leaks, fact = check(rows(train), [(one.translate(greek), other.translate(greek)) for one, other in held_out])
    assert leaks.drop.size == 0
    assert (fact.pairs_exact, fact.pairs_near, fact.sentences_exact, fact.sentences_near) == (0, 0, 0, 0)


def test_each_evaluation_set_is_counted_for_itself() -> None:
    near = (LONG.replace("storm", "gale"), OTHER)
    train = rows([PAIRS[0], FILLER[0], near, PAIRS[0][::-1], FILLER[1]], first_row=100)
    evaluations = {
        "validation": graded([FILLER[2], PAIRS[0], PAIRS[0][::-1]], first_row=7),
        "test": graded([PAIRS[1], PAIRS[0]], first_row=50),
        "clean": graded([FILLER[3]]),
        "empty": graded([]).cast(graded(PAIRS).features),
    }
    leaks = find_leaks(train, evaluations, progress=False)
    assert leaks.drop.tolist() == [0, 2, 3]
    assert [fact.evaluation for fact in leaks.facts] == list(evaluations)
    validation, test, clean, empty = leaks.facts
    assert (validation.pairs_exact, validation.pairs_near, validation.rows_dropped) == (
        2,
        0,
        2,
    )  # its pair stands there twice
    assert validation.examples == ((100, 8), (103, 8))
    assert (test.pairs_exact, test.pairs_near, test.rows_dropped) == (1, 1, 3)
    assert test.examples == ((100, 51), (102, 50), (103, 51))
    assert (test.sentences_exact, test.sentences_near, test.sentences) == (3, 1, 4)
    assert (clean.rows_dropped, clean.sentences_exact, clean.sentences_near, clean.sentences) == (0, 0, 0, 2)
    assert (empty.rows_dropped, empty.sentences) == (0, 0)


def test_of_a_triplet_anchor_positive_and_anchor_negative_are_pairs() -> None:
    (one, other), (third, fourth) = PAIRS
    train = rows(
        [(one, third, other), (other, one, fourth), (fourth, one, other), (one, third, fourth)],
        "anchor positive negative",
    )
    leaks, fact = check(train, PAIRS)
    assert leaks.drop.tolist() == [0, 1]  # in row 2 positive and negative are a pair, which no loss compares
    assert (fact.pairs_exact, fact.sentences_exact) == (1, 4)


def test_scored_rows_are_pairs() -> None:
    assert check(graded([FILLER[0], PAIRS[1]]), PAIRS)[0].drop.tolist() == [1]


def test_plain_sentences_are_reported_and_never_dropped() -> None:
    train = rows([(LONG,), (OTHER.upper(),), (PAIRS[0][0],), (PAIRS[0][1].replace("The ", "That "),)], "sentence")
    leaks, fact = check(train, PAIRS)
    assert leaks.drop.size == 0
    assert (fact.pairs_exact, fact.sentences_exact, fact.sentences_near, fact.sentences) == (0, 3, 1, 4)
    assert without(train, leaks) is train


def test_without_keeps_the_rest_in_order_and_the_source_rows_are_named() -> None:
    many = [(f"Sentence number {n} about nothing.", f"{n} is what this one says.") for n in range(5_000)]
    many[2_400] = PAIRS[1][::-1]
    many[4_999] = (PAIRS[0][0].lower(), PAIRS[0][1])
    shuffled = np.random.default_rng(0).permutation(5_000)
    train = rows(many).select(shuffled)
    leaks, fact = check(train, PAIRS)
    assert sorted(shuffled[leaks.drop].tolist()) == [2_400, 4_999]
    assert leaks.drop.tolist() == sorted(leaks.drop.tolist())
    assert set(fact.examples) == {(2_400, 1), (4_999, 0)}
    assert without(train, leaks)["row"][:] == [row for row in shuffled.tolist() if row not in (2_400, 4_999)]


def test_several_training_sets_are_checked_together_and_each_loses_its_own_rows() -> None:
    first = rows([*FILLER, PAIRS[0]])
    second = graded([PAIRS[1], FILLER[1], (PAIRS[0][1].upper(), PAIRS[0][0])], first_row=50)
    third = rows([(LONG,), ("a sentence that nobody else has",)], "sentence")
    leaks = find_leaks(
        first, {"one": graded([PAIRS[0]]), "both": graded(PAIRS)}, further=[second, third], progress=False
    )
    assert leaks.drop.tolist() == [4]
    assert [drop.tolist() for drop in leaks.further] == [[0, 2], []]
    assert all(drop.dtype == np.int64 for drop in leaks.further)
    one, both = leaks.facts
    # A pair that two sets hold is one pair; rows are dropped from each of them.
    assert (one.pairs_exact, one.sentences_exact, one.rows_dropped) == (1, 2, 2)
    assert (both.pairs_exact, both.sentences_exact, both.rows_dropped) == (2, 4, 3)
    assert both.examples == ((4, 0),)  # row numbers of one set alone
    assert without(first, leaks)["row"][:] == [0, 1, 2, 3]
    assert without(second, leaks, 0)["row"][:] == [51]
    assert without(third, leaks, 1) is third


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([*PAIRS, *FILLER]), max_size=12), st.integers(0, 12))
def test_a_set_in_two_pieces_leaks_as_it_does_whole(pairs: list[tuple[str, str]], at: int) -> None:
    cut = min(at, len(pairs))
    whole, fact = check(rows(pairs) if pairs else rows(PAIRS).select([]), PAIRS)
    pieces = [rows(part) if part else rows(PAIRS).select([]) for part in (pairs[:cut], pairs[cut:])]
    split = find_leaks(pieces[0], {"held out": graded(PAIRS)}, further=pieces[1:], progress=False)
    assert [*split.drop, *(split.further[0] + cut)] == whole.drop.tolist()
    assert dataclasses.replace(split.facts[0], examples=()) == dataclasses.replace(fact, examples=())


def test_no_more_than_a_few_examples_are_kept() -> None:
    fact = check(rows([PAIRS[0]] * (EXAMPLES + 3)), PAIRS)[1]
    assert fact.examples == tuple((row, 0) for row in range(EXAMPLES))
    assert fact.rows_dropped == EXAMPLES + 3


def test_no_training_rows_and_no_evaluations_are_no_leaks() -> None:
    none = rows([("a", "b")]).select([])
    assert check(none, PAIRS)[0].drop.size == 0
    leaks = find_leaks(rows(PAIRS), {}, progress=False)
    assert (leaks.drop.size, leaks.facts) == (0, ())


def test_wrong_columns_and_thresholds_are_told() -> None:
    for jaccard in (0.0, 0.49, 1.01, float("nan")):
        with pytest.raises(RequestError, match=r"jaccard is .*0\.5 to 1"):
            check(rows(PAIRS), PAIRS, jaccard=jaccard)
    with pytest.raises(DataError, match="question, answer, row"):
        check(rows(PAIRS, "question answer"), PAIRS)
    with pytest.raises(DataError, match="no column row"):
        check(rows(PAIRS).remove_columns("row"), PAIRS)
    with pytest.raises(DataError, match="held out: no column sentence1, sentence2 among anchor"):
        find_leaks(rows(PAIRS), {"held out": rows(PAIRS)}, progress=False)


def test_memory_does_not_grow_with_the_training_rows() -> None:
    peaks = []
    for count in (3_000, 12_000):
        train = rows([(f"Sentence {n} about {n * 7919} and its neighbours.",) for n in range(count)], "sentence")
        tracemalloc.start()
        check(train, PAIRS)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2


def stsb(split: str) -> Dataset:
    if not STSB.is_dir():
        pytest.skip("needs the STS Benchmark in ../shared/hub")
    table = Dataset.from_parquet(str(STSB / f"{split}-00000-of-00001.parquet"), keep_in_memory=True)
    return table.add_column("row", list(range(len(table))))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)


@pytest.mark.usefixtures("cache")
def test_stsb_shares_seven_pairs_with_its_validation_and_twelve_with_its_test_split() -> None:
    train = stsb("train")
    evaluations = {split: stsb(split) for split in ("validation", "test")}
    leaks = find_leaks(train, evaluations, progress=False)
    validation, test = leaks.facts
    # The same as by lower-casing alone: no pair is written differently in two splits.
    assert (validation.pairs_exact, test.pairs_exact) == (7, 12)
    # Looked at one by one: nine differ by a word or two ("on Tuesday" / "Tuesday", "$70 million" / "US$70 million"),
    # and four mean something else (three times woman / man, once another date): near is a matter of letters.
    assert (validation.pairs_near, test.pairs_near) == (8, 5)
    assert (validation.rows_dropped, test.rows_dropped, len(leaks.drop)) == (21, 23, 39)
    # By lower-casing alone 250 and 257 sentences are shared. In addition: black-and-white ... loveseat / love seat,
    # push ups / push-ups, key-board / keyboard, eye shadow / eyeshadow (in both splits), BBC's with a curly quote;
    # and in each split some sentences, written in two ways, are now one.
    assert (validation.sentences_exact, test.sentences_exact) == (254, 257)
    assert (validation.sentences, test.sentences) == (2906, 2550)
    for title, fact in zip(evaluations, leaks.facts, strict=True):
        for row, other in fact.examples:
            assert row in leaks.drop
            assert 0 <= other < len(evaluations[title])
    again = find_leaks(without(train, leaks), evaluations, progress=False)
    assert again.drop.size == 0


@pytest.mark.usefixtures("cache")
def test_sentence_compression_has_no_pair_of_stsb() -> None:
    evaluations = {split: stsb(split) for split in ("validation", "test")}
    with gzip.open(COMPRESSION, "rt", encoding="utf-8") as lines:
        pairs = [tuple(json.loads(line)["set"]) for _, line in zip(range(10_000), lines, strict=False)]
    planted = evaluations["test"][:3]
    pairs[5_000:5_000] = list(zip(planted["sentence2"], planted["sentence1"], strict=True))
    leaks = find_leaks(rows(pairs), evaluations, progress=False)
    assert leaks.drop.tolist() == [5_000, 5_001, 5_002]
    assert [fact.pairs_exact for fact in leaks.facts] == [0, 3]
    assert leaks.facts[1].sentences_exact <= 6
