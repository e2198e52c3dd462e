"""One model in several trainers after each other, and trainings that are taken up behind their last step."""

from __future__ import annotations

import dataclasses
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
from datasets import Dataset
from published import teachable
from sentence_transformers import SentenceTransformer
from test_fitting import learnable
from test_tuning import small
from tiny import tiny_model, tiny_static

from hf_simtune import SimtuneCallback, script_facts, train, tune
from hf_simtune.checkpoint_push import CheckpointPush
from hf_simtune.data.inputs import Inputs
from hf_simtune.data.inputs import prepare as prepare_inputs
from hf_simtune.data.mined_leaks import without_leaks
from hf_simtune.data.mining import mine
from hf_simtune.lora import LoRA
from hf_simtune.recipe import Recipe
from hf_simtune.stopping import Stopped
from hf_simtune.trainers import given_back
from hf_simtune.tuning import Run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def scores(run: Run, of: str | None = None) -> list[tuple[float | None, float | None]]:
    return [(point.spearman, point.loss) for point in run.record.training.checkpoints if point.step and point.of == of]


def again(run: Run, recipe: Recipe) -> Run:
    """Take a finished run up as one that was cut off before its record."""
    (run.folder / "record.json").unlink()
    return tune(recipe, resume=run.folder)


@pytest.mark.parametrize("forward", ["packed", "plain"])
def test_each_of_several_trainings_is_in_the_precision_of_the_run(forward: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    recipe = dataclasses.replace(learnable(model, tmp_path / "rows"), precision="bf16", forward=forward, epochs=2.0)
    soup = tune(dataclasses.replace(recipe, soup=2), out=tmp_path / "soup")
    for seed in (42, 1042):
        alone = dataclasses.replace(recipe, seed=seed)
        found = {
            p: scores(tune(dataclasses.replace(alone, precision=p), out=tmp_path / f"{seed}{p}"))
            for p in ("bf16", "fp32")
        }
        assert found["bf16"] != found["fp32"], "the two can be told apart"
        assert scores(soup, f"seed {seed}") == found["bf16"]


def test_a_model_is_given_back_as_it_was(model: Path) -> None:
    one = SentenceTransformer(str(model), device="cpu")
    before = dict(one.__dict__)
    with given_back(one):
        one.forward = one._original_forward = lambda features: features
        one._is_accelerate_prepared = True
    assert one.__dict__ == before
    held = one.__dict__["forward"] = one.forward
    with given_back(one):
        one.forward = None
    assert one.__dict__["forward"] is held


@pytest.mark.parametrize("scheduler", ["constant", "linear"])
def test_half_a_pass_that_is_taken_up_behind_its_last_step_makes_no_other(scheduler: str, tmp_path: Path) -> None:
    recipe = teachable(tiny_static(tmp_path / "tiny"), tmp_path, epochs=0.5, scheduler=scheduler)
    whole = tune(recipe, out=tmp_path / "runs")
    found = whole.record
    taken_up = again(whole, recipe).record
    assert found.training.steps == taken_up.training.steps == 20
    assert found.tuned.weights_sha256 == taken_up.tuned.weights_sha256
    assert found.health == taken_up.health and found.training.checkpoints == taken_up.training.checkpoints


def test_a_run_without_any_score_that_ended_early_is_taken_up(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from hf_simtune.evaluation.correlation import UndefinedCorrelation

    def undefined(*_: object) -> float:
        raise UndefinedCorrelation("constant")

    recipe = small(model, lora=LoRA(r=2, alpha=4), patience=1, evaluations=3)
    monkeypatch.setattr("hf_simtune.evaluation.sts.spearman", undefined)
    run = tune(recipe, out=tmp_path)
    assert run.record.training.stopped
    caplog.clear()
    assert again(run, recipe).record.training.best_step == 0
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of step 90 is NaN, and somebody presses Ctrl-C in it."""
    loss = train.DenseTrainer.compute_loss

    def bad(self: Any, *words: Any, **options: Any) -> Any:
        found = loss(self, *words, **options)
        if self.state.global_step + 1 != 90:
            return found
        signal.raise_signal(signal.SIGINT)
        return found * float("nan")

    monkeypatch.setattr(train.DenseTrainer, "compute_loss", bad)


def test_a_step_that_diverges_is_not_kept_for_somebody_who_stops_in_it(spoiled: None, tmp_path: Path) -> None:
    recipe = teachable(tiny_static(tmp_path / "tiny"), tmp_path)
    with pytest.raises(Stopped) as stopped:
        tune(recipe, out=tmp_path / "runs")
    folder = stopped.value.folder
    assert folder and not (folder / "trainer" / "checkpoint-90").exists()
    with pytest.raises(Stopped):  # the same step, and the same again
        tune(recipe, resume=folder)
    assert not (folder / "record.json").exists()


def test_an_autoencoder_that_diverged_is_held_against_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = train.SparseTrainer.compute_loss

    def bad(self: Any, *words: Any, **options: Any) -> Any:
        return loss(self, *words, **options) * (float("nan") if self.state.global_step + 1 == 4 else 1)

    monkeypatch.setattr(train.SparseTrainer, "compute_loss", bad)
    record = tune(small(model, sparse="csr", active_dims=8), out=tmp_path).record
    assert record.training.diverged and record.dense
    below = record.dense.evaluation.comparison
    assert below and below.low is None and below.verdict == "no evidence" and "diverged" in str(below.reason)


# --- mined negatives


def measured(pairs: list[tuple[str, str]], folder: Path, name: str) -> str:
    path = folder / f"{name}.csv"
    rows = [{"sentence1": one, "sentence2": other, "score": n % 2} for n, (one, other) in enumerate(pairs)]
    Dataset.from_list(rows).to_csv(str(path))
    return str(path)


def inputs_of(recipe: Recipe) -> Inputs:
    return prepare_inputs(recipe, offline=True)


def test_a_mined_negative_that_makes_an_evaluation_pair_is_dropped_and_counted(model: Path, tmp_path: Path) -> None:
    base = SentenceTransformer(str(model), device="cpu")
    recipe = small(model, train_data="builtin:sports/pairs:train", train_rows=64, loss="mnrl", mine_negatives=1)
    mined, _ = mine(inputs_of(recipe).rows, base, negatives=1, margin=0.0)
    leaked = [(mined[n]["negative"], mined[n]["anchor"]) for n in (3, 5)]  # either way round
    other = [("a sentence of nobody's", "and one more"), ("another", "and its partner")]
    report = measured([*leaked, *other], tmp_path, "report")
    select = measured([("unlike", "the others"), ("and one", "more of them")], tmp_path, "select")
    recipe = dataclasses.replace(recipe, report_on=report, select_on=select)
    inputs = inputs_of(recipe)
    before = next(fact for fact in inputs.leaks.facts if fact.evaluation == inputs.report.source.title)
    assert before.pairs_exact == 0
    for keep in (False, True):
        found, left = without_leaks(inputs, mined, keep=keep)
        fact = next(fact for fact in found.leaks.facts if fact.evaluation == inputs.report.source.title)
        held = {frozenset((row["anchor"], row["negative"])) for row in left}
        assert fact.pairs_exact == 2
        if keep:
            assert left is mined and fact.rows_dropped == 0
        else:
            assert fact.rows_dropped == len(mined) - len(left) >= 2
            assert not held & {frozenset(pair) for pair in leaked}


# --- scripts


def test_files_of_one_name_are_told_apart_in_a_script(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        measured([(f"{name} one {n}", f"{name} two {n}") for n in range(40)], tmp_path / name, "test")
    callback = SimtuneCallback(str(tmp_path / "a" / "test.csv"), probe=[str(tmp_path / "b" / "test.csv")])
    callback._load()
    titles = [part.loaded.source.title for part in callback.rows]
    assert titles == ["test.csv", "test.csv:probe 1"]
    trained = callback.rows[0].loaded.dataset.remove_columns("row")
    found = script_facts.leaks(trained, {part.loaded.source.title: part.loaded.dataset for part in callback.rows})
    assert [fact.pairs_exact for fact in found] == [40, 0]


def test_every_negative_of_a_scripts_rows_is_looked_at() -> None:
    rows = {
        "anchor": "a long one",
        "positive": "x",
        "negative_1": "y",
        "negative_2": "held out text",
        "negative_3": "z",
    }
    held = {"sentence1": "a long one", "sentence2": "held out text", "score": 0.0, "row": 0}
    (fact,) = script_facts.leaks(Dataset.from_list([rows]), {"report": Dataset.from_list([held])})
    assert fact.pairs_exact == 1


def test_a_push_that_ends_while_it_is_asked_about_is_no_error() -> None:
    class Ending(CheckpointPush):
        """Sending when it is looked at first, and done the next time."""

        @property
        def _sending(self) -> Any:  # type: ignore[override]
            return self.left.pop()

    push = Ending.__new__(Ending)
    push.left, push.to, push._worker = [None, Future()], "t/x", ThreadPoolExecutor(1)  # type: ignore[attr-defined]
    push._lock = Lock()
    push.end()
