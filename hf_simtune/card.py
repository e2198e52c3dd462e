"""RunRecord -> README.md, a whole Hugging Face model card. It words what was measured and computes nothing."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hf_simtune import card_evaluation as evaluation
from hf_simtune import card_provenance as provenance
from hf_simtune import card_text as text
from hf_simtune import card_training as training
from hf_simtune import wording
from hf_simtune.card_losses import loss_words, papers
from hf_simtune.card_metadata import kept_base, metadata
from hf_simtune.card_text import Markdown, code, escape
from hf_simtune.errors import RunError
from hf_simtune.hub_names import is_hub_id
from hf_simtune.record import RunRecord

__all__ = ["Release", "render"]

TEMPLATES = Path(__file__).with_name("templates")
PICTURE = re.compile(r"(?:[\w-][\w.-]*/)*[\w-][\w.-]*", re.ASCII)  # a relative path that needs no escape


@dataclasses.dataclass(frozen=True)
class Release:
    """Where a model is published, for the card that goes with it."""

    hub_id: str  # ORG/NAME
    allowed: tuple[str, ...] = ()  # what spoke against it and was allowed, each a sentence's worth
    claims: bool = True  # whether the metadata may tell scores


def render(record: RunRecord, pictures: Sequence[tuple[str, str]] = (), release: Release | None = None) -> str:
    """The whole card: YAML metadata and Markdown.

    Text that came from data, files or a person is escaped; no text of a row is shown unless the record holds examples.

    Args:
        record: the run.
        pictures: (path, what there is to see) of each picture, the path relative to the card: ``plots/scores.png``.
        release: where it is published; None of the card that lies in the run's folder.

    Raises:
        RunError: the record has no primary comparison, so there is nothing that a card could say; or the path of a
            picture is not a relative one of letters, digits, '.', '_' and '-'; or the release's name is no ORG/NAME.
    """
    if not any(found.role == "report" for found in record.evaluations):
        raise RunError("the record has no evaluation with the role 'report'; a card states one primary comparison")
    if bad := [path for path, _ in pictures if not PICTURE.fullmatch(path)]:
        raise RunError(
            f"a card shows no picture at {', '.join(map(repr, bad))}: it must be a relative path of letters, digits, "
            "'.', '_' and '-', as in plots/scores.png"
        )
    if release and not is_hub_id(release.hub_id):
        raise RunError(f"a card is published at ORG/NAME, and {release.hub_id!r} is no such name")
    facts = _facts(record)
    if release and not release.claims:
        facts["front_matter"] = front_matter(record, claims=False)
    page = (
        _environment()
        .get_template("card.md.jinja")
        .render(
            facts,
            pictures=pictures,
            release=release,
            allowed=release.allowed if release else (),
            loads_as=Markdown(release.hub_id if release else "model"),
            recheck=code(f"hf-simtune score {release.hub_id} --data {record.report.source.title}") if release else "",
        )
    )
    return str(page).replace("`model/`", "this repository") if release else str(page)  # there it has no such folder


def _facts(record: RunRecord) -> dict[str, object]:
    """What the templates draw from."""
    evaluations = record.evaluations
    checked = {found.evaluation for found in record.leakage}
    marks = [mark for mark, true in (("STAND-IN", record.base.stand_in_for), ("OFFLINE", record.offline)) if true]
    return {
        "record": record,
        "training": record.training,
        "report": record.report,
        "main": [found for found in evaluations if found.role != "probe"],
        "probes": [found for found in evaluations if found.role == "probe"],
        "selection": [found for found in evaluations if found.role == "select"],
        "cut": [found for found in evaluations if found.truncated],
        "sparse": record.tuned.kind != "dense",
        "shows_sparsity": any(score.active_dimensions is not None for e in evaluations for score in (e.base, e.tuned)),
        "outscored": evaluation.outscored(record),
        "several": any(point.of for point in record.training.checkpoints),
        "unchanged": kept_base(record),
        "front_matter": front_matter(record),
        "untrained": training.untrained(record),
        "mark": Markdown(f" ({', '.join(marks)})" if marks else ""),
        "rows_of": lambda leak: next((e.base.n for e in evaluations if e.source.title == leak.evaluation), 0),
        "offline": Markdown(" (OFFLINE)" if record.offline else ""),
        "stand_in": evaluation.stand_in(record),
        "verdict": evaluation.verdict(record),
        "power": evaluation.power(record),
        "lying": evaluation.lying(record),
        "findings": evaluation.findings(record),
        "geometry": evaluation.geometry(record),
        "seen_before": provenance.seen_before(record),
        "names_alone": provenance.names_alone(record),
        "base_has_seen": [*provenance.base_has_seen(record), *provenance.start_has_seen(record)],
        "sources": provenance.sources(record),
        "training_in_sts": any(provenance.in_sts(source) for use, source in provenance.sources(record)[:1]),
        "unchecked": [found for found in evaluations if found.source.title not in checked],
        "settings": training.settings(record),
        "origins": training.origins_of_weights(record),
        "trained": training.trained(record),
        "trained_on": training.trained_on(record),
        "holds": training.holds(record),
        "logged": training.logged(record.training.checkpoints),
        "loss": loss_words(record, record.training.loss),
        "papers": papers(record),
        "example_columns": list(dict.fromkeys(key for example in record.examples for key in example)),
    }


@functools.cache
def _environment() -> ImmutableSandboxedEnvironment:
    """Every value passes ``shown``: a plain text is escaped, and a bare float or None is a mistake in the template."""
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        finalize=text.shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        active=evaluation.active,
        alt=lambda words: escape(words, limit=600),
        answer=evaluation.answer,
        cell=lambda example, column: escape(example.get(column, ""), limit=300),
        code=code,
        curve=evaluation.curve,
        correlation=lambda value: Markdown(wording.points(value)),
        data=provenance.data,
        difference=evaluation.difference,
        duration=lambda seconds: escape(wording.duration(seconds)),
        fenced=text.fenced,
        figure=evaluation.figure,
        fingerprint=provenance.fingerprint,
        held_out=provenance.held_out,
        interval=evaluation.interval,
        interval_title=evaluation.interval_title,
        jaccards=lambda leaks: Markdown(" or ".join(sorted({f"{leak.jaccard:g}" for leak in leaks}))),
        kind=training.kind,
        kind_of_rows=training.kind_of_rows,
        epochs=training.epochs,
        license=lambda name: escape(name) if name else Markdown("not stated"),
        link=provenance.link,
        loss_words=lambda loss, record: loss_words(record, loss),
        mean_loss=lambda value: Markdown(f"{value:.4g}" if math.isfinite(value) else "not a number"),
        measured=evaluation.measured,
        model_link=provenance.model_link,
        moment=provenance.moment,
        named=lambda name: escape(name) or Markdown("(no name)"),
        number=text.setting,
        p=evaluation.p_value,
        percent=lambda share: Markdown(f"{100 * share:g} %"),
        prompt=training.prompt,
        reasons=provenance.reasons,
        rows=provenance.rows,
        shell=text.shell,
        sparsity=evaluation.sparsity,
        tokens=lambda model: Markdown(f"{model.max_length:,} tokens" if model.max_length else "no limit given"),
        where=provenance.where,
    )
    return environment


def front_matter(record: RunRecord, *, claims: bool = True) -> Markdown:
    """The metadata as YAML, one line per value, so that no value can end the block; without ``claims`` no scores."""
    value = metadata(record)
    if not claims:
        value.pop("model-index", None)
    return Markdown(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=math.inf))
