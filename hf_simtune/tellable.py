"""Text as it may be told in an error or a log: without tokens, and with nothing that moves a terminal's cursor."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from collections.abc import Collection
from types import TracebackType

__all__ = [
    "SECRET_NAME",
    "TOKEN",
    "UntoldError",
    "guard",
    "holds_secret",
    "secrets",
    "spelled",
    "tell_uncaught",
    "tellable",
    "tellable_cause",
]

# Of the Hub, of GitHub and of others that write theirs in the same way.
TOKEN = (
    r"(?<![A-Za-z0-9])"
    r"(?:(?:hf|api_org|gh[pousr])_[A-Za-z0-9]{24,}|sk-(?:[a-z]+-)*[A-Za-z0-9_]{20,})"  # and no name in several words
)
SECRET_NAME = re.compile(r"(?:TOKEN|SECRET|PASSWORD|KEY|CREDENTIALS?)$")  # of environment variables that hold one
SHORTEST = 8  # characters of such a value: a shorter one may stand in a text by chance
LONG = 20  # from which it does not
HIDDEN = "(a secret)"

_TOKEN = re.compile(TOKEN)
_LOGIN = re.compile(r"(?<=://)[^/\s@:]*:[^/\s@]*(?=@)")  # of an address: user:password
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+(?=[\w.~+/-]*\d)[\w.~+/-]{8,}=*")
_UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {9: "\\t", 10: "\\n", 13: "\\r"}


def spelled(text: str) -> str:
    """``text`` with ``\\x1b`` and the like for control and bidirectional characters; line breaks stay."""
    return text if text.isascii() and text.isprintable() else _UNSEEN.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte that could not be decoded
        code -= 0xDC00
    return _SHORT.get(code, f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def secrets() -> set[str]:
    """What this process knows that nobody else may: its own token, and what its environment calls a secret."""
    found = {value for name, value in os.environ.items() if SECRET_NAME.search(name)}
    hub = sys.modules.get("huggingface_hub")  # not imported for this: without it no token was read
    found.add((getattr(hub, "get_token", lambda: None)() if hub else None) or "")
    return {value for value in found if len(value) >= SHORTEST}


def holds_secret(text: str, own: Collection[str]) -> bool:
    """Whether a token, a password in an address or a long one of this process's own ``secrets`` stands in a text.

    A short one, such as a data base's, may be a word that stands there by chance.
    """
    found = _TOKEN.search(text) or _LOGIN.search(text)
    return bool(found) or any(len(secret) >= LONG and secret in text for secret in own)


def tellable(text: str) -> str:
    """``text`` without tokens, passwords in addresses and secrets of this process, in signs that a terminal shows."""
    return spelled(_hidden(text))


def _hidden(text: str) -> str:
    for secret in sorted(secrets(), key=len, reverse=True):  # one may begin as another does
        text = text.replace(secret, HIDDEN)
    return _BEARER.sub(rf"\1 {HIDDEN}", _LOGIN.sub(HIDDEN, _TOKEN.sub(HIDDEN, text)))


class UntoldError(Exception):
    """Stands for an error whose words hold a secret: its traceback as text, with the secret hidden."""


def tellable_cause(error: BaseException) -> BaseException:
    """What to raise from in place of ``error``: itself, unless a secret stands in its traceback or in those behind it.

    A Hub, or a proxy on the way, may send back the token that it was asked with, and libraries put that in their words.
    """
    told = "".join(traceback.format_exception(error)).rstrip()
    return error if _hidden(told) == told else UntoldError(f"\n{tellable(told)}")


class _Tellable(logging.Filter):
    """Makes every message of a logger tellable before any handler sees it, and the traceback that goes with it."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = tellable(record.getMessage()), ()
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = tellable("".join(traceback.format_exception(*record.exc_info)).rstrip())
        return True


def guard(logger: logging.Logger) -> None:
    """Let nothing through a logger that is not tellable; once, however often it is asked for."""
    if not any(isinstance(one, _Tellable) for one in logger.filters):
        logger.addFilter(_Tellable())


def tell_uncaught(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """What ``sys.excepthook`` does, made tellable: the libraries' words may hold what they were given."""
    sys.stderr.write(tellable("".join(traceback.format_exception(kind, error, where))))
