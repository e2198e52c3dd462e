"""Soups of seeds, and shares of the base, on tiny models."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sample_record import improved
from sentence_transformers import SentenceTransformer
from test_tuning import small
from tiny import tiny_model

from hf_simtune import Recipe, origins, tune
from hf_simtune.data.load import load as load_rows
from hf_simtune.record import RunRecord
from hf_simtune.tuning import Run
from hf_simtune.weights import weights_sha256

SEEDS = (42, 1042, 2042)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def learnable(model: Path, folder: Path) -> Recipe:
    """All rows of a file, as a seed would choose others of more; chosen on what is learnt, so that all gain by it."""
    for name, split, count in (("rows", "train", 96), ("select", "train", 96), ("report", "test", 60)):
        rows = load_rows(f"builtin:sports/scored:{split}").dataset.shuffle(seed=42).select(range(count))
        rows.select_columns(["sentence1", "sentence2", "score"]).to_parquet(str(folder / f"{name}.parquet"))
    return small(
        model,
        train_data=str(folder / "rows.parquet"),
        train_rows=None,
        select_on=str(folder / "select.parquet"),
        report_on=str(folder / "report.parquet"),
        keep_leaks=True,
        evaluations=2,
        epochs=10.0,
        learning_rate=2e-3,
    )


@pytest.fixture(scope="module")
def recipe(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return learnable(model, tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def stirred(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tune(dataclasses.replace(recipe, soup=3), out=tmp_path_factory.mktemp("runs"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_a_soup_is_the_mean_of_the_best_weights_of_its_seeds(stirred: Run) -> None:
    training = stirred.record.training
    assert tuple(one.seed for one in training.soup) == SEEDS
    assert all(one.step for one in training.soup), "the fixture is meant to have a better step of every seed"
    parts = [
        weights(stirred.folder / "trainer" / f"seed-{one.seed}" / f"checkpoint-{one.step}") for one in training.soup
    ]
    saved = weights(stirred.folder / "model")
    assert saved.keys() == parts[0].keys()
    for name, value in saved.items():
        mean = sum(part[name].double() for part in parts) / len(parts)
        assert torch.equal(value, mean.to(value.dtype)), name  # type: ignore[union-attr]
    assert weights_sha256(SentenceTransformer(str(stirred.folder / "model"), device="cpu")) == (
        stirred.record.tuned.weights_sha256
    )


def test_each_seed_of_a_soup_is_the_run_that_it_would_be_alone(stirred: Run, recipe: Recipe, tmp_path: Path) -> None:
    alone = tune(dataclasses.replace(recipe, seed=SEEDS[1]), out=tmp_path)
    one = stirred.record.training.soup[1]
    best = alone.record.training.best_step
    assert one.step == best
    inside = stirred.folder / "trainer" / f"seed-{one.seed}" / f"checkpoint-{best}"
    for name, value in weights(alone.folder / "model").items():
        assert torch.equal(weights(inside)[name], value), name


def test_the_record_counts_steps_through_the_soup_and_ends_with_its_mean(stirred: Run) -> None:
    record = stirred.record
    training = record.training
    each = training.steps // 3
    steps = [point.step for point in training.checkpoints]
    assert steps == [0, *(seed * each + step for seed in range(3) for step in (each // 2, each)), 3 * each + 1]
    assert training.best_step == steps[-1]
    assert [health.step for health in record.health] == steps
    select = next(found for found in record.evaluations if found.role == "select")
    assert select.tuned.spearman == pytest.approx(training.checkpoints[-1].spearman, abs=1e-7)
    for seed, one in enumerate(training.soup):
        point = next(point for point in training.checkpoints if point.step == seed * each + one.step)
        assert point.spearman == one.spearman
    assert RunRecord.load(stirred.folder / "record.json").training == training
    assert "--soup 3" in record.command
    names = [name for seed in SEEDS for name in (f"seed {seed}", f"seed {seed}")]
    assert [point.of for point in record.training.checkpoints] == [None, *names, "the average"]
    parts = record.training.stretches
    assert [len(part) for part in parts] == [3, 2, 2, 1], "a line of the base and the first, then one for each"
    assert tuple(point for part in parts for point in part) == record.training.checkpoints
    assert set(record.seconds) >= {"train", "of it scores", "of it checkpoints", "of it guard"}


def test_card_report_and_sentence_name_what_went_into_a_soup(stirred: Run) -> None:
    said = origins.soup(stirred.record)
    assert said.startswith("Kept: the mean of the weights of 3 trainings from the same weights: seed 42 (step ")
    card = (stirred.folder / "README.md").read_text(encoding="utf-8")
    assert "the mean of the weights of 3 trainings" in card and "| seed 1042 |" in card
    assert f"| {stirred.record.training.best_step} **chosen** | the average |" in card
    assert "wortsman-2022-soups" in card and "so `model/` holds that step" not in card
    assert "the mean of the weights of 3 trainings" in (stirred.folder / "report.html").read_text(encoding="utf-8")
    assert origins.soup(improved()) == ""


@pytest.mark.parametrize("lost", ["seed-1042", "seed-2042", "all"])
def test_a_soup_that_was_cut_short_ends_with_the_same_weights(
    lost: str, stirred: Run, recipe: Recipe, tmp_path: Path
) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(stirred.folder, folder)
    (folder / "record.json").unlink()
    trainer = folder / "trainer"
    if lost == "all":  # ended behind the last seed
        (trainer / "scored.jsonl").unlink()
    else:  # between two checkpoints of a seed; what comes behind it was not begun
        for seed in SEEDS[SEEDS.index(int(lost[5:])) + 1 :]:
            shutil.rmtree(trainer / f"seed-{seed}")
        newest = max((trainer / lost).glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
        shutil.rmtree(newest)
    again = tune(dataclasses.replace(recipe, soup=3), resume=folder)
    assert again.record.tuned.weights_sha256 == stirred.record.tuned.weights_sha256
    assert again.record.training.soup == stirred.record.training.soup
    assert again.record.training.checkpoints == stirred.record.training.checkpoints


def test_a_share_of_the_base_stays_in_the_weights(recipe: Recipe, model: Path, tmp_path: Path) -> None:
    run = tune(dataclasses.replace(recipe, keep_base=0.25), out=tmp_path)
    training = run.record.training
    (one,) = training.soup
    assert one.step and training.best_step == training.steps + 1
    best, base = weights(run.folder / "trainer" / f"seed-42/checkpoint-{one.step}"), weights(model)
    for name, value in weights(run.folder / "model").items():
        mixed = 0.75 * best[name].double() + 0.25 * base[name].double()
        assert torch.equal(value, mixed.to(value.dtype)), name
    said = origins.soup(run.record)
    assert said.startswith(f"Kept: 75 % of the weights of seed 42 (step {one.step}, ")
    assert "and 25 % of the untouched base's; this scores " in said
    card = (run.folder / "README.md").read_text(encoding="utf-8")
    assert "wortsman-2022-wise" in card and "wortsman-2022-soups" not in card
    assert "--keep-base 0.25" in run.record.command


def test_a_share_of_the_base_below_zero_goes_on_beyond_what_was_learnt(
    recipe: Recipe, model: Path, tmp_path: Path
) -> None:
    run = tune(dataclasses.replace(recipe, keep_base=-0.25), out=tmp_path)
    training = run.record.training
    (one,) = training.soup
    assert one.step and training.best_step == training.steps + 1, "the settings are meant to gain by it"
    best, base = weights(run.folder / "trainer" / f"seed-42/checkpoint-{one.step}"), weights(model)
    for name, value in weights(run.folder / "model").items():
        beyond = 1.25 * best[name].double() - 0.25 * base[name].double()
        assert torch.equal(value, beyond.to(value.dtype)), name
    said = origins.soup(run.record)
    assert said.startswith(
        "Kept: the weights 125 % of the way from the untouched base to the weights of seed 42 (step "
    )
    card = (run.folder / "README.md").read_text(encoding="utf-8")
    assert "ilharco-2023-task-arithmetic" in card and "wortsman-2022-wise" not in card
    assert "--keep-base=-0.25" in run.record.command


def test_a_soup_that_gains_nothing_is_the_base(recipe: Recipe, tmp_path: Path) -> None:
    run = tune(dataclasses.replace(recipe, soup=2, evaluations=1, epochs=1.0, learning_rate=1e-12), out=tmp_path)
    training = run.record.training
    if training.best_step:  # a rate of next to nothing may still round upwards
        assert training.checkpoints[-1].spearman > training.checkpoints[0].spearman  # type: ignore[operator]
        return
    assert run.record.tuned.weights_sha256 == run.record.base.weights_sha256
    assert origins.soup(run.record).startswith("Not kept: ")
