"""The Hub from outside: whether it answers, the one error for when it does not, and the commit of a cached model."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from pathlib import Path

import httpx2
import huggingface_hub
from huggingface_hub import constants

from hf_simtune.errors import HubError

__all__ = ["HUB", "MODEL_CACHE", "answers", "model_commit", "unreachable"]

HUB = "https://huggingface.co"  # the only place whose commits a record calls revisions
MODEL_CACHE = os.environ.get("SENTENCE_TRANSFORMERS_HOME")  # where models are kept; None: where the Hub's files are
_PATIENCE = 10.0  # seconds in which the Hub must answer at all
_COMMIT = re.compile(r"[0-9a-f]{40}")
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
    """Whether the Hub answers for a repository. The libraries would ask six times, with pauses, before they say.

    The Hub says that a repository is there, is not, or is not open to this user (401, 404, or its own word that it is
    gated). Any other refusal, as by a proxy (403) or of too many requests (429), is no answer.

    Args:
        repository: ``ORG/NAME``.
        kind: ``model`` or ``dataset``.
        revision: commit, tag or branch.
    """
    if constants.HF_HUB_OFFLINE:
        return False
    url = huggingface_hub.hf_hub_url(repository, "README.md", repo_type=kind, revision=revision)
    try:
        reply = huggingface_hub.get_session().head(url, timeout=_PATIENCE)
    except httpx2.HTTPError as error:
        log.warning("The Hub at %s does not answer (%s): looking in the cache", constants.ENDPOINT, error)
        return False
    status = reply.status_code
    if status < 400 or status in (401, 404) or reply.headers.get("X-Error-Code") == "GatedRepo":
        return True
    log.warning("The Hub at %s answers with status %d: looking in the cache", constants.ENDPOINT, status)
    return False


def model_commit(name: str, revision: str | None, *, asked: bool) -> str | None:
    """The commit at huggingface.co of a model just loaded, or None: what another server says of itself is not one.

    The cache names a commit's folder after it, but not the server that named the commit. So a mark is left beside the
    cached repository's commits that came from elsewhere, and taken away once the Hub itself names the same commit.

    Args:
        name: ``ORG/NAME``.
        revision: commit, tag or branch that was loaded.
        asked: whether the server answered for this load; otherwise the cache alone served.
    """
    cached = _cached(name, revision)
    if cached is None:
        return None
    folder = cached.parent
    # Not among the commits' folders: the Hub's own tools call a cache corrupted that holds a file there.
    mark = folder.parents[1] / f"{folder.name}.not-from-the-hub"
    with contextlib.suppress(OSError):  # a cache that may only be read
        if asked and constants.ENDPOINT != HUB:
            mark.touch()
        elif asked and mark.exists() and _named_by_server(name, cached):
            mark.unlink(missing_ok=True)
    return None if constants.ENDPOINT != HUB or mark.exists() else folder.name


def _cached(name: str, revision: str | None) -> Path | None:
    """A file that every model has, in the cache's folder of the commit that ``revision`` stands for."""
    for file in ("modules.json", "config.json"):
        found = huggingface_hub.try_to_load_from_cache(name, file, cache_dir=MODEL_CACHE, revision=revision)
        if isinstance(found, str) and _COMMIT.fullmatch(Path(found).parent.name):
            return Path(found)
    return None


def _named_by_server(name: str, cached: Path) -> bool:
    """Whether the server knows the commit of a cached file, which a load of a pinned commit does not ask."""
    commit = cached.parent.name
    url = huggingface_hub.hf_hub_url(name, cached.name, revision=commit)
    try:
        return huggingface_hub.get_hf_file_metadata(url, timeout=_PATIENCE).commit_hash == commit
    except (OSError, httpx2.HTTPError):
        return False
