"""A run sent to a Hub on the loopback, as a user would, and loaded back by its name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT
from forked import Commands
from loopback_hub import LoopbackHub
from published import teachable
from safetensors.torch import load_file, save_file
from tiny import tiny_static

from hf_simtune import tune
from hf_simtune.record import RunRecord

pytestmark = pytest.mark.slow
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_static(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that got better; no test changes it."""
    folder = tmp_path_factory.mktemp("run")
    done = tune(teachable(base, folder), out=folder / "runs")
    assert done.record.verdict == "improved"
    return done.folder


@pytest.fixture(scope="module")
def later(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one."""
    folder = tmp_path_factory.mktemp("later")
    return tune(teachable(base, folder, seed=7, name="later"), out=folder / "runs").folder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LoopbackHub, Commands]]:
    place = tmp_path_factory.mktemp("hub")
    with LoopbackHub(storage=place / "storage") as server:
        yield server, Commands(server, place / "home")


class Place:
    """A repository of the test's own on the file's Hub, and the command line that sends to it."""

    def __init__(self, hub: LoopbackHub, simtune: Commands, name: str) -> None:
        self.hub, self.simtune, self.to = hub, simtune, f"loopback/{name}"
        self.from_here = len(hub.requests)

    def publish(self, run: Path, *more: str, **environment: str) -> Done:
        return self.simtune("publish", str(run), "--to", self.to, *more, **environment)

    def facts(self, run: Path, *more: str) -> dict[str, Any]:
        done = self.publish(run, "--json", *more)
        assert done.returncode == 0, done.stderr
        facts: dict[str, Any] = json.loads(done.stdout)
        return facts

    @property
    def requests(self) -> list[tuple[str, str, int]]:
        return self.hub.requests[self.from_here :]

    @property
    def commits(self) -> int:
        return sum(how == "POST" and "/commit/" in path and 0 < status < 300 for how, path, status in self.requests)

    def sha(self, revision: str = "main") -> str:
        return self.hub.sha("models", self.to, revision)

    @property
    def paths(self) -> list[str]:
        return self.hub.paths("models", self.to)

    def read(self, path: str, revision: str = "main") -> bytes:
        return self.hub.read("models", self.to, path, revision)

    @property
    def card(self) -> str:
        return self.read("README.md").decode()


@pytest.fixture
def place(served: tuple[LoopbackHub, Commands], request: pytest.FixtureRequest) -> Iterator[Place]:
    hub, commands = served
    number = hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    yield Place(hub, commands, f"{request.function.__name__[5:40].rstrip('_')}-{number}")
    hub.calm()


def test_a_run_becomes_a_model_in_one_commit_and_a_second_time_nothing(place: Place, run: Path) -> None:
    before = {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}
    facts = place.facts(run, "--tag", "v1")
    assert place.commits == 1
    assert set(place.paths) == {*facts["files"], ".gitattributes"}
    for name in ("README.md", "model.safetensors", "modules.json", "record.json", "scores.parquet", "plots/scores.png"):
        assert name in place.paths
    assert place.sha() == place.sha("v1") == facts["commit"]
    assert facts["proof"].endswith("the same similarities on 64 rows")
    assert f'SentenceTransformer("{place.to}")' in place.card and "Published all the same" not in place.card
    assert place.read("record.json") == (run / "record.json").read_bytes()
    again = place.publish(run, "--tag", "v1")
    assert again.returncode == 0, again.stderr
    assert "has this run already" in again.stdout and place.commits == 1
    assert before == {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}


def test_a_new_run_replaces_the_old_one_whose_state_keeps_its_tag(place: Place, run: Path, later: Path) -> None:
    first = place.facts(run, "--tag", "v1")["commit"]
    clash = place.publish(later, "--tag", "v1")
    assert clash.returncode == 1 and "has a tag v1 already" in clash.stderr
    assert place.sha() == first
    place.facts(later, "--tag", "v2")
    assert "# later" in place.card
    assert "# later" not in place.read("README.md", "v1").decode()
    assert place.read("record.json", "v2") == (later / "record.json").read_bytes()


def test_a_pull_request_leaves_main_alone_and_is_opened_once(place: Place, run: Path, later: Path) -> None:
    place.facts(run)
    main = place.sha()
    facts = place.facts(later, "--create-pr")
    assert facts["pull_request"].endswith(f"/{place.to}/discussions/1") and facts["proof"].startswith("loaded back")
    assert place.sha() == main != facts["commit"] == place.sha("refs/pr/1")
    again = place.publish(later, "--create-pr")
    assert again.returncode == 0 and "has this run already" in again.stdout and "/discussions/1" in again.stdout
    assert place.commits == 2


def test_a_pull_request_whose_answer_was_lost_is_not_opened_twice(place: Place, run: Path, later: Path) -> None:
    place.facts(run)
    place.hub.fail("POST", "/commit/main", how="lost")
    facts = place.facts(later, "--create-pr")
    assert facts["pull_request"].endswith("/discussions/1") and facts["commit"] == place.sha("refs/pr/1")
    named = place.publish(run, "--create-pr", "--tag", "v1")
    assert named.returncode == 2 and "with --create-pr there is none yet" in named.stderr


def test_the_claim_of_a_published_model_is_checked_by_its_name(place: Place, run: Path) -> None:
    place.facts(run)
    report = next(run.parents[1].glob("report.csv"))
    spearman = RunRecord.load(run / "record.json").report.tuned.spearman
    assert spearman is not None
    done = place.simtune("score", place.to, "--data", str(report))
    assert done.returncode == 0, done.stderr
    figure = f"{100 * spearman:.2f}"
    assert f"claimed {figure}, measured {figure}: the same, on the same rows" in done.stdout
    other = place.simtune("score", place.to, "--data", str(report.with_name("select.csv")))
    assert other.returncode == 0 and "(rows that chose the checkpoint)" in other.stdout
    none = place.simtune("score", place.to, "--data", "builtin:sports/scored:test")
    assert none.returncode == 0 and "claims nothing of these rows; it was scored on " in none.stderr


def test_a_claim_that_does_not_hold_ends_with_status_1(place: Place, run: Path) -> None:
    place.facts(run)
    told = json.loads(place.read("record.json"))
    told["evaluations"][0]["tuned"]["spearman"] = 0.999
    place.hub.put(place.to, "record.json", json.dumps(told).encode())
    done = place.simtune("score", place.to, "--data", str(next(run.parents[1].glob("report.csv"))))
    assert done.returncode == 1 and "claimed 99.90, measured " in done.stdout and "not the same" in done.stdout


def test_nothing_is_asked_of_the_hub_on_a_dry_run(place: Place, run: Path) -> None:
    done = place.publish(run, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"{place.to} would get" in done.stdout and place.requests == []


@pytest.mark.parametrize("fault", [500, 403])
def test_a_push_that_fails_leaves_the_hub_as_it_was_and_a_second_one_succeeds(
    place: Place, run: Path, fault: int
) -> None:
    place.hub.fail("POST", "/commit/main", fault, times=9 if fault == 500 else 1)
    done = place.publish(run)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"hf-simtune publish {run} --to {place.to}" in done.stderr
    assert "A new repository is there, empty" in done.stderr and place.paths == [".gitattributes"]
    place.hub.calm()
    place.facts(run)


def test_a_commit_whose_answer_was_lost_is_seen_to_have_arrived(place: Place, run: Path) -> None:
    place.hub.fail("POST", "/commit/main", how="lost")
    done = place.publish(run)
    assert done.returncode == 0, done.stderr
    assert place.commits == 0 and "in one commit" in done.stdout and "record.json" in place.paths


def test_the_hub_is_waited_for_as_long_as_it_asks_and_no_longer(place: Place, run: Path) -> None:
    place.hub.fail("POST", "/commit/main", 429, headers={"Retry-After": "1"})
    done = place.publish(run)
    assert done.returncode == 0 and "asks to wait 1 seconds" in done.stderr
    place.hub.fail("GET", "/api/models/", 429, headers={"Retry-After": "3600"})
    refused = place.publish(run)
    assert refused.returncode == 1 and "wait 3600 seconds. The Hub is as it was. Again: hf-simtune" in refused.stderr


def test_somebody_elses_push_between_our_look_and_our_commit_is_not_overwritten(
    place: Place, run: Path, later: Path
) -> None:
    place.facts(run)
    place.hub.meanwhile("POST", "/commit/main", lambda: place.hub.put(place.to, "NOTICE", b"theirs"))
    done = place.publish(later)
    assert done.returncode == 1 and "Somebody else has pushed meanwhile" in done.stderr
    assert f"The Hub is as they left it, at {place.sha()}, with nothing of this run" in done.stderr
    assert place.read("NOTICE") == b"theirs" and place.read("record.json") == (run / "record.json").read_bytes()
    place.facts(later)
    assert place.read("NOTICE") == b"theirs" and place.read("record.json") == (later / "record.json").read_bytes()


def test_a_tag_that_somebody_else_set_meanwhile_stays_where_it_is(place: Place, run: Path) -> None:
    theirs: list[str] = []
    place.hub.meanwhile("POST", "/tag/", lambda: theirs.append(place.hub.put(place.to, "x", b"x", tag="v1")))
    done = place.publish(run, "--tag", "v1")
    assert done.returncode == 1 and f"has a tag v1 by now, at {theirs[0]}" in done.stderr
    assert "choose another name for --tag" in done.stderr and place.sha("v1") == theirs[0]
    wrong = place.publish(run, "--tag", "main")
    assert wrong.returncode == 2 and "no branch's name as main is" in wrong.stderr


def test_faults_at_every_request_leave_the_old_state_or_the_new_one() -> None:
    """A few cases of ``make torture``, a fault at each request; and one commit a file is found to be no release."""
    words = [sys.executable, str(CHECKOUT / "tests" / "publish_torture.py"), "--every", "61"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    counted = json.loads(done.stdout.splitlines()[-1])
    assert counted["cases"] > 10 and 0 < counted["refused"] < counted["cases"] and counted["mixtures by hand"] > 0


def test_a_run_with_something_against_it_is_refused_by_name_and_its_card_says_what_was_allowed(
    place: Place, base: Path, tmp_path: Path
) -> None:
    recipe = teachable(base, tmp_path, learning_rate=1e-7, epochs=0.2, keep_leaks=True)
    recipe = dataclasses.replace(recipe, report_on=recipe.select_on, select_on=recipe.report_on)
    run = tune(recipe, out=tmp_path / "runs").folder
    done = place.publish(run)
    record = RunRecord.load(run / "record.json")
    name = "unchanged" if record.training.best_step == 0 else "no-evidence"
    assert done.returncode == 2 and f"{name}: " in done.stderr
    assert f"hf-simtune publish {run} --to {place.to} --allow {name}" in done.stderr
    assert place.requests == []
    wrong = place.publish(run, "--allow", "leaks", "weights", name)
    assert wrong.returncode == 2 and wrong.stderr.count("this run has no such fault") == 2
    allowed = place.publish(run, "--allow", name)
    assert allowed.returncode == 0, allowed.stderr
    assert "**Published all the same.**" in place.card


def test_weights_that_were_not_scored_and_an_unfinished_run_are_refused(
    place: Place, run: Path, later: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(run, tmp_path / "run")
    shutil.copyfile(later / "model" / "model.safetensors", other / "model" / "model.safetensors")
    done = place.publish(other)
    assert done.returncode == 2 and "weights: the weights in model/ are not those that were scored" in done.stderr
    allowed = place.publish(other, "--allow", "weights")
    assert allowed.returncode == 0, allowed.stderr
    assert "nothing was scored again" in allowed.stdout
    assert "**Published all the same.**" in place.card and "model-index" not in place.card
    assert "the weights here are not those that were scored" in place.card
    asked = len(place.requests)
    (other / "record.json").unlink()
    done = place.publish(other)
    assert done.returncode == 2 and f"hf-simtune tune --resume {other}" in done.stderr
    wrong = place.simtune("publish", str(other), "--to", "a--b/c", "--tag", "a b", "--allow", "luck")
    assert wrong.returncode == 2 and wrong.stderr.count("\n  - ") == 4, wrong.stderr
    assert len(place.requests) == asked


def test_a_recipe_publishes_its_run_and_asks_who_may_write_before_it_trains(
    place: Place, base: Path, tmp_path: Path
) -> None:
    teachable(base, tmp_path)
    words = ["pairs.csv", "--select-on", "select.csv", "--report-on", "report.csv", "--model", str(base)]
    words += ["--learning-rate", "0.03", "--epochs", "3", "--batch-size", "16", "--precision", "fp32", "--push-to-hub"]

    def tune(*more: str, **environment: str) -> Done:
        return place.simtune("tune", *words, *more, cwd=tmp_path, **environment)

    nobody = tune(HF_TOKEN="")
    assert nobody.returncode == 1 and "hf auth login" in nobody.stderr
    place.hub.fail("GET", "/auth-check/write", 403)
    place.hub.create("loopback/theirs")
    elsewhere = tune("--hub-model-id", "loopback/theirs")
    assert elsewhere.returncode == 1 and "loopback may not write to loopback/theirs, and nothing" in elsewhere.stderr
    private = tune("--hub-model-id", "loopback/theirs", "--hub-private-repo")
    assert private.returncode == 1 and "is there and public" in private.stderr
    wrong = tune("--hub-model-id", "a--b/c")
    assert wrong.returncode == 2 and "--hub-model-id a--b/c: it must be ORG/NAME" in wrong.stderr
    several = tune("--model", "other")
    assert several.returncode == 2 and "--push-to-hub publishes one run" in several.stderr
    offline = tune("--offline")
    assert offline.returncode == 2 and "--push-to-hub sends the run" in offline.stderr
    assert not (tmp_path / "runs").exists()
    done = tune("--hub-private-repo")
    assert done.returncode == 0, done.stderr
    assert "loopback/pairs:" in done.stdout and "record.json" in place.hub.paths("models", "loopback/pairs")
    command = RunRecord.load(next((tmp_path / "runs").glob("*/record.json"))).command
    assert "push" not in command, "whoever repeats a run does not publish it"


def test_a_private_repository_is_made_so_and_stays_so(place: Place, run: Path) -> None:
    place.hub.fail("POST", "/commit/main", 403)
    failed = place.publish(run, "--private")
    assert failed.returncode == 1 and f"--to {place.to} --private" in failed.stderr
    assert place.facts(run, "--private")["proof"].startswith("loaded back")
    assert [status for _, path, status in place.requests if path == "/api/repos/create"] == [201]
    stranger = place.simtune("score", place.to, "--data", "builtin:sports/scored:test", HF_TOKEN="")
    assert stranger.returncode != 0, "nobody else may load it"


def test_files_that_somebody_else_put_there_stay_and_a_public_place_is_no_private_one(
    place: Place, run: Path, later: Path
) -> None:
    place.facts(run)
    theirs = ["NOTICE", ".eval_results/mteb.yaml", "plots/mine.png", "checkpoint-9/model.safetensors"]
    for name in theirs:
        place.hub.put(place.to, name, b"x")
    ours = ".eval_results/simtune-of-an-earlier-run.yaml"
    place.hub.put(place.to, ours, b"x")
    place.hub.put(place.to, "1_Pooling/config.json", b"x")
    done = place.publish(later)
    assert done.returncode == 0 and f"there too, and not of a run: {', '.join(sorted(theirs))}" in done.stdout
    assert set(theirs) < set(place.paths) and ours not in place.paths and "1_Pooling/config.json" not in place.paths
    private = place.publish(later, "--private")
    assert private.returncode == 1 and "is there and public" in private.stderr


def test_weights_that_do_not_arrive_are_no_traceback(place: Place, run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "run")
    weights = other / "model" / "model.safetensors"
    save_file({name: tensor + 1e-3 for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    place.hub.fail("PUT", "/lfs/", 403, times=9)
    done = place.publish(other, "--allow", "weights")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "The token may not write there" in done.stderr and f"publish {other} --to {place.to} --allow" in done.stderr
    assert place.paths == [".gitattributes"]


def test_a_run_without_its_rows_says_so(place: Place, run: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(run, tmp_path / "moved")
    (moved / "plan.json").unlink()
    gone = place.publish(moved)
    assert gone.returncode == 2 and "unsearched: the run's rows are not at hand" in gone.stderr
    allowed = place.publish(moved, "--allow", "unsearched")
    assert allowed.returncode == 0, allowed.stderr
    assert "> - its files were not searched for texts of the rows, which were gone" in place.card
