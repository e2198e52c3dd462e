"""The recipe as it is shipped, in a process of its own, against a Hub on the loopback: real loading code, real HTTP."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import CHECKOUT, SHARED_HUB
from loopback_hub import LoopbackHub
from tiny import hub_folder_from_rows

from hf_simtune.data.sports import generate
from hf_simtune.record import RunRecord

FEW = ("--train-rows", "256", "--evaluations", "1", "--batch-size", "32", "--precision", "fp32")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The two data sets of the recipe: the real ones, or the built-in corpus in the same shape."""
    names = ("embedding-data/sentence-compression", "sentence-transformers/stsb")
    if SHARED_HUB.is_dir():
        return {name: SHARED_HUB / name for name in names}
    folder = tmp_path_factory.mktemp("data")
    pairs = hub_folder_from_rows(folder / "pairs", {"train": list(generate("pairs", "train", 400))}, set_column=True)
    scored = {
        split: [
            {name: row[name] for name in ("sentence1", "sentence2", "score")} for row in generate("scored", split, 120)
        ]
        for split in ("train", "validation", "test")
    }
    return dict(zip(names, (pairs, hub_folder_from_rows(folder / "scored", scored)), strict=True))


@pytest.fixture(scope="module")
def hub(
    minilm: Path, data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LoopbackHub, dict[str, str]]]:
    folder = tmp_path_factory.mktemp("hub")
    models = {"sentence-transformers/all-MiniLM-L6-v2": minilm}
    with LoopbackHub(models=models, datasets=data, storage=folder / "storage") as server:
        yield server, server.environment(folder / "home")


def run(words: list[str], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = environment | {
        "OMP_NUM_THREADS": "1",
        "HF_SIMTUNE_THREADS": "1",
        "PYTHONPATH": str(CHECKOUT),
        "NO_COLOR": "1",
    }
    return subprocess.run(words, capture_output=True, text=True, env=environment, cwd=folder, timeout=500)


def the_record(folder: Path) -> RunRecord:
    (path,) = folder.glob("runs/*/record.json")
    return RunRecord.load(path)


@pytest.mark.slow
def test_the_shipped_recipe_runs_unmodified_and_the_three_ways_do_the_same_thing(
    hub: tuple[LoopbackHub, dict[str, str]], tmp_path: Path
) -> None:
    server, environment = hub
    script = str(CHECKOUT / "recipes" / "mnrl_minilm.py")
    binaries = Path(sys.executable).parent
    ways = {
        "launch": [str(binaries / "accelerate"), "launch", script],
        "script": [sys.executable, script],
        "command": [sys.executable, "-m", "hf_simtune", "tune", "mnrl_minilm"],
    }
    records = {}
    for name, words in ways.items():
        folder = tmp_path / name
        folder.mkdir()
        done = run([*words, *FEW], environment, folder)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "sentence-transformers/stsb:test" in done.stdout
        assert "run folder" in done.stdout
        assert "Traceback" not in done.stderr
        records[name] = the_record(folder)
        # The caches are filled: the other two ways need no Hub at all.
        environment = environment | {"HF_HUB_OFFLINE": "1"}
    asked = {path for _, path, _ in server.requests}
    for repository in ("all-MiniLM-L6-v2", "sentence-compression", "stsb"):
        assert any(repository in path for path in asked), f"{repository} was not asked for over HTTP"
    first = records["launch"]
    assert first.base.hub_id == "sentence-transformers/all-MiniLM-L6-v2"
    assert "embedding-data/sentence-compression" in first.base.trained_on
    assert first.training.source.name == "embedding-data/sentence-compression"
    assert first.training.source.revision is None and first.base.revision is None, "a loopback has no Hub revisions"
    assert first.training.source.kind == "local copy"
    assert first.training.rows == 256
    assert first.training.steps == 8
    assert [evaluation.role for evaluation in first.evaluations] == ["report", "select"]
    assert first.report.comparison is not None
    assert first.report.comparison.n == first.report.source.rows
    for other in records.values():
        assert other.tuned.weights_sha256 == first.tuned.weights_sha256
        assert other.evaluations == first.evaluations
        assert (
            other.command
            == first.command
            == "hf-simtune tune mnrl_minilm --train-rows 256 --batch-size 32 --evaluations 1 --precision fp32"
        )
    if SHARED_HUB.is_dir():
        assert 100 * (first.report.base.spearman or 0) == pytest.approx(82.032, abs=0.005)


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
def test_offline_asks_nobody_anything(tmp_path: Path, minilm: Path) -> None:
    from hf_simtune.data import export

    export.sports(str(tmp_path / "my_pairs.csv"), shape="pairs", split="train", rows=64)
    with LoopbackHub(storage=tmp_path / "storage") as server:
        environment = server.environment(tmp_path / "home")
        assert "HF_HUB_OFFLINE" not in environment, "a Hub that is forbidden would prove nothing"
        # Unscored rows of one's own have no scores to be measured on: that is where a run might turn to the Hub.
        words = [sys.executable, "-m", "hf_simtune", "tune", "my_pairs.csv", "--offline", "--evaluations", "1"]
        done = run([*words, "--batch-size", "16", "--precision", "fp32"], environment, tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
        assert server.requests == []
    assert "builtin:sports/scored:test" in done.stdout
    assert the_record(tmp_path).offline


@pytest.mark.slow
def test_what_accelerate_was_configured_with_does_not_change_the_recipe(tmp_path: Path, minilm: Path) -> None:
    script = str(CHECKOUT / "recipes" / "mnrl_minilm.py")
    words = [str(Path(sys.executable).parent / "accelerate"), "launch", "--mixed_precision", "bf16", script]
    few = ["--offline", "--train-rows", "32", "--batch-size", "16", "--evaluations", "1", "--precision", "fp32"]
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
