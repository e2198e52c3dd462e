from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
from conftest import CHECKOUT
from loopback_hub import LoopbackHub
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.sparse_encoder import losses
from tiny import tiny_checkpoint, tiny_encoder, tiny_model, tiny_splade, tiny_static

from hf_simtune import adapters, models
from hf_simtune.errors import RequestError
from hf_simtune.lora import LoRA
from hf_simtune.record import ModelFacts
from hf_simtune.weights import weights_sha256

SENTENCES = ["the dog ran to the river", "a cat sat on the mat", "they won the game on sunday", "she will cook fish"]


def dense(model: SentenceTransformer | SparseEncoder, sentences: list[str] = SENTENCES) -> torch.Tensor:
    found = model.encode(sentences, convert_to_tensor=True)
    return found.to_dense() if found.is_sparse else found


@pytest.mark.parametrize("sparse", [None, "splade"])
def test_a_splade_model_is_recognised_with_and_without_the_flag(tmp_path: Path, sparse: str | None) -> None:
    folder = tiny_splade(tmp_path / "tiny")
    model, facts = models.load(str(folder), sparse=sparse)
    assert isinstance(model, SparseEncoder)
    assert (facts.kind, facts.similarity, facts.untrained) == ("splade", "dot", None)
    vocabulary = len(model.tokenizer)
    assert facts.dimensions == vocabulary == dense(model).shape[1]
    tied = model.transformers_model.get_output_embeddings().weight
    assert tied is model.transformers_model.get_input_embeddings().weight
    count = {tensor.data_ptr(): tensor.numel() for tensor in model.state_dict(keep_vars=True).values()}
    assert facts.parameters == sum(count.values()), "the tied weights are counted once"


def test_sparse_modules_that_no_configuration_tells_of_are_refused(tmp_path: Path) -> None:
    folder = tiny_splade(tmp_path / "tiny")
    (folder / "config_sentence_transformers.json").unlink()
    with pytest.raises(RequestError, match="has the modules of a sparse encoder"):
        models.load(str(folder))


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_splade_is_made_of_a_masked_language_model(tmp_path: Path, kind: str) -> None:
    folder = tiny_checkpoint(tmp_path / "tiny", kind)
    model, facts = models.load(str(folder), sparse="splade", max_length=17)
    assert isinstance(model, SparseEncoder)
    assert (facts.kind, facts.untrained, facts.max_length, facts.similarity) == ("splade", None, 17, "dot")
    backbone = model.transformers_model.eval()
    words = model.tokenizer(SENTENCES[0], return_tensors="pt")
    with torch.no_grad():
        logits = backbone(**{name: words[name] for name in ("input_ids", "attention_mask")}).logits[0]
    slowly = [max(math.log1p(max(0.0, float(logit))) for logit in column) for column in logits.T]
    torch.testing.assert_close(dense(model)[0], torch.tensor(slowly), atol=1e-4, rtol=1e-4)


def test_splade_is_refused_without_a_masked_language_head(tmp_path: Path) -> None:
    for folder in (
        tiny_model(tmp_path / "dense"),
        tiny_encoder(tmp_path / "distil", "distilbert"),
        tiny_checkpoint(tmp_path / "plain", head=False),
    ):
        with pytest.raises(RequestError, match=r"needs a masked-language head, and .* has none") as told:
            models.load(str(folder), sparse="splade")
        assert "--sparse csr" in str(told.value) and "builtin:splade-MiniLM-L6" in str(told.value)


def test_a_configuration_that_names_a_head_which_the_weights_lack_is_seen_through(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "plain", head=False)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BertForMaskedLM"]}), encoding="utf-8")
    with pytest.raises(RequestError, match="has none"):
        models.load(str(folder), sparse="splade")


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_csr_is_an_autoencoder_behind_all_of_a_dense_model(tmp_path: Path, kind: str) -> None:
    folder = tiny_encoder(tmp_path / "tiny", kind)
    base = SentenceTransformer(str(folder), device="cpu")
    state = torch.get_rng_state()
    model, facts = models.load(str(folder), sparse="csr", seed=3)
    assert torch.equal(torch.get_rng_state(), state), "the caller's random numbers are not touched"
    assert isinstance(model, SparseEncoder)
    assert (facts.kind, facts.dimensions, facts.similarity) == ("csr", 128, "cosine")
    assert facts.untrained == "the sparse autoencoder"
    assert (model[-1].k, model[-1].k_aux, model.max_active_dims) == (8, 16, 8), "as SparseEncoder(name) has it"
    given = dense(base) @ model[-1].encoder.weight.detach().T
    for row, found in zip(given.tolist(), dense(model).tolist(), strict=True):
        kept = sorted(row)[-8:]
        assert found == pytest.approx([value if value in kept and value > 0 else 0 for value in row], abs=1e-6)
    assert models.load(str(folder), sparse="csr", seed=3)[1] == facts
    assert models.load(str(folder), sparse="csr", seed=4)[1].weights_sha256 != facts.weights_sha256
    assert models.load(str(folder), sparse="csr", active_dims=32)[0][-1].k == 32
    with pytest.raises(RequestError, match="--active-dims 33 is more than the 32 dimensions"):
        models.load(str(folder), sparse="csr", active_dims=33)


def test_the_most_active_dimensions_that_are_allowed_can_be_trained(tmp_path: Path) -> None:
    model, _ = models.load(str(tiny_model(tmp_path / "tiny")), sparse="csr", active_dims=32)
    loss = losses.CSRLoss(model, losses.SparseMultipleNegativesRankingLoss(model))
    features = [model.preprocess(SENTENCES[:2]), model.preprocess(SENTENCES[2:])]
    sum(loss(features, None).values()).backward()
    assert model[-1].encoder.weight.grad.abs().sum() > 0


def test_a_saved_csr_model_is_recognised_and_the_same(tmp_path: Path) -> None:
    model, facts = models.load(str(tiny_model(tmp_path / "tiny")), sparse="csr", active_dims=5, prompt="about: ")
    models.save(model, tmp_path / "saved")
    again, found = models.load(str(tmp_path / "saved"))
    assert isinstance(again, SparseEncoder)
    assert (found.kind, found.similarity, found.prompt, found.untrained) == ("csr", "cosine", "about: ", None)
    assert found.weights_sha256 == facts.weights_sha256
    assert torch.equal(dense(again), dense(model))
    assert int((dense(again) != 0).sum(dim=1).max()) <= 5


@pytest.mark.parametrize("sparse", ["splade", "csr"])
def test_what_is_sparse_already_is_not_made_sparse_again(tmp_path: Path, sparse: str) -> None:
    model, _ = models.load(str(tiny_model(tmp_path / "tiny")), sparse="csr")
    models.save(model, tmp_path / "csr")
    names = [str(tmp_path / "csr")]
    if sparse == "csr":
        names += [str(tiny_splade(tmp_path / "splade")), "builtin:splade-MiniLM-L6"]
    for name in names:
        with pytest.raises(RequestError, match=f"--sparse {sparse} makes a sparse encoder of another model") as told:
            models.load(name, sparse=sparse)
        assert "Leave --sparse out" in str(told.value)


def test_a_static_model_can_get_an_autoencoder_and_no_masked_language_head(tmp_path: Path) -> None:
    folder = tiny_static(tmp_path / "static")
    assert models.load(str(folder), sparse="csr")[1].dimensions == 64
    with pytest.raises(RequestError):
        models.load(str(folder), sparse="splade")


def test_a_cross_encoder_is_no_embedding_model(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny")
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"model_type": "CrossEncoder"}))
    with pytest.raises(RequestError, match="is a CrossEncoder"):
        models.load(str(folder))


def test_the_similarity_that_is_saved_is_the_models_own_whatever_a_loss_sets(tmp_path: Path) -> None:
    from hf_simtune.losses import build
    from hf_simtune.recipe import Recipe

    for name, options, similarity in (("splade", {}, "dot"), ("csr", {"sparse": "csr"}, "cosine")):
        make = tiny_splade if name == "splade" else tiny_model
        model, facts = models.load(str(make(tmp_path / name)), **options)
        build("cosine", model, Recipe(loss="cosine", shape="scored"))
        models.save(model, tmp_path / f"{name}-saved")
        path = tmp_path / f"{name}-saved" / "config_sentence_transformers.json"
        assert json.loads(path.read_text(encoding="utf-8"))["similarity_fn_name"] == similarity == facts.similarity
        assert models.tuned_facts(model, facts, "tuned").similarity == similarity


@pytest.mark.slow
def test_the_stand_in_is_minilm_with_a_head_that_lets_words_through(minilm: Path, tmp_path: Path) -> None:
    from hf_simtune.data.load import load

    state = torch.get_rng_state()
    model, facts = models.load("builtin:splade-MiniLM-L6")
    assert torch.equal(torch.get_rng_state(), state)
    assert (facts.name, facts.hub_id, facts.revision) == ("builtin:splade-MiniLM-L6", None, None)
    assert (facts.kind, facts.dimensions, facts.max_length) == ("splade", 30_522, 256)
    assert facts.untrained == "the masked-language head"
    base = SentenceTransformer(str(minilm), device="cpu")
    published = {name: tensor for name, tensor in base[0].model.state_dict().items() if "pooler" not in name}
    held = model[0].model.bert.state_dict()
    assert published.keys() == held.keys() and all(torch.equal(held[name], published[name]) for name in held)
    head = 384 * 384 + 384 + 2 * 384 + 30_522  # transform, its normalisation, the bias; the decoder is tied
    assert facts.parameters == sum(tensor.numel() for tensor in published.values()) + head

    rows = load("builtin:sports/scored:validation").dataset
    sentences = list(dict.fromkeys([*rows["sentence1"], *rows["sentence2"]]))[:200]
    found = dense(model, sentences)
    active = (found > 0).sum(dim=1)
    assert active.min() > 0 and active.max() < 30_522 / 2, "neither dead nor dense"
    assert 100 < active.float().mean() < 300
    own = [set(model.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in sentences]
    kept = [sum(bool(row[word] > 0) for word in words) / len(words) for row, words in zip(found, own, strict=True)]
    assert sum(kept) / len(kept) > 0.5, "most of a sentence's own word pieces are among its few active dimensions"
    assert not found[:, model.tokenizer.all_special_ids].any()

    models.save(model, tmp_path / "saved")
    again, facts_again = models.load(str(tmp_path / "saved"))
    assert (facts_again.weights_sha256, facts_again.max_length) == (facts.weights_sha256, 256)
    assert torch.equal(dense(again), dense(model))
    assert weights_sha256(models.load("builtin:splade-MiniLM-L6", seed=1)[0]) == facts.weights_sha256


@pytest.mark.slow
def test_csr_on_minilm_keeps_a_quarter_of_its_dimensions_active(minilm: Path) -> None:
    model, facts = models.load("builtin:all-MiniLM-L6-v2", sparse="csr")
    assert (facts.dimensions, facts.similarity, facts.kind) == (1536, "cosine", "csr")
    assert facts.parameters == 22_713_216 + 384 * 1536 + 384 + 1536
    assert (dense(model) != 0).sum(dim=1).tolist() == [96] * len(SENTENCES)


# In its own process, since the libraries read HF_ENDPOINT when they are imported. Each argument is NAME or NAME=SPARSE.
PROGRAM = """
import dataclasses, json, sys
from hf_simtune import models
from hf_simtune.errors import SimtuneError
for argument in sys.argv[1:]:
    name, _, sparse = argument.partition("=")
    try:
        answer = dataclasses.asdict(models.load(name, sparse=sparse or None, device="cpu")[1])
    except SimtuneError as error:
        answer = {"error": type(error).__name__, "says": str(error)}
    print(json.dumps(answer))
"""


def ask(environment: dict[str, str], *names: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-c", PROGRAM, *names]
    done = forked.run(command, env=environment, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_sparse_encoders_of_the_hub_are_recognised_online_and_from_the_cache(tmp_path: Path) -> None:
    dense_folder = tiny_model(tmp_path / "dense")
    model, _ = models.load(str(dense_folder))
    adapters.attach(model, LoRA(), seed=0)
    adapters.save(model, tmp_path / "adapter", base=ModelFacts(name="org/dense", hub_id="org/dense"), base_place="")
    on_hub = {
        "org/splade": tiny_splade(tmp_path / "splade"),
        "org/mlm": tiny_checkpoint(tmp_path / "mlm"),
        "org/dense": dense_folder,
        "org/head": tiny_model(tmp_path / "other", seed=1),
    }
    asked = ["org/splade", "org/mlm=splade", "org/dense=csr", "org/splade=csr", str(tmp_path / "adapter")]
    with LoopbackHub(models=on_hub, storage=tmp_path / "storage") as hub:
        environment = hub.environment(tmp_path / "home")
        *online, refused = ask(environment, *asked, "org/head=splade")
        fetched = [path for _, path, _ in hub.requests if "org/head" in path]
        hub.fail("*", "org/splade/.*json", status=403, times=1000)
        (kept_back,) = ask(hub.environment(tmp_path / "new"), "org/splade")
    splade, made, csr, again, adapted = online
    assert [(found["kind"], found["untrained"]) for found in (splade, made, csr)] == [
        ("splade", None),
        ("splade", None),
        ("csr", "the sparse autoencoder"),
    ]
    assert "is a sparse encoder already" in again["says"]
    assert (adapted["kind"], adapted["dimensions"]) == ("dense", 32), "adapters come on the base that they name"
    assert "needs a masked-language head, and org/head has none" in refused["says"]
    assert fetched and not any(path.endswith(".safetensors") for path in fetched), "seen before the weights came"
    assert kept_back["error"] == "HubError", "a file that did not come is not taken for one that is not there"
    offline = {name: value for name, value in environment.items() if name != "HF_ENDPOINT"} | {"HF_HUB_OFFLINE": "1"}
    for before, after in zip(online, ask(offline, *asked), strict=True):
        assert after == before
