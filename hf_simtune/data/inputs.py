"""The rows of a run: training, selection and report rows, checked, leaks taken out."""

from __future__ import annotations

import dataclasses
import logging

from datasets import Dataset

from hf_simtune.data.leakage import Leaks, find_leaks, without
from hf_simtune.data.load import Loaded, load
from hf_simtune.data.split import split
from hf_simtune.errors import RequestError
from hf_simtune.recipe import LOSS_SHAPES, Recipe

__all__ = ["Inputs", "prepare"]

# Where a recipe for unscored rows is measured when it does not say: they hold no scores of their own.
STSB = "sentence-transformers/stsb"
log = logging.getLogger("hf_simtune")


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What a run trains on, selects on and reports on."""

    train: Loaded
    rows: Dataset  # the training rows that are used: without leaks, unless they were asked for
    select: Loaded
    report: Loaded
    leaks: Leaks

    @property
    def fingerprints(self) -> dict[str, str]:
        """The three sets of rows by their content."""
        parts = {"train": self.train, "select": self.select, "report": self.report}
        return {name: loaded.source.fingerprint for name, loaded in parts.items()}


def prepare(recipe: Recipe) -> Inputs:
    """Load and check everything that a recipe names.

    Raises:
        RequestError, DataError, HubError: with what was wrong where.
    """
    learns = LOSS_SHAPES[recipe.loss] if recipe.loss else tuple({s for shapes in LOSS_SHAPES.values() for s in shapes})
    train = load(
        recipe.train_data,
        columns=recipe.columns,
        shape=recipe.shape,
        score_range=recipe.score_range,
        skip_bad_rows=recipe.skip_bad_rows,
        rows=recipe.train_rows,
        seed=recipe.seed,
        expect=learns,
    )
    if recipe.select_on is None and train.source.shape == "scored":
        train, select, report = split(train, recipe.seed)
    else:
        select_on, report_on = recipe.select_on, recipe.report_on
        if select_on is None or report_on is None:
            select_on, report_on = f"{STSB}:validation", f"{STSB}:test"
            log.info("%s has no scores: measuring on %s and %s", train.source.title, select_on, report_on)
        select, report = (_evaluation_rows(name, recipe) for name in (select_on, report_on))
        if select.source.fingerprint == report.source.fingerprint:
            raise RequestError(
                f"{select_on} and {report_on} hold the same rows: rows that choose cannot prove the gain",
                hint="Name other rows with --report-on",
            )
    leaks = find_leaks(train.dataset, {loaded.source.title: loaded.dataset for loaded in (select, report)})
    rows = without(train.dataset, leaks)
    if recipe.keep_leaks:
        rows = train.dataset
        leaks = dataclasses.replace(
            leaks, facts=tuple(dataclasses.replace(fact, rows_dropped=0) for fact in leaks.facts)
        )
    if len(leaks.drop):
        done = "kept, as asked for" if recipe.keep_leaks else "dropped"
        log.warning("%d training rows are evaluation pairs: %s", len(leaks.drop), done)
    if len(rows) < recipe.batch_size:
        raise RequestError(
            f"{len(rows)} training rows are left, fewer than one batch of {recipe.batch_size}",
            hint=f"Give more rows, or --batch-size {max(2, len(rows) // 4)}",
        )
    return Inputs(train, rows, select, report, leaks)


def _evaluation_rows(name: str, recipe: Recipe) -> Loaded:
    return load(
        name,
        columns=recipe.eval_columns,
        score_range=recipe.eval_score_range,
        skip_bad_rows=recipe.skip_bad_rows,
        expect=("scored",),
        flags="--eval-",
    )
