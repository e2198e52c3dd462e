"""The untouched model's scores, kept beside a script's run: when it is resumed, that model is no longer there."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_simtune.before_after import Measured, Rows
from hf_simtune.plain import build
from hf_simtune.record import ModelFacts

__all__ = ["NAME", "read", "write"]

NAME = "before.npz"
log = logging.getLogger("hf_simtune")


def write(folder: Path, base: ModelFacts, before: Sequence[Measured], rows: Sequence[Rows]) -> None:
    """Keep the facts and the measurements, whole or not at all."""
    arrays: dict[str, Any] = {
        "facts": np.frombuffer(
            json.dumps(
                {
                    "base": dataclasses.asdict(base),
                    "fingerprints": [part.loaded.source.fingerprint for part in rows],
                    "activity": [part.activity for part in before],
                }
            ).encode(),
            dtype=np.uint8,
        )
    }
    for number, part in enumerate(before):
        arrays |= {f"{number}-{name}": getattr(part, name) for name in ("similarities", "first", "second")}
        if part.vectors is not None:
            arrays[f"{number}-vectors"] = part.vectors
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{NAME}.part"
    with unfinished.open("wb") as file:
        np.savez(file, **arrays)
    unfinished.replace(folder / NAME)


def read(folder: Path, rows: Sequence[Rows]) -> tuple[ModelFacts | None, list[Measured] | None]:
    """What was kept of the same rows; (None, None), and a warning, where there is nothing such."""
    path = folder / NAME
    try:
        with np.load(path, allow_pickle=False) as arrays:
            facts = json.loads(arrays["facts"].tobytes())
            if facts["fingerprints"] != [part.loaded.source.fingerprint for part in rows]:
                raise ValueError("it is of other rows")
            before = [
                Measured(
                    similarities=arrays[f"{number}-similarities"],
                    activity=None if activity is None else (float(activity[0]), float(activity[1])),
                    truncated={},
                    vectors=arrays.get(f"{number}-vectors"),
                    first=arrays[f"{number}-first"],
                    second=arrays[f"{number}-second"],
                )
                for number, activity in enumerate(facts["activity"])
            ]
            return build(ModelFacts, facts["base"]), before
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning(
            "the run is resumed, and the untouched model's scores are not to be had from %s (%s): no comparison, no "
            "card. Start from the base to have them",
            path,
            error,
        )
        return None, None
