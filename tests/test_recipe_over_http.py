"""The recipe as it is shipped, in a process of its own, against a Hub on the loopback: real loading code, real HTTP."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import forked
import pytest
from conftest import CHECKOUT, SHARED_HUB
from loopback_hub import LoopbackHub
from tiny import hub_folder_from_rows, tiny_model

from hf_simtune.data.sports import generate
from hf_simtune.record import RunRecord

FEW = ("--train-rows", "128", "--evaluations", "1", "--batch-size", "32", "--precision", "fp32", "--probe", "none")


NAMES = ("embedding-data/sentence-compression", "sentence-transformers/stsb")


def small_data(folder: Path, rows: int = 120) -> dict[str, Path]:
    """The recipe's two data sets in their own shape, with rows of the built-in corpus."""
    pairs = hub_folder_from_rows(folder / "pairs", {"train": list(generate("pairs", "train", 160))}, set_column=True)
    scored = {
        split: [
            {name: row[name] for name in ("sentence1", "sentence2", "score")} for row in generate("scored", split, rows)
        ]
        for split in ("train", "validation", "test")
    }
    return dict(zip(NAMES, (pairs, hub_folder_from_rows(folder / "scored", scored)), strict=True))


@pytest.fixture(scope="module")
def small_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LoopbackHub, dict[str, str]]]:
    """A Hub with a tiny model by MiniLM's name and a few rows: for what is asked of many commands in turn."""
    folder = tmp_path_factory.mktemp("small-hub")
    models = {"sentence-transformers/all-MiniLM-L6-v2": tiny_model(folder / "tiny")}
    with LoopbackHub(models=models, datasets=small_data(folder), storage=folder / "storage") as server:
        yield server, server.environment(folder / "home")


def run(words: list[str], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = environment | {
        "OMP_NUM_THREADS": "1",
        "HF_SIMTUNE_THREADS": "1",
        "PYTHONPATH": str(CHECKOUT),
        "NO_COLOR": "1",
    }
    return forked.run(words, env=environment, cwd=folder)


def the_record(folder: Path) -> RunRecord:
    (path,) = folder.glob("runs/*/record.json")
    return RunRecord.load(path)


@pytest.mark.slow
def test_the_shipped_recipe_runs_unmodified_on_the_real_data(minilm: Path, tmp_path: Path) -> None:
    real = {name: SHARED_HUB / name for name in NAMES} if SHARED_HUB.is_dir() else small_data(tmp_path / "data")
    models = {"sentence-transformers/all-MiniLM-L6-v2": minilm}
    with LoopbackHub(models=models, datasets=real, storage=tmp_path / "storage") as server:
        script = str(CHECKOUT / "recipes" / "mnrl_minilm.py")
        words = [str(Path(sys.executable).parent / "accelerate"), "launch", script, *FEW]
        # A branch has its own 10,000 rows; the next test has it on fewer.
        done = run([*words, "--branches", "none"], server.environment(tmp_path / "home"), tmp_path)
        asked = {path for _, path, _ in server.requests}
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    for repository in ("all-MiniLM-L6-v2", "sentence-compression", "stsb"):
        assert any(repository in path for path in asked), f"{repository} was not asked for over HTTP"
    record = the_record(tmp_path)
    assert record.base.hub_id == "sentence-transformers/all-MiniLM-L6-v2"
    assert "embedding-data/sentence-compression" in record.base.trained_on
    assert record.training.source.name == "embedding-data/sentence-compression"
    assert record.training.source.revision is None, "a loopback has no Hub revisions"
    assert record.base.revision is None
    assert record.training.source.kind == "local copy"
    mined = record.training.mined
    assert mined is not None and mined.rows + mined.pairs_without == 128 and mined.rows > 100
    assert (record.training.rows, record.training.steps) == (mined.rows, 2)
    assert [evaluation.role for evaluation in record.evaluations] == ["report", "select"]
    assert record.report.source.title == "sentence-transformers/stsb:test"
    assert record.report.comparison is not None
    if SHARED_HUB.is_dir():
        assert record.report.comparison.n == 1379
        assert record.report.comparison.groups == 1179
        assert 100 * (record.report.base.spearman or 0) == pytest.approx(82.032, abs=0.005)


@pytest.mark.slow
def test_launched_run_or_named_the_recipe_does_the_same_thing_and_then_needs_no_hub(
    small_hub: tuple[LoopbackHub, dict[str, str]], tmp_path: Path
) -> None:
    _, environment = small_hub
    script = str(CHECKOUT / "recipes" / "mnrl_minilm.py")
    ways = {
        "launch": [str(Path(sys.executable).parent / "accelerate"), "launch", script],
        "script": [sys.executable, script],
        "command": [sys.executable, "-m", "hf_simtune", "tune", "mnrl_minilm"],
    }
    records = []
    for name, words in ways.items():
        folder = tmp_path / name
        folder.mkdir()
        done = run([*words, *FEW], environment, folder)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "sentence-transformers/stsb:test" in done.stdout
        assert "run folder" in done.stdout
        records.append(the_record(folder))
        environment = environment | {"HF_HUB_OFFLINE": "1"}  # the cache is filled
    assert [one.branch for one in records[0].training.soup] == [None, "simcse_compressions"]
    for other in records[1:]:
        assert other.tuned.weights_sha256 == records[0].tuned.weights_sha256
        assert other.evaluations == records[0].evaluations
    told = (
        "hf-simtune tune mnrl_minilm --train-rows 128 --probe none --batch-size 32 --evaluations 1 --precision fp32 "
        "--forward packed"
    )
    assert {record.command for record in records} == {told}


@pytest.mark.slow
def test_without_hub_cache_and_offline_one_error_names_the_three_ways_on(tmp_path: Path, minilm: Path) -> None:
    with LoopbackHub(storage=tmp_path / "storage") as server:
        environment = server.environment(tmp_path / "home")
    done = run([sys.executable, "-m", "hf_simtune", "tune", "mnrl_minilm"], environment, tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr
    assert "embedding-data/sentence-compression" in done.stderr
    for way in ("--offline", "local file", "HF_HOME"):
        assert way in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_offline_asks_nobody_anything(tmp_path: Path) -> None:
    from hf_simtune.data import export

    model = str(tiny_model(tmp_path / "tiny"))

    export.sports(str(tmp_path / "my_pairs.csv"), shape="pairs", split="train", rows=64)
    with LoopbackHub(storage=tmp_path / "storage") as server:
        environment = server.environment(tmp_path / "home")
        assert "HF_HUB_OFFLINE" not in environment, "a Hub that is forbidden would prove nothing"
        # Unscored rows of one's own have no scores to be measured on: that is where a run might turn to the Hub.
        words = [sys.executable, "-m", "hf_simtune", "tune", "my_pairs.csv", "--offline", "--evaluations", "1"]
        done = run([*words, "--batch-size", "16", "--precision", "fp32", "--model", model], environment, tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
        assert server.requests == []
    assert "builtin:sports/scored:test" in done.stdout
    assert the_record(tmp_path).offline


@pytest.mark.slow
def test_what_accelerate_was_configured_with_does_not_change_the_recipe(tmp_path: Path) -> None:
    script = str(CHECKOUT / "recipes" / "mnrl_minilm.py")
    words = [str(Path(sys.executable).parent / "accelerate"), "launch", "--mixed_precision", "bf16", script]
    few = ["--offline", "--train-rows", "32", "--batch-size", "16", "--evaluations", "1", "--precision", "fp32"]
    few += ["--model", str(tiny_model(tmp_path / "tiny"))]
    with LoopbackHub(storage=tmp_path / "storage") as server:
        environment = server.environment(tmp_path / "home")
    plain = run([sys.executable, script, *few, "--out", "plain"], environment, tmp_path)
    launched = run([*words, *few, "--out", "launched"], environment, tmp_path)
    assert (plain.returncode, launched.returncode) == (0, 0), launched.stderr[-3000:]
    scores = [
        RunRecord.load(next(tmp_path.glob(f"{out}/*/record.json"))).training.checkpoints[-1].spearman
        for out in ("plain", "launched")
    ]
    assert scores[0] == scores[1]
