"""Ctrl-C and SIGTERM: the first ends training at its next step, with a checkpoint; a second one ends it at once."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

__all__ = ["Stop", "Stopped"]

log = logging.getLogger("hf_simtune")
NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Stopped(KeyboardInterrupt):
    """A run has stopped because it was asked to.

    It is a KeyboardInterrupt, so that whoever expects one need not know of it.

    Attributes:
        number: of the signal.
        step: at whose checkpoint training ended; None where it was stopped at once.
        folder: of the run, to be resumed; None where none was begun.
        finished: whether the run was over by then, as while it is published.
    """

    def __init__(self, number: int, step: int | None = None) -> None:
        self.number = number
        self.step = step
        self.folder: Path | None = None
        self.finished = False
        super().__init__(number)

    def __str__(self) -> str:
        return f"{self.how}; to go on, resume {self.folder}" if self.folder and not self.finished else self.how

    @property
    def how(self) -> str:
        """Where it stopped, and why."""
        if self.folder is None:
            return f"stopped before training began ({self.name}): nothing is kept, and the same command begins it again"
        if self.finished:
            return f"stopped at once ({self.name}); the run in {self.folder} is finished"
        where = "at once" if self.step is None else f"at step {self.step}, with a checkpoint"
        return f"stopped {where} ({self.name})"

    @property
    def name(self) -> str:
        """What asked for it."""
        return NAMES[signal.Signals(self.number)]

    @property
    def exit_status(self) -> int:
        """As shells have it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number


class Stop:
    """Whether a run was asked to stop.

    Attributes:
        asked: the number of the signal that asked for it first.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._seen: set[int] = set()
        self._stepping = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Listen to both signals, and put back who listened before.

        A signal that is ignored stays ignored, as under nohup. Outside of the main thread nothing can listen: there a
        signal does what it did before.
        """
        before = {}
        if threading.current_thread() is threading.main_thread():
            for number in NAMES:
                # None: the handler is not Python's, and could not be put back.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    before[number] = signal.signal(number, self._hear)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def at_steps(self) -> Iterator[None]:
        """In here the first signal waits for a step's end, which looks at ``asked``; behind it, it waits no longer."""
        self._stepping = True
        try:
            yield
        finally:
            self._stepping = False
        self.check()

    def check(self) -> None:
        """End here if it was asked for: a library may have swallowed the interruption.

        Raises:
            Stopped: it was.
        """
        if self.asked is not None:
            raise Stopped(self.asked)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        again = number in self._seen  # torchrun sends a SIGTERM behind a Ctrl-C: that is no second one
        self._seen.add(number)
        first, self.asked = self.asked is None, self.asked or number
        if again or not self._stepping:
            raise Stopped(number)
        if first:
            # In a thread: the signal may have come while this one held what a log needs.
            words = "%s: stopping at the next step, with a checkpoint; once more stops at once"
            threading.Thread(target=log.warning, args=(words, NAMES[signal.Signals(number)])).start()
