"""The page over all reference runs: when, where, how long, at which commit and with which command each was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from hf_simtune.pairing import Placed
from hf_simtune.record import Machine, ModelFacts, RunRecord
from hf_simtune.wording import duration, points, short_commit

__all__ = ["hardware", "machines", "page", "training_time"]


def page(found: Mapping[str, Sequence[Placed]]) -> str:
    """A row for each run, and below them the commands, as Markdown.

    Args:
        found: runs and the folders of their records, by the recipe's name.
    """
    runs = [(f"{name}/{folder.name}", record) for name, several in found.items() for folder, record in several]
    lines = [
        "# The runs behind the tables",
        "",
        "One row a run of the README's tables: a recipe and its seed. Scores are Spearman x 100 on the rows reported "
        "on; time is that of training, with the scores on the way. Each folder has the card, the record and the score "
        "of every row. `make reference` makes runs that are missing, `make cards` this page. "
        "[The ablation](ablation) and [the ledger](LEDGER.md) have pages of their own.",
        "",
        "| run | on (UTC) | commit | base model | machine | precision | training | reported on | base | tuned |",
        "|---|---|---|---|---|---|---:|---|---:|---:|",
        *(_line(place, record) for place, record in runs),
        "",
        "The commands, each at the commit of its row. Data stand under their names on the Hub and were read from "
        "copies that may hold fewer rows, as the cards say; `builtin:all-MiniLM-L6-v2` is in the package, the same "
        "weights as sentence-transformers/all-MiniLM-L6-v2.",
        "",
        "```bash",
        *(record.command for _, record in runs),
        "```",
    ]
    return "\n".join(lines) + "\n"


def training_time(records: Sequence[RunRecord]) -> str:
    """How long training took, of several runs the median."""
    return duration(median(record.training.seconds for record in records))


def machines(records: Sequence[RunRecord]) -> str:
    """What they ran on, each once: ``on AMD EPYC, 2 cores, in bf16``."""
    found = {f"on {hardware(record.machine)}, in {record.training.precision}" for record in records}
    return "; ".join(sorted(found))


def hardware(machine: Machine) -> str:
    """``AMD EPYC, 2 cores``, and the accelerator where there is one."""
    return ", ".join([machine.processor, f"{machine.cores} cores", *filter(None, [machine.accelerator])])


def _line(place: str, record: RunRecord) -> str:
    report = record.report
    return (
        f"| [{place}]({place}) | {record.created[:16].replace('T', ' ')} | {short_commit(record.commit)} "
        f"| {_base(record.base)} | {hardware(record.machine)} | {record.training.precision} "
        f"| {duration(record.training.seconds)} | {report.source.title} | {points(report.base.spearman)} "
        f"| {points(report.tuned.spearman)} |"
    )


def _base(base: ModelFacts) -> str:
    """Its name; of a stand-in what it stands in for, and what nobody has trained."""
    told = [base.name + (f" in place of {base.stand_in_for}" if base.stand_in_for else "")]
    return ", ".join([*told, *([f"{base.untrained} untrained"] if base.untrained else [])])
