"""What each lever on the way to a better model is worth by itself: the runs that tell, and the table made of them.

Every lever is tried on the same short stage, plain CoSENT tuning on STSb, with the same seeds or a soup of several, and
compared with that stage on STSb's validation rows. No run of an ablation is scored on STSb's test rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_simtune import catalogue
from hf_simtune.pairing import RESAMPLES, Placed, by_seed, evaluation, gain, spearman, spread
from hf_simtune.recipe import Recipe
from hf_simtune.record import Health, RunRecord
from hf_simtune.run_list import machines
from hf_simtune.wording import interval, points, signed

__all__ = ["FOLDER", "LEVERS", "PLAIN", "SEEDS", "STAGE", "Lever", "page", "recipe"]

FOLDER = "ablation"  # in model_cards: LEVER/SEED below it
STAGE = "cosent_minilm"
PLAIN = "plain"
SEEDS = (42, 1, 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lever:
    """One change of the stage."""

    what: str  # a line of the table
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # recipe fields
    first: str | None = None  # a recipe whose run of the same seed is the first stage
    seeds: tuple[int, ...] = SEEDS


LEVERS = {
    PLAIN: Lever(what="CoSENT on STSb, as `cosent_minilm`"),
    "soup": Lever(what="the mean of the weights of three trainings", changes={"soup": 3}, seeds=(42,)),
    "keep-base": Lever(what="a fifth of the untouched base in the weights", changes={"keep_base": 0.2}),
    "simcse-branch": Lever(
        what="three parts in ten of SimCSE on sentences, as `simcse_compressions`",
        changes={"branches": ("simcse_compressions=0.3",)},
    ),
    "contrastive-first": Lever(
        what="after MultipleNegativesRankingLoss, as `mnrl_minilm`",
        first="mnrl_minilm",
        seeds=(42, 1),  # each needs a whole run of mnrl_minilm first, twice as long as this stage
    ),
    "nli-beside": Lever(
        what="beside MultipleNegativesRankingLoss on triplets of NLI",
        changes={"more_data": ("mnrl=sentence-transformers/all-nli/triplet:train",)},
    ),
}


def recipe(lever: str, seed: int) -> Recipe:
    """The recipe of one run of a lever: fewer scores on the way, and no look at STSb's test rows."""
    found = LEVERS[lever]
    stage = dataclasses.replace(
        catalogue.find(STAGE),
        name=f"{STAGE}-{lever}",
        title=f"ablation: {found.what}",
        evaluations=4,
        report_on="builtin:sports/scored:test",
        seed=seed,
    )
    return dataclasses.replace(stage, **found.changes)


def page(cards: Path) -> str | None:
    """The table as Markdown; None where the plain stage was not run."""
    folder = cards / FOLDER
    plain = _runs(folder / PLAIN)
    if not plain:
        return None
    begins = evaluation(plain[0][1], "select").base.spearman
    base = [record.health[0] for _, record in plain[:1] if record.health]
    lines = [
        "# What each lever is worth",
        "",
        f"Spearman \N{MULTIPLICATION SIGN}100 on STSb validation, which also chose each checkpoint; the base has "
        f"{points(begins)}. STSb test was not looked at. The gain is over the plain stage, "
        "each run beside the plain one of its seed, a lone one beside them all. Its interval (95 %, "
        f"{RESAMPLES:,} resamples of groups of connected rows) takes the same resample for every run, and covers the "
        "choice of rows, not the luck of a seed: for that the range stands beside the mean. Sports is the built-in "
        "corpus, of which no run has seen a row: what was gained or lost elsewhere, in Spearman, and in MRR@10 "
        "\N{MULTIPLICATION SIGN}100 of paraphrases among distractors. Anisotropy is the mean cosine of two different "
        f"sentences of these rows, the effective rank the number of directions in use; the base has {_lies(base)}.",
        "",
        "| lever | runs | validation | gain | 95 % interval | sports | retrieval on sports "
        "| anisotropy, effective rank |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    where: dict[str, list[str]] = {}  # by machine, the levers
    for name, lever in LEVERS.items():
        runs = _runs(folder / name)
        if runs:
            lines.append(_line(lever, runs, plain if name != PLAIN else []))
            where.setdefault(machines([record for _, record in runs]), []).append(name)
    lines += [
        "",
        f"Every run: `hf-simtune tune {STAGE}` with what its `record.json` names, {_on(where)}. Missing runs are made "
        "by `make reference`, this page by `make cards`.",
    ]
    return "\n".join(lines) + "\n"


def _on(where: Mapping[str, Sequence[str]]) -> str:
    """On what the runs were made; of several machines, which levers on each."""
    if len(where) == 1:
        return next(iter(where))
    told = "; ".join(f"{machine}: {', '.join(names)}" for machine, names in where.items())
    return f"{told} (processors that round differently train other weights from the same seed)"


def _runs(folder: Path) -> list[Placed]:
    return [(path.parent, RunRecord.load(path)) for path in sorted(folder.glob("*/record.json"))]


def _line(lever: Lever, runs: list[Placed], plain: list[Placed]) -> str:
    scores = [spearman(evaluation(record, "select").tuned) for _, record in runs]
    sports = [spearman(record.report.tuned) for _, record in runs]
    told = between = "\N{EN DASH}"
    if pairs := _paired(lever, runs, plain):
        low, middle, high = gain(pairs, "select")
        told, between = signed(middle), interval(low, high)
    return (
        f"| {lever.what} | {len(runs)} | {spread(scores)} | {told} | {between} | {spread(sports)} "
        f"| {_retrieval(runs)} | {_lies([_kept(record) for _, record in runs])} |"
    )


def _kept(record: RunRecord) -> Health | None:
    """How the embeddings of the kept step lie."""
    return next((health for health in record.health if health.step == record.training.best_step), None)


def _lies(measured: Sequence[Health | None]) -> str:
    """Means of anisotropy and effective rank."""
    told = [health for health in measured if health is not None]
    if not told:
        return "\N{EN DASH}"
    means = [float(np.mean([getattr(health, name) for health in told])) for name in ("anisotropy", "effective_rank")]
    return f"{means[0]:.2f}, {means[1]:.0f}"


def _retrieval(runs: list[Placed]) -> str:
    """What the base finds on sports, and the tuned models of those runs that tell."""
    told = [record.report.retrieval for _, record in runs if record.report.retrieval]
    if not told:
        return "\N{EN DASH}"
    fewer = f", of {len(told)} runs" if len(told) < len(runs) else ""
    return f"{points(told[0].base)} \N{RIGHTWARDS ARROW} {spread([change.tuned for change in told])}{fewer}"


def _paired(lever: Lever, runs: list[Placed], plain: list[Placed]) -> list[tuple[Placed, Placed]]:
    """Each run with the plain one of its seed; that of a lever with one seed, such as a soup, with every plain one."""
    if len(lever.seeds) == 1:
        return [(run, beside) for run in runs for beside in plain]
    return by_seed(runs, plain)
