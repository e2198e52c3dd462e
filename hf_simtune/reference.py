"""Cards of the reference runs, and the README's tables, from the records in model_cards/. ``make cards`` runs it.

A reference run is a folder ``model_cards/NAME/SEED/`` with a ``record.json`` and its ``scores.parquet``; cards and
pictures are made from these two, so that none of them can drift from the others. A reference sweep is a folder
``model_cards/NAME/sweep/``: a sweep's ``sweep.json`` and the ``record.json`` of each of its cells.
"""

from __future__ import annotations

import dataclasses
import io
import sys
from pathlib import Path

import numpy as np

from hf_simtune import (
    ablation,
    beside,
    card,
    card_plots,
    catalogue,
    ledger,
    quoted,
    run_list,
    scores_file,
    sweep_card,
    sweeping,
)
from hf_simtune.bench import page
from hf_simtune.branches import named_branches
from hf_simtune.card_losses import loss_classes
from hf_simtune.errors import RunError
from hf_simtune.evaluation.bootstrap import resampled_differences
from hf_simtune.evaluation.compare import NO_VERDICT, probe_answer, verdict_of
from hf_simtune.recipe import BUILTIN_SPLADE, Recipe
from hf_simtune.record import DENSE, Evaluation, RunRecord, Score
from hf_simtune.run_set import RunSet
from hf_simtune.same_question import check_same_question
from hf_simtune.wording import UNDEFINED, interval, points, signed

__all__ = ["PICTURES", "between", "listed", "pictures", "recipes", "records", "rendered", "sweeps", "table", "write"]

BEGIN, END = "<!-- table: make cards -->", "<!-- end of table -->"
SPEED_BEGIN, SPEED_END = "<!-- speed: make cards -->", "<!-- end of speed -->"
RECIPES_BEGIN, RECIPES_END = "<!-- recipes: make cards -->", "<!-- end of recipes -->"
BESIDE_BEGIN, BESIDE_END = "<!-- beside: make cards -->", "<!-- end of beside -->"
QUOTED_BEGIN, QUOTED_END = "<!-- quoted: make cards -->", "<!-- end of quoted -->"
LEDGER_BEGIN, LEDGER_END = "<!-- runs: make cards -->", "<!-- end of runs -->"
PICTURES = "plots"  # the folder beside a card, as in a run's folder
SHOWN_ELSEWHERE = ("guard",)  # made to fail, to show what is done about it: no result of a recipe
COLOURS = 64  # of a picture in the tree: a third of its size, and no difference to the eye

Runs = list[tuple[Path, RunRecord]]


def records(folder: Path) -> dict[str, Runs]:
    """The records of each reference run, by name, in the order of their seeds as the folders are named."""
    found: dict[str, Runs] = {}
    for path in sorted(folder.glob("*/*/record.json")):
        found.setdefault(path.parent.parent.name, []).append((path.parent, RunRecord.load(path)))
    return found


def listed(found: dict[str, Runs]) -> dict[str, Runs]:
    """Those that are results of a recipe."""
    return {name: runs for name, runs in found.items() if name not in SHOWN_ELSEWHERE}


def sweeps(folder: Path) -> dict[str, RunSet]:
    """The reference sweeps, by recipe."""
    found = sorted(folder.glob("*/sweep/sweep.json"))
    return {path.parents[1].name: RunSet.open(path.parent, "sweep") for path in found}


def recipes() -> str:
    """The README's table of the shipped recipes."""
    lines = ["| recipe | what it does | base model | loss |", "|---|---|---|---|"]
    for name, recipe in catalogue.shipped().items():
        lines.append(f"| [{name}](recipes/{name}.py) | {recipe.title} | {recipe.model} | {_loss(recipe)} |")
    return "\n".join(lines)


def _loss(recipe: Recipe) -> str:
    """What is trained, by the library's names: ``SpladeLoss around SparseCosineSimilarityLoss``."""
    if recipe.loss is None:
        return "as the shape of the rows has it"
    classes = loss_classes(recipe.loss, recipe.sparse or "dense", matryoshka=bool(recipe.matryoshka))
    apart = "".join(f", and {100 * one.share:g} % of {one.recipe}" for one in named_branches(recipe.branches))
    return " around ".join(classes) + (", adapters alone" if recipe.lora else "") + apart


def table(folder: Path) -> str:
    """The README's table of results: a row for the verdict's rows of each recipe and one for each probe.

    Rows that chose a checkpoint are left to the cards. Runs on a stand-in are named below the table and have no row:
    beside the others their scores would pass for those of the model that the recipe names.
    """
    lines = [
        "| recipe | measured on | role | rows | base | tuned | change | 95 % interval | runs | training | answer |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    shown, sparse, untrained, others = list[RunRecord](), [], [], []
    for name, runs in listed(records(folder)).items():
        base = runs[0][1].base
        check_same_question(name, [record for _, record in runs])
        if _is_stand_in(runs[0][1]):
            place = f" in place of {base.stand_in_for}" if base.stand_in_for else ""
            begun = f", {base.untrained} untrained" if base.untrained else ""
            others.append(f"{_link(name)} ({base.name}{place}{begun})")
            continue
        shown += [record for _, record in runs]
        for index, first in enumerate(_measured(runs[0][1])):
            if first.role != "select":
                lines.append(_line(name, index, first, runs))
        if base.kind != "dense":
            sparse.append(f"{base.dimensions:,} in {name}")
        if base.untrained:
            untrained.append(f"{name} with {base.untrained}")
    told = [f"Training: of one run, the median; {run_list.machines(shown)}."] if shown else []
    if sparse:
        told.append(f"Active: dimensions that are not zero, a sentence's mean; of {', '.join(sparse)}.")
    if untrained:
        told.append(f"No verdict: {', '.join(untrained)} untrained; a gain over such a base proves nothing.")
    if others:
        told.append(f"Stand-ins, whose scores are not the named model's: {', '.join(others)}.")
    swept = [f"[{name}](model_cards/{name}/sweep)" for name in sweeps(folder)]
    if swept:
        told.append(f"Sweeps: {', '.join(swept)}.")
    return "\n\n".join(["\n".join(lines), *told])


def _measured(record: RunRecord) -> list[Evaluation]:
    """All comparisons of a run: with its base, and of a sparse encoder with the dense model below it."""
    return [*record.evaluations, *([record.dense.evaluation] if record.dense else [])]


def _is_stand_in(record: RunRecord) -> bool:
    return record.base.stand_in_for is not None or record.base.name == BUILTIN_SPLADE


def _line(name: str, index: int, first: Evaluation, runs: Runs) -> str:
    found = [_measured(record)[index] for _, record in runs]
    base, tuned = (_mean([getattr(evaluation, side) for evaluation in found]) for side in ("base", "tuned"))
    change = UNDEFINED
    if None not in (first.base.spearman, *(evaluation.tuned.spearman for evaluation in found)):
        change = signed(_middle([e.tuned for e in found]) - _middle([e.base for e in found]))
    low, high = _interval(index, runs)
    shown = interval(low, high) if low is not None and high is not None else UNDEFINED
    return (
        f"| {_link(name)} | {first.source.title} | {first.role} | {first.base.n:,} | {base} | {tuned} | {change} "
        f"| {shown} | {len(runs)} | {run_list.training_time([record for _, record in runs])} "
        f"| {_answer(first, runs[0][1], low, high)} |"
    )


def _link(name: str) -> str:
    return f"[{name}](model_cards/{name})"


def _mean(scores: list[Score]) -> str:
    """The mean over runs, their range where it is one, and of sparse models the active dimensions."""
    if any(score.spearman is None for score in scores):
        return UNDEFINED
    values = [score.spearman for score in scores if score.spearman is not None]
    told = []
    if points(min(values)) != points(max(values)):
        told.append(f"{points(min(values))} to {points(max(values))}")
    active = [score.active_dimensions for score in scores if score.active_dimensions is not None]
    if active:
        told.append(f"{sum(active) / len(active):,.1f} active")
    return points(_middle(scores)) + (f" ({'; '.join(told)})" if told else "")


def _middle(scores: list[Score]) -> float:
    values = [score.spearman for score in scores if score.spearman is not None]
    return sum(values) / len(values)


def _answer(first: Evaluation, record: RunRecord, low: float | None, high: float | None) -> str:
    """The verdict, or for a probe whether it got worse; none of a base that begins untrained."""
    if record.base.untrained and first.role != DENSE:
        return NO_VERDICT
    if first.role == "probe":
        comparison = first.comparison
        return probe_answer(dataclasses.replace(comparison, low=low, high=high)) if comparison else "cannot tell"
    return verdict_of(low, high) if low is not None and high is not None else "no evidence"


def _interval(index: int, runs: Runs, resamples: int = 10_000) -> tuple[float | None, float | None]:
    """The interval of the difference: a single run's own, or that of the mean over runs.

    Each resample of the rows is then the same for every run. It covers the choice of rows, not the luck of a seed.
    """
    evaluations = [_measured(record)[index] for _, record in runs]
    comparisons = [found.comparison for found in evaluations]
    if any(found is None or found.low is None or found.high is None for found in comparisons):
        return None, None
    if len(runs) == 1:
        return (comparisons[0].low, comparisons[0].high) if comparisons[0] else (None, None)
    means = np.zeros(resamples)
    name = (evaluations[0].source.title, evaluations[0].role)
    for folder, _ in runs:
        parts = scores_file.read(folder / "scores.parquet")
        part = next((part for part in parts if (part.evaluation, part.role) == name), None)
        if part is None:
            raise RunError(f"{folder.parent.name}/{folder.name}/scores.parquet has no rows of {name[0]} ({name[1]})")
        groups = np.unique(part.group, return_inverse=True)[1].astype(np.int64)
        means += resampled_differences(part.gold, part.base, part.tuned, groups, resamples, 0) / len(runs)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def pictures(folder: Path, record: RunRecord) -> dict[str, bytes]:
    """The pictures of a reference run's card, as PNG with 64 colours, by file name."""
    drawn = card_plots.render(record, scores_file.read(folder / "scores.parquet"))
    return {name: _small(content) for name, content in drawn.items()}


def _small(png: bytes) -> bytes:
    """The same picture in fewer bytes, for a tree that keeps every version of it."""
    from PIL import Image

    file = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS).save(file, "PNG", optimize=True)
    return file.getvalue()


def rendered(folder: Path, record: RunRecord) -> str:
    """The card of a reference run, with the pictures that lie beside it."""
    words = card_plots.alt_texts(record)
    there = [name for name in words if (folder / PICTURES / name).is_file()]
    return card.render(record, pictures=[(f"{PICTURES}/{name}", words[name]) for name in there])


def write(checkout: Path) -> list[Path]:
    """Render every reference card with its pictures and the README's tables again.

    Returns:
        The files that changed; pictures that no run has any more are deleted.

    Raises:
        RunError: the README lacks a mark, or the runs of one name differ in more than their seeds.
        DataError: a run has no ``scores.parquet`` that can be read.
    """
    folder, readme = checkout / "model_cards", checkout / "README.md"
    found = records(folder)
    told = [record for _, record in found.get(quoted.RECIPE, [])]
    best, plain = found.get(beside.BEST, []), found.get(beside.PLAIN, [])
    text = readme.read_text(encoding="utf-8")
    for begin, content, end in (
        (BEGIN, table(folder), END),
        (RECIPES_BEGIN, recipes(), RECIPES_END),
        (BESIDE_BEGIN, beside.table(best, plain), BESIDE_END),
        (QUOTED_BEGIN, quoted.table(told) if told else "", QUOTED_END),
        (SPEED_BEGIN, page.readme(folder / "bench"), SPEED_END),
    ):
        text = between(text, begin, content, end)
    changed = [path for path in [readme] if _put(path, text.encode())]
    bench = folder / "bench" / "README.md"
    changed += [path for path in [bench] if _put(path, page.page(folder / "bench").encode())]
    for runs in found.values():
        for place, record in runs:
            drawn = pictures(place, record)
            for old in sorted((place / PICTURES).glob("*.png")):
                if old.name not in drawn:
                    old.unlink()
                    changed.append(old)
            for name, png in drawn.items():
                changed += [path for path in [place / PICTURES / name] if _put(path, png)]
            changed += [path for path in [place / "README.md"] if _put(path, rendered(place, record).encode())]
    for made in sweeps(folder).values():
        changed += _write_sweep(made)
    changed += [path for path in [folder / "README.md"] if _put(path, run_list.page(listed(found)).encode())]
    if (tried := ablation.page(folder)) is not None:
        changed += [path for path in [folder / ablation.FOLDER / "README.md"] if _put(path, tried.encode())]
    counted = folder / "LEDGER.md"
    by_hand = counted.read_text(encoding="utf-8") if counted.is_file() else f"{LEDGER_BEGIN}\n{LEDGER_END}\n"
    entries = between(by_hand, LEDGER_BEGIN, ledger.table(folder), LEDGER_END, counted.name)
    changed += [path for path in [counted] if _put(path, entries.encode())]
    return changed


def _write_sweep(made: RunSet) -> list[Path]:
    png = sweep_card.picture(made)
    name = f"{PICTURES}/sweep.png" if png else None
    page = sweep_card.render(made, sweeping.command(made.plan), name)
    files = {made.folder / "README.md": page.encode()}
    if png and name:
        files[made.folder / name] = _small(png)
    return [path for path, content in files.items() if _put(path, content)]


def _put(path: Path, content: bytes) -> bool:
    """Write a file unless it holds that already; whether it changed."""
    if path.is_file() and path.read_bytes() == content:
        return False
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return True


def between(text: str, begin: str, content: str, end: str, name: str = "README.md") -> str:
    """The text with what stands between two marks replaced."""
    if begin not in text or end not in text:
        raise RunError(f"{name} has no lines {begin} and {end}")
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{content}\n{end}{rest.partition(end)[2]}"


if __name__ == "__main__":
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    for changed_file in write(root):
        sys.stdout.write(f"{changed_file.relative_to(root)} {'written' if changed_file.exists() else 'deleted'}\n")
