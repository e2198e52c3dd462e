"""One set of rows in parts that share no sentence: to train, to select, to report."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from hf_simtune.data.fingerprint import fingerprint
from hf_simtune.data.load import Loaded
from hf_simtune.data.normalise import normalised
from hf_simtune.data.shapes import CANONICAL
from hf_simtune.errors import RequestError
from hf_simtune.evaluation.groups import groups_of_ids
from hf_simtune.record import Source

__all__ = [
    *("FEWEST_GROUPS", "MEASURED", "SHARE", "TooFewRows"),
    *("cut", "part_of", "shares", "split", "titled"),
]

MEASURED = ("select", "report")  # the parts that are measured on
SHARE = 10  # % of the rows, in each of them
FEWEST_GROUPS = 10  # at least, in each part: a bootstrap over fewer says nothing
_BATCH = 2000  # rows whose texts are in memory at a time


class TooFewRows(RequestError):
    """Rows that cannot be split and still be measured on."""


def split(loaded: Loaded, seed: int, parts: Sequence[str] = MEASURED) -> tuple[Loaded, ...]:
    """Cut scored rows into those to train on and, a tenth of the rows each, those to select or report on.

    Rows that share a sentence after normalisation, or a ``group`` of the data's own, stay in one part, so nothing that
    is reported on was trained on. Groups go, in an order drawn from ``seed`` but large ones first, to the part that
    lacks most rows. Each part has a title of its own: ``rows.csv:report``, or ``ORG/NAME:train[report]``.

    Memory grows with the rows, by some hundred bytes each, and not with their texts.

    Args:
        loaded: scored rows.
        seed: of the order in which groups are dealt out.
        parts: the parts that are wanted beside the training rows.

    Returns:
        The training rows, and each part.

    Raises:
        RequestError: rows without scores, or too few groups of connected rows (``TooFewRows``).
    """
    if loaded.source.shape != "scored":
        raise RequestError(
            f"{loaded.source.title} holds {loaded.source.shape}: only scored rows can be split to be measured on"
        )
    _, part_of_row = cut(loaded, seed, parts)
    return tuple(
        part_of(loaded, np.flatnonzero(part_of_row == number), name, f"{share} % of the rows")
        for number, (name, share) in enumerate(zip(("train", *parts), shares(parts), strict=True))
    )


def shares(parts: Sequence[str]) -> list[int]:
    """% of the rows in the training rows and in each part."""
    return [100 - SHARE * len(parts), *(SHARE for _ in parts)]


def cut(
    loaded: Loaded, seed: int, parts: Sequence[str] = MEASURED, most: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which rows are connected, and which part each goes to, as ``split`` says.

    Args:
        loaded: rows of any shape with two texts or more.
        seed: of the order in which groups are dealt out.
        parts: the parts that are wanted beside the training rows.
        most: how many rows each part should hold at most; a tenth when not given.

    Returns:
        The group of each row, 0..G-1, and its part, 0 for the training rows or 1.. as in ``parts``, both of shape
        (rows,).

    Raises:
        TooFewRows: too few groups of connected rows.
    """
    groups = _groups(loaded)
    sizes = np.bincount(groups)
    flags = " and ".join(f"--{name}-on" for name in parts)
    too_few = TooFewRows(
        f"{loaded.source.title} has {len(groups):,} rows in {len(sizes):,} groups that share no sentence; to be split "
        f"into rows to train{',' if len(parts) > 1 else ' and'} {' and '.join(parts)} on it needs about "
        f"{FEWEST_GROUPS * 100 // SHARE:,} groups or more",
        hint=f"Give more rows, or name evaluation rows of their own with {flags}",
    )
    if len(sizes) < (1 + len(parts)) * FEWEST_GROUPS:
        raise too_few
    wanted, small = np.array(shares(parts)) / 100 * len(groups), len(groups) * SHARE / 100
    if most is not None and most < small:
        wanted, small = np.array([len(groups) - len(parts) * float(most), *(most for _ in parts)]), float(most)
    part_of_group = _assign(sizes, wanted, small, seed)
    if min(np.bincount(part_of_group, minlength=1 + len(parts))) < FEWEST_GROUPS:
        raise too_few
    return groups, part_of_group[groups]


def part_of(loaded: Loaded, rows: NDArray[np.int64], name: str, share: str) -> Loaded:
    """Some of the rows, by their positions, as a part with a title of its own; ``share`` says how many, in words."""
    dataset = loaded.dataset.select(rows)
    source = dataclasses.replace(
        titled(loaded.source, name),
        rows=len(rows),
        fingerprint=fingerprint(dataset, CANONICAL[loaded.source.shape]),
        part=f"{name}: {share}, by connected rows",
    )
    return Loaded(dataset, source)


def titled(source: Source, part: str) -> Source:
    """The source under a title that names a part of it or its role, since titles tell the rows of a run apart.

    In brackets where there is a split already: no split of a data set can be called that, so nobody takes it for one.
    """
    return dataclasses.replace(source, split=f"{source.split}[{part}]" if source.split else part)


def _groups(loaded: Loaded) -> NDArray[np.int64]:
    first, *others = (_ids(loaded.dataset, name) for name in CANONICAL[loaded.source.shape] if name != "score")
    # Of a triplet, the anchor beside the positive and once more beside the negative: three texts connect a row.
    groups = groups_of_ids(np.tile(first, len(others)), np.concatenate(others))[: len(first)]
    if "group" not in loaded.dataset.column_names:
        return groups
    # Two labels of each row, as the two "sentences" of a row once more: whatever either connects stays together.
    batches = loaded.dataset.select_columns(["group"]).with_format("arrow").iter(_BATCH)
    named = np.concatenate([batch["group"].to_numpy() for batch in batches])
    return groups_of_ids(groups, len(groups) + np.unique(named, return_inverse=True)[1])


def _ids(rows: Dataset, column: str) -> NDArray[np.int64]:
    """A number for each text, the same for texts that are the same after ``normalised``.

    64 bits of BLAKE2: among a million texts, two that differ get one number once in forty million data sets, and would
    then merely stay in one part.
    """

    def numbers() -> Iterator[NDArray[np.int64]]:
        for batch in rows.select_columns([column]).with_format("arrow").iter(_BATCH):
            forms = (normalised(text).encode() for text in batch[column].to_pylist())
            yield np.frombuffer(b"".join(hashlib.blake2b(form, digest_size=8).digest() for form in forms), "<i8")

    return np.concatenate(list(numbers()), dtype=np.int64)


def _assign(sizes: NDArray[np.int64], wanted: NDArray[np.float64], small: float, seed: int) -> NDArray[np.int64]:
    lacking = wanted.copy()
    parts = np.empty(len(sizes), dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(sizes))
    # Large groups first, so that they are trained on: in a small part one of them would be all that is measured.
    large = sizes[order] > small / 10
    for group in order[np.argsort(~large, kind="stable")]:
        part = int(np.argmax(lacking))
        parts[group] = part
        lacking[part] -= sizes[group]
    return parts
