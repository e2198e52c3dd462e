"""A finished run as a notebook shows it: the scores before and after, the verdict and the plot of its rows."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from hf_simtune.cautions import cautions
from hf_simtune.evaluation.compare import verdict_sentence
from hf_simtune.record import Evaluation, RunRecord
from hf_simtune.wording import interval, points, signed

__all__ = ["html"]

HEADINGS = ("data", "role", "rows", "base", "tuned", "change", "95 % interval")
PLOT = "plots/scores.png"


def html(record: RunRecord, folder: Path) -> str:
    """Table, sentences and plot; a text of the rows stands in none of them."""
    comparison = record.report.comparison
    told = [verdict_sentence(comparison)] if comparison and not record.base.untrained else []
    told += cautions(record)
    plot = folder / PLOT
    picture = base64.b64encode(plot.read_bytes()).decode() if plot.is_file() else ""
    return "".join(
        [
            f"<p><b>{escape(record.base.name)} &rarr; {escape(record.name)}</b>: Spearman &times; 100</p>",
            _table([HEADINGS, *map(_row, record.evaluations)]),
            *(f"<p>{escape(sentence)}</p>" for sentence in told),
            f'<img alt="Similarities and scores of the rows" width="800" src="data:image/png;base64,{picture}">'
            if picture
            else "",
            f"<p>In <code>{escape(str(folder))}</code>: report.html, README.md (the card), model/</p>",
        ]
    )


def _table(rows: list[tuple[str, ...]]) -> str:
    kinds = ["th", *["td"] * len(rows)]
    lines = [
        "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in row) for kind, row in zip(kinds, rows, strict=False)
    ]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _row(one: Evaluation) -> tuple[str, ...]:
    base, tuned, compared = one.base.spearman, one.tuned.spearman, one.comparison
    change = signed(tuned - base) if base is not None and tuned is not None else "-"
    ends = (compared.low, compared.high) if compared else (None, None)
    around = interval(ends[0], ends[1]) if ends[0] is not None and ends[1] is not None else "-"
    role = "chose the checkpoint" if one.role == "select" else one.role
    return (one.source.title, role, f"{one.base.n:,}", points(base), points(tuned), change, around)
