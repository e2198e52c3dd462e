"""Why a model did not load, out of what the libraries raise: a sentence with a way on."""

from __future__ import annotations

from pathlib import Path

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hf_simtune.errors import HubError, RequestError, SimtuneError
from hf_simtune.hub import HUB, unreachable
from hf_simtune.tellable import tellable

__all__ = ["explained"]


def explained(error: Exception, place: str | Path, at: str, online: bool) -> SimtuneError:
    """What the libraries raised for a model, as an error of ours.

    Args:
        error: what was raised.
        place: the model's folder, or its name on the Hub.
        at: `` at revision X``, or nothing.
        online: whether the Hub was asked.
    """
    if not isinstance(place, Path):
        behind = _chain(error)
        if any(isinstance(cause, GatedRepoError) for cause in behind):
            return HubError(f"{place} is gated", hint=f"Accept its terms at {HUB}/{place}, then: hf auth login")
        if any(isinstance(cause, RepositoryNotFoundError | RevisionNotFoundError) for cause in behind):
            return HubError(
                f"the Hub has no model {place}{at}, or it is private",
                hint="Check the spelling; for a private model: hf auth login",
            )
        refused = isinstance(error, OSError | httpx2.HTTPError) and any(map(_is_no_answer, behind))
        if refused or (isinstance(error, OSError) and not online):
            return unreachable(f"the model {place!r}{at}", _first_line(error) if online else "")
        if isinstance(error, OSError) and error.errno is None:  # transformers calls weights missing that were refused
            return HubError(
                f"the model {place}{at} does not load from {constants.ENDPOINT}: {_first_line(error)}",
                hint="Either it lacks these files there, or something on the way refuses them: look at its page, or "
                "name a local folder in its place",
            )
    return RequestError(
        f"the model {place} does not load: {_first_line(error)}",
        hint="Remote code is never run: name a model that needs none" if "trust_remote_code" in str(error) else None,
    )


def _chain(error: BaseException) -> list[BaseException]:
    """The error, and what each was raised from or while handling."""
    found: list[BaseException] = []
    behind: BaseException | None = error
    while behind is not None and behind not in found:
        found.append(behind)
        behind = behind.__cause__ or behind.__context__
    return found


def _is_no_answer(error: BaseException) -> bool:
    """Whether an error tells of a server out of reach or refusing; a file that the Hub says it lacks does not."""
    if isinstance(error, RemoteEntryNotFoundError):
        return False
    return isinstance(error, ConnectionError | LocalEntryNotFoundError | HfHubHTTPError | httpx2.HTTPError)


def _first_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {tellable(line)[:200]}"  # in that order: half a token is not known as one
