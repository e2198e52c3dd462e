"""One run, one folder: where its parts lie, what was decided at its start, and whether it is finished."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

from hf_simtune import whole
from hf_simtune.errors import RequestError
from hf_simtune.plain import build
from hf_simtune.recipe import RELEASE, Recipe

__all__ = ["Plan", "RunFolder"]

log = logging.getLogger("hf_simtune")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that is decided once, at the start, and reused when the run is taken up again."""

    recipe: Recipe
    offline: bool
    command: str
    created: str
    loss: str
    precision: str
    precision_reason: str
    base_weights: str  # SHA-256 of the untouched base
    fingerprints: dict[str, str]  # of the rows: "train" (after leaks), "select", "report"
    publish_examples: bool
    commit: str | None  # of hf_simtune when the run began
    forward: str = "plain"  # or "packed" or "chunked"
    forward_reason: str = ""
    starts: int = 1
    start_weights: str | None = None  # SHA-256 of the model that training goes on from
    branches: tuple[Recipe, ...] = ()  # as they are trained
    processes: int = 1  # that train together
    base_setups: dict[str, str] = dataclasses.field(default_factory=dict)  # what it does beside its weights
    arithmetic: dict[str, str] = dataclasses.field(default_factory=dict)  # what the last bits depend on

    def differences(self, other: Plan) -> list[str]:
        """What another start would do differently from this one; empty when it goes on with the same run."""
        found = _changed(self.recipe, other.recipe)
        for named, mine, theirs in zip(self.recipe.branches or (), self.branches, other.branches, strict=False):
            found += [f"--branches {named}: {one}" for one in _changed(mine, theirs)]
        if self.base_weights != other.base_weights:
            was, now = self.base_weights[:12], other.base_weights[:12]
            found.append(f"the base model's weights are not those that the run started from (SHA-256 {was}, now {now})")
        for part in sorted(self.base_setups.keys() | other.base_setups.keys()):
            if self.base_setups.get(part) != other.base_setups.get(part):
                found.append(f"the base model is not the one that the run started from: its {part} differs")
        if self.start_weights != other.start_weights:
            found.append(f"the weights of --start {self.recipe.start} are not those that the run went on from")
        if self.processes != other.processes:
            found.append(f"{self.processes} processes trained it, and now there are {other.processes}")
        for part, fingerprint in self.fingerprints.items():
            if other.fingerprints.get(part) != fingerprint:
                was, now = fingerprint[:12], (other.fingerprints.get(part) or "none")[:12]
                found.append(f"the {part} rows are not those that the run started with (fingerprint {was}, now {now})")
        return found

    def taken_up(self, folder: Path, plan: Plan) -> Plan:
        """This plan of a run's first start, once more; ``plan`` is another start's, which goes on in ``folder``.

        Raises:
            RequestError: it would not go on with the same run, with each difference.
        """
        if differences := self.differences(plan):
            raise RequestError(
                [f"{folder} cannot be resumed: {difference}" for difference in differences],
                hint="Give the same recipe and data as at the start, or start a new run without --resume",
            )
        commit = self.commit
        if plan.commit != self.commit:
            log.warning("the run began at commit %s of hf_simtune and goes on at %s", self.commit, plan.commit)
            commit = f"{self.commit}, resumed at {plan.commit}"
        if elsewhere := self.elsewhere(plan):
            told = "the run goes on elsewhere, and its weights may not be those of a run without a break: %s"
            log.warning(told, "; ".join(elsewhere))
        publish = self.publish_examples or plan.publish_examples
        return dataclasses.replace(self, starts=self.starts + 1, commit=commit, publish_examples=publish)

    def elsewhere(self, other: Plan) -> list[str]:
        """On what else another start computes: it may go on, with weights that are not those to the last bit."""
        now = other.arithmetic
        return [
            f"{name} was {was}, now {now.get(name)}" for name, was in self.arithmetic.items() if was != now.get(name)
        ]


def _changed(mine: Recipe, theirs: Recipe) -> list[str]:
    """The fields in which two recipes differ, each a sentence."""
    values = [
        (field.name, getattr(mine, field.name), getattr(theirs, field.name))
        for field in dataclasses.fields(Recipe)
        if field.name not in RELEASE
    ]
    return [f"--{name.replace('_', '-')} was {was!r} and is now {now!r}" for name, was, now in values if was != now]


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model"
        self.card = path / "README.md"
        self.report = path / "report.html"
        self.record = path / "record.json"
        self.scores = path / "scores.parquet"
        self.plots = path / "plots"
        self.trainer = path / "trainer"
        self.plan = path / "plan.json"
        self.lock = self.trainer / "lock"

    @classmethod
    def create(cls, parent: Path, name: str, time: str) -> RunFolder:
        """A new, empty folder ``NAME-TIME``; a second run in the same second gets a number behind it."""
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RequestError(f"--out {parent} cannot be made: {error.strerror or error}") from error
        for number in range(1000):
            path = parent / (f"{name}-{time}" + (f"-{number}" if number else ""))
            try:
                path.mkdir()
            except FileExistsError:
                continue
            except OSError as error:
                raise RequestError(f"--out {parent} cannot be written to: {error.strerror or error}") from error
            folder = cls(path)
            folder.trainer.mkdir()
            return folder
        raise RequestError(f"there are a thousand runs {name}-{time} in {parent}")

    @classmethod
    def finished(cls, path: Path) -> RunFolder:
        """The folder of a run that is over.

        Raises:
            RequestError: no such folder, not a run's, or an unfinished one.
        """
        folder = cls(path)
        if folder.record.is_file():
            return folder
        if folder.plan.is_file():
            raise RequestError(
                f"the run in {path} is not finished: it has no record.json",
                hint=f"Go on with it: hf-simtune tune --resume {path}",
            )
        raise RequestError(
            f"no finished run at {path}: there is no record.json", hint="A run's folder is runs/NAME-TIME"
        )

    @classmethod
    def unfinished(cls, path: Path) -> RunFolder:
        """A run folder to take up again.

        Raises:
            RequestError: no such folder, not a run's, or a finished one.
        """
        folder = cls(path)
        if not path.is_dir():
            raise RequestError(f"no run folder at {path}", hint="A run's folder is runs/NAME-TIME")
        if folder.record.is_file():
            raise RequestError(f"the run in {path} is finished: its record.json is written", hint="Start a new run")
        if not folder.plan.is_file():
            raise RequestError(
                f"{path} cannot be resumed: it has no plan.json (no run folder, or stopped before training began)",
                hint="Start the run again without --resume",
            )
        folder.trainer.mkdir(exist_ok=True)
        return folder

    def write_plan(self, plan: Plan) -> None:
        """Keep what was decided, whole or not at all."""
        whole.write_text(self.plan, json.dumps(dataclasses.asdict(plan), indent=2) + "\n")

    def read_plan(self) -> Plan:
        """What was decided at the start.

        Raises:
            RequestError: the plan is of another version, or not readable.
        """
        try:
            value: dict[str, Any] = json.loads(self.plan.read_text(encoding="utf-8"))
            plan = build(Plan, value)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RequestError(
                f"{self.plan} cannot be read: {error}", hint="Start the run again without --resume"
            ) from error
        assert isinstance(plan, Plan)
        return plan
