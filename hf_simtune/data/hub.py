"""Data sets of the Hub, and folders laid out as there: loading, revisions, cards, and what can go wrong."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import datasets.config
import httpx2
import huggingface_hub
import yaml
from datasets.exceptions import DataFilesNotFoundError, DatasetGenerationError, DatasetNotFoundError
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from hf_simtune.data.spec import DataName
from hf_simtune.errors import DataError, HubError, RequestError, SimtuneError, first_line
from hf_simtune.hub import HUB, answers, unreachable
from hf_simtune.tellable import tellable_cause

__all__ = ["card", "load_repository", "revision_of"]

_COMMIT = re.compile(r"[0-9a-f]{40}")
log = logging.getLogger("hf_simtune")


def load_repository(name: DataName, cache_dir: Path | None = None) -> datasets.Dataset:
    """One split of a data set of the Hub, or of a folder laid out as there; or several, joined: train+validation.

    Where the Hub does not answer, a copy in the cache serves, if it is of the revision asked for.

    Raises:
        HubError: no Hub and no copy; no such data set, or one that is not open to this user.
        RequestError: no such configuration or split, or one twice; the message lists those that there are.
        DataError: files that cannot be read.
    """
    place = str(name.path) if name.path else name.name
    online = name.path is not None or answers(name.name, "dataset", name.revision)
    try:
        with _offline(not online):
            splits = datasets.load_dataset(
                place, name.config, revision=name.revision, cache_dir=str(cache_dir) if cache_dir else None
            )
    except SimtuneError:
        raise
    except Exception as error:  # noqa: BLE001 - the libraries raise all kinds
        raise _explained(error, name) from tellable_cause(error)
    wanted = (name.split or "train").split("+")
    title = name.name + (f"/{name.config}" if name.config else "")
    wrong = [f"{title} has no split {one!r}; it has {', '.join(splits)}" for one in wanted if one not in splits]
    wrong += [f"{title}:{name.split} names {one} twice" for one in dict.fromkeys(wanted) if wanted.count(one) > 1]
    if wrong:
        raise RequestError(wrong, hint=f"Name one: {title}:{next(iter(splits))}")
    found: datasets.Dataset = splits[wanted[0]]
    if len(wanted) > 1:
        found = datasets.concatenate_datasets([splits[one] for one in wanted])
    if name.path is None:
        if name.revision and (not online or _COMMIT.fullmatch(name.revision)):
            _check_revision(name, found)
        if online and (mark := _mark(found)):
            _note_origin(mark)
    return found


@contextmanager
def _offline(wanted: bool) -> Iterator[None]:
    """``datasets`` made to look in its cache and nowhere else."""
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or wanted
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _check_revision(name: DataName, found: datasets.Dataset) -> None:
    """Refuse a cached copy of another revision: ``datasets`` takes the newest that it has, whatever was asked for."""
    commit, wanted = _commit(found), name.revision
    if wanted and not _COMMIT.fullmatch(wanted):
        reference = Path(constants.HF_HUB_CACHE) / f"datasets--{name.name.replace('/', '--')}" / "refs" / wanted
        wanted = reference.read_text(encoding="utf-8").strip() if reference.is_file() else wanted
    if commit != wanted:
        raise unreachable(f"{name.name} at revision {name.revision}", f"it holds revision {commit or 'unknown'}")


def _commit(dataset: datasets.Dataset) -> str | None:
    """The commit that a cached data set was made from: the folder of its Arrow files is named after it."""
    for file in dataset.cache_files:
        folder = Path(file["filename"]).parent.name
        return folder if _COMMIT.fullmatch(folder) else None
    return None


def _mark(dataset: datasets.Dataset) -> Path | None:
    """A file beside a cached commit's folder that is there when another server than the Hub named that commit."""
    if _commit(dataset) is None:
        return None
    folder = Path(dataset.cache_files[0]["filename"]).parent
    return folder.with_name(f"{folder.name}.not-from-the-hub")


def _note_origin(mark: Path) -> None:
    """Remember where a commit came from: offline, later, the cache alone could not tell."""
    if constants.ENDPOINT == HUB:
        mark.unlink(missing_ok=True)
    else:
        mark.touch()


def revision_of(dataset: datasets.Dataset) -> str | None:
    """The commit at huggingface.co, or None: what another server says of itself is not one."""
    mark = _mark(dataset)
    return None if mark is None or mark.exists() or constants.ENDPOINT != HUB else _commit(dataset)


def card(name: DataName, dataset: datasets.Dataset) -> dict[str, Any]:
    """The YAML at the top of the data card; empty where there is none. Never asks the Hub: loading has fetched it."""
    path: Path | str | None = name.path / "README.md" if name.path else None
    if path is None and (commit := _commit(dataset)):
        cached = huggingface_hub.try_to_load_from_cache(name.name, "README.md", repo_type="dataset", revision=commit)
        path = cached if isinstance(cached, str) else None
    if path is None or not Path(path).is_file():
        return {}
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    found = re.match(r"\ufeff?---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    try:
        value = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError as error:
        log.warning("The card of %s is not valid YAML: %s", name.name, error)
        value = None
    return value if isinstance(value, dict) else {}


def _explained(error: Exception, name: DataName) -> SimtuneError:
    """What ``load_dataset`` raised, as a sentence with a way on. Its own words where they are all there is."""
    text = str(error).strip()
    if isinstance(error, ValueError) and (configs := _configs(text)):
        what = f"no configuration {name.config!r}" if name.config else "several configurations"
        return RequestError(
            f"{name.name} has {what}; it has {', '.join(configs)}", hint=f"Name one: {name.name}/{configs[0]}"
        )
    if isinstance(error, DatasetGenerationError):
        cause = error.__cause__ or error
        return DataError(f"{name.name}: its files cannot be read: {first_line(cause)}")
    if name.path:
        return DataError(f"the folder {name.name} cannot be read as a data set: {first_line(error)}")
    if "gated" in text:
        return HubError(
            f"{name.name} is gated", hint=f"Accept its terms at {HUB}/datasets/{name.name}, then: hf auth login"
        )
    if isinstance(error, DataFilesNotFoundError):
        return HubError(f"{name.name} holds no data files that can be read: {first_line(error)}")
    if "doesn't exist" in text or "Revision Not Found" in text or isinstance(error, DatasetNotFoundError):
        revision = f" with a revision {name.revision!r}" if name.revision else ""
        return HubError(
            f"there is no data set {name.name!r}{revision} on {constants.ENDPOINT}, or it is private",
            hint=f"Check the name at {HUB}/datasets; for a private one: hf auth login",
        )
    unreached = ConnectionError | OfflineModeIsEnabled | LocalEntryNotFoundError | HfHubHTTPError | httpx2.HTTPError
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, unreached) or "find cache" in text:
            why = "" if isinstance(behind, ConnectionError) else first_line(behind)
            return unreachable(f"the data set {name.name!r}", why)
        behind = behind.__cause__ or behind.__context__
    return HubError(f"{name.name} cannot be loaded: {type(error).__name__}: {first_line(error)}")


def _configs(text: str) -> list[str]:
    """The configurations that a message of ``load_dataset`` lists."""
    if found := re.search(r"(?:BuilderConfig|Config name|onfigs).*?\[(.*?)\]", text, re.DOTALL):
        return re.findall(r"'([^']+)'", found[1])
    found = re.search(r"configurations in the cache: (.*)", text)
    return found[1].split(", ") if found else []
