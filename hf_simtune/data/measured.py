"""The rows that a run is measured on where its recipe does not name them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

from hf_simtune.data.fingerprint import fingerprint
from hf_simtune.data.held_out import hold_out
from hf_simtune.data.leakage import shared_pairs
from hf_simtune.data.load import Loaded
from hf_simtune.data.shapes import CANONICAL
from hf_simtune.data.split import MEASURED, TooFewRows, split
from hf_simtune.errors import HubError

__all__ = ["SPORTS", "STSB", "measured_on"]

# Rows to select and to report on where the training rows neither hold scores nor are enough to hold some out.
STSB = ("sentence-transformers/stsb:validation", "sentence-transformers/stsb:test")
SPORTS = ("builtin:sports/scored:validation", "builtin:sports/scored:test")
log = logging.getLogger("hf_simtune")


def measured_on(
    train: Loaded,
    select: Loaded | None,
    report: Loaded | None,
    *,
    seed: int,
    offline: bool,
    loaded: Callable[[list[str]], list[Loaded]],
) -> tuple[Loaded, Loaded, Loaded]:
    """The rows to train, select and report on; those that are missing are kept from the training rows.

    Scored rows are split, pairs and triplets held out and graded; what is kept has no pair of the rows that are named.
    Where that cannot be done (too few pairs; plain sentences, which hold none; the built-in corpus, which has graded
    rows of its own), what is missing is STSb's, or offline the built-in corpus's.

    Args:
        train: the training rows.
        select, report: those that the recipe names.
        seed: of the parts.
        offline: whether to take the built-in corpus.
        loaded: scored rows by their names.

    Raises:
        TooFewRows: too few scored rows to be split.
        HubError: STSb is wanted, and the Hub does not answer.
    """
    given = dict(zip(MEASURED, (select, report), strict=True))
    missing = [part for part, one in given.items() if one is None]
    named = [one for one in given.values() if one is not None]
    if not missing:
        return train, named[0], named[1]
    title, shape = train.source.title, train.source.shape
    why = f"{title} holds plain sentences and no pairs" if shape == "sentences" else f"{title} has no scores"
    if shape == "scored" or (shape != "sentences" and train.source.kind != "builtin"):
        try:
            train, *parts = split(train, seed, missing) if shape == "scored" else hold_out(train, seed, missing)
        except TooFewRows as error:
            if shape == "scored":
                raise
            why = "; ".join(error.problems)
        else:
            log.info("%s: %s", title if shape == "scored" else why, " and ".join(str(one.source.part) for one in parts))
            return train, *_filled(select, report, [_without(one, named) for one in parts])
    names = _borrowed(SPORTS if offline else STSB, missing, [one.source.title for one in named])
    log.info("%s: measuring on %s", why, " and ".join(names))
    try:
        borrowed = loaded(names)
    except HubError as error:
        flags = " ".join(f"--{part}-on FILE" for part in missing)
        ways = (
            f"{why}, so the run is to be measured on {' and '.join(names)}. Without the Hub, name scored rows of your "
            f"own: {flags}; or take the built-in sports corpus with --offline"
        )
        raise HubError(error.problems, hint=f"{ways}\n{error.hint}" if error.hint else ways) from error
    return train, *_filled(select, report, borrowed)


def _filled(select: Loaded | None, report: Loaded | None, found: list[Loaded]) -> tuple[Loaded, Loaded]:
    """The rows to select and to report on, from those that are named and, in this order, those that were found."""
    rest = iter(found)
    return next(rest) if select is None else select, next(rest) if report is None else report


def _borrowed(names: tuple[str, str], missing: list[str], taken: list[str]) -> list[str]:
    """The names for the missing parts; the other one of the two where the rows that are named are the part's own."""
    free = [name for name in names if name not in taken]
    own = dict(zip(MEASURED, names, strict=True))
    return [own[part] if own[part] in free else free[0] for part in missing]


def _without(part: Loaded, named: list[Loaded]) -> Loaded:
    """A part without the pairs of rows that are named: a file to train on may hold them too."""
    shared = {row for other in named for _, row in shared_pairs(other.dataset, part.dataset)}
    if not shared:
        return part
    kept = part.dataset.select([at for at, row in enumerate(part.dataset["row"]) if row not in shared])
    told = f"{len(shared):,} rows of {named[0].source.title} left out"
    log.warning("%s: %s", part.source.title, told)
    source = dataclasses.replace(
        part.source,
        rows=len(kept),
        fingerprint=fingerprint(kept, CANONICAL["scored"]),
        part=f"{part.source.part}, {told}",
    )
    return Loaded(kept, source)
