"""Ten thousand inputs that nobody should have given, each of which ends in a result or in a sentence with its place.

    python tests/input_torture.py [--seed N] [--files N] [--recipes N] [--texts N]

Files of every kind, recipes with wrong values, texts that no tokenizer was made for; the strategies are those of
tests/test_input_properties.py. Of the recipes without problems three in four are shown and one in four is tuned too, on
a few rows with a tiny model; one that would go on for more than some seconds is told to stop. Prints how many there
were of each kind and how they ended, as JSON; writes out the first case that breaks a promise (a traceback, a NaN in a
record, a row dropped in silence, a message without a place, more than two minutes) and exits with 1.
"""

from __future__ import annotations

import argparse
import faulthandler
import itertools
import json
import logging
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import conftest  # noqa: F401 - now, as it sets the environment that the libraries read when they are imported
import hostile_files
import hostile_recipes
import hostile_texts
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from torture_record import parsed

LONGEST = 120.0  # seconds of a case
HANG = 300  # seconds after which a case that came to no end is told with where it is, and ends all
Check = Callable[[Any, Path], str]


class Broken(Exception):
    """A promise was broken; the case is in the message."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=7_500)
    parser.add_argument("--recipes", type=int, default=2_200)
    parser.add_argument("--texts", type=int, default=400)
    words, keeper = parsed(parser, "input")
    warnings.simplefilter("ignore")
    logging.getLogger("hf_simtune").setLevel(logging.ERROR)
    import datasets
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    kinds: list[tuple[str, list[Any], st.SearchStrategy[Any], int, Check]] = [
        ("files", hostile_files.huge(), hostile_files.cases(), words.files, hostile_files.check),
        ("recipes", [], hostile_recipes.cases(), words.recipes, hostile_recipes.check),
        ("texts", hostile_texts.huge(), hostile_texts.cases(), words.texts, hostile_texts.check),
    ]
    start = time.perf_counter()
    told: dict[str, Any] = {"seed": words.seed}
    try:
        for kind, first, strategy, count, check in kinds:
            told[kind] = dict(sorted(_tried(kind, first, strategy, count, check, words.seed).items()))
    except Broken as error:
        sys.stderr.write(f"{error}\n")
        return 1
    told["cases"] = sum(sum(told[kind].values()) for kind, *_ in kinds)
    told["seconds"] = round(time.perf_counter() - start)
    sys.stdout.write(json.dumps(told) + "\n")
    keeper.keep(told)
    return 0


def _tried(
    kind: str, first: list[Any], strategy: st.SearchStrategy[Any], count: int, check: Check, start: int
) -> Counter[str]:
    """How many cases ended how: those that are listed, and so many that are drawn."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="input-torture-") as temporary:
        numbers = itertools.count()

        def one(case: Any) -> None:
            faulthandler.dump_traceback_later(HANG, exit=True)
            begun = time.perf_counter()
            try:
                folder = Path(temporary) / str(next(numbers) // 200)  # a folder with too many files is slow
                folder.mkdir(exist_ok=True)
                found[check(case, folder)] += 1
            except Exception as error:
                raise Broken(f"{kind}: {type(error).__name__}: {error}\n{case!r:.5000}") from error
            finally:
                faulthandler.cancel_dump_traceback_later()
            if (seconds := time.perf_counter() - begun) > LONGEST:
                raise Broken(f"{kind}: {seconds:.0f} s\n{case!r:.5000}")

        for case in first:
            one(case)
        for number in _seeds(start):
            left = count + len(first) - sum(found.values())
            if left <= 0:
                return found
            # Hypothesis ends early where it has drawn everything that is to be had.
            limits = settings(
                max_examples=left,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            seed(number)(limits(given(strategy)(one)))()
    return found


def _seeds(start: int) -> Iterator[int]:
    yield from itertools.count(1_000_003 * start)


if __name__ == "__main__":
    raise SystemExit(main())
