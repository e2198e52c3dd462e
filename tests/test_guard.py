from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CHECKOUT
from datasets import Dataset
from distributed import pairs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from peft import LoraConfig, TaskType
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SparseEncoder,
    SparseEncoderTrainer,
    SparseEncoderTrainingArguments,
)
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer import SentenceTransformerTrainingArguments, losses
from sentence_transformers.sparse_encoder import losses as sparse_losses
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder
from speeding import load, set_dropout, weights
from tiny import tiny_splade
from torch import nn
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback, set_seed

import hf_simtune.guard as module
from hf_simtune.errors import RequestError, RunError
from hf_simtune.evaluation import geometry
from hf_simtune.evaluation.health import SparsityFigures, findings, harm
from hf_simtune.evaluation.health import measure as health_of
from hf_simtune.evaluation.undisturbed import undisturbed
from hf_simtune.guard import KEY, CollapseGuard
from hf_simtune.record import Health

SENTENCES = list(dict.fromkeys(pairs()["anchor"]))[:30]
GENTLE = 1e-3  # a learning rate at which the tiny model keeps its shape
STEPS = 6


@pytest.fixture(scope="module")
def splade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_splade(tmp_path_factory.mktemp("models") / "splade")


class Weights(TrainerCallback):
    """Notes the weights after each step, and before the first."""

    def __init__(self) -> None:
        self.at: dict[int, torch.Tensor] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.at[state.global_step] = weights(kwargs["model"])

    on_step_end = on_train_begin


class After(TrainerCallback):
    """Does something to the model at the end of a step, before the guard looks."""

    def __init__(self, step: int, act: Callable[[nn.Module, Any], None]) -> None:
        self.step, self.act = step, act

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            self.act(kwargs["model"], control)


def collapse(model: nn.Module, control: Any = None) -> None:
    """One vector for every sentence, as far as the last layer decides."""
    last = model[0].auto_model.encoder.layer[-1].output.LayerNorm
    with torch.no_grad():
        last.weight.mul_(1e-3)
        last.bias.fill_(1.0)


def broken(model: nn.Module, control: Any = None) -> None:
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))


def rows(score: float | None = None) -> Dataset:
    found = pairs().rename_columns({"anchor": "sentence1", "positive": "sentence2"})
    return found.add_column("score", [score if score is not None else i / len(found) for i in range(len(found))])


def trainer_of(
    model: SentenceTransformer, out: Path, callbacks: list[Any], data: Dataset | None = None, **options: Any
) -> SentenceTransformerTrainer:
    evaluates = options.get("eval_strategy", "no") != "no"
    held_out = options.pop("eval_dataset", rows() if evaluates else None)
    loss = options.pop("loss", losses.CoSENTLoss)(model)
    settings = {
        "max_steps": STEPS,
        "learning_rate": GENTLE,
        "save_strategy": "no",
        "logging_strategy": "no",
        "lr_scheduler_type": "constant",
        **options,
    }
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(out),
        use_cpu=True,
        per_device_train_batch_size=8,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **settings,
    )
    return SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=data or rows(),
        eval_dataset=held_out,
        loss=loss,
        callbacks=callbacks,
    )


def sparse_trainer_of(
    model: SparseEncoder, out: Path, callbacks: list[Any], loss: nn.Module, **options: Any
) -> SparseEncoderTrainer:
    settings = {"max_steps": STEPS, "learning_rate": GENTLE, "lr_scheduler_type": "constant", **options}
    arguments = SparseEncoderTrainingArguments(
        output_dir=str(out),
        use_cpu=True,
        per_device_train_batch_size=8,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        logging_strategy="no",
        dataloader_pin_memory=False,
        **settings,
    )
    return SparseEncoderTrainer(model=model, args=arguments, train_dataset=rows(), loss=loss, callbacks=callbacks)


def splade_loss(model: SparseEncoder, regularizer: float = 1e-3) -> nn.Module:
    return sparse_losses.SpladeLoss(
        model,
        loss=sparse_losses.SparseMultipleNegativesRankingLoss(model),
        document_regularizer_weight=regularizer,
        query_regularizer_weight=regularizer,
    )


def steps(guard: CollapseGuard) -> list[int]:
    return [health.step for health in guard.history]


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record for record in caplog.records if record.name == "hf_simtune"]
    return [record.getMessage() for record in found if record.levelno >= logging.WARNING]


# --- arguments


def test_every_wrong_argument_is_told_at_once() -> None:
    with pytest.raises(RequestError) as caught:
        CollapseGuard(["a", "a", " ", "b"], on_collapse="panic", checks=0, seed=-1)
    text = str(caught.value)
    assert len(caught.value.problems) == 4
    assert "2 different ones" in text and "20 or more" in text
    assert "'panic'" in text and "'warn' or 'stop'" in text
    assert "checks is 0" in text and "seed is -1" in text
    for wrong in ("one text, and no list of texts", [*SENTENCES, None], [*SENTENCES, 3]):
        with pytest.raises(RequestError, match="a sequence of texts"):
            CollapseGuard(wrong)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="checks is True"):
        CollapseGuard(SENTENCES, checks=True)


def test_the_probe_is_distinct_and_drawn_with_the_seed() -> None:
    assert CollapseGuard([*SENTENCES, *SENTENCES, "", "\n"]).sentences == tuple(SENTENCES)
    many = [f"sentence {i}" for i in range(2000)]
    first = CollapseGuard(many, seed=3).sentences
    assert len(first) == len(set(first)) == 512 and set(first) <= set(many)
    assert first == CollapseGuard(many, seed=3).sentences != CollapseGuard(many, seed=4).sentences
    assert CollapseGuard(many[:512]).sentences == tuple(many[:512])


# --- figures and rules

VECTORS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
    elements=st.floats(-2, 2, width=32) | st.sampled_from([0.0, -0.0, math.nan, math.inf]),
)


@given(VECTORS)
def test_sparsity_is_what_counting_gives(vectors: Any) -> None:
    active = sum(1 for row in vectors.tolist() for value in row if value != 0)
    found = SparsityFigures.of(vectors)
    assert found.active_dimensions == pytest.approx(active / len(vectors))
    assert found.sparsity == pytest.approx(1 - active / vectors.size)


@given(VECTORS, st.booleans())
def test_any_vectors_give_figures_that_json_takes_or_none(vectors: Any, sparse: bool) -> None:
    health = health_of(vectors, sparse, 7, 0.5)
    directed = [row for row in vectors.tolist() if all(map(math.isfinite, row)) and any(value != 0 for value in row)]
    assert health.undefined == len(vectors) - len(directed)
    assert (health.anisotropy is None) == (len(directed) < 2)
    for name in ("uniformity", "effective_rank", "deviation"):
        assert (getattr(health, name) is None) == (health.anisotropy is None)
    if health.anisotropy is not None:
        cosines = [
            sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))
            for a, b in itertools.combinations(directed, 2)
        ]
        assert health.anisotropy == pytest.approx(sum(cosines) / len(cosines), abs=1e-5)
    assert (health.sparsity is not None) == sparse
    found = dataclasses.replace(health, findings=findings(health, health))
    json.dumps(dataclasses.asdict(found), allow_nan=False)
    assert not harm(found, found)


def health(anisotropy: float | None = 0.2, rank: float | None = 40.0, **options: Any) -> Health:
    figures = (
        {"uniformity": -2.0, "deviation": 0.1} if anisotropy is not None else {"uniformity": None, "deviation": None}
    )
    return Health(**{"step": 1, "epoch": 0.1, "anisotropy": anisotropy, "effective_rank": rank, **figures, **options})


@pytest.mark.parametrize(
    ("now", "base", "wanted"),
    [
        (health(), health(), ()),
        (health(0.89), health(), ("narrowing",)),
        (health(0.901), health(), ("collapsed",)),
        (health(0.97), health(0.96), ()),  # began there
        (health(0.981), health(0.96), ("collapsed",)),
        (health(0.84), health(), ()),  # more than halved, but far from one direction
        (health(0.86), health(), ("narrowing",)),
        (health(0.86), health(0.75), ()),  # 0.25 is not halved by 0.14
        (health(1.0), health(1.0), ()),
        (health(0.2, 9.9), health(), ("narrowing",)),
        (health(0.0, 3.9), health(), ("collapsed",)),
        (health(0.0, 1.9), health(0.0, 10.0), ("collapsed",)),
        (health(0.0, 2.1), health(0.0, 10.0), ("narrowing",)),
        (health(0.0, 1.9), health(0.0, 3.0), ()),  # two or three dimensions are no collapse
        (health(0.0, 1.4), health(0.0, 3.0), ("collapsed",)),
        (health(0.95, 30.0), health(None, None, undefined=30), ("collapsed",)),
        (health(0.1, 30.0), health(None, None, undefined=30), ()),
        (health(None, None, undefined=30), health(), ("undefined",)),
        (health(undefined=1), health(), ("undefined",)),
        (health(0.99, 1.2, undefined=1), health(), ("undefined", "collapsed")),
    ],
)
def test_the_rules_of_a_collapse(now: Health, base: Health, wanted: tuple[str, ...]) -> None:
    assert findings(now, base) == wanted


def sparse(active: float, dimensions: int = 1000, **options: Any) -> Health:
    return health(active_dimensions=active, sparsity=1 - active / dimensions, **options)


@pytest.mark.parametrize(
    ("now", "base", "wanted"),
    [
        (sparse(40), sparse(40), ()),
        (sparse(0.99), sparse(40), ("dead",)),
        (sparse(0.0, anisotropy=None, rank=None, undefined=30), sparse(40), ("undefined", "dead")),
        (sparse(399), sparse(40), ()),
        (sparse(401), sparse(40), ("dense",)),
        (sparse(501), sparse(100), ("dense",)),
        (sparse(9.9), sparse(0.5), ()),  # 1 % of the dimensions, however few the base had
        (sparse(11), sparse(0.5), ("dense",)),
        (sparse(501), None, ("dense",)),
        (sparse(499), None, ()),
        (sparse(0.5), None, ("dead",)),
    ],
)
def test_the_rules_of_sparse_models(now: Health, base: Health | None, wanted: tuple[str, ...]) -> None:
    assert findings(now, base) == wanted


COSINES = st.floats(-1, 1)
RANKS = st.floats(1, 512)


@given(COSINES, RANKS, COSINES, RANKS, COSINES, RANKS)
def test_worse_figures_are_never_healthier(a: float, r: float, b: float, s: float, base: float, rank: float) -> None:
    before = health(base, rank)
    assert findings(before, before) == ()
    better = findings(health(min(a, b), max(r, s)), before)
    worse = findings(health(max(a, b), min(r, s)), before)
    order = ["", "narrowing", "collapsed"]
    assert order.index("".join(better)) <= order.index("".join(worse))
    if a < 0.9 and r >= max(2.0, rank / 10):
        assert "collapsed" not in findings(health(a, r), before)


@given(st.integers(0, 2**32 - 1), st.floats(0, 30))
def test_the_uniformity_is_bounded_by_the_anisotropy(seed: int, offset: float) -> None:
    # Why it has no threshold: Jensen's inequality, as the docstring of findings says.
    vectors = np.random.default_rng(seed).normal(size=(25, 6)) + offset
    found = geometry.measure(vectors)
    assert found.uniformity >= -4 * (1 - found.anisotropy) - 1e-5


def test_harm_leaves_out_what_the_base_brought_and_notes() -> None:
    base = dataclasses.replace(sparse(900, undefined=1), findings=("undefined", "dense"))
    assert harm(dataclasses.replace(base, findings=("undefined", "dense", "narrowing")), base) == ()
    assert harm(dataclasses.replace(base, findings=("dead", "dense")), base) == ("dead",)
    assert harm(dataclasses.replace(base, undefined=2), base) == ("undefined",)


# --- when it looks


def test_it_looks_at_even_distances_where_nothing_is_evaluated(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guard = CollapseGuard(SENTENCES, checks=3)
    model = load(folder)
    trainer_of(model, tmp_path, [guard], max_steps=10).train()
    assert steps(guard) == [0, 4, 7, 10]
    assert guard.collapsed is None and guard.restored_step is None and not warned(caplog)
    assert guard.seconds > 0
    wanted = geometry.measure(model.encode(SENTENCES))
    last = guard.history[-1]
    assert last.anisotropy == pytest.approx(wanted.mean, abs=1e-6)
    assert last.uniformity == pytest.approx(wanted.uniformity, abs=1e-5)
    assert last.effective_rank == pytest.approx(wanted.effective_rank, rel=1e-5)
    assert last.deviation == pytest.approx(wanted.deviation, abs=1e-6)
    assert last.active_dimensions is None and last.sparsity is None
    base = geometry.measure(load(folder).encode(SENTENCES))
    assert guard.history[0].anisotropy == pytest.approx(base.mean, abs=1e-6) and guard.history[0].epoch == 0
    assert last.epoch == pytest.approx(10 / 6, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"eval_strategy": "steps", "eval_steps": 2}, [0, 2, 4, 6]),
        ({"eval_strategy": "steps", "eval_steps": 4}, [0, 4, 6]),
        ({"eval_strategy": "steps", "eval_steps": 4, "eval_on_start": True}, [0, 4, 6]),
        ({"eval_strategy": "epoch", "max_steps": -1, "num_train_epochs": 2}, [0, 6, 12]),
        ({"eval_strategy": "epoch", "max_steps": 8}, [0, 6, 8]),
        ({"eval_strategy": "steps", "eval_steps": 10**9}, [0, 3, 6]),  # never, so that it counts as no evaluation
        ({"eval_strategy": "steps", "eval_steps": 3, "eval_dataset": {"a": rows(), "b": rows()}}, [0, 3, 6]),
        ({"max_steps": 1}, [0, 1]),
        ({"gradient_accumulation_steps": 2}, [0, 3, 6]),
    ],
)
def test_no_step_is_measured_twice(
    options: dict[str, Any], wanted: list[int], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    encode = module._encode
    monkeypatch.setattr(module, "_encode", lambda *given: calls.append(1) or encode(*given))
    guard = CollapseGuard(SENTENCES, checks=2)
    trainer = trainer_of(load(folder), tmp_path, [guard], **options)
    if "eval_strategy" in options:
        trainer.evaluate()  # before training is none of its business
    assert not calls
    trainer.train()
    assert steps(guard) == wanted and len(calls) == len(wanted)
    if "eval_strategy" in options:
        trainer.evaluate()
    assert len(calls) == len(wanted)


def test_an_end_before_the_last_planned_step_is_measured(folder: Path, tmp_path: Path) -> None:
    def halt(model: nn.Module, control: Any) -> None:
        control.should_training_stop = True

    guard = CollapseGuard(SENTENCES, checks=1)
    trainer_of(load(folder), tmp_path, [After(4, halt), guard]).train()
    assert steps(guard) == [0, 4]


class Short(DefaultBatchSampler):
    """Runs out before the number of batches that it announces."""

    def __init__(self, dataset: Dataset, **options: Any) -> None:
        super().__init__(SequentialSampler(dataset), **options)

    def __iter__(self) -> Any:
        yield from itertools.islice(super().__iter__(), 4)


def test_batches_that_run_out_are_an_end_too(folder: Path, tmp_path: Path) -> None:
    guard = CollapseGuard(SENTENCES, checks=1)
    trainer = trainer_of(load(folder), tmp_path, [guard], max_steps=-1, num_train_epochs=1, batch_sampler=Short)
    trainer.train()
    assert trainer.state.global_step == 4 < trainer.state.max_steps
    assert steps(guard) == [0, 4]


def test_a_second_training_begins_anew(folder: Path, tmp_path: Path) -> None:
    guard = CollapseGuard(SENTENCES, checks=2)
    trainer = trainer_of(load(folder), tmp_path, [guard])
    trainer.train()
    first = guard.history
    trainer.train()
    assert steps(guard) == [0, 3, 6] and guard.history[0].anisotropy == pytest.approx(first[-1].anisotropy)


# --- what it leaves alone


@pytest.mark.parametrize("on_collapse", ["warn", "stop"])
def test_a_dense_run_has_the_same_weights_with_and_without(on_collapse: str, folder: Path, tmp_path: Path) -> None:
    found = []
    for guards in ([], [CollapseGuard(SENTENCES, checks=STEPS, on_collapse=on_collapse)]):
        set_seed(5)
        model = load(folder)
        set_dropout(model, 0.2)
        trainer_of(model, tmp_path, guards).train()
        found.append((weights(model), torch.get_rng_state(), random.random(), np.random.random(), model.training))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    assert found[0][2:] == found[1][2:]
    set_seed(5)
    other = load(folder)
    set_dropout(other, 0.0)
    trainer_of(other, tmp_path, []).train()
    assert not torch.equal(weights(other), found[0][0]), "dropout was off"


def test_a_sparse_run_has_the_same_weights_with_and_without(splade: Path, tmp_path: Path) -> None:
    found = []
    for guards in ([], [CollapseGuard(SENTENCES, checks=STEPS)]):
        set_seed(5)
        model = SparseEncoder(str(splade), device="cpu")
        set_dropout(model, 0.2)
        sparse_trainer_of(model, tmp_path, guards, splade_loss(model)).train()
        found.append((weights(model), torch.get_rng_state()))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    assert not torch.equal(found[0][0], weights(SparseEncoder(str(splade), device="cpu")))
    assert steps(guards[0]) == list(range(STEPS + 1))
    for entry in guards[0].history:
        assert entry.active_dimensions is not None and entry.sparsity is not None
    model = SparseEncoder(str(splade), device="cpu")
    wanted = model.sparsity(model.encode(SENTENCES))
    assert guards[0].history[0].active_dimensions == pytest.approx(wanted["active_dims"])
    assert guards[0].history[0].sparsity == pytest.approx(wanted["sparsity_ratio"], abs=1e-6)


def test_flags_buffers_and_random_states_are_put_back(folder: Path) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))
            self.register_buffer("last", None)

        def forward(self, features: dict[str, Any]) -> dict[str, Any]:
            self.calls += 1
            self.last = features["sentence_embedding"]
            for draw in (random.random, np.random.random, lambda: torch.rand(1)):
                draw()
            return features

    model = load(folder)
    counting = Counting()
    model.append(counting)
    model.train()
    model[0].eval()  # somebody keeps a part of it still
    flags = [part.training for part in model.modules()]
    buffer = counting.calls
    set_seed(1)
    wanted = random.random(), np.random.random(), torch.rand(3).tolist()
    set_seed(1)
    with undisturbed(model):
        module._encode(model, SENTENCES)
        assert float(counting.calls) == 1 and counting.last is not None
    assert [part.training for part in model.modules()] == flags and True in flags and False in flags
    assert counting.calls is buffer and float(buffer) == 0 and counting.last is None
    assert (random.random(), np.random.random(), torch.rand(3).tolist()) == wanted


def test_they_are_put_back_after_a_failure_too(folder: Path) -> None:
    model = load(folder).train()
    set_seed(1)
    state = torch.get_rng_state()

    def fails() -> None:
        with undisturbed(model):
            model.eval()
            torch.rand(1)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert model.training and torch.equal(torch.get_rng_state(), state)


def test_a_bf16_run_is_measured_in_full_precision(folder: Path, tmp_path: Path) -> None:
    guard = CollapseGuard(SENTENCES, checks=2)
    model = load(folder)
    trainer = trainer_of(model, tmp_path, [guard], bf16=True)
    trainer.train()
    assert "_original_forward" in model.__dict__, "accelerate did not wrap it"
    plain = load(folder)
    plain.load_state_dict(model.state_dict())
    assert guard.history[-1].anisotropy == geometry.measure(plain.encode(SENTENCES)).mean


# --- a collapse


def test_a_collapse_is_told_once_and_changes_nothing(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guard, seen = CollapseGuard(SENTENCES, checks=STEPS), Weights()
    model = load(folder)
    trainer_of(model, tmp_path, [After(3, collapse), seen, guard]).train()
    assert steps(guard) == list(range(STEPS + 1))
    assert [entry.findings for entry in guard.history[:3]] == [()] * 3
    assert all("collapsed" in entry.findings for entry in guard.history[3:])
    assert guard.collapsed is guard.history[3]
    [text] = warned(caplog)
    base, now = guard.history[0], guard.history[3]
    assert text.startswith("step 3: the embeddings have collapsed: ")
    assert f"a cosine of {now.anisotropy:.2f} on average ({base.anisotropy:.2f} before training)" in text
    assert "learning rate" in text and "epochs" in text
    assert guard.restored_step is None and torch.equal(weights(model), seen.at[STEPS])


def test_training_itself_can_collapse_a_model(folder: Path, tmp_path: Path) -> None:
    guard = CollapseGuard(SENTENCES, checks=8, on_collapse="stop")
    model = load(folder)
    options = {"loss": losses.CosineSimilarityLoss, "learning_rate": 0.02, "max_steps": 80}
    trainer = trainer_of(model, tmp_path, [guard], rows(1.0), **options)
    trainer.train()
    assert guard.collapsed is not None and trainer.state.global_step == guard.collapsed.step < 80
    assert guard.restored_step is not None and guard.restored_step < guard.collapsed.step
    kept = next(entry for entry in guard.history if entry.step == guard.restored_step)
    assert geometry.measure(model.encode(SENTENCES)).mean == pytest.approx(kept.anisotropy, abs=1e-6)


@pytest.mark.parametrize("step", [1, 4, STEPS])
def test_stop_goes_back_to_the_last_healthy_weights(
    step: int, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guard, seen = CollapseGuard(SENTENCES, checks=3, on_collapse="stop"), Weights()
    model = load(folder)
    options = {"save_strategy": "steps", "save_steps": 2}
    trainer = trainer_of(model, tmp_path, [After(step, collapse), seen, guard], **options)
    trainer.train()
    stopped = step + step % 2  # it looks at steps 2, 4 and 6
    assert trainer.state.global_step == stopped and guard.collapsed is guard.history[-1]
    assert steps(guard) == list(range(0, stopped + 1, 2))
    assert guard.restored_step == stopped - 2
    assert torch.equal(weights(model), seen.at[stopped - 2])
    assert not torch.equal(weights(model), seen.at[stopped])
    assert warned(caplog)[-1] == f"the weights of step {stopped - 2}, the last healthy ones, are back"
    saved = {path.name for path in tmp_path.glob("checkpoint-*")}
    assert saved == {f"checkpoint-{number}" for number in range(2, stopped, 2)}


def test_stop_saves_no_collapsed_end(folder: Path, tmp_path: Path) -> None:
    # The last step is saved before the evaluation at the end of its epoch.
    guard, seen = CollapseGuard(SENTENCES, on_collapse="stop"), Weights()
    model = load(folder)
    options = {"eval_strategy": "epoch", "save_strategy": "steps", "save_steps": 100}
    trainer_of(model, tmp_path, [After(5, collapse), seen, guard], **options).train()
    assert steps(guard) == [0, 6] and guard.restored_step == 0 and torch.equal(weights(model), seen.at[0])
    assert not list(tmp_path.glob("checkpoint-*"))


@pytest.mark.parametrize("strategy", ["steps", "epoch"])
def test_stop_at_an_evaluation_saves_no_collapsed_checkpoint(strategy: str, folder: Path, tmp_path: Path) -> None:
    guard, seen = CollapseGuard(SENTENCES, on_collapse="stop"), Weights()
    model = load(folder)
    options = {"eval_strategy": strategy, "save_strategy": strategy, "eval_steps": 3, "save_steps": 3}
    halves = {"max_steps": -1, "num_train_epochs": 3}  # of 6 steps each
    trainer = trainer_of(model, tmp_path, [After(8, collapse), seen, guard], **options, **halves)
    trainer.train()
    healthy, stopped = (6, 9) if strategy == "steps" else (6, 12)
    assert trainer.state.global_step == stopped
    assert torch.equal(weights(model), seen.at[healthy])
    assert not (tmp_path / f"checkpoint-{stopped}").exists() and (tmp_path / f"checkpoint-{healthy}").is_dir()


def best(model: SentenceTransformer, out: Path, callbacks: list[Any], **options: Any) -> SentenceTransformerTrainer:
    """A run that is evaluated at each step and returns with its best checkpoint."""
    settings = {
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": True,
        **options,
    }
    return trainer_of(model, out, callbacks, **settings)


class Scores(TrainerCallback):
    """Puts a score in the place of the evaluation loss: 0, or what is said for the step."""

    def __init__(self, scores: dict[int, float]) -> None:
        self.scores = scores

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        kwargs["metrics"]["eval_loss"] = self.scores.get(state.global_step, 0.0)


def test_a_healthy_best_checkpoint_is_left_alone(folder: Path, tmp_path: Path) -> None:
    guard, seen = CollapseGuard(SENTENCES, on_collapse="stop"), Weights()
    model = load(folder)
    best(model, tmp_path, [After(4, collapse), seen, Scores({2: 1.0}), guard]).train()
    assert steps(guard) == [0, 1, 2, 3, 4] and guard.collapsed is not None
    assert guard.restored_step is None and torch.equal(weights(model), seen.at[2])


def test_a_best_checkpoint_that_was_lost_is_not_relied_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The library logs a failed restore and goes on with the weights that are there.
    guard, seen = CollapseGuard(SENTENCES, on_collapse="stop"), Weights()
    model = load(folder)
    trainer = best(model, tmp_path, [After(4, collapse), seen, Scores({2: 1.0}), guard])
    monkeypatch.setattr(trainer, "_load_best_model", lambda: None)
    trainer.train()
    assert guard.restored_step == 3 and torch.equal(weights(model), seen.at[3])


def test_a_collapsed_best_checkpoint_is_replaced(folder: Path, tmp_path: Path) -> None:
    guard, seen = CollapseGuard(SENTENCES, on_collapse="stop"), Weights()
    model = load(folder)
    scores = Scores({2: 0.5, 4: 1.0})
    trainer = best(model, tmp_path, [After(4, collapse), seen, scores, guard], save_strategy="best")
    trainer.train()
    saved = tmp_path / "checkpoint-4"  # with this strategy the trainer decides after the guard has spoken
    assert saved.is_dir() and trainer.state.best_model_checkpoint == str(saved)
    assert guard.restored_step == 3 and torch.equal(weights(model), seen.at[3])


@pytest.mark.parametrize("on_collapse", ["warn", "stop"])
def test_weights_that_are_no_numbers_are_a_finding(
    on_collapse: str, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guard, seen = CollapseGuard(SENTENCES, checks=STEPS, on_collapse=on_collapse), Weights()
    model = load(folder)
    trainer_of(model, tmp_path, [After(2, broken), seen, guard]).train()
    found = guard.collapsed
    assert found is not None and found.step == 2 and found.findings == ("undefined",)
    assert found.undefined == len(SENTENCES) and found.anisotropy is None
    json.dumps([dataclasses.asdict(entry) for entry in guard.history], allow_nan=False)
    assert "30 of 30 sentences have a vector that is zero or not finite" in warned(caplog)[0]
    if on_collapse == "stop":
        assert guard.restored_step == 1 and torch.equal(weights(model), seen.at[1])
        assert bool(torch.isfinite(weights(model)).all())


def test_a_base_that_is_broken_is_told_and_not_stopped(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = load(folder)
    broken(model)
    guard = CollapseGuard(SENTENCES, checks=2, on_collapse="stop")
    trainer = trainer_of(model, tmp_path, [guard])
    trainer.train()
    assert trainer.state.global_step == STEPS and guard.collapsed is None
    assert [entry.findings for entry in guard.history] == [("undefined",)] * 3 and len(warned(caplog)) == 1


def test_only_what_an_adapter_trains_is_kept_and_put_back(folder: Path, tmp_path: Path) -> None:
    def blow(model: nn.Module, control: Any) -> None:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.fill_(float("nan"))

    model = load(folder)
    model.add_adapter(LoraConfig(task_type=TaskType.FEATURE_EXTRACTION, r=2, target_modules=["query", "value"]))
    guard, seen = CollapseGuard(SENTENCES, checks=STEPS, on_collapse="stop"), Weights()
    sizes = []

    class Sizes(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            assert guard._healthy is not None
            sizes.append(set(guard._healthy[1]))

    trainer_of(model, tmp_path, [After(4, blow), seen, Sizes(), guard]).train()
    assert guard.restored_step == 3 and torch.equal(weights(model), seen.at[3])
    assert not torch.equal(seen.at[3], seen.at[0])
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained and all("lora" in name for name in trained)
    buffers = {name for name, _ in model.named_buffers()}
    assert all(names == trained | buffers for names in sizes)


def test_warn_keeps_no_copy(folder: Path, tmp_path: Path) -> None:
    kept = []
    guard = CollapseGuard(SENTENCES, checks=STEPS)
    look = After(3, lambda model, control: kept.append(guard._healthy))
    trainer_of(load(folder), tmp_path, [look, guard]).train()
    assert kept == [None]


# --- sparse models


def test_a_sparse_model_that_dies_is_found_and_brought_back(
    splade: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def die(model: nn.Module, control: Any) -> None:
        with torch.no_grad():
            model[0].auto_model.cls.predictions.bias.fill_(-1e4)

    model = SparseEncoder(str(splade), device="cpu")
    guard, seen = CollapseGuard(SENTENCES, checks=STEPS, on_collapse="stop"), Weights()
    sparse_trainer_of(model, tmp_path, [After(3, die), seen, guard], splade_loss(model)).train()
    found = guard.collapsed
    assert found is not None and found.step == 3 and "dead" in found.findings and found.active_dimensions == 0
    assert guard.restored_step == 2 and torch.equal(weights(model), seen.at[2])
    assert any("step 3: the sparse embeddings are dead: 0.0 (" in text for text in warned(caplog))


def test_a_sparse_model_that_turns_dense_is_found(
    splade: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def bias(value: float) -> Callable[[nn.Module, Any], None]:
        def act(model: nn.Module, control: Any = None) -> None:
            with torch.no_grad():
                model[0].auto_model.cls.predictions.bias.fill_(value)

        return act

    model = SparseEncoder(str(splade), device="cpu")
    spread = model.encode(SENTENCES, convert_to_sparse_tensor=False)
    bias(-float(torch.expm1(spread).quantile(0.97)))(model, None)
    guard = CollapseGuard(SENTENCES, checks=STEPS)
    sparse_trainer_of(model, tmp_path, [After(4, bias(1e3)), guard], splade_loss(model)).train()
    base = guard.history[0]
    assert base.sparsity is not None and base.sparsity > 0.5 and "dense" not in base.findings
    assert guard.collapsed is not None and guard.collapsed.step == 4 and "dense" in guard.collapsed.findings
    assert any("step 4: the embeddings are not sparse" in text for text in warned(caplog))


def test_a_base_that_is_dense_itself_is_told_once_and_not_stopped(
    splade: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = SparseEncoder(str(splade), device="cpu")
    guard = CollapseGuard(SENTENCES, checks=2, on_collapse="stop")
    trainer = sparse_trainer_of(model, tmp_path, [guard], splade_loss(model))
    trainer.train()
    share = guard.history[0].sparsity
    assert share is not None and share < 0.5, "the tiny model is no such base"
    assert trainer.state.global_step == STEPS and guard.collapsed is None
    assert len([text for text in warned(caplog) if "sparse" in text]) == 1


def test_a_sparse_autoencoder_counts_its_dead_latents_as_without(folder: Path, tmp_path: Path) -> None:
    found = []
    for guards in ([], [CollapseGuard(SENTENCES, checks=STEPS)]):
        set_seed(2)
        dense = load(folder)
        latents = SparseAutoEncoder(input_dim=32, hidden_dim=64, k=4, k_aux=8)
        model = SparseEncoder(modules=[*dense, latents], device="cpu")
        loss = sparse_losses.CSRLoss(model, loss=sparse_losses.SparseMultipleNegativesRankingLoss(model))
        sparse_trainer_of(model, tmp_path, guards, loss).train()
        found.append((weights(model), latents.stats_last_nonzero.clone()))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    assert int(found[0][1].max()) > 0
    assert all(entry.active_dimensions is not None and entry.active_dimensions <= 4 for entry in guards[0].history)


# --- resuming


def test_a_resumed_run_is_compared_with_the_same_base(folder: Path, tmp_path: Path) -> None:
    def run(out: Path, resume: str | None = None) -> tuple[CollapseGuard, SentenceTransformer]:
        set_seed(3)
        guard, model = CollapseGuard(SENTENCES, checks=3, on_collapse="stop"), load(folder)
        trainer = trainer_of(model, out, [guard], save_strategy="steps", save_steps=2)
        trainer.train(resume_from_checkpoint=resume)
        return guard, model

    whole, model = run(tmp_path / "whole")
    checkpoint = tmp_path / "whole" / "checkpoint-4"
    resumed, again = run(tmp_path / "again", str(checkpoint))
    assert resumed.history == whole.history and steps(resumed) == [0, 2, 4, 6]
    assert torch.equal(weights(model), weights(again))
    text = (checkpoint / "trainer_state.json").read_text(encoding="utf-8")
    assert len(json.loads(text)["stateful_callbacks"][KEY]["history"]) == 3
    assert not any(sentence in text for sentence in SENTENCES if len(sentence) > 20), "texts stay"


@pytest.mark.parametrize("action", ["warn", "stop"])
def test_a_run_taken_up_between_two_measurements_has_those_of_the_whole_one(
    action: str, folder: Path, tmp_path: Path
) -> None:
    def run(out: Path, resume: str | None = None) -> CollapseGuard:
        set_seed(3)
        guard = CollapseGuard(SENTENCES, checks=2, on_collapse=action)
        every_step = {"logging_strategy": "steps", "logging_steps": 1}
        trainer = trainer_of(load(folder), out, [guard], save_strategy="steps", save_steps=2, **every_step)
        trainer.train(resume_from_checkpoint=resume)
        return guard

    whole = run(tmp_path / "whole")
    again = run(tmp_path / "again", str(tmp_path / "whole" / "checkpoint-2"))
    assert steps(whole) == [0, 3, 6] and again.history == whole.history
    assert whole.history[1].gradient is not None, "the largest of steps 1 to 3, of which two were before"


def test_a_checkpoint_of_another_probe_or_of_none_gives_no_base(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"save_strategy": "steps", "save_steps": 2}
    trainer_of(load(folder), tmp_path / "a", [CollapseGuard(SENTENCES)], **options).train()
    trainer_of(load(folder), tmp_path / "b", [], **options).train()
    for name in "ab":
        caplog.clear()
        guard = CollapseGuard(SENTENCES[:25], checks=3)
        trainer = trainer_of(load(folder), tmp_path / "c", [guard], **options)
        trainer.train(resume_from_checkpoint=str(tmp_path / name / "checkpoint-4"))
        assert steps(guard) == [4, 6]
        [text] = warned(caplog)
        assert "step 4 has no measurements of this probe" in text


def test_a_run_is_not_resumed_where_it_has_collapsed(folder: Path, tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 2}
    guard = CollapseGuard(SENTENCES, checks=3)
    trainer_of(load(folder), tmp_path, [After(3, collapse), guard], **options).train()
    for action in ("stop", "warn"):
        again = CollapseGuard(SENTENCES, checks=3, on_collapse=action)
        trainer = trainer_of(load(folder), tmp_path / "again", [again], **options)
        if action == "warn":
            trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
            assert steps(again) == [0, 2, 4, 6] and again.collapsed == guard.collapsed
            continue
        with pytest.raises(RunError, match="resumed at step 4, where it is collapsed") as caught:
            trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
        assert "earlier checkpoint" in str(caught.value)


def test_a_resumed_run_goes_back_to_where_it_was_resumed_at_most(folder: Path, tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 2}
    trainer_of(load(folder), tmp_path, [CollapseGuard(SENTENCES, checks=3)], **options).train()
    guard, seen = CollapseGuard(SENTENCES, checks=3, on_collapse="stop"), Weights()
    model = load(folder)
    trainer = trainer_of(model, tmp_path / "again", [After(5, collapse), seen, guard], **options)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert guard.restored_step == 4 and torch.equal(weights(model), seen.at[4])


# --- what it cannot measure


def test_a_model_that_embeds_no_sentences_or_is_split_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = CollapseGuard(SENTENCES)
    trainer = trainer_of(load(folder), tmp_path, [guard])
    with pytest.raises(RequestError, match="not a Linear"):
        guard.on_train_begin(trainer.args, trainer.state, trainer.control, model=nn.Linear(2, 2))

    class Sharded:
        distributed_type = module.DistributedType.FSDP

    monkeypatch.setattr(module, "AcceleratorState", Sharded)
    with pytest.raises(RequestError, match="FSDP splits it"):
        trainer.train()
    assert guard.history == []


@settings(max_examples=20)
@given(st.lists(st.text(min_size=1), min_size=20, max_size=40, unique=True))
def test_any_texts_make_a_probe(texts: list[str]) -> None:
    wanted = [text for text in texts if text.strip()]
    if len(wanted) < 20:
        with pytest.raises(RequestError, match="20 or more"):
            CollapseGuard(texts)
    else:
        assert CollapseGuard(texts).sentences == tuple(wanted)


# --- several processes

PROCESS = """
import json
import sys
from pathlib import Path
import torch
from test_guard import SENTENCES, After, CollapseGuard, Weights, collapse, load, trainer_of, weights

model, seen = load(Path(sys.argv[1])), Weights()
guard = CollapseGuard(SENTENCES, checks=6, on_collapse="stop")
trainer = trainer_of(model, Path(sys.argv[2]), [After(3, collapse), seen, guard])
if trainer.args.process_index == 1:  # it must not decide for itself
    import hf_simtune.guard
    hf_simtune.guard.findings = lambda now, base=None: ()
trainer.train()
same = torch.equal(weights(model), seen.at[2])
looked = [entry.step for entry in guard.history]
found = [trainer.args.world_size, looked, guard.collapsed.step, guard.restored_step, same]
(Path(sys.argv[2]) / f"{trainer.args.process_index}.json").write_text(json.dumps(found), encoding="utf-8")
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_decide_alike(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROCESS, encoding="utf-8")
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "1",  # without it, accelerate takes each for the only process
        "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "tests"), os.environ.get("PYTHONPATH", "")]),
    }
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, str(script), str(folder), str(tmp_path)], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr[-4000:]
    for process in range(2):
        found = json.loads((tmp_path / f"{process}.json").read_text(encoding="utf-8"))
        assert found == [2, [0, 1, 2, 3], 3, 2, True]
    assert done.stderr.count("the embeddings have collapsed") == 1, "the first process alone tells it"
