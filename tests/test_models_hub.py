"""Models of the Hub: which commit they are of, and a server that answers with something other than a model."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import forked
import huggingface_hub
import pytest
from conftest import CHECKOUT
from loopback_hub import LoopbackHub
from tiny import tiny_model

pytestmark = pytest.mark.slow

# In its own process, since the libraries read HF_ENDPOINT when they are imported. A loopback Hub stands for the Hub
# where THE_HUB is set. Each argument is NAME or NAME@REVISION.
PROGRAM = """
import dataclasses, json, os, sys, time
from huggingface_hub import constants
from hf_simtune import hub, models
from hf_simtune.errors import SimtuneError
if "THE_HUB" in os.environ:
    hub.HUB = constants.ENDPOINT
for argument in sys.argv[1:]:
    name, _, revision = argument.partition("@")
    start = time.monotonic()
    try:
        answer = dataclasses.asdict(models.load(name, revision or None, device="cpu")[1])
    except SimtuneError as error:
        answer = {"error": type(error).__name__, "status": error.exit_status, "says": str(error)}
    print(json.dumps({**answer, "seconds": time.monotonic() - start}))
"""
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def ask(environment: dict[str, str], *names: str) -> tuple[list[dict[str, Any]], str]:
    command = [sys.executable, "-c", PROGRAM, *names]
    done = forked.run(command, env=environment, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def offline(environment: dict[str, str]) -> dict[str, str]:
    """The same caches without a network, and with the Hub's own address."""
    return {name: value for name, value in environment.items() if name != "HF_ENDPOINT"} | {"HF_HUB_OFFLINE": "1"}


def in_cache(home: Path, name: str, model: Path, commit: str, references: Sequence[str] = ("main",)) -> Path:
    """Lay a model into a Hub cache, as a download leaves it. Returns the repository's folder."""
    repository = home / "hub" / f"models--{name.replace('/', '--')}"
    shutil.copytree(model, repository / "snapshots" / commit)
    absent = repository / ".no_exist" / commit / "adapter_config.json"  # asked for by every load
    absent.parent.mkdir(parents=True)
    absent.touch()
    (repository / "refs").mkdir()
    for reference in references:
        (repository / "refs" / reference).write_text(commit, encoding="utf-8")
    return repository


def test_a_cached_model_of_the_hub_is_recorded_with_its_commit(tmp_path: Path) -> None:
    model, home = tiny_model(tmp_path / "tiny"), tmp_path / "home"
    in_cache(home, "org/tiny", model, COMMIT, ["main", "v1"])
    marked = in_cache(home, "org/mirrored", model, COMMIT)
    (marked / f"{COMMIT}.not-from-the-hub").touch()
    in_cache(home, "org/odd", model, "not-a-commit")
    with LoopbackHub(storage=tmp_path / "storage") as hub:
        environment = offline(hub.environment(home))
        names = ["org/tiny", "org/tiny@v1", f"org/tiny@{COMMIT}", "org/mirrored", "org/odd", f"org/tiny@{'0' * 40}"]
        (main, tag, commit, mirrored, odd, other), _ = ask(environment, *names)
        assert hub.requests == []
    assert [found["revision"] for found in (main, tag, commit)] == [COMMIT] * 3
    assert (main["hub_id"], main["dimensions"]) == ("org/tiny", 32)
    assert (mirrored["hub_id"], mirrored["revision"]) == ("org/mirrored", None)
    assert odd["revision"] is None, "only the Hub's 40 hexadecimal digits are a commit"
    assert other["error"] == "HubError"
    assert f"at revision {'0' * 40}, and the cache does not hold it" in other["says"]


def test_the_commit_that_a_mirror_named_is_none_until_the_hub_names_it_too(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with LoopbackHub(models={"org/tiny": tiny_model(tmp_path / "tiny")}, storage=tmp_path / "storage") as hub:
        environment, commit = hub.environment(home), hub.sha("models", "org/tiny")
        (mirrored,), _ = ask(environment, "org/tiny")
        assert (mirrored["hub_id"], mirrored["revision"]) == ("org/tiny", None)
        (later,), _ = ask(offline(environment), "org/tiny")
        assert (later["weights_sha256"], later["revision"]) == (mirrored["weights_sha256"], None)
        absent = home / "hub" / "models--org--tiny" / ".no_exist" / commit / "adapter_config.json"
        assert absent.is_file(), "as `in_cache` lays it"
        cache = huggingface_hub.scan_cache_dir(home / "hub")
        assert ([repository.repo_id for repository in cache.repos], cache.warnings) == (["org/tiny"], [])

        # A pinned commit comes from the cache, unasked: the Hub must still name it before it counts as the Hub's.
        hub.fail("HEAD", "/(modules|config).json", status=404, headers={"X-Error-Code": "RevisionNotFound"})
        the_hub = environment | {"THE_HUB": "1"}
        pinned, _ = ask(the_hub, f"org/tiny@{commit}", f"org/tiny@{commit}", "org/tiny")
        assert [found["revision"] for found in pinned] == [None, commit, commit]
    (later,), _ = ask(offline(environment), "org/tiny")
    assert later["revision"] == commit


def test_an_answer_that_is_not_the_hubs_is_a_hub_not_reached(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "tiny")
    in_cache(tmp_path / "home", "org/cached", model, COMMIT)
    for status in (403, 429):
        with LoopbackHub(models={"org/cached": model, "org/new": model}, storage=tmp_path / "storage") as hub:
            hub.fail("*", "", status=status, times=1000)
            (cached, new), log = ask(hub.environment(tmp_path / "home"), "org/cached", "org/new")
            asked = [(method, path) for method, path, _ in hub.requests]
        assert asked == [("HEAD", f"/org/{name}/resolve/main/README.md") for name in ("cached", "new")]
        assert cached["dimensions"] == 32
        assert log.count(f"answers with status {status}: looking in the cache") == 2
        assert_not_reached(new)
        assert cached["seconds"] < 30


def test_a_refusal_in_the_midst_of_loading_is_a_hub_not_reached(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "tiny")
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(model / "config.json", bare)
    models = {"org/new": model, "org/weights": model, "org/gated": model, "org/bare": bare}
    with LoopbackHub(models=models, storage=tmp_path / "storage") as hub:
        hub.fail("*", "org/new/.*json", status=403, times=1000)
        hub.fail("*", "org/weights/.*safetensors", status=403, times=1000)
        hub.fail("*", "org/gated/", status=403, times=1000, headers={"X-Error-Code": "GatedRepo"})
        answers, log = ask(hub.environment(tmp_path / "home"), *models, "org/none", "org/bare@v9")
    new, weights, gated, without, none, no_revision = answers
    assert "looking in the cache" not in log, "a Hub that says no has answered"
    assert_not_reached(new)
    assert (gated["error"], gated["status"]) == ("HubError", 1)
    assert "org/gated is gated" in gated["says"] and "hf auth login" in gated["says"]
    for files, name in ((weights, "org/weights"), (without, "org/bare")):  # the libraries tell these two alike
        assert (files["error"], files["status"]) == ("HubError", 1)
        assert f"{name} does not load from {hub.url}" in files["says"] and "emote code" not in files["says"]
        assert "lacks these files there, or something on the way refuses them" in files["says"]
    assert "the Hub has no model org/none, or it is private" in none["says"]
    assert "the Hub has no model org/bare at revision v9" in no_revision["says"]


def assert_not_reached(answer: dict[str, Any], name: str = "org/new") -> None:
    assert (answer["error"], answer["status"]) == ("HubError", 1)
    assert "could not reach the Hub at http://127.0.0.1" in answer["says"]
    assert f"'{name}'" in answer["says"]
    assert all(way in answer["says"] for way in ("--offline", "a local file or folder", "HF_HOME"))
    assert len(answer["says"].splitlines()) == 2
    assert answer["seconds"] < 30
