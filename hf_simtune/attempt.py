"""One start of a run: the folder that it holds, what may end it early, and how it is gone on with then."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hf_simtune.chatter import speaks
from hf_simtune.held import held
from hf_simtune.run_folder import RunFolder
from hf_simtune.stopping import Stop, Stopped
from hf_simtune.unwritten import UnwrittenError, writing

__all__ = ["Attempt", "attempt"]


class Attempt:
    """What is known of a start.

    Attributes:
        stop: whether it was asked to stop.
        folder: of the run, once there is one.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.stop = Stop()
        self.folder: RunFolder | None = None
        self._stack = stack
        stack.enter_context(self.stop.heard())

    def hold(self, folder: RunFolder) -> RunFolder:
        """Work in a folder to the end of this start; of several processes the first holds it for all.

        Raises:
            RequestError: another process works there.
        """
        self.folder = folder
        if speaks():
            self._stack.enter_context(held(folder.path, folder.lock))
        return folder

    @property
    def begun(self) -> bool:
        """Whether there is something to go on with."""
        return self.folder is not None and self.folder.plan.is_file()

    @property
    def finished(self) -> bool:
        """Whether it is over, and only its publishing may be left."""
        return self.folder is not None and self.folder.record.is_file()


@contextmanager
def attempt(out: Path) -> Iterator[Attempt]:
    """A start of a run, which is told how to go on wherever it ends early.

    Args:
        out: the folder of run folders, for errors of before there is one.

    Raises:
        Stopped: by Ctrl-C or SIGTERM; it knows the folder.
        UnwrittenError: the disk is full, or does not take something; the hint says how to go on.
    """
    with ExitStack() as stack:
        this = Attempt(stack)
        try:
            with writing("something that the run keeps", this.folder.path if this.folder else out):
                yield this
        except Stopped as stopped:
            stopped.folder = this.folder.path if this.folder and this.begun else None
            stopped.finished = this.finished
            _leave_nothing(this)
            raise
        except UnwrittenError as error:
            told = shlex.quote(str(this.folder.path)) if this.folder and this.begun else None
            _leave_nothing(this)
            how = f"go on: hf-simtune tune --resume {told}" if told else "begin again with the same command"
            if this.finished:
                how = f"publish it: the run in {told} is finished"
            raise UnwrittenError(error.problems, hint=f"Make room there, then {how}") from error


def _leave_nothing(this: Attempt) -> None:
    """A folder without a plan cannot be gone on with and holds nothing: it would only be taken for a run."""
    if this.folder and speaks() and not this.begun and not this.finished:
        shutil.rmtree(this.folder.path, ignore_errors=True)
