from __future__ import annotations

import pytest
import torch

from hf_simtune import threads
from hf_simtune.errors import RequestError


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What torch is told, with nothing set in the environment."""
    told: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    for name in (threads.VARIABLE, "ACCELERATE_MIXED_PRECISION", "OMP_NUM_THREADS", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)), raising=False)
    return told


def test_a_plain_process_is_left_as_it_is(chosen: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    threads.settle()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads.settle()
    assert chosen == []


def test_one_process_of_accelerate_gets_all_cores(chosen: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads.settle()
    assert chosen == [6]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # somebody chose
    threads.settle()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")  # several processes share the cores
    threads.settle()
    assert chosen == [6]


def test_the_variable_decides(chosen: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv(threads.VARIABLE, "2")
    threads.settle()
    assert chosen == [2]
    for wrong in ("0", "two", "-1", ""):
        monkeypatch.setenv(threads.VARIABLE, wrong)
        with pytest.raises(RequestError, match="whole number above 0"):
            threads.settle()
