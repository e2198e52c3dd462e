"""The mean embedding taken out of a tuned model, on tiny models."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from sample_record import improved
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from test_fitting import learnable
from tiny import tiny_model

from hf_simtune import Recipe, centering, origins, tune
from hf_simtune.errors import RequestError
from hf_simtune.preparing import prepare
from hf_simtune.tuning import Run
from hf_simtune.weights import weights_sha256

TEXTS = ["a cat sleeps", "the dog runs fast", "rain falls on the town", "a cat sleeps"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def recipe(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return learnable(model, tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def run(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tune(dataclasses.replace(recipe, center=1.0), out=tmp_path_factory.mktemp("runs"))


def encoded(model: SentenceTransformer, texts: list[str]) -> torch.Tensor:
    return model.encode(texts, convert_to_tensor=True).double()


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_share_of_the_mean_is_taken_out(normalized: bool, share: float, model: Path, tmp_path: Path) -> None:
    loaded = SentenceTransformer(str(model), device="cpu")
    assert isinstance(loaded[-1], Normalize)
    if not normalized:
        loaded.pop(-1)
    before, modules, hashed = encoded(loaded, TEXTS), len(loaded), weights_sha256(loaded)
    unit = torch.nn.functional.normalize(before, dim=-1)
    mean = unit[:3].mean(0)  # the fourth is the first again
    shift = centering.center(loaded, TEXTS, share)
    assert (shift.sentences, shift.modules) == (3, 2 if normalized else 3)
    assert shift.length == pytest.approx(float(mean.norm()), abs=1e-6)
    wanted = torch.nn.functional.normalize(unit - share * mean, dim=-1)
    torch.testing.assert_close(encoded(loaded, TEXTS), wanted, atol=1e-5, rtol=0)
    loaded.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    torch.testing.assert_close(encoded(again, TEXTS), wanted, atol=1e-5, rtol=0)
    assert weights_sha256(again) == weights_sha256(loaded) != hashed
    centering.undo(loaded, shift)
    assert len(loaded) == modules and weights_sha256(loaded) == hashed
    assert torch.equal(encoded(loaded, TEXTS), before)


def test_of_many_sentences_some_are_drawn_by_the_seed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(centering, "SENTENCES", 2)
    biases = []
    for seed in (0, 0, 1, 2, 3):
        loaded = SentenceTransformer(str(model), device="cpu")
        assert centering.center(loaded, TEXTS, 1.0, seed=seed).sentences == 2
        biases.append(loaded[-2].linear.bias.detach())
    assert torch.equal(biases[0], biases[1])
    assert any(not torch.equal(biases[0], other) for other in biases[2:])


def test_a_run_keeps_what_scores_better(run: Run) -> None:
    training = run.record.training
    shift, scores = training.centered, {point.step: point.spearman for point in training.checkpoints}
    assert shift is not None and shift.step == training.steps + 1 == max(scores)
    assert shift.share == 1.0 and 0 < shift.length < 1
    assert scores[shift.before] == max(score for step, score in scores.items() if step < shift.step)
    loaded = SentenceTransformer(str(run.folder / "model"), device="cpu")
    kept = scores[shift.step] > scores[shift.before]
    assert training.best_step == (shift.step if kept else shift.before)
    assert len(loaded) == (5 if kept else 3)
    assert weights_sha256(loaded) == run.record.tuned.weights_sha256
    width = run.record.base.dimensions
    assert run.record.tuned.parameters - run.record.base.parameters == (width * width + width if kept else 0)


def test_card_report_and_sentence_tell_of_it(run: Run) -> None:
    said = origins.centered(run.record)
    kept = run.record.training.best_step == run.record.training.steps + 1
    assert said.startswith(("Taken" if kept else "Not taken") + " out of every embedding: the mean of ")
    card = (run.folder / "README.md").read_text(encoding="utf-8")
    report = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "out of every embedding: the mean of" in card and "out of every embedding: the mean of" in report
    assert "(centered)" in card and "<small>centered</small>" in report
    assert ("mu-viswanath-2018" in card) == kept
    assert "--center 1" in run.record.command
    assert origins.centered(improved()) == ""


def test_what_scores_worse_is_not_kept(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = centering.center

    def harmful(model, texts, share, *, seed=0):  # type: ignore[no-untyped-def]
        shift = real(model, texts, share, seed=seed)
        with torch.no_grad():
            model[-2].linear.weight.mul_(0)  # every sentence is then the same
            model[-2].linear.bias.fill_(1)
        return shift

    monkeypatch.setattr(centering, "center", harmful)
    run = tune(dataclasses.replace(recipe, center=0.5), out=tmp_path)
    shift = run.record.training.centered
    assert shift is not None and run.record.training.best_step == shift.before
    assert origins.centered(run.record).startswith("Not taken out of every embedding: 50 % of the mean of ")
    assert len(SentenceTransformer(str(run.folder / "model"), device="cpu")) == 3


def test_a_run_that_was_cut_short_ends_with_the_same_weights(run: Run, recipe: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(run.folder, folder)
    (folder / "record.json").unlink()
    again = tune(dataclasses.replace(recipe, center=1.0), resume=folder)
    assert again.record.tuned.weights_sha256 == run.record.tuned.weights_sha256
    assert again.record.training.centered == run.record.training.centered
    assert again.record.training.checkpoints == run.record.training.checkpoints


def test_an_average_is_centered_behind_its_step(recipe: Recipe, tmp_path: Path) -> None:
    training = tune(dataclasses.replace(recipe, center=0.5, soup=2, keep_base=0.1), out=tmp_path).record.training
    assert training.centered is not None
    assert (training.centered.before, training.centered.step) == (training.steps + 1, training.steps + 2)
    assert [point.step for point in training.checkpoints][-2:] == [training.steps + 1, training.steps + 2]


def test_a_base_that_is_kept_is_not_touched(recipe: Recipe, tmp_path: Path) -> None:
    still = dataclasses.replace(recipe, center=1.0, evaluations=1, epochs=1.0, learning_rate=1e-30)
    run = tune(still, out=tmp_path)
    assert run.record.training.centered is None and run.record.training.best_step == 0
    assert run.record.tuned.weights_sha256 == run.record.base.weights_sha256


def test_a_sparse_base_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    sparse = dataclasses.replace(
        recipe, model="builtin:splade-MiniLM-L6", center=0.5, shape="scored", loss="cosent", sparse=None
    )
    with pytest.raises(RequestError, match="--center"):
        prepare(sparse, offline=True)
