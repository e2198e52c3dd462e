from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from few_rows import few_rows
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
    SparseEncoder,
    SparseEncoderTrainer,
    SparseEncoderTrainingArguments,
)
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sparse_encoder import losses as sparse
from tiny import tiny_model, tiny_splade
from transformers import TrainerCallback

from hf_simtune import SimtuneCallback, scores_file, script_facts, writing
from hf_simtune.data.load import load
from hf_simtune.errors import RequestError
from hf_simtune.evaluation.compare import verdict_sentence
from hf_simtune.evaluation.correlation import spearman
from hf_simtune.held import held
from hf_simtune.record import RunRecord
from hf_simtune.weights import weights_sha256

CHECKOUT = Path(__file__).parents[1]
ROWS = "builtin:sports/scored:test"


@pytest.fixture(scope="module")
def rows() -> Dataset:
    return load("builtin:sports/scored:train", rows=96).dataset.select_columns(["sentence1", "sentence2", "score"])


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> str:
    return few_rows(tmp_path_factory.mktemp("few"))[1]


def train(
    folder: Path, rows: Dataset, out: Path, *callbacks: TrainerCallback, resume: str | None = None, **changes: Any
) -> tuple[SentenceTransformer, list[float]]:
    """A script of somebody's own: the weights and the losses that it ends with."""
    model = SentenceTransformer(str(folder), device="cpu")
    settings = {"num_train_epochs": 2, "per_device_train_batch_size": 16, "learning_rate": 1e-3, "logging_steps": 1}
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            str(out), **{**settings, "use_cpu": True, "save_strategy": "no", "disable_tqdm": True, **changes}
        ),
        train_dataset=rows,
        loss=losses.CoSENTLoss(model),
        callbacks=list(callbacks),
    )
    trainer.train(resume_from_checkpoint=resume)
    return model, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.fixture(scope="module")
def watched(folder: Path, rows: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SimtuneCallback, Any]:
    out = tmp_path_factory.mktemp("script")
    callback = SimtuneCallback(ROWS, probe=["builtin:sports/scored:validation"])
    model, seen = train(folder, rows, out, callback)
    return out / "simtune", callback, (model, seen)


def test_a_script_trains_the_same_weights_with_the_same_losses_as_without(
    folder: Path, rows: Dataset, watched: tuple[Path, SimtuneCallback, Any], tmp_path: Path
) -> None:
    model, seen = train(folder, rows, tmp_path)
    assert weights_sha256(model) == weights_sha256(watched[2][0])
    assert seen == watched[2][1]
    assert len(set(seen)) > 3


def test_it_leaves_record_card_report_scores_and_pictures(watched: tuple[Path, SimtuneCallback, Any]) -> None:
    out, callback, (model, _) = watched
    assert {path.name for path in out.iterdir()} == {
        *("record.json", "README.md", "report.html", "scores.parquet", "plots", "before.npz", "_lock")
    }
    record = RunRecord.load(out / "record.json")
    assert record == callback.record
    assert (record.recipe["lr_scheduler_type"], record.recipe["batch_sampler"]) == ("linear", "batch_sampler")
    assert "SchedulerType" not in (out / "README.md").read_text(encoding="utf-8")
    assert record.script
    assert record.tuned.weights_sha256 == weights_sha256(model) != record.base.weights_sha256
    assert [(found.role, found.source.title) for found in record.evaluations] == [
        ("report", "builtin:sports/scored:test"),
        ("probe", "builtin:sports/scored:validation"),
    ]
    assert record.training.loss == "CoSENTLoss"
    assert record.training.temperature == pytest.approx(0.05)
    assert (record.training.rows, record.training.steps, record.training.source.shape) == (96, 12, "scored")
    assert record.health[0].step == 0
    parts = scores_file.read(out / "scores.parquet")
    assert {part.role for part in parts} == {"report", "probe"}
    assert "SimtuneCallback" in (out / "README.md").read_text(encoding="utf-8")


def test_the_base_is_what_score_says_of_the_untouched_model(
    folder: Path, watched: tuple[Path, SimtuneCallback, Any]
) -> None:
    from hf_simtune import score

    record = watched[1].record
    assert record is not None
    assert score(str(folder), ROWS).score == record.report.base
    assert record.report.base != record.report.tuned


def test_leaks_are_told_and_nothing_is_dropped(folder: Path, tmp_path: Path, few: str) -> None:
    leaky = load(few).dataset.select_columns(["sentence1", "sentence2", "score"]).select(range(64))
    callback = SimtuneCallback(few)
    train(folder, leaky, tmp_path, callback, max_steps=2)
    assert callback.record is not None
    [leak] = callback.record.leakage
    assert leak.pairs_exact == 64
    assert leak.rows_dropped == 0
    assert callback.record.training.rows == 64


def test_a_resumed_script_compares_with_the_base_it_began_with(
    folder: Path, rows: Dataset, tmp_path: Path, few: str
) -> None:
    whole = SimtuneCallback(few)
    train(folder, rows, tmp_path / "whole", whole)
    saving = {"save_strategy": "steps", "save_steps": 4}

    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = state.global_step == 5

    train(folder, rows, tmp_path / "cut", SimtuneCallback(few), Stop(), **saving)
    again = SimtuneCallback(few)
    train(folder, rows, tmp_path / "cut", again, resume=str(tmp_path / "cut" / "checkpoint-4"), **saving)
    assert whole.record is not None
    assert again.record is not None
    assert again.record.report == whole.record.report
    assert again.record.base == whole.record.base
    assert again.record.tuned.weights_sha256 == whole.record.tuned.weights_sha256


def test_a_resume_without_the_first_starts_scores_claims_nothing(
    folder: Path, rows: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture, few: str
) -> None:
    saving = {"save_strategy": "steps", "save_steps": 4}
    train(folder, rows, tmp_path, **saving)
    callback = SimtuneCallback(few)
    with caplog.at_level(logging.WARNING, logger="hf_simtune"):
        train(folder, rows, tmp_path, callback, resume=str(tmp_path / "checkpoint-4"), **saving)
    assert callback.record is None
    assert "no comparison" in caplog.text
    assert not (tmp_path / "simtune" / "record.json").exists()


def test_sparse_encoders_too(rows: Dataset, tmp_path: Path, few: str) -> None:
    folder = tiny_splade(tmp_path / "splade")

    def run(out: str, *callbacks: TrainerCallback) -> str:
        model = SparseEncoder(str(folder), device="cpu")
        trainer = SparseEncoderTrainer(
            model=model,
            args=SparseEncoderTrainingArguments(
                str(tmp_path / out), max_steps=4, use_cpu=True, save_strategy="no", disable_tqdm=True
            ),
            train_dataset=rows,
            loss=sparse.SpladeLoss(model, sparse.SparseCosineSimilarityLoss(model), document_regularizer_weight=1e-3),
            callbacks=list(callbacks),
        )
        trainer.train()
        return weights_sha256(model)

    callback = SimtuneCallback(few)
    assert run("with", callback) == run("without")
    assert callback.record is not None
    assert callback.record.base.kind == "splade"
    tuned = callback.record.report.tuned
    assert tuned.active_dimensions is not None
    assert tuned.active_dimensions > 0
    assert tuned.sparsity is not None
    assert 0 <= tuned.sparsity < 1


def test_wrong_names_are_told_at_once_and_before_training() -> None:
    with pytest.raises(RequestError) as caught:
        SimtuneCallback("nowhere", probe=["builtin:chess", "missing.csv"])
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("sentence-transformers/stsb", "sentence-transformers/stsb:test"),
        ("sentence-transformers/stsb:validation", "sentence-transformers/stsb:validation"),
        ("sentence-transformers/stsb@abc", "sentence-transformers/stsb:test@abc"),
        ("builtin:sports", "builtin:sports/scored:test"),
    ],
)
def test_data_named_without_a_split_is_its_test_split(name: str, taken: str) -> None:
    assert SimtuneCallback(name).names == [("report", taken)]


def test_the_best_checkpoint_is_what_is_scored_where_the_trainer_restores_it(
    folder: Path, rows: Dataset, tmp_path: Path, few: str
) -> None:
    class Falling(BaseEvaluator):
        """Says that the first checkpoint is the best one."""

        primary_metric = "made_up"

        def __call__(self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1) -> Any:
            return {"made_up": -float(steps)}

    model = SentenceTransformer(str(folder), device="cpu")
    callback = SimtuneCallback(few)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            str(tmp_path),
            max_steps=6,
            eval_strategy="steps",
            eval_steps=2,
            save_steps=2,
            load_best_model_at_end=True,
            metric_for_best_model="eval_made_up",
            greater_is_better=True,
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=rows,
        loss=losses.CoSENTLoss(model),
        evaluator=Falling(),
        callbacks=[callback],
    )
    trainer.train()
    assert callback.record is not None
    assert callback.record.training.best_step == trainer.state.best_global_step == 2
    assert callback.record.tuned.weights_sha256 == weights_sha256(model)
    assert np.isfinite(callback.record.report.tuned.spearman or np.nan)


class Dies(TrainerCallback):
    """Ends a training in its first step, as a kill would."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt


def test_a_training_that_broke_off_leaves_no_record_of_the_one_before(
    folder: Path, rows: Dataset, tmp_path: Path, few: str
) -> None:
    record = tmp_path / "simtune" / "record.json"
    callback = SimtuneCallback(few)
    train(folder, rows, tmp_path, callback, max_steps=1)
    assert record.is_file()
    with pytest.raises(KeyboardInterrupt):
        train(folder, rows, tmp_path, SimtuneCallback(few), Dies(), max_steps=1)
    assert not record.is_file(), "the record is of the first training, and the base's scores of the second"
    train(folder, rows, tmp_path, callback, max_steps=1)
    assert record.is_file()


def test_two_scripts_do_not_work_in_one_folder(folder: Path, rows: Dataset, tmp_path: Path, few: str) -> None:
    place = tmp_path / "simtune"
    place.mkdir()
    with held(place, place / "_lock"), pytest.raises(RequestError, match="another process works in"):
        train(folder, rows, tmp_path, SimtuneCallback(few), max_steps=1)
    assert not list(place.glob("*.npz"))


def test_a_model_of_a_folder_gives_its_name_and_no_path(folder: Path, rows: Dataset, tmp_path: Path, few: str) -> None:
    callback = SimtuneCallback(few, name="mine")
    train(tiny_model(tmp_path / "mymodel"), rows, tmp_path / "out", callback, max_steps=1)
    text = (tmp_path / "out" / "simtune" / "record.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert callback.record is not None
    assert callback.record.name == "mine"


def test_a_callback_that_is_used_twice_compares_each_training_with_its_own_base(
    folder: Path, rows: Dataset, tmp_path: Path, few: str
) -> None:
    callback = SimtuneCallback(few)
    first, _ = train(folder, rows, tmp_path / "one", callback, max_steps=2)
    kept = callback.record
    other = tiny_model(tmp_path / "other", seed=1)
    train(other, rows, tmp_path / "two", callback, max_steps=2)
    assert kept is not None
    assert callback.record is not None
    assert kept.tuned.weights_sha256 == weights_sha256(first)
    assert callback.record.base.weights_sha256 == weights_sha256(SentenceTransformer(str(other), device="cpu"))
    assert callback.record.base != kept.base


def test_leaks_are_looked_for_in_several_training_sets(folder: Path, rows: Dataset, tmp_path: Path, few: str) -> None:
    leaky = load(few).dataset.select_columns(["sentence1", "sentence2", "score"]).select(range(32))
    model = SentenceTransformer(str(folder), device="cpu")
    callback = SimtuneCallback(few)
    SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            str(tmp_path), max_steps=2, use_cpu=True, save_strategy="no", disable_tqdm=True
        ),
        train_dataset=DatasetDict({"one": rows, "two": leaky}),
        loss=losses.CoSENTLoss(model),
        callbacks=[callback],
    ).train()
    assert callback.record is not None
    assert [leak.pairs_exact for leak in callback.record.leakage] == [32]
    assert callback.record.training.rows == len(rows) + 32


def test_the_verdict_and_the_card_are_told_where_no_log_is_shown(
    folder: Path, rows: Dataset, few: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not logging.getLogger("hf_simtune").isEnabledFor(logging.INFO)
    callback = SimtuneCallback(few)
    train(folder, rows, tmp_path, callback)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hf_simtune: ")]
    assert callback.record is not None
    comparison = callback.record.report.comparison
    assert comparison is not None
    assert told == [
        f"hf_simtune: scoring the untouched model on {Path(few).name}",
        f"hf_simtune: {Path(few).name}: {verdict_sentence(comparison)}",
        f"hf_simtune: card, report and record: {tmp_path / 'simtune'}",
    ]


def test_a_failure_after_the_last_step_costs_the_script_nothing(
    folder: Path,
    rows: Dataset,
    few: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "write", full)
    callback = SimtuneCallback(few)
    model, seen = train(folder, rows, tmp_path / "watched", callback)
    plain, expected = train(folder, rows, tmp_path / "plain")
    assert (weights_sha256(model), seen) == (weights_sha256(plain), expected)
    assert callback.record is None
    assert "the model is trained, but scoring it or writing" in caplog.text
    assert "No space left on device" in caplog.text


def test_a_script_that_trains_with_a_prompt_is_scored_with_it(
    folder: Path, rows: Dataset, few: str, tmp_path: Path
) -> None:
    callback, without = SimtuneCallback(few), SimtuneCallback(few)
    train(folder, rows, tmp_path / "with", callback, prompts="river: ")
    train(folder, rows, tmp_path / "without", without)
    assert callback.record is not None
    assert without.record is not None
    assert (callback.record.base.prompt, callback.record.tuned.prompt) == ("river: ", "river: ")
    data = load(few).dataset
    base = SentenceTransformer(str(folder), device="cpu")
    first, second = (
        base.encode([f"river: {text}" for text in data[name]], convert_to_tensor=True)
        for name in ("sentence1", "sentence2")
    )
    expected = spearman(np.asarray(data["score"]), base.similarity_pairwise(first, second).double().numpy())
    assert callback.record.report.base.spearman == pytest.approx(expected, abs=1e-9)
    assert callback.record.report.base.spearman != without.record.report.base.spearman
    assert "river: " in (tmp_path / "with" / "simtune" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("prompts", "taken"),
    [
        (None, None),
        ("", None),
        ("query: ", "query: "),
        ({"sentence1": "query: ", "sentence2": "query: "}, "query: "),
        ({"sentence1": "query: ", "sentence2": "passage: "}, None),
        ({"sentence1": "query: "}, None),
        ({"one": {"anchor": "a: ", "positive": "a: "}, "two": {"anchor": "a: "}}, "a: "),
        ({"one": {"anchor": "a: "}, "two": {"anchor": "b: "}}, None),
    ],
)
def test_several_prompts_are_told_and_none_is_taken(
    prompts: Any, taken: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = SentenceTransformerTrainingArguments(str(tmp_path), use_cpu=True, prompts=prompts)
    assert script_facts.prompt(arguments) == taken
    assert ("several prompts" in caplog.text) == (bool(prompts) and taken is None)


# --- several processes

PROCESS = """
import json
import logging
import os
import sys
from pathlib import Path
import torch
from datasets import Dataset
from test_callback import train
from hf_simtune import SimtuneCallback
from hf_simtune.weights import weights_sha256

logging.basicConfig()
logging.getLogger("hf_simtune").setLevel("INFO")
folder, rows, few, out = map(Path, sys.argv[1:])
rows = Dataset.from_json(str(rows), cache_dir=str(out / "cache"))
plain, expected = train(folder, rows, out / "plain")
callback = SimtuneCallback(str(few))
watched, seen = train(folder, rows, out / "watched", callback)
found = {
    "processes": torch.distributed.get_world_size(),
    "same": weights_sha256(plain) == weights_sha256(watched),
    "losses": seen == expected and len(seen),
    "record": callback.record is not None,
}
(out / f"{torch.distributed.get_rank()}.json").write_text(json.dumps(found), encoding="utf-8")
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_of_two_processes_the_first_scores_and_both_train_as_without(
    folder: Path, rows: Dataset, tmp_path: Path, few: str
) -> None:
    script, data = tmp_path / "script.py", tmp_path / "rows.jsonl"
    script.write_text(PROCESS, encoding="utf-8")
    rows.to_json(str(data))
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "1",  # without it, accelerate takes each for the only process
        "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "tests"), os.environ.get("PYTHONPATH", "")]),
    }
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = forked.run([*launch, str(script), str(folder), str(data), few, str(tmp_path)], env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    steps = 2 * 96 // (2 * 16)
    for process in range(2):
        found = json.loads((tmp_path / f"{process}.json").read_text(encoding="utf-8"))

        assert found == {"processes": 2, "same": True, "losses": steps, "record": process == 0}
    record = RunRecord.load(tmp_path / "watched" / "simtune" / "record.json")
    assert record.training.processes == 2
    assert record.training.steps == steps
    assert done.stderr.count("scoring the untouched model") == 1
