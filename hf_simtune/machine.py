"""What a run ran on: processor, memory, versions, commit. No host name, user name or path."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

from hf_simtune.record import Machine
from hf_simtune.version import __version__

__all__ = ["arithmetic", "commit", "describe", "load", "peak_memory"]

PACKAGES = (
    "torch",
    "sentence-transformers",
    "transformers",
    "accelerate",
    "datasets",
    "evaluate",
    "huggingface-hub",
    "peft",
    "numpy",
)


def describe() -> Machine:
    """This machine and the versions of the libraries that decide a result."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    versions = {"python": platform.python_version(), "hf_simtune": __version__}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return Machine(
        processor=_processor(),
        cores=cores,
        memory_gb=round(psutil.virtual_memory().total / 2**30, 1),
        accelerator=torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        system=f"{platform.system()} {platform.machine()}",
        versions=versions,
    )


def arithmetic() -> dict[str, str]:
    """What the last bits of a training depend on beside recipe and data: processor, threads, versions of libraries."""
    found = describe()
    told = {"processor": found.processor, "accelerator": found.accelerator or "none"}
    return told | {"threads": str(torch.get_num_threads())} | {name: found.versions.get(name, "") for name in PACKAGES}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory() -> tuple[float, str]:
    """The most MiB that were resident in this process so far, and who says so."""
    status = Path("/proc/self/status")
    if status.is_file():  # not ru_maxrss: on Linux a child begins with what its parent had
        fields = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        return int(fields["VmHWM"].split()[0]) / 1024, "VmHWM"
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 2**20, "peak working set"
    import resource  # a Unix module

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 1024), "ru_maxrss"


def load() -> float | None:
    """The system's one-minute load average, where it has one."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def commit() -> str | None:
    """The commit of the checkout that the package is imported from, ``+changes`` behind it if its tree is not clean."""
    checkout = Path(__file__).resolve().parent.parent
    if not (checkout / ".git").exists():
        return None
    try:
        head = _git(checkout, "rev-parse", "HEAD")
        changes = _git(checkout, "status", "--porcelain", "--untracked-files=no", "--", "hf_simtune", "recipes")
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+changes" if changes else "")


def _git(checkout: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(checkout), *words], capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()
