"""What speaks against publishing a run, each fault alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import pytest
from sample_record import improved, no_evidence
from sample_ways import csr, lora, matryoshka, splade

from hf_simtune.errors import RequestError
from hf_simtune.publish_gate import Reason, against, checked, unknown
from hf_simtune.publish_reasons import REASONS
from hf_simtune.record import Health, RunRecord


def fine(record: RunRecord) -> RunRecord:
    """The same run with nothing against it."""
    step = record.training.best_step
    well = [
        Health(step=at, epoch=0.0, anisotropy=0.1, uniformity=-3.0, effective_rank=90.0, deviation=0.1)
        for at in dict.fromkeys((0, step))
    ]
    return dataclasses.replace(record, leakage=(), health=tuple(well))


def names(record: RunRecord, weights: str | None = None) -> list[str]:
    return [one.name for one in against(record, record.tuned.weights_sha256 if weights is None else weights)]


def test_nothing_speaks_against_a_run_that_got_better() -> None:
    assert names(fine(improved())) == []


@pytest.mark.parametrize(("verdict", "name"), [("no evidence", "no-evidence"), ("regressed", "regressed")])
def test_a_verdict_that_is_no_gain_speaks_against_it(verdict: str, name: str) -> None:
    record = fine(improved())
    report = record.report
    assert report.comparison is not None
    other = dataclasses.replace(report, comparison=dataclasses.replace(report.comparison, verdict=verdict))
    found = against(dataclasses.replace(record, evaluations=(other,)), record.tuned.weights_sha256)
    assert [one.name for one in found] == [name] and report.source.title in found[0].told


def test_a_gain_over_an_untrained_base_is_no_verdict() -> None:
    record = fine(improved())
    assert names(dataclasses.replace(record, base=dataclasses.replace(record.base, untrained="its head"))) == [
        "no-verdict"
    ]


def test_a_base_that_stayed_as_it_was_is_no_release() -> None:
    record = fine(improved())
    kept = dataclasses.replace(record, training=dataclasses.replace(record.training, best_step=0))
    assert names(kept) == ["unchanged"]


def test_a_collapse_counts_at_the_step_that_was_kept_and_at_no_other() -> None:
    record = improved()
    step = record.training.best_step
    assert step
    first = Health(step=0, epoch=0.0, anisotropy=0.1, uniformity=-3.0, effective_rank=90.0, deviation=0.1)
    sick = dataclasses.replace(first, step=step, anisotropy=0.99, effective_rank=1.1, findings=("collapsed",))
    assert names(dataclasses.replace(fine(record), health=(first, sick))) == ["collapsed"]
    elsewhere = dataclasses.replace(sick, step=step + 1)
    well = dataclasses.replace(first, step=step)
    assert names(dataclasses.replace(fine(record), health=(first, well, elsewhere))) == []
    assert names(dataclasses.replace(fine(record), health=(first, elsewhere))) == ["unwatched"]
    assert names(dataclasses.replace(fine(record), health=())) == ["unwatched"]


def test_rows_that_are_not_at_hand_speak_against_it() -> None:
    record = fine(improved())
    assert [one.name for one in against(record, record.tuned.weights_sha256, searched=False)] == ["unsearched"]


def test_evaluation_pairs_that_were_trained_on_speak_against_it_and_dropped_ones_do_not() -> None:
    record = improved()
    leak = dataclasses.replace(record.leakage[0], pairs_exact=2, pairs_near=1, rows_dropped=0)
    kept = dataclasses.replace(fine(record), leakage=(leak,))
    found = against(kept, kept.tuned.weights_sha256)
    assert [one.name for one in found] == ["leaks"] and found[0].told.startswith("3 pairs of ")
    assert names(dataclasses.replace(kept, leakage=(dataclasses.replace(leak, rows_dropped=3),))) == []
    sentences = dataclasses.replace(leak, pairs_exact=0, pairs_near=0, sentences_exact=40)
    assert names(dataclasses.replace(kept, leakage=(sentences,))) == []


def test_other_weights_than_the_scored_ones_speak_against_it() -> None:
    assert names(fine(improved()), weights="0" * 64) == ["weights"]


def again(names: Sequence[str]) -> str:
    return f"hf-simtune publish --allow {' '.join(names)}"


def test_each_reason_must_be_allowed_by_its_name() -> None:
    found = [Reason("leaks", "3 pairs of rows.csv were trained on"), Reason("weights", "they are other ones")]
    with pytest.raises(RequestError) as refused:
        checked(found, ["leaks"], again)
    assert refused.value.problems == ("weights: they are other ones",)
    assert refused.value.hint is not None and refused.value.hint.endswith("hf-simtune publish --allow leaks weights")
    assert checked(found, ["weights", "leaks"], again) == found
    with pytest.raises(RequestError, match="--allow collapsed: this run has no such fault"):
        checked(found, ["leaks", "weights", "collapsed"], again)
    assert len(unknown(["luck", "leaks"])) == 1


@pytest.mark.parametrize("make", [improved, no_evidence, lora, splade, csr, matryoshka])
def test_every_reason_is_one_that_can_be_allowed(make: Callable[[], RunRecord]) -> None:
    found = against(make(), "other")
    assert {one.name for one in found} <= REASONS.keys() and found[-1].name == "weights"
