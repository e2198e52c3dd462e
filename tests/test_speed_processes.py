from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import forked
import pytest
import torch
from conftest import CHECKOUT
from distributed import CASES, train
from speeding import CLOSE, load, relative, weights
from tiny import tiny_model

pytestmark = pytest.mark.slow
RANKS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def two(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left of every case."""
    out = tmp_path_factory.mktemp("two")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS)]
    script = CHECKOUT / "tests" / "distributed.py"
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "1",  # without it, accelerate takes each for the only process
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")]),
    }
    done = forked.run([*launch, str(script), str(folder), str(out)], env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.fixture(scope="module")
def one(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    """The weights of one process with the same batches and the plain forward."""
    return weights(train("plain", folder, tmp_path_factory.mktemp("one"), 1).model)


def left(two: Path, folder: Path, case: str, rank: int) -> torch.Tensor:
    model = load(folder)
    model.load_state_dict(torch.load(two / f"{case}-{rank}.pt", weights_only=True))
    return weights(model)


@pytest.mark.parametrize("rank", range(RANKS))
@pytest.mark.parametrize("case", CASES)
def test_there_were_two_processes(case: str, rank: int, two: Path) -> None:
    facts = json.loads((two / f"{case}-{rank}.json").read_text(encoding="utf-8"))
    assert (facts["processes"], facts["backend"]) == (RANKS, "gloo")
    assert facts["wrapped"] == "DistributedDataParallel"
    assert facts["in the loss"] == ("NoneType" if case == "hidden" else "DistributedDataParallel")


@pytest.mark.parametrize("case", ["plain", "packed", "chunked"])
def test_both_processes_end_with_the_weights_of_one(case: str, two: Path, one: torch.Tensor, folder: Path) -> None:
    base = weights(load(folder))
    first, second = (left(two, folder, case, rank) for rank in range(RANKS))
    assert torch.equal(first, second)
    assert relative(one, base) > 1e-3, "nothing was learned"
    assert relative(first, one) <= CLOSE
    assert relative(first - base, one - base) <= 1e-4, "the steps themselves"


def test_a_loss_that_hides_its_model_drifts_apart(two: Path, folder: Path) -> None:
    # Why the choice refuses such a loss; and that the test above would see it.
    first, second = (left(two, folder, "hidden", rank) for rank in range(RANKS))
    assert relative(first, second) > 1e-4
