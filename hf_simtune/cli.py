"""hf-simtune: the command line. Takes it apart, calls the command, and ends with the right status."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from hf_simtune import arguments as arguments_of
from hf_simtune import catalogue, chatter, commands, flags, publish_command, run_commands, unwritten
from hf_simtune.errors import PANIC_HINT, LeftAloneError, RequestError, RunError, SimtuneError, first_line, panics
from hf_simtune.recipe import Recipe
from hf_simtune.stopping import Stopped
from hf_simtune.tellable import tell_uncaught

__all__ = ["main"]

COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "bench": commands.bench,
    "compare": commands.compare,
    "demo": publish_command.demo,
    "diagnose": commands.diagnose,
    "export": publish_command.export,
    "generate": commands.generate,
    "publish": publish_command.publish,
    "recipes": commands.recipes,
    "score": commands.score,
    "sweep": run_commands.sweep,
    "tune": run_commands.tune,
}
HEARD = 30.0  # seconds
COLLECTING = ("tune", "sweep")  # commands that tell an unknown flag together with what is wrong with the recipe


def main(own: Recipe | None = None, argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, or, given a recipe, that recipe's: the same flags without a target.

    Exits with 0 (done), 1 (the run failed), 2 (the request was wrong), 130 (interrupted) or 143 (ended by SIGTERM).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    sys.excepthook = tell_uncaught
    try:
        status = _dispatch(own, words)
    except SimtuneError as error:
        from hf_simtune import terminal

        if not chatter.speaks() and (not isinstance(error, RunError) or isinstance(error, LeftAloneError)):
            with suppress(KeyboardInterrupt):
                time.sleep(HEARD)  # a launcher ends them all when one fails: the first tells what is wrong for all
        terminal.error(str(error))
        status = error.exit_status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except Stopped as stopped:
        if chatter.speaks():
            run_commands.tell_stopped(stopped)
        status = stopped.exit_status
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; an unfinished run goes on with --resume RUN_FOLDER\n")
        status = 130
    except Exception as error:
        if (told := _of_files(error, words)) is None:
            raise
        from hf_simtune import terminal

        terminal.error(told)
        status = 1
    except panics() as error:  # which is no Exception
        from hf_simtune import terminal

        terminal.error(f"a library failed within itself: {first_line(error)}\n{PANIC_HINT}")
        status = 1
    sys.exit(status)


def _of_files(error: Exception, words: Sequence[str]) -> str | None:
    """A sentence for a disk that takes no more, and for a file of the command line that cannot be had; else None."""
    if why := unwritten.told(error):
        return (
            f"a file could not be written: {why}\nRows and models are kept in HF_HOME=FOLDER, results where --out says"
        )
    if isinstance(error, OSError) and isinstance(error.filename, str) and error.strerror:
        return f"{error.filename}: {error.strerror}" if any(error.filename in word for word in words) else None
    return None


def _dispatch(own: Recipe | None, words: list[str]) -> int:
    parser = arguments_of.recipe_parser(own) if own else arguments_of.parser()
    arguments, words_left = parser.parse_known_args(words)
    chosen = parser if own or arguments.command is None else arguments.parser
    arguments.problems = flags.unknown(words_left, chosen)
    if not own and arguments.command is None and not arguments.problems:
        parser.print_help()
        return 0
    if arguments.problems and (not own and arguments.command not in COLLECTING):
        raise RequestError(arguments.problems, hint=f"See: {chosen.prog} --help")
    chatter.listen(quiet=getattr(arguments, "quiet", False))
    if own:
        known = catalogue.shipped().get(own.name) == own
        return run_commands.run_recipe(arguments, own, own.name if known else sys.argv[0])
    return COMMANDS[arguments.command](arguments)
