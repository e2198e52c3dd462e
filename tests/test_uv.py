"""``uv run recipes/NAME.py``: the header in each recipe file makes an environment of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import CHECKOUT

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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_uv_runs_a_recipe_from_nothing(tmp_path: Path) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        pytest.skip("needs uv")
    # uv does not read pip's configuration: hand on where pip finds wheels on this machine.
    pip = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
    links = os.environ.get("PIP_FIND_LINKS") or subprocess.run(pip, capture_output=True, text=True).stdout.strip()
    environment = os.environ | {"UV_CACHE_DIR": str(tmp_path / "cache"), "UV_PYTHON": sys.executable, "NO_COLOR": "1"}
    if links:
        environment["UV_FIND_LINKS"] = links
    environment.pop("PYTHONPATH", None)
    words = [uv, "run", str(CHECKOUT / "recipes" / "mnrl_minilm.py"), "--offline"]
    few = ["--train-rows", "64", "--batch-size", "16", "--evaluations", "1"]
    done = subprocess.run([*words, *few], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "builtin:sports/scored:test" in done.stdout
    assert list(tmp_path.glob("runs/mnrl_minilm-offline-*/record.json"))
