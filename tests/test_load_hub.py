"""Data sets of the Hub and local copies of them: revisions, cards, caches, and a Hub that is not there."""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import forked
import pytest
from loopback_hub import LoopbackHub

from hf_simtune.data.load import load
from hf_simtune.data.shapes import CANONICAL
from hf_simtune.errors import DataError, RequestError

CARD = """---
license: cc-by-4.0
configs:
- config_name: easy
  data_files: [{split: train, path: train.csv}, {split: test, path: test.csv}]
- config_name: hard
  data_files: [{split: train, path: test.csv}]
simtune: {score_range: [0, 5]}
---
"""
# In its own process, since the libraries read HF_ENDPOINT when they are imported.
PROGRAM = """
import dataclasses, json, sys, time
from hf_simtune.data.load import load
from hf_simtune.errors import SimtuneError
for name in sys.argv[1:]:
    start = time.monotonic()
    try:
        answer = dataclasses.asdict(load(name).source)
    except SimtuneError as error:
        answer = {"error": type(error).__name__, "says": str(error)}
    print(json.dumps({**answer, "seconds": time.monotonic() - start}))
"""


@pytest.fixture
def graded(tmp_path: Path) -> Path:
    folder = tmp_path / "datasets" / "me" / "graded"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    for split, scores in (("train", (0, 5, 2)), ("test", (1, 4))):
        rows = "".join(f"{split} {score},text,{score}\n" for score in scores)
        (folder / f"{split}.csv").write_text("sentence1,sentence2,score\n" + rows)
    return folder


def ask(environment: dict[str, str], *names: str) -> list[dict[str, Any]]:
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", PROGRAM, *names]
    done = forked.run(command, env=environment, cwd=root)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_local_copy_is_called_one(graded: Path, tmp_path: Path) -> None:
    loaded = load(f"{graded}/easy:test", cache_dir=tmp_path / "cache")
    source = loaded.source
    assert source.title == "me/graded/easy:test"
    assert (source.kind, source.revision, source.license) == ("local copy", None, "cc-by-4.0")
    assert loaded.dataset["score"][:] == [0.2, 0.8]
    assert (source.rescaled_from, source.rescaled_because) == ((0, 5), "the data card states it")
    told = load(f"{graded}/easy:test", score_range=(0, 10), cache_dir=tmp_path / "cache")
    assert told.dataset["score"][:] == [0.1, 0.4]
    assert str(tmp_path) not in repr(source)


def test_a_scale_in_a_card_that_is_none_is_refused(graded: Path, tmp_path: Path) -> None:
    (graded / "README.md").write_text(CARD.replace("[0, 5]", "[5, 0]"))
    with pytest.raises(DataError, match=r"states simtune: score_range: \[5, 0\]"):
        load(f"{graded}/easy:test", cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "says"),
    [("/easy:dev", "no split 'dev'; it has train, test"), ("/soft", "no configuration 'soft'; it has easy, hard")],
)
def test_a_missing_part_is_answered_with_those_there_are(graded: Path, tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        load(f"{graded}{name}", cache_dir=tmp_path / "cache")
    with pytest.raises(RequestError, match="several configurations; it has easy, hard"):
        load(str(graded), cache_dir=tmp_path / "cache")


@pytest.mark.slow
def test_a_data_set_comes_from_a_hub_and_from_its_cache(graded: Path, tmp_path: Path) -> None:
    with LoopbackHub(datasets={"me/graded": graded}, storage=tmp_path / "hub") as hub:
        environment = hub.environment(tmp_path / "home")
        names = ["me/graded/easy:test", "me/graded:test", "me/nothing", "me/graded/easy:dev", "me/graded/easy@v9"]
        found, several, nothing, no_split, no_revision = ask(environment, *names)
    # A server other than huggingface.co names commits, but they are no revisions of the Hub.
    assert (found["kind"], found["revision"], found["license"]) == ("local copy", None, "cc-by-4.0")
    assert (found["name"], found["config"], found["rows"]) == ("me/graded", "easy", 2)
    assert "it has easy, hard" in several["says"]
    assert nothing["error"] == "HubError"
    assert "no data set 'me/nothing'" in nothing["says"]
    assert "it has train, test" in no_split["says"]
    assert "revision 'v9'" in no_revision["says"]

    gone = ask(environment, "me/graded/easy:test", f"me/graded/easy:test@{'0' * 40}", "me/nothing")
    assert gone[0]["fingerprint"] == found["fingerprint"]
    assert "it holds revision" in gone[1]["says"]
    assert_three_ways(gone[2])
    assert "HF_HUB_OFFLINE is set" not in gone[2]["says"]

    # Offline and with the Hub's own address, the cache still knows that this commit was not the Hub's.
    offline = {**environment, "HF_HUB_OFFLINE": "1"}
    del offline["HF_ENDPOINT"]
    cached, missing = ask(offline, "me/graded/easy:test", "me/nothing")
    assert cached["fingerprint"] == found["fingerprint"]
    assert (cached["kind"], cached["revision"]) == ("local copy", None)
    assert_three_ways(missing)
    assert "HF_HUB_OFFLINE is set" in missing["says"]
    for mark in (tmp_path / "home").rglob("*.not-from-the-hub"):
        mark.unlink()
    (cached,) = ask(offline, "me/graded/easy:test")
    assert (cached["kind"], len(cached["revision"])) == ("hub", 40)


class Refuses(BaseHTTPRequestHandler):
    """What a filtering proxy looks like: an answer, and not the Hub's."""

    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.slow
def test_an_answer_that_is_not_the_hubs_is_a_hub_not_reached(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
        environment["HF_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
        (answer,) = ask(environment, "me/nothing")
        server.shutdown()
    assert_three_ways(answer)
    assert len(answer["says"].splitlines()) == 2


def assert_three_ways(answer: dict[str, Any]) -> None:
    assert answer["error"] == "HubError"
    assert "could not reach the Hub" in answer["says"]
    assert "'me/nothing'" in answer["says"]
    assert all(way in answer["says"] for way in ("--offline", "a local file or folder", "HF_HOME"))
    assert answer["seconds"] < 10


@pytest.mark.parametrize(
    ("name", "rows", "shape"),
    [
        ("sentence-transformers/stsb:train", 5749, "scored"),
        ("sentence-transformers/stsb:validation", 1500, "scored"),
        ("sentence-transformers/stsb:test", 1379, "scored"),
        ("embedding-data/sentence-compression", 96158, "pairs"),
        ("sentence-transformers/all-nli/triplet:dev", 600, "triplets"),
        ("sentence-transformers/all-nli/triplet:train", 5559, "triplets"),
    ],
)
def test_real_data_load_whole(name: str, rows: int, shape: str, shared_hub: Path, tmp_path: Path) -> None:
    loaded = load(f"{shared_hub}/{name}", cache_dir=tmp_path)
    assert (loaded.source.rows, len(loaded.dataset), loaded.source.shape) == (rows, rows, shape)
    assert loaded.source.dropped == {}
    assert set(loaded.dataset.column_names) == {*CANONICAL[shape], "row"}
    assert name.startswith(loaded.source.name)


def test_the_built_in_corpus_loads_in_the_shape_that_is_wanted(tmp_path: Path) -> None:
    scored = load("builtin:sports:validation", expect=("scored",), rows=50, cache_dir=tmp_path)
    assert scored.source.title == "builtin:sports/scored:validation"
    assert {"group", "row"} <= set(scored.dataset.column_names)
    with pytest.raises(RequestError, match="builtin:sports has no quads:train"):
        load("builtin:sports/quads", cache_dir=tmp_path)
