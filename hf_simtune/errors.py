"""What can go wrong, each kind with the exit status that the command line ends with."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hf_simtune.tellable import tellable

__all__ = [
    "PANIC_HINT",
    "DataError",
    "HubError",
    "LeftAloneError",
    "RequestError",
    "RunError",
    "SimtuneError",
    "first_line",
    "joined",
    "panics",
]

PANIC_HINT = "Most likely the model's tokenizer.json is broken: name another model, or fetch this one again"


class SimtuneError(Exception):
    """A problem told to a person: what was wrong, the value, what is allowed, what to do next.

    Whatever goes into it comes out without tokens and control characters: a value of the data, a library's words.

    Args:
        problems: one sentence, or several found together; all of them are shown.
        hint: what to type or do next.
    """

    exit_status = 1

    def __init__(self, problems: str | Sequence[str], hint: str | None = None) -> None:
        given = (problems,) if isinstance(problems, str) else problems
        self.problems: tuple[str, ...] = tuple(map(tellable, given))
        self.hint = None if hint is None else tellable(hint)
        super().__init__(self.problems, self.hint)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            text = self.problems[0]
        else:
            text = f"{len(self.problems)} problems:" + "".join(f"\n  - {problem}" for problem in self.problems)
        return f"{text}\n{self.hint}" if self.hint else text


class RequestError(SimtuneError):
    """The request was wrong: a recipe, a flag, a name. Nothing was started."""

    exit_status = 2


class DataError(RequestError):
    """The data do not have the shape that was asked for; the message names file, line, column and value."""


class HubError(SimtuneError):
    """The Hub could not be reached, or does not have what was asked for."""


class RunError(SimtuneError):
    """A run started and could not be brought to its end."""


class LeftAloneError(RunError):
    """Another process of the same training has ended, and has told why."""


def joined(errors: Sequence[SimtuneError]) -> SimtuneError:
    """Errors that were found together, one or more, as one with all their problems and hints; one alone is itself."""
    if len(errors) == 1:
        return errors[0]
    same = (kind for kind in (DataError, HubError) if all(isinstance(error, kind) for error in errors))
    hints = dict.fromkeys(error.hint for error in errors if error.hint)
    problems = [problem for error in errors for problem in error.problems]
    return next(same, RequestError)(problems, hint="\n".join(hints) or None)


def first_line(error: BaseException) -> str:
    """The first line of what another library's error says, or its type's name where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def panics() -> tuple[type[BaseException], ...]:
    """For ``except panics()``: the class of what is being handled, if it is the panic of a library in Rust.

    It is no ``Exception``, each such library (tokenizers, safetensors) has a class of its own for it, and none has a
    name to import: it is known by what it calls itself.
    """
    kind = type(sys.exception())
    return (kind,) if (kind.__module__, kind.__name__) == ("pyo3_runtime", "PanicException") else ()  # type: ignore[return-value]
