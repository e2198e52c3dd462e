"""Cards of the reference runs, and the README's table, from the records in model_cards/. ``make cards`` runs it.

A reference run is a folder ``model_cards/NAME/SEED/`` with a ``record.json`` and its ``scores.parquet``; the cards are
rendered from the records, so that neither can drift from the other.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from hf_simtune import card, scores_file
from hf_simtune.bench import page
from hf_simtune.errors import RunError
from hf_simtune.evaluation.bootstrap import resampled_differences
from hf_simtune.evaluation.compare import verdict_of
from hf_simtune.record import Evaluation, RunRecord

__all__ = ["records", "table", "write"]

BEGIN, END = "<!-- table: make cards -->", "<!-- end of table -->"
SPEED_BEGIN, SPEED_END = "<!-- speed: make cards -->", "<!-- end of speed -->"


def records(folder: Path) -> dict[str, list[tuple[Path, RunRecord]]]:
    """The records of each reference run, by name, in the order of their seeds as the folders are named."""
    found: dict[str, list[tuple[Path, RunRecord]]] = {}
    for path in sorted(folder.glob("*/*/record.json")):
        found.setdefault(path.parent.parent.name, []).append((path.parent, RunRecord.load(path)))
    return found


def table(folder: Path) -> str:
    """The README's table: per recipe and data set the base, the tuned score over seeds and the interval."""
    lines = [
        "| recipe | data | rows | base | tuned | change | 95 % interval | runs | verdict |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name, runs in records(folder).items():
        _same_question(name, [record for _, record in runs])
        for index, first in enumerate(runs[0][1].evaluations):
            lines.append(_line(name, index, first, runs))
    return "\n".join(lines)


def _same_question(name: str, runs: list[RunRecord]) -> None:
    """Refuse to average runs that did not do the same thing but for the seed."""

    def question(record: RunRecord) -> tuple[object, ...]:
        recipe = {field: value for field, value in record.recipe.items() if field != "seed"}
        rows = [(evaluation.source.fingerprint, evaluation.role) for evaluation in record.evaluations]
        return recipe, record.base.weights_sha256, record.training.source.fingerprint, rows

    if any(question(record) != question(runs[0]) for record in runs[1:]):
        raise RunError(f"the reference runs of {name} differ in more than their seeds")


def _line(name: str, index: int, first: Evaluation, runs: list[tuple[Path, RunRecord]]) -> str:
    tuned = [record.evaluations[index].tuned.spearman for _, record in runs]
    if first.base.spearman is None or any(value is None for value in tuned):
        raise RunError(f"{name}: a reference run has an undefined score on {first.source.title}")
    scores = [100 * value for value in tuned if value is not None]
    base, mean = 100 * first.base.spearman, sum(scores) / len(scores)
    spread = f" ({min(scores):.2f} to {max(scores):.2f})" if len(scores) > 1 else ""
    low, high = _interval(index, runs, first.role)
    shown = f"{100 * low:+.2f} to {100 * high:+.2f}"
    verdict = "none: chose the checkpoint"
    if first.role == "report":
        verdict = verdict_of(low, high)
    link = f"[{name}](model_cards/{name})"
    return (
        f"| {link} | {first.source.title} | {first.base.n:,} | {base:.2f} | {mean:.2f}{spread} | {mean - base:+.2f} "
        f"| {shown} | {len(runs)} | {verdict} |"
    )


def _interval(
    index: int, runs: list[tuple[Path, RunRecord]], role: str, resamples: int = 10_000
) -> tuple[float, float]:
    """The interval of the difference: a single run's own, or that of the mean over runs.

    Each resample of the rows is then the same for every run. It covers the choice of rows, not the luck of a seed.
    """
    comparison = runs[0][1].evaluations[index].comparison
    if comparison is None or comparison.low is None or comparison.high is None:
        raise RunError("a reference run has no interval")
    if len(runs) == 1:
        return comparison.low, comparison.high
    means = np.zeros(resamples)
    for folder, _ in runs:
        part = next(part for part in scores_file.read(folder / "scores.parquet") if part.role == role)
        groups = np.unique(part.group, return_inverse=True)[1].astype(np.int64)
        means += resampled_differences(part.gold, part.base, part.tuned, groups, resamples, 0) / len(runs)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def write(checkout: Path) -> list[Path]:
    """Render every reference card and the README's table again. Returns the files that changed."""
    folder, readme = checkout / "model_cards", checkout / "README.md"
    wanted = {path / "README.md": card.render(record) for runs in records(folder).values() for path, record in runs}
    wanted[folder / "bench" / "README.md"] = page.page(folder / "bench")
    text = _between(readme.read_text(encoding="utf-8"), BEGIN, table(folder), END)
    wanted[readme] = _between(text, SPEED_BEGIN, page.readme(folder / "bench"), SPEED_END)
    changed = []
    for path, content in wanted.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")
            changed.append(path)
    return changed


def _between(text: str, begin: str, content: str, end: str) -> str:
    """The text with what stands between two marks replaced."""
    if begin not in text or end not in text:
        raise RunError(f"README.md has no lines {begin} and {end}")
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{content}\n{end}{rest.partition(end)[2]}"


if __name__ == "__main__":
    for changed_file in write(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()):
        sys.stdout.write(f"{changed_file.name} in {changed_file.parent.name} written\n")
