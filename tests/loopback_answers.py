"""What the loopback Hub answers to each request of the Hub's API: a `Request` in, a `Reply` out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from loopback_repos import Commit, Refused, Repository, Store, card_data, is_large, missing

__all__ = ["TOKEN", "USER", "Reply", "Request", "answer"]

USER = "loopback"
TOKEN = "hf_loopback_only"
"""What pushes need. It opens nothing but a loopback Hub."""

_DATE = "2026-01-01T00:00:00.000Z"  # of every commit: nothing here depends on the clock
_PULL = "refs/pr/"
_BRANCH = re.compile(r"[\w][\w./-]*")

# Ids are matched lazily, so that `gpt2/tree/main` and `org/name/tree/main` are both understood.
_API = r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+(?:/[^/]+)??)"
_FILES = r"/(?P<kind>datasets/)?(?P<name>[^/]+(?:/[^/]+)??)"
_REVISION = r"/(?P<revision>[^/]+)"
_ROUTES = [
    ("GET", r"/api/whoami-v2", "whoami"),
    ("POST", r"/api/validate-yaml", "validate_yaml"),
    ("POST", r"/api/repos/create", "create"),
    ("DELETE", r"/api/repos/delete", "delete"),
    ("GET", _API + rf"(?:/revision{_REVISION})?", "info"),
    ("GET", _API + rf"/tree{_REVISION}(?:/(?P<path>.+))?", "tree"),
    ("POST", _API + rf"/paths-info{_REVISION}", "paths_info"),
    ("GET", _API + r"/refs", "refs"),
    ("GET", _API + r"/discussions", "discussions"),
    ("GET", _API + r"/auth-check/write", "may_write"),
    ("GET", _API + rf"/commits{_REVISION}", "commits"),
    ("POST", _API + rf"/preupload{_REVISION}", "preupload"),
    ("POST", _API + rf"/commit{_REVISION}", "commit"),
    ("POST", _API + rf"/branch{_REVISION}", "branch"),
    ("POST", _API + rf"/tag{_REVISION}", "tag"),
    ("DELETE", _API + rf"/tag{_REVISION}", "untag"),
    ("POST", _FILES + r"\.git/info/lfs/objects/batch", "lfs_batch"),
    ("PUT", r"/lfs/(?P<oid>[^/]+)", "lfs_upload"),
    ("GET|HEAD", _FILES + rf"/resolve{_REVISION}/(?P<path>.+)", "resolve"),
]
_OPEN = {"validate_yaml", "info", "tree", "paths_info", "refs", "discussions", "commits", "lfs_upload", "resolve"}


@dataclass(frozen=True)
class Request:
    """A request as it came: `target` still percent-encoded and without its query, header names in lower case."""

    method: str
    target: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def path(self) -> str:
        return unquote(self.target)

    def json(self) -> dict[str, Any]:
        return _json(self.body)

    def asks(self, name: str) -> bool:
        return self.query.get(name, [""])[-1].lower() in ("1", "true")


@dataclass(frozen=True)
class Reply:
    """What to answer: JSON in `body`, or the bytes `start` to before `end` of `file`; `reason` stands by the status."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None
    start: int = 0
    end: int = 0
    reason: str | None = None


def answer(store: Store, request: Request) -> Reply:
    """Find the route of `request` and follow it; raises `Refused` where the Hub would answer with an error."""
    for methods, pattern, name in _ROUTES:
        found = re.fullmatch(pattern, request.target)
        if found and request.method in methods.split("|"):
            if name not in _OPEN and request.headers.get("authorization") != f"Bearer {TOKEN}":
                message = "Invalid credentials in Authorization header"
                raise Refused(401, message, headers={"X-Error-Message": message})
            part = {key: unquote(value) for key, value in found.groupdict().items() if value}
            reply = getattr(_Answers(store, request, part), name)()
            assert isinstance(reply, Reply)
            return reply
    raise Refused(404, f"a loopback Hub does not answer {request.method} {request.path}")


@dataclass(frozen=True)
class _Answers:
    """One method for each route; `part` holds what the route's pattern caught in the path."""

    store: Store
    request: Request
    part: Mapping[str, str]

    @property
    def repository(self) -> Repository:
        repository = self.store.get(self.part.get("kind", "models").rstrip("/"), self.part["name"])
        if repository.private and self.request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise missing("RepoNotFound", "Repository not found")
        return repository

    @property
    def at(self) -> Commit:
        return self.repository.at(self.part.get("revision", "main"))

    def whoami(self) -> Reply:
        token = {"displayName": "loopback", "role": "write", "createdAt": _DATE}
        auth = {"type": "access_token", "accessToken": token}
        return Reply(body={"type": "user", "id": "0", "name": USER, "fullname": USER, "orgs": [], "auth": auth})

    def validate_yaml(self) -> Reply:
        try:
            data = card_data(self.request.json()["content"])
        except ValueError as error:
            body = {"errors": [{"message": str(error)}], "warnings": []}
            raise Refused(400, "Invalid metadata in README.md", body=body) from error
        warnings = [] if data else [{"message": "empty or missing yaml metadata in repo card"}]
        return Reply(body={"errors": [], "warnings": warnings})

    def _named(self) -> tuple[str, str]:
        asked = self.request.json()
        kind = f"{asked.get('type') or 'model'}s"
        if kind not in ("models", "datasets"):
            raise Refused(400, f"a loopback Hub keeps models and datasets, not {kind}")
        return kind, f"{asked.get('organization') or USER}/{asked['name']}"

    def create(self) -> Reply:
        kind, name = self._named()
        repository, new = self.store.create(kind, name, private=bool(self.request.json().get("private")))
        body = {"url": f"{self.request.url}/{repository.url_path}", "name": name, "id": name}
        if new:
            repository.private = self.request.json().get("visibility") == "private"
        if not new:
            raise Refused(409, f"You already created this {kind[:-1]} repo", body=body)
        return Reply(201, body)

    def delete(self) -> Reply:
        self.store.delete(*self._named())
        return Reply(body={})

    def info(self) -> Reply:
        commit, repository = self.at, self.repository
        readme = commit.tree.get("README.md")
        card = card_data(readme.file.read_text(encoding="utf-8")) if readme else {}
        facts: dict[str, Any] = {"id": repository.name, "author": repository.name.rpartition("/")[0], "sha": commit.sha}
        facts |= {"private": repository.private, "gated": False, "disabled": False, "downloads": 0, "likes": 0}
        facts |= {"createdAt": _DATE, "lastModified": _DATE, "tags": card.get("tags") or [], "cardData": card}
        facts["siblings"] = [{"rfilename": path} for path in sorted(commit.tree)]
        if repository.kind == "models":
            facts["modelId"] = repository.name
            facts |= {key: card[key] for key in ("library_name", "pipeline_tag") if key in card}
        return Reply(body=facts)

    def tree(self) -> Reply:
        return Reply(body=self.at.listing(self.part.get("path", ""), recursive=self.request.asks("recursive")))

    def paths_info(self) -> Reply:
        commit = self.at
        paths = [path.strip("/") for path in parse_qs(self.request.body.decode()).get("paths", [])]
        return Reply(body=[commit.describe(path) for path in paths if commit.has(path)])

    def refs(self) -> Reply:
        def listed(refs: Mapping[str, str], place: str) -> list[dict[str, str]]:
            return [{"name": name, "ref": f"refs/{place}/{name}", "targetCommit": sha} for name, sha in refs.items()]

        repository = self.repository
        branches = {name: sha for name, sha in repository.branches.items() if not name.startswith(_PULL)}
        tags = listed(repository.tags, "tags")
        return Reply(body={"branches": listed(branches, "heads"), "tags": tags, "converts": []})

    def may_write(self) -> Reply:
        self.repository.writable()
        return Reply(body={})

    def discussions(self) -> Reply:
        """The pull requests, newest first: all of them are open."""
        repository = self.repository
        about = {"author": {"name": USER}, "createdAt": _DATE, "status": "open", "isPullRequest": True}
        about["repo"] = {"name": repository.name, "type": repository.kind[:-1]}
        pulls = {int(name.removeprefix(_PULL)): sha for name, sha in repository.branches.items() if _PULL in name}
        found = [{"num": number, "title": repository.at(sha).title, **about} for number, sha in pulls.items()]
        return Reply(body={"discussions": found[::-1], "count": len(found), "start": 0})

    def commits(self) -> Reply:
        def listed(commit: Commit) -> dict[str, Any]:
            return {"id": commit.sha, "title": commit.title, "message": "", "authors": [{"user": USER}], "date": _DATE}

        return Reply(body=[listed(commit) for commit in self.repository.history(self.part.get("revision", "main"))])

    def preupload(self) -> Reply:
        self.repository.writable()
        tree = self.at.tree
        files: list[dict[str, Any]] = []
        for asked in self.request.json()["files"]:
            path, known = asked["path"], tree.get(asked["path"])
            mode = "lfs" if is_large(path, asked["size"]) else "regular"
            files.append(
                {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": known.etag if known else None}
            )
        return Reply(body={"files": files})

    def lfs_batch(self) -> Reply:
        self.repository.writable()
        objects: list[dict[str, Any]] = []
        for asked in self.request.json()["objects"]:
            oid = asked["oid"]
            reply = {"oid": oid, "size": asked["size"]}
            if not self.store.objects.path(oid).exists():
                reply["actions"] = {"upload": {"href": f"{self.request.url}/lfs/{oid}", "header": {}}}
            objects.append(reply)
        return Reply(body={"transfer": "basic", "objects": objects})

    def lfs_upload(self) -> Reply:
        # Like the Hub's signed storage links this one needs no token: the content has to hash to the name.
        self.store.objects.add(self.request.body, self.part["oid"])
        return Reply(body={})

    def commit(self) -> Reply:
        lines = [_json(line) for line in self.request.body.splitlines() if line.strip()]
        repository, branch = self.repository, self.part["revision"]
        answer = {"success": True, "hookOutput": ""}
        if self.request.asks("create_pr"):
            number = 1 + sum(name.startswith(_PULL) for name in repository.branches)
            made = repository.propose(f"{_PULL}{number}", branch, lines, self.store.objects)
            answer["pullRequestUrl"] = f"{self.request.url}/{repository.url_path}/discussions/{number}"
        else:
            made = repository.commit(branch, lines, self.store.objects)
        url = f"{self.request.url}/{repository.url_path}/commit/{made.sha}"
        return Reply(body=answer | {"commitOid": made.sha, "commitUrl": url})

    def branch(self) -> Reply:
        repository, name = self.repository, self.part["revision"]
        return self._point(repository, repository.branches, name, self.request.json().get("startingPoint", "main"))

    def tag(self) -> Reply:
        repository = self.repository
        return self._point(repository, repository.tags, self.request.json()["tag"], self.part["revision"])

    def _point(self, repository: Repository, refs: dict[str, str], name: str, revision: str) -> Reply:
        repository.writable()
        if not _BRANCH.fullmatch(name):
            raise Refused(400, f"not a name for a branch or a tag: {name!r}")
        if name in refs:
            raise Refused(409, f"Reference already exists: {name}")
        refs[name] = repository.at(revision).sha
        return Reply(201, {})

    def untag(self) -> Reply:
        repository = self.repository
        repository.writable()
        if repository.tags.pop(self.part["revision"], None) is None:
            raise missing("RevisionNotFound", f"no such tag: {self.part['revision']}")
        return Reply(body={})

    def resolve(self) -> Reply:
        commit = self.at
        blob = commit.blob(self.part["path"])
        headers = {"X-Repo-Commit": commit.sha, "ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.request.headers.get("range", ""))
        if asked is None or asked.group(0) == "bytes=-":
            return Reply(200, headers=headers, file=blob.file, end=blob.size)
        first, last = asked.groups()
        start = int(first) if first else max(0, blob.size - int(last))
        end = min(blob.size, int(last) + 1) if first and last else blob.size
        if start >= end:
            raise Refused(416, "range not satisfiable", headers={"Content-Range": f"bytes */{blob.size}"})
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{blob.size}"
        return Reply(206, headers=headers, file=blob.file, start=start, end=end)


def _json(text: bytes) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise Refused(400, f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise Refused(400, f"a JSON object is needed, got {type(data).__name__}")
    return data
