"""What a repository on the Hub holds: its head, its files by their hashes, its tags and open pull requests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import httpx2
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from hf_simtune.errors import HubError, first_line
from hf_simtune.hub_patience import asked
from hf_simtune.publish_files import Files, replaceable

__all__ = ["FAULTS", "PATIENCE", "differences", "hashes_at", "head", "main_at", "open_pull", "tagged", "untrained"]

FAULTS = (HfHubHTTPError, httpx2.HTTPError, OSError, RuntimeError)  # the last: how a failed upload is wrapped
PATIENCE = 30.0  # seconds, for what a repository is; without one the library would wait for ever
PIECE = 1 << 20


def main_at(api: HfApi, to: str, *, private: bool = False) -> str | None:
    """The commit that main is at; None where there is no such repository for this user.

    Raises:
        HubError: it is to be private, and is there for all to see.
    """
    try:
        found = asked(lambda: api.model_info(to, timeout=PATIENCE))
    except GatedRepoError:
        raise  # it is there
    except RepositoryNotFoundError:
        return None
    if private and not found.private:
        raise HubError(
            f"{to} is there and public, and --private makes a new repository alone",
            hint="Make it private in its settings first, or choose another name",
        )
    return str(found.sha)


def untrained(what: str, error: Exception | None = None) -> HubError:
    """The error of a run that was to send something to the Hub, which refused before anything was trained."""
    said = [first_line(error)] if error else []
    return HubError(
        ": ".join([f"{what}, and nothing was trained", *said]), hint="Log in with a token that may write: hf auth login"
    )


def head(api: HfApi, to: str, *, private: bool) -> tuple[str, bool]:
    """The commit that main is at, and whether the repository had to be made."""
    if (now := main_at(api, to, private=private)) is not None:
        return now, False
    asked(lambda: api.create_repo(to, private=private, exist_ok=True))
    return str(asked(lambda: api.model_info(to, timeout=PATIENCE)).sha), True


def hashes_at(api: HfApi, to: str, revision: str) -> dict[str, str]:
    """The files of a revision, each with the name that the Hub has for its content."""
    listed = asked(lambda: list(api.list_repo_tree(to, recursive=True, revision=revision)))
    return {
        entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id for entry in listed if isinstance(entry, RepoFile)
    }


def differences(there: Mapping[str, str], files: Files) -> tuple[list[str], list[str]]:
    """The files that are not there as they are here, and those that an earlier run put there and this has not."""
    changed = [name for name, held in files.items() if name not in there or there[name] not in _hashes(held)]
    return changed, [name for name in there if name not in files and replaceable(name)]


def open_pull(api: HfApi, to: str, files: Files, title: str) -> tuple[str, str] | None:
    """Commit and address of an open pull request that brings exactly these files."""
    pulls = asked(lambda: list(api.get_repo_discussions(to, discussion_type="pull_request", discussion_status="open")))
    for pull in pulls:
        if pull.title == title and pull.git_reference:
            commit = str(asked(lambda at=pull.git_reference: api.model_info(to, revision=at, timeout=PATIENCE)).sha)  # type: ignore[misc]
            if differences(hashes_at(api, to, commit), files) == ([], []):
                return commit, pull.url
    return None


def tagged(api: HfApi, to: str, tag: str) -> str | None:
    """The commit that a tag names; None where there is no such tag."""
    return next((one.target_commit for one in asked(lambda: api.list_repo_refs(to)).tags if one.name == tag), None)


def _hashes(held: bytes | Path) -> set[str]:
    """Both names that the Hub may have for a file's content: git's, and SHA-256 of a large one."""
    size = len(held) if isinstance(held, bytes) else held.stat().st_size
    git, large = hashlib.sha1(b"blob %d\0" % size), hashlib.sha256()
    for piece in _pieces(held):
        git.update(piece)
        large.update(piece)
    return {git.hexdigest(), large.hexdigest()}


def _pieces(held: bytes | Path) -> Iterable[bytes]:
    if isinstance(held, bytes):
        yield held
        return
    with held.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
