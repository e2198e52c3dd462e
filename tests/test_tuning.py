from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CHECKOUT
from few_rows import few_rows
from sentence_transformers import SentenceTransformer
from tiny import tiny_model
from torch import nn

from hf_simtune import Recipe, fitting, machine, scores_file, tune
from hf_simtune.errors import RequestError, RunError
from hf_simtune.record import RunRecord
from hf_simtune.run_folder import Plan, RunFolder
from hf_simtune.stopwatch import FILE


def small(model: Path, **changes: object) -> Recipe:
    """A run of a few seconds on the built-in corpus; what it is scored on lies beside the model."""
    if "report_on" not in changes:
        changes = dict(zip(("select_on", "report_on"), few_rows(model.parent), strict=True)) | changes
    recipe = Recipe(
        name="small",
        title="a small run",
        model=str(model),
        train_data="builtin:sports/scored:train",
        train_rows=96,
        batch_size=16,
        learning_rate=1e-3,
        evaluations=3,
        precision="fp32",
    )
    return dataclasses.replace(recipe, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def finished(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRecord]:
    run = tune(small(model), out=tmp_path_factory.mktemp("runs"))
    return run.folder, run.record


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The forward passes that runs of the test trained with."""
    found: list[str] = []
    original = fitting.sorted_forward

    def watched(m: SentenceTransformer, loss: nn.Module, method: str) -> AbstractContextManager[Any]:
        found.append(method)
        return original(m, loss, method)

    monkeypatch.setattr(fitting, "sorted_forward", watched)
    return found


def test_a_run_folder_holds_what_it_promises(finished: tuple[Path, RunRecord]) -> None:
    folder, record = finished
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "model",
        "README.md",
        "report.html",
        "record.json",
        "scores.parquet",
        "plots",
        "trainer",
        "plan.json",
    }
    assert RunRecord.load(folder / "record.json") == record
    assert (folder / "model" / "README.md").read_text(encoding="utf-8") == (folder / "README.md").read_text(
        encoding="utf-8"
    )
    assert not list((folder / "model").glob("*.bin"))
    assert (folder / "model" / "model.safetensors").is_file()


def test_the_saved_model_loads_without_us_and_scores_what_the_record_says(
    model: Path, finished: tuple[Path, RunRecord]
) -> None:
    folder, record = finished
    code = (
        "import sys, json; from sentence_transformers import SentenceTransformer as S;"
        f"m = S({str(folder / 'model')!r}, device='cpu');"
        "e = m.encode(['A ball.', 'A dog.']); assert 'hf_simtune' not in sys.modules; print(e.shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("(2, 32)")
    from hf_simtune import score

    again = score(str(folder / "model"), few_rows(model.parent)[1]).score
    assert again == record.report.tuned


def test_the_scores_file_alone_gives_the_comparison_again(finished: tuple[Path, RunRecord]) -> None:
    from hf_simtune import compare

    folder, record = finished
    parts = {part.role: part for part in scores_file.read(folder / "scores.parquet")}
    assert set(parts) == {"report", "select"}
    assert record.report.comparison is not None
    assert len(parts["report"].row) == record.report.comparison.n == 100
    _, [(_, comparison)] = compare([str(folder)], seed=record.recipe["seed"])
    assert comparison == record.report.comparison


def test_a_run_without_its_record_is_not_compared(finished: tuple[Path, RunRecord], tmp_path: Path) -> None:
    from hf_simtune import compare

    cut = tmp_path / "cut"  # as a kill between the scores and the record leaves it
    cut.mkdir()
    for name in ("scores.parquet", "plan.json"):
        shutil.copyfile(finished[0] / name, cut / name)
    with pytest.raises(RequestError, match=r"is not finished: it has no record\.json"):
        compare([str(cut)])


def test_selection_rows_get_no_verdict_and_step_0_competes(finished: tuple[Path, RunRecord]) -> None:
    _, record = finished
    select = next(evaluation for evaluation in record.evaluations if evaluation.role == "select")
    assert select.comparison is not None
    assert select.comparison.verdict == "no verdict"
    assert select.comparison.low is not None, "its interval is for the record"
    assert record.training.best_step > 0, "the fixture is meant to restore a checkpoint"
    points = record.training.checkpoints
    assert [point.step for point in points] == [0, 2, 4, 6]
    assert points[0].spearman == select.base.spearman
    best = max(points, key=lambda point: (point.spearman or -1, -point.step))
    assert record.training.best_step == best.step
    assert select.tuned.spearman == pytest.approx(best.spearman, abs=1e-7)


def test_a_score_in_a_bf16_run_is_that_of_the_same_weights_after_it(model: Path, tmp_path: Path) -> None:
    # accelerate wraps the model's forward in autocast, and would do so in the scoring during training too.
    record = tune(small(model, precision="bf16"), out=tmp_path).record
    select = next(evaluation for evaluation in record.evaluations if evaluation.role == "select")
    best = next(point for point in record.training.checkpoints if point.step == record.training.best_step)
    assert record.training.precision == "bf16"
    assert best.step > 0
    assert select.tuned.spearman == pytest.approx(best.spearman, abs=1e-7)


def test_neither_record_nor_card_holds_a_path_or_a_rows_text(model: Path, finished: tuple[Path, RunRecord]) -> None:
    from hf_simtune.data.load import load

    folder, _ = finished
    texts = [str(row["sentence1"]) for row in load(few_rows(model.parent)[1]).dataset]
    for name in ("record.json", "README.md"):
        content = (folder / name).read_text(encoding="utf-8")
        assert str(folder.parent) not in content
        assert str(Path.home()) + "/" not in content
        assert not any(text in content for text in texts)
    for path in (folder / "model").rglob("*.json"):
        assert "/tiny" not in path.read_text(encoding="utf-8"), f"{path.name} names the base's folder"


def test_examples_are_published_only_when_asked_for(model: Path, tmp_path: Path) -> None:
    run = tune(small(model, evaluations=1, train_rows=32), out=tmp_path, publish_examples=True)
    assert len(run.record.examples) == 5
    assert str(run.record.examples[0]["sentence1"])[:20] in (run.folder / "record.json").read_text(encoding="utf-8")


def test_a_run_that_never_beats_the_base_keeps_the_base_and_claims_nothing(model: Path, tmp_path: Path) -> None:
    run = tune(small(model, learning_rate=1e-12, train_rows=32), out=tmp_path)
    assert run.record.training.best_step == 0
    assert run.record.verdict == "no evidence"
    assert run.record.tuned.weights_sha256 == run.record.base.weights_sha256
    assert "unchanged" in (run.folder / "README.md").read_text(encoding="utf-8")


def test_a_single_scored_file_is_split_into_train_select_and_report(model: Path, tmp_path: Path) -> None:
    from hf_simtune.data import export

    file = tmp_path / "my pairs.csv"
    export.sports(str(file), shape="scored", split="train", rows=600)
    recipe = Recipe(name="own", model=str(model), train_data=str(file), batch_size=16, evaluations=1, precision="fp32")
    record = tune(recipe, out=tmp_path).record
    sizes = [record.training.rows] + [evaluation.base.n for evaluation in record.evaluations]
    assert sum(sizes) == 600
    assert min(sizes) >= 40
    assert record.training.loss == "cosent"
    assert record.training.source.name == "my pairs.csv"
    assert record.training.source.part


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    model: Path, tmp_path: Path, finished: tuple[Path, RunRecord]
) -> None:
    first = finished[1]
    again = tune(small(model), out=tmp_path).record
    other = tune(small(model, seed=1), out=tmp_path).record
    assert [point.spearman for point in again.training.checkpoints] == [p.spearman for p in first.training.checkpoints]
    assert again.tuned.weights_sha256 == first.tuned.weights_sha256
    assert other.training.final_loss != first.training.final_loss


def test_a_restored_checkpoint_that_is_not_the_scored_one_fails_the_run(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The library logs a failed restore and goes on with the last weights.
    from hf_simtune import train

    def restore_nothing(self: train.DenseTrainer, path: str) -> None:
        next(iter(self.model.parameters())).data.add_(1.0)

    monkeypatch.setattr(train.DenseTrainer, "_load_from_checkpoint", restore_nothing)
    with pytest.raises(RunError, match="are not those that were scored"):
        tune(small(model), out=tmp_path)


KINDS: dict[str, dict[str, object]] = {
    "cosent in fp32": {},
    # What the shipped recipe runs: pairs, a sampler that avoids duplicates, bf16, and here a second epoch.
    "mnrl in bf16": {"train_data": "builtin:sports/pairs:train", "precision": "bf16", "epochs": 2.0},
    "cosent in chunks": {"forward": "chunked"},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_that_is_resumed_ends_with_the_same_weights(kind: str, model: Path, tmp_path: Path) -> None:
    changes = KINDS[kind]
    whole = tune(small(model, **changes), out=tmp_path / "whole")
    code = (
        f"import sys; sys.path.insert(0, {str(CHECKOUT / 'tests')!r}); from test_tuning import KINDS, small; "
        "import torch; torch.set_num_threads(1); from pathlib import Path; from hf_simtune import tune; "
        f"tune(small(Path({str(model)!r}), **KINDS[{kind!r}]), out={str(tmp_path / 'killed')!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT, stderr=subprocess.DEVNULL, env=os.environ)
    first = whole.record.training.checkpoints[1].step
    deadline = time.monotonic() + 300
    while not (found := list(tmp_path.glob(f"killed/*/trainer/checkpoint-{first}/trainer_state.json"))):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = found[0].parents[2]
    assert not (folder / "record.json").exists()
    moved = folder.rename(tmp_path / "moved")  # the trainer remembers its best checkpoint by its path
    run = tune(small(model, **changes), resume=moved)
    assert run.record.training.resumed == 1
    assert run.record.tuned.weights_sha256 == whole.record.tuned.weights_sha256

    def scored(place: Path) -> dict[int, str]:
        lines = map(json.loads, (place / "trainer" / "scored.jsonl").read_text(encoding="utf-8").splitlines())
        return {line["step"]: line["weights"] for line in lines}

    assert scored(moved) == scored(whole.folder)
    assert run.record.training.checkpoints == whole.record.training.checkpoints
    with pytest.raises(RequestError, match="is finished"):
        tune(small(model, **changes), resume=moved)


def test_a_line_cut_short_by_a_kill_does_not_take_the_next_one_with_it(model: Path, tmp_path: Path) -> None:
    from hf_simtune.data.load import load
    from hf_simtune.evaluation.sts import SimilarityEvaluator
    from hf_simtune.models import load as load_model
    from hf_simtune.train import SCORED, scored_weights

    encoder, facts = load_model(str(model))
    rows = load("builtin:sports/scored:validation").dataset.select(range(20))
    (tmp_path / SCORED).write_text('{"step": 2, "spear', encoding="utf-8")
    SimilarityEvaluator(rows, log_file=tmp_path / SCORED)(encoder, output_path=str(tmp_path), epoch=1.0, steps=4)
    assert scored_weights(tmp_path, 4) == facts.weights_sha256
    with pytest.raises(RunError, match="no score of it"):
        scored_weights(tmp_path, 2)


def test_fp16_without_a_gpu_is_refused(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RequestError, match="fp16 needs a CUDA GPU"):
        tune(small(model, precision="fp16"), out=tmp_path)


def test_several_gpus_are_refused_for_now(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(RequestError, match="2 GPUs are visible"):
        tune(small(model), out=tmp_path)


def test_an_offline_run_is_resumed_with_and_without_saying_so_again(model: Path, tmp_path: Path) -> None:
    recipe = small(model, train_rows=32, evaluations=1)
    run = tune(recipe, out=tmp_path, offline=True)
    (run.folder / "record.json").unlink()
    again = tune(recipe, resume=run.folder, offline=True)
    assert again.record.offline and again.record.training.resumed == 1
    kept = json.loads((run.folder / "trainer" / FILE).read_text(encoding="utf-8"))[str(run.record.training.steps)]
    counted = again.record.seconds["of it checkpoints"]
    assert counted >= round(kept["of it checkpoints"], 2) > 0, "what an earlier start took is counted"
    (run.folder / "record.json").unlink()
    third = tune(RunFolder(run.folder).read_plan().recipe, resume=run.folder)
    assert third.record.offline and third.record.training.resumed == 2
    assert third.record.tuned.weights_sha256 == run.record.tuned.weights_sha256


def test_the_forward_pass_is_decided_once_and_kept_on_resume(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    entered: list[str],
    finished: tuple[Path, RunRecord],
) -> None:
    decided = finished[1].training
    assert (decided.forward, decided.forward_reason) == ("packed", "no padding; the same embeddings in fp32")
    assert "--forward packed" in finished[1].command
    recipe = small(model, train_rows=32, evaluations=1, forward="chunked")
    run = tune(recipe, out=tmp_path)
    assert (run.record.training.forward, run.record.training.forward_reason) == ("chunked", "as asked for")
    (run.folder / "record.json").unlink()

    def another(*given: object, **options: object) -> tuple[str, str]:
        raise AssertionError("it was decided again")

    monkeypatch.setattr("hf_simtune.speed.choose.choose", another)
    again = tune(recipe, resume=run.folder).record.training
    assert entered == ["chunked", "chunked"]
    assert (again.forward, again.forward_reason, again.resumed) == ("chunked", "as asked for", 1)


def test_a_plan_of_before_there_was_a_choice_of_forward_is_taken_up_plainly(
    model: Path, tmp_path: Path, entered: list[str]
) -> None:
    recipe = small(model, train_rows=32, evaluations=1)
    run = tune(recipe, out=tmp_path)
    assert run.record.training.forward == "packed"
    (run.folder / "record.json").unlink()
    folder = RunFolder(run.folder)
    plan = json.loads(folder.plan.read_text(encoding="utf-8"))
    for field in ("forward", "forward_reason"):
        del plan[field]
    del plan["recipe"]["forward"]  # it was no field of a recipe either
    folder.plan.write_text(json.dumps(plan), encoding="utf-8")
    assert (folder.read_plan().forward, folder.read_plan().forward_reason) == ("plain", "")
    assert folder.read_plan().recipe == recipe
    again = tune(recipe, resume=run.folder).record.training
    assert entered == ["packed", "plain"]
    assert (again.forward, again.resumed) == ("plain", 1)


def test_the_cards_command_pins_what_a_probe_decided(finished: tuple[Path, RunRecord]) -> None:
    command = finished[1].command
    assert command.startswith("hf-simtune tune builtin:sports/scored:train")
    assert "--precision fp32" in command and "--name small" in command and "--model tiny" in command


def test_an_output_that_is_a_file_is_refused_before_anything_is_loaded(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="is a file: name a folder"):
        tune(small(model, train_data="./nowhere.csv"), out=tmp_path / "file")


def test_resuming_something_else_is_refused_with_the_difference(
    model: Path, tmp_path: Path, finished: tuple[Path, RunRecord]
) -> None:
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "plan.json").write_bytes((finished[0] / "plan.json").read_bytes())
    with pytest.raises(RequestError, match=r"--learning-rate was 0\.001 and is now 0\.002"):
        tune(small(model, learning_rate=0.002), resume=unfinished)
    other = tiny_model(tmp_path / "other", seed=1)
    model.rename(tmp_path / "kept")
    try:
        other.rename(model)
        with pytest.raises(RequestError, match="base model's weights are not those"):
            tune(small(model), resume=unfinished)
    finally:
        model.rename(other)
        (tmp_path / "kept").rename(model)
    with pytest.raises(RequestError, match="no run folder"):
        tune(small(model), resume=tmp_path / "nothing")
    with pytest.raises(RequestError, match=r"no plan\.json"):
        tune(small(model), resume=tmp_path)


def test_a_run_that_goes_on_elsewhere_is_told_what_is_different(caplog: pytest.LogCaptureFixture) -> None:
    here = machine.arithmetic()
    assert {"processor", "threads", "torch", "transformers"} <= set(here) and all(here.values())
    first = Plan(
        recipe=Recipe(name="x", train_data="rows.csv"),
        arithmetic=here | {"threads": "64", "torch": "0.9"},
        fingerprints={},
        publish_examples=False,
        **dict.fromkeys(("command", "created", "loss", "precision", "precision_reason", "base_weights"), ""),
        offline=False,
        commit=None,
    )
    again = first.taken_up(Path("runs/x"), dataclasses.replace(first, arithmetic=here))
    assert (again.starts, again.arithmetic) == (2, first.arithmetic)
    (told,) = caplog.messages
    assert "threads was 64, now 1" in told and f"torch was 0.9, now {here['torch']}" in told and "processor" not in told
    caplog.clear()
    first.taken_up(Path("runs/x"), first)
    assert not caplog.messages


def test_nothing_is_started_for_a_recipe_that_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="2 problems"):
        tune(Recipe(name="x", train_data="", epochs=0), out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_runs_in_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    first, second = (RunFolder.create(tmp_path, "x", "20260101-000000").path.name for _ in range(2))
    assert (first, second) == ("x-20260101-000000", "x-20260101-000000-1")


def test_processes_that_nobody_started_do_not_train(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RequestError, match=r"WORLD_SIZE is 2, and RANK, LOCAL_RANK, .* are not set"):
        tune(small(model), out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_gold_scores_and_similarities_on_file_are_finite(finished: tuple[Path, RunRecord]) -> None:
    for part in scores_file.read(finished[0] / "scores.parquet"):
        assert np.isfinite(part.base).all()
        assert np.isfinite(part.tuned).all()
        assert ((part.gold >= 0) & (part.gold <= 1)).all()
