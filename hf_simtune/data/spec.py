"""How data are named: a Hub id, a file, a folder laid out as on the Hub, or ``builtin:sports``."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from hf_simtune.data import sports
from hf_simtune.errors import RequestError
from hf_simtune.hub_names import local
from hf_simtune.recipe import Recipe
from hf_simtune.row_shapes import named_losses

__all__ = ["FORMATS", "FORMS", "DataName", "check_names", "parse"]

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".txt": "txt",
}
_SPLIT = r"\w[\w.-]*"
_SPLITS = rf"{_SPLIT}(\+{_SPLIT})*"  # joined, as `datasets` writes it: train+validation
_WORD = r"[A-Za-z0-9_][\w.-]*"
_HUB = re.compile(
    rf"(?P<id>{_WORD}/{_WORD})(/(?P<config>[^:@/]+))?(:(?P<split>{_SPLITS}))?(@(?P<revision>\S+))?", re.ASCII
)
_BUILTIN = re.compile(rf"builtin:(?P<corpus>\w+)(/(?P<shape>\w+))?(:(?P<split>{_SPLIT}))?", re.ASCII)
FORMS = (  # every way to name data, in a sentence to end a message with
    "Data are named ORG/NAME[/CONFIG][:SPLIT][@REVISION] on the Hub (SPLIT+SPLIT joins splits), by a csv, tsv, "
    "jsonl, parquet or txt file (each also .gz), by a folder laid out as on the Hub, or builtin:sports[/SHAPE][:SPLIT]"
)


@dataclass(frozen=True)
class DataName:
    """A data name, taken apart.

    ``name`` is what a record may show: never a path of this machine. Of kind "folder" it is a claim and no fact, even
    where it reads ``ORG/NAME``: anybody may call their folders ``datasets/ORG/NAME``, and what such a folder holds need
    not be on the Hub, nor public. So the rows' ``Source.kind`` is then "local copy", and the name must not be published
    as a data set of the Hub.
    """

    kind: str  # "hub", "folder", "file" or "builtin"
    name: str
    path: Path | None = None
    config: str | None = None
    split: str | None = None
    revision: str | None = None


def parse(text: str) -> DataName:
    """Take a data name apart.

    A name that starts with ``./``, ``../``, ``/`` or ``~``, or that exists on this disk, is local; one with a slash is
    the Hub's.

    Raises:
        RequestError: nothing has this name; the message names what is close.

    >>> parse("sentence-transformers/all-nli/triplet:dev").config
    'triplet'
    >>> parse("builtin:sports/scored:test").split
    'test'
    """
    if text.startswith("builtin:"):
        return _builtin(text)
    whole = local(text)
    if whole.is_file():
        return _file(whole)
    head, split = _without_split(text)
    path = local(head)
    if split and path.is_file():
        raise RequestError(f"{text!r}: a file has no split {split!r}", hint=f"Name the file alone: {head}")
    if head and (folder := _folder(head, path, split)):
        return folder
    is_path = head.startswith(("./", "../", "/", "~")) or head in (".", "..")
    if is_path or data_format(path.name) or "/" not in head:
        raise _nothing_there(text, path, is_path or data_format(path.name) is not None)
    found = _HUB.fullmatch(text)
    if not found:
        raise RequestError(f"{text!r} does not name any data", hint=FORMS)
    return DataName("hub", found["id"], None, found["config"], found["split"], found["revision"])


def check_names(recipe: Recipe, *, offline: bool = False) -> list[str]:
    """Every data name of a recipe that stands for nothing, each a sentence that begins with the flag.

    Looks at this disk and at the form of a name, never at the Hub: whether a Hub id exists is found out on loading.

    Args:
        recipe: its ``train_data``, ``more_data``, ``select_on``, ``report_on`` and ``probe`` are looked at.
        offline: names on the Hub are problems too.
    """
    named: list[tuple[str, str | None]] = [
        ("--train-data", recipe.train_data),
        *(("--more-data", name) for _, name in named_losses(recipe.more_data)),
        ("--select-on", recipe.select_on),
        ("--report-on", recipe.report_on),
        *(("--probe", name) for name in recipe.probe or ()),
    ]
    return [problem for flag, name in named if name is not None and (problem := _problem(flag, name, offline))]


def _problem(flag: str, name: str, offline: bool) -> str | None:
    try:
        parsed = parse(name)
    except RequestError as error:
        told = "; ".join(error.problems).removeprefix(f"{name!r}: ")
        told = told.replace(f"{name!r} is", "it is", 1) if told.startswith(f"{name!r} is") else told
        own = error.hint if error.hint and FORMS not in error.hint else None
        return f"{flag} is {name!r}: {told}" + (f". {own}" if own else "")
    if offline and parsed.kind == "hub":
        return f"{flag} is {name!r}, which is on the Hub: an offline run takes only what is here"
    return None


def data_format(name: str) -> str | None:
    """The format that a file's name ends in, with or without ``.gz``: a value of FORMATS, or None."""
    return FORMATS.get(Path(name.lower().removesuffix(".gz")).suffix)


def _builtin(text: str) -> DataName:
    found = _BUILTIN.fullmatch(text)
    if not found or found["corpus"] != "sports":
        raise RequestError(
            f"there is no built-in data set {text!r}",
            hint="There is one: builtin:sports[/SHAPE][:SPLIT], with one split",
        )
    shape, split = found["shape"] or sports.SHAPES[0], found["split"] or sports.SPLITS[0]
    if (shape, split) not in sports.DEFAULT_ROWS:
        raise RequestError(
            f"builtin:sports has no {shape}:{split}; it has {', '.join(sports.SHAPES)}, each with "
            + ", ".join(f":{name}" for name in sports.SPLITS)
        )
    return DataName("builtin", "builtin:sports", None, found["shape"], found["split"])


def _file(path: Path) -> DataName:
    if not data_format(path.name):
        raise RequestError(
            f"{path}: unknown kind of file", hint=f"Known by their ending: {', '.join(FORMATS)}, each also with .gz"
        )
    return DataName("file", path.name, path)


def _without_split(text: str) -> tuple[str, str | None]:
    head, colon, tail = text.rpartition(":")
    return (head, tail) if colon and re.fullmatch(_SPLITS, tail) else (text, None)


def _folder(head: str, path: Path, split: str | None) -> DataName | None:
    """The folder at ``path``; or, where ``path`` is a repository's folder and a configuration behind it, that."""
    config = None
    if not path.is_dir():
        path, config = path.parent, path.name
        # A bare `NAME` has "." for a parent, and a missing file's parent is no data set: only a card makes it one.
        if not (path / "README.md").is_file() or data_format(config) or "/" not in head:
            return None
    elif (path.parent / "README.md").is_file() and not (path / "README.md").exists():
        path, config = path.parent, path.name
    return DataName("folder", _repository(head, path.resolve()), path, config, split)


def _repository(head: str, path: Path) -> str:
    """``ORG/NAME`` where the folders or the typed name say so; else the last name alone.

    The name before the last may be a person's, so it is shown only where it stands in the place of an organisation. It
    is what the folders say: see ``DataName`` on why that is no proof that the Hub has it.
    """
    if path.parent.parent.name == "datasets":
        return f"{path.parent.name}/{path.name}"
    for parent in path.parents:
        parts = parent.name.split("--")
        if len(parts) == 3 and parts[0] == "datasets":  # a snapshot in huggingface_hub's own cache
            return f"{parts[1]}/{parts[2]}"
    typed = _HUB.fullmatch(head)
    return typed["id"] if typed else path.name


def _nothing_there(text: str, path: Path, is_path: bool) -> RequestError:
    folder = path.parent
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    names = [name for name in names if data_format(name) or (folder / name).is_dir()]
    near = [n for n in names if Path(n).stem == path.name][:1] or difflib.get_close_matches(path.name, names, 1, 0.75)
    guess = f"; did you mean {str(folder / near[0])!r}?" if near else ""
    if is_path:
        return RequestError(f"there is no file or folder {text!r}{guess}", hint=None if near else FORMS)
    return RequestError(
        f"{text!r} is neither a file or folder here nor a Hub id, which has the form ORG/NAME{guess}",
        hint=f"For instance: sentence-transformers/stsb:test. {FORMS}",
    )
