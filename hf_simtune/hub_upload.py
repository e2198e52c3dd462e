"""Files -> one commit on the Hub, or none: what is there already is not sent, and nothing is ever half there."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import NamedTuple

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import LocalTokenNotFoundError

from hf_simtune import hub_state
from hf_simtune.errors import HubError
from hf_simtune.hub_patience import asked
from hf_simtune.hub_state import FAULTS
from hf_simtune.publish_files import Files
from hf_simtune.tellable import tellable_cause

__all__ = ["Sent", "name_it", "send"]

ATTRIBUTES = ".gitattributes"
UNTOUCHED = "The Hub is as it was"
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


class _State(NamedTuple):
    """What is there after a commit whose answer was a failure."""

    commit: str | None  # with the files; None: it did not arrive, or nobody can tell
    pull_request: str | None
    told: str


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
        create_pr: open a pull request in place of a commit to main, unless one with these files is open.
        tag: the name that the commit will get: nothing is sent where another state has it.
        again: the command that tries again, for errors.

    Raises:
        HubError: the Hub did not take it, or somebody else pushed meanwhile. It is as it was, unless the message says
            that this could not be seen.
    """
    api = HfApi()
    pull = None
    try:
        head, made = hub_state.head(api, to, private=private)
        there = hub_state.hashes_at(api, to, head)
        changed, gone = hub_state.differences(there, files)
        named = hub_state.tagged(api, to, tag) if tag else None
        if create_pr and (changed or gone):
            pull = hub_state.open_pull(api, to, files, title)
    except FAULTS as error:
        raise _failed(to, error, UNTOUCHED, again) from tellable_cause(error)
    if named and (changed or gone or named != head):
        raise HubError(
            f"{to} has a tag {tag} already, at {named}, which is another state than this one: nothing was sent",
            hint="A tag is history and stays where it is: choose another name for --tag",
        )
    commit, pull_request = pull or (head, None)
    if pull:
        changed, gone = [], []
    if changed or gone:
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(name, files[name]) for name in changed
        ]
        operations += [CommitOperationDelete(name) for name in gone]
        try:
            with warnings.catch_warnings():  # of a data file in a model's repository: the scores belong there
                warnings.filterwarnings("ignore", "It seems that you are about to commit a data file")
                done = asked(
                    lambda: api.create_commit(
                        to, operations, commit_message=title, parent_commit=head, create_pr=create_pr
                    )
                )
            commit, pull_request = done.oid, done.pr_url
        except (*FAULTS, ValueError) as error:  # the last: the Hub's own check of the card, or an answer that is none
            state = _state(api, to, files, head, title if create_pr else "", made=made, conflict=_status(error))
            if state.commit is None:
                raise _failed(to, error, state.told, again) from tellable_cause(error)
            commit, pull_request = state.commit, state.pull_request  # the answer was lost, not the commit
    return Sent(
        commit=commit,
        changed=tuple(sorted(changed)),
        gone=tuple(sorted(gone)),
        stayed=tuple(sorted(name for name in there if name not in files and name not in gone and name != ATTRIBUTES)),
        url=f"{api.endpoint}/{to}",
        pull_request=pull_request,
    )


def name_it(to: str, commit: str, tag: str, *, again: str) -> None:
    """Give a commit a name that stays with it, if it has not got that already.

    Raises:
        HubError: the Hub did not take it, or the name is another state's by now.
    """
    api = HfApi()
    failure: Exception | None = None
    named = None
    try:
        named = hub_state.tagged(api, to, tag)
        if named is None:
            asked(lambda: api.create_tag(to, tag=tag, revision=commit))
            return
    except FAULTS as error:
        failure = error
    try:
        named = named or hub_state.tagged(api, to, tag)  # the answer may be lost, and not the tag
    except FAULTS as error:
        failure = failure or error
    if named == commit:
        return
    state = f"The files are there, at {commit}; the tag {tag} may not be"
    if named:
        raise HubError(
            f"{to} has a tag {tag} by now, at {named}, which is another state than this one",
            hint=f"The files are there, at {commit}, without a tag: choose another name for --tag",
        )
    told = _failed(to, failure or HubError("no tag was made"), state, again)
    raise told from tellable_cause(failure) if failure else None


def _state(api: HfApi, to: str, files: Files, head: str, pull: str, *, made: bool, conflict: int | None) -> _State:
    """What a commit became whose answer was a failure.

    Args:
        api: of the Hub.
        to: ``ORG/NAME``.
        files: of the commit.
        head: that main was at.
        pull: title of the pull request that was to be; "": a commit to main.
        made: whether the repository is new.
        conflict: the status of the answer.
    """
    untouched = _State(None, None, "A new repository is there, empty" if made else UNTOUCHED)
    try:
        if pull:
            found = hub_state.open_pull(api, to, files, pull)
            return _State(*found, "") if found else untouched
        now = hub_state.main_at(api, to)
        if now == head:
            return untouched
        if now and not hub_state.differences(hub_state.hashes_at(api, to, now), files)[0]:
            return _State(now, None, "")
    except FAULTS:
        return _State(None, None, "Whether the commit arrived could not be seen")
    if conflict == CONFLICT:
        return _State(None, None, f"The Hub is as they left it, at {now}, with nothing of this run")
    return _State(None, None, f"Whether the commit arrived could not be seen: main is at {now} by now")


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _failed(to: str, error: BaseException, state: str, again: str) -> HubError:
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, FAULTS):
        error = error.__cause__  # of a file that was not taken
    reply, status = getattr(error, "response", None), _status(error)
    said = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    wait = reply.headers.get("Retry-After", 60) if reply is not None else 60
    hints: Sequence[str] = {
        401: ["Log in with a token that may write: hf auth login"],
        403: ["The token may not write there: hf auth login, with one that may"],
        404: [f"There is no {to} for this token: hf auth whoami says whose it is"],
        CONFLICT: ["Somebody else has pushed meanwhile"],
        429: [f"Too many requests: wait {wait} seconds"],
        507: ["The Hub has no space left for it"],
    }.get(status or 0, [])
    if isinstance(error, LocalTokenNotFoundError):
        hints = ["Nobody is logged in here: hf auth login, with a token that may write"]
    return HubError(f"{to} was not published: {said[0]}", hint=". ".join([*hints, state, f"Again: {again}"]))
