"""What the loopback Hub keeps: repositories, their commits and the contents of their files. No HTTP in here."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

__all__ = ["Blob", "Commit", "Objects", "Refused", "Repository", "Store", "card_data", "is_large", "missing"]

_LARGE_SUFFIXES = {".arrow", ".bin", ".gz", ".h5", ".npy", ".onnx", ".parquet", ".pt", ".safetensors", ".zip"}
_LARGE_BYTES = 10 * 1024 * 1024
_ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in sorted(_LARGE_SUFFIXES)).encode()
_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n?---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Refused(Exception):
    """A request that the Hub answers with an error: HTTP status, `X-Error-Code` (may be empty), body and headers."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str = "",
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.body = {"error": message, **(body or {})}
        self.headers = dict(headers or {})


def missing(code: str, message: str, commit: str = "") -> Refused:
    """A 404; with `commit` set it tells the client which commit lacks the entry, so that it can remember that."""
    return Refused(404, message, code, headers={"X-Repo-Commit": commit} if commit else None)


def is_large(path: str, size: int) -> bool:
    """Whether a file belongs in LFS: by its suffix, as `.gitattributes` says, or above 10 MiB; never if empty."""
    return size > 0 and (PurePosixPath(path).suffix.lower() in _LARGE_SUFFIXES or size > _LARGE_BYTES)


def card_data(text: str) -> dict[str, Any]:
    """The YAML block that opens a README.md; empty where there is none. Raises ValueError if it is no mapping."""
    found = _FRONT_MATTER.match(text)
    if found is None:
        return {}
    try:
        data = yaml.safe_load(found.group(1))
    except yaml.YAMLError as error:
        raise ValueError(f"invalid YAML: {error}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ValueError(f"metadata must be a mapping, got {type(data).__name__}")
    return data


@dataclass(frozen=True)
class Blob:
    """One file's content: where it lies on disk, and the hashes by which the Hub names it."""

    file: Path
    size: int
    sha256: str
    git_sha1: str
    large: bool

    @classmethod
    def of(cls, file: Path, path: str, *, large: bool | None = None) -> Blob:
        """Hash `file`, known in its repository as `path`."""
        size = file.stat().st_size
        sha256, sha1 = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size)
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                sha256.update(chunk)
                sha1.update(chunk)
        return cls(file, size, sha256.hexdigest(), sha1.hexdigest(), is_large(path, size) if large is None else large)

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.git_sha1

    def describe(self, path: str) -> dict[str, Any]:
        """The entry of a tree listing."""
        entry: dict[str, Any] = {"type": "file", "path": path, "size": self.size, "oid": self.git_sha1}
        if self.large:
            pointer = (
                f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()
            )
            entry["oid"] = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()
            entry["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": len(pointer)}
        return entry


@dataclass(frozen=True)
class Objects:
    """Uploaded contents by SHA-256, as files in one folder."""

    folder: Path

    def path(self, oid: str) -> Path:
        if not _SHA256.fullmatch(oid):
            raise Refused(422, f"not a SHA-256 in lower-case hexadecimal: {oid!r}")
        return self.folder / oid

    def add(self, content: bytes, oid: str | None = None) -> Path:
        """Keep `content`; refused with 422 if it does not hash to the `oid` that was promised."""
        actual = hashlib.sha256(content).hexdigest()
        if oid is not None and actual != oid:
            raise Refused(422, f"uploaded content has SHA-256 {actual}, promised was {oid}")
        file = self.path(actual)
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return file


@dataclass(frozen=True)
class Commit:
    """A state of a repository. The same tree on the same parent always has the same `sha`."""

    parent: str
    title: str
    tree: Mapping[str, Blob]
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        facts = [self.parent, sorted((path, blob.sha256) for path, blob in self.tree.items())]
        object.__setattr__(self, "sha", hashlib.sha1(json.dumps(facts).encode()).hexdigest())

    def blob(self, path: str) -> Blob:
        if path not in self.tree:
            raise missing("EntryNotFound", f"Entry not found: {path}", self.sha)
        return self.tree[path]

    def listing(self, folder: str = "", *, recursive: bool = False) -> list[dict[str, Any]]:
        """What lies in `folder`, sub-folders as `type: directory`; refused with 404 if there is no such folder."""
        prefix = f"{folder}/" if folder else ""
        inside = {path: blob for path, blob in self.tree.items() if path.startswith(prefix)}
        if prefix and not inside:
            raise missing("EntryNotFound", f"{folder} does not exist on revision {self.sha}", self.sha)
        folders = {str(parent) for path in inside for parent in PurePosixPath(path).parents} - {"."}
        entries = [self.describe(path) for path in sorted(folders | set(inside)) if path.startswith(prefix)]
        return [entry for entry in entries if recursive or "/" not in entry["path"].removeprefix(prefix)]

    def describe(self, path: str) -> dict[str, Any]:
        """The entry of a tree listing for a file or a folder of this commit."""
        if path in self.tree:
            return self.tree[path].describe(path)
        inside = sorted((name, blob.sha256) for name, blob in self.tree.items() if name.startswith(f"{path}/"))
        return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(repr(inside).encode()).hexdigest()}

    def has(self, path: str) -> bool:
        return path in self.tree or any(name.startswith(f"{path}/") for name in self.tree)


class Repository:
    """A model or data set with its branches and tags; `read_only` where it shows a folder."""

    def __init__(self, kind: str, name: str, first: Commit, *, read_only: bool = False) -> None:
        self.kind, self.name, self.read_only = kind, name, read_only
        self.commits = {first.sha: first}
        self.branches = {"main": first.sha}
        self.tags: dict[str, str] = {}
        self.private = False

    @classmethod
    def of_folder(cls, kind: str, name: str, folder: Path) -> Repository:
        """Everything in `folder` as one commit, hashed now; later changes of the folder are not seen."""
        files = (file for file in sorted(folder.rglob("*")) if file.is_file())
        paths = {file.relative_to(folder).as_posix(): file for file in files}
        tree = {path: Blob.of(file, path) for path, file in paths.items() if not path.startswith(".git/")}
        return cls(kind, name, Commit("", "served from a folder", tree), read_only=True)

    @property
    def url_path(self) -> str:
        return f"datasets/{self.name}" if self.kind == "datasets" else self.name

    def at(self, revision: str) -> Commit:
        """The commit that a branch, a tag or a commit hash (or the first 7 characters and more of one) names."""
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        found = [known for known in self.commits if known == sha or (len(sha) >= 7 and known.startswith(sha))]
        if len(found) != 1:
            raise missing("RevisionNotFound", f"Invalid rev id: {revision}")
        return self.commits[found[0]]

    def history(self, revision: str) -> list[Commit]:
        """The commits that lead to `revision`, newest first."""
        commits = [self.at(revision)]
        while commits[-1].parent:
            commits.append(self.commits[commits[-1].parent])
        return commits

    def writable(self) -> None:
        if self.read_only:
            raise Refused(403, f"{self.name} is served from a folder and takes no push")

    def propose(self, pull: str, branch: str, lines: Iterable[dict[str, Any]], objects: Objects) -> Commit:
        """A pull request of one commit on `branch`, which stays where it is."""
        self.branches[pull] = self.at(branch).sha
        try:
            return self.commit(pull, lines, objects)
        except Refused:
            del self.branches[pull]
            raise

    def commit(self, branch: str, lines: Iterable[dict[str, Any]], objects: Objects) -> Commit:
        """Apply the lines of a commit request (header, file, lfsFile, deletedFile, deletedFolder): all or nothing."""
        self.writable()
        if branch not in self.branches:
            raise missing("RevisionNotFound", f"no such branch: {branch}")
        parent = self.commits[self.branches[branch]]
        tree, title = dict(parent.tree), ""
        for line in lines:
            key, value = line["key"], line["value"]
            if key == "header":
                title = value["summary"]
                if not parent.sha.startswith(value.get("parentCommit", "")):
                    raise Refused(412, "A commit has happened since. Please refresh and try again.")
                continue
            path = _safe(value["path"])
            if key == "file":
                content = base64.b64decode(value["content"], validate=True)
                tree[path] = Blob.of(objects.add(content), path, large=False)
            elif key == "lfsFile":
                file = objects.path(value["oid"])
                if not file.exists():
                    raise Refused(400, f"{path}: content {value['oid']} was not uploaded")
                tree[path] = Blob.of(file, path, large=True)
            elif key in ("deletedFile", "deletedFolder"):
                gone = [name for name in tree if name == path or (key[7:] == "Folder" and name.startswith(f"{path}/"))]
                if not gone:
                    raise missing("EntryNotFound", f"A file with this name doesn't exist: {path}", parent.sha)
                tree = {name: blob for name, blob in tree.items() if name not in gone}
            else:
                raise Refused(400, f"unknown operation in a commit: {key!r}")
        made = Commit(parent.sha, title, tree)
        self.commits[made.sha] = made
        self.branches[branch] = made.sha
        return made


class Store:
    """All repositories of a hub: folders by (kind, id), read at the first request for them, and what was pushed."""

    def __init__(self, folders: Mapping[tuple[str, str], Path], storage: Path) -> None:
        absent = [str(folder) for folder in folders.values() if not folder.is_dir()]
        if absent:
            raise ValueError(f"not a folder: {', '.join(absent)}")
        self.objects = Objects(storage / "objects")
        self._folders = dict(folders)
        self._repositories: dict[tuple[str, str], Repository] = {}

    def get(self, kind: str, name: str) -> Repository:
        """The repository; refused with 404 if there is none."""
        key = (kind, name)
        if key not in self._repositories:
            if key not in self._folders:
                raise missing("RepoNotFound", "Repository not found")
            self._repositories[key] = Repository.of_folder(kind, name, self._folders[key])
        return self._repositories[key]

    def create(self, kind: str, name: str) -> tuple[Repository, bool]:
        """The repository of that id, and whether it is new; a new one holds `.gitattributes`, as on the Hub."""
        key = (kind, name)
        if key in self._folders or key in self._repositories:
            return self.get(kind, name), False
        attributes = Blob.of(self.objects.add(_ATTRIBUTES), ".gitattributes")
        self._repositories[key] = Repository(kind, name, Commit("", "initial commit", {".gitattributes": attributes}))
        return self._repositories[key], True

    def delete(self, kind: str, name: str) -> None:
        self.get(kind, name).writable()
        del self._repositories[kind, name]


def _safe(path: str) -> str:
    parts = path.rstrip("/").split("/")
    if not path or any(part in ("", ".", "..") for part in parts):
        raise Refused(400, f"not a path inside a repository: {path!r}")
    return "/".join(parts)
