"""Losses, gradients, models and rows whose numbers go wrong: found, named, and nothing claimed of them."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from guarded import GENTLE, SENTENCES, trainer_of
from published import teachable
from sentence_transformers import SentenceTransformer
from tiny import tiny_static
from torch import Tensor
from transformers import TrainerState, TrainingArguments
from transformers.trainer_callback import TrainerControl

from hf_simtune import Recipe, SimtuneCallback, cli, scores_file, train, tune
from hf_simtune.divergence import FEWEST, StepWatch
from hf_simtune.errors import DataError, RequestError, RunError
from hf_simtune.evaluation.health import UNHEALTHY, finding_sentence, findings
from hf_simtune.guard import CollapseGuard
from hf_simtune.publish_gate import against
from hf_simtune.record import Health, RunRecord
from hf_simtune.scoring import compare, score
from hf_simtune.weights import weights_sha256

NAN, INF = math.nan, math.inf
STEPS = 120  # of the recipe below, scored after 60 and 120


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_static(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def recipe(model: Path, tmp_path: Path) -> Recipe:
    """A run that improves, when nothing breaks."""
    return teachable(model, tmp_path)


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[Tensor, Any], Tensor]], None]:
    """Make the loss of a step, counted from 1, something else."""

    def spoil(step: int, act: Callable[[Tensor, Any], Tensor]) -> None:
        original = train.DenseTrainer.compute_loss

        def computed(self: Any, model: Any, *inputs: Any, **options: Any) -> Tensor:
            loss: Tensor = original(self, model, *inputs, **options)
            return act(loss, model) if self.state.global_step + 1 == step else loss

        monkeypatch.setattr(train.DenseTrainer, "compute_loss", computed)

    return spoil


def strict(folder: Path) -> Any:
    def refused(name: str) -> None:
        raise AssertionError(f"{name} in record.json")

    return json.loads((folder / "record.json").read_text(), parse_constant=refused)


def nothing_claimed(record: RunRecord) -> None:
    comparison = record.report.comparison
    assert comparison is not None and comparison.reason is not None
    assert record.verdict == comparison.verdict == "no evidence"
    assert comparison.low is comparison.high is comparison.p is None
    assert "no-evidence" in {reason.name for reason in against(record, record.tuned.weights_sha256)} or (
        record.training.best_step == 0
    )


def steep(loss: Tensor, model: Any) -> Tensor:
    """The same loss, and a gradient that is no number: the slope of a root at zero."""
    return loss + (0 * next(model.parameters()).sum()).sqrt()


@pytest.mark.parametrize(
    ("what", "act"),
    [
        ("the loss is NaN", lambda loss, model: loss * NAN),
        ("the loss is infinite", lambda loss, model: loss * INF),
        ("the gradient is NaN", steep),
    ],
    ids=["nan", "inf", "gradient"],
)
def test_a_step_that_is_no_number_ends_training_and_the_last_good_checkpoint_is_kept_without_a_claim(
    recipe: Recipe, spoiled: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str, act: Any
) -> None:
    spoiled(90, act)
    with caplog.at_level(logging.WARNING, logger="hf_simtune"):
        run = tune(recipe, out=tmp_path / "runs")
    record, training = run.record, run.record.training
    assert (training.steps, training.best_step) == (90, 60)
    assert training.diverged == training.stopped and training.diverged.startswith(f"{what} at step 90, at a learning")
    (told,) = [record.getMessage() for record in caplog.records if "at step 90" in record.getMessage()]
    assert told.startswith(training.diverged) and "lower learning rate" in told and "--precision fp32" in told
    nothing_claimed(record)
    assert record.report.comparison.reason == f"training diverged: {training.diverged}"  # type: ignore[union-attr]
    assert record.spread is None and all(found.retrieval is None for found in record.evaluations)
    # The step was not made: the weights of the last measurement are good, and the run's are those of step 60.
    assert record.health[-1].step == 90 and record.health[-1].findings == ("diverged",)
    assert record.health[-1].undefined == 0
    loaded = SentenceTransformer(str(run.folder / "model"), device="cpu")
    assert weights_sha256(loaded) == record.tuned.weights_sha256 != record.base.weights_sha256
    assert np.isfinite(loaded.encode(SENTENCES)).all()
    assert strict(run.folder)["training"]["diverged"] == training.diverged
    card = (run.folder / "README.md").read_text()
    assert f"cannot be judged: training diverged: {training.diverged}" in card
    assert "**Diverged at step 90**" in card and "Improved" not in card and "**Improved" not in card
    for part in scores_file.read(run.folder / "scores.parquet"):
        assert np.isfinite(part.tuned).all()
    for alone in (run.folder, run.folder / "scores.parquet"):
        with pytest.raises(RequestError, match=f"nothing is claimed of the run .* training diverged.*{what}"):
            compare([str(alone)])


def test_a_step_that_does_not_fit_into_memory_is_told_in_a_sentence(
    recipe: Recipe, spoiled: Any, tmp_path: Path
) -> None:
    spoiled(2, lambda loss, model: loss + torch.empty(10**15).sum())
    with pytest.raises(RunError, match=r"^out of memory: a training step with --batch-size 16 does not fit \(") as told:
        tune(recipe, out=tmp_path / "runs")
    assert told.value.exit_status == 1 and "--gradient-checkpointing" in str(told.value.hint)
    spoiled(1, lambda loss, model: loss.reshape(7, 7))
    with pytest.raises(RuntimeError, match="shape"):  # any other is a bug, to be seen
        tune(recipe, out=tmp_path / "runs")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"max_length": 16}, "--max-length does not go with .*, a static model"),
        ({"loss": "cached_mnrl"}, "--loss cached_mnrl does not go with .*static model"),
    ],
)
def test_what_a_static_model_does_not_take_is_refused(
    recipe: Recipe, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(RequestError, match=told):
        tune(dataclasses.replace(recipe, **changes), out=tmp_path / "runs")


def test_a_first_step_that_is_no_number_leaves_the_base(recipe: Recipe, spoiled: Any, tmp_path: Path) -> None:
    spoiled(1, lambda loss, model: loss * NAN)
    run = tune(recipe, out=tmp_path / "runs")
    assert (run.record.training.steps, run.record.training.best_step) == (1, 0)
    assert run.record.tuned.weights_sha256 == run.record.base.weights_sha256
    nothing_claimed(run.record)
    strict(run.folder)


def test_a_learning_rate_that_is_far_too_high_diverges_by_itself(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    wild = dataclasses.replace(recipe, model=str(folder), learning_rate=1e30, warmup=0.0)
    record = tune(wild, out=tmp_path / "runs").record
    assert record.training.diverged is not None and "at a learning rate of" in record.training.diverged
    assert record.training.steps < STEPS
    nothing_claimed(record)


def test_a_soup_with_a_training_that_diverged_claims_nothing(recipe: Recipe, spoiled: Any, tmp_path: Path) -> None:
    spoiled(90, lambda loss, model: loss * NAN)
    run = tune(dataclasses.replace(recipe, soup=2), out=tmp_path / "runs")
    assert run.record.training.diverged is not None and run.record.training.diverged.count("the loss is NaN") == 2
    assert "seed 42: the loss" in run.record.training.diverged
    nothing_claimed(run.record)
    strict(run.folder)


def test_the_command_line_ends_with_a_failure(
    recipe: Recipe, spoiled: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoiled(1, lambda loss, model: loss * NAN)
    words = ["tune", str(recipe.train_data), "--model", recipe.model, "--loss", "mnrl", "--epochs", "1"]
    words += ["--select-on", str(recipe.select_on), "--report-on", str(recipe.report_on), "--out", str(tmp_path / "r")]
    with pytest.raises(SystemExit) as ended:
        cli.main(argv=[*words, "--batch-size", "16"])
    assert ended.value.code == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "Training stopped early: the loss is NaN at step 1" in told and "No evidence" in told


def test_a_healthy_run_has_its_gradients_on_record_and_nothing_found(recipe: Recipe, tmp_path: Path) -> None:
    record = tune(recipe, out=tmp_path / "runs").record
    assert record.verdict == "improved" and record.training.diverged is None
    _, *looked = record.health
    assert len(looked) == 2 and all(now.gradient and now.usual_gradient for now in looked)
    assert not {"diverged", "exploding"} & {name for now in record.health for name in now.findings}


def test_a_gradient_of_a_hundred_times_its_usual_norm_is_told_the_run_goes_on_and_no_claim_is_made(
    recipe: Recipe, spoiled: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoiled(90, lambda loss, model: loss * 1e4)
    with caplog.at_level(logging.WARNING, logger="hf_simtune"):
        run = tune(recipe, out=tmp_path / "runs")
    last = run.record.health[-1]
    assert run.record.training.steps == STEPS and run.record.training.diverged is None
    assert last.findings == ("exploding",) and last.gradient > 100 * last.usual_gradient  # type: ignore[operator]
    assert any("the gradient exploded" in record.getMessage() for record in caplog.records)
    assert "**Exploding at step 120** (before clipping" in (run.folder / "README.md").read_text()
    assert run.record.training.best_step == STEPS
    nothing_claimed(run.record)
    assert run.record.report.comparison.reason.startswith("the gradient exploded by step 120, and step 120 was kept")  # type: ignore[union-attr]
    assert "**No evidence.**" in (run.folder / "README.md").read_text()
    with pytest.raises(RequestError, match=r"nothing is claimed of the run in .*the gradient exploded"):
        compare([str(run.folder)])


def test_exploding_begins_at_a_hundred_times_the_median_and_not_before_ten_steps() -> None:
    watch = StepWatch()
    for step in range(1, FEWEST):
        assert watch.allows(1.0, 2.0, step, 1e-3)
    assert watch.allows(1.0, 1e6, FEWEST, 1e-3)  # the tenth: nothing is usual yet
    first = watch.largest()
    assert first is not None and first.usual is None and watch.largest() is None
    assert watch.allows(1.0, 200.0, FEWEST + 1, 1e-3) and watch.allows(1.0, 3.0, FEWEST + 2, 1e-3)
    found = watch.largest()
    assert found is not None and (found.value, found.usual) == (200.0, 2.0)
    healthy = Health(step=1, epoch=0.0, anisotropy=0.1, uniformity=-3.0, effective_rank=9.0, deviation=0.1)
    for norm, expected in ((200.0, ("exploding",)), (199.0, ()), (0.0, ())):
        assert findings(dataclasses.replace(healthy, gradient=norm, usual_gradient=2.0), healthy) == expected
    assert findings(dataclasses.replace(healthy, gradient=1.0, usual_gradient=0.0), healthy) == ()
    assert "exploding" not in UNHEALTHY and "diverged" in UNHEALTHY
    told = finding_sentence("exploding", dataclasses.replace(healthy, gradient=200.0, usual_gradient=2.0), healthy, 9)
    assert "its norm was 200, where 2 was usual" in told


@pytest.mark.parametrize(("loss", "norm", "allowed"), [(NAN, 1.0, False), (1.0, INF, True), (1.0, NAN, True)])
def test_a_scaled_gradient_may_overflow_and_a_loss_may_not(loss: float, norm: float, allowed: bool) -> None:
    watch = StepWatch()
    assert watch.allows(loss, norm, 1, 1e-3, scaled=True) is allowed
    assert (watch.diverged is None) is allowed
    assert watch.largest() is None  # no number is the largest


def test_a_resumed_run_knows_what_was_usual(tmp_path: Path) -> None:
    first, second, state = StepWatch(), StepWatch(), TrainerState()
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    for step in range(FEWEST):
        first.allows(1.0, 2.0, step + 1, 1e-3)
    state.global_step = FEWEST
    first.on_step_end(arguments, state, TrainerControl())
    state.save_to_json(str(tmp_path / "state.json"))
    second.on_train_begin(arguments, TrainerState.load_from_json(str(tmp_path / "state.json")), TrainerControl())
    second.allows(1.0, 300.0, FEWEST + 1, 1e-3)
    found = second.largest()
    assert found is not None and found.usual == 2.0


def test_a_script_whose_gradient_is_no_number_gets_a_record_without_a_claim(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from speeding import load

    callback = SimtuneCallback("builtin:sports/scored:test", out=tmp_path / "out")
    encoder = load(folder)
    trainer = trainer_of(encoder, tmp_path, [callback], logging_strategy="steps", logging_steps=1, learning_rate=GENTLE)
    original = trainer.compute_loss

    def computed(model: Any, *inputs: Any, **options: Any) -> Any:
        return original(model, *inputs, **options) * (NAN if trainer.state.global_step == 2 else 1)

    trainer.compute_loss = computed
    with caplog.at_level(logging.WARNING, logger="hf_simtune"):
        trainer.train()
    record = callback.record
    assert record is not None and record.training.diverged is not None
    assert record.training.diverged.startswith("the gradient is NaN at step 3, at a learning rate of 0.001")
    assert "diverged" in record.health[-1].findings and "undefined" in record.health[-1].findings
    nothing_claimed(record)
    strict(tmp_path / "out")


def test_a_script_whose_gradient_explodes_gets_a_record_without_a_claim(folder: Path, tmp_path: Path) -> None:
    from speeding import load

    callback = SimtuneCallback("builtin:sports/scored:test", out=tmp_path / "out")
    often = {"logging_strategy": "steps", "logging_steps": 1, "max_steps": 14}
    trainer = trainer_of(load(folder), tmp_path, [callback], **often)
    original = trainer.compute_loss

    def computed(model: Any, *inputs: Any, **options: Any) -> Any:
        return original(model, *inputs, **options) * (1e5 if trainer.state.global_step == 12 else 1)

    trainer.compute_loss = computed
    trainer.train()
    record = callback.record
    assert record is not None and record.training.diverged is None
    nothing_claimed(record)
    assert record.report.comparison.reason.startswith("the gradient exploded by step")  # type: ignore[union-attr]


def test_a_guard_alone_sees_it_too_and_a_healthy_script_has_nothing_found(folder: Path, tmp_path: Path) -> None:
    from speeding import load

    guard = CollapseGuard(SENTENCES, checks=2)
    trainer = trainer_of(load(folder), tmp_path, [guard], logging_strategy="steps", logging_steps=1)
    trainer.train()
    assert guard.steps.diverged is None
    assert [now.gradient is not None for now in guard.history] == [False, True, True]
    assert not {"diverged", "exploding"} & {name for now in guard.history for name in now.findings}


def test_a_constant_encoder_gets_no_verdict_and_the_reason(recipe: Recipe, model: Path, tmp_path: Path) -> None:
    encoder = SentenceTransformer(str(model), device="cpu")
    with torch.no_grad():
        encoder[0].embedding.weight[:] = encoder[0].embedding.weight[0]  # type: ignore[union-attr, index]
    encoder.save(str(tmp_path / "constant"))
    run = tune(dataclasses.replace(recipe, model=str(tmp_path / "constant")), out=tmp_path / "runs")
    assert run.record.report.base.spearman is None
    assert "constant" in str(run.record.report.base.undefined)
    assert "the base model's similarities are constant" in str(run.record.report.comparison.reason)  # type: ignore[union-attr]
    nothing_claimed(run.record)
    strict(run.folder)


@pytest.mark.parametrize("part", ["select_on", "report_on", "probe"])
@pytest.mark.parametrize(("count", "told"), [(60, "all 60 rows have the score 1"), (1, "has 1 row")])
def test_scores_that_are_all_equal_are_refused_with_the_file(
    recipe: Recipe, tmp_path: Path, part: str, count: int, told: str
) -> None:
    file = str(tmp_path / "equal.csv")
    Dataset.from_list([{"sentence1": f"one {i}", "sentence2": f"two {i}", "score": 1.0} for i in range(count)]).to_csv(
        file
    )
    changed: Any = {part: (file,) if part == "probe" else file}
    with pytest.raises(DataError, match=rf"equal\.csv:? {told}") as caught:
        tune(dataclasses.replace(recipe, **changed), out=tmp_path / "runs")
    assert caught.value.exit_status == 2 and caught.value.hint
    assert not (tmp_path / "runs").exists()
    with pytest.raises(DataError, match=r"equal\.csv"):
        score(recipe.model, file)
    with pytest.raises(DataError, match=r"equal\.csv"):
        SimtuneCallback(file)._load()


@pytest.mark.parametrize("part", ["select_on", "report_on"])
def test_two_rows_give_no_verdict_with_the_reason(recipe: Recipe, tmp_path: Path, part: str) -> None:
    pairs = [("about first bird", "first bird bird", 1.0), ("about great lost", "found boy money", 0.0)]
    file = str(tmp_path / "two.csv")
    Dataset.from_list([dict(zip(("sentence1", "sentence2", "score"), row, strict=True)) for row in pairs]).to_csv(file)
    run = tune(dataclasses.replace(recipe, **{part: file}), out=tmp_path / "runs")  # type: ignore[arg-type]
    assert run.record.verdict != "regressed"
    if part == "report_on":
        assert run.record.verdict == "no evidence" and run.record.report.comparison.reason  # type: ignore[union-attr]
    strict(run.folder)


def test_a_record_with_a_figure_that_is_no_number_is_not_written(recipe: Recipe, tmp_path: Path) -> None:
    record = tune(dataclasses.replace(recipe, epochs=0.1), out=tmp_path / "runs").record
    bad = dataclasses.replace(record, seconds={"train": NAN})
    with pytest.raises(RunError, match=r"not numbers: seconds\.train"):
        bad.save(tmp_path / "record.json")
    assert not (tmp_path / "record.json").exists()
