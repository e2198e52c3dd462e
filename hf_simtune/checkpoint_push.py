"""Checkpoints to a branch of a private repository while a run is on: what is left of it where a job is cut off."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_simtune import hub_state, publish_files, publish_search
from hf_simtune.errors import RequestError, RunError, SimtuneError, first_line
from hf_simtune.hub_patience import patient
from hf_simtune.publish_files import Files
from hf_simtune.recipe import Recipe
from hf_simtune.tellable import tellable_cause

__all__ = ["BRANCH", "CheckpointPush", "place"]

BRANCH = "checkpoints"
COPY = "push-"  # begins the names of folders that hold what is to be sent
FAULTS = (*hub_state.FAULTS, ValueError, SimtuneError)  # ValueError: the library's own look at what it is given
log = logging.getLogger("hf_simtune")


def place(recipe: Recipe, *, offline: bool) -> str | None:
    """Where a run's checkpoints go, made and seen to be private before anything is trained; None: nowhere.

    Raises:
        RequestError: with ``offline``, which sends nothing; adapters; a repository that is public.
        HubError: nobody is logged in, or the Hub does not take it.
    """
    to = recipe.push_checkpoints
    if to is None:
        return None
    if offline:
        raise RequestError("--push-checkpoints sends to the Hub, and --offline goes without it: leave one of them out")
    if recipe.lora is not None:
        raise RequestError(
            "--push-checkpoints does not go with --lora: adapters on a branch do not load by its name; leave one out"
        )
    try:
        with patient():
            api = HfApi()
            api.create_repo(to, private=True, exist_ok=True)
            private = api.model_info(to, timeout=hub_state.PATIENCE).private
            if private:
                api.create_branch(to, branch=BRANCH, exist_ok=True)
    except (LocalTokenNotFoundError, HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        told = f"--push-checkpoints {to}: the Hub does not take it"
        raise hub_state.untrained(told, error) from tellable_cause(error)
    if not private:
        raise RequestError(
            f"--push-checkpoints {to}: that repository is public, and checkpoints have passed no gate",
            hint="Make it private in its settings, or name one that is not there yet",
        )
    return to


class CheckpointPush(TrainerCallback):
    """Sends each checkpoint's model to the branch, beside the training, which goes on whatever comes of it.

    Of the checkpoint's folder only the files go that ``publish`` would send of a model: no optimizer, no pickles and no
    card. While one is on its way a newer one waits, and takes the place of another that waits.

    Args:
        to: as ``place`` has made it.
        recipe: of the run.
        folder: of the run's trainer.
    """

    def __init__(self, to: str, recipe: Recipe, folder: Path) -> None:
        self.to, self.recipe, self.folder = to, recipe, folder.resolve()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._lock = threading.Lock()
        self._waiting: tuple[Path, str] | None = None
        self._sending: Future[None] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take away what a start that was killed had not sent."""
        for left in Path(str(args.output_dir)).glob(f"{COPY}*"):
            shutil.rmtree(left, ignore_errors=True)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Take a copy of the checkpoint's model, as the trainer will take the checkpoint away, and send it."""
        place = Path(str(args.output_dir)).resolve()
        of = "" if place == self.folder else f" ({place.name})"  # of several trainings
        title = f"{self.recipe.name}{of}: step {state.global_step} of {state.max_steps}"
        last: dict[str, Any] = next((line for line in reversed(state.log_history) if self.metric(args) in line), {})
        if last.get("step") == state.global_step:
            title += f", {100 * last[self.metric(args)]:.2f} on the rows that choose"
        try:
            taken = _copied(place / f"checkpoint-{state.global_step}")
        except OSError as error:
            log.warning("%s was not sent to %s: %s; training goes on", title, self.to, error)
            return
        with self._lock:
            before, self._waiting = self._waiting, (taken, title)
            if self._sending is None or self._sending.done():
                self._sending = self._worker.submit(self._send)
        if before:
            shutil.rmtree(before[0], ignore_errors=True)

    @staticmethod
    def metric(args: TrainingArguments) -> str:
        """The name of the score on the selection rows."""
        return str(args.metric_for_best_model)

    def end(self) -> None:
        """Wait for what is on its way."""
        with self._lock:
            sending = self._sending
        if sending is not None and not sending.done():
            log.info("waiting for the last checkpoint to reach %s", self.to)
        self._worker.shutdown(wait=True)

    def _send(self) -> None:
        while True:
            with self._lock:
                waiting, self._waiting = self._waiting, None
                if waiting is None:
                    self._sending = None
                    return
            folder, title = waiting
            try:
                with patient():
                    commit = self._commit(self._files(folder), title)
                log.info("%s is at %s, branch %s, commit %s", title, self.to, BRANCH, commit[:12])
            except FAULTS as error:
                log.warning("%s was not sent to %s: %s; training goes on", title, self.to, first_line(error))
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _files(self, folder: Path) -> Files:
        """What of a checkpoint goes.

        Raises:
            RunError: something in it must not leave this machine.
        """
        files: Files = publish_files.of_model(folder)[0]
        if private := publish_search.private(files):
            raise RunError("; ".join(f"{one.file} holds {one.what}" for one in private))
        return files

    def _commit(self, files: Files, title: str) -> str:
        """The branch's commit that holds these files and none of an earlier run's."""
        api = HfApi()
        there = hub_state.hashes_at(api, self.to, BRANCH)
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(name, held) for name, held in files.items()
        ]
        gone = [name for name in there if name not in files and publish_files.replaceable(name)]
        operations += [CommitOperationDelete(name) for name in gone]
        return str(api.create_commit(self.to, operations, commit_message=title, revision=BRANCH).oid)


def _copied(checkpoint: Path) -> Path:
    """The model's files of a checkpoint in a folder of their own; large ones are links where the disk has them."""
    folder = Path(tempfile.mkdtemp(prefix=COPY, dir=checkpoint.parent))
    for name, held in publish_files.of_model(checkpoint)[0].items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(held, place)
        except OSError:
            shutil.copyfile(held, place)
    return folder
