from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest
from conftest import CHECKOUT

from hf_simtune.speed.allocator import freed_memory_kept

GLIBC = sys.platform.startswith("linux") and platform.libc_ver()[0] == "glibc"
MIB = 2**20
# In a process of its own, in which nothing else takes or frees memory.
FREED = """
import ctypes, json, sys
import psutil
from hf_simtune.speed.allocator import freed_memory_kept

library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
resident = psutil.Process().memory_info
told = []

def tell():
    told.append(resident().rss)

def take_and_free():
    block = library.malloc(20 << 20)
    ctypes.memset(block, 1, 20 << 20)
    tell()
    library.free(block)
    tell()

tell()
try:
    with freed_memory_kept() as kept:
        take_and_free()
        if sys.argv[1] == "failing":
            raise ValueError
except ValueError:
    pass
tell()
take_and_free()
print(json.dumps([kept, *told]))
"""


@pytest.mark.skipif(not GLIBC, reason="needs Linux with glibc")
@pytest.mark.parametrize("end", ["usual", "failing"])
def test_freed_memory_stays_within_and_is_handed_back_afterwards(end: str) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("LD_PRELOAD", "GLIBC_TUNABLES") and not name.startswith("MALLOC_")
    }
    done = subprocess.run(
        [sys.executable, "-c", FREED, end], capture_output=True, text=True, check=True, cwd=CHECKOUT, env=environment
    )
    kept, *told = json.loads(done.stdout)
    assert kept is True
    start, taken, freed, left, taken_again, freed_again = (value / MIB for value in told)
    assert taken - start > 19
    assert freed > start + 10, "it was handed back within"
    assert left < start + 5, "it was kept afterwards"
    assert taken_again - left > 19
    assert freed_again < start + 5, "what is freed afterwards is still kept"


def test_another_system_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", None)
    with freed_memory_kept() as kept:
        assert kept is False
