"""``hf extensions install OWNER/hf-simtune``: what the library asks of a repository, and ``hf simtune`` after it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT
from huggingface_hub.cli import extensions
from huggingface_hub.errors import CLIError

from hf_simtune.version import __version__

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_repository_is_a_python_extension() -> None:
    """A file of the command's name at its root would be taken for a shell script, in place of the package."""
    owner, repository, name = extensions._normalize_repo_id("OWNER/hf-simtune")
    assert (owner, repository, name) == ("OWNER", PROJECT["name"], "simtune")
    assert extensions._get_executable_name(name).removesuffix(".exe") in PROJECT["scripts"]
    assert not (CHECKOUT / repository).exists()
    line = next(line for line in (CHECKOUT / "pyproject.toml").read_text().splitlines() if line.startswith("descr"))
    assert line.partition("=")[2].strip().strip('"') == PROJECT["description"], "hf reads the first such line"


@pytest.mark.slow
def test_hf_simtune_runs_after_hf_extensions_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The library's own steps; what would come from GitHub is this checkout, dependencies are this environment's."""
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(CHECKOUT)]
    subprocess.run(words, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    root = tmp_path / "extensions"
    really = subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        """As it is, but for the address of the archive and the network."""
        if not str(command[-1]).startswith("https://github.com/OWNER/hf-simtune/archive/"):
            return really(command, **options)
        assert command[:1] == [str(root / "hf-simtune" / "venv" / "bin" / "python")]
        site = next((root / "hf-simtune" / "venv" / "lib").glob("python*/site-packages"))
        needed = [path for path in sys.path if path.endswith("site-packages")]
        (site / "dependencies.pth").write_text("\n".join(needed) + "\n", encoding="utf-8")
        return really([*command[:-1], "--no-deps", "--no-index", "--quiet", str(wheel)], **options)

    def no_file(**_: str) -> bytes:
        raise CLIError("there is no file hf-simtune at the root")

    for name, value in {
        "EXTENSIONS_ROOT": root,
        "_fetch_remote_binary": no_file,
        "_fetch_latest_commit_sha": lambda **_: "0" * 40,
        "_try_fetch_remote_description": lambda **_: PROJECT["description"],
        "_check_extension_update": lambda _: None,
    }.items():
        monkeypatch.setattr(extensions, name, value)
    monkeypatch.setattr(extensions.shutil, "which", lambda _: None)  # pip, which every environment has
    monkeypatch.setattr(extensions.subprocess, "run", run)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    manifest = extensions._install_extension(owner="OWNER", repo_name="hf-simtune", short_name="simtune")
    assert manifest.type == "python" and Path(manifest.executable_path).name == "hf-simtune"
    assert ("simtune", f"{PROJECT['description']} [extension OWNER/hf-simtune]") in (
        extensions.list_installed_extensions_for_help()
    )
    capfd.readouterr()
    assert extensions.dispatch_unknown_top_level_extension(["simtune", "--version"], {"jobs", "auth"}) == 0
    assert capfd.readouterr().out.strip() == f"hf-simtune {__version__}"
    wrong = ["simtune", "tune", "cosent_minilm", "--epochs", "-1", "--dry-run"]  # hf simtune tune NAME
    assert extensions.dispatch_unknown_top_level_extension(wrong, set()) == 2, "the exit status goes through"
    assert "--epochs is -1" in capfd.readouterr().err
    assert os.path.commonpath([manifest.executable_path, root]) == str(root)
