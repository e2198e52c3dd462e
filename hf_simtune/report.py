"""RunRecord and row scores -> one HTML page that needs nothing else: no network, no script, no font.

The facts come from the record. The figures of single rows, their ranks and their quantiles, are drawn from the run's
``scores.parquet``, which holds every row's score and similarities.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import jinja2

from hf_simtune import plots, report_figures, report_words
from hf_simtune.card_evaluation import share
from hf_simtune.card_metadata import kept_base
from hf_simtune.evaluation.compare import MARGIN, NO_VERDICT, certainty, power_sentence
from hf_simtune.record import RunRecord
from hf_simtune.report_rows import Mover, Texts, movers, rows
from hf_simtune.report_text import breakable, decimals, minus, places, points, shown, signed, templates
from hf_simtune.scores_file import RowScores
from hf_simtune.wording import UNDEFINED, duration

__all__ = ["Mover", "movers", "render"]


def render(record: RunRecord, scores: Sequence[RowScores], *, texts: Texts | None = None) -> str:
    """The report of a run, as the text of one HTML file.

    Args:
        record: every fact that the page states.
        scores: the parts of the run's ``scores.parquet``; an evaluation without its part has no row figures, and the
            page says so.
        texts: the two sentences of a row by ``(Source.title, row number)``. Only for a page that stays on the user's
            machine: without it the page names rows by number alone.

    Returns:
        HTML whose every value is escaped, and which holds no script and no address that a browser would load.
    """
    evaluations = record.evaluations
    report = next((evaluation for evaluation in evaluations if evaluation.role == "report"), None)
    parts = {(part.evaluation, part.role): part for part in scores}
    views = [
        rows(f"rows{index}", evaluation, parts.get((evaluation.source.title, evaluation.role)), texts or {})
        for index, evaluation in enumerate(evaluations)
    ]
    comparison = report.comparison if report else None
    verdict = comparison.verdict if comparison and comparison.difference is not None else "no evidence"
    bars = list(zip(evaluations, report_figures.forests(record), strict=True))
    return _page().render(
        record=record,
        training=record.training,
        report=report,
        selection=next((evaluation for evaluation in evaluations if evaluation.role == "select"), None),
        comparison=comparison,
        untrained=record.base.untrained,
        verdict=NO_VERDICT if record.base.untrained else verdict,
        kept_base=kept_base(record),
        kept=report_words.kept(record),
        below=report_words.below(record),
        unhealthy=report_words.unhealthy(record),
        builtin=any(one.role == "report" and one.source.kind == "builtin" for one in evaluations),
        rows=views,
        scored_rows=bars,
        probes=[(evaluation, forest) for evaluation, forest in bars if evaluation.role == "probe"],
        margin=MARGIN,
        sparse=any(score.active_dimensions is not None for e in evaluations for score in (e.base, e.tuned)),
        active=any(now.active_dimensions is not None for now in record.health),
        answer=functools.partial(report_words.answer, record),
        cuts=report_figures.cuts(record),
        panels=report_figures.health_panels(record),
        findings=list(report_words.findings(record)),
        geometry=list(report_words.geometry(record)),
        curve=report_figures.training_curve(record),
        losses=report_figures.loss_curve(record.training),
        trained=list(report_words.trained(record)),
        sources=list(report_words.sources(record)),
        kinds=report_words.kinds(record),
        holds=report_words.holds(record),
        mark=plots.verdict_mark,
        power=power_sentence,
        sure=_together(minus(certainty(comparison))) if comparison else "",
        card=report_words.card_text(record),
        shows_texts=any(mover.texts for view in views for mover in view.better + view.worse),
    )


def _together(text: str) -> str:
    """A p value that no line break parts from its sign."""
    return re.sub(r"\bp ([<=]) ", "p\N{NO-BREAK SPACE}\\1\N{NO-BREAK SPACE}", text)


@functools.cache
def _page() -> jinja2.Template:
    environment = templates()
    for function in (points, signed, decimals, places, duration, breakable, shown):
        environment.filters[function.__name__] = environment.globals[function.__name__] = function
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters["mean"] = lambda value: UNDEFINED if value is None else f"{value:,.1f}"
    environment.filters["share"] = lambda value: UNDEFINED if value is None else str(share(value, 2))
    return environment.get_template("report.html.jinja")
