"""Normalised texts, and the near ones among them: nothing invented, nothing missed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_simtune.data.minhash import NearTexts
from hf_simtune.data.normalise import normalised, shingles


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("rose 3.5 percent", "rose 35 percent"),
        ("$5", "5"),
        ("5 %", "5"),
        ("C#", "C"),
        ("1 2", "12"),
        ("great 😀", "great 😡"),
        ("né", "ne"),
        ("...", "?!"),
        ("😀", "😂"),
    ],
)
def test_texts_that_say_something_else_stay_apart(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


@settings(deadline=None, max_examples=200)
@given(st.text())
def test_normalising_twice_changes_nothing_and_nothing_becomes_empty(text: str) -> None:
    form = normalised(text)
    assert normalised(form) == form
    if text.strip() and any(unicodedata.category(character)[0] in "LN" for character in text):
        assert form


def test_an_index_of_nothing_finds_nothing_and_no_question_has_no_answer() -> None:
    assert NearTexts([], 0.8).near(["anything"]) == [[]]
    assert NearTexts(["...", ""], 0.8).near(["...", "", "a"]) == [[], [], []]
    assert NearTexts(["anything"], 0.8).near([]) == []


def mutated(count: int) -> tuple[list[str], list[str]]:
    """Sentences, and the same with one to three words exchanged."""
    choose = random.Random(1)
    words = ["".join(choose.choices("aeiourstlnmd", k=choose.randint(2, 9))) for _ in range(400)]
    known = [choose.choices(words, k=choose.randint(2, 25)) for _ in range(count)]
    asked = [[choose.choice(words) if choose.random() < 0.08 else word for word in sentence] for sentence in known]
    return [normalised(" ".join(sentence)) for sentence in known], [
        normalised(" ".join(sentence)) for sentence in asked
    ]


def brute_force(known: list[str], asked: list[str], jaccard: float) -> list[list[int]]:
    sets = [shingles(form) for form in known]
    return [
        [n for n, one in enumerate(sets) if len(one & other) >= jaccard * len(one | other) - 1e-9]
        for other in map(shingles, asked)
    ]


@pytest.mark.parametrize("jaccard", [0.5, 0.8, 0.95])
def test_minhash_finds_what_comparing_everything_finds(jaccard: float) -> None:
    known, asked = mutated(300)
    expected = brute_force(known, asked, jaccard)
    assert sum(map(len, expected)) > 100
    assert NearTexts(known, jaccard).near(asked) == expected


def test_the_answer_does_not_depend_on_the_hash_seed_of_python() -> None:
    program = (
        "from test_minhash import NearTexts, mutated\n"
        "known, asked = mutated(60)\n"
        "index = NearTexts(known, 0.5)\n"
        "print(index.near(asked), [sketch.digest() for sketch in index._sketches(index._shingles)])"
    )
    path = os.pathsep.join([str(Path(__file__).resolve().parent), *filter(None, sys.path)])
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1
    assert "[0]" in answers.pop()
