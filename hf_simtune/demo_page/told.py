"""A run's record, as JSON has it -> the heading and the table of the page, in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .escaped import escape

__all__ = ["answer", "caveats", "heading", "name", "table", "verdict"]

Record = Mapping[str, Any]
MARGIN = 0.005  # of Spearman: what a probe may lose and be called not worse
MEANS = {
    "improved": "The tuned model agrees better with the scores in the data than its base does.",
    "regressed": "The tuned model agrees less with the scores in the data than its base does.",
    "no evidence": "These rows do not show that the tuned model is better than its base, nor that it is worse.",
    "no verdict": "The base has a part that nobody trained, so that a gain over it proves nothing.",
}
ROLES = {
    "report": "gives the verdict; chose nothing",
    "select": "chose the checkpoint, which flatters it",
    "probe": "other data: was anything forgotten?",
    "dense": "beside the dense model below",
}


def name(record: Record) -> str:
    """What the run is called."""
    return str(record["name"])


def verdict(record: Record) -> str:
    """``improved``, ``no evidence``, ``regressed`` or ``no verdict``."""
    if record["base"].get("untrained"):
        return "no verdict"
    return str((_report(record)["comparison"] or {"verdict": "no evidence"})["verdict"])


def answer(record: Record, evaluation: Record) -> str:
    """What one set of rows says."""
    if evaluation["role"] == "select":
        return "no verdict"
    if evaluation["role"] == "report":
        return verdict(record)
    comparison = evaluation["comparison"] or {"low": None, "high": None, "verdict": "no evidence"}
    if evaluation["role"] == "dense":
        return str(comparison["verdict"])
    low, high = comparison["low"], comparison["high"]
    if record["base"].get("untrained"):
        return "no verdict"
    if low is not None and low > -MARGIN:
        return "not worse"
    return "worse" if high is not None and high < 0 else "cannot tell"


def heading(record: Record) -> str:
    """The run's name, its verdict and the two figures that it rests on."""
    found, report = verdict(record), _report(record)
    base, tuned = (report[side]["spearman"] for side in ("base", "tuned"))
    comparison = report["comparison"]
    figures = ""
    if base is not None and tuned is not None:
        figures = f"<b>{100 * base:.2f}</b> before, <b>{100 * tuned:.2f}</b> after"
        if comparison and comparison["low"] is not None:
            figures += f" ({_signed(tuned - base)}; {_interval(comparison)})"
        figures = f'<p class="st-figures">{figures}, on {_rows(report)} of {escape(_title(report["source"]))}.</p>'
    return (
        f'<header class="st-head"><h1>{escape(name(record))}</h1>'
        f'<span class="st-verdict st-{found.replace(" ", "-")}">{found}</span></header>'
        f'<p class="st-lead">{MEANS[found]}</p>{figures}'
        f'<p class="st-quiet">Before: {escape(_base(record))}. After: the same, tuned.</p>'
        + "".join(f'<p class="st-caveat">{escape(told)}</p>' for told in caveats(record))
    )


def caveats(record: Record) -> Iterator[str]:
    """What must be known before a figure is quoted."""
    base, training = record["base"], record["training"]
    if base.get("stand_in_for"):
        yield f"{base['name']} was taken in place of {base['stand_in_for']}: these are not that model's scores."
    if base.get("untrained"):
        yield f"The base begins with {base['untrained']} untrained."
    if _report(record)["source"]["kind"] == "builtin":
        yield "The rows are sentences that a program wrote and graded: the scores stand for no public benchmark."
    if training["best_step"] == 0:
        yield "No checkpoint was better than the base on the rows that choose one: the model is the base, unchanged."


def table(record: Record) -> str:
    """Every set of rows that the run was measured on."""
    dense = record.get("dense")
    evaluations = [*record["evaluations"], *([dense["evaluation"]] if dense else [])]
    rows = "".join(_row(record, evaluation) for evaluation in evaluations)
    head = "".join(
        f'<th scope="col"{kind}>{title}</th>'
        for title, kind in (
            ("Measured on", ""),
            *((title, ' class="st-number"') for title in ("Pairs", "Before", "After", "Change", "95 % interval")),
            ("Answer", ""),
        )
    )
    return (
        f'<div class="st-scrolls"><table class="st-run"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        "</div>"
        '<p class="st-quiet">Before and After: Spearman correlation of the model\N{RIGHT SINGLE QUOTATION MARK}s '
        "similarities with the scores in the data, times 100; 100 means that both put the pairs in one order. The "
        "interval is of the change, and covers the choice of pairs, not the luck of one training: improved means that "
        "all of it lies above zero.</p>"
    )


def _row(record: Record, evaluation: Record) -> str:
    base, tuned = evaluation["base"], evaluation["tuned"]
    both = base["spearman"] is not None and tuned["spearman"] is not None
    comparison, said = evaluation["comparison"], answer(record, evaluation)
    cells = [
        f"{base['n']:,}",
        _points(base),
        _points(tuned),
        _signed(tuned["spearman"] - base["spearman"]) if both else "\N{EN DASH}",
        _interval(comparison, words="") if comparison and comparison["low"] is not None else "\N{EN DASH}",
    ]
    shown = "\N{EN DASH}" if evaluation["role"] == "select" else said
    return (
        f'<tr><th scope="row">{escape(_title(evaluation["source"]))}'
        f"<small>{ROLES.get(evaluation['role'], escape(evaluation['role']))}</small></th>"
        + "".join(f'<td class="st-number">{cell}</td>' for cell in cells)
        + f'<td><span class="st-answer st-{said.replace(" ", "-")}">{shown}</span></td></tr>'
    )


def _points(score: Record) -> str:
    """Spearman x 100; of sparse encoders the active dimensions too."""
    text = "undefined" if score["spearman"] is None else f"{100 * score['spearman']:.2f}"
    active = score.get("active_dimensions")
    return text if active is None else f"{text}<small>{active:,.1f} active dimensions</small>"


def _signed(difference: float) -> str:
    text = f"{100 * difference:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def _interval(comparison: Record, words: str = "95 % interval ") -> str:
    return f"{words}{_signed(comparison['low'])} to {_signed(comparison['high'])}"


def _rows(evaluation: Record) -> str:
    count = evaluation["base"]["n"]
    return f"{count:,} {'pair' if count == 1 else 'pairs'}"


def _report(record: Record) -> Record:
    found: Record = next(evaluation for evaluation in record["evaluations"] if evaluation["role"] == "report")
    return found


def _title(source: Record) -> str:
    config = source.get("config")
    name = source["name"] + (f"/{config}" if config and config != "default" else "")
    return f"{name}:{source['split']}" if source.get("split") else str(name)


def _base(record: Record) -> str:
    base = record["base"]
    return str(base["hub_id"] or base["name"]) + (
        f", {base['parameters'] / 1e6:.1f} million parameters" if base["parameters"] else ""
    )
