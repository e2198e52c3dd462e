"""A forked process is to a test what a fresh interpreter would be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import forked
import pytest

pytestmark = pytest.mark.slow
SHOW = """
import json, os, sys
print(json.dumps([sys.argv[1:], __name__, os.getcwd(), os.environ.get("MINE"), os.environ.get("HF_TOKEN")]))
sys.stderr.write("said")
"""


def both(words: list[str], cwd: Path, **more: str) -> list[tuple[int, str, str]]:
    """What a fork and a fresh interpreter make of the same words."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | more
    fork = forked.run([sys.executable, *words], env=environment, cwd=cwd)
    fresh = subprocess.run([sys.executable, *words], env=environment, cwd=cwd, capture_output=True, text=True)
    return [(done.returncode, done.stdout, done.stderr) for done in (fork, fresh)]


def test_code_a_module_and_a_script_see_what_they_would_in_a_fresh_interpreter(tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text(SHOW)
    for words in (["-c", SHOW], ["-m", "shown"], ["shown.py"]):
        fork, fresh = both([*words, "a", "--b"], tmp_path, MINE="1", HF_TOKEN="hf_x")
        assert fork == fresh and fork[0] == 0, words
        assert both(words, tmp_path, HF_TOKEN="hf_y")[0][1] != fork[1], "it kept another's environment"


@pytest.mark.parametrize(
    "code", ["raise SystemExit(3)", "raise SystemExit('why')", "import os; os.kill(os.getpid(), 15)"]
)
def test_it_ends_as_a_fresh_interpreter_does(code: str, tmp_path: Path) -> None:
    fork, fresh = both(["-c", code], tmp_path)
    assert fork == fresh and fork[0] != 0


def test_an_error_is_a_traceback_and_what_is_registered_for_the_end_is_done(tmp_path: Path) -> None:
    code = "import atexit; atexit.register(print, 'the end'); 1 / 0"
    fork, fresh = both(["-c", code], tmp_path)
    assert fork[:2] == fresh[:2] == (1, "the end\n")
    assert fork[2].splitlines()[-1] == fresh[2].splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_no_environment_gets_anothers_process_and_too_many_end_the_oldest(tmp_path: Path) -> None:
    code = "import os; from huggingface_hub import constants; print(constants.ENDPOINT)"
    for port in (*range(1, forked.MOST + 2), 1):
        done = forked.run([sys.executable, "-c", code], env=os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{port}"})
        assert done.stdout == f"http://127.0.0.1:{port}\n", done.stderr


def test_one_that_takes_too_long_is_killed_and_the_next_one_runs(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        forked.run([sys.executable, "-c", "import time; time.sleep(60)"], env=os.environ, timeout=0.5)
    assert forked.run([sys.executable, "-c", "print(1)"], env=os.environ).stdout == "1\n"


def test_several_know_of_each_other_and_one_failure_ends_them(tmp_path: Path) -> None:
    code = "import os; print(os.environ['RANK'], os.environ['WORLD_SIZE'], 'MASTER_PORT' in os.environ, flush=True)"
    done = forked.run([sys.executable, "-c", code], env=os.environ, processes=2)
    assert done.returncode == 0 and sorted(done.stdout.splitlines()) == ["0 2 True", "1 2 True"]
    code = "import os, sys, time\nif os.environ['RANK'] == '1': sys.exit(4)\ntime.sleep(60)"
    assert forked.run([sys.executable, "-c", code], env=os.environ, processes=2, timeout=30).returncode == 4
