"""The rows that a run is measured on where its recipe does not name them."""

from __future__ import annotations

import logging
from collections.abc import Callable

from hf_simtune.data.held_out import hold_out
from hf_simtune.data.load import Loaded
from hf_simtune.data.split import TooFewRows, split
from hf_simtune.errors import HubError

__all__ = ["SPORTS", "STSB", "measured_on"]

# Where rows are measured that neither hold scores nor are enough to hold some out.
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

    Scored rows are split, pairs and triplets held out and graded. Where that cannot be done (too few of them; plain
    sentences, which hold no pairs; the built-in corpus, which has graded rows of its own), what is missing is STSb's,
    or offline the built-in corpus's.

    Args:
        train: the training rows.
        select, report: those that the recipe names.
        seed: of the parts.
        offline: whether to take the built-in corpus.
        loaded: scored rows by their names.

    Raises:
        RequestError: too few scored rows to be split.
        HubError: STSb is wanted, and the Hub does not answer.
    """
    if select is not None and report is not None:
        return train, select, report
    spared = 1 if select is not None else 2 if report is not None else None
    title, shape = train.source.title, train.source.shape
    why = f"{title} holds plain sentences and no pairs" if shape == "sentences" else f"{title} has no scores"
    if shape == "scored" or (shape != "sentences" and train.source.kind != "builtin"):
        try:
            kept, *parts = split(train, seed, spared) if shape == "scored" else hold_out(train, seed, spared)
        except TooFewRows as error:
            if shape == "scored":
                raise
            why = "; ".join(error.problems)
        else:
            made = [one.source.part for number, one in enumerate(parts, 1) if number != spared]
            log.info("%s: %s", title if shape == "scored" else why, " and ".join(filter(None, made)))
            return kept, select or parts[0], report or parts[1]
    names = [name for name, one in zip(SPORTS if offline else STSB, (select, report), strict=True) if one is None]
    log.info("%s: measuring on %s", why, " and ".join(names))
    try:
        borrowed = iter(loaded(names))
    except HubError as error:
        flags = [flag for flag, one in (("--select-on", select), ("--report-on", report)) if one is None]
        ways = (
            f"{why}, so the run is to be measured on {' and '.join(names)}. Without the Hub, name scored rows of your "
            f"own: {' '.join(f'{flag} FILE' for flag in flags)}; or take the built-in sports corpus with --offline"
        )
        raise HubError(error.problems, hint=f"{ways}\n{error.hint}" if error.hint else ways) from error
    return train, select or next(borrowed), report or next(borrowed)
