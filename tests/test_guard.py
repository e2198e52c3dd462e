"""When the guard looks at a training, what it takes, and what it leaves alone."""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
import torch
from conftest import CHECKOUT
from datasets import Dataset
from guarded import (
    SENTENCES,
    STEPS,
    After,
    rows,
    sparse_trainer_of,
    splade_loss,
    steps,
    trainer_of,
    warned,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import (
    SparseEncoder,
)
from sentence_transformers.base.sampler import DefaultBatchSampler
from speeding import load, set_dropout, weights
from torch import nn
from torch.utils.data import SequentialSampler
from transformers import set_seed

import hf_simtune.guard as module
from hf_simtune.errors import RequestError
from hf_simtune.evaluation import geometry
from hf_simtune.evaluation.undisturbed import undisturbed
from hf_simtune.guard import CollapseGuard


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
from guarded import SENTENCES, After, Weights, collapse, trainer_of
from speeding import load, weights
from hf_simtune.guard import CollapseGuard

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
    done = forked.run([*launch, str(script), str(folder), str(tmp_path)], env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    for process in range(2):
        found = json.loads((tmp_path / f"{process}.json").read_text(encoding="utf-8"))
        assert found == [2, [0, 1, 2, 3], 3, 2, True]
    assert done.stderr.count("the embeddings have collapsed") == 1, "the first process alone tells it"
