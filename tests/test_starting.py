"""Runs that go on from the weights of another, and are told against the untouched base."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sample_record import improved
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from test_fitting import learnable
from test_tuning import small
from tiny import tiny_model

from hf_simtune import Recipe, model_names, origins, set_plan, several, sweeping, tune
from hf_simtune.card import render
from hf_simtune.card_provenance import names_alone
from hf_simtune.data.load import load as load_rows
from hf_simtune.errors import RequestError
from hf_simtune.preparing import load_base
from hf_simtune.record import RunRecord
from hf_simtune.starting import start
from hf_simtune.tuning import Run
from hf_simtune.weights import weights_sha256

STILL = 1e-12  # a learning rate under which weights stay where they are, but for rounding


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def recipe(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return learnable(model, tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def first(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = tune(recipe, out=tmp_path_factory.mktemp("first"))
    assert run.record.training.best_step, "the first run is meant to gain something"
    return run


@pytest.fixture(scope="module")
def still(recipe: Recipe, first: Run) -> Recipe:
    """Goes on from the first run, and moves nothing."""
    return dataclasses.replace(recipe, start=str(first.folder / "model"), learning_rate=STILL, epochs=1.0)


@pytest.fixture(scope="module")
def second(still: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tune(still, out=tmp_path_factory.mktemp("second"))


def test_training_goes_on_from_the_start_and_is_told_against_the_base(first: Run, second: Run) -> None:
    assert second.record.base.weights_sha256 == first.record.base.weights_sha256
    assert second.record.report.base == first.record.report.base
    assert second.record.training.checkpoints[0] == first.record.training.checkpoints[0]
    assert second.record.training.best_step
    ours, theirs = (load_file(run.folder / "model" / "model.safetensors") for run in (second, first))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=1e-6, rtol=0)
    assert second.record.report.tuned.spearman == pytest.approx(first.record.report.tuned.spearman, abs=1e-4)


def test_the_guard_holds_the_run_against_the_base_and_the_start_has_a_score(first: Run, second: Run) -> None:
    assert second.record.health[0] == first.record.health[0]
    training = second.record.training
    chosen = next(point for point in first.record.training.checkpoints if point.step == first.record.training.best_step)
    assert training.start_spearman == pytest.approx(chosen.spearman, abs=1e-6)
    kept = next(point.spearman for point in training.checkpoints if point.step == training.best_step)
    assert kept is not None
    worse, better = (dataclasses.replace(training, start_spearman=kept + off) for off in (-0.01, 0.0))
    said = [origins.start(dataclasses.replace(second.record, training=one)) for one in (worse, better)]
    assert ["the start is the better model" in one for one in said] == [False, True]


def test_a_run_that_was_cut_short_goes_on_from_the_start_to_the_same_weights(
    still: Recipe, first: Run, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(still, learning_rate=1e-3, epochs=2.0)
    whole = tune(recipe, out=tmp_path / "whole")
    folder = tmp_path / "cut"
    shutil.copytree(whole.folder, folder)
    (folder / "record.json").unlink()
    newest = max((folder / "trainer").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    shutil.rmtree(newest)
    again = tune(recipe, resume=folder)
    assert again.record.tuned.weights_sha256 == whole.record.tuned.weights_sha256
    assert again.record.health == whole.record.health
    assert again.record.training.start_spearman == whole.record.training.start_spearman


def test_record_card_report_and_command_name_the_start_without_its_place(first: Run, second: Run) -> None:
    record = RunRecord.load(second.folder / "record.json")
    begun = record.training.start
    assert begun
    assert begun.weights_sha256 == first.record.tuned.weights_sha256
    said = origins.start(record)
    name = f"{first.folder.name}/model"
    assert said.startswith(f"Training went on from the weights of {name} (SHA-256 {begun.weights_sha256[:12]}); before")
    assert said.endswith(f"What {name} was trained on is no part of the leak check.")
    assert record.recipe["start"] == name
    assert "--start " in record.command
    for file in ("README.md", "report.html", "record.json"):
        written = (second.folder / file).read_text(encoding="utf-8")
        assert name in written or name.replace("-", "\\-") in written, file
        assert str(first.folder) not in written, file
    assert "no part of the leak check" in (second.folder / "README.md").read_text(encoding="utf-8")
    assert origins.sentences(improved()) == []


def test_every_seed_of_a_soup_goes_on_from_the_start_and_the_share_of_the_base_is_the_bases(
    model: Path, first: Run, still: Recipe, tmp_path: Path
) -> None:
    run = tune(dataclasses.replace(still, soup=2, keep_base=0.1), out=tmp_path)
    assert run.record.training.best_step, "nine tenths of a better start are meant to be better than the base"
    ours = load_file(run.folder / "model" / "model.safetensors")
    started, base = load_file(first.folder / "model" / "model.safetensors"), load_file(model / "model.safetensors")
    for name, value in ours.items():
        torch.testing.assert_close(value, 0.9 * started[name] + 0.1 * base[name], atol=1e-6, rtol=0)


def test_a_branch_goes_on_from_the_start_too(first: Run, still: Recipe, tmp_path: Path) -> None:
    rows = load_rows("builtin:sports/sentences:train", rows=32).dataset["sentence"]
    (tmp_path / "sentences.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    fields = f"name='apart', train_data={str(tmp_path / 'sentences.txt')!r}, shape='sentences', batch_size=16"
    (tmp_path / "apart.py").write_text(
        f"from hf_simtune import Recipe\nRECIPE = Recipe({fields}, learning_rate=1e-30)\n", encoding="utf-8"
    )
    run = tune(dataclasses.replace(still, branches=(f"{tmp_path / 'apart.py'}=0.5",)), out=tmp_path / "runs")
    assert [(one.branch is None, bool(one.step)) for one in run.record.training.soup] == [(True, True), (False, True)]
    ours, theirs = (load_file(one.folder / "model" / "model.safetensors") for one in (run, first))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=1e-6, rtol=0)


def test_a_run_is_not_taken_up_with_another_start(first: Run, still: Recipe, tmp_path: Path) -> None:
    place = tmp_path / "start"
    SentenceTransformer(str(first.folder / "model"), device="cpu").save(str(place))
    recipe = dataclasses.replace(still, start=str(place))
    run_folder = tune(recipe, out=tmp_path / "runs").folder
    (run_folder / "record.json").unlink()
    changed = SentenceTransformer(str(place), device="cpu")
    with torch.no_grad():
        next(changed.parameters()).add_(0.01)
    changed.save(str(place))
    with pytest.raises(RequestError, match="are not those that the run went on from"):
        tune(recipe, resume=run_folder)


def test_an_autoencoder_goes_on_from_a_dense_model_and_begins_anew_itself(model: Path, first: Run) -> None:
    recipe = small(model, sparse="csr", active_dims=8, start=str(first.folder / "model"))
    sparse, _ = load_base(recipe)
    fresh = {name: value.clone() for name, value in sparse.state_dict().items()}
    begin = start(sparse, recipe)
    assert begin
    begin.put_into(sparse)
    dense = SentenceTransformer(str(first.folder / "model"), device="cpu").state_dict()
    last = f"{len(sparse) - 1}."
    for name, value in sparse.state_dict().items():
        assert torch.equal(value, fresh[name] if name.startswith(last) else dense[name]), name
    assert any(name.startswith(last) for name in fresh)


def test_a_start_that_does_not_fit_is_refused_with_what_differs(model: Path, tmp_path: Path) -> None:
    other = tiny_model(tmp_path / "other", seed=1)
    wider = SentenceTransformer(str(other), device="cpu")
    backbone = wider[0].model  # type: ignore[union-attr]
    backbone.resize_token_embeddings(backbone.config.vocab_size + 8)
    wider.save(str(tmp_path / "wider"))
    recipe = small(model, start=str(tmp_path / "wider"))
    base, _ = load_base(recipe)
    with pytest.raises(RequestError, match=r"1 of its weights differ in name or shape; .*word_embeddings") as refused:
        start(base, recipe)
    assert refused.value.hint and "--model" in refused.value.hint
    fits = start(base, dataclasses.replace(recipe, start=str(other)))
    assert fits and fits.facts.weights_sha256 == weights_sha256(SentenceTransformer(str(other), device="cpu"))
    assert start(base, dataclasses.replace(recipe, start=None)) is None


@pytest.mark.parametrize("given", ["no/such/folder", "builtin:nothing"])
def test_a_start_that_is_no_model_is_refused_before_anything_is_loaded(model: Path, given: str) -> None:
    (said,) = model_names.of_recipe(small(model, start=given))
    assert said.startswith(f"--start {given}: there is no such ")


def test_the_base_itself_is_no_start(model: Path) -> None:
    (said,) = model_names.of_recipe(small(model, start=str(model)))
    assert said.endswith("is the base itself, where training begins anyway; leave it out")


def test_modules_that_are_set_otherwise_do_not_fit(model: Path, tmp_path: Path) -> None:
    base, _ = load_base(small(model))
    first_token = SentenceTransformer(str(model), device="cpu")
    first_token[1] = Pooling(first_token.get_embedding_dimension(), pooling_mode="cls")
    first_token.save(str(tmp_path / "cls"))
    longer = SentenceTransformer(modules=[*base.children(), Normalize()], device="cpu")
    longer.save(str(tmp_path / "longer"))
    modules = "its modules are Transformer, Pooling, Normalize"
    for place, problem in (("cls", "its Pooling is set to "), ("longer", modules)):
        with pytest.raises(RequestError, match=problem):
            start(base, small(model, start=str(tmp_path / place)))


def test_the_base_under_another_name_is_no_start(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    base, _ = load_base(small(model))
    with pytest.raises(RequestError, match="has the weights of the base: training begins there anyway"):
        start(base, small(model, start=str(copy)))
    (tmp_path / "link").symlink_to(model)
    assert model_names.of_recipe(small(model, start=str(tmp_path / "link")))


def test_a_revision_stands_behind_the_id_and_a_folder_may_have_the_sign_in_its_name(tmp_path: Path) -> None:
    assert model_names.at_revision("org/name@abc") == ("org/name", "abc")
    assert model_names.at_revision("org/name") == ("org/name", None)
    (tmp_path / "a@b").mkdir()
    assert model_names.at_revision(str(tmp_path / "a@b")) == (str(tmp_path / "a@b"), None)
    assert model_names.of_recipe(Recipe(name="n", train_data="a.csv", start="org/name@abc")) == []


def test_what_the_starts_card_lists_and_its_licence_are_told(second: Run) -> None:
    record = improved()
    begun = second.record.training.start
    assert begun
    data = record.report.source.name
    begun = dataclasses.replace(begun, name="org/first", hub_id="org/first", license="cc-by-nc-4.0", trained_on=(data,))
    told = render(dataclasses.replace(record, training=dataclasses.replace(record.training, start=begun)))
    assert "license: other" in told and "license: apache-2.0" not in told
    assert "they are derived from org/first too, whose licence is cc-by-nc-4.0" in told
    assert "from the weights of org/first on " in told
    assert f"the card of `org/first`, from which training went on, lists `{data}`" in told
    assert names_alone(second.record)


def test_a_sweep_and_several_models_take_no_start_of_one_base_and_pages_hold_no_place(model: Path, first: Run) -> None:
    assert set_plan.shown("start", str(first.folder / "model")) == f"{first.folder.name}/model"
    begun, models = small(model, start=str(first.folder / "model")), (str(model), "org/other")
    for problems in (
        several.check(several.plan(begun, models)),
        sweeping.check(sweeping.plan(begun, {"model": models})),
    ):
        assert any(said.startswith("--start was tuned from one base: leave it out") for said in problems), problems
    swept = sweeping.plan(small(model), {"start": ("no/such/folder", str(first.folder / "model"))})
    assert any("--start no/such/folder: there is no such folder" in said for said in sweeping.check(swept))


def test_offline_leaves_a_start_of_the_hub_out() -> None:
    assert Recipe(name="n", train_data="a.csv", start="org/model").offline().start is None
    assert Recipe(name="n", train_data="a.csv", start="./folder").offline().start == "./folder"
