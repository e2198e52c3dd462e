from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer import SentenceTransformerTrainingArguments, losses
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from sentence_transformers.sparse_encoder import losses as sparse
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder
from speeding import TEXTS, load
from tiny import tiny_encoder, tiny_model, tiny_splade
from torch import nn
from transformers import TrainingArguments

from hf_simtune.speed import choose as choosing
from hf_simtune.speed import forward as forwarding
from hf_simtune.speed.choose import LOSSES, MODULES, choose, obstacle
from hf_simtune.speed.dropout import Dropout

MNRL = losses.MultipleNegativesRankingLoss


@pytest.fixture
def model(folder: Path) -> SentenceTransformer:
    return load(folder)


@pytest.fixture
def splade(tmp_path: Path) -> SparseEncoder:
    return SparseEncoder(str(tiny_splade(tmp_path / "splade")), device="cpu")


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    made = SentenceTransformerTrainingArguments(output_dir=str(folder), use_cpu=True)
    for name, value in options.items():  # set afterwards: some of them want packages or a launcher at once
        setattr(made, name, value)
    return made


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra", "xlm-roberta", "camembert"])
def test_rows_are_packed_where_each_attends_to_itself_alone(kind: str, tmp_path: Path) -> None:
    model = load(tiny_encoder(tmp_path / "tiny", kind))
    assert choose("auto", model, MNRL(model), texts=TEXTS) == ("packed", "no padding; the same embeddings in fp32")
    assert choose("chunked", model, MNRL(model), texts=TEXTS) == ("chunked", "as asked for")
    assert choose("packed", model, MNRL(model), texts=TEXTS) == ("packed", "as asked for")
    assert choose("plain", model, MNRL(model), texts=TEXTS) == ("plain", "as asked for")


def test_positions_in_the_attention_are_chunked(tmp_path: Path) -> None:
    model = load(tiny_encoder(tmp_path / "tiny", "mpnet"))
    method, why = choose("auto", model, MNRL(model), texts=TEXTS)
    assert method == "chunked" and why.startswith("not packed: the attention of mpnet")
    method, why = choose("packed", model, MNRL(model), texts=TEXTS)
    assert method == "plain" and why.startswith("not packed: the attention of mpnet")


def test_splade_is_chunked(splade: SparseEncoder) -> None:
    loss = sparse.SpladeLoss(
        splade, sparse.SparseMultipleNegativesRankingLoss(splade), 3e-5, query_regularizer_weight=1e-5
    )
    method, why = choose("auto", splade, loss, texts=TEXTS)
    assert method == "chunked" and "SPLADE" in why
    assert choose("packed", splade, loss, texts=TEXTS)[0] == "plain"


class Own(MNRL):
    """Somebody's loss, which may do anything with its model."""


class Wrapper(nn.Module):
    """One that does not show its model: the trainer could not give it the wrapped one."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss


def test_losses_that_may_want_more_of_the_model_are_left_alone(model: SentenceTransformer) -> None:
    inner = MNRL(model)
    for loss, name in {
        losses.CachedMultipleNegativesRankingLoss(model): "CachedMultipleNegativesRankingLoss",
        losses.CachedGISTEmbedLoss(model, model): "CachedGISTEmbedLoss",
        losses.GISTEmbedLoss(model, model): "GISTEmbedLoss",
        losses.AdaptiveLayerLoss(model, inner): "AdaptiveLayerLoss",
        losses.Matryoshka2dLoss(model, inner, [32, 16]): "Matryoshka2dLoss",
        losses.MatryoshkaLoss(model, losses.CachedMultipleNegativesRankingLoss(model), [32, 16]): "CachedMultiple",
        losses.MatryoshkaLoss(model, losses.MatryoshkaLoss(model, Own(model), [32, 16]), [32, 8]): "Own",
        losses.ContrastiveTensionLoss(model): "ContrastiveTensionLoss",
        Own(model): "Own",
        Wrapper(inner): "Wrapper",
    }.items():
        for requested in ("auto", "packed", "chunked"):
            method, why = choose(requested, model, loss, texts=TEXTS)
            assert method == "plain", name
            assert name in why and "may ask the model for more" in why


def test_the_losses_of_sparse_auto_encoders_are_left_alone(tmp_path: Path) -> None:
    encoder = load(tiny_model(tmp_path / "tiny"))
    model = SparseEncoder(modules=[encoder[0], encoder[1], SparseAutoEncoder(32, 64, 8)], device="cpu")
    loss = sparse.CSRLoss(model, sparse.SparseMultipleNegativesRankingLoss(model))
    method, why = choose("auto", model, loss, texts=TEXTS)
    assert method == "plain" and "SparseAutoEncoder" in why
    assert "CSRLoss" in str(obstacle(load(tiny_model(tmp_path / "other")), loss))


def test_a_loss_of_another_model_is_left_alone(model: SentenceTransformer, folder: Path) -> None:
    method, why = choose("auto", model, MNRL(load(folder)), texts=TEXTS)
    assert method == "plain" and "another model" in why
    inner = losses.MatryoshkaLoss(model, MNRL(load(folder)), [32, 16])
    assert choose("auto", model, inner, texts=TEXTS)[0] == "plain"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"neftune_noise_alpha": 5.0}, "NEFTune"),
        ({"torch_compile": True}, "torch.compile"),
        ({"fsdp": "full_shard"}, "FSDP"),
        ({"deepspeed": "ds.json"}, "DeepSpeed"),
    ],
)
def test_arguments_that_speak_against_it(
    options: dict[str, Any], words: str, model: SentenceTransformer, tmp_path: Path
) -> None:
    for requested in ("auto", "packed", "chunked"):
        method, why = choose(requested, model, MNRL(model), arguments(tmp_path, **options), texts=TEXTS)
        assert method == "plain" and words in why


def test_the_trainers_default_arguments_do_not_speak_against_it(model: SentenceTransformer, tmp_path: Path) -> None:
    assert choose("auto", model, MNRL(model), arguments(tmp_path), texts=TEXTS)[0] == "packed"


@pytest.mark.parametrize("value", ["true", "True", "1", "yes"])
@pytest.mark.parametrize("name", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_a_launcher_that_spreads_the_weights(
    name: str, value: str, model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert "spread over processes" in str(obstacle(model, MNRL(model)))
    monkeypatch.setenv(name, "false")
    assert obstacle(model, MNRL(model)) is None


def test_gradient_checkpointing_is_not_packed(model: SentenceTransformer, tmp_path: Path) -> None:
    method, why = choose("auto", model, MNRL(model), arguments(tmp_path, gradient_checkpointing=True), texts=TEXTS)
    assert method == "chunked" and "gradient checkpointing" in why
    model[0].auto_model.activation_checkpointing_enable()
    method, why = choose("auto", model, MNRL(model), texts=TEXTS)
    assert method == "chunked" and "gradient checkpointing" in why
    assert choose("packed", model, MNRL(model), texts=TEXTS)[0] == "plain"


def test_padding_in_front_is_left_alone(model: SentenceTransformer) -> None:
    model.tokenizer.padding_side = "left"
    assert choose("packed", model, MNRL(model), texts=TEXTS) == ("plain", "the tokenizer pads in front")


def test_inputs_that_are_flattened_already_are_left_alone(model: SentenceTransformer) -> None:
    model[0].can_flatten_inputs = True
    method, why = choose("auto", model, MNRL(model), texts=TEXTS)
    assert method == "plain" and "flash attention" in why


def test_models_that_begin_otherwise_are_left_alone(model: SentenceTransformer) -> None:
    static = SentenceTransformer(modules=[StaticEmbedding(model.tokenizer, embedding_dim=8)], device="cpu")
    method, why = choose("auto", static, MNRL(static), texts=TEXTS)
    assert method == "plain" and "StaticEmbedding" in why
    parts = [model[0], model[1]]
    routed = SentenceTransformer(
        modules=[Router.for_query_document(query_modules=parts, document_modules=parts)], device="cpu"
    )
    method, why = choose("auto", routed, MNRL(routed), texts=TEXTS)
    assert method == "plain" and "Router" in why


class Weights(nn.Module):
    """A module in between that nobody has looked at."""

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        return features


def test_an_unknown_module_is_left_alone(model: SentenceTransformer) -> None:
    other = SentenceTransformer(modules=[model[0], Weights(), model[1]], device="cpu")
    method, why = choose("auto", other, MNRL(other), texts=TEXTS)
    assert method == "plain" and "Weights" in why


def test_a_decoder_or_relative_positions_are_not_packed(model: SentenceTransformer) -> None:
    model[0].auto_model.config.position_embedding_type = "relative_key"
    method, why = choose("packed", model, MNRL(model), texts=TEXTS)
    assert (method, why) == ("plain", "not packed: its positions are relative")
    model[0].auto_model.config.position_embedding_type = "absolute"
    model[0].auto_model.config.is_decoder = True
    assert choose("packed", model, MNRL(model), texts=TEXTS)[0] == "plain"


def test_on_a_gpu_only_what_was_asked_for_is_tried(model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SentenceTransformer, "device", SimpleNamespace(type="cuda"))
    method, why = choose("auto", model, MNRL(model), texts=TEXTS)
    assert method == "plain" and "not measured" in why


@pytest.mark.parametrize("method", ["packed", "chunked"])
def test_a_model_that_lies_is_found_out(
    method: str, model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It says bert, and does something with its neighbours in the batch.
    forward = type(model[0].auto_model.embeddings).forward

    def shifted(self: nn.Module, *given: Any, **options: Any) -> torch.Tensor:
        made: torch.Tensor = forward(self, *given, **options)
        return made + 1e-3 * made.mean((0, 1))

    monkeypatch.setattr(type(model[0].auto_model.embeddings), "forward", shifted)
    found, why = choose(method, model, MNRL(model), texts=TEXTS)
    assert found == "plain" and why.startswith(f"not {method}: its embeddings differ by")
    found, why = choose("auto", model, MNRL(model), texts=TEXTS)
    assert found == "plain" and "not packed" in why and "not chunked" in why


def test_a_forward_that_is_a_little_wrong_is_found_out(
    model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding, "position_offset", lambda model: 1)
    found, why = choose("auto", model, MNRL(model), texts=TEXTS)
    assert found == "chunked" and why.startswith("not packed: its embeddings differ by")


def test_a_model_that_cannot_take_such_input_is_left_alone(
    model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    forward = type(model[0].auto_model.embeddings).forward

    def strict(self: nn.Module, input_ids: torch.Tensor, token_type_ids: torch.Tensor, **options: Any) -> torch.Tensor:
        if options.get("position_ids") is not None:
            raise ValueError("positions are mine")
        return forward(self, input_ids.clone(), token_type_ids, **options)

    monkeypatch.setattr(type(model[0].auto_model.embeddings), "forward", strict)
    model.train()
    with caplog.at_level(logging.DEBUG, "hf_simtune"):
        found, why = choose("auto", model, MNRL(model), texts=TEXTS)
    assert found == "plain" and "ValueError" in why and "AttributeError" in why
    assert model.training, "the model's mode was not given back"
    assert "positions are mine" in caplog.text


def test_weights_that_are_not_finite_are_left_alone(model: SentenceTransformer) -> None:
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    assert choose("auto", model, MNRL(model), texts=TEXTS)[0] == "plain"


def test_the_choice_leaves_the_model_as_it_was(model: SentenceTransformer) -> None:
    state = torch.get_rng_state()
    config = model[0].auto_model.config._attn_implementation
    for mode in (True, False):
        model.train(mode)
        choose("auto", model, MNRL(model), texts=TEXTS)
        assert model.training is mode
    assert torch.equal(torch.get_rng_state(), state), "a run without it would see other random numbers"
    assert "forward" not in model.__dict__
    assert model[0].auto_model.config._attn_implementation == config
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not [name for name, module in model.named_modules() if type(module) is Dropout], "its masks are not torch's"


def test_no_texts_are_enough_for_a_choice(model: SentenceTransformer) -> None:
    assert choose("auto", model, MNRL(model), texts=[])[0] == "packed"


def test_only_classes_that_are_named_are_known() -> None:
    assert len(set(LOSSES)) == len(LOSSES) > 20
    assert not [loss for loss in LOSSES if "Cached" in loss.__name__]
    assert all(issubclass(module, nn.Module) for module in MODULES)
    assert tuple(sorted(choosing.PACKABLE)) == choosing.PACKABLE
