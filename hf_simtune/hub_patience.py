"""How long the Hub may be silent: the libraries would wait for ever."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import huggingface_hub
from huggingface_hub.utils import _http

from hf_simtune.errors import RequestError

__all__ = ["patient"]

VARIABLE = "HF_SIMTUNE_HUB_TIMEOUT"
CONNECT, SILENCE = 20.0, 180.0  # seconds; a large commit is checked by the Hub before it answers


@contextmanager
def patient() -> Iterator[None]:
    """Let requests to the Hub fail after ``SILENCE`` seconds without a byte (HF_SIMTUNE_HUB_TIMEOUT changes that)."""
    told = os.environ.get(VARIABLE, str(SILENCE))
    try:
        silence = float(told)
    except ValueError:
        raise RequestError(f"{VARIABLE} is {told!r}: it must be a number of seconds") from None
    before = _http._GLOBAL_CLIENT_FACTORY  # which may be the user's own: there is no public way to ask

    def client() -> httpx2.Client:
        made = before()
        made.timeout = httpx2.Timeout(silence, connect=min(CONNECT, silence))
        return made

    huggingface_hub.set_client_factory(client)
    try:
        yield
    finally:
        huggingface_hub.set_client_factory(before)
