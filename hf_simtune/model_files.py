"""What a model's files may not be, seen before one is loaded: pickles, paths that lead out, tokenizers that swell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import httpx2
import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError

from hf_simtune.errors import RequestError
from hf_simtune.hub import MODEL_CACHE

__all__ = ["check"]

PICKLED = re.compile(r"(pytorch_model|adapter_model|diffusion_pytorch_model)[\w.-]*\.(bin|pt|pth|ckpt)(\.index\.json)?")
SWELLS = 1_000  # times that a tokenizer may make a text longer before it is cut
LARGEST = 1 << 28  # bytes of a tokenizer's file: the largest published ones have a tenth
SMALL = ("modules.json", "model.safetensors.index.json", "tokenizer.json")


def check(name: str, place: str | Path, revision: str | None, *, online: bool, allow_pickle: bool) -> None:
    """Refuse a model whose files are not to be trusted, all problems at once; its weights are not fetched for that.

    Pickled weights that have safetensors beside them are never loaded, and no problem.

    Args:
        name: what to call it.
        place: its folder, or its name on the Hub.
        revision: commit, tag or branch on the Hub.
        online: whether the Hub answers; otherwise the cache is looked at.
        allow_pickle: let pickled weights pass; they are still read as weights alone, without code.

    Raises:
        RequestError: with each file, and what to do.
    """
    files = _files(place, revision, online=online)
    problems = [f"{name} has a file called {file!r}, out of its own folder" for file in files if _leaves(file)]
    pickled = _pickled(files)
    if pickled and not allow_pickle:
        problems.append(
            f"{name} has pickled weights ({', '.join(pickled[:5])}) and no safetensors beside them: a pickle can hold "
            "code"
        )
    for file in SMALL:
        if file in files and not problems:
            problems += [
                f"{name}: {problem}" for problem in _inside(file, _small(place, file, revision, online=online))
            ]
    if problems:
        hint = "--allow-pickle reads them as weights alone; or name a model with safetensors" if pickled else None
        raise RequestError(problems, hint=hint)


def _files(place: str | Path, revision: str | None, *, online: bool) -> list[str]:
    """The model's files by their names; none where nothing tells, as then nothing loads either."""
    if isinstance(place, Path):
        return sorted(file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file())
    if online:
        try:
            return sorted(huggingface_hub.list_repo_files(place, revision=revision))
        except (HfHubHTTPError, httpx2.HTTPError, OSError):
            return []  # loading tells why
    for known in ("modules.json", "config.json"):
        found = huggingface_hub.try_to_load_from_cache(place, known, cache_dir=MODEL_CACHE, revision=revision)
        if isinstance(found, str):
            return _files(Path(found).parent, None, online=False)
    return []


def _leaves(path: str) -> bool:
    """Whether a path leads out of the folder that it is told in."""
    parts = PurePosixPath(path.replace("\\", "/"))
    return parts.is_absolute() or ".." in parts.parts or "\0" in path or bool(re.match("[A-Za-z]:", path))


def _pickled(files: Sequence[str]) -> list[str]:
    """Pickled weights in a folder that has no others."""
    safe = {str(PurePosixPath(file).parent) for file in files if file.endswith(".safetensors")}
    return [
        file
        for file in files
        if PICKLED.fullmatch(PurePosixPath(file).name) and str(PurePosixPath(file).parent) not in safe
    ]


def _small(place: str | Path, file: str, revision: str | None, *, online: bool) -> str:
    if isinstance(place, Path):
        path = place / file
    else:
        path = Path(
            huggingface_hub.hf_hub_download(
                place, file, revision=revision, cache_dir=MODEL_CACHE, local_files_only=not online
            )
        )
    if path.stat().st_size > LARGEST:
        raise RequestError(f"{file} of the model has {path.stat().st_size:,} bytes, and {LARGEST:,} are the most")
    return path.read_text(encoding="utf-8", errors="replace")


def _inside(file: str, text: str) -> Iterator[str]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        yield f"{file} is not JSON that can be read: {type(error).__name__}"
        return
    if file == "tokenizer.json":
        if (times := _swells(value.get("normalizer") if isinstance(value, dict) else None)) > SWELLS:
            yield f"{file} makes a text up to {times:,} times as long, and {SWELLS:,} times is the most"
        return
    if file == "modules.json":
        told = [entry.get("path") for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
    else:
        weights = value.get("weight_map") if isinstance(value, dict) else None
        told = list(weights.values()) if isinstance(weights, dict) else []
    for path in dict.fromkeys(path for path in told if isinstance(path, str)):
        if _leaves(path):
            yield f"{file} names {path!r}, out of the model's own folder"


def _swells(normalizer: Any) -> int:
    """How many times as long a text may become by what is put in place of parts of it."""
    times, steps = 1, [normalizer]
    while steps:
        step = steps.pop()
        if not isinstance(step, dict):
            continue
        steps += step.get("normalizers") or []
        put = step.get("content") if step.get("type") == "Replace" else step.get("prepend")
        times = min(times * max(1, len(put)) if isinstance(put, str) else times, 10**12)
    return times
