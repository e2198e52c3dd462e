"""From an event of the sports corpus to an English sentence."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import cache

from hf_simtune.data import sports_words as words
from hf_simtune.data.sports_frames import PERSON_SPORTS, Frame
from hf_simtune.data.sports_templates import TEMPLATES

__all__ = ["full", "number", "partial", "told", "wording", "write"]

_CHOICE = re.compile(r"\[([^\]]*)\]")
_GAP = re.compile(r"\{(a:)?(\w+)\}")
# Gaps that tell an important slot under another name.
_TELLS = {"adv": "result", "adj": "result", "did": "n"}
_SLOTS = frozenset({"w", "l", "a", "b", "p", "c", "n", "result", "part", "cause", "plan"})
_UNITS = {"football": "goals", "ice hockey": "goals", "basketball": "points", "rugby": "points"}
_MARGINS = {"cricket": "run", "cycling": "second", "athletics": "metre", "swimming": "second"}
_ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
         "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def number(n: int) -> str:
    """A number from 0 to 199 in words.

    >>> number(88)
    'eighty-eight'
    """
    if n < 20:
        return _ONES[n]
    if n < 100:
        return _TENS[n // 10 - 2] + (f"-{_ONES[n % 10]}" if n % 10 else "")
    return "one hundred" + (f" and {number(n - 100)}" if n > 100 else "")


@cache
def told(text: str) -> frozenset[str]:
    """The important slots that a template or a wording has a gap for."""
    gaps = {gap for _, gap in _GAP.findall(text)}
    return frozenset(_TELLS.get(gap, gap) for gap in gaps) & _SLOTS


@cache
def _lines(kind: str, split: str, whole: bool) -> list[str]:
    lines = [line.strip() for line in TEMPLATES[kind][split].strip().splitlines()]
    everything = frozenset().union(*(told(line) for line in lines))
    return [line for line in lines if (told(line) == everything) == whole]


def full(kind: str, split: str) -> list[str]:
    """The templates that tell every important detail."""
    return _lines(kind, split, True)


def partial(kind: str, split: str) -> list[str]:
    """The templates that leave one important detail out."""
    return _lines(kind, split, False)


def wording(template: str, rng: random.Random) -> str:
    """The template with every choice of words made."""

    def choose(match: re.Match[str]) -> str:
        options = match[1].split("|")
        return options[int(len(options) * rng.random())]

    return _CHOICE.sub(choose, template)


def write(text: str, frame: Frame, details: frozenset[str], style: float) -> str:
    """The sentence.

    Args:
        text: a template whose choices are made.
        frame: the event.
        details: ``at`` to tell the place, ``on`` to tell the time.
        style: 0..1, which of the synonyms (soccer or football, digits or words) it takes; 1 - style takes the other.
    """

    def fill(match: re.Match[str]) -> str:
        value = _gap(match[2], frame, details, style)
        return f"{_article(value)} {value}" if match[1] else value

    sentence = _GAP.sub(fill, text).replace(" two times", " twice").replace(" 2 times", " twice")
    start = 1 if sentence.startswith('"') else 0
    return sentence[:start] + sentence[start].upper() + sentence[start + 1 :]


def _gap(gap: str, frame: Frame, details: frozenset[str], style: float) -> str:
    split, sport = frame.split, frame.sport
    if gap in ("at", "on", "At", "On"):
        detail = frame.where if gap.lower() == "at" else frame.when
        if gap.lower() not in details:
            return ""
        return f" {detail}" if gap.islower() else f"{detail}, "
    if gap == "were":
        return "was" if sport in PERSON_SPORTS else "were"
    if gap in ("adv", "adj"):
        return _result(gap, sport, split, frame.slots["result"], style)
    if gap == "did":
        count = frame.slots["n"] * 7 if sport == "basketball" else frame.slots["n"]
        return _one(words.FEATS[split][sport], style).format(n=_digits_or_words(count, style))
    if gap == "n":
        return _digits_or_words(frame.slots["n"], style)
    if gap == "cause":
        return _one(frame.slots["cause"].split("="), style)
    if gap in frame.slots:
        return str(frame.slots[gap])
    named: dict[str, dict[str, tuple[str, ...]]]
    named = {"game": words.GAMES[split], "athlete": words.ATHLETES[split], "sport": words.SPORT_NAMES}
    return _one(named[gap][sport], style)


def _one(options: Sequence[str], style: float) -> str:
    return options[min(int(len(options) * style), len(options) - 1)]


def _digits_or_words(n: int, style: float) -> str:
    return str(n) if style < 0.5 else number(n)


def _result(gap: str, sport: str, split: str, result: tuple[int, ...], style: float) -> str:
    """``3-1`` or ``by three goals to one``; ``by 23 runs``; before a noun ``3-1``, ``23-run``."""
    shown = [_digits_or_words(n, style) for n in result]
    if sport in _MARGINS:
        unit = _MARGINS[sport]
        return f"{shown[0]}-{unit}" if gap == "adj" else f"by {shown[0]} {unit}s"
    if sport == "tennis":
        return f"{shown[0]}-{shown[1]}, {shown[2]}-{shown[3]}"
    if gap == "adj":
        return f"{result[0]}-{result[1]}"
    if style < 0.5:
        return f"{shown[0]}-{shown[1]}"
    between = f" {_UNITS[sport]} to " if split == "train" else " to "
    before = {"train": "by ", "validation": "", "test": "by a score of "}[split]
    return before + shown[0] + between + shown[1]


def _article(text: str) -> str:
    """``an`` before a vowel sound, also that of a digit: an 8-second win, an eleven-year reign."""
    if text[0].isdigit():
        first = re.split(r"\D", text)[0]
        return "an" if first[0] == "8" or first in ("11", "18") else "a"
    return "an" if text[0].lower() in "aeiou" and not text.startswith(("one", "uni")) else "a"
