"""Pairs, scored pairs, triplets, sentences: which columns make which."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hf_simtune.errors import RequestError

__all__ = ["CANONICAL", "MOST_TOLD", "Column", "Layout", "find_layout"]

CANONICAL: dict[str, tuple[str, ...]] = {
    "pairs": ("anchor", "positive"),
    "scored": ("sentence1", "sentence2", "score"),
    "triplets": ("anchor", "positive", "negative"),
    "sentences": ("sentence",),
}
MOST_TOLD, LONGEST = 20, 60  # columns that a message names, and characters of a name
# Names by which columns are known, lower case, with "_" for a space and a hyphen.
_PAIRS = (
    ("anchor", "positive"),
    ("anchor", "pos"),
    ("query", "positive"),
    ("query", "pos"),
    ("query", "answer"),
    ("query", "passage"),
    ("query", "document"),
    ("query", "response"),
    ("question", "answer"),
    ("question", "positive"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("premise", "entailment"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("sent1", "sent2"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("text_a", "text_b"),
    ("source_sentence", "target_sentence"),
    ("source", "target"),
    ("sentence", "paraphrase"),
    ("text", "paraphrase"),
)
_NEGATIVES = ("negative", "neg", "hard_negative", "contradiction")
_SCORES = (
    "score",
    "similarity",
    "similarity_score",
    "label",
    "labels",
    "gold",
    "gold_score",
    "relatedness",
    "relatedness_score",
    "is_duplicate",
)
_SENTENCES = ("sentence", "text", "sentences", "texts", "line", "content")
_SUBSETS = ("subset", "dataset", "genre", "source", "category")
_NUMBERS_OF_ROWS = (
    "id",
    "idx",
    "index",
    "row",
    "group",
    "pair_id",
    "pairid",
    "sentence_pair_id",
    "__index_level_0__",
    "",
)
# A class of two is a score only where its names say which end is "the same".
_NOT_THE_SAME = ("not", "non", "no", "different", "unrelated", "dissimilar", "false", "0")


@dataclass(frozen=True)
class Column:
    """What is known of a source's column before its rows are read."""

    kind: str  # "text", "number", "list" (of texts), "class" (numbers that stand for names) or "other"
    names: tuple[str, ...] = ()  # of a class
    length: int | None = None  # of a list, in the first row
    example: str = ""  # the first value, shortened


@dataclass(frozen=True)
class Layout:
    """A shape, and the source's columns that make it."""

    shape: str
    columns: tuple[str, ...]  # in the order of the shape; one list column where it holds them all
    expand: bool = False  # the one column is a list of the shape's texts
    item: tuple[str, int] | None = None  # a column of lists, and which of its texts is the sentence
    group: str | None = None  # whole numbers: rows with the same belong together
    subset: str | None = None  # names of parts of the rows


def find_layout(
    source: Mapping[str, Column],
    *,
    columns: Sequence[str] | None = None,
    shape: str | None = None,
    expect: Sequence[str] | None = None,
    title: str = "the data",
    flags: str = "--",
) -> Layout:
    """Which columns of a source make which shape.

    Told columns and shapes are taken as told; else columns are known by their names, then by what they hold and how
    many they are. What stays ambiguous is refused, never guessed.

    Args:
        source: the source's columns, in order.
        columns: names of columns, in the order of the shape.
        shape: "pairs", "scored", "triplets" or "sentences".
        expect: the shapes that the caller can take; None for any.
        title: what to call the data in a message.
        flags: what stands before ``columns``, ``score-range`` in the flags that a message names.

    Raises:
        RequestError: no shape, several, or one that was not expected; with the columns and what to type.
    """
    finder = _Finder(source, title, flags)
    layout = finder.told(tuple(columns), shape) if columns else finder.found(shape)
    finder.check(layout)
    if expect and layout.shape not in expect:
        raise finder.unexpected(layout, tuple(expect))
    return finder.with_extras(layout)


class _Finder:
    def __init__(self, source: Mapping[str, Column], title: str, flags: str) -> None:
        self.source, self.title, self.flags = source, title, flags
        self.known: dict[str, str] = {}
        for name in source:
            self.known.setdefault(name.strip().lower().replace("-", "_").replace(" ", "_"), name)

    def told(self, columns: tuple[str, ...], shape: str | None) -> Layout:
        if len(columns) == 1 and (item := self.item(columns[0])):
            if shape not in (None, "sentences"):
                raise RequestError(f"{self.flags}columns {columns[0]} is one text of a list; {shape} takes more")
            return Layout("sentences", columns, item=item)
        if missing := [name for name in columns if name not in self.source]:
            near = self.nearest(missing, [name for name in self.source if name not in columns])
            guess = f"; did you mean {' '.join(near)}?" if near else ""
            raise self.error(f"has no column {', '.join(map(repr, missing))}{guess}")
        last = self.source[columns[-1]]
        if len(columns) == 1 and last.kind == "list":
            return self.expanded(columns[0], shape)
        if shape is None:
            shape = {1: "sentences", 2: "pairs"}.get(len(columns), "triplets" if last.kind == "text" else "scored")
        if len(columns) != len(CANONICAL[shape]):
            wanted = len(CANONICAL[shape])
            raise RequestError(f"{self.flags}columns names {len(columns)} columns; {shape} takes {wanted}")
        return Layout(shape, columns)

    def item(self, name: str) -> tuple[str, int] | None:
        """``set[1]``: a column of lists and the number of one of its texts, from 0; None where it is no such name."""
        told = re.fullmatch(r"(.+)\[(\d+)\]", name)
        if told is None or name in self.source or told[1] not in self.source:
            return None
        column, number = self.source[told[1]], int(told[2])
        if column.kind != "list" or number >= (column.length or 0):
            has = f"lists of {column.length} texts" if column.kind == "list" else f"no lists but {column.kind}"
            raise self.error(f"has {has} in {told[1]!r}, and {name} is number {number} of a list, from 0")
        return told[1], number

    @staticmethod
    def nearest(missing: list[str], free: list[str]) -> tuple[str, ...]:
        """A column for each name, no column twice: those that are nearest together; () where one has none."""
        close = [difflib.get_close_matches(name, free, n=len(missing)) for name in missing]

        def likeness(names: tuple[str, ...]) -> float:
            return sum(difflib.SequenceMatcher(None, *both).ratio() for both in zip(missing, names, strict=True))

        options = [names for names in itertools.product(*close) if len(set(names)) == len(names)]
        # Among equals the order of the source: score1 score2 for scor1 scor2, and not the other way round.
        options.sort(key=lambda names: [free.index(name) for name in names])
        return max(options, key=likeness, default=())

    def expanded(self, column: str, shape: str | None) -> Layout:
        if shape == "sentences":
            raise self.error(
                f"has lists of texts in {column!r}; the second text of each as a sentence: "
                f'{self.flags}columns "{column}[1]"'
            )
        length = {"pairs": 2, "triplets": 3}.get(shape) if shape else self.source[column].length
        if length not in (2, 3):
            raise self.error(f"has lists of {length} texts in {column!r}; a list of 2 is a pair, one of 3 a triplet")
        return Layout("pairs" if length == 2 else "triplets", (column,), expand=True)

    def found(self, shape: str | None) -> Layout:
        lists = [name for name, column in self.source.items() if column.kind == "list"]
        texts = [name for name, column in self.source.items() if column.kind == "text" and self.is_data(name)]
        if not texts and len(lists) == 1 and shape != "scored":
            return self.expanded(lists[0], shape)
        pairs = [(self.known[a], self.known[b]) for a, b in _PAIRS if a in self.known and b in self.known]
        if shape != "sentences" and len(pairs) > 1:
            raise self.error("can be read as " + " or as ".join(" + ".join(pair) for pair in pairs))
        pair = pairs[0] if pairs else (texts[0], texts[1]) if len(texts) == 2 else None
        options = {name: self.option(name, pair, texts) for name in CANONICAL}
        if shape:
            if (columns := options[shape]) is None:
                raise self.error(f"does not show which columns are its {shape}")
            return Layout(shape, columns)
        if options["scored"] and options["triplets"]:
            raise self.error("can be read as scored pairs or as triplets")
        # A pair with a score is not a positive pair, and the anchor of a triplet is not a sentence alone.
        for name in ("triplets", "scored", "pairs", "sentences"):
            if columns := options[name]:
                return Layout(name, columns)
        raise self.error("does not show which columns to use")

    def option(self, shape: str, pair: tuple[str, str] | None, texts: list[str]) -> tuple[str, ...] | None:
        if shape == "sentences":
            named = [self.known[name] for name in _SENTENCES if name in self.known]
            return (named[0],) if len(named) == 1 else tuple(texts) if len(texts) == 1 else None
        if pair is None:
            return None
        if shape == "pairs":
            return pair
        if shape == "triplets":
            named = [self.known[name] for name in _NEGATIVES if name in self.known and self.known[name] not in pair]
            return (*pair, named[0]) if len(named) == 1 else None
        named = [self.known[name] for name in _SCORES if name in self.known and self.known[name] not in pair]
        numbers = [name for name, column in self.source.items() if column.kind == "number" and self.is_data(name)]
        if len(named) > 1:
            raise self.error(f"has more than one column that may be the score: {', '.join(named)}")
        score = named[0] if named else numbers[0] if len(numbers) == 1 else None
        return (*pair, score) if score else None

    def is_data(self, name: str) -> bool:
        plain = name.strip().lower().replace("-", "_").replace(" ", "_")
        if plain in ("source", "target"):  # of a pair, when both are there
            return {"source", "target"} <= set(self.known)
        return plain not in _NUMBERS_OF_ROWS + _SUBSETS + ("split", "lang", "language", "year")

    def check(self, layout: Layout) -> None:
        texts = layout.columns[:2] if layout.shape == "scored" else layout.columns
        if layout.expand or layout.item:
            return
        if wrong := [name for name in texts if self.source[name].kind in ("list", "class", "other")]:
            raise self.error(f"has no text in {', '.join(map(repr, wrong))}, wanted for {layout.shape}")
        if layout.shape != "scored":
            return
        name, (one, two) = layout.columns[2], texts
        score = self.source[name]
        refused = None
        if score.kind == "class" and not (len(score.names) == 2 and _first_word(score.names[0]) in _NOT_THE_SAME):
            refused = ", ".join(score.names)
        elif score.kind != "class" and score.kind != "number":
            refused = score.example
        if refused is not None:
            raise self.error(
                f"holds classes or text in {name!r}, not a score: {refused}",
                f"To take every row as a pair that means the same: {self.flags}columns {one} {two} --shape pairs",
            )

    def unexpected(self, layout: Layout, expect: tuple[str, ...]) -> RequestError:
        wanted, columns = " or ".join(expect), ", ".join(layout.columns)
        hint = ""
        if layout.shape == "scored" and "pairs" in expect:
            one, two = layout.columns[:2]
            hint = "Scored rows are for --loss cosent. To take every row as a positive pair whatever its score: "
            hint += f"{self.flags}columns {one} {two} --shape pairs"
        return self.error(f"holds {layout.shape} ({columns}); wanted here: {wanted}", hint)

    def with_extras(self, layout: Layout) -> Layout:
        """Groups and parts that the source names, for scored rows."""
        if layout.shape != "scored":
            return layout
        free = {plain: name for plain, name in self.known.items() if name not in layout.columns}
        group = free.get("group")
        subset = next((free[n] for n in _SUBSETS if n in free and self.source[free[n]].kind == "text"), None)
        if group and self.source[group].kind != "number":
            group = None
        return dataclasses.replace(layout, group=group, subset=subset)

    def error(self, what: str, hint: str | None = None) -> RequestError:
        told = [f"{_cut(name)} ({column.kind})" for name, column in self.source.items()]
        more = f" and {len(told) - MOST_TOLD:,} more" if len(told) > MOST_TOLD else ""
        shown = (", ".join(told[:MOST_TOLD]) or "none") + more
        if hint is None:
            names = list(self.source)[:3]
            say = {1: "--shape sentences", 2: "--shape pairs"}.get(len(names), "--shape scored (or triplets)")
            hint = f"Say which, in the order of the shape: {self.flags}columns {' '.join(map(_cut, names))} {say}"
        end = "" if what.endswith("?") else "."
        return RequestError(f"{self.title} {what}{end} Its columns: {shown}", hint=hint)


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 3] + "..."


def _first_word(name: str) -> str:
    return name.strip().lower().replace("_", " ").replace("-", " ").split(" ")[0]
