"""The next cell of a search with Optuna: what to try after what was tried."""

from __future__ import annotations

import importlib.util
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hf_simtune.errors import RequestError

__all__ = ["STARTUP", "next_values", "problems"]

STARTUP = 5  # cells that are drawn at random before the search learns from what it has seen
ASKED = 20  # how often the sampler may name a cell that was tried before one is drawn from the rest

Values = dict[str, Any]


def problems(trials: int, cells: int) -> list[str]:
    """What is wrong with a search of so many trials in a grid of so many cells, in sentences."""
    found = []
    if trials < 1:
        found.append(f"--trials is {trials}: it must be 1 or more")
    elif trials >= cells:
        found.append(f"--trials {trials} searches a grid of {cells} cells: leave it out to run them all")
    if importlib.util.find_spec("optuna") is None:
        found.append("--trials searches with Optuna, which is not installed; pip install 'hf-simtune[search]'")
    return found


def next_values(
    axes: Mapping[str, Sequence[Any]], tried: Sequence[Values], scores: Mapping[int, float], seed: int
) -> Values:
    """One cell of the grid that was not tried yet, as a tree-structured Parzen estimator suggests it.

    The choices of an axis are categories to the estimator (Bergstra et al. 2011; Optuna's TPESampler): it learns which
    values do well, not that 0.1 lies between 0.05 and 0.2. The answer depends on the arguments alone, so that a search
    that was interrupted goes on as if it had not been.

    Args:
        axes: the values of each field.
        tried: every cell so far, finished or failed.
        scores: selection scores by place in ``tried``, higher is better; a failed cell has none.
        seed: of the draw, with the number of cells tried.

    Raises:
        RequestError: Optuna is not installed, or every cell was tried.
    """
    try:
        import optuna
    except ImportError as error:
        raise RequestError(
            "--trials searches with Optuna, which is not installed", hint="pip install 'hf-simtune[search]'"
        ) from error
    places = {field: list(range(len(values))) for field, values in axes.items()}
    spaces = {field: optuna.distributions.CategoricalDistribution(choices) for field, choices in places.items()}
    done = {tuple(axes[field].index(cell[field]) for field in axes) for cell in tried}
    left = [place for place in itertools.product(*places.values()) if place not in done]
    if not left:
        raise RequestError("every cell of the grid was tried")
    with _silent(optuna.logging):
        for attempt in range(ASKED):
            sampler = optuna.samplers.TPESampler(
                n_startup_trials=STARTUP, seed=random.Random(f"{seed}-{len(tried)}-{attempt}").randrange(2**32)
            )
            study = optuna.create_study(direction="maximize", sampler=sampler)
            for index, score in scores.items():
                params = {field: axes[field].index(tried[index][field]) for field in axes}
                study.add_trial(optuna.trial.create_trial(params=params, distributions=dict(spaces), value=score))
            asked = study.ask(dict(spaces)).params
            place = tuple(asked[field] for field in axes)
            if place not in done:
                break
        else:
            place = random.Random(f"{seed}-{len(tried)}").choice(left)
    return {field: axes[field][where] for field, where in zip(axes, place, strict=True)}


@contextmanager
def _silent(logging: Any) -> Iterator[None]:
    """Optuna tells of every study that it makes."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(before)
