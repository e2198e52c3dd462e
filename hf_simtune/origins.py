"""Where the weights come from that training began with and that were kept: sentences for card, report and terminal."""

from __future__ import annotations

from collections.abc import Sequence

from hf_simtune.record import Ingredient, RunRecord
from hf_simtune.wording import points

__all__ = ["sentences", "soup", "start"]


def sentences(record: RunRecord) -> list[str]:
    """What there is to say; nothing of a run that went from its base to one checkpoint."""
    return [said for said in (start(record), soup(record)) if said]


def start(record: RunRecord) -> str:
    """From whose weights training went on; empty where it began at the base."""
    begun = record.training.start
    if begun is None:
        return ""
    at = f" at revision {begun.revision}" if begun.revision else ""
    training = record.training
    kept = next((point.spearman for point in training.checkpoints if point.step == training.best_step), None)
    better = ""
    if training.start_spearman is not None and (kept is None or kept <= training.start_spearman):
        better = ", which nothing that this run made exceeds: the start is the better model"
    return (
        f"Training went on from the weights of {begun.name}{at} (SHA-256 {begun.weights_sha256[:12]}); before is the "
        f"untouched base, {record.base.name}. On the rows that choose, the start scores "
        f"{points(training.start_spearman)} (Spearman x 100){better}. What {begun.name} was trained on is no part of "
        "the leak check."
    )


def soup(record: RunRecord) -> str:
    """Which weights were averaged, and what each alone scored on the rows that choose; empty without a soup."""
    training = record.training
    if not training.soup:
        return ""
    scores = {point.step: point.spearman for point in training.checkpoints}
    mean = scores.get(max(scores))
    own = _trainings([one for one in training.soup if one.branch is None])
    branches = {one.branch: [other for other in training.soup if other.branch == one.branch] for one in training.soup}
    apart = [
        f"{100 * (several[0].share or 0):.4g} % of {_trainings(several)} of the branch {name}"
        for name, several in branches.items()
        if name is not None
    ]
    left = 1 - sum(several[0].share or 0 for name, several in branches.items() if name is not None)
    share = float(record.recipe.get("keep_base") or 0)
    what = own
    if apart:
        parts = [f"{100 * left:.4g} % of {own} of its own data", *apart]
        what = f"{' and '.join(parts)}, trained apart from the same weights"
    if share < 0:
        end = f"a mean ({what})" if apart else what
        what = f"the weights {100 * (1 - share):.4g} % of the way from the untouched base to {end}"
    elif share and apart:
        what = f"{100 * (1 - share):.4g} % of a mean ({what}), and {100 * share:.4g} % of the untouched base's weights"
    elif share:
        what = f"{100 * (1 - share):.4g} % of {what}, and {100 * share:.4g} % of the untouched base's"
    head = "Kept" if training.best_step else "Not kept"
    alone = max((one.spearman for one in training.soup if one.spearman is not None), default=None)
    better = (
        f", less than the {points(alone)} of one of them alone" if alone is not None and alone > (mean or 0) else ""
    )
    return f"{head}: {what}; this scores {points(mean)} on the rows that choose (Spearman x 100){better}."


def _trainings(several: Sequence[Ingredient]) -> str:
    parts = [
        f"seed {one.seed} ({f'step {one.step}' if one.step else 'the base'}, {points(one.spearman)})" for one in several
    ]
    if len(parts) == 1:
        return f"the weights of {parts[0]}"
    return f"the mean of the weights of {len(parts)} trainings from the same weights: {', '.join(parts)}"
