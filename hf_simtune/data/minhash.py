"""Which of a few known texts are nearly a given text: MinHash finds candidates, the exact Jaccard decides."""

from __future__ import annotations

from collections.abc import Sequence

from rensa import RMinHash, RMinHashLSH

from hf_simtune.data.normalise import shingles

__all__ = ["NearTexts"]

_SLOTS = 128
_SEED = 42
_AT_ONCE = 200  # texts whose shingles are held; so few stay in the processor's cache: 40 % less time than 4,000
_MISSED = 1e-4  # expected share, at most, of the texts right at the threshold; of nearer ones fewer


class NearTexts:
    """An index of normalised texts to stream other texts past.

    Its memory grows with the indexed texts (about 8 kB each) and not with the texts that are asked about, so the
    small side, the evaluation sentences, is the one to index. The sketches are seeded: the same texts give the same
    answer on every machine.

    Args:
        forms: normalised texts (``hf_simtune.data.normalise.normalised``).
        jaccard: from which Jaccard similarity of their three-character shingles two texts are near, 0.5..1.

    Source: A. Broder, On the resemblance and containment of documents (1997), for MinHash; rensa's sketches follow
    S. Dahlgaard et al., Fast similarity sketching (2017); the banding is that of J. Leskovec, A. Rajaraman and
    J. Ullman, Mining of Massive Datasets, section 3.4.
    """

    def __init__(self, forms: Sequence[str], jaccard: float) -> None:
        self._jaccard = jaccard
        rows = _rows_in_a_band(jaccard)
        bands = _SLOTS // rows
        self._slots = bands * rows
        self._index = RMinHashLSH(jaccard, self._slots, bands)
        self._shingles = [shingles(form) for form in forms]
        indexed = [position for position, found in enumerate(self._shingles) if found]
        sketches = self._sketches([self._shingles[position] for position in indexed])
        self._index.insert_pairs(list(zip(indexed, sketches, strict=True)))

    def near(self, forms: Sequence[str]) -> list[list[int]]:
        """For each normalised text, the sorted positions of the indexed texts that are near to it, or equal.

        A text without a letter or digit is near to nothing. Every position returned was checked on the exact
        Jaccard similarity. Of the texts right at the threshold about one in 10,000 is missed, of nearer ones fewer.
        """
        return [
            found for start in range(0, len(forms), _AT_ONCE) for found in self._near(forms[start : start + _AT_ONCE])
        ]

    def _near(self, forms: Sequence[str]) -> list[list[int]]:
        asked = [shingles(form) for form in forms]
        known = [position for position, found in enumerate(asked) if found]
        answers: list[list[int]] = [[] for _ in forms]
        candidates = self._index.query_all(self._sketches([asked[position] for position in known]))
        for position, near in zip(known, candidates, strict=True):
            if near:
                answers[position] = sorted(
                    other for other in near if self._is_near(asked[position], self._shingles[other])
                )
        return answers

    def _sketches(self, sets: list[frozenset[str]]) -> list[RMinHash]:
        return RMinHash.from_token_sets(sets, self._slots, _SEED) if sets else []

    def _is_near(self, one: frozenset[str], other: frozenset[str]) -> bool:
        fewer, more = sorted((len(one), len(other)))
        if fewer < self._jaccard * more:  # even if one held all of the other
            return False
        shared = len(one & other)
        return shared >= self._jaccard * (fewer + more - shared) - 1e-9


def _rows_in_a_band(jaccard: float) -> int:
    """The most rows in a band (the fewest false candidates) that still find texts at the threshold."""
    for rows in range(16, 1, -1):
        if float((1 - jaccard**rows) ** (_SLOTS // rows)) <= _MISSED:
            return rows
    return 1
