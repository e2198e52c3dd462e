"""What a tokenizer's file may not say: what makes a long text of a short one, or takes ever longer over it."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from hf_simtune.errors import panics

__all__ = ["VERSIONED", "problems"]

VERSIONED = re.compile(r"tokenizer\..+\.json")  # such as tokenizer.4.0.json, which tokenizer_config.json may name
SWELLS = 1_000  # times that a text may become longer before it is cut
ADDED = 64  # tokens around a text, which no cut takes away: published tokenizers put 1 to 4 there
STEPS = 1_000  # of a normalizer and the like, each over the whole text
WORD = 1_000  # characters of a word for WordPiece, whose time grows with their cube: BERT's has 100
AFFIX = 100  # characters that each piece of a word is looked up with: "##" is 2
# Ways in which a regular expression may try a text from one place: that of GPT-4o has 280,000, as counted here.
# Measured: two repetitions that overlap take 5 s for 1,000 characters, and three, which are too many, 10 s for 300.
WAYS = 500_000
ENDLESS = 100  # what a repetition without bound counts
MOST = 10**9  # from which on nothing is counted further
LENGTH = 20_000  # of all the regular expressions of a tokenizer
DEPTH = 50  # of their groups and classes
SHOWN = 80  # characters of it in an error

_SMALL = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
_PARTS = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "post_processor": "processors"}


def problems(value: Any) -> Iterator[str]:
    """What is wrong with a tokenizer's file, each to be read after its name; nothing for one that does not load."""
    if not isinstance(value, dict):
        return
    read = _as_the_library_reads(value)
    steps = {part: list(_steps((read or value).get(part), below)) for part, below in _PARTS.items()}
    on_texts = [*steps["normalizer"], *steps["pre_tokenizer"]]
    patterns = [pattern for step in on_texts if (pattern := _regex(step)) is not None]
    if (length := sum(map(len, patterns))) > LENGTH:
        yield f"has regular expressions of {length:,} characters, and {LENGTH:,} is the most"
        return
    if (times := _swells(on_texts)) > SWELLS:
        yield f"makes a text up to {times:,} times as long, and {SWELLS:,} times is the most"
    if read is None:
        return  # loading tells it
    for part, found in steps.items():
        if len(found) > STEPS:
            yield f"has {len(found):,} steps in its {part}, and {STEPS:,} is the most"
    yield from _around(steps["post_processor"])
    for pattern in patterns:
        if told := _endless(pattern):
            shown = pattern if len(pattern) <= SHOWN else f"{pattern[:SHOWN]}..."
            yield f'has the regular expression "{shown}", which {told}'
    yield from _of_words(value.get("model"))


def _as_the_library_reads(value: dict[str, Any]) -> dict[str, Any] | None:
    """The parts of a file as its library writes them: it reads them without their types too, or as lists of fields."""
    asked = {"version": "1.0", "added_tokens": [], "model": _SMALL} | {part: value.get(part) for part in _PARTS}
    try:
        read = json.loads(Tokenizer.from_str(json.dumps(asked)).to_str())
    except Exception:  # noqa: BLE001 - it raises plain ones
        return None
    except panics():
        return None
    return read if isinstance(read, dict) else None


def _steps(part: Any, below: str) -> Iterator[dict[str, Any]]:
    """A part's steps in no order: itself, or those of a sequence, which may hold sequences."""
    waiting = [part]
    while waiting:
        step = waiting.pop()
        if isinstance(step, dict) and isinstance(step.get(below), list):
            waiting += step[below]
        elif isinstance(step, dict):
            yield step


def _swells(steps: list[dict[str, Any]]) -> int:
    """How many times as long a text may become by what is put in place of parts of it."""
    times = 1
    for step in steps:
        put = step.get("content") if step.get("type") == "Replace" else step.get("prepend")
        if isinstance(put, str):
            times *= max(1, len(put) + _finds_nothing(step))
        elif step.get("type") == "ByteLevel":
            times *= 2  # a letter beyond ASCII becomes two such letters
        elif step.get("type") == "Precompiled":
            times *= _longest(step.get("precompiled_charsmap"))
        times = min(times, 10**12)
    return times


def _finds_nothing(step: dict[str, Any]) -> bool:
    """Whether a replacement may also be put between two characters, and so takes none away."""
    if (pattern := _regex(step)) is None:
        return isinstance(step.get("pattern"), dict) and step["pattern"].get("String") == ""
    try:
        return _Reader(pattern).read().least == 0
    except _Unread:
        return True


def _longest(charsmap: Any) -> int:
    """Bytes of the longest text that SentencePiece's map puts in place of a character: they end with a zero each."""
    try:
        held = base64.b64decode(charsmap)
    except (TypeError, ValueError):
        return 1  # it does not load
    start = 4 + int.from_bytes(held[:4], "little")
    return max(1, *map(len, held[start:].split(b"\0")))


def _around(steps: list[dict[str, Any]]) -> Iterator[str]:
    added, times = 0, 1
    for step in steps:
        if step.get("type") != "TemplateProcessing":
            added += 2 * (step.get("type") in ("BertProcessing", "RobertaProcessing"))
            continue
        widths = {name: len(token["ids"]) for name, token in step["special_tokens"].items()}
        for pieces in (step["single"], step["pair"]):
            there = Counter(piece["Sequence"]["id"] for piece in pieces if "Sequence" in piece)
            times = max([times, *there.values()])
        added += max(
            sum(widths.get(piece["SpecialToken"]["id"], 0) for piece in pieces if "SpecialToken" in piece)
            for pieces in (step["single"], step["pair"])
        )
    if added > ADDED:
        yield f"puts {added:,} tokens around a text, however short it is cut, and {ADDED} is the most"
    if times > 1:
        yield f"puts a text {times:,} times in its own place, and once is the most"


def _of_words(model: Any) -> Iterator[str]:
    if not isinstance(model, dict):
        return
    longest = model.get("max_input_chars_per_word")
    if isinstance(longest, int) and longest > WORD:
        yield f"takes words of up to {longest:,} characters apart (max_input_chars_per_word), and {WORD:,} is the most"
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        if isinstance(affix := model.get(name), str) and len(affix) > AFFIX:
            yield f"has a {name} of {len(affix):,} characters, and {AFFIX} is the most"


def _regex(step: dict[str, Any]) -> str | None:
    pattern = step.get("pattern")
    found = pattern.get("Regex") if isinstance(pattern, dict) else None
    return found if isinstance(found, str) else None


def _endless(pattern: str) -> str | None:
    """Why a regular expression may not be used, to be read after it; None for one that may."""
    try:
        ways = _Reader(pattern).read().at_end
    except _Unread as why:
        return f"cannot be judged: {why}"
    if ways <= WAYS:
        return None
    told = f"{ways:,}" if ways < MOST else f"{MOST:,} and more"
    return f"may try {told} ways to match at one place of a text, and {WAYS:,} is the most"


class _Unread(Exception):
    """A regular expression has what no published tokenizer has, and what would have to be understood to be counted."""


class _Cost(NamedTuple):
    """In how many ways a part of a regular expression may match at one place, and what it takes at least.

    What nothing stands behind is never sent back once it has matched: ``(a|b)+`` tries each letter's ways once, and
    ``(a|b)+$`` all combinations of them. So there are two numbers.
    """

    amid: int  # where something behind it may fail
    at_end: int
    least: int  # characters; 0: it may match between two


_ONE, _NONE = _Cost(1, 1, 1), _Cost(1, 1, 0)


class _Reader:
    """Reads a regular expression as Oniguruma does, which has compiled it before: so it is well-formed."""

    def __init__(self, pattern: str) -> None:
        self.pattern, self.at, self.depth = pattern, 0, 0

    def read(self) -> _Cost:
        found = self._branches()
        if self.at < len(self.pattern):
            raise _Unread("its parentheses do not match")
        return found._replace(least=0) if r"\K" in self.pattern else found  # what stands before \K is not taken

    def _take(self, rule: str) -> re.Match[str] | None:
        if found := re.compile(rule, re.DOTALL).match(self.pattern, self.at):
            self.at = found.end()
        return found

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > DEPTH:
            raise _Unread(f"its groups are more than {DEPTH} deep")

    def _branches(self) -> _Cost:
        """Up to the parenthesis that closes the group, or the end."""
        self._deeper()
        found = [self._branch()]
        while self._take(r"\|"):
            found.append(self._branch())
        self.depth -= 1
        amid, at_end = (min(sum(column), MOST) for column in list(zip(*found, strict=True))[:2])
        return _Cost(amid, at_end, min(one.least for one in found))

    def _branch(self) -> _Cost:
        before, last, least = 1, _NONE, 0
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            before = min(before * last.amid, MOST)
            last = self._repeated(self._part())
            least = min(least + last.least, MOST)
        return _Cost(min(before * last.amid, MOST), min(before * last.at_end, MOST), least)

    def _part(self) -> _Cost:
        if self._take(r"[*+?]|\{,?\d"):
            raise _Unread("a quantifier in it has nothing before it")
        if self._take(r"\("):
            return self._group()
        if self._take(r"\["):
            self._class()
            return _ONE
        if self._take(r"\\"):
            self._known_escape()
            # Boundaries take nothing, and what refers to a group takes what the group did, which may be nothing.
            if self._take(r"[bBAzZGKyY]|k<[^>]*>|k'[^']*'|[1-9]\d*"):
                return _NONE
            self._take(r"[pPxo]\{[^}]*\}|.")
            return _ONE
        return _NONE if self._take(r"[\^$]") or not self._take(".") else _ONE

    def _known_escape(self) -> None:
        if found := self._take("[gcCM]"):
            raise _Unread(f"\\{found[0]} is in it")  # \g calls a group, perhaps itself; the others hold what follows

    def _class(self) -> None:
        """Past a class of characters, which may hold others."""
        self._deeper()
        if self._take(r"\^?\]"):
            raise _Unread("a class of characters begins with ] in it")
        while not self._take(r"\]"):
            if self._take(r"\\"):
                self._known_escape()
                self._take(".")
            elif self._take(r"\["):
                self._class()
            elif not self._take("."):
                raise _Unread("a class of characters does not end")
        self.depth -= 1

    def _group(self) -> _Cost:
        if self._take(r"\?[im-]+\)"):
            return self._branches()  # holds for the rest of the group that it stands in, which is as a group of its own
        kind = self._take(r"\?(?:[im-]*:|[=!>]|<[=!]|<\w+>|'\w+')|(?![?*])")
        if kind is None:  # such as (?x), which makes a comment of what is none here
            raise _Unread(f"({self.pattern[self.at : self.at + 2]} is in it")
        found = self._branches()
        self._take(r"\)")
        if kind[0] in ("?=", "?!", "?>"):  # once it has matched, nothing goes back into it
            found = found._replace(amid=found.at_end)
        elif kind[0] in ("?<=", "?<!"):  # it has to end at one place
            found = found._replace(at_end=found.amid)
        return found._replace(least=0) if kind[0] in ("?=", "?!", "?<=", "?<!") else found

    def _repeated(self, part: _Cost) -> _Cost:
        """With its quantifiers: one behind another repeats what the first repeats."""
        while True:
            if found := self._take(r"([*+?])([?+]?)"):
                least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[found[1]]
                part = _times(part, least, most)
                if found[2] == "+":  # once it has matched, nothing goes back into it
                    part = part._replace(amid=part.at_end)
            elif found := self._take(r"\{(?=,?\d)(\d{0,6})(,?)(\d{0,6})\}(\??)"):
                low = int(found[1] or 0)
                high = int(found[3]) if found[3] else None if found[2] else low
                if high is not None:
                    low, high = sorted((low, high))
                part = _times(part, low, high)
                if found[4] and not found[2]:  # a{2}? is (a{2})?
                    part = _times(part, 0, 1)
            else:
                return part


def _times(part: _Cost, least: int, most: int | None) -> _Cost:
    choices = ENDLESS if most is None else min(most - least + 1, ENDLESS)
    rounds = ENDLESS if most is None else min(most, ENDLESS)
    amid = min(choices * part.amid**rounds, MOST)
    at_end = part.at_end if least < 2 else min(part.amid ** min(least, ENDLESS), MOST)
    return _Cost(amid, at_end, min(least * part.least, MOST))
