"""Checkpoints of a training: sealed when they are whole, and found again; those cut short are not taken up."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path

from transformers import TrainerState

from hf_simtune import whole

__all__ = ["clear", "last", "seal", "state_of", "tidy"]

SEAL = "whole.json"  # every other file of the checkpoint, with its size and SHA-256; written last
STATE = "trainer_state.json"
KEPT = 2
log = logging.getLogger("hf_simtune")


def clear(checkpoint: Path) -> None:
    """Take away what there is of a checkpoint, its seal first: what is half taken away is not whole."""
    (checkpoint / SEAL).unlink(missing_ok=True)
    if checkpoint.is_dir():
        shutil.rmtree(checkpoint)


def seal(checkpoint: Path) -> None:
    """Note what a checkpoint consists of, now that all of it is written.

    The trainer's state is not in it: a run folder that is moved needs another path in there.
    """
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name not in (SEAL, STATE))
    found = {path.relative_to(checkpoint).as_posix(): [path.stat().st_size, _hash(path)] for path in files}
    whole.write_text(checkpoint / SEAL, json.dumps(found, indent=1) + "\n")


def tidy(folder: Path, newest: Path, best: str | None) -> None:
    """Keep the newest checkpoint and the best one, or the one before where these are the same; only the sealed."""
    keep = {newest.name, *([Path(best).name] if best else [])}
    for path in reversed(_found(folder)):
        if len(keep) < KEPT and _step(path) < _step(newest) and (path / SEAL).is_file():
            keep.add(path.name)
    for path in _found(folder):
        if path.name not in keep:
            clear(path)


def last(folder: Path) -> Path | None:
    """The newest checkpoint that is whole, and the best one with it, whose weights the end of training restores."""
    for path in reversed(_found(folder)):
        if found := _problem(path):
            log.warning("%s is not used: %s", path.name, found)
            continue
        best = state_of(path).best_model_checkpoint
        if best and Path(best).name != path.name and (found := _problem(folder / Path(best).name)):
            log.warning("%s is not used: the best one before it, %s: %s", path.name, Path(best).name, found)
            continue
        _move_best(path / STATE, folder.resolve())
        return path
    return None


def state_of(checkpoint: Path) -> TrainerState:
    """What the trainer knew when it wrote a checkpoint."""
    state: TrainerState = TrainerState.load_from_json(str(checkpoint / STATE))
    return state


def _found(folder: Path) -> list[Path]:
    paths = [path for path in folder.glob("checkpoint-*") if path.is_dir() and path.name.split("-", 1)[1].isdecimal()]
    return sorted(paths, key=_step)


def _step(path: Path) -> int:
    return int(path.name.split("-", 1)[1])


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _problem(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint; None: it is whole."""
    try:
        listed = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        return f"it was cut short: it has no {Path(str(error.filename)).name}"
    except ValueError:
        return f"it was cut short: {SEAL} or {STATE} cannot be read"
    if not isinstance(listed, dict) or not isinstance(state, dict) or state.get("global_step") != _step(checkpoint):
        return f"{SEAL} and {STATE} are not of this checkpoint"
    for name, (size, digest) in listed.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size:,} bytes of {size:,}"
        if _hash(path) != digest:
            return f"{name} is not what was written"
    return None


def _move_best(path: Path, folder: Path) -> None:
    """Point the best checkpoint at where it lies now: the trainer forgets one at a path that is no more."""
    state = json.loads(path.read_text(encoding="utf-8"))
    best = state.get("best_model_checkpoint")
    if best and best != str(folder / Path(best).name):
        state["best_model_checkpoint"] = str(folder / Path(best).name)
        whole.write_text(path, json.dumps(state, indent=2) + "\n")
