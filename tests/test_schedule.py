from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_simtune.recipe import Recipe
from hf_simtune.schedule import LONG, StopWithoutGain, evaluations, patience, warmup


def state(scores: list[float], step: int = 10, steps: int = 100) -> TrainerState:
    found = TrainerState()
    found.log_history = [{"eval_x": score, "step": index} for index, score in enumerate(scores)]
    found.global_step, found.max_steps = step, steps
    return found


def stops(scores: list[float], patience: int, warmup: float = 0.0, **where: int) -> bool:
    stopper = StopWithoutGain("eval_x", patience, warmup)
    control = TrainerControl()
    stopper.on_evaluate(TrainingArguments("unused"), state(scores, **where), control)
    assert control.should_training_stop == (stopper.stopped is not None)
    return control.should_training_stop


@pytest.mark.parametrize(
    ("scores", "patience", "stopped"),
    [
        ([], 1, False),
        ([0.5], 1, False),
        ([0.5, 0.4], 1, True),
        ([0.5, 0.6], 1, False),
        ([0.5, 0.5], 1, True),
        ([0.5, 0.4, 0.6, 0.5], 2, False),
        ([0.5, 0.4, 0.6, 0.5, 0.6], 2, True),
        ([0.5, 0.4, 0.3, 0.2], 0, False),
        ([math.nan, 0.1, 0.2, 0.3], 3, False),
        ([math.nan, math.nan, math.nan, math.nan], 3, True),
    ],
)
def test_training_ends_after_so_many_scores_without_a_better_one(
    scores: list[float], patience: int, stopped: bool
) -> None:
    assert stops(scores, patience) is stopped


def test_the_last_step_is_an_end_and_no_early_stop() -> None:
    assert not stops([0.5, 0.4], 1, step=100)


@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=12), st.integers(0, 6), st.integers(0, 9))
def test_the_rule_is_that_of_a_slow_count(scores: list[float], patience: int, warm: int) -> None:
    best, since = -math.inf, -1
    for step, score in enumerate(scores):
        better = not math.isnan(score) and score > best
        best, since = (score, 0) if better or since < 0 else (best, since + 1)
        best = -math.inf if math.isnan(best) else best
        since = 0 if warm and step <= warm else since
    assert stops(scores, patience, warm / 100) is (patience > 0 and since >= patience)


def test_scores_from_the_warm_up_do_not_end_a_run() -> None:
    falling = [0.9, 0.8, 0.7, 0.6, 0.5]  # at steps 0 to 4 of 100
    assert stops(falling, 4)
    assert not stops(falling, 4, warmup=0.01)
    assert stops(falling, 3, warmup=0.01)
    assert not stops(falling, 1, warmup=0.1)
    assert (warmup(Recipe(warmup=0.2)), warmup(Recipe(warmup=0.2, scheduler="constant"))) == (0.2, 0.0)


def test_long_runs_are_scored_once_an_epoch_and_stop_by_themselves() -> None:
    short, long = Recipe(epochs=1.0), Recipe(epochs=500.0)
    assert (evaluations(short), patience(short)) == (10, 0)
    assert (evaluations(long), patience(long)) == (500, 5)
    assert patience(Recipe(epochs=float(LONG))) == 0
    asked = Recipe(epochs=500.0, evaluations=3, patience=0)
    assert (evaluations(asked), patience(asked)) == (3, 0)
