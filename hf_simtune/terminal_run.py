"""What the command line prints when a run is over."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table
from rich.text import Text

from hf_simtune import origins, separation
from hf_simtune.cautions import cautions
from hf_simtune.evaluation.compare import power_sentence, probe_answer, verdict_sentence
from hf_simtune.evaluation.reindex import reindex_sentence
from hf_simtune.evaluation.retrieval import retrieval_sentence
from hf_simtune.evaluation.spread import spread_sentence
from hf_simtune.record import Evaluation, RunRecord, Score
from hf_simtune.terminal import COLOURS, change, console, interval, points, program

__all__ = ["show_run"]


def _role(record: RunRecord, evaluation: Evaluation) -> Text:
    if evaluation.role == "select":
        return Text("chose the checkpoint", style="dim")
    word = record.verdict
    if evaluation.role == "probe":
        word = probe_answer(evaluation.comparison) if evaluation.comparison else "cannot tell"
        word = "no verdict" if record.base.untrained else word
    return Text(word, style=COLOURS[word])


def _active(score: Score) -> str:
    return "-" if score.active_dimensions is None else f"{score.active_dimensions:,.1f}"


def _table(record: RunRecord) -> Table:
    sparse = record.base.kind != "dense"
    name = record.base.name + (f" (in place of {record.base.stand_in_for})" if record.base.stand_in_for else "")
    table = Table(title=f"{name} -> {record.name}: Spearman x 100", title_justify="left")
    table.add_column("data")
    for heading in ("rows", "base", "tuned", "change", "95 % interval"):
        table.add_column(heading, justify="right")
    if sparse:
        table.add_column("active dims", justify="right")
    table.add_column("verdict")
    for evaluation in record.evaluations:
        row: list[str | Text] = [
            evaluation.source.title,
            f"{evaluation.base.n:,}",
            points(evaluation.base),
            points(evaluation.tuned),
            change(evaluation.base, evaluation.tuned),
            interval(evaluation.comparison),
        ]
        if sparse:
            row.append(f"{_active(evaluation.base)} -> {_active(evaluation.tuned)}")
        table.add_row(*row, _role(record, evaluation))
        for cut in evaluation.truncated if evaluation.role == "report" else ():
            title = f"  first {cut.dimensions} dimensions"
            figures = (points(cut.base), points(cut.tuned), change(cut.base, cut.tuned))
            table.add_row(title, "", *figures)
    return table


def _notes(record: RunRecord) -> Iterator[str]:
    """What a reader must know beside the table."""
    training = record.training
    yield from cautions(record)
    if training.stopped:
        yield f"Training stopped early: {training.stopped}."
    yield from origins.sentences(record)
    if training.lora:
        yield f"Trained: {training.trainable:,} of {training.parameters:,} parameters ({training.lora})."
    for name in dict.fromkeys(name for health in record.health for name in health.findings):
        steps = [health.step for health in record.health if name in health.findings]
        where = "the base" if steps[0] == 0 else f"step {steps[0]}"
        what = "Training" if name in ("diverged", "exploding") else "Embeddings"
        yield f"{what}: {name} at {where}, and in {len(steps)} of {len(record.health)} measurements."
    if said := separation.sentence(record):
        yield said
    if record.spread and training.best_step:
        yield spread_sentence(record.spread)
    for evaluation in record.evaluations if training.best_step else ():
        if evaluation.retrieval:
            yield retrieval_sentence(evaluation.source.title, evaluation.retrieval)
    if record.reindex and training.best_step:
        yield reindex_sentence(record.reindex)


def show_run(record: RunRecord, folder: Path, *, published: bool = False) -> None:
    """The before/after table, the verdict, where everything is, and what to type next."""
    out = console()
    out.print()
    out.print(_table(record))
    comparison = record.report.comparison
    if comparison and not record.base.untrained:
        out.print(Text(verdict_sentence(comparison), style=COLOURS[record.verdict]), soft_wrap=True)
        if power := power_sentence(comparison):
            out.print(power, soft_wrap=True)
    for line in _notes(record):
        out.print(line, soft_wrap=True)
    out.print()
    out.print(f"run folder  {folder}")
    out.print(f"  report    {folder / 'report.html'}")
    out.print(f"  card      {folder / 'README.md'}")
    out.print(f"  model     {folder / 'model'}" + (" (adapters; they need their base)" * (record.saved == "adapter")))
    out.print()
    if record.training.best_step == 0 or record.verdict == "regressed":
        better = "is" if record.training.best_step == 0 else "is still"
        out.print(
            f"next        the base {better} the better model: use it, or try more rows, more epochs or another "
            "--learning-rate",
            soft_wrap=True,
        )
        return
    if record.verdict == "improved" and not published:
        words = shlex.join([program(), "publish", str(folder), "--to", "ORG/NAME"])
        out.print(f"publish     {words}", soft_wrap=True)
    data = record.report.source
    again = data.title if data.kind in ("hub", "builtin") and not data.part else "YOUR_SCORED_ROWS.csv"
    words = shlex.join([program(), "score", str(folder / "model"), "--data", again])
    out.print(f"next        {words}", soft_wrap=True)
