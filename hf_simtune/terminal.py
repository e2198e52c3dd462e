"""What the command line prints: tables, verdicts, the next command. The only place that prints."""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hf_simtune import wording

if TYPE_CHECKING:
    from hf_simtune.bench.commands import Said
    from hf_simtune.diagnosing import Diagnosis
    from hf_simtune.evaluation.compare import Comparison
    from hf_simtune.recipe import Recipe
    from hf_simtune.record import Evaluation, RunRecord, Score
    from hf_simtune.scoring import Scored

__all__ = [
    "error",
    "note",
    "plain",
    "show_bench",
    "show_comparison",
    "show_diagnoses",
    "show_recipe",
    "show_recipes",
    "show_run",
    "show_score",
]

COLOURS = {"improved": "bold green", "regressed": "bold red", "no evidence": "bold yellow"}


def _console() -> Console:
    """Colours only on a terminal; wide enough elsewhere that nothing is folded. Names are never read as markup."""
    width = None if sys.stdout.isatty() else 140
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, width=width)


def plain(text: str) -> None:
    """Text as it is, for machines."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """A line for people, on standard error."""
    sys.stderr.write(text + "\n")


def error(text: str) -> None:
    """What went wrong, on standard error."""
    console = Console(file=sys.stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    console.print(Text.assemble(("error: ", "bold red"), text))


def _points(score: Score) -> str:
    return wording.points(score.spearman)


def _change(base: Score, tuned: Score) -> str:
    if base.spearman is None or tuned.spearman is None:
        return "-"
    return wording.signed(tuned.spearman - base.spearman)


def _interval(comparison: Comparison | None) -> str:
    if comparison is None or comparison.low is None or comparison.high is None:
        return "-"
    return wording.interval(comparison.low, comparison.high)


def _role(evaluation: Evaluation) -> Text:
    if evaluation.role == "report" and evaluation.comparison:
        return Text(evaluation.comparison.verdict, style=COLOURS[evaluation.comparison.verdict])
    return Text("chose the checkpoint", style="dim")


def show_run(record: RunRecord, folder: Path) -> None:
    """The before/after table, the verdict, where everything is, and what to type next."""
    from hf_simtune.evaluation.compare import power_sentence, verdict_sentence

    console = _console()
    table = Table(title=f"{record.base.name} -> {record.name}: Spearman x 100", title_justify="left")
    table.add_column("data")
    for heading in ("rows", "base", "tuned", "change", "95 % interval"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for evaluation in record.evaluations:
        table.add_row(
            evaluation.source.title,
            f"{evaluation.base.n:,}",
            _points(evaluation.base),
            _points(evaluation.tuned),
            _change(evaluation.base, evaluation.tuned),
            _interval(evaluation.comparison),
            _role(evaluation),
        )
    console.print()
    console.print(table)
    comparison = record.report.comparison
    if comparison:
        console.print(Text(verdict_sentence(comparison), style=COLOURS[record.verdict]), soft_wrap=True)
        if power := power_sentence(comparison):
            console.print(power, soft_wrap=True)
    if record.offline:
        console.print("Offline: these scores are on the built-in sports corpus and do not stand for STSb.")
    if record.training.best_step == 0:
        console.print("No checkpoint beat the base on the selection rows: model/ holds the base unchanged.")
    console.print()
    console.print(f"run folder  {folder}")
    console.print(f"  report    {folder / 'report.html'}")
    console.print(f"  card      {folder / 'README.md'}")
    console.print(f"  model     {folder / 'model'}")
    console.print()
    data = record.report.source
    again = data.title if data.kind in ("hub", "builtin") and not data.part else "YOUR_SCORED_ROWS.csv"
    words = shlex.join([_program(), "score", str(folder / "model"), "--data", again])
    console.print(f"next        {words}", soft_wrap=True)


def _program() -> str:
    """hf-simtune as it can be typed here, where its environment may not be activated."""
    beside = Path(sys.executable).with_name("hf-simtune")
    return "hf-simtune" if shutil.which("hf-simtune") or not beside.is_file() else os.path.relpath(beside)


def show_recipe(recipe: Recipe, command: str) -> None:
    """A resolved recipe, field by field."""
    console = _console()
    table = Table(title=f"recipe {recipe.name}", title_justify="left", show_header=False)
    table.add_column("field")
    table.add_column("value")
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        shown = "default" if value is None else " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        table.add_row(field.name, Text(shown))
    console.print(table)
    console.print("The recipe is in order; nothing was loaded or run. To run it:")
    console.print(f"  {command}", soft_wrap=True)


def show_recipes(recipes: Mapping[str, Recipe]) -> None:
    """The recipes, a line each."""
    console = _console()
    table = Table()
    for heading in ("recipe", "what it does", "model", "training rows"):
        table.add_column(heading)
    for name, recipe in recipes.items():
        table.add_row(name, recipe.title, recipe.model, recipe.train_data)
    console.print(table)
    console.print("Run one: hf-simtune tune NAME    See its fields: hf-simtune tune NAME --dry-run")


def show_score(scored: Scored) -> None:
    """One model's correlation."""
    console = _console()
    if scored.score.undefined:
        console.print(f"{scored.model} on {scored.evaluation}: undefined: {scored.score.undefined}")
        return
    pearson = f", Pearson {100 * scored.score.pearson:.2f}" if scored.score.pearson is not None else ""
    console.print(
        f"{scored.model} on {scored.evaluation}: Spearman {_points(scored.score)}{pearson} "
        f"(x 100, {scored.score.n:,} rows, {scored.similarity})",
        soft_wrap=True,
    )


def show_comparison(first: Scored, others: Sequence[tuple[Scored, Comparison]]) -> None:
    """Each model against the first."""
    console = _console()
    table = Table(title=f"{first.evaluation}, {first.score.n:,} rows: Spearman x 100", title_justify="left")
    table.add_column("model")
    for heading in ("Spearman", "change", "95 % interval", "p"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    table.add_row(first.model, _points(first.score), "", "", "", "the first: compared with")
    for other, comparison in others:
        table.add_row(
            other.model,
            _points(other.score),
            _change(first.score, other.score),
            _interval(comparison),
            "-" if comparison.p is None else wording.p_value(comparison.p),
            Text(comparison.verdict, style=COLOURS[comparison.verdict]),
        )
    console.print(table)
    for other, comparison in others:
        if comparison.reason:
            console.print(f"{other.model}: {comparison.reason}")


def show_diagnoses(found: Sequence[Diagnosis]) -> None:
    """Each model a column, each figure a row, and what the figures mean."""
    from hf_simtune import diagnosis_page

    console = _console()
    table = Table()
    table.add_column("cosine similarity of pairs")
    for diagnosis in found:
        table.add_column(diagnosis.model, justify="right", overflow="fold")
    meanings = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for row in diagnosis_page.rows(found):
        table.add_row(row.label, *row.values)
        meanings.add_row(Text(row.label, style="bold"), row.meaning)
    console.print(diagnosis_page.heading(found), soft_wrap=True)
    console.print(table)
    console.print(meanings)
    for told in diagnosis_page.notes(found):
        console.print()
        console.print(told)


def show_bench(said: Said) -> None:
    """A benchmark: what was measured, the table, what is to be said of it."""
    console = _console()
    for line in said.before:
        console.print(line, soft_wrap=True)
    table = Table()
    for index, title in enumerate(said.head):
        table.add_column(title, justify="left" if index < said.words else "right")
    for row in said.rows:
        table.add_row(*row)
    console.print(table)
    for line in said.after:
        console.print(line, soft_wrap=True)
