"""Checkpoints that go to a branch of a private repository on a loopback Hub while a run is on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import forked
import pytest
from conftest import CHECKOUT
from loopback_hub import LoopbackHub
from published import teachable
from tiny import tiny_static

from hf_simtune.checkpoint_push import BRANCH
from hf_simtune.record import RunRecord

pytestmark = pytest.mark.slow
TO, OTHER = "loopback/kept", "loopback/other"
DATA = ["pairs.csv", "--select-on", "select.csv", "--report-on", "report.csv"]
SHORT = ["--learning-rate", "0.03", "--epochs", "3", "--batch-size", "16", "--precision", "fp32", "--evaluations", "3"]
MODEL = {"config_sentence_transformers.json", "model.safetensors", "modules.json", "tokenizer.json"}
# One process for several commands: the libraries read the Hub's address when they are imported, which takes seconds.
SESSION = """
import contextlib, io, json, os, sys
from hf_simtune import cli
found = []
for words in json.loads(sys.argv[1]):
    token = os.environ.pop("HF_TOKEN") if words[0] == "nobody" else None
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main(argv=words[1:] if token else words)
        except SystemExit as ended:
            found.append([ended.code, out.getvalue(), err.getvalue()])
    os.environ |= {"HF_TOKEN": token} if token else {}
open("found.json", "w").write(json.dumps(found))
from sentence_transformers import SentenceTransformer
for name in sys.argv[2:]:
    print(SentenceTransformer(*name.split("@")[:1], revision=name.split("@")[1], device="cpu").encode("A team").shape)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_static(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub(storage=tmp_path / "storage") as server:
        yield server


def session(
    hub: LoopbackHub, home: Path, commands: list[list[str]], *names: str
) -> tuple[list[tuple[int, str, str]], str]:
    """Status, output and errors of each command, and the shape of what each of some models makes of a sentence."""
    environment = hub.environment(home) | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT), "NO_COLOR": "1"}
    environment["HF_HUB_OFFLINE"] = "0"
    words = [sys.executable, "-c", SESSION, json.dumps(commands), *names]
    done = forked.run(words, env=environment, cwd=home.parent)
    assert done.returncode == 0, done.stderr[-3000:]
    return [tuple(one) for one in json.loads((home.parent / "found.json").read_text())], done.stdout


def tune(base: Path, *words: str) -> list[str]:
    return ["tune", *DATA, "--model", str(base), *SHORT, *words]


def titles(hub: LoopbackHub, revision: str, name: str = TO) -> list[str]:
    """The titles of a branch's commits, the newest first, but for that which made the repository."""
    return [commit.title for commit in hub._store.get("models", name).history(revision)][:-1]


def test_each_checkpoint_goes_to_its_branch_and_main_is_touched_by_the_gate_alone(
    hub: LoopbackHub, base: Path, tmp_path: Path
) -> None:
    teachable(base, tmp_path)
    other = ["--push-checkpoints", OTHER, "--keep-base", "0.1", "--start", f"{TO}@{BRANCH}", "--out", "on"]
    commands = [
        tune(base, "--push-checkpoints", TO, "--push-to-hub", "--hub-model-id", TO),
        tune(base, *other),
    ]
    ((status, _, told), (after, _, on)), shape = session(hub, tmp_path / "home", commands, f"{TO}@{BRANCH}")
    assert status == 0, told
    assert hub._store.get("models", TO).private
    pushed = [path for method, path, status in hub.requests if method == "POST" and f"{TO}/commit/" in path]
    assert [path.rpartition("/")[2] for path in pushed] == [BRANCH] * (len(pushed) - 1) + ["main"]
    assert len(titles(hub, "main")) == 1 and "record.json" in hub.paths("models", TO)
    assert set(hub.paths("models", TO, BRANCH)) == {*MODEL, ".gitattributes"}
    found = titles(hub, BRANCH)
    assert found[0].startswith("pairs: step 120 of 120, ") and found[0].endswith(" on the rows that choose")
    assert 1 <= len(found) <= 3, "one that waits gives way to a newer one"
    (folder,) = (tmp_path / "runs").iterdir()
    record = RunRecord.load(folder / "record.json")
    assert "push" not in record.command and "push_checkpoints" not in record.recipe
    assert not list(folder.glob("trainer/**/push-*"))
    kept = (folder / "trainer" / "checkpoint-120" / "model.safetensors").read_bytes()
    assert hub.read("models", TO, "model.safetensors", BRANCH) == kept
    assert shape == "(16,)\n"
    assert after == 0 and f"going on from {TO}@{BRANCH}" in on, on
    assert hub.paths("models", OTHER) == [".gitattributes"] and titles(hub, "main", OTHER) == []
    assert titles(hub, BRANCH, OTHER)[0].startswith("pairs (seed-42): step 120 of 120")


def test_a_push_that_fails_is_told_and_the_training_goes_on(hub: LoopbackHub, base: Path, tmp_path: Path) -> None:
    teachable(base, tmp_path)
    hub.fail("POST", f"/commit/{BRANCH}", 403, times=99)
    ((status, _, told),), _ = session(hub, tmp_path / "home", [tune(base, "--push-checkpoints", TO)])
    assert status == 0, told
    assert f"was not sent to {TO}: " in told and "training goes on" in told and "Traceback" not in told
    assert list(tmp_path.glob("runs/*/record.json")) and titles(hub, BRANCH) == titles(hub, "main") == []


def test_what_cannot_be_is_refused_before_training(base: Path, tmp_path: Path) -> None:
    teachable(base, tmp_path)
    push = "--push-checkpoints"
    (public := tmp_path / "public").mkdir()
    (public / "README.md").write_text("A model for all to see.\n")
    commands = {
        "that repository is public, and checkpoints have passed no gate": tune(base, push, TO),
        "hf auth login": ["nobody", *tune(base, push, "loopback/new")],
        "--offline goes without it": tune(base, push, TO, "--offline"),
        "--push-checkpoints keeps those of one run": tune(base, push, TO, "--model", "other"),
        "--push-checkpoints is 'kept': it must be ORG/NAME": tune(base, push, "kept"),
        "--push-checkpoints does not go with --lora": [
            "tune",
            *DATA,
            push,
            TO,
            "--lora",
            "--model",
            "builtin:all-MiniLM-L6-v2",
        ],
    }
    with LoopbackHub({TO: public}, storage=tmp_path / "storage") as hub:
        found, _ = session(hub, tmp_path / "home", list(commands.values()))
        assert not [path for _, path, _ in hub.requests if "/commit/" in path]
    for told, (status, _, error) in zip(commands, found, strict=True):
        assert told in error and status == (1 if told == "hf auth login" else 2), error
    assert not (tmp_path / "runs").exists()
