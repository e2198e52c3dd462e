"""What must hold of a run that ended early, and when it is resumed."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

from crashing import Nursery

__all__ = ["Broken", "Promises"]


class Broken(Exception):
    """A promise that was not kept."""


class Promises:
    """What must hold of a run that ended early, and when it is resumed.

    Args:
        nursery: that starts command lines.
        whole: the folder of the same run, uninterrupted.
    """

    def __init__(self, nursery: Nursery, whole: Path) -> None:
        self._nursery, self._whole = nursery, whole
        _true(len({weights for _, weights in _scored(whole).values()}) > 1, "the uninterrupted run learns nothing")

    def ended(self, out: Path, status: int, said: str, number: int | None) -> Path | None:
        """Check how a run in ``out`` ended early; its folder, None where it left none.

        Args:
            out: the folder of run folders.
            status: with which the process ended.
            said: everything that it printed.
            number: of the signal that it got; None: it could not write.
        """
        folders = (
            [path for path in out.iterdir() if path.is_dir() and path.name != "lost+found"] if out.is_dir() else []
        )
        _true(len(folders) <= 1, f"one run made {len(folders)} folders")
        folder = folders[0] if folders else None
        record = bool(folder and (folder / "record.json").is_file())
        begun = bool(folder and (folder / "plan.json").is_file())
        _true("Traceback" not in said, "it ended in a traceback")
        if number == signal.SIGKILL:
            _true(status == -number or (record and status == 0), f"it was killed and ended with {status}")
        elif number is not None:
            # Before the run listens and after it is over the signal does what it does to any process.
            plain = not begun or record
            allowed = {128 + number, *([-number, 0] if plain else [])}
            _true(status in allowed, f"signal {number}, and it ended with {status}")
            if not plain:
                _true(f"tune --resume {folder}\n" in said, "it does not say how to go on")
            for step in re.findall(r"stopped at step (\d+), with a checkpoint", said):
                _true(
                    bool(list(out.glob(f"*/trainer/**/checkpoint-{step}/whole.json"))), f"no checkpoint of step {step}"
                )
        elif status or not record:
            _true(status == 1, f"it could not write, and ended with {status}")
            _true("could not be written in" in said, "it does not say what could not be written")
            _true(not begun or f"tune --resume {folder}" in said, "it does not say how to go on")
        return folder

    def resumed(self, folder: Path, log: Path) -> str:
        """Go on with what there is; says what became of it."""
        from hf_simtune.errors import RequestError
        from hf_simtune.run_folder import RunFolder

        record, begun = (folder / "record.json").is_file(), (folder / "plan.json").is_file()
        if not record:
            try:
                RunFolder.finished(folder)
            except RequestError:
                pass
            else:
                raise Broken("an unfinished run is taken for a finished one")
        status = self._nursery.run(["tune", "--resume", str(folder)], log)
        said = log.read_text(encoding="utf-8")
        _true("Traceback" not in said, f"the resumed run ended in a traceback: {said}")
        if record:
            _true(status == 2 and "is finished" in said, f"a finished run was taken up again: {status}, {said}")
            self.same(folder)
            return "finished before"
        if not begun:
            _true(status == 2 and "plan.json" in said, f"it does not say what is missing: {status}, {said}")
            return "nothing to go on with"
        _true(status == 0, f"the resumed run ended with {status}: {said}")
        self.same(folder)
        return "same weights"

    def same(self, folder: Path) -> None:
        """The model, byte by byte, and the scores are those of the uninterrupted run."""
        # Weights at every score first: what is kept in the end may be from before the break.
        found, wanted = _scored(folder), _scored(self._whole)
        differ = sorted({place for place, _ in found.items() ^ wanted.items()})
        _true(bool(wanted) and not differ, f"the weights are not those of the uninterrupted run at {differ}")
        for name in {*_files(folder), *_files(self._whole)}:
            same = (folder / name).is_file() and (self._whole / name).is_file()
            same = same and (folder / name).read_bytes() == (self._whole / name).read_bytes()
            _true(same, f"{name} is not that of the uninterrupted run")
        found, wanted = (
            json.loads((path / "record.json").read_text(encoding="utf-8")) for path in (folder, self._whole)
        )
        for name in ("evaluations", "tuned", "health", "base"):
            _true(found[name] == wanted[name], f"{name} in record.json are not those of the uninterrupted run")
        # What is over takes no more room than what it took at once.
        _true(not list(folder.rglob("*.part")), "something half-written is left in a finished run")
        for name in ("README.md", "report.html"):
            _true((folder / name).stat().st_size > 1000, f"{name} is not whole")


def _scored(folder: Path) -> dict[tuple[str, int], Any]:
    """Score and hash of the weights by training and step; of a step that was scored twice, the last time."""
    found = {}
    for path in (folder / "trainer").rglob("scored.jsonl"):
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue  # cut short by a kill
            place = path.parent.relative_to(folder).as_posix(), int(line["step"])
            found[place] = (line["spearman"], line["weights"])
    return found


def _files(folder: Path) -> list[str]:
    """The files that are to be the same: all of the model but its card, which tells of times, and the scores."""
    model = (path.relative_to(folder) for path in (folder / "model").rglob("*") if path.is_file())
    return [path.as_posix() for path in model if path.suffix not in (".md", ".png")] + ["scores.parquet"]


def _true(holds: bool, broken: str) -> None:
    if not holds:
        raise Broken(broken)
