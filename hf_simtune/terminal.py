"""What the command line prints: tables, verdicts, the next command. The only place that prints."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from hf_simtune import wording
from hf_simtune.tellable import spelled, tellable

if TYPE_CHECKING:
    from hf_simtune.demo_space import Space
    from hf_simtune.diagnosing import Diagnosis
    from hf_simtune.evaluation.compare import Comparison
    from hf_simtune.publishing import Published
    from hf_simtune.recipe import Recipe
    from hf_simtune.record import RunRecord, Score
    from hf_simtune.scoring import Scored

__all__ = [
    "COLOURS",
    "change",
    "console",
    "error",
    "interval",
    "note",
    "plain",
    "points",
    "program",
    "show_comparison",
    "show_diagnoses",
    "show_places",
    "show_recipe",
    "show_recipes",
    "show_score",
    "show_told",
]


class Told(Protocol):
    """A table with what is said before and after it; the first ``words`` columns hold words, the others figures."""

    @property
    def before(self) -> Sequence[str]: ...

    @property
    def head(self) -> Sequence[str]: ...

    @property
    def rows(self) -> Sequence[Sequence[str]]: ...

    @property
    def words(self) -> int: ...

    @property
    def after(self) -> Sequence[str]: ...


COLOURS = {
    "improved": "bold green",
    "regressed": "bold red",
    "no evidence": "bold yellow",
    "no verdict": "dim",
    "not worse": "green",
    "worse": "bold red",
    "cannot tell": "yellow",
}


def console() -> Console:
    """Colours only on a terminal; wide enough elsewhere that nothing is folded. Names are never read as markup.

    What names and texts hold moves no cursor: only what is drawn here does.
    """
    width = None if sys.stdout.isatty() else 140
    made = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, width=width)
    made.push_render_hook(_Spelled())
    return made


class _Spelled(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Told(one) for one in renderables]


@dataclasses.dataclass
class _Told:
    shown: ConsoleRenderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for part in console.render(self.shown, options):
            yield part if part.control else Segment(spelled(part.text), part.style)


def plain(text: str) -> None:
    """Text as it is, for machines."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """A line for people, on standard error."""
    sys.stderr.write(tellable(text) + "\n")


def error(text: str) -> None:
    """What went wrong, on standard error."""
    out = Console(file=sys.stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    out.print(Text.assemble(("error: ", "bold red"), tellable(text)))


def points(score: Score) -> str:
    """Spearman x 100."""
    return wording.points(score.spearman)


def change(base: Score, tuned: Score) -> str:
    """Tuned less base, x 100; a dash where there is none."""
    if base.spearman is None or tuned.spearman is None:
        return "-"
    return wording.signed(tuned.spearman - base.spearman)


def interval(comparison: Comparison | None) -> str:
    """Of the difference, x 100; a dash where there is none."""
    if comparison is None or comparison.low is None or comparison.high is None:
        return "-"
    return wording.interval(comparison.low, comparison.high)


def program() -> str:
    """hf-simtune as it can be typed here, where its environment may not be activated."""
    beside = Path(sys.executable).with_name("hf-simtune")
    if shutil.which("hf-simtune") or not beside.is_file():
        return "hf-simtune"
    near = os.path.relpath(beside)
    return str(beside) if near.startswith(os.pardir) else near


def show_recipe(recipe: Recipe, command: str) -> None:
    """A resolved recipe, field by field."""
    out = console()
    table = Table(title=f"recipe {recipe.name}", title_justify="left", show_header=False)
    table.add_column("field")
    table.add_column("value")
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        usual = re.search(r"\(default: (.*)\)", field.metadata["help"])
        default = f"default: {usual.group(1)}" if usual else "none"
        shown = default if value is None else " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        table.add_row(field.name, Text(shown))
    out.print(table)
    out.print("The recipe is in order, as far as can be seen without its rows and its model. To run it:")
    out.print(f"  {command}", soft_wrap=True)


def show_recipes(recipes: Mapping[str, Recipe]) -> None:
    """The recipes, a line each."""
    out = console()
    table = Table()
    for heading in ("recipe", "what it does", "model", "training rows"):
        table.add_column(heading)
    for name, recipe in recipes.items():
        table.add_row(name, recipe.title, recipe.model, recipe.train_data)
    out.print(table)
    out.print("Run one: hf-simtune tune NAME    See its fields: hf-simtune tune NAME --dry-run")


def show_score(scored: Scored) -> None:
    """One model's correlation."""
    out = console()
    if scored.score.undefined:
        out.print(f"{scored.model} on {scored.evaluation}: undefined: {scored.score.undefined}")
        return
    pearson = f", Pearson {100 * scored.score.pearson:.2f}" if scored.score.pearson is not None else ""
    out.print(
        f"{scored.model} on {scored.evaluation}: Spearman {points(scored.score)}{pearson} "
        f"(x 100, {scored.score.n:,} rows, {scored.similarity})",
        soft_wrap=True,
    )
    if scored.claim:
        out.print(Text(scored.claim.sentence(), style="green" if scored.claim.holds else "red"), soft_wrap=True)


def show_comparison(first: Scored, others: Sequence[tuple[Scored, Comparison]]) -> None:
    """Each model against the first."""
    out = console()
    table = Table(title=f"{first.evaluation}, {first.score.n:,} rows: Spearman x 100", title_justify="left")
    table.add_column("model")
    for heading in ("Spearman", "change", "95 % interval", "p"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    table.add_row(first.model, points(first.score), "", "", "", "the first: compared with")
    for other, comparison in others:
        table.add_row(
            other.model,
            points(other.score),
            change(first.score, other.score),
            interval(comparison),
            "-" if comparison.p is None else wording.p_value(comparison.p),
            Text(comparison.verdict, style=COLOURS[comparison.verdict]),
        )
    out.print(table)
    for other, comparison in others:
        if comparison.reason:
            out.print(f"{other.model}: {comparison.reason}")


def show_diagnoses(found: Sequence[Diagnosis]) -> None:
    """Each model a column, each figure a row, and what the figures mean."""
    from hf_simtune import diagnosis_page

    out = console()
    table = Table()
    table.add_column("cosine similarity of pairs")
    for diagnosis in found:
        table.add_column(diagnosis.model, justify="right", overflow="fold")
    meanings = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for row in diagnosis_page.rows(found):
        table.add_row(row.label, *row.values)
        meanings.add_row(Text(row.label, style="bold"), row.meaning)
    out.print(diagnosis_page.heading(found), soft_wrap=True)
    out.print(table)
    out.print(meanings)
    for told in diagnosis_page.notes(found):
        out.print()
        out.print(told)


def show_told(told: Told) -> None:
    """Lines, a table, lines: a benchmark, a sweep, the runs of several models."""
    out = console()
    for line in told.before:
        out.print(line, soft_wrap=True)
    table = Table()
    for index, title in enumerate(told.head):
        table.add_column(title, justify="left" if index < told.words else "right", overflow="fold")
    for row in told.rows:
        table.add_row(*(Text(text, style=COLOURS.get(text, "")) for text in row))
    out.print(table)
    for line in told.after:
        out.print(line, soft_wrap=True)


def show_published(done: Published, *, dry_run: bool) -> None:
    """What was sent, where it is, and how it is loaded."""
    for reason in done.allowed:
        note(f"allowed: {reason.name}: {reason.told}")
    if done.left_out:
        note(f"stays here: {', '.join(done.left_out)}")
    if dry_run:
        plain(f"{done.repository} would get {len(done.files)} files: {', '.join(done.files)}")
        return
    if not done.changed and not done.gone:
        plain(f"{done.repository} has this run already, at {done.commit}: nothing was sent")
    else:
        gone = f", and {len(done.gone)} of an earlier run taken away" if done.gone else ""
        plain(f"{done.repository}: {len(done.changed)} files in one commit, {done.commit}{gone}")
    if done.stayed:
        plain(f"there too, and not of a run: {', '.join(done.stayed)}")
    plain(done.proof)
    plain(f"page        {done.pull_request or done.url}")
    kind = "SentenceTransformer" if done.kind == "dense" else "SparseEncoder"
    revision = done.commit if done.pull_request else done.tag
    plain(f'load        {kind}("{done.repository}"' + (f', revision="{revision}")' if revision else ")"))


def show_exports(record: RunRecord, run: Path) -> None:
    """Each format beside the original."""
    out = console()
    table = Table(title=f"{record.name} on {record.report.source.title}", title_justify="left")
    table.add_column("file")
    for heading in ("MB", "Spearman x 100", "sentences a second"):
        table.add_column(heading, justify="right")
    for one in record.exports:
        name = str(run / "model" / one.file) if one.file else "the model as it is"
        table.add_row(name, f"{one.megabytes:,.1f}", wording.points(one.spearman), f"{one.sentences_per_second:,.0f}")
    out.print(table)


def show_served(url: str) -> None:
    """Where a page is; at once, also where a program reads it."""
    plain(f"page        {url}")
    sys.stdout.flush()
    note("Ctrl-C ends it")


def show_space(made: Space) -> None:
    """The files of a Space, and what sends them."""
    plain(f"{made.folder}: {len(made.files)} files: {', '.join(made.files)}")
    plain("to the Hub:")
    for command in made.commands:
        plain(f"  {command}")


def show_places(folder: Path, page: Path, run: Path | None = None) -> None:
    """Where a set of runs is, and the run that won."""
    out = console()
    out.print()
    out.print(f"folder      {folder}", soft_wrap=True)
    out.print(f"  page      {page}", soft_wrap=True)
    if run is not None:
        out.print(f"  run       {run}", soft_wrap=True)
        out.print(f"  model     {run / 'model'}", soft_wrap=True)
