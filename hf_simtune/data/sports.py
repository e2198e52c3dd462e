"""The built-in corpus: sentences, paraphrase pairs, graded pairs and triplets about sport, from a seed.

An event is a ``Frame``: who did what to whom, with which result, where and when. Templates turn it into sentences.
What two sentences share is known exactly, so a pair is graded by a rule, ``grade``, and not by an opinion. The rule
follows the annotation guide of the Semantic Textual Similarity tasks (Agirre et al., 2012):

- 5: the same event, the same details;
- 4: only place or time differs, or is missing from one;
- 3: one important detail differs or is missing (the score, the opponent, the length of a contract);
- 2: something is shared, yet another event is told: winner and loser swapped, a coach hired or sacked, another player;
- 1: only the sport is shared;
- 0: another sport.

All people, clubs, towns and venues are invented. Training, validation and test share no name, venue, time or template,
hence no frame. Word overlap misleads on purpose: a 5 is told in other words, and a 2 often swaps two names and no more.

How hard it is, as Spearman x100 on ``scored:test`` (1,000 rows, seed 0): four ways to count words 25 to 29; the
untouched all-MiniLM-L6-v2 68.2; the same after one epoch of MultipleNegativesRankingLoss on ``pairs:train`` (4,000
rows, batch 64, learning rate 2e-5, bf16, one training seed) 81.0. ``tests/test_sports_difficulty.py`` checks that the
first two stay within bounds.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hf_simtune.data import sports_words as words
from hf_simtune.data.sports_frames import IMPORTANT, SPORTS, Frame, changed, draw, grade, pick, twisted
from hf_simtune.data.sports_language import full, partial, told, wording, write
from hf_simtune.errors import RequestError

__all__ = ["DEFAULT_ROWS", "MAX_ROWS", "SHAPES", "SPLITS", "generate"]

SHAPES = ("pairs", "scored", "triplets", "sentences")
SPLITS = ("train", "validation", "test")
DEFAULT_ROWS = {
    **{(shape, "train"): 4000 for shape in SHAPES},
    **{(shape, "validation"): 600 for shape in SHAPES},
    **{(shape, "test"): 1000 for shape in SHAPES},
}
MAX_ROWS = {"train": 200_000, "validation": 10_000, "test": 10_000}

# Three rows a frame, so that a resampled frame brings few of them; six rows hold every grade once.
_GRADES = ((5, 3, 1), (4, 2, 0))


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
            f"rows is {rows}: the sports corpus has 1 to {MAX_ROWS[split]:,} distinct rows"
            f" of shape {shape} in split {split}"
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
        frame = draw(rng, split)
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


def _details(rng: random.Random) -> frozenset[str]:
    """Which of place and time a sentence tells; both is most common."""
    return frozenset(pick(rng, [("at", "on"), ("at", "on"), ("at",), ("on",), ()]))


def _scored(frame: Frame, wanted: int, group: int, rng: random.Random) -> dict[str, Any]:
    """A pair of the wanted grade, the frame's sentence first or second."""
    while True:
        other, details, template = frame, _details(rng), pick(rng, full(frame.kind, frame.split))
        other_details, other_template = _details(rng), None
        # A lookalike is told by the same template, so that only the words that matter differ.
        lookalike = rng.random() < {5: 0.0, 4: 0.2, 3: 0.6, 2: 0.6, 1: 0.5, 0: 0.4}[wanted]
        if wanted == 5:
            other_details = details
        elif wanted == 4:
            again = draw(rng, frame.split, frame.sport, frame.kind)
            other = dataclasses.replace(frame, where=again.where, when=again.when if rng.random() < 0.5 else frame.when)
        elif wanted == 3 and not lookalike and rng.random() < 0.6:
            other_template = pick(rng, partial(frame.kind, frame.split))
        elif wanted == 3:
            other = changed(rng, frame, pick(rng, IMPORTANT[frame.kind][1:]))
        elif wanted == 2:
            other = twisted(rng, frame)
        else:
            sport = frame.sport if wanted else pick(rng, [sport for sport in SPORTS if sport != frame.sport])
            kind = frame.kind if lookalike and frame.kind in words.KINDS[sport] else None
            other = draw(rng, frame.split, sport, kind)
        style = rng.random()
        text = wording(template, rng)
        if lookalike and other.kind == frame.kind:
            other_text, other_style = text, style
        else:
            choices = [t for t in full(other.kind, other.split) if t != template]
            other_text, other_style = wording(other_template or pick(rng, choices), rng), 1 - style
        if grade(frame, told(text) | details, other, told(other_text) | other_details) == wanted:
            break
    texts = [write(text, frame, details, style), write(other_text, other, other_details, other_style)]
    if rng.random() < 0.5:
        texts.reverse()
    return {"sentence1": texts[0], "sentence2": texts[1], "score": wanted / 5, "group": group, "subset": frame.sport}


def _pair(frame: Frame, rng: random.Random) -> dict[str, Any]:
    """The event in two ways; each tells place and time or does not, but all that is important."""
    templates, style = full(frame.kind, frame.split), rng.random()
    one = pick(rng, templates)
    two = pick(rng, [template for template in templates if template != one])
    return {
        "anchor": write(wording(one, rng), frame, _details(rng), style),
        "positive": write(wording(two, rng), frame, _details(rng), 1 - style),
    }


def _triplet(frame: Frame, rng: random.Random) -> dict[str, Any]:
    """A pair, and a hard negative: told like the anchor, with something important changed."""
    templates, style, details = full(frame.kind, frame.split), rng.random(), _details(rng)
    one = pick(rng, templates)
    two = pick(rng, [template for template in templates if template != one])
    text = wording(one, rng)
    wrong = changed(rng, frame, pick(rng, IMPORTANT[frame.kind])) if rng.random() < 0.5 else twisted(rng, frame)
    wrong_text = text if wrong.kind == frame.kind else wording(pick(rng, full(wrong.kind, wrong.split)), rng)
    return {
        "anchor": write(text, frame, details, style),
        "positive": write(wording(two, rng), frame, _details(rng), 1 - style),
        "negative": write(wrong_text, wrong, details, style),
    }


def _sentence(frame: Frame, rng: random.Random) -> dict[str, Any]:
    template = pick(rng, full(frame.kind, frame.split))
    return {"sentence": write(wording(template, rng), frame, _details(rng), rng.random())}
