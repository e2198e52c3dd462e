"""A run sent to a Hub on the loopback, in processes of their own, and loaded back by its name."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import CHECKOUT
from loopback_hub import LoopbackHub
from published import teachable
from tiny import tiny_model, tiny_static

from hf_simtune import tune
from hf_simtune.publish_reasons import REASONS
from hf_simtune.record import RunRecord

pytestmark = pytest.mark.slow
TO = "loopback/tuned"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_static(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that got better."""
    folder = tmp_path_factory.mktemp("run")
    done = tune(teachable(base, folder), out=folder / "runs")
    assert done.record.verdict == "improved"
    return done.folder


@pytest.fixture(scope="module")
def later(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one."""
    folder = tmp_path_factory.mktemp("later")
    return tune(teachable(base, folder, seed=7, name="later"), out=folder / "runs").folder


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub(storage=tmp_path / "storage") as server:
        yield server


def simtune(hub: LoopbackHub, home: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = hub.environment(home, **more) | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT), "NO_COLOR": "1"}
    environment["HF_HUB_OFFLINE"] = "0"
    command = [sys.executable, "-m", "hf_simtune", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=home.parent, timeout=300)


def publish(hub: LoopbackHub, home: Path, run: Path, *more: str, to: str = TO) -> subprocess.CompletedProcess[str]:
    return simtune(hub, home, "publish", str(run), "--to", to, *more)


def commits(hub: LoopbackHub) -> int:
    return sum(method == "POST" and "/commit/" in path and 0 < status < 300 for method, path, status in hub.requests)


def test_a_run_becomes_a_model_in_one_commit_and_a_second_time_nothing(
    hub: LoopbackHub, run: Path, tmp_path: Path
) -> None:
    done = publish(hub, tmp_path / "home", run, "--json", "--tag", "v1")
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    assert commits(hub) == 1
    paths = hub.paths("models", TO)
    assert set(paths) == {*facts["files"], ".gitattributes"}
    for name in ("README.md", "model.safetensors", "modules.json", "record.json", "scores.parquet", "plots/scores.png"):
        assert name in paths
    assert hub.sha("models", TO) == hub.sha("models", TO, "v1") == facts["commit"]
    assert facts["proof"].endswith("the same similarities on 64 rows")
    card = hub.read("models", TO, "README.md").decode()
    assert f'SentenceTransformer("{TO}")' in card and "Published all the same" not in card
    assert hub.read("models", TO, "record.json") == (run / "record.json").read_bytes()
    again = publish(hub, tmp_path / "home", run, "--tag", "v1")
    assert again.returncode == 0, again.stderr
    assert "has this run already" in again.stdout and commits(hub) == 1


def test_a_new_run_replaces_the_old_one_whose_state_keeps_its_tag(
    hub: LoopbackHub, run: Path, later: Path, tmp_path: Path
) -> None:
    assert publish(hub, tmp_path / "home", run, "--tag", "v1").returncode == 0
    first = hub.sha("models", TO)
    clash = publish(hub, tmp_path / "home", later, "--tag", "v1")
    assert clash.returncode == 1 and "has a tag v1 already" in clash.stderr
    assert hub.sha("models", TO) == first
    assert publish(hub, tmp_path / "home", later, "--tag", "v2").returncode == 0
    assert "# later" in hub.read("models", TO, "README.md").decode()
    assert "# later" not in hub.read("models", TO, "README.md", "v1").decode()
    assert hub.read("models", TO, "record.json", "v2") == (later / "record.json").read_bytes()


def test_a_pull_request_leaves_main_alone(hub: LoopbackHub, run: Path, later: Path, tmp_path: Path) -> None:
    assert publish(hub, tmp_path / "home", run).returncode == 0
    main = hub.sha("models", TO)
    done = publish(hub, tmp_path / "home", later, "--create-pr", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["pull_request"].endswith(f"/{TO}/discussions/1") and facts["proof"].startswith("loaded back")
    assert hub.sha("models", TO) == main != facts["commit"] == hub.sha("models", TO, "refs/pr/1")


def test_the_claim_of_a_published_model_is_checked_by_its_name(hub: LoopbackHub, run: Path, tmp_path: Path) -> None:
    assert publish(hub, tmp_path / "home", run).returncode == 0
    report = next(run.parents[1].glob("report.csv"))
    spearman = RunRecord.load(run / "record.json").report.tuned.spearman
    assert spearman is not None
    done = simtune(hub, tmp_path / "home", "score", TO, "--data", str(report))
    assert done.returncode == 0, done.stderr
    figure = f"{100 * spearman:.2f}"
    assert f"claimed {figure}, measured {figure}: the same, on the same rows" in done.stdout


def test_nothing_is_asked_of_the_hub_on_a_dry_run(hub: LoopbackHub, run: Path, tmp_path: Path) -> None:
    done = publish(hub, tmp_path / "home", run, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"{TO} would get" in done.stdout and hub.requests == []


@pytest.mark.parametrize("fault", [500, 403])
def test_a_push_that_fails_leaves_the_hub_as_it_was_and_a_second_one_succeeds(
    hub: LoopbackHub, run: Path, tmp_path: Path, fault: int
) -> None:
    hub.fail("POST", "/commit/main", fault, times=9 if fault == 500 else 1, headers={"Retry-After": "0"})
    done = publish(hub, tmp_path / "home", run)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"hf-simtune publish {run} --to {TO}" in done.stderr and "A new repository is there, empty" in done.stderr
    assert hub.paths("models", TO) == [".gitattributes"]
    hub.calm()
    assert publish(hub, tmp_path / "home", run).returncode == 0


def test_a_commit_whose_answer_was_lost_is_seen_to_have_arrived(hub: LoopbackHub, run: Path, tmp_path: Path) -> None:
    hub.fail("POST", "/commit/main", how="lost")
    done = publish(hub, tmp_path / "home", run)
    assert done.returncode == 0, done.stderr
    assert commits(hub) == 0 and "in one commit" in done.stdout and "record.json" in hub.paths("models", TO)


def test_faults_at_every_request_leave_the_old_state_or_the_new_one() -> None:
    """Each ninth case of ``make torture``."""
    words = [sys.executable, str(CHECKOUT / "tests" / "publish_torture.py"), "--every", "9"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    counted = json.loads(done.stdout.splitlines()[-1])
    assert counted["cases"] > 40 and 0 < counted["refused"] < counted["cases"]


def test_a_run_with_something_against_it_is_refused_by_name_and_its_card_says_what_was_allowed(
    hub: LoopbackHub, base: Path, tmp_path: Path
) -> None:
    recipe = teachable(base, tmp_path, learning_rate=1e-7, epochs=0.2, keep_leaks=True)
    recipe = dataclasses.replace(recipe, report_on=recipe.select_on, select_on=recipe.report_on)
    run = tune(recipe, out=tmp_path / "runs").folder
    done = publish(hub, tmp_path / "home", run)
    record = RunRecord.load(run / "record.json")
    name = "unchanged" if record.training.best_step == 0 else "no-evidence"
    assert done.returncode == 2 and f"{name}: " in done.stderr and f"--allow {name}" in done.stderr
    assert hub.requests == []
    wrong = publish(hub, tmp_path / "home", run, "--allow", "leaks", "weights", name)
    assert wrong.returncode == 2 and wrong.stderr.count("this run has no such fault") == 2
    allowed = publish(hub, tmp_path / "home", run, "--allow", name)
    assert allowed.returncode == 0, allowed.stderr
    assert "**Published all the same**" in hub.read("models", TO, "README.md").decode()


def test_weights_that_were_not_scored_and_an_unfinished_run_are_refused(
    hub: LoopbackHub, run: Path, later: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(run, tmp_path / "run")
    shutil.copyfile(later / "model" / "model.safetensors", other / "model" / "model.safetensors")
    done = publish(hub, tmp_path / "home", other)
    assert done.returncode == 2 and "weights: the weights in model/ are not those that were scored" in done.stderr
    allowed = publish(hub, tmp_path / "home", other, "--allow", "weights")
    assert allowed.returncode == 0, allowed.stderr
    assert "nothing was scored again" in allowed.stdout
    card = hub.read("models", TO, "README.md").decode()
    assert "**Published all the same**" in card and "model-index" not in card
    asked = len(hub.requests)
    (other / "record.json").unlink()
    done = publish(hub, tmp_path / "home", other)
    assert done.returncode == 2 and f"hf-simtune tune --resume {other}" in done.stderr
    wrong = publish(hub, tmp_path / "home", run, "--tag", "a b", "--allow", "luck", to="just-a-name")
    assert wrong.returncode == 2 and wrong.stderr.count("\n  - ") == 3
    assert len(hub.requests) == asked


def test_adapters_are_published_alone_and_load_on_their_base(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "models" / "tiny")
    teachable(folder, tmp_path)  # for its rows
    words = ["pairs.csv", "--select-on", "select.csv", "--report-on", "report.csv", "--model", "loopback/tiny"]
    words += ["--lora", "r=4", "alpha=8", "--epochs", "2", "--learning-rate", "3e-3", "--precision", "fp32"]
    with LoopbackHub({"loopback/tiny": folder}, storage=tmp_path / "storage") as hub:
        home = tmp_path / "home"
        tuned = simtune(hub, home, "tune", *words, "--batch-size", "16")
        assert tuned.returncode == 0, tuned.stderr
        (run,) = (tmp_path / "runs").iterdir()
        assert RunRecord.load(run / "record.json").saved == "adapter", "the fixture is meant to have a better step"
        done = publish(hub, home, run)
        if done.returncode == 2:  # so small a model: whatever speaks against it
            done = publish(hub, home, run, "--allow", *[name for name in REASONS if f"{name}: " in done.stderr])
        assert done.returncode == 0, done.stderr
        paths = hub.paths("models", TO)
        assert "adapter_model.safetensors" in paths and "model.safetensors" not in paths
        front = yaml.safe_load(hub.read("models", TO, "README.md").decode().split("---")[1])
        assert (front["base_model"], front["base_model_relation"]) == ("loopback/tiny", "adapter")


def test_a_recipe_publishes_its_run_and_asks_for_a_login_before_it_trains(base: Path, tmp_path: Path) -> None:
    teachable(base, tmp_path)
    words = ["pairs.csv", "--select-on", "select.csv", "--report-on", "report.csv", "--model", str(base)]
    words += ["--learning-rate", "0.03", "--epochs", "3", "--batch-size", "16", "--precision", "fp32", "--push-to-hub"]
    with LoopbackHub(storage=tmp_path / "storage") as hub:
        home = tmp_path / "home"
        nobody = simtune(hub, home, "tune", *words, HF_TOKEN="")
        assert nobody.returncode == 1 and "hf auth login" in nobody.stderr
        assert not (tmp_path / "runs").exists()
        done = simtune(hub, home, "tune", *words)
        assert done.returncode == 0, done.stderr
        assert "loopback/pairs:" in done.stdout and "record.json" in hub.paths("models", "loopback/pairs")
        command = RunRecord.load(next((tmp_path / "runs").glob("*/record.json"))).command
        assert "push" not in command, "whoever repeats a run does not publish it"
        several = simtune(hub, home, "tune", *words, "--model", "other")
        assert several.returncode == 2 and "--push-to-hub publishes one run" in several.stderr
        offline = simtune(hub, home, "tune", *words, "--offline")
        assert offline.returncode == 2 and "--push-to-hub sends the run" in offline.stderr


def test_files_that_somebody_else_put_there_stay_and_a_public_place_is_no_private_one(
    hub: LoopbackHub, run: Path, later: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    assert publish(hub, home, run).returncode == 0
    put = "from huggingface_hub import HfApi; HfApi().upload_file(path_or_fileobj=b'x', path_in_repo='NOTICE', repo_id="
    environment = hub.environment(home) | {"HF_HUB_OFFLINE": "0"}
    subprocess.run([sys.executable, "-c", f"{put}'{TO}')"], env=environment, check=True, capture_output=True)
    done = publish(hub, home, later)
    assert done.returncode == 0 and "there too, and not of a run: NOTICE" in done.stdout
    assert hub.read("models", TO, "NOTICE") == b"x"
    private = publish(hub, home, later, "--private")
    assert private.returncode == 1 and "is there and public" in private.stderr


def test_rows_that_are_gone_are_told_and_weights_that_do_not_arrive_are_no_traceback(
    hub: LoopbackHub, run: Path, tmp_path: Path
) -> None:
    hub.fail("PUT", "/lfs/", 403, times=9)
    done = publish(hub, tmp_path / "home", run)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "hf-simtune publish" in done.stderr and hub.paths("models", TO) == [".gitattributes"]
    hub.calm()
    other = shutil.copytree(run, tmp_path / "moved")
    (other / "plan.json").unlink()
    gone = publish(hub, tmp_path / "home", other)
    assert gone.returncode == 2 and "--allow unsearched" in gone.stderr
