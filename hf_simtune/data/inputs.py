"""The rows of a run: to train, to select, to report and to probe, checked, leaks taken out."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from datasets import Dataset

from hf_simtune.branching import Branch
from hf_simtune.data.leakage import EXAMPLES, Leaks, find_leaks, shared_pairs, without
from hf_simtune.data.load import Loaded, load
from hf_simtune.data.measured import measured_on
from hf_simtune.data.scores import check_scores
from hf_simtune.data.spec import FORMS, check_names
from hf_simtune.data.split import titled
from hf_simtune.errors import RequestError, joined
from hf_simtune.recipe import LOSS_SHAPES, Recipe
from hf_simtune.row_shapes import default_loss, named_losses

__all__ = ["Further", "Inputs", "prepare", "told_apart"]

# From this share of the report rows on, pairs that are selection rows too are no accident. STSb's own test rows share
# 4 of 1,379 pairs with its validation rows: 0.3 %.
OVERLAP = 0.01
log = logging.getLogger("hf_simtune")


@dataclasses.dataclass(frozen=True)
class Further:
    """One more training set."""

    loaded: Loaded
    rows: Dataset  # those that are used: without leaks, unless they were asked for
    loss: str  # as the recipe names it, or the first that takes the shape
    branch: int | None = None  # of which of the run's branches; None: the sets take turns in one training


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What a run trains on, selects on, reports on and probes."""

    train: Loaded
    rows: Dataset  # the training rows that are used: without leaks, unless they were asked for
    select: Loaded
    report: Loaded
    leaks: Leaks
    probes: tuple[Loaded, ...] = ()
    further: tuple[Further, ...] = ()

    @property
    def fingerprints(self) -> dict[str, str]:
        """Each set of rows by its content: "train", "select", "report", "probe 1", "further 1" and so on."""
        parts = {"train": self.train, "select": self.select, "report": self.report}
        parts |= {f"probe {number}": loaded for number, loaded in enumerate(self.probes, 1)}
        parts |= {f"further {number}": one.loaded for number, one in enumerate(self.further, 1)}
        return {name: _content(loaded) for name, loaded in parts.items()}


def _content(loaded: Loaded) -> str:
    """The fingerprint of a set's rows; with how they are grouped or in parts, where the data say so."""
    told = [name for name in ("group", "subset") if name in loaded.dataset.column_names]
    if not told:
        return loaded.source.fingerprint
    said = json.dumps([list(loaded.dataset[name]) for name in told])
    return f"{loaded.source.fingerprint}-{hashlib.sha256(said.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def prepare(recipe: Recipe, *, branches: Sequence[Branch] = (), offline: bool = False) -> Inputs:
    """Load and check everything that a recipe names.

    Rows to select or report on that a recipe does not name are kept from the training rows where that can be done, and
    are otherwise STSb's, or offline the built-in corpus's (``measured_on``).

    All sets to be measured on have titles of their own, by which the leak check, the record and the report know them.
    Where two sources have one name, such as two files in different folders, one title ends in the set's role; the
    report rows keep theirs.

    Args:
        recipe: a recipe that has been checked.
        branches: whose rows are wanted too, checked against the same evaluation rows; they come last in ``further``.
        offline: never ask the Hub: refuse its names, and measure on the built-in sports corpus.

    Raises:
        RequestError: names that stand for nothing, all of them at once and before anything is loaded; rows that the
            recipe cannot use, of all sets at once; rows to measure on with one score only; selection and
            report rows that share 1 % of the report rows or more (below that a warning is logged); too few rows.
        DataError, HubError: with what was wrong where.
    """
    if problems := check_names(recipe, offline=offline):
        raise RequestError(problems, hint=FORMS)
    measured = [name for name in (recipe.select_on, recipe.report_on) if name is not None]
    losses, probed = named_losses(recipe.more_data), recipe.probe or ()
    train, *others = _all(
        [
            partial(_training_rows, recipe),
            *(partial(_evaluation_rows, name, recipe) for name in measured),
            *(partial(_probe_rows, name, recipe) for name in probed),
            *(partial(_further_rows, name, loss, recipe) for loss, name in losses),
            *(partial(_branch_rows, one) for one in branches),
        ]
    )
    probes, further = others[len(measured) : len(measured) + len(probed)], others[len(measured) + len(probed) :]
    given = iter(others)
    train, select, report = measured_on(
        train,
        None if recipe.select_on is None else next(given),
        None if recipe.report_on is None else next(given),
        seed=recipe.seed,
        offline=offline,
        loaded=lambda names: _all([partial(load, name, expect=("scored",), flags="--eval-") for name in names]),
    )
    roles = ["report", "select", *(f"probe {number}" for number in range(1, len(probes) + 1))]
    report, select, *probes = told_apart([report, select, *probes], roles)
    check_scores([report, select, *probes])
    _check_apart(select, report)
    leaks = find_leaks(
        train.dataset,
        {loaded.source.title: loaded.dataset for loaded in (select, report, *probes)},
        further=[loaded.dataset for loaded in further],
    )
    rows = [without(train.dataset, leaks)]
    rows += [without(loaded.dataset, leaks, number) for number, loaded in enumerate(further)]
    dropped = len(leaks.drop) + sum(map(len, leaks.further))
    if dropped:
        done = "kept, as asked for" if recipe.keep_leaks else "dropped"
        log.warning("%d training rows are evaluation pairs: %s", dropped, done)
    if recipe.keep_leaks:
        rows = [loaded.dataset for loaded in (train, *further)]
        facts = tuple(dataclasses.replace(fact, rows_dropped=0) for fact in leaks.facts)
        leaks = dataclasses.replace(leaks, facts=facts)
    own = len(losses) + 1  # sets of the recipe's own training
    _check_sizes(rows[:own], [loaded.source.title for loaded in (train, *further)][:own], recipe)
    _check_branches(branches, rows[own:])
    named = [*((loss, None) for loss, _ in losses), *((one.recipe.loss, at) for at, one in enumerate(branches))]
    kept = tuple(
        Further(loaded, left, loss or default_loss(loaded.source.shape), branch)
        for loaded, left, (loss, branch) in zip(further, rows[1:], named, strict=True)
    )
    return Inputs(train, rows[0], select, report, leaks, tuple(probes), kept)


def _all(loads: Sequence[Callable[[], Loaded]]) -> list[Loaded]:
    """What each loads; where some are refused, all of their problems at once."""
    loaded, refused = [], list[RequestError]()
    for one in loads:
        try:
            loaded.append(one())
        except RequestError as error:
            refused.append(error)
    if refused:
        raise joined(refused)
    return loaded


def _training_rows(recipe: Recipe) -> Loaded:
    return load(
        recipe.train_data,
        columns=recipe.columns,
        shape=recipe.shape,
        score_range=recipe.score_range,
        skip_bad_rows=recipe.skip_bad_rows,
        rows=recipe.train_rows,
        seed=recipe.seed,
        expect=_learns(recipe.loss),
    )


def _evaluation_rows(name: str, recipe: Recipe) -> Loaded:
    own = not name.startswith("builtin:")  # whose columns and scale are known
    return load(
        name,
        columns=recipe.eval_columns if own else None,
        score_range=recipe.eval_score_range if own else None,
        skip_bad_rows=recipe.skip_bad_rows,
        expect=("scored",),
        flags="--eval-",
    )


def _probe_rows(name: str, recipe: Recipe) -> Loaded:
    return _found_by_name(
        name,
        recipe.eval_columns,
        recipe.eval_score_range,
        skip_bad_rows=recipe.skip_bad_rows,
        expect=("scored",),
        flags="--eval-",
    )


def _further_rows(name: str, loss: str | None, recipe: Recipe) -> Loaded:
    return _found_by_name(
        name,
        recipe.columns,
        recipe.score_range,
        skip_bad_rows=recipe.skip_bad_rows,
        rows=recipe.train_rows,
        seed=recipe.seed,
        expect=_learns(loss),
    )


def _branch_rows(branch: Branch) -> Loaded:
    """The rows as the branch's recipe reads its own; other rows perhaps by other columns."""
    try:
        try:
            return _training_rows(branch.recipe)
        except RequestError:
            if branch.named.data is None or branch.recipe.columns is None:
                raise
        return _training_rows(dataclasses.replace(branch.recipe, columns=None))
    except RequestError as error:
        told = [f"--branches {branch.named.entry}: {problem}" for problem in error.problems]
        raise RequestError(told, hint="The recipe of a branch says how its rows are read") from error


def _found_by_name(
    name: str, columns: tuple[str, ...] | None, score_range: tuple[float, float] | None, **options: Any
) -> Loaded:
    """Rows that tell what they are; where they do not, read as the recipe says of its main rows, if that fits.

    Raises:
        RequestError: what was wrong without what the recipe says.
    """
    first: RequestError | None = None
    for wide, told in dict.fromkeys([(None, None), (score_range, None), (None, columns), (score_range, columns)]):
        try:
            return load(name, columns=told, score_range=wide, **options)
        except RequestError as error:
            first = first or error
    assert first is not None
    raise first


def _learns(loss: str | None) -> tuple[str, ...]:
    """The shapes that can be learned from, pairs first: what ``builtin:sports`` without a shape stands for."""
    if loss:
        return LOSS_SHAPES[loss]
    return tuple(dict.fromkeys(shape for shapes in LOSS_SHAPES.values() for shape in shapes))


def told_apart(loaded: Sequence[Loaded], roles: Sequence[str]) -> list[Loaded]:
    """Rows to be measured on, each set under a title of its own: one that is taken ends in the set's role."""
    found: list[Loaded] = []
    for one, role in zip(loaded, roles, strict=True):
        sources = itertools.chain(
            [one.source, titled(one.source, role)],
            (titled(one.source, f"{role}, {number}") for number in itertools.count(2)),
        )
        taken = {other.source.title for other in found}
        found.append(dataclasses.replace(one, source=next(source for source in sources if source.title not in taken)))
    return found


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


def _check_sizes(rows: Sequence[Dataset], titles: Sequence[str], recipe: Recipe) -> None:
    """Refuse training sets that do not fill one batch; what the recipe says of either size is named by its flag."""
    small = [(title, len(left)) for title, left in zip(titles, rows, strict=True) if len(left) < recipe.batch_size]
    told = recipe.batch_size != Recipe.batch_size
    batch = f"--batch-size {recipe.batch_size}" if told else f"one batch of {recipe.batch_size}"
    first = f" (--train-rows {recipe.train_rows})" if recipe.train_rows else ""
    if small:
        raise RequestError(
            [f"{left} training rows of {title}{first} are left, fewer than {batch}" for title, left in small],
            hint=f"Give more rows, or --batch-size {max(2, min(left for _, left in small) // 4)}",
        )


def _check_branches(branches: Sequence[Branch], rows: Sequence[Dataset]) -> None:
    """Refuse branches whose rows do not fill one of their own batches."""
    small = [
        f"--branches {one.named.entry}: {len(left)} training rows are left, fewer than one batch of "
        f"{one.recipe.batch_size}"
        for one, left in zip(branches, rows, strict=True)
        if len(left) < one.recipe.batch_size
    ]
    if small:
        raise RequestError(small, hint="Give it more rows, with --branches RECIPE:DATA=SHARE")
