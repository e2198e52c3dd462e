"""Rows by name: a Hub id, a file, a folder or ``builtin:sports`` in, checked canonical columns out."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import datasets.config
import numpy as np

from hf_simtune.data import sports
from hf_simtune.data.files import open_file
from hf_simtune.data.fingerprint import fingerprint
from hf_simtune.data.hub import card, load_repository, revision_of
from hf_simtune.data.readers import Rows, from_dataset, from_dicts
from hf_simtune.data.room import writable
from hf_simtune.data.shapes import CANONICAL, find_layout
from hf_simtune.data.spec import DataName, parse
from hf_simtune.data.store import store
from hf_simtune.errors import DataError, RequestError
from hf_simtune.fields import rising
from hf_simtune.record import Source

__all__ = ["Loaded", "load"]

# The built-in corpus is one corpus, whatever seed a run has.
CORPUS_SEED = 0
log = logging.getLogger("hf_simtune")


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Checked rows and where they came from.

    ``dataset`` is memory-mapped. Its columns by shape: ``anchor, positive`` (pairs); ``sentence1, sentence2, score``
    (scored, 0..1, and ``group``, ``subset`` where the source has them); ``anchor, positive, negative`` (triplets);
    ``sentence`` (sentences). In every shape ``row`` is the row's 0-based number in the source.
    """

    dataset: datasets.Dataset
    source: Source


@dataclasses.dataclass(frozen=True)
class _Opened:
    """A source before its rows are checked."""

    rows: Rows
    source: Source
    content: str
    scale: tuple[float, float] | None = None  # of its scores, as its card states it


def load(
    name: str,
    *,
    columns: Sequence[str] | None = None,
    shape: str | None = None,
    score_range: tuple[float, float] | None = None,
    skip_bad_rows: bool = False,
    rows: int | None = None,
    seed: int = 42,
    expect: tuple[str, ...] | None = None,
    cache_dir: Path | None = None,
    flags: str = "--",
) -> Loaded:
    """Load rows, check each of them, and give them the columns of their shape.

    A data card may state the scale of its scores in its YAML, and then they are rescaled without being told::

        simtune:
          score_range: [0, 5]

    Args:
        name: ``ORG/NAME[/CONFIG][:SPLIT][@REVISION]``, a csv, tsv, jsonl, parquet or txt file (each also ``.gz``), a
            folder laid out as on the Hub, or ``builtin:sports[/SHAPE][:SPLIT]``. The split is ``train`` if not named.
        columns: the source's columns in the order of the shape; found from their names when not given.
        shape: "pairs", "scored", "triplets" or "sentences"; found from the columns when not given.
        score_range: lowest and highest score on the source's scale, rescaled to 0..1.
        skip_bad_rows: drop and count rows that cannot be used, instead of refusing the data.
        rows: keep the first so many rows after a shuffle with ``seed``; all of them, in order, when not given.
        expect: shapes that the caller can take.
        cache_dir: where data sets and checked rows are kept; the cache of ``datasets`` when not given.
        flags: what stands before ``columns`` and ``score-range`` in flags that a message names, as in ``--eval-``.

    Raises:
        RequestError: the name, the columns, the shape or the scale are wrong or ambiguous.
        DataError: bad rows; the first five with file, line, column and value, and the count of all by reason.
        HubError: the Hub could not be reached, or does not have it.
    """
    scale = _range(score_range, f"{flags}score-range")
    parsed = parse(name)
    opened = _open(parsed, shape or (expect[0] if expect else "pairs"), rows, cache_dir)
    title = opened.rows.title
    layout = find_layout(opened.rows.columns, columns=columns, shape=shape, expect=expect, title=title, flags=flags)
    scale, because = (scale, f"{flags}score-range") if scale else (opened.scale, "the data card states it")
    if layout.shape != "scored":
        scale = None
    folder = writable((cache_dir or Path(datasets.config.HF_DATASETS_CACHE)) / "hf_simtune")
    stored = store(
        opened.rows,
        layout,
        content=opened.content,
        folder=folder,
        score_range=scale,
        skip_bad_rows=skip_bad_rows,
        flags=flags,
    )
    dataset = datasets.Dataset.from_file(str(stored.path))
    if layout.subset and not stored.has_subsets:
        dataset = dataset.remove_columns("subset")
    rescaled = scale if scale not in (None, (0.0, 1.0)) else None
    source = dataclasses.replace(
        opened.source,
        shape=layout.shape,
        columns=layout.columns,
        rows=stored.rows,
        fingerprint=stored.fingerprint,
        rescaled_from=rescaled,
        rescaled_because=because if rescaled else None,
        dropped=stored.dropped,
    )
    if stored.dropped:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in stored.dropped.items())
        log.warning("%s: %d bad rows dropped (%s)", title, sum(stored.dropped.values()), reasons)
    loaded = Loaded(dataset, source)
    return loaded if rows is None else _first_rows(loaded, rows, seed)


def _range(told: Sequence[float] | None, flag: str) -> tuple[float, float] | None:
    """The scale that was told, if it is one: a wrong one would make every score a bad row, or none."""
    if told is None:
        return None
    ends = _ends(told)
    if ends is None:
        raise RequestError(f"{flag} is {told!r}: it must be two numbers, the lower first", hint=f"As in: {flag} 0 5")
    return ends


def _ends(stated: Any) -> tuple[float, float] | None:
    """Two finite numbers, the lower first; None for anything else."""
    try:
        low, high = (float(number) for number in stated)
    except (TypeError, ValueError, OverflowError):
        return None
    return (low, high) if rising((low, high)) else None


def _first_rows(loaded: Loaded, rows: int, seed: int) -> Loaded:
    if rows < 1:
        raise RequestError(f"{rows} rows were asked for: it must be 1 or more")
    if rows >= loaded.source.rows:
        return loaded
    kept = np.random.default_rng(seed).permutation(loaded.source.rows)[:rows]
    dataset = loaded.dataset.select(kept)
    digest = fingerprint(dataset, CANONICAL[loaded.source.shape])
    return Loaded(dataset, dataclasses.replace(loaded.source, rows=rows, fingerprint=digest))


def _open(name: DataName, shape: str, rows: int | None, cache_dir: Path | None) -> _Opened:
    if name.kind == "builtin":
        return _builtin(name, shape, rows)
    if name.kind == "file":
        return _file(name)
    dataset = load_repository(name, cache_dir)
    facts = card(name, dataset)
    revision = revision_of(dataset) if name.kind == "hub" else None
    source = Source(
        name=name.name,
        kind="hub" if revision else "local copy",
        config=str(dataset.info.config_name or name.config or "") or None,
        split=name.split or "train",
        revision=revision,
        license=_license(facts, dataset),
    )
    # The Arrow files that `datasets` wrote are never written again under the same name.
    stats = [(file["filename"], Path(file["filename"]).stat()) for file in dataset.cache_files]
    content = [f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats]
    return _Opened(from_dataset(dataset, source.title), source, "\n".join(content), _scale(facts, name))


def _file(name: DataName) -> _Opened:
    assert name.path is not None
    try:
        with name.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return _Opened(open_file(name.path), Source(name=name.name, kind="file"), f"{name.name} {digest}")
    except OSError as error:
        raise DataError(f"{name.path} cannot be read: {error.strerror or error}") from error


def _builtin(name: DataName, shape: str, rows: int | None) -> _Opened:
    wanted = name.config or shape
    split = name.split or "train"
    # It can make more when more are wanted; a shape that it does not have is refused by `generate`.
    count = max(sports.DEFAULT_ROWS.get((wanted, split), 0), rows or 0)

    def generate() -> Iterator[dict[str, Any]]:
        return sports.generate(wanted, split, count, CORPUS_SEED)

    code = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("sports*.py")):  # other code makes other rows
        code.update(path.read_bytes())
    source = Source(name="builtin:sports", kind="builtin", config=wanted, split=split, license="apache-2.0")
    content = f"{source.title} {count} {CORPUS_SEED} {code.hexdigest()}"
    return _Opened(from_dicts(generate, source.title), source, content)


def _license(facts: dict[str, Any], dataset: datasets.Dataset) -> str | None:
    stated = facts.get("license") or dataset.info.license or None
    return ", ".join(map(str, stated)) if isinstance(stated, list) else str(stated) if stated else None


def _scale(facts: dict[str, Any], name: DataName) -> tuple[float, float] | None:
    own = facts.get("simtune")
    stated = own.get("score_range") if isinstance(own, dict) else None
    if stated is None:
        return None
    ends = _ends(stated)
    if ends is None:
        raise DataError(
            f"the card of {name.name} states simtune: score_range: {stated!r}; it must be two numbers, the lower first"
        )
    return ends
