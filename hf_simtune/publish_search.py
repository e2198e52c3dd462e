"""The search for what must not leave this machine: tokens, its paths and names, and texts of the rows."""

from __future__ import annotations

import dataclasses
import getpass
import mmap
import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from hf_simtune.publish_files import Files
from hf_simtune.tellable import TOKEN, secrets

__all__ = ["SHORTEST", "Found", "private"]

SHORTEST = 20  # bytes of letters and digits from which a row's text is looked for: "A dog runs." may be there by chance
WINDOW = 40  # letters of a long text's beginning, middle and end, as a card may cut it

_VOCABULARY = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", ".model")  # words of all kinds, none private
_TOKEN = re.compile(TOKEN.encode())
_PATH = re.compile(
    rb"(?:(?<=[\s\"'`(=,\[])|^)/(?:[\w.~+-]+/)+[\w.~+-]+"  # any absolute one of two parts, but no address
    rb"|(?<=:)/(?:home|Users|root|mnt|media|tmp|var|opt|srv|private|Volumes|content|kaggle|data|scratch)/[\w.~-]+"
    rb"|file://|(?<![\w/])[A-Za-z]:\\\\?\w"
)
_ESCAPED, _CONTROL = re.compile(r"\\u([0-9a-fA-F]{4})"), re.compile(r"\\[nrtbf]")  # as JSON spells them
_ENTITY, _SIGNS = re.compile(r"&(?:amp|lt|gt|quot);"), re.compile(r"[\W_]+")
COMMON = {"root", "user", "admin", "ubuntu", "runner", "jovyan", "colab", "docker", "localhost"}  # names that are words


TEMPLATES = Path(__file__).with_name("templates")


@dataclasses.dataclass(frozen=True)
class Found:
    """Something that must not leave this machine."""

    file: str
    what: str
    reason: str  # with which it can be allowed; "": with none

    @property
    def shown(self) -> str:
        """What a card says of it where it was allowed: whose name a word is goes without saying."""
        return f"a word in {self.file} may be a private name" if self.reason == "names" else ""


def private(files: Files, texts: Iterable[str] = (), shown: Sequence[str] = ()) -> list[Found]:
    """Tokens, paths of this machine, its name and its user's, and texts of the rows, wherever they stand in the files.

    In weights, pictures and vocabularies only tokens are looked for: any word may stand there by chance. A name before
    or behind a slash is one of the Hub's.

    Args:
        files: what is to be published.
        texts: of the rows; those of ``SHORTEST`` bytes and more are looked for, unless a card's own words hold them.
        shown: texts that may be shown, as somebody asked for it.
    """
    own = "".join(_letters(path.read_text(encoding="utf-8")) for path in sorted(TEMPLATES.glob("*.jinja")))
    allowed = {_letters(text) for text in shown}
    wanted = {letters for text in texts if len((letters := _letters(text)).encode()) >= SHORTEST} - allowed
    return list(dict.fromkeys(_private(files, {part for text in wanted if text not in own for part in _parts(text)})))


def _parts(letters: str) -> list[str]:
    """A text's beginning, middle and end; the whole of a short one."""
    if len(letters) <= 2 * WINDOW:
        return [letters[:WINDOW], letters[-WINDOW:]] if len(letters) > WINDOW else [letters]
    middle = (len(letters) - WINDOW) // 2
    return [letters[:WINDOW], letters[middle : middle + WINDOW], letters[-WINDOW:]]


def _private(files: Files, texts: set[str]) -> Iterator[Found]:
    own = {secret.encode() for secret in secrets()}
    words = {
        what: re.compile(rb"(?<![\w/-])" + re.escape(name.encode()) + rb"(?![\w/-])", re.IGNORECASE)
        for what, name in _names().items()
        if len(name) > 2 and name.lower() not in COMMON
    }
    places = [
        re.compile(rb"(?<![\w.:/-])" + re.escape(place.encode()) + rb"(?![\w-])")  # /data is no part of an address
        for place in {str(Path.home()), str(Path.cwd())} - {"/", "/root"}
    ]
    for name, held in files.items():
        if _holds_secret(held, own):
            yield Found(name, "a token or another secret", "")
        if PurePosixPath(name).suffix in (".safetensors", ".png", ".onnx") or name.endswith(_VOCABULARY):
            continue
        content = held if isinstance(held, bytes) else held.read_bytes()
        if any(place.search(content) for place in places) or _PATH.search(content):
            yield Found(name, "a path of this machine", "")
        for what, pattern in words.items():
            if pattern.search(content):
                yield Found(name, what, "names")
        if PurePosixPath(name).suffix != ".parquet":  # the scores, whose columns are known
            held_letters = _letters(content.decode("utf-8", errors="replace"))
            if any(text in held_letters for text in texts):
                yield Found(name, "the text of a row", "texts")


def _holds_secret(held: bytes | Path, own: set[bytes]) -> bool:
    if isinstance(held, bytes):
        return bool(_TOKEN.search(held)) or any(secret in held for secret in own)
    if not held.stat().st_size:
        return False
    with held.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:  # may be gigabytes
        return bool(_TOKEN.search(content)) or any(content.find(secret) >= 0 for secret in own)


def _names() -> dict[str, str]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry
        user = ""
    return {"the user's name": user, "this machine's name": socket.gethostname()}


def _letters(text: str) -> str:
    """Letters and digits alone, without what Markdown, JSON, YAML and HTML make of the signs between them."""
    text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
    return _SIGNS.sub("", _ENTITY.sub("", _CONTROL.sub("", text))).casefold()
