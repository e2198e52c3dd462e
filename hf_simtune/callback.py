"""SimtuneCallback: before and after, a guard, a card and a report, for anybody's training script."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_simtune import before_after, kept, machine, models, script_facts, writing
from hf_simtune.before_after import Rows
from hf_simtune.data.inputs import told_apart
from hf_simtune.data.load import load
from hf_simtune.data.scores import check_scores
from hf_simtune.data.spec import parse
from hf_simtune.divergence import StepWatch
from hf_simtune.errors import RequestError
from hf_simtune.evaluation.compare import verdict_sentence
from hf_simtune.evaluation.sts import Model
from hf_simtune.held import held
from hf_simtune.record import ModelFacts, RunRecord
from hf_simtune.run_folder import RunFolder
from hf_simtune.watching import BeforeAfter

__all__ = ["SimtuneCallback"]

log = logging.getLogger("hf_simtune")
_working: dict[Path, ExitStack] = {}  # folders that trainings of this process work in, and how each is left


class SimtuneCallback(BeforeAfter):
    """For ``SentenceTransformerTrainer(callbacks=[SimtuneCallback(eval_data=...)])``, or a SparseEncoderTrainer.

    Scores the untouched model before the first step and the trained one after the last (or the best checkpoint, where
    the trainer restores it), compares the two on the same rows, watches for collapse, and writes a record, a card, a
    report and the scores of the rows. Losses and weights are those of a run without it, bit by bit. The model itself is
    saved by the script, as always; the card lies beside the record, to be put there as ``README.md``. What goes wrong
    before the first step is raised; what goes wrong after the last is logged, and leaves the script its model.

    Of several processes the first scores while the others wait for it in the first step: evaluation data that take it
    longer than the process group's timeout (10 minutes with NCCL, 30 with gloo) need a longer one.

    Args:
        eval_data: scored rows: Hub id, csv/tsv/jsonl/parquet file, or ``builtin:sports/scored:test``. Of a data set on
            the Hub named without a split, the test split is taken.
        probe: further scored rows that the model should not get worse on.
        columns: the two sentences and the score of ``eval_data``, where their names do not tell.
        score_range: scale of its scores, lowest and highest, where they are not in 0..1.
        name: of the run, in card and record (default: the last part of the trainer's ``output_dir``).
        out: folder that is written to (default: ``simtune`` in the trainer's ``output_dir``).
        seed: of the bootstrap.

    Attributes:
        record: the finished record, when training is over; None before.

    Raises:
        RequestError: names that stand for nothing, all of them at once, when the callback is made.
        DataError, HubError: rows that cannot be used or fetched, before the first step.
    """

    def __init__(
        self,
        eval_data: str = "sentence-transformers/stsb",
        *,
        probe: Sequence[str] = (),
        columns: Sequence[str] | None = None,
        score_range: tuple[float, float] | None = None,
        name: str | None = None,
        out: str | Path | None = None,
        seed: int = 42,
    ) -> None:
        if isinstance(probe, str):
            probe = [probe]
        names = [("report", eval_data), *(("probe", entry) for entry in probe)]
        problems: list[str] = []
        self.names: list[tuple[str, str]] = []
        for role, entry in names:
            try:
                self.names.append((role, _measured(entry)))
            except RequestError as error:
                problems += error.problems
        if problems:
            raise RequestError(problems, hint='As in: SimtuneCallback("sentence-transformers/stsb:test")')
        super().__init__(seed=seed)
        self.columns = columns
        self.score_range = score_range
        self.name = name
        self.out = Path(out) if out is not None else None
        self.base: ModelFacts | None = None
        self.record: RunRecord | None = None

    def _load(self) -> None:
        """Load the rows, the same ones for every process."""
        if self.rows:
            return
        found = []
        for role, name in self.names:
            own = role == "report"
            loaded = load(
                name,
                columns=self.columns if own else None,
                score_range=self.score_range if own else None,
                expect=("scored",),
            )
            found.append(Rows(role, loaded))
        check_scores([part.loaded for part in found])
        roles = ["report", *(f"probe {number}" for number in range(1, len(found)))]
        apart = told_apart([part.loaded for part in found], roles)
        self.rows = tuple(Rows(part.role, loaded) for part, loaded in zip(found, apart, strict=True))

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Score the base; one process scores and writes, all of them watch."""
        self.before, self.base, self.guard, self.record = None, None, None, None
        self.steps = StepWatch()
        self._load()
        self.prompt = script_facts.prompt(args)
        self.set_up_guard()
        super().on_train_begin(args, state, control, **kwargs)
        if state.is_world_process_zero:
            self._start(cast(Model, kwargs["model"]), self._folder(args), state.global_step)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Score what training left in the model, compare, and write."""
        super().on_train_end(args, state, control, **kwargs)
        if not state.is_world_process_zero:
            return
        try:
            with _working.pop(self._folder(args).path.resolve(), ExitStack()):
                if self.base is not None:
                    self._finish(self.base, cast(Model, kwargs["model"]), args, state, kwargs.get("train_dataloader"))
        except Exception:  # the training is done, and the script has yet to save its model: nothing here may cost it
            self.record = None
            log.exception("the model is trained, but scoring it or writing %s failed", self._folder(args).path)

    def _folder(self, args: TrainingArguments) -> RunFolder:
        return RunFolder(self.out or Path(str(args.output_dir)) / "simtune")

    def _start(self, model: Model, folder: RunFolder, step: int) -> None:
        """Score the base, or take its scores from where the first start of a resumed run left them.

        The folder is this training's from now on: no other works in it, and what an earlier one left is no record of
        this one.
        """
        folder.path.mkdir(parents=True, exist_ok=True)
        place = folder.path.resolve()
        _working.pop(place, ExitStack()).close()  # of a training that broke off, as in a notebook
        _working[place] = ExitStack()
        _working[place].enter_context(held(place, place / "_lock"))
        if step:
            self.base, self.before = kept.read(folder.path, self.rows)
            if self.base is not None:
                folder.record.unlink(missing_ok=True)
            return
        _tell(f"scoring the untouched model on {', '.join(part.loaded.source.title for part in self.rows)}")
        self.before = before_after.measure(model, self.rows, prompt=self.prompt)
        self.base = script_facts.base(model)
        if self.prompt is not None:
            self.base = dataclasses.replace(self.base, prompt=self.prompt)
        folder.record.unlink(missing_ok=True)
        kept.write(folder.path, self.base, self.before, self.rows)

    def _finish(
        self, base: ModelFacts, model: Model, args: TrainingArguments, state: TrainerState, batches: Any
    ) -> None:
        folder = self._folder(args)
        compared = self.compare(model, base.similarity)
        data = getattr(batches, "dataset", None)
        name = self.name or Path(str(args.output_dir)).resolve().name
        self.record = RunRecord(
            name=name,
            title="trained by a script of its own, with SimtuneCallback",
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command="",
            offline=False,
            recipe=script_facts.arguments(args),
            commit=machine.commit(),
            base=base,
            tuned=models.tuned_facts(model, base, name),
            training=dataclasses.replace(
                script_facts.training(model, data, args, state, args.world_size), diverged=self.steps.reason
            ),
            leakage=script_facts.leaks(data, {part.loaded.source.title: part.loaded.dataset for part in self.rows}),
            evaluations=compared.evaluations,
            machine=machine.describe(),
            seconds={},
            health=self.health,
            spread=compared.spread,
            reindex=compared.reindex,
            saved="",
            script=True,
        )
        writing.write(folder, self.record, compared.parts, self.rows)
        report = next(found for found in self.record.evaluations if found.role == "report")
        if report.comparison:
            _tell(f"{report.source.title}: {verdict_sentence(report.comparison)}")
        _tell(f"card, report and record: {folder.path}")


def _tell(text: str) -> None:
    """To the log where the script shows it; else to the terminal, beside the trainer's own lines."""
    if log.isEnabledFor(logging.INFO):
        log.info(text)
    else:
        sys.stderr.write(f"hf_simtune: {text}\n")


def _measured(name: str) -> str:
    """The data's name, with the test split where it names none: to train on is what the train split is for.

    Raises:
        RequestError: nothing has this name.
    """
    parsed = parse(name)
    if parsed.split or parsed.kind == "file":
        return name
    if parsed.kind == "builtin":
        return f"{name if parsed.config else f'{name}/scored'}:test"
    place, at, revision = name.partition("@")
    return f"{place}:test{at}{revision}"
