"""What a model's files may not be, seen before one is loaded: pickles, paths that lead out, tokenizers that harm."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import huggingface_hub

from hf_simtune import tokenizer_files
from hf_simtune.errors import RequestError
from hf_simtune.hub import MODEL_CACHE
from hf_simtune.hub_names import is_hub_name

__all__ = ["check"]

PICKLED = re.compile(r"(pytorch_model|adapter_model|diffusion_pytorch_model)[\w.-]*\.(bin|pt|pth|ckpt)(\.index\.json)?")
LARGEST = 1 << 28  # bytes of a tokenizer's file: the largest published ones have a tenth
# What the libraries load in place of pickled weights that lie beside it.
SAFE = {
    "pytorch_model": ("model.safetensors", "model.safetensors.index.json"),
    "adapter_model": ("adapter_model.safetensors",),
    "diffusion_pytorch_model": ("diffusion_pytorch_model.safetensors",),
}
ADAPTER = "adapter_config.json"
TOKENIZER = "tokenizer.json"
CALLED = re.compile(r"sentence_\w+_config\.json")  # with which arguments the tokenizer is called
PADDED = 200_000  # tokens that each text may be filled up to: the longest published models take 131,072
SMALL = ("modules.json", "model.safetensors.index.json", TOKENIZER, ADAPTER)


def check(name: str, place: str | Path, revision: str | None, *, online: bool, allow_pickle: bool) -> None:
    """Refuse a model whose files are not to be trusted, all problems at once; its weights are not fetched for that.

    Pickled weights that have safetensors beside them are never loaded, and no problem. The base that adapters name is
    looked at too.

    Args:
        name: what to call it.
        place: its folder, or its name on the Hub.
        revision: commit, tag or branch on the Hub.
        online: whether the Hub answers; otherwise the cache is looked at.
        allow_pickle: let pickled weights pass; they are still read as weights alone, without code.

    Raises:
        RequestError: with each file, and what to do.
        OSError, httpx2.HTTPError: the Hub was asked and did not answer.
    """
    problems: list[str] = []
    refused = False
    waiting: list[tuple[str, str | Path, str | None]] = [(name, place, revision)]
    seen: set[str] = set()
    while waiting:
        called, lies, at = waiting.pop()
        files = _files(lies, at, online=online)
        found = [f"{called} has a file called {file!r}, out of its own folder" for file in files if _leaves(file)]
        if (pickled := _pickled(files)) and not allow_pickle:
            refused = True
            found.append(
                f"{called} has pickled weights ({', '.join(pickled[:5])}) and no safetensors beside them: a pickle can "
                "hold code"
            )
        read = {file: _small(lies, file, at, online=online) for file in _read(files, lies, at, online) if not found}
        found += [f"{called}: {problem}" for file, text in read.items() for problem in _inside(file, text)]
        problems += found
        for base in sorted(_bases(read, files) - seen):
            seen.add(base)
            waiting.append((f"{base}, the base of {called},", Path(base) if _is_model(Path(base)) else base, None))
    if problems:
        hint = "Name another model: nothing of this one was loaded"
        if refused:
            hint = "--allow-pickle reads them as weights alone; or name a model with safetensors"
        raise RequestError(problems, hint=hint)


def _files(place: str | Path, revision: str | None, *, online: bool) -> list[str]:
    """The model's files by their names; none where nothing tells, as then nothing loads either."""
    if isinstance(place, Path):
        return sorted(file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file())
    if online:
        return sorted(huggingface_hub.list_repo_files(place, revision=revision))
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
    """Pickled weights that have none beside them which are loaded in their place."""
    found = []
    for file in files:
        path = PurePosixPath(file)
        if kind := PICKLED.fullmatch(path.name):
            instead = SAFE.get(kind[1], ())
            if not any(str(path.with_name(name)) in files for name in instead):
                found.append(file)
    return found


def _read(files: Sequence[str], place: str | Path, revision: str | None, online: bool) -> list[str]:
    """The small files that loading reads: those of the model's folder, and of the modules' folders below it."""
    folders = {"."}
    for told, key in (("modules.json", "path"), ("router_config.json", "types")):
        for file in [file for file in files if PurePosixPath(file).name == told and _folder(file) in folders]:
            try:
                value = json.loads(_small(place, file, revision, online=online))
            except (ValueError, RecursionError):
                continue  # it is told below, or by loading
            if isinstance(value, list):
                names = [entry.get(key) for entry in value if isinstance(entry, dict)]
            else:
                names = list(value[key]) if isinstance(value, dict) and isinstance(value.get(key), dict) else []
            folders |= {str(PurePosixPath(_folder(file)) / name) for name in names if isinstance(name, str)}
    return [
        file
        for file in files
        if tokenizer_files.VERSIONED.search(file)
        or (
            _folder(file) in folders
            and (PurePosixPath(file).name in SMALL or CALLED.fullmatch(PurePosixPath(file).name))
        )
    ]


def _folder(file: str) -> str:
    return str(PurePosixPath(file).parent)


def _bases(read: Mapping[str, str], files: Sequence[str]) -> set[str]:
    """The models that adapters are loaded on: from the main branch, and only where no model lies beside them."""
    found = set()
    for file, text in read.items():
        path = PurePosixPath(file)
        base = _base(text) if path.name == ADAPTER and str(path.with_name("config.json")) not in files else None
        if base and (_is_model(Path(base)) or is_hub_name(base)):
            found.add(base)
    return found


def _is_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("modules.json", "config.json"))


def _base(text: str) -> str | None:
    """The model that adapters belong to, as their configuration says."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None  # loading tells it
    base = value.get("base_model_name_or_path") if isinstance(value, dict) else None
    return base if isinstance(base, str) and base else None


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
    name = PurePosixPath(file).name
    if name == TOKENIZER or tokenizer_files.VERSIONED.search(file):
        yield from (f"{file} {problem}" for problem in tokenizer_files.problems(value))
        return
    if name == ADAPTER:
        return
    if CALLED.fullmatch(name):
        yield from (f"{file} {problem}" for problem in _filled(value))
        return
    if name == "modules.json":
        told = [entry.get("path") for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
    else:
        weights = value.get("weight_map") if isinstance(value, dict) else None
        told = list(weights.values()) if isinstance(weights, dict) else []
    for path in dict.fromkeys(path for path in told if isinstance(path, str)):
        if _leaves(path):
            yield f"{file} names {path!r}, out of the model's own folder"


def _filled(value: Any) -> Iterator[str]:
    """Whether texts are to be filled up to absurd lengths: what a module says is stronger than the call."""
    waiting = [value.get("processing_kwargs")] if isinstance(value, dict) else []
    while waiting:
        told = waiting.pop()
        if not isinstance(told, dict):
            continue
        waiting += told.values()
        for key in ("max_length", "pad_to_multiple_of"):
            if isinstance(length := told.get(key), int) and length > PADDED:
                yield f"fills each text up to {length:,} tokens ({key}), and {PADDED:,} is the most"
