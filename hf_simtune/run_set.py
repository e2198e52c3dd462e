"""Several runs in one folder: what is planned, what became of each, and how they are taken up again."""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from hf_simtune import whole
from hf_simtune.errors import RequestError, SimtuneError
from hf_simtune.held import held
from hf_simtune.memory import out_of_memory
from hf_simtune.plain import build, not_finite
from hf_simtune.recipe import Recipe
from hf_simtune.record import RunRecord
from hf_simtune.set_plan import Cell, Plan, label
from hf_simtune.unwritten import UnwrittenError, writing

__all__ = ["Finished", "RunSet", "Runs", "kind_of"]

KINDS = ("sweep", "several")

log = logging.getLogger("hf_simtune")


class Finished(Protocol):
    """What is taken from a finished run: its folder and its record."""

    @property
    def folder(self) -> Path:
        """Its run folder."""

    @property
    def record(self) -> RunRecord:
        """What is known about it."""


class Runs(Protocol):
    """Runs a recipe; ``tuning.tune`` does."""

    def __call__(
        self,
        recipe: Recipe,
        *,
        offline: bool,
        out: Path,
        resume: Path | None,
        publish_examples: bool,
        origin: tuple[str, Recipe] | None,
    ) -> Finished:
        """Start a run in ``out``, or take up the one in ``resume``."""


class RunSet:
    """A folder of runs with ``sweep.json`` or ``several.json`` in it: the plan, and what became of every cell.

    Attributes:
        folder: where it is.
        plan: what was decided at the start.
        cells: in the order in which they are run.
        records: of the finished ones, by their place in ``cells``.
    """

    def __init__(self, folder: Path, plan: Plan, cells: Sequence[Cell]) -> None:
        self.folder = folder
        self.plan = plan
        self.cells = list(cells)
        self.records: dict[int, RunRecord] = {}

    @property
    def json(self) -> Path:
        """The file that holds all of it but the records."""
        return self.folder / f"{self.plan.kind}.json"

    @property
    def page(self) -> Path:
        """The page for people."""
        return self.folder / f"{self.plan.kind}.html"

    @classmethod
    def create(cls, out: Path, plan: Plan, cells: Sequence[Cell]) -> RunSet:
        """A new folder ``NAME-KIND-TIME`` in ``out``, with its plan written.

        Raises:
            RequestError: it cannot be made.
        """
        if out.exists() and not out.is_dir():
            raise RequestError(f"--out {out} is a file: name a folder")
        name = f"{plan.recipe.name}-{plan.kind}-{datetime.now().strftime('%Y%m%d-%H%M%S')}"
        for number in range(1000):
            folder = out / (name + (f"-{number}" if number else ""))
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise RequestError(f"--out {out} cannot be written to: {error.strerror or error}") from error
            made = cls(folder, plan, cells)
            made.write()
            return made
        raise RequestError(f"there are a thousand sets of runs {name} in {out}")

    @classmethod
    def open(cls, folder: Path, kind: str) -> RunSet:
        """A folder to go on with; the records of finished runs are read.

        Raises:
            RequestError: it is no folder of such runs, or not readable.
            RunError: the record of a finished run is not readable.
        """
        if kind_of(folder) != kind:
            own = "a sweep" if kind == "sweep" else "runs of several models"
            raise RequestError(
                f"{folder} cannot be resumed: it is no folder of {own} (it has no {kind}.json)",
                hint=f"Its folder is runs/NAME-{kind}-TIME",
            )
        path = folder / f"{kind}.json"
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            plan = build(Plan, value["plan"])
            cells = [build(Cell, _without_figures(cell)) for cell in value["cells"]]
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RequestError(f"{path} cannot be read: {error}", hint="Start again without --resume") from error
        made = cls(folder, plan, cells)
        for index, cell in enumerate(cells):
            finished, _ = made._found(cell)
            if finished:
                made.records[index] = RunRecord.load(finished / "record.json")
                made._change(index, state="done", run=made._inside(finished), problem=None)
            elif cell.state == "done":  # its folder was taken away
                made._change(index, state="waiting", run=None)
        return made

    @contextmanager
    def held(self) -> Iterator[None]:
        """Run its cells in this process alone.

        Raises:
            RequestError: another process runs them.
        """
        with held(self.folder, self.folder / ".lock"):
            yield

    def write(self, figures: Mapping[int, Mapping[str, Any]] | None = None) -> None:
        """Write plan and cells as JSON, whole or not at all.

        Args:
            figures: what a reader of the file wants to know of finished cells; it is computed again from the records,
                never read back.
        """
        cells = [
            {**dataclasses.asdict(cell), "figures": dict((figures or {}).get(index, {}))}
            for index, cell in enumerate(self.cells)
        ]
        value = {"format": 1, "plan": dataclasses.asdict(self.plan), "cells": cells}
        assert not not_finite(value), "a record holds finite figures only"
        with writing(self.json.name, self.folder):
            whole.write_text(self.json, json.dumps(value, indent=2) + "\n")

    def write_page(self, text: str) -> None:
        """Write the page for people, whole or not at all."""
        with writing(self.page.name, self.folder):
            whole.write_text(self.page, text)

    def recipe(self, cell: Cell) -> Recipe:
        """The recipe of one cell."""
        return dataclasses.replace(self.plan.recipe, **cell.values)

    def carry_on(self, index: int, run: Runs | None = None) -> None:
        """Bring one cell to its end: read it, resume it or start it, whatever there is of it.

        What is wrong with one run is written into its cell, for the others to go on; an interruption or a full disk,
        on which no other would fare better, leaves the cell "running", and its run folder resumable. ``run`` is
        ``tune`` unless a test knows better.
        """
        cell = self.cells[index]
        recipe = self.recipe(cell)
        finished, unfinished = self._found(cell)
        self._change(index, state="running", problem=None)
        self.write()
        log.info("run %d of %d: %s", index + 1, self.plan.trials or len(self.cells), label(cell.values, self.plan))
        plan = self.plan
        origin = (plan.target, plan.origin) if plan.target is not None and plan.origin is not None else None
        try:
            if finished:
                folder, record = finished, RunRecord.load(finished / "record.json")
            else:
                done = (run or _tune())(
                    recipe,
                    offline=plan.offline,
                    out=self.folder / cell.folder,
                    resume=unfinished,
                    publish_examples=plan.publish_examples,
                    origin=origin,
                )
                folder, record = done.folder, done.record
        except UnwrittenError:
            raise
        except SimtuneError as error:
            self._failed(index, str(error))
        except (MemoryError, RuntimeError) as error:
            # A batch that does not fit is that cell's own trouble; any other RuntimeError is a bug to be seen.
            if not out_of_memory(error):
                raise
            self._failed(index, f"out of memory: {str(error).splitlines()[0] if str(error) else 'no more to be had'}")
        else:
            self.records[index] = record
            self._change(index, state="done", run=self._inside(folder))
        gc.collect()  # a trainer holds its model in a circle; the next one needs the room

    def _failed(self, index: int, problem: str) -> None:
        log.warning("failed: %s", problem)
        self._change(index, state="failed", problem=problem)

    def _change(self, index: int, **changes: Any) -> None:
        self.cells[index] = dataclasses.replace(self.cells[index], **changes)

    def _inside(self, folder: Path) -> str:
        return folder.resolve().relative_to(self.folder.resolve()).as_posix()

    def _found(self, cell: Cell) -> tuple[Path | None, Path | None]:
        """The cell's finished run folder, and the one to be taken up again: the last of several."""
        place = self.folder / cell.folder
        folders = sorted(path for path in place.iterdir() if path.is_dir()) if place.is_dir() else []
        finished = [path for path in folders if (path / "record.json").is_file()]
        unfinished = [path for path in folders if (path / "plan.json").is_file()]
        return (finished[-1] if finished else None), (unfinished[-1] if unfinished else None)


def _tune() -> Runs:
    """Imported when the first run starts: a plan is made and checked without torch."""
    from hf_simtune.tuning import tune

    return tune


def kind_of(folder: Path) -> str | None:
    """``sweep`` or ``several`` for a folder of such runs; None for any other place."""
    return next((kind for kind in KINDS if (folder / f"{kind}.json").is_file()), None)


def _without_figures(cell: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in cell.items() if name != "figures"}
