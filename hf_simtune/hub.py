"""The Hub from outside: whether it answers, and the one error for when it does not."""

from __future__ import annotations

import logging

import httpx2
import huggingface_hub
from huggingface_hub import constants

from hf_simtune.errors import HubError

__all__ = ["HUB", "answers", "unreachable"]

HUB = "https://huggingface.co"  # the only place whose commits a record calls revisions
_PATIENCE = 10.0  # seconds in which the Hub must answer at all
log = logging.getLogger("hf_simtune")


def unreachable(what: str, why: str = "") -> HubError:
    """The one error for a Hub that does not answer, with the three ways on."""
    offline = " (HF_HUB_OFFLINE is set)" if constants.HF_HUB_OFFLINE else ""
    return HubError(
        f"could not reach the Hub at {constants.ENDPOINT}{offline} for {what}, and the cache does not hold it"
        + (f": {why}" if why else ""),
        hint="Three ways on: --offline (the built-in model and data), a local file or folder in its place, or "
        "HF_HOME=FOLDER with a cache that holds it (and HF_HUB_OFFLINE=1)",
    )


def answers(repository: str, kind: str, revision: str | None = None) -> bool:
    """Whether the Hub answers at all. The libraries would ask six times, with pauses, before they say.

    Args:
        repository: ``ORG/NAME``.
        kind: ``model`` or ``dataset``.
        revision: commit, tag or branch.
    """
    if constants.HF_HUB_OFFLINE:
        return False
    url = huggingface_hub.hf_hub_url(repository, "README.md", repo_type=kind, revision=revision)
    try:
        status = huggingface_hub.get_session().head(url, timeout=_PATIENCE).status_code
    except httpx2.HTTPError as error:
        log.warning("The Hub at %s does not answer (%s): looking in the cache", constants.ENDPOINT, error)
        return False
    if status >= 500:
        log.warning("The Hub at %s answers with status %d: looking in the cache", constants.ENDPOINT, status)
    return status < 500
