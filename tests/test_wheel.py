"""The built wheel in an environment of its own, away from the checkout."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from conftest import CHECKOUT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tiny import tiny_model


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # The build's requirements are installed already: an isolated build would fetch them again.
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (path,) = folder.glob("*.whl")
    return path


def test_every_library_that_the_package_imports_is_one_that_it_declares() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [words for name, words in project["optional-dependencies"].items() if name != "dev"]
    declared = {
        canonicalize_name(Requirement(one).name) for words in [project["dependencies"], *extras] for one in words
    }
    of = packages_distributions()
    missing = set()
    for path in (CHECKOUT / "hf_simtune").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            for top in {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"hf_simtune"}:
                if not declared & {canonicalize_name(name) for name in of.get(top, [top])}:
                    missing.add(f"{path.name} imports {top}")
    assert not missing


@pytest.mark.slow
def test_the_wheel_ships_code_recipes_templates_and_the_metric_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for wanted in (
        "hf_simtune/recipes/mnrl_minilm.py",
        "hf_simtune/templates/card.md.jinja",
        "hf_simtune/templates/report.html.jinja",
        "hf_simtune/templates/report.css",
        "hf_simtune/evaluation/spearman/spearman.py",
        "hf_simtune/py.typed",
    ):
        assert wanted in names
    assert all(name.startswith(("hf_simtune/", "hf_simtune-")) for name in names)
    assert not any("test" in name or name.endswith(".pyc") for name in names)


@pytest.mark.slow
def test_the_sdist_has_what_its_tests_need_and_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*build, "--sdist", str(CHECKOUT)], check=True, capture_output=True)
    (packed,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    for wanted in (
        "tests/conftest.py",
        "recipes/mnrl_minilm.py",
        "Makefile",
        "constraints.txt",
        "README.md",
        "LICENSE",
    ):
        assert (unpacked / wanted).is_file(), wanted
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True)
    if listed.returncode == 0:  # not in an sdist's own tests
        kept = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
        assert kept - {"PKG-INFO"} <= set(listed.stdout.splitlines())
    subprocess.run([*build, "--wheel", str(unpacked)], check=True, capture_output=True)
    (again,) = tmp_path.glob("*.whl")
    held = [{n: zipfile.ZipFile(path).read(n) for n in zipfile.ZipFile(path).namelist()} for path in (wheel, again)]
    assert held[0] == held[1]
    tests = [sys.executable, "-m", "pytest", "-q", "tests/test_compare.py", "tests/test_shapes.py"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(tests, cwd=unpacked, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-2000:]


@pytest.mark.slow
def test_the_installed_wheel_lists_recipes_and_tunes_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "environment"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    site = next((home / "lib").glob("python*/site-packages"))
    # Its dependencies come from the environment of the tests; the package itself from the wheel alone.
    needed = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(needed) + "\n", encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words: str) -> str:
        done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=400)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    place = run(str(python), "-I", "-c", "import hf_simtune; print(hf_simtune.__file__)").strip()
    assert place == str(site / "hf_simtune" / "__init__.py")
    command = str(home / "bin" / "hf-simtune")
    assert "mnrl_minilm" in run(command, "recipes")
    model = tiny_model(tmp_path / "tiny")
    words = ["--offline", "--model", str(model), "--train-rows", "64", "--batch-size", "16", "--evaluations", "1"]
    out = run(command, "tune", "mnrl_minilm", *words)
    assert "builtin:sports/scored:test" in out
    (record,) = tmp_path.glob("runs/*/record.json")
    assert (record.parent / "report.html").is_file() and (record.parent / "model" / "README.md").is_file()
