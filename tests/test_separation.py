from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import sample_record

from hf_simtune.evaluation.spread import Spread
from hf_simtune.record import RunRecord
from hf_simtune.separation import sentence, separated

WIDER = Spread(
    n=100, given=100, groups=90, base=0.1, tuned=0.12, difference=0.02, low=0.01, high=0.03, confidence=0.95,
    resamples=1000, seed=0, verdict="wider",
)  # fmt: skip


def record(*, spread: Spread | None = WIDER, verdict: str = "improved", lost: float = 0.0) -> RunRecord:
    """A run on plain sentences whose probe lost so much Spearman."""
    made: Any = sample_record.improved()
    source = dataclasses.replace(made.training.source, shape="sentences")
    report = made.report
    comparison = dataclasses.replace(report.comparison, verdict=verdict)
    tuned = dataclasses.replace(report.base, spearman=report.base.spearman - lost)
    probe = dataclasses.replace(report, role="probe", tuned=tuned, subsets=())
    return dataclasses.replace(
        made,
        training=dataclasses.replace(made.training, source=source),
        evaluations=(dataclasses.replace(report, comparison=comparison), probe),
        spread=spread,
    )


def test_wider_in_agreement_and_nothing_lost_is_separation() -> None:
    assert separated(record()) is True
    assert sentence(record()).startswith("Wider separation of similar sentences: yes.")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"spread": dataclasses.replace(WIDER, verdict="no evidence")}, "do not spread wider"),
        ({"verdict": "no evidence"}, "do not agree better"),
        ({"verdict": "regressed"}, "do not agree better"),
        ({"lost": 0.005}, "changed by -0.50 points"),
    ],
)
def test_one_that_fails_is_named(changes: dict[str, Any], told: str) -> None:
    assert separated(record(**changes)) is False
    assert told in sentence(record(**changes)).lower()
    assert ": no. " in sentence(record(**changes))


def test_without_a_probe_there_is_no_answer() -> None:
    alone = dataclasses.replace(record(), evaluations=record().evaluations[:1])
    assert separated(alone) is None
    assert sentence(alone).startswith("Wider separation of similar sentences: cannot tell.")
    assert "--probe sentence-transformers/stsb:test" in sentence(alone)
    found = record(verdict="no evidence")
    assert separated(dataclasses.replace(found, evaluations=found.evaluations[:1])) is False


def test_a_loss_below_half_a_point_is_none() -> None:
    assert separated(record(lost=0.0049)) is True


def test_the_question_is_that_of_plain_sentences_alone() -> None:
    assert separated(record(spread=None)) is None
    assert sentence(record(spread=None)) == ""
    assert separated(sample_record.improved()) is None
