"""One form for a text however it was typed or tokenised, and the shingles by which two forms nearly meet."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["SHINGLE", "normalised", "shingles"]

SHINGLE = 3  # letters in a shingle: the longest that still links short sentences which differ by one inflection

# Punctuation that changes what a text says: "5 %" is not "5", and "C#" is not "C".
_MEANINGFUL = frozenset("%&@#§")
_ACUTE = "\N{ACUTE ACCENT}"  # typed for an apostrophe; NFKC would make it a space and a combining accent
# Counted as letters, marks or symbols by Unicode, typed as quotes or (the last sixteen, variation selectors) not seen.
_UNSEEN = frozenset("`^\N{MODIFIER LETTER APOSTROPHE}\N{MODIFIER LETTER TURNED COMMA}") | {
    chr(code) for code in range(0xFE00, 0xFE10)
}
_SPACE_OUTSIDE_NUMBERS = re.compile(r"(?<!\d) | (?!\d)")
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")


class _Separators(dict[int, str | None]):
    """A table for ``str.translate``, filled as needed: separators become a space, the unseen nothing."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        category = unicodedata.category(character)
        value: str | None = character
        if character in _UNSEEN or category in ("Cf", "Cs"):
            value = None
        elif character not in _MEANINGFUL and (category[0] in "PZ" or category == "Cc"):
            value = " "
        self[code] = value
        return value


_SEPARATORS = _Separators()


def normalised(text: str) -> str:
    """The form in which two texts are the same text.

    Unicode NFKC, case folded, without punctuation, invisible characters and white space, so that tokenised and
    detokenised forms meet: ``do n't`` and ``don't``, ``New York - based`` and ``new york-based``. Between two
    digits a separator stays, as one space: ``3.5``, ``3,5`` and ``3 - 5`` meet, and ``35`` is another number.
    Symbols and emoji stay, and so do ``% & @ # §``: they say something.

    A text that holds nothing else than punctuation is kept as it is, but for Unicode form and white space, so that
    ``...`` meets ``...`` and not ``!?``. Equal texts have equal forms, always.

    >>> normalised("New York - based, do n't!") == normalised("new york-based: don't")
    True
    >>> normalised("3.5") == normalised("35")
    False
    """
    folded = unicodedata.normalize("NFKC", text.replace(_ACUTE, "'")).casefold()
    words = " ".join(folded.translate(_SEPARATORS).split())
    # Once more: case folding and what was taken out can leave letters and marks that compose.
    form = unicodedata.normalize("NFKC", _SPACE_OUTSIDE_NUMBERS.sub("", words))
    return form or " ".join(folded.split())


def shingles(form: str) -> frozenset[str]:
    """Every run of three characters in a normalised text; a shorter text is its own shingle.

    Characters and not words: an inflection or a misspelling costs little, and Chinese or Thai needs no word splitter.
    Empty where the text has no letter and no digit: rows of dots or of hearts are not near to one another.

    >>> sorted(shingles("tree"))
    ['ree', 'tre']
    """
    if not _LETTER_OR_DIGIT.search(form):
        return frozenset()
    return frozenset([form[start : start + SHINGLE] for start in range(max(1, len(form) - SHINGLE + 1))])
