from __future__ import annotations

import dataclasses
import getpass
import platform
import subprocess
from pathlib import Path

import psutil
import pytest
from conftest import CHECKOUT

from hf_simtune import machine


def test_the_machine_is_described_without_the_names_of_its_host_or_user() -> None:
    found = machine.describe()
    assert found.cores >= 1
    assert found.memory_gb > 0
    assert {"python", "hf_simtune", "torch", "sentence-transformers"} <= set(found.versions)
    words = str(dataclasses.asdict(found))
    assert platform.node() not in words
    assert str(Path.home()) + "/" not in words
    assert f"/{getpass.getuser()}" not in words


def test_the_commit_is_that_of_the_checkout() -> None:
    if not (CHECKOUT / ".git").exists():
        pytest.skip("needs a git checkout")
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=CHECKOUT, check=True)
    assert (machine.commit() or "").removesuffix("+changes") == head.stdout.strip()


def test_the_peak_of_memory_is_no_less_than_what_was_held() -> None:
    held = bytearray(64 << 20)
    held[::4096] = b"x" * len(held[::4096])
    holding = psutil.Process().memory_info().rss / 2**20
    del held
    peak, source = machine.peak_memory()
    assert holding - 1 <= peak < psutil.virtual_memory().total / 2**20 and source
    assert machine.peak_memory()[0] >= peak
