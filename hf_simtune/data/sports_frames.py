"""The events of the sports corpus: who did what to whom, and how much two such events have in common."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Sequence
from functools import cache
from typing import Any

from hf_simtune.data import sports_words as words

__all__ = ["IMPORTANT", "PERSON_SPORTS", "SPORTS", "Frame", "changed", "draw", "grade", "people", "pick", "twisted"]

SPORTS = tuple(words.KINDS)
PERSON_SPORTS = frozenset(words.KINDS) - frozenset(words.TEAM_SPORTS)
# What makes an event that event and no other, the main actor first.
IMPORTANT: dict[str, tuple[str, ...]] = {
    "win": ("w", "l", "result"),
    "feat": ("p", "a", "b", "n"),
    "injury": ("p", "part", "n"),
    "move": ("p", "a", "b", "n"),
    "hire": ("a", "c", "n"),
    "sack": ("a", "c", "n"),
    "postponed": ("a", "b", "cause"),
    "retire": ("p", "n", "plan"),
}
_NAMES = frozenset("wlabpc")
_SWAPS = {"win": ("w", "l"), "feat": ("a", "b"), "move": ("a", "b")}
_OPPOSITES = {"hire": "sack", "sack": "hire"}
_RANGES = {"feat": (2, 5), "injury": (2, 16), "move": (2, 7), "hire": (2, 7), "sack": (2, 12), "retire": (6, 18)}


@dataclasses.dataclass(frozen=True)
class Frame:
    """One event. ``slots`` holds the important values by name, in the order of ``IMPORTANT[kind]``."""

    split: str
    sport: str
    kind: str
    slots: dict[str, Any]
    where: str
    when: str

    @property
    def key(self) -> str:
        """The event without place and time: frames of one key mean the same but for details."""
        return repr((self.split, self.sport, self.kind, tuple(self.slots.items())))

    @property
    def names(self) -> set[str]:
        """The people and sides in it."""
        return {value for slot, value in self.slots.items() if slot in _NAMES}


def grade(first: Frame, first_told: frozenset[str], second: Frame, second_told: frozenset[str]) -> int:
    """The similarity, 0 to 5, of two sentences by their frames and by the slots that each sentence tells.

    ``first_told`` and ``second_told`` hold names of important slots, and ``at`` and ``on`` for place and time.
    """
    if first.sport != second.sport:
        return 0
    if first.kind != second.kind:
        return 2 if first.names & second.names else 1
    slots = IMPORTANT[first.kind]
    both = first_told & second_told
    same = [slot for slot in slots if slot in both and first.slots[slot] == second.slots[slot]]
    missing = [slot for slot in slots if slot not in both]
    if len(same) == len(slots):
        place = _same_detail("at", first_told, second_told, first.where == second.where)
        time = _same_detail("on", first_told, second_told, first.when == second.when)
        return 5 if place and time else 4
    # Another main actor is another event, however much else agrees.
    if len(same) == len(slots) - 1 and (slots[0] in same or slots[0] in missing):
        return 3
    return 2 if same or first.names & second.names else 1


def _same_detail(detail: str, first: frozenset[str], second: frozenset[str], equal: bool) -> bool:
    return (detail in first) == (detail in second) and (detail not in first or equal)


def pick(rng: random.Random, values: Sequence[Any], skew: float = 1.0) -> Any:
    """One of the values; with a skew above 1 the first ones more often."""
    return values[int(len(values) * rng.random() ** skew)]


@cache
def people(split: str, sport: str) -> list[str]:
    """The people of one sport, none of whom is in another."""
    rng = random.Random(f"people {split}")
    pairs = itertools.product(words.FIRST_NAMES[split].split(), words.LAST_NAMES[split].split())
    everybody = sorted((rng.random(), f"{first} {last}") for first, last in pairs)
    return [name for _, name in everybody[SPORTS.index(sport) :: len(SPORTS)]]


@cache
def _clubs(split: str, sport: str) -> list[str]:
    """One club of the sport for each town."""
    towns, clubs, shift = words.TOWNS[split].split(), words.CLUBS[split].split(), SPORTS.index(sport)
    return [f"{town} {clubs[(i + 3 * shift) % len(clubs)]}" for i, town in enumerate(towns)]


def _sides(split: str, sport: str, kind: str = "win") -> list[str]:
    """Who competes, or who has a coach: people in tennis and races, clubs elsewhere; only clubs sign anybody."""
    return people(split, sport) if sport in PERSON_SPORTS and kind != "move" else _clubs(split, sport)


def draw(rng: random.Random, split: str, sport: str | None = None, kind: str | None = None) -> Frame:
    """A random event. Some sides and people are famous, and neighbours in the list meet often: lookalikes abound."""
    sport = sport or pick(rng, SPORTS)
    kind = kind or pick(rng, words.KINDS[sport])
    slots: dict[str, Any] = {}
    for slot in IMPORTANT[kind]:
        slots[slot] = _value(rng, split, sport, kind, slot, slots)
    town = "in " + pick(rng, words.TOWNS[split].split())
    venue = f"at {pick(rng, words.VENUES[split].split())} {words.VENUE_KINDS[split][sport]}"
    office = kind in ("move", "hire", "sack", "retire")
    where = town if office or rng.random() < 0.3 else venue
    return Frame(split, sport, kind, slots, where, pick(rng, _listed(words.TIMES[split])))


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split("|")]


def _value(rng: random.Random, split: str, sport: str, kind: str, slot: str, taken: dict[str, Any]) -> Any:
    """A value for one slot; a name is none of those taken."""
    if slot in "wlab":
        sides = _sides(split, sport, kind)
        first = next((taken[s] for s in "wa" if s in taken and s != slot), None)
        if first is not None and rng.random() < 0.6:
            sides = [sides[(sides.index(first) + step) % len(sides)] for step in (-2, -1, 1, 2)]
        return _other_name(rng, sides, taken)
    if slot in "pc":
        return _other_name(rng, people(split, sport), taken)
    if slot == "result":
        return _result(rng, sport)
    if slot == "n":
        low, high = _RANGES[kind]
        return low + int((high - low + 1) * rng.random())
    return pick(
        rng,
        {
            "part": words.PARTS[split].split(),
            "cause": _listed(words.CAUSES[split]),
            "plan": _listed(words.PLANS[split]),
        }[slot],
    )


def _other_name(rng: random.Random, names: Sequence[str], taken: dict[str, Any]) -> str:
    return str(pick(rng, [name for name in names if name not in taken.values()], skew=1.8))


def _result(rng: random.Random, sport: str) -> tuple[int, ...]:
    """The winner's and the loser's score, or a margin."""

    def between(low: int, high: int) -> int:
        return low + int((high - low + 1) * rng.random())

    if sport in ("football", "ice hockey"):
        loser = between(0, 3)
        return loser + between(1, 3), loser
    if sport in ("basketball", "rugby"):
        loser = between(60, 95) if sport == "basketball" else between(6, 27)
        return loser + between(2, 19), loser
    if sport == "tennis":
        return 6, between(0, 4), 6, between(0, 4)
    return (between(6, 80),) if sport == "cricket" else (between(2, 14),)


def changed(rng: random.Random, frame: Frame, *slots: str) -> Frame:
    """The same event with other values in these slots."""
    values = dict(frame.slots)
    for slot in slots:
        while values[slot] == frame.slots[slot]:
            values[slot] = _value(rng, frame.split, frame.sport, frame.kind, slot, {**frame.slots, **values})
    return dataclasses.replace(frame, slots=values)


def twisted(rng: random.Random, frame: Frame) -> Frame:
    """Another event that shares something: a 2."""
    roll = rng.random()
    if frame.kind in _OPPOSITES and roll < 0.5:
        return dataclasses.replace(frame, kind=_OPPOSITES[frame.kind])
    if frame.kind in _SWAPS and roll < 0.5:
        one, two = _SWAPS[frame.kind]
        values = frame.slots
        return dataclasses.replace(frame, slots={**values, one: values[two], two: values[one]})
    slots = IMPORTANT[frame.kind]
    return changed(rng, frame, slots[0], *([pick(rng, slots[1:])] if roll > 0.75 else []))
