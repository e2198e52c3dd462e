"""Files -> one commit on the Hub, or none: what is there already is not sent, and nothing is ever half there."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from hf_simtune.errors import HubError
from hf_simtune.publish_files import Files, replaceable

__all__ = ["FAULTS", "PATIENCE", "Sent", "hashes_there", "send"]

ATTRIBUTES = ".gitattributes"
UNTOUCHED = "The Hub is as it was"
FAULTS = (HfHubHTTPError, httpx2.HTTPError, OSError, RuntimeError)  # the last: how a failed upload is wrapped
PATIENCE = 30.0  # seconds, for what a repository is; without one the library would wait for ever
CONFLICT = 412


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of a push."""

    commit: str  # that holds the files
    changed: tuple[str, ...]  # files of the commit
    gone: tuple[str, ...]  # files of an earlier run that it takes away; both empty: all was there already
    stayed: tuple[str, ...]  # files in the repository that no run puts there
    url: str
    pull_request: str | None = None


def send(
    files: Files,
    to: str,
    *,
    title: str,
    private: bool = False,
    create_pr: bool = False,
    tag: str | None = None,
    again: str,
) -> Sent:
    """Bring a repository to hold these files, in one commit on the one that was its head.

    What an earlier run put there and this one does not have is taken away; what somebody else put there stays.

    Args:
        files: by their path in the repository.
        to: ``ORG/NAME``, made if there is none.
        title: of the commit.
        private: whether a new repository is private.
        create_pr: open a pull request in place of a commit to main.
        tag: a name for the commit.
        again: the command that tries again, for errors.

    Raises:
        HubError: the Hub did not take it, or somebody else pushed meanwhile. It is as it was, unless the message says
            that this could not be seen.
    """
    api = HfApi()
    made = False
    try:
        head, made = _head(api, to, private=private)
        there = hashes_there(api, to, head)
        tagged = _tagged(api, to, tag) if tag else None
    except FAULTS as error:
        raise _failed(to, error, UNTOUCHED, again) from error
    changed = [name for name, held in files.items() if there.get(name) not in _hashes(held)]
    gone = [name for name in there if name not in files and replaceable(name)]
    if tagged and (changed or gone or tagged != head):
        raise HubError(
            f"{to} has a tag {tag} already, at {tagged}, which is another state than this one: nothing was sent",
            hint="A tag is history and stays where it is: choose another name for --tag",
        )
    commit, pull_request = head, None
    if changed or gone:
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(name, files[name]) for name in changed
        ]
        operations += [CommitOperationDelete(name) for name in gone]
        try:
            with warnings.catch_warnings():  # of a data file in a model's repository: the scores belong there
                warnings.filterwarnings("ignore", "It seems that you are about to commit a data file")
                done = api.create_commit(to, operations, commit_message=title, parent_commit=head, create_pr=create_pr)
            commit, pull_request = done.oid, done.pr_url
        except FAULTS as error:
            arrived = None if create_pr else head if _status(error) == CONFLICT else _arrived(api, to, files, head)
            if arrived is None:
                raise _failed(to, error, "Whether the commit arrived could not be seen", again) from error
            if arrived == head:
                state = "A new repository is there, empty" if made else UNTOUCHED
                raise _failed(to, error, state, again) from error
            commit = arrived  # the answer was lost, not the commit
        except ValueError as error:  # the Hub's own check of the card
            raise _failed(to, error, UNTOUCHED, again) from error
    if tag and not tagged:
        try:
            api.create_tag(to, tag=tag, revision=commit, exist_ok=True)
        except FAULTS as error:
            raise _failed(to, error, f"The files are there, at {commit}; the tag {tag} may not be", again) from error
    return Sent(
        commit=commit,
        changed=tuple(sorted(changed)),
        gone=tuple(sorted(gone)),
        stayed=tuple(sorted(name for name in there if name not in files and name not in gone and name != ATTRIBUTES)),
        url=f"{api.endpoint}/{to}",
        pull_request=pull_request,
    )


def _head(api: HfApi, to: str, *, private: bool) -> tuple[str, bool]:
    """The commit that main is at, and whether the repository had to be made.

    Raises:
        HubError: it is to be private, and is there for all to see.
    """
    try:
        found = api.model_info(to, timeout=PATIENCE)
    except RepositoryNotFoundError:
        api.create_repo(to, private=private, exist_ok=True)
        return str(api.model_info(to, timeout=PATIENCE).sha), True
    if private and not found.private:
        raise HubError(
            f"{to} is there and public, and --private makes a new repository alone",
            hint="Make it private in its settings first, or choose another name",
        )
    return str(found.sha), False


def hashes_there(api: HfApi, to: str, commit: str) -> dict[str, str]:
    """The files of a repository and the hashes that the Hub has for them."""
    return {
        entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id
        for entry in api.list_repo_tree(to, recursive=True, revision=commit)
        if isinstance(entry, RepoFile)
    }


def _arrived(api: HfApi, to: str, files: Files, head: str) -> str | None:
    """The commit with these files, where it is main; the old head, where that is; None where nobody can tell."""
    try:
        now = str(api.model_info(to, timeout=PATIENCE).sha)
        if now == head:
            return head
        there = hashes_there(api, to, now)
    except FAULTS:
        return None
    return now if all(there.get(name) in _hashes(held) for name, held in files.items()) else None


def _tagged(api: HfApi, to: str, tag: str) -> str | None:
    """The commit that a tag names; None where there is no such tag."""
    return next((known.target_commit for known in api.list_repo_refs(to).tags if known.name == tag), None)


def _hashes(held: bytes | Path) -> set[str]:
    """Both names that the Hub may have for a file's content: git's, and SHA-256 of a large one."""
    content = held if isinstance(held, bytes) else held.read_bytes()
    return {hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(), hashlib.sha256(content).hexdigest()}


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _failed(to: str, error: Exception, state: str, again: str) -> HubError:
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, FAULTS):
        error = error.__cause__  # of a file that was not taken
    reply, status = getattr(error, "response", None), _status(error)
    said = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    hints: Sequence[str] = {
        401: ["Log in with a token that may write: hf auth login"],
        403: ["The token may not write there: hf auth login, with one that may"],
        404: [f"There is no {to} for this token: hf auth whoami says whose it is"],
        412: ["Somebody else has pushed meanwhile"],
        429: [f"Too many requests: wait {reply.headers.get('Retry-After', 60) if reply is not None else 60} seconds"],
    }.get(status or 0, [])
    return HubError(f"{to} was not published: {said[0]}", hint=". ".join([*hints, state, f"Again: {again}"]))
