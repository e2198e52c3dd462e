"""One scored file in three parts that share no sentence: to train, to select, to report."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator

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

__all__ = ["split", "titled"]

_SHARES = (80, 10, 10)
_GROUPS = 10  # at least, in each part: a bootstrap over fewer says nothing
_BATCH = 2000  # rows whose texts are in memory at a time


def split(loaded: Loaded, seed: int) -> tuple[Loaded, Loaded, Loaded]:
    """Cut scored rows into train (80 %), select (10 %) and report (10 %) rows.

    Rows that share a sentence after normalisation, or a ``group`` of the data's own, stay in one part, so nothing that
    is reported on was trained on. Groups go, in an order drawn from ``seed`` but large ones first, to the part that
    lacks most rows. Each part has a title of its own: ``rows.csv:report``, or ``ORG/NAME:train[report]``.

    Memory grows with the rows, by some hundred bytes each, and not with their texts.

    Raises:
        RequestError: rows without scores, or too few groups of connected rows.
    """
    if loaded.source.shape != "scored":
        raise RequestError(
            f"{loaded.source.title} holds {loaded.source.shape}: only scored rows can be split to be measured on"
        )
    groups = _groups(loaded)
    sizes = np.bincount(groups)
    needed = _GROUPS * 100 // min(_SHARES)
    too_few = RequestError(
        f"{loaded.source.title} has {len(groups):,} rows in {len(sizes):,} groups that share no sentence; to be split "
        f"into rows to train, select and report on it needs about {needed:,} groups or more",
        hint="Give more rows, or name evaluation rows of their own with --select-on and --report-on",
    )
    if len(sizes) < 3 * _GROUPS:
        raise too_few
    part_of_group = _assign(sizes, seed)
    if min(np.bincount(part_of_group, minlength=3)) < _GROUPS:
        raise too_few
    part_of_row = part_of_group[groups]
    train, select, report = (_part(loaded, np.flatnonzero(part_of_row == part), part) for part in range(3))
    return train, select, report


def titled(source: Source, part: str) -> Source:
    """The source under a title that names a part of it or its role, since titles tell the rows of a run apart.

    In brackets where there is a split already: no split of a data set can be called that, so nobody takes it for one.
    """
    return dataclasses.replace(source, split=f"{source.split}[{part}]" if source.split else part)


def _groups(loaded: Loaded) -> NDArray[np.int64]:
    first, second = (_ids(loaded.dataset, name) for name in ("sentence1", "sentence2"))
    groups = groups_of_ids(first, second)
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
            forms = (normalised(text).encode("utf-8", "surrogatepass") for text in batch[column].to_pylist())
            yield np.frombuffer(b"".join(hashlib.blake2b(form, digest_size=8).digest() for form in forms), "<i8")

    return np.concatenate(list(numbers()), dtype=np.int64)


def _assign(sizes: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    wanted = np.array(_SHARES) / sum(_SHARES) * sizes.sum()
    parts = np.empty(len(sizes), dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(sizes))
    # Large groups first, so that they are trained on: in a small part one of them would be all that is measured.
    large = sizes[order] > sizes.sum() * min(_SHARES) / sum(_SHARES) / 10
    for group in order[np.argsort(~large, kind="stable")]:
        part = int(np.argmax(wanted))
        parts[group] = part
        wanted[part] -= sizes[group]
    return parts


def _part(loaded: Loaded, rows: NDArray[np.int64], part: int) -> Loaded:
    dataset = loaded.dataset.select(rows)
    name, share = ("train", "select", "report")[part], _SHARES[part]
    source = dataclasses.replace(
        titled(loaded.source, name),
        rows=len(rows),
        fingerprint=fingerprint(dataset, CANONICAL["scored"]),
        part=f"{name}: {share} % of the rows, by connected rows",
    )
    return Loaded(dataset, source)
