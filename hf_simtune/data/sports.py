"""The built-in corpus: sentences, paraphrase pairs, graded pairs and triplets about sport, from a seed.

An event is a :class:`Frame`: who did what to whom, with which result, where and when. Templates turn it into
sentences. What two sentences share is known exactly, so a pair is graded by :func:`grade`, a rule in the spirit of the
annotation guide of the Semantic Textual Similarity tasks (Agirre et al., 2012, 0 to 5), and not by an opinion:

- 5: the same event, the same details;
- 4: only place or time differs, or is missing from one;
- 3: one important detail differs or is missing (the score, the opponent, the length of a contract);
- 2: something is shared, yet another event is told: winner and loser swapped, a coach hired or sacked, another player;
- 1: only the sport is shared;
- 0: another sport.

All people, clubs, towns and venues are invented. Training, validation and test share no name, venue, time or template,
hence no frame. Word overlap misleads on purpose: a 5 is told in other words, and a 2 often differs by two names swapped.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from hf_simtune.data import sports_words as words
from hf_simtune.data.sports_language import PERSON_SPORTS, full, partial, told, wording, write
from hf_simtune.errors import RequestError

__all__ = ["DEFAULT_ROWS", "IMPORTANT", "MAX_ROWS", "SHAPES", "SPLITS", "Frame", "generate", "grade"]

SHAPES = ("pairs", "scored", "triplets", "sentences")
SPLITS = ("train", "validation", "test")
DEFAULT_ROWS = {
    **{(shape, "train"): 4000 for shape in SHAPES},
    **{(shape, "validation"): 600 for shape in SHAPES},
    **{(shape, "test"): 1000 for shape in SHAPES},
}
MAX_ROWS = {"train": 200_000, "validation": 10_000, "test": 10_000}

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
_SPORTS = tuple(words.KINDS)
# Three rows a frame, so that a resampled frame brings few of them; six rows hold every grade once.
_GRADES = ((5, 3, 1), (4, 2, 0))


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


def generate(shape: str, split: str, rows: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Rows of the corpus, one at a time, the same for the same arguments on every machine.

    The first rows of a long run are those of a short one.

    Args:
        shape: ``pairs`` (columns anchor, positive), ``triplets`` (anchor, positive, negative), ``scored`` (sentence1,
            sentence2, score in 0..1, group: the number of the frame, rows of which belong together, subset: the sport)
            or ``sentences`` (sentence).
        split: ``train``, ``validation`` or ``test``.
        rows: how many, at least 1 and at most ``MAX_ROWS[split]``; all are distinct.
        seed: any whole number.

    Raises:
        RequestError: an unknown shape or split, or a number of rows that the corpus does not have; raised at the call.
    """
    problems = [
        f"unknown {what} {value!r}: it must be one of {', '.join(allowed)}{_closest(value, allowed)}"
        for what, value, allowed in (("shape", shape, SHAPES), ("split", split, SPLITS))
        if value not in allowed
    ]
    for what, number in (("rows", rows), ("seed", seed)):
        if not isinstance(number, int) or isinstance(number, bool):
            problems.append(f"{what} is {number!r}: it must be a whole number")
    if not problems and not 1 <= rows <= MAX_ROWS[split]:
        problems.append(
            f"rows is {rows}: the sports corpus has 1 to {MAX_ROWS[split]:,} distinct rows of shape {shape} in split {split}"
        )
    if problems:
        raise RequestError(
            problems, hint="For example: hf-simtune generate sports --shape pairs --split train --rows 4000"
        )
    return itertools.islice(_rows(shape, split, seed), rows)


def _closest(value: Any, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(value), allowed, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _rows(shape: str, split: str, seed: int) -> Iterator[dict[str, Any]]:
    # Only Random.random() is used: the one method whose sequence Python promises to keep.
    rng = random.Random(f"sports {shape} {split} {seed}")
    make: Callable[[Frame, random.Random], dict[str, Any]] | None
    make = {"pairs": _pair, "triplets": _triplet, "sentences": _sentence}.get(shape)
    frames, seen = set[bytes](), set[bytes]()
    group = 0
    while True:
        frame = _frame(rng, split)
        if not _new(frame.key, frames):
            continue
        made = [make(frame, rng)] if make else [_scored(frame, g, group, rng) for g in _GRADES[group % 2]]
        # A group is taken whole or not at all, which keeps the grades balanced.
        texts = ["\n".join(sorted(value for value in row.values() if isinstance(value, str))) for row in made]
        if all([_new(text, seen) for text in texts]):
            yield from made
            group += 1


def _new(text: str, seen: set[bytes]) -> bool:
    digest = hashlib.blake2b(text.encode(), digest_size=10).digest()
    known = digest in seen
    seen.add(digest)
    return not known


def _pick(rng: random.Random, values: Sequence[Any], skew: float = 1.0) -> Any:
    """One of the values; with a skew above 1 the first ones more often."""
    return values[int(len(values) * rng.random() ** skew)]


@cache
def _people(split: str, sport: str) -> list[str]:
    """The people of one sport, none of whom is in another."""
    rng = random.Random(f"people {split}")
    pairs = itertools.product(words.FIRST_NAMES[split].split(), words.LAST_NAMES[split].split())
    everybody = sorted((rng.random(), f"{first} {last}") for first, last in pairs)
    return [name for _, name in everybody[_SPORTS.index(sport) :: len(_SPORTS)]]


@cache
def _clubs(split: str, sport: str) -> list[str]:
    """One club of the sport for each town."""
    towns, clubs, shift = words.TOWNS[split].split(), words.CLUBS[split].split(), _SPORTS.index(sport)
    return [f"{town} {clubs[(i + 3 * shift) % len(clubs)]}" for i, town in enumerate(towns)]


def _sides(split: str, sport: str, kind: str = "win") -> list[str]:
    """Who competes, or who has a coach: people in tennis and races, clubs elsewhere; only clubs sign anybody."""
    return _people(split, sport) if sport in PERSON_SPORTS and kind != "move" else _clubs(split, sport)


def _frame(rng: random.Random, split: str, sport: str | None = None, kind: str | None = None) -> Frame:
    """A random event. Some sides and people are famous, and neighbours in the list meet often: lookalikes abound."""
    sport = sport or _pick(rng, _SPORTS)
    kind = kind or _pick(rng, words.KINDS[sport])
    slots: dict[str, Any] = {}
    for slot in IMPORTANT[kind]:
        slots[slot] = _value(rng, split, sport, kind, slot, slots)
    town = "in " + _pick(rng, words.TOWNS[split].split())
    venue = f"at {_pick(rng, words.VENUES[split].split())} {words.VENUE_KINDS[split][sport]}"
    office = kind in ("move", "hire", "sack", "retire")
    where = town if office or rng.random() < 0.3 else venue
    return Frame(split, sport, kind, slots, where, _pick(rng, _listed(words.TIMES[split])))


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
        return _other_name(rng, _people(split, sport), taken)
    if slot == "result":
        return _result(rng, sport)
    if slot == "n":
        low, high = _RANGES[kind]
        return low + int((high - low + 1) * rng.random())
    return _pick(
        rng,
        {
            "part": words.PARTS[split].split(),
            "cause": _listed(words.CAUSES[split]),
            "plan": _listed(words.PLANS[split]),
        }[slot],
    )


def _other_name(rng: random.Random, names: Sequence[str], taken: dict[str, Any]) -> str:
    return str(_pick(rng, [name for name in names if name not in taken.values()], skew=1.8))


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


def _changed(rng: random.Random, frame: Frame, *slots: str) -> Frame:
    """The same event with other values in these slots."""
    values = dict(frame.slots)
    for slot in slots:
        while values[slot] == frame.slots[slot]:
            values[slot] = _value(rng, frame.split, frame.sport, frame.kind, slot, {**frame.slots, **values})
    return dataclasses.replace(frame, slots=values)


def _twisted(rng: random.Random, frame: Frame) -> Frame:
    """Another event that shares something: a 2."""
    roll = rng.random()
    if frame.kind in _OPPOSITES and roll < 0.5:
        return dataclasses.replace(frame, kind=_OPPOSITES[frame.kind])
    if frame.kind in _SWAPS and roll < 0.5:
        one, two = _SWAPS[frame.kind]
        values = frame.slots
        return dataclasses.replace(frame, slots={**values, one: values[two], two: values[one]})
    slots = IMPORTANT[frame.kind]
    return _changed(rng, frame, slots[0], *([_pick(rng, slots[1:])] if roll > 0.75 else []))


def _details(rng: random.Random) -> frozenset[str]:
    """Which of place and time a sentence tells; both is most common."""
    return frozenset(_pick(rng, [("at", "on"), ("at", "on"), ("at",), ("on",), ()]))


def _scored(frame: Frame, wanted: int, group: int, rng: random.Random) -> dict[str, Any]:
    """A pair of the wanted grade, the frame's sentence first or second."""
    while True:
        other, details, template = frame, _details(rng), _pick(rng, full(frame.kind, frame.split))
        other_details, other_template = _details(rng), None
        # A lookalike is told by the same template, so that only the words that matter differ.
        lookalike = rng.random() < {5: 0.0, 4: 0.2, 3: 0.6, 2: 0.6, 1: 0.5, 0: 0.4}[wanted]
        if wanted == 5:
            other_details = details
        elif wanted == 4:
            again = _frame(rng, frame.split, frame.sport, frame.kind)
            other = dataclasses.replace(frame, where=again.where, when=again.when if rng.random() < 0.5 else frame.when)
        elif wanted == 3 and not lookalike and rng.random() < 0.6:
            other_template = _pick(rng, partial(frame.kind, frame.split))
        elif wanted == 3:
            other = _changed(rng, frame, _pick(rng, IMPORTANT[frame.kind][1:]))
        elif wanted == 2:
            other = _twisted(rng, frame)
        else:
            sport = frame.sport if wanted else _pick(rng, [sport for sport in _SPORTS if sport != frame.sport])
            kind = frame.kind if lookalike and frame.kind in words.KINDS[sport] else None
            other = _frame(rng, frame.split, sport, kind)
        style = rng.random()
        text = wording(template, rng)
        if lookalike and other.kind == frame.kind:
            other_text, other_style = text, style
        else:
            choices = [t for t in full(other.kind, other.split) if t != template]
            other_text, other_style = wording(other_template or _pick(rng, choices), rng), 1 - style
        if grade(frame, told(text) | details, other, told(other_text) | other_details) == wanted:
            break
    texts = [write(text, frame, details, style), write(other_text, other, other_details, other_style)]
    if rng.random() < 0.5:
        texts.reverse()
    return {"sentence1": texts[0], "sentence2": texts[1], "score": wanted / 5, "group": group, "subset": frame.sport}


def _pair(frame: Frame, rng: random.Random) -> dict[str, Any]:
    """The event in two ways; each tells place and time or does not, but all that is important."""
    templates, style = full(frame.kind, frame.split), rng.random()
    one = _pick(rng, templates)
    two = _pick(rng, [template for template in templates if template != one])
    return {
        "anchor": write(wording(one, rng), frame, _details(rng), style),
        "positive": write(wording(two, rng), frame, _details(rng), 1 - style),
    }


def _triplet(frame: Frame, rng: random.Random) -> dict[str, Any]:
    """A pair, and a hard negative: told like the anchor, with something important changed."""
    templates, style, details = full(frame.kind, frame.split), rng.random(), _details(rng)
    one = _pick(rng, templates)
    two = _pick(rng, [template for template in templates if template != one])
    text = wording(one, rng)
    wrong = _changed(rng, frame, _pick(rng, IMPORTANT[frame.kind])) if rng.random() < 0.5 else _twisted(rng, frame)
    wrong_text = text if wrong.kind == frame.kind else wording(_pick(rng, full(wrong.kind, wrong.split)), rng)
    return {
        "anchor": write(text, frame, details, style),
        "positive": write(wording(two, rng), frame, _details(rng), 1 - style),
        "negative": write(wrong_text, wrong, details, style),
    }


def _sentence(frame: Frame, rng: random.Random) -> dict[str, Any]:
    template = _pick(rng, full(frame.kind, frame.split))
    return {"sentence": write(wording(template, rng), frame, _details(rng), rng.random())}
