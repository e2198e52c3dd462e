"""The loopback Hub itself, over raw HTTP; what the client libraries make of it is in test_loopback_clients.py."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import loopback_repos
import pyarrow.parquet as pq
import pytest
from loopback_hub import TOKEN, LoopbackHub, Refused
from tiny import hub_folder_from_rows

AUTHORISED = {"Authorization": f"Bearer {TOKEN}"}
TEXT = b"0123456789"
PACKED = gzip.compress(b"a line\n", mtime=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    for path, content in {"README.md": b"---\nlicense: mit\n---\nHi\n", "a/b/text.txt": TEXT, "a/x.gz": PACKED}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.fixture
def hub(folder: Path, tmp_path: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub({"org/model": folder, "gpt2": folder}, {"org/data": folder}, storage=tmp_path / "storage") as hub:
        yield hub


def ask(
    hub: LoopbackHub, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    with closing(http.client.HTTPConnection(urlsplit(hub.url).netloc, timeout=10)) as connection:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def get(hub: LoopbackHub, path: str) -> Any:
    status, _, body = ask(hub, "GET", path)
    assert status == 200, body
    return json.loads(body)


def post(hub: LoopbackHub, path: str, asked: Any, headers: Mapping[str, str] = AUTHORISED) -> tuple[int, Any]:
    status, _, body = ask(hub, "POST", path, json.dumps(asked).encode(), headers)
    return status, json.loads(body)


def create(hub: LoopbackHub, name: str = "new") -> None:
    assert post(hub, "/api/repos/create", {"name": name, "organization": "me"})[0] == 201


def commit(hub: LoopbackHub, *operations: Mapping[str, Any], name: str = "new", **header: str) -> tuple[int, Any]:
    lines = [{"key": "header", "value": {"summary": "a commit", "description": "", **header}}, *operations]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    status, _, reply = ask(hub, "POST", f"/api/models/me/{name}/commit/main", body, AUTHORISED)
    return status, json.loads(reply)


def added(path: str, content: bytes) -> dict[str, Any]:
    text = base64.b64encode(content).decode()
    return {"key": "file", "value": {"path": path, "content": text, "encoding": "base64"}}


@pytest.mark.parametrize("prefix", ["/org/model", "/gpt2", "/datasets/org/data"])
def test_a_served_file_comes_with_its_length_commit_and_git_hash(hub: LoopbackHub, prefix: str) -> None:
    status, headers, body = ask(hub, "GET", f"{prefix}/resolve/main/a/b/text.txt")
    assert (status, body) == (200, TEXT)
    assert headers["ETag"] == f'"{hashlib.sha1(b"blob 10" + bytes(1) + TEXT).hexdigest()}"'
    assert len(headers["X-Repo-Commit"]) == 40
    head_status, head, nothing = ask(hub, "HEAD", f"{prefix}/resolve/{headers['X-Repo-Commit']}/a/b/text.txt")
    assert (head_status, nothing) == (200, b"")
    assert [head[name] for name in ("ETag", "Content-Length")] == [headers["ETag"], "10"]


def test_a_large_file_is_named_by_its_sha256(hub: LoopbackHub) -> None:
    sha256 = hashlib.sha256(PACKED).hexdigest()
    assert ask(hub, "HEAD", "/org/model/resolve/main/a/x.gz")[1]["ETag"] == f'"{sha256}"'
    (entry,) = [one for one in get(hub, "/api/models/org/model/tree/main/a") if one["path"] == "a/x.gz"]
    assert (entry["lfs"]["oid"], entry["size"]) == (sha256, len(PACKED))


@pytest.mark.parametrize(
    ("asked", "status", "body", "content_range"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-999", 206, b"89", "bytes 8-9/10"),
        ("bytes=0-1,4-5", 200, TEXT, None),
        ("bytes=10-", 416, None, "bytes */10"),
    ],
)
def test_a_range_is_cut_out(
    hub: LoopbackHub, asked: str, status: int, body: bytes | None, content_range: str | None
) -> None:
    got, headers, content = ask(hub, "GET", "/org/model/resolve/main/a/b/text.txt", headers={"Range": asked})
    assert (got, headers["Content-Range"]) == (status, content_range)
    assert body is None or content == body


def test_a_tree_is_listed_by_folder_or_whole(hub: LoopbackHub) -> None:
    def listed(path: str) -> list[tuple[str, str]]:
        return [(entry["type"], entry["path"]) for entry in get(hub, f"/api/datasets/org/data/tree/main{path}")]

    below = [("directory", "a/b"), ("file", "a/b/text.txt"), ("file", "a/x.gz")]
    assert listed("") == [("file", "README.md"), ("directory", "a")]
    assert listed("?recursive=True") == [("file", "README.md"), ("directory", "a"), *below]
    assert listed("/a") == [("directory", "a/b"), ("file", "a/x.gz")]
    assert listed("/a?recursive=true") == below
    assert listed("/a%2Fb") == [("file", "a/b/text.txt")]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/org/model/resolve/main/none.txt", "EntryNotFound"),
        ("/org/model/resolve/main/a", "EntryNotFound"),
        ("/api/models/org/model/tree/main/none", "EntryNotFound"),
        ("/org/model/resolve/v9/README.md", "RevisionNotFound"),
        ("/api/models/org/model/revision/v9", "RevisionNotFound"),
        ("/org/none/resolve/main/README.md", "RepoNotFound"),
        ("/api/datasets/org/model", "RepoNotFound"),
        ("/org/model/resolve/main/..%2F..%2Fpasswd", "EntryNotFound"),
        ("/api/spaces/org/model", None),
    ],
)
def test_what_is_missing_is_said_with_the_hubs_code(hub: LoopbackHub, path: str, code: str | None) -> None:
    status, headers, _ = ask(hub, "GET", path)
    assert (status, headers["X-Error-Code"]) == (404, code)
    assert ("X-Repo-Commit" in headers) == (code == "EntryNotFound")


def test_every_request_is_noted_without_query_or_token(hub: LoopbackHub) -> None:
    ask(hub, "GET", "/api/models/org/model/tree/main/a%2Fb?recursive=1", headers=AUTHORISED)
    ask(hub, "PUT", "/nowhere?secret=1", b"x", AUTHORISED)
    assert hub.requests == [("GET", "/api/models/org/model/tree/main/a/b", 200), ("PUT", "/nowhere", 404)]


def test_the_info_of_a_model_tells_commit_files_and_card(hub: LoopbackHub) -> None:
    info = get(hub, "/api/models/org/model/revision/main")
    assert (info["id"], info["sha"], info["cardData"]) == (
        "org/model",
        hub.sha("models", "org/model"),
        {"license": "mit"},
    )
    assert [one["rfilename"] for one in info["siblings"]] == hub.paths("models", "org/model")


def test_a_push_is_kept_and_can_be_undone_file_by_file(hub: LoopbackHub) -> None:
    create(hub)
    first = commit(hub, added("README.md", b"one"), added("d/e.txt", b"two"))[1]["commitOid"]
    assert (hub.read("models", "me/new", "README.md"), hub.sha("models", "me/new")) == (b"one", first)
    assert commit(hub, {"key": "deletedFolder", "value": {"path": "d/"}})[0] == 200
    assert hub.paths("models", "me/new") == [".gitattributes", "README.md"]
    assert hub.read("models", "me/new", "d/e.txt", first) == b"two"
    assert [one["title"] for one in get(hub, "/api/models/me/new/commits/main")] == ["a commit"] * 2 + [
        "initial commit"
    ]


def test_a_large_upload_has_to_hash_to_its_name(hub: LoopbackHub) -> None:
    create(hub)
    oid = hashlib.sha256(PACKED).hexdigest()
    asked = {"objects": [{"oid": oid, "size": len(PACKED)}]}
    action = post(hub, "/me/new.git/info/lfs/objects/batch", asked)[1]["objects"][0]["actions"]["upload"]
    target = urlsplit(action["href"]).path
    pointer = {"key": "lfsFile", "value": {"path": "x.gz", "algo": "sha256", "oid": oid, "size": len(PACKED)}}
    assert ask(hub, "PUT", target, b"something else")[0] == 422
    assert commit(hub, added("y.txt", b"y"), pointer)[0] == 400
    assert hub.paths("models", "me/new") == [".gitattributes"], "a refused commit leaves nothing behind"
    assert ask(hub, "PUT", target, PACKED)[0] == 200
    assert commit(hub, pointer)[0] == 200
    assert hub.read("models", "me/new", "x.gz") == PACKED
    again = post(hub, "/me/new.git/info/lfs/objects/batch", asked)[1]["objects"]
    assert again == [{"oid": oid, "size": len(PACKED)}], "known content is not asked for again"


@pytest.mark.parametrize(
    ("operation", "header", "status"),
    [
        (added("../x", b""), {}, 400),
        (added("/x", b""), {}, 400),
        (added("", b""), {}, 400),
        ({"key": "lfsFile", "value": {"path": "x", "oid": "../../etc/passwd"}}, {}, 422),
        ({"key": "deletedFile", "value": {"path": "none"}}, {}, 404),
        ({"key": "symlink", "value": {"path": "x"}}, {}, 400),
        (added("x", b""), {"parentCommit": "0" * 40}, 412),
    ],
)
def test_a_bad_commit_is_refused(hub: LoopbackHub, operation: Any, header: dict[str, str], status: int) -> None:
    create(hub)
    before = hub.sha("models", "me/new")
    assert commit(hub, operation, **header)[0] == status
    assert hub.sha("models", "me/new") == before


def test_the_same_tree_on_the_same_parent_has_the_same_sha(hub: LoopbackHub) -> None:
    for name in ("one", "two"):
        create(hub, name)
        assert commit(hub, added("x", b"1"), name=name)[0] == 200
    first = hub.sha("models", "me/one")
    assert hub.sha("models", "me/two") == first
    commit(hub, added("x", b"2"), name="two")
    commit(hub, added("x", b"1"), name="two")
    assert hub.sha("models", "me/two") != first, "the parent counts"


def test_a_branch_and_a_tag_point_where_they_were_set(hub: LoopbackHub) -> None:
    create(hub)
    start = hub.sha("models", "me/new")
    assert post(hub, "/api/models/me/new/tag/main", {"tag": "v1"})[0] == 201
    assert post(hub, "/api/models/me/new/tag/main", {"tag": "v1"})[0] == 409
    assert post(hub, "/api/models/me/new/branch/refs%2Fdev", {})[0] == 201
    commit(hub, added("x", b"1"))
    assert [hub.sha("models", "me/new", ref) for ref in ("v1", "refs/dev", start[:7])] == [start] * 3
    refs = get(hub, "/api/models/me/new/refs")
    assert [ref["name"] for ref in (*refs["branches"], *refs["tags"])] == ["main", "refs/dev", "v1"]
    assert ask(hub, "DELETE", "/api/models/me/new/tag/v1", headers=AUTHORISED)[0] == 200
    with pytest.raises(Refused, match="v1"):
        hub.sha("models", "me/new", "v1")


def test_writing_needs_the_token_and_leaves_served_folders_alone(hub: LoopbackHub, folder: Path) -> None:
    for headers in ({}, {"Authorization": "Bearer hf_other"}):
        assert post(hub, "/api/repos/create", {"name": "new"}, headers)[0] == 401
    status, reply = post(hub, "/api/repos/create", {"name": "model", "organization": "org"})
    assert (status, reply["url"]) == (409, f"{hub.url}/org/model")
    assert post(hub, "/api/models/org/model/preupload/main", {"files": []})[0] == 403
    assert post(hub, "/api/models/org/model/tag/main", {"tag": "v1"})[0] == 403
    assert (folder / "a/b/text.txt").read_bytes() == TEXT


def test_a_fault_hits_as_often_as_asked_and_only_what_it_names(hub: LoopbackHub) -> None:
    hub.fail("GET", r"/resolve/.*\.md$", status=503, times=2, headers={"Retry-After": "0"})
    hub.fail("*", "x.gz")
    readme, other = "/org/model/resolve/main/README.md", "/org/model/resolve/main/a/b/text.txt"
    assert [ask(hub, method, readme)[0] for method in ("HEAD", "GET", "GET", "GET")] == [200, 503, 503, 200]
    assert [ask(hub, "GET", path)[0] for path in (other, "/org/model/resolve/main/a/x.gz")] == [200, 500]
    hub.fail("GET", "README", headers={"Retry-After": "7"})
    assert ask(hub, "GET", readme)[1]["Retry-After"] == "7"


def test_it_listens_on_127_0_0_1_alone(hub: LoopbackHub) -> None:
    address = urlsplit(hub.url)
    assert address.hostname == "127.0.0.1"
    with pytest.raises(OSError), closing(socket.create_connection(("127.0.0.2", address.port or 0), timeout=5)):  # noqa: PT011
        pass


def test_leaving_it_ends_every_thread_even_while_a_client_is_silent(folder: Path, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with LoopbackHub({"org/model": folder}, storage=tmp_path / "storage") as hub:
        address = urlsplit(hub.url)
        silent = socket.create_connection((address.hostname, address.port), timeout=10)
        silent.sendall(b"GET /api/models/org/model HTTP/1.1\r\n")
        for _ in range(200):
            if len(set(threading.enumerate()) - before) == 2:  # the server's and the silent client's
                break
            time.sleep(0.01)
        start = time.monotonic()
    with closing(silent):
        assert time.monotonic() - start < 5
        assert set(threading.enumerate()) <= before
        assert silent.recv(100) == b""
    with pytest.raises(ConnectionError):
        ask(hub, "GET", "/api/models/org/model")


def test_a_bug_in_the_hub_is_answered_with_500_and_raised_at_the_end(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(loopback_repos.Repository, "at")
    with pytest.raises(RuntimeError, match="failed on 1 request"):  # noqa: SIM117
        with LoopbackHub({"org/model": folder}, storage=tmp_path / "storage") as hub:
            assert ask(hub, "GET", "/api/models/org/model")[0] == 500


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Content-Length": str(1 << 40)}, 413), ({"Content-Length": "-1"}, 411), ({"Transfer-Encoding": "chunked"}, 411)],
)
def test_a_body_of_unknown_or_absurd_length_is_not_read(hub: LoopbackHub, headers: dict[str, str], status: int) -> None:
    assert ask(hub, "PUT", "/lfs/x", headers=headers)[0] == status


def test_a_folder_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none-a.*none-b"):
        LoopbackHub({"a/a": tmp_path / "none-a"}, {"b/b": tmp_path / "none-b"}, storage=tmp_path)


def test_the_environment_points_at_the_hub_and_drops_what_would_lead_elsewhere(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "https_proxy",
        "HTTP_PROXY",
        "HF_HUB_OFFLINE",
        "HF_DATASETS_CACHE",
        "HF_TOKEN",
        "TRANSFORMERS_OFFLINE",
    ):
        monkeypatch.setenv(name, "elsewhere")
    environment = hub.environment(tmp_path / "home", EXTRA="1")
    assert "elsewhere" not in environment.values()
    assert environment["PATH"] == os.environ["PATH"]
    expected = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", "EXTRA": "1"}
    assert expected.items() <= environment.items()


def test_rows_become_a_data_set_folder_of_either_shape(tmp_path: Path) -> None:
    rows = [{"anchor": "a", "positive": "b", "score": 0.5}]
    plain = hub_folder_from_rows(tmp_path / "plain", {"train": rows * 2, "test": rows})
    assert pq.read_table(plain / "data/train-00000-of-00001.parquet").to_pylist() == rows * 2
    assert "path: data/test-*" in (plain / "README.md").read_text(encoding="utf-8")
    packed = hub_folder_from_rows(tmp_path / "packed", {"train": rows}, set_column=True)
    assert gzip.decompress((packed / "packed_compressed.jsonl.gz").read_bytes()) == b'{"set": ["a", "b"]}\n'
    with pytest.raises(ValueError, match="test"):
        hub_folder_from_rows(tmp_path / "none", {"train": rows, "test": []})
    with pytest.raises(ValueError, match="only the split 'train'"):
        hub_folder_from_rows(tmp_path / "none", {"test": rows}, set_column=True)
