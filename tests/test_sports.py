"""The built-in corpus: repeatable, distinct, split cleanly, graded by its rule, readable, no prey of word counts."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_simtune.data import sports_frames, sports_words
from hf_simtune.data.sports import DEFAULT_ROWS, MAX_ROWS, SHAPES, SPLITS, generate
from hf_simtune.data.sports_frames import IMPORTANT, Frame, draw, grade
from hf_simtune.data.sports_language import full, number, partial, told, wording, write
from hf_simtune.data.sports_templates import TEMPLATES
from hf_simtune.errors import RequestError

EVERY = [(shape, split) for shape in SHAPES for split in SPLITS]
COLUMNS = {
    "pairs": {"anchor": str, "positive": str},
    "triplets": {"anchor": str, "positive": str, "negative": str},
    "scored": {"sentence1": str, "sentence2": str, "score": float, "group": int, "subset": str},
    "sentences": {"sentence": str},
}


def rows_of(shape: str, split: str, rows: int = 300, seed: int = 0) -> list[dict[str, Any]]:
    return list(generate(shape, split, rows, seed))


def texts_of(rows: list[dict[str, Any]]) -> list[str]:
    return [value for row in rows for name, value in row.items() if isinstance(value, str) and name != "subset"]


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def templates_of(split: str) -> set[str]:
    return {line.strip() for kind in TEMPLATES for line in TEMPLATES[kind][split].strip().splitlines()}


def frames_of(split: str, count: int = 400) -> list[Frame]:
    rng = random.Random(f"test {split}")
    return [draw(rng, split) for _ in range(count)]


@pytest.mark.parametrize(("shape", "split"), EVERY)
def test_rows_have_the_columns_of_their_shape_and_are_distinct(shape: str, split: str) -> None:
    rows = rows_of(shape, split, 600)
    assert len(rows) == 600
    for row in rows:
        assert {name: type(value) for name, value in row.items()} == COLUMNS[shape]
    # In any order of the sentences: a pair and its mirror would count twice.
    assert len({frozenset(texts_of([row])) for row in rows}) == 600
    assert all(len(set(texts_of([row]))) == len(texts_of([row])) for row in rows), "a row repeats a sentence"


def test_default_rows_are_given_for_all_and_can_be_made() -> None:
    assert set(DEFAULT_ROWS) == set(EVERY)
    assert all(0 < count <= MAX_ROWS[split] for (_, split), count in DEFAULT_ROWS.items())
    assert MAX_ROWS["train"] >= 100_000


def test_another_process_with_another_hash_seed_makes_the_same_rows() -> None:
    code = (
        "import hashlib, json; from hf_simtune.data.sports import *\n"
        "rows = [list(generate(shape, split, 40, 7)) for shape in SHAPES for split in SPLITS]\n"
        "print(hashlib.sha256(json.dumps(rows).encode()).hexdigest())"
    )
    here = hashlib.sha256(json.dumps([rows_of(shape, split, 40, 7) for shape, split in EVERY]).encode()).hexdigest()
    root = str(Path(sports_words.__file__).resolve().parents[2])
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == here


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(-(2**40), 2**40), few=st.integers(1, 20), which=st.sampled_from(EVERY))
def test_a_short_run_is_the_beginning_of_a_long_one(seed: int, few: int, which: tuple[str, str]) -> None:
    assert rows_of(*which, few, seed) == rows_of(*which, 30, seed)[:few]


def test_the_corpus_is_the_one_that_published_scores_were_measured_on() -> None:
    # Whoever changes a word or a template changes every score on this corpus: measure again, then change this.
    digest = hashlib.sha256(json.dumps([rows_of(shape, split, 60) for shape, split in EVERY]).encode()).hexdigest()
    assert digest[:16] == "efa3111f8f67958f"


def test_another_seed_makes_other_rows() -> None:
    one, two = set(texts_of(rows_of("pairs", "train"))), set(texts_of(rows_of("pairs", "train", seed=1)))
    assert len(one & two) < 30


@pytest.mark.parametrize(("one", "two"), list(combinations(SPLITS, 2)))
def test_splits_share_no_name_venue_time_cause_part_plan_or_template(one: str, two: str) -> None:
    for pool in ("TOWNS", "CLUBS", "FIRST_NAMES", "LAST_NAMES", "VENUES", "PARTS"):
        listed = getattr(sports_words, pool)
        assert not set(listed[one].split()) & set(listed[two].split()), pool
    for pool in ("TIMES", "CAUSES", "PLANS"):
        listed = getattr(sports_words, pool)
        split = re.compile(r"\s*[|=]\s*")
        assert not set(split.split(listed[one])) & set(split.split(listed[two])), pool
    for pool in ("FEATS", "GAMES", "ATHLETES", "VENUE_KINDS"):
        listed = getattr(sports_words, pool)
        for sport in listed[one]:
            values = [{listed[s][sport]} if pool == "VENUE_KINDS" else set(listed[s][sport]) for s in (one, two)]
            assert not values[0] & values[1], (pool, sport)
    assert not templates_of(one) & templates_of(two)


@pytest.mark.parametrize(("one", "two"), list(combinations(SPLITS, 2)))
def test_splits_share_no_frame_and_no_sentence(one: str, two: str) -> None:
    values = [{(f.kind, tuple(f.slots.values())) for f in frames_of(split)} for split in (one, two)]
    assert not values[0] & values[1]
    assert not set(texts_of(rows_of("scored", one, 600))) & set(texts_of(rows_of("scored", two, 600)))


def test_no_person_competes_in_two_sports_and_nobody_in_two_roles() -> None:
    for split in SPLITS:
        people = [name for sport in sports_words.KINDS for name in sports_frames.people(split, sport)]
        assert len(people) == len(set(people))
        for frame in frames_of(split):
            assert len(frame.names) == sum(slot in "wlabpc" for slot in frame.slots)


def test_every_kind_is_told_in_several_ways_and_with_a_detail_missing() -> None:
    for kind, slots in IMPORTANT.items():
        for split in SPLITS:
            assert len(full(kind, split)) >= (5 if split == "train" else 3), (kind, split)
            assert partial(kind, split) or split == "validation", (kind, split)
            assert all(told(line) == set(slots) for line in full(kind, split))
            assert all(len(told(line)) == len(slots) - 1 for line in partial(kind, split)), partial(kind, split)


def test_every_template_names_the_sport_and_can_tell_place_and_time() -> None:
    for split in SPLITS:
        for line in templates_of(split):
            assert re.search(r"\{(a:)?(game|sport|athlete)\}", line), line
            assert len(re.findall(r"\{[aA]t\}", line)) == 1, line
            assert len(re.findall(r"\{[oO]n\}", line)) == 1, line
            assert not re.search(r"\b[aA]n? \{", line), f"the article is not fitted: {line}"


@pytest.mark.parametrize(("shape", "split"), EVERY)
def test_sentences_are_clean(shape: str, split: str) -> None:
    for text in texts_of(rows_of(shape, split, 1500)):
        assert not re.search(r"[{}\[\]|=]", text), f"an unfilled gap: {text}"
        assert not re.search(r"\s\s|\s[,.;:]|^\s|\s$|\n|,,|\.\.", text), f"spacing: {text}"
        assert re.match(r'"?[A-Z0-9]', text), f"no capital: {text}"
        assert text.endswith("."), text
        assert text.count('"') in (0, 2), text
        assert not re.search(r"\ba (?=[aeio]|8|11[ -]|18[ -]|un[^i])|\ban (?=[^aeiou81AEIOU])", text, re.I), (
            f"article: {text}"
        )
        assert not re.search(r"\b(\w+) \1\b", text), f"a word twice: {text}"


def test_every_template_is_filled_in_every_sport_without_a_loose_end() -> None:
    rng = random.Random("fill")
    seen = 0
    for split in SPLITS:
        for sport, kinds in sports_words.KINDS.items():
            for kind in sorted(set(kinds)):
                frame = draw(rng, split, sport, kind)
                for template in full(kind, split) + partial(kind, split):
                    for style in (0.1, 0.9):
                        text = write(wording(template, rng), frame, frozenset(), style)
                        assert re.fullmatch(r'"?[A-Z0-9][^{}\[\]|]+\.', text), text
                        assert "  " not in text
                        # Without place and time no preposition or participle may be left hanging.
                        assert not re.search(r"\b(at|on|in|of|the)[.,]|\b(suffered|came)\.", text), text
                        seen += 1
    assert seen > 1000


def test_persons_take_the_singular_and_clubs_the_plural() -> None:
    for sport, verb in (("tennis", " was beaten "), ("rugby", " were beaten ")):
        line = next(line for line in full("win", "train") if "{were} beaten" in line)
        frame = draw(random.Random("verb"), "train", sport, "win")
        assert verb in write(line, frame, frozenset(), 0.0)


def test_numbers_in_words() -> None:
    assert [number(n) for n in (0, 13, 20, 88, 100, 114)] == [
        "zero", "thirteen", "twenty", "eighty-eight", "one hundred", "one hundred and fourteen",
    ]  # fmt: skip


# The rubric, by hand: what is changed, and the grade it must give.
WIN = Frame(
    "train", "rugby", "win", {"w": "Ash Foxes", "l": "Elm Otters", "result": (27, 19)}, "in Wexlow", "on Friday"
)
HIRE = Frame("train", "rugby", "hire", {"a": "Ash Foxes", "c": "Bo Drews", "n": 3}, "in Wexlow", "on Friday")
ALL = frozenset({"w", "l", "result", "a", "c", "n", "at", "on"})


def changed(frame: Frame, where: str | None = None, sport: str | None = None, **slots: Any) -> Frame:
    return Frame("train", sport or frame.sport, frame.kind, {**frame.slots, **slots}, where or frame.where, frame.when)


@pytest.mark.parametrize(
    ("other", "untold", "wanted"),
    [
        (WIN, set(), 5),
        (WIN, {"on"}, 4),
        (WIN, {"at", "on"}, 4),
        (changed(WIN, where="in Velmouth"), set(), 4),
        (changed(WIN, where="in Velmouth"), {"at"}, 4),
        (changed(WIN, result=(27, 20)), set(), 3),
        (changed(WIN, l="Oak Comets"), set(), 3),
        (WIN, {"result"}, 3),
        (WIN, {"w"}, 3),
        (changed(WIN, result=(27, 20)), {"at", "on"}, 3),
        (changed(WIN, result=(27, 20)), {"result"}, 3),
        (changed(WIN, w="Elm Otters", l="Ash Foxes"), set(), 2),
        (changed(WIN, w="Oak Comets"), set(), 2),
        (changed(WIN, l="Oak Comets", result=(30, 3)), set(), 2),
        (HIRE, set(), 2),
        (changed(WIN, w="Oak Comets", l="Yew Pilots", result=(30, 3)), set(), 1),
        (changed(HIRE, a="Oak Comets"), set(), 1),
        (changed(WIN, sport="cricket"), set(), 0),
        (changed(WIN, sport="cricket", w="Oak Comets"), set(), 0),
    ],
)
def test_what_differs_decides_the_grade(other: Frame, untold: set[str], wanted: int) -> None:
    assert grade(WIN, ALL, other, ALL - untold) == wanted
    assert grade(other, ALL - untold, WIN, ALL) == wanted, "the grade depends on the order"


def test_a_coach_hired_is_not_a_coach_sacked() -> None:
    sacked = Frame("train", "rugby", "sack", dict(HIRE.slots), HIRE.where, HIRE.when)
    assert grade(HIRE, ALL, sacked, ALL) == 2


@pytest.mark.parametrize("split", SPLITS)
def test_twisted_and_changed_frames_get_the_grades_they_are_made_for(split: str) -> None:
    rng = random.Random(f"twist {split}")
    for frame in frames_of(split):
        assert grade(frame, ALL | set(frame.slots), sports_frames.twisted(rng, frame), ALL | set(frame.slots)) <= 2
        for slot in IMPORTANT[frame.kind][1:]:
            other = sports_frames.changed(rng, frame, slot)
            assert [s for s in frame.slots if frame.slots[s] != other.slots[s]] == [slot]
            assert grade(frame, ALL | set(frame.slots), other, ALL | set(frame.slots)) == 3


@pytest.mark.parametrize("split", SPLITS)
def test_scores_are_balanced_and_rows_of_a_frame_stand_in_one_group(split: str) -> None:
    rows = rows_of("scored", split, 600)
    assert Counter(round(row["score"] * 5, 9) for row in rows) == dict.fromkeys(range(6), 100)
    groups = Counter(row["group"] for row in rows)
    assert set(groups.values()) == {3}
    assert sorted(groups) == list(range(200))
    sports_seen = Counter(row["subset"] for row in rows)
    assert set(sports_seen) == set(sports_words.KINDS)
    assert min(sports_seen.values()) >= 30


def test_a_five_shares_names_with_its_partner_and_a_one_shares_none() -> None:
    names = {*sports_words.LAST_NAMES["test"].split(), *sports_words.TOWNS["test"].split()}
    clubs = set(sports_words.CLUBS["test"].split())
    for row in rows_of("scored", "test", 600):
        one, two = (set(re.findall(r"[A-Z]\w+", row[column])) for column in ("sentence1", "sentence2"))
        if row["score"] == 1.0:
            assert one & names == two & names, row
            assert one & clubs == two & clubs, row


def test_a_triplets_negative_looks_like_its_anchor_but_says_something_else() -> None:
    nearer = 0
    rows = rows_of("triplets", "train", 600)
    for row in rows:
        anchor, positive, negative = (set(words_of(row[name])) for name in ("anchor", "positive", "negative"))
        nearer += len(anchor & negative) / len(anchor | negative) > len(anchor & positive) / len(anchor | positive)
    assert nearer / len(rows) > 0.6


def test_positives_use_other_words() -> None:
    overlaps = []
    for row in rows_of("pairs", "train", 600):
        one, two = set(words_of(row["anchor"])), set(words_of(row["positive"]))
        overlaps.append(len(one & two) / len(one | two))
    assert sum(overlaps) / len(overlaps) < 0.5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("pear", "train", 5), ["unknown shape 'pear'", "pairs, scored, triplets, sentences", "did you mean 'pairs'"]),
        (("pairs", "tests", 5), ["unknown split 'tests'", "train, validation, test", "did you mean 'test'"]),
        (("pear", "tests", 0.5), ["3 problems", "shape", "split", "rows is 0.5"]),
        (("pairs", "train", 0), ["rows is 0", "1 to 200,000"]),
        (("scored", "test", 10_001), ["rows is 10001", "1 to 10,000 distinct rows of shape scored in split test"]),
        (("pairs", "train", True), ["rows is True"]),
        (("pairs", "train", 5, None), ["seed is None"]),
    ],
)
def test_wrong_requests_are_told_at_the_call(arguments: tuple[Any, ...], says: list[str]) -> None:
    with pytest.raises(RequestError) as caught:
        generate(*arguments)
    for part in says:
        assert part in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "split"), [("scored", "test"), ("sentences", "validation"), ("pairs", "validation")])
def test_as_many_distinct_rows_as_promised_exist(shape: str, split: str) -> None:
    assert len({frozenset(texts_of([row])) for row in generate(shape, split, MAX_ROWS[split])}) == MAX_ROWS[split]


@pytest.mark.slow
def test_a_hundred_thousand_training_sentences_are_distinct() -> None:
    assert len({row["sentence"] for row in generate("sentences", "train", 100_000)}) == 100_000
