"""``uv run recipes/NAME.py`` and ``hf jobs uv run``: each recipe's header makes an environment of its own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import CHECKOUT
from huggingface_hub import JobHardware
from huggingface_hub.cli._uv_script_header import parse_uv_script_header

from hf_simtune.version import __version__

RECIPES = sorted(path for path in (CHECKOUT / "recipes").rglob("*.py") if not path.name.startswith("_"))


def header(path: Path) -> dict[str, object]:
    found = re.search(r"^# /// script\n((?:#.*\n)+?)# ///$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert found, f"{path.name} has no PEP 723 header"
    return tomllib.loads("\n".join(line[2:] for line in found[1].splitlines()))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_header_names_this_checkout_and_the_pinned_torch(path: Path) -> None:
    value = header(path)
    assert value["dependencies"] == ["hf-simtune[offline]"]
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert value["requires-python"] == project["requires-python"]
    tool = value["tool"]["uv"]  # type: ignore[index]
    assert (path.parent / tool["sources"]["hf-simtune"]["path"]).resolve() == CHECKOUT
    pins = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert set(tool["constraint-dependencies"]) <= set(pins)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_header_is_one_for_hf_jobs(path: Path) -> None:
    table = parse_uv_script_header(path.read_text(encoding="utf-8"))
    assert table is not None
    assert table.flavor in {hardware.value for hardware in JobHardware} and table.timeout == "2h"
    assert table.secrets == ["HF_TOKEN"], "names, and no value"
    assert table.env == {"UV_NO_SOURCES": "1"}, "there is no checkout in a job"


@pytest.mark.slow
def test_the_job_of_the_readme_is_one_that_hf_would_submit(tmp_path: Path) -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    (line,) = (line for line in readme.splitlines() if line.startswith("hf jobs uv run --dry-run "))
    command = [str(Path(sys.executable).with_name("hf")), *shlex.split(line)[1:]]
    environment = os.environ | {"HF_HOME": str(tmp_path), "NO_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    told = done.stdout + done.stderr
    for wanted in (
        "t4-small",
        "2h (from script)",
        "UV_NO_SOURCES=1 (from script)",
        "./dist:/dist",
        "Job not submitted",
    ):
        assert wanted in told, told
    assert re.search(r"args +--push-checkpoints ORG/NAME", told) and "HF_TOKEN=<not set> (from script)" in told


@pytest.mark.slow
def test_away_from_the_checkout_uv_takes_the_package_from_where_a_job_mounts_it(tmp_path: Path) -> None:
    """Resolved, not installed: as in a job, but for the wheels of this machine, where it has some."""
    uv, environment = _uv(tmp_path)
    assert "\npip wheel --no-deps --wheel-dir dist .\n" in (CHECKOUT / "README.md").read_text(encoding="utf-8")
    # What the build requires is installed here already.
    words = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(tmp_path / "dist"), str(CHECKOUT)]
    words += ["--no-build-isolation", "--quiet"]
    built = subprocess.run(words, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-2000:]
    recipe = shutil.copy(CHECKOUT / "recipes" / "cosent_minilm.py", tmp_path)
    environment |= {"UV_NO_SOURCES": "1"}
    command = [uv, "pip", "compile", "--quiet", recipe]
    none = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert none.returncode and "hf-simtune" in none.stderr, "in no registry: say so in the README when it is in one"
    places = [str(tmp_path / "dist"), environment.get("UV_FIND_LINKS", "")]
    environment["UV_FIND_LINKS"] = ",".join(filter(None, places))
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"hf-simtune=={__version__}" in done.stdout and "torch==2.13.0" in done.stdout


def _uv(tmp_path: Path) -> tuple[str, dict[str, str]]:
    """uv, and an environment in which it finds what pip finds: it does not read pip's configuration."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        pytest.skip("needs uv")
    pip = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
    links = os.environ.get("PIP_FIND_LINKS") or subprocess.run(pip, capture_output=True, text=True).stdout.strip()
    environment = os.environ | {"UV_CACHE_DIR": str(tmp_path / "cache"), "UV_PYTHON": sys.executable, "NO_COLOR": "1"}
    if links:
        environment["UV_FIND_LINKS"] = links
    environment.pop("PYTHONPATH", None)
    return uv, environment


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_uv_runs_a_recipe_from_nothing(tmp_path: Path) -> None:
    uv, environment = _uv(tmp_path)
    words = [uv, "run", str(CHECKOUT / "recipes" / "mnrl_minilm.py"), "--offline"]
    few = ["--train-rows", "64", "--batch-size", "16", "--evaluations", "1"]
    done = subprocess.run([*words, *few], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "builtin:sports/scored:test" in done.stdout
    assert list(tmp_path.glob("runs/mnrl_minilm-offline-*/record.json"))
