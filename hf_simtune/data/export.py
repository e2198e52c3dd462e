"""Rows of a built-in corpus into a file."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

from hf_simtune.data.sports import generate
from hf_simtune.errors import RequestError

__all__ = ["sports"]

ENDINGS = (".txt", ".csv", ".tsv", ".jsonl")


def sports(out: str, *, shape: str, split: str, rows: int, seed: int = 0, force: bool = False) -> int:
    """Write rows of the sports corpus; ``-`` is standard output. Returns how many were written.

    Raises:
        RequestError: a file that exists, an ending that is not known, more rows than there are.
    """
    path = Path(out)
    suffix = path.suffix if out != "-" else (".txt" if shape == "sentences" else ".jsonl")
    problems = []
    if suffix not in ENDINGS:
        problems.append(f"--out {out}: it must end in one of {', '.join(ENDINGS)}")
    if suffix == ".txt" and shape != "sentences":
        problems.append(f"--out {out}: a .txt file holds one sentence a line; for {shape} take .csv, .tsv or .jsonl")
    if out != "-" and path.exists() and not force:
        problems.append(f"{out} exists; --force writes over it")
    if out != "-" and not path.parent.is_dir():
        problems.append(f"--out {out}: there is no folder {path.parent}")
    if problems:
        raise RequestError(problems)
    made = generate(shape, split, rows, seed)
    place = nullcontext(sys.stdout) if out == "-" else path.open("w", encoding="utf-8", newline="")
    with place as file:
        return _write(file, made, suffix)


def _write(file: TextIO, rows: Iterable[Mapping[str, Any]], suffix: str) -> int:
    count = 0
    table: Any = None
    for row in rows:
        count += 1
        if suffix == ".txt":
            file.write(f"{row['sentence']}\n")
        elif suffix == ".jsonl":
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        else:
            if table is None:
                table = csv.writer(file, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
                table.writerow(row)
            table.writerow(row.values())
    return count
