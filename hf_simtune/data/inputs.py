"""The rows of a run: training, selection and report rows, checked, leaks taken out."""

from __future__ import annotations

import dataclasses
import logging

from datasets import Dataset

from hf_simtune.data.leakage import EXAMPLES, Leaks, find_leaks, shared_pairs, without
from hf_simtune.data.load import Loaded, load
from hf_simtune.data.spec import FORMS, check_names
from hf_simtune.data.split import split, titled
from hf_simtune.errors import RequestError
from hf_simtune.recipe import LOSS_SHAPES, Recipe

__all__ = ["Inputs", "prepare"]

# Where a recipe for unscored rows is measured when it does not say: they hold no scores of their own.
STSB = ("sentence-transformers/stsb:validation", "sentence-transformers/stsb:test")
SPORTS = ("builtin:sports/scored:validation", "builtin:sports/scored:test")
# From this share of the report rows on, pairs that are selection rows too are no accident. STSb's own test rows share
# 4 of 1,379 pairs with its validation rows: 0.3 %.
OVERLAP = 0.01
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


def prepare(recipe: Recipe, *, offline: bool = False) -> Inputs:
    """Load and check everything that a recipe names.

    The three sets of rows have titles of their own, by which the leak check, the record and the report know them. Where
    two sources have one name, such as two files in different folders, the selection rows' title ends in their role.

    Args:
        recipe: a recipe that has been checked.
        offline: never ask the Hub: refuse its names, and measure unscored rows on the built-in sports corpus.

    Raises:
        RequestError: names that stand for nothing, all of them at once and before anything is loaded; selection and
            report rows that share 1 % of the report rows or more (below that a warning is logged); too few rows.
        DataError, HubError: with what was wrong where.
    """
    if problems := check_names(recipe, offline=offline):
        raise RequestError(problems, hint=FORMS)
    train = load(
        recipe.train_data,
        columns=recipe.columns,
        shape=recipe.shape,
        score_range=recipe.score_range,
        skip_bad_rows=recipe.skip_bad_rows,
        rows=recipe.train_rows,
        seed=recipe.seed,
        expect=_learns(recipe.loss),
    )
    if recipe.select_on is None and train.source.shape == "scored":
        train, select, report = split(train, recipe.seed)
    else:
        select_on, report_on = recipe.select_on, recipe.report_on
        if select_on is None or report_on is None:
            select_on, report_on = SPORTS if offline else STSB
            log.info("%s has no scores: measuring on %s and %s", train.source.title, select_on, report_on)
        select, report = (_evaluation_rows(name, recipe) for name in (select_on, report_on))
        if select.source.title == report.source.title:
            select = dataclasses.replace(select, source=titled(select.source, "select"))
        _check_apart(select, report)
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


def _learns(loss: str | None) -> tuple[str, ...]:
    """The shapes that can be learned from, pairs first: what ``builtin:sports`` without a shape stands for."""
    if loss:
        return LOSS_SHAPES[loss]
    return tuple(dict.fromkeys(shape for shapes in LOSS_SHAPES.values() for shape in shapes))


def _check_apart(select: Loaded, report: Loaded) -> None:
    """Refuse rows to select and report on that are the same ones, by and large; a few shared pairs are told."""
    names, hint = f"{select.source.title} and {report.source.title}", "Name other rows with --report-on"
    if select.source.fingerprint == report.source.fingerprint:
        raise RequestError(f"{names} hold the same rows: rows that choose cannot prove the gain", hint=hint)
    shared = shared_pairs(select.dataset, report.dataset)
    if not shared:
        return
    examples = ", ".join(f"{one} and {other}" for one, other in shared[:EXAMPLES])
    told = f"{names} share {len(shared):,} of {report.source.rows:,} pairs to report on (rows {examples}" + (
        ", ...)" if len(shared) > EXAMPLES else ")"
    )
    if len(shared) >= OVERLAP * report.source.rows:
        raise RequestError(f"{told}: rows that choose cannot prove the gain", hint=hint)
    log.warning("%s: too few to matter, below %g %%", told, 100 * OVERLAP)


def _evaluation_rows(name: str, recipe: Recipe) -> Loaded:
    return load(
        name,
        columns=recipe.eval_columns,
        score_range=recipe.eval_score_range,
        skip_bad_rows=recipe.skip_bad_rows,
        expect=("scored",),
        flags="--eval-",
    )
