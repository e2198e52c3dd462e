"""How long the Hub is waited for: not for ever where it is silent, and as long as it asks where it is busy."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import httpx2
import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import _http

from hf_simtune.errors import RequestError

__all__ = ["asked", "patient"]

VARIABLE = "HF_SIMTUNE_HUB_TIMEOUT"
CONNECT, SILENCE = 20.0, 180.0  # seconds; a large commit is checked by the Hub before it answers
BUSY = 429  # the request was not carried out, so that it may be made again, whatever it is
TRIES, LONGEST = 3, 60  # seconds that are waited for at most
T = TypeVar("T")
log = logging.getLogger("hf_simtune")


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


def asked(ask: Callable[[], T]) -> T:
    """What the Hub answers; where it has too many requests, after the seconds that it asks to wait (``Retry-After``).

    The library does so itself for the contents of files and nothing else.
    """
    tries = 0
    while True:
        tries += 1
        try:
            return ask()
        except HfHubHTTPError as error:
            told = error.response.headers.get("Retry-After", "")
            busy = error.response.status_code == BUSY and told.isdecimal() and int(told) <= LONGEST
            if tries == TRIES or not busy:
                raise
            log.warning("The Hub has too many requests and asks to wait %s seconds", told)
            time.sleep(int(told))
