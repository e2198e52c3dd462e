from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sparse_encoder import losses as sparse
from speeding import CLOSE, TEXTS, columns, gradients, load, relative, set_dropout, untouched
from tiny import tiny_encoder, tiny_splade
from torch import nn

from hf_simtune.speed.choose import LOSSES as TRUSTED
from hf_simtune.speed.forward import METHODS, position_offset

Losses = Callable[[SentenceTransformer], nn.Module]
MNRL = losses.MultipleNegativesRankingLoss
LOSSES: dict[str, tuple[int, str | None, Losses]] = {  # columns, labels, loss
    "mnrl pairs": (2, None, MNRL),
    "mnrl triplets": (3, None, MNRL),
    "mnrl five columns": (5, None, MNRL),
    "mnrl symmetric": (
        2,
        None,
        lambda m: MNRL(m, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"),
    ),
    "mnrl symmetric, its own class": (2, None, losses.MultipleNegativesSymmetricRankingLoss),
    "cosent": (2, "scores", losses.CoSENTLoss),
    "angle": (2, "scores", losses.AnglELoss),
    "cosine": (2, "scores", losses.CosineSimilarityLoss),
    "triplet": (3, None, losses.TripletLoss),
    "contrastive": (2, "classes", losses.ContrastiveLoss),
    "online contrastive": (2, "classes", losses.OnlineContrastiveLoss),
    "batch all": (1, "classes", losses.BatchAllTripletLoss),
    "batch hard": (1, "classes", losses.BatchHardTripletLoss),
    "batch hard with a soft margin": (1, "classes", losses.BatchHardSoftMarginTripletLoss),
    "batch semi-hard": (1, "classes", losses.BatchSemiHardTripletLoss),
    "kl divergence": (4, "teacher", losses.DistillKLDivLoss),
    "margin mse": (3, "scores", losses.MarginMSELoss),
    "margin mse of two negatives": (4, "teacher", losses.MarginMSELoss),
    "mse": (1, "vectors", losses.MSELoss),
    "softmax": (2, "classes", lambda m: losses.SoftmaxLoss(m, 32, 2)),
    "matryoshka of mnrl": (2, None, lambda m: losses.MatryoshkaLoss(m, MNRL(m), [32, 16, 8])),
    "matryoshka of cosent": (2, "scores", lambda m: losses.MatryoshkaLoss(m, losses.CoSENTLoss(m), [32, 16, 8])),
}
SMNRL = sparse.SparseMultipleNegativesRankingLoss


def regularised(inner: Callable[[SparseEncoder], nn.Module], **options: Any) -> Callable[[SparseEncoder], nn.Module]:
    """A SpladeLoss around a loss: most sparse ones run nowhere else."""
    return lambda m: sparse.SpladeLoss(m, inner(m), 3e-3, **{"query_regularizer_weight": 5e-3, **options})


SPARSE: dict[str, tuple[int, str | None, Callable[[SparseEncoder], nn.Module]]] = {
    "angle": (2, "scores", regularised(sparse.SparseAnglELoss)),
    "cosent": (2, "scores", regularised(sparse.SparseCoSENTLoss)),
    "cosine": (2, "scores", regularised(sparse.SparseCosineSimilarityLoss)),
    "kl divergence": (4, "teacher", regularised(sparse.SparseDistillKLDivLoss)),
    "margin mse": (3, "scores", regularised(sparse.SparseMarginMSELoss)),
    "margin mse of two negatives": (4, "teacher", regularised(sparse.SparseMarginMSELoss)),
    "mnrl pairs": (2, None, regularised(SMNRL)),
    "mnrl triplets": (3, None, regularised(SMNRL)),
    "mse": (1, "vectors", sparse.SparseMSELoss),
    "triplet": (3, None, regularised(sparse.SparseTripletLoss)),
    "documents regularised alone": (
        2,
        None,
        regularised(SMNRL, query_regularizer_weight=None, use_document_regularizer_only=True),
    ),
    "short documents not regularised": (2, None, regularised(SMNRL, document_regularizer_threshold=9)),
}
SHAPES: dict[str, list[list[int]]] = {
    "very different lengths": [[3, 100, 7, 4, 60, 5], [90, 4, 4, 33, 2, 6], [5, 6, 120, 8, 9, 10]],
    "all as long": [[9] * 6] * 3,
    "one token each": [[1] * 6] * 3,
    "one row": [[13]] * 3,
    "one long and many short": [[128, 3, 3, 3, 3, 3], [3, 3, 3, 3, 3, 3], [4, 3, 3, 3, 3, 3]],
}


@pytest.fixture(scope="module")
def splade(tmp_path_factory: pytest.TempPathFactory) -> SparseEncoder:
    """A sparse model without dropout, in fp64: the plain fp32 gradients of so wild a model are 2e-5 from the true."""
    model = SparseEncoder(str(tiny_splade(tmp_path_factory.mktemp("models") / "splade")), device="cpu").double()
    set_dropout(model, 0.0)
    return model


def labels_of(kind: str | None, rows: int, columns: int, width: int) -> torch.Tensor | None:
    generator = torch.Generator().manual_seed(8)
    if kind == "scores":
        return torch.linspace(0, 1, rows)
    if kind == "classes":
        return torch.arange(rows) % 2
    if kind == "teacher":  # its score of each candidate
        return 3 * torch.randn(rows, columns - 1, generator=generator)
    return torch.randn(rows, width, generator=generator) if kind == "vectors" else None


def six_rows(count: int) -> list[dict[str, Any]]:
    unlike = [[5, 40, 3, 3, 17, 9], [30, 4, 6, 6, 80, 2], [3, 3, 50, 4, 8, 5]]
    return columns(unlike[:count] + [[7, 8, 9, 5, 5, 4]] * (count - 3))


@pytest.mark.filterwarnings("ignore:The MultipleNegativesSymmetricRankingLoss is deprecated:DeprecationWarning")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradients_are_the_plain_ones(name: str, method: str, still: SentenceTransformer) -> None:
    count, kind, build = LOSSES[name]
    torch.manual_seed(0)  # softmax has weights of its own
    loss = build(still)
    batch = six_rows(count)
    labels = labels_of(kind, 6, count, 32)
    plain, wanted = gradients(still, loss, batch, labels, "plain")
    value, found = gradients(still, loss, batch, labels, method)
    assert float(wanted.norm()) > 1e-3
    assert float(value) == pytest.approx(float(plain), rel=1e-5)
    assert relative(found, wanted) <= CLOSE
    assert untouched(still, loss)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_the_plain_ones_for_odd_batches(shape: str, method: str, still: SentenceTransformer) -> None:
    loss = losses.TripletLoss(still)
    batch = columns(SHAPES[shape])
    _, wanted = gradients(still, loss, batch, None, "plain")
    _, found = gradients(still, loss, batch, None, method)
    assert relative(found, wanted) <= CLOSE


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 9).flatmap(
        lambda rows: st.lists(st.lists(st.integers(1, 60), min_size=rows, max_size=rows), min_size=2, max_size=4)
    ),
    st.sampled_from(METHODS),
    st.integers(0, 2**20),
)
def test_gradients_are_the_plain_ones_for_any_lengths(
    still: SentenceTransformer, lengths: list[list[int]], method: str, seed: int
) -> None:
    # A dot product with fixed vectors, for its gradient never vanishes as that of one row's ranking does.
    loss = losses.MSELoss(still)
    batch = columns(lengths, seed)
    labels = torch.randn(len(lengths[0]), 32, generator=torch.Generator().manual_seed(seed))
    _, wanted = gradients(still, loss, batch, labels, "plain")
    _, found = gradients(still, loss, batch, labels, method)
    assert relative(found, wanted) <= CLOSE


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pooling", ["cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"])
def test_every_pooling_gets_its_rows(pooling: str, method: str, tmp_path: Path) -> None:
    model = load(tiny_encoder(tmp_path / "tiny", "bert", pooling=pooling))
    set_dropout(model, 0.0)
    batch = columns([[5, 40, 3, 1], [30, 4, 6, 6]])
    loss = losses.CoSENTLoss(model)
    _, wanted = gradients(model, loss, batch, torch.linspace(0, 1, 4), "plain")
    _, found = gradients(model, loss, batch, torch.linspace(0, 1, 4), method)
    assert relative(found, wanted) <= CLOSE


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "camembert", "distilbert", "electra", "mpnet"])
def test_every_architecture_keeps_its_gradients(kind: str, tmp_path: Path) -> None:
    model = load(tiny_encoder(tmp_path / "tiny", kind))
    set_dropout(model, 0.0)
    batch = columns([[5, 40, 3, 1], [30, 4, 6, 6]])
    loss = losses.CoSENTLoss(model)
    _, wanted = gradients(model, loss, batch, torch.linspace(0, 1, 4), "plain")
    for method in ("chunked",) if kind == "mpnet" else METHODS:
        _, found = gradients(model, loss, batch, torch.linspace(0, 1, 4), method)
        assert relative(found, wanted) <= CLOSE, method


def test_positions_begin_where_the_architecture_counts_from(tmp_path: Path) -> None:
    # Both of these number their padding, and count on from it: 0 here, 1 whatever the configuration says.
    starts = {"bert": 0, "distilbert": 0, "electra": 0, "roberta": 1, "xlm-roberta": 1, "camembert": 1, "mpnet": 2}
    for kind, start in starts.items():
        assert position_offset(load(tiny_encoder(tmp_path / kind, kind))) == start, kind


@pytest.mark.parametrize("method", METHODS)
def test_a_padding_token_written_in_a_text_is_embedded_as_plainly(method: str, tmp_path: Path) -> None:
    # RoBERTa does not count it as a position, though it is attended to.
    model = load(tiny_encoder(tmp_path / "tiny", "roberta"))
    set_dropout(model, 0.0)
    texts = [["A ball [PAD] and a dog.", "go"], ["Two [PAD] [PAD] cats.", "It rained on sunday."]]
    batch = [model.preprocess(column) for column in texts]
    loss = losses.CoSENTLoss(model)
    _, wanted = gradients(model, loss, batch, torch.tensor([0.0, 1.0]), "plain")
    _, found = gradients(model, loss, batch, torch.tensor([0.0, 1.0]), method)
    assert relative(found, wanted) <= CLOSE


@pytest.mark.parametrize("method", METHODS)
def test_texts_with_duplicates_an_empty_one_and_one_that_is_cut_off(method: str, folder: Path) -> None:
    model = load(folder)
    model.max_seq_length = 12
    set_dropout(model, 0.0)
    batch = [model.preprocess(column) for column in (TEXTS, TEXTS[::-1])]
    assert batch[0]["input_ids"].shape[1] == 12
    loss = losses.CoSENTLoss(model)
    labels = torch.linspace(0, 1, len(TEXTS))
    _, wanted = gradients(model, loss, batch, labels, "plain")
    _, found = gradients(model, loss, batch, labels, method)
    assert relative(found, wanted) <= CLOSE


@pytest.mark.parametrize("method", METHODS)
def test_a_prompt_left_out_of_the_pooling_is_left_out(method: str, folder: Path) -> None:
    model = load(folder)
    set_dropout(model, 0.0)
    model[1].include_prompt = False
    batch = [dict(features, prompt_length=2) for features in columns([[5, 40, 3], [30, 4, 6]])]
    loss = losses.CoSENTLoss(model)
    labels = torch.linspace(0, 1, 3)
    _, wanted = gradients(model, loss, batch, labels, "plain")
    _, found = gradients(model, loss, batch, labels, method)
    assert relative(found, wanted) <= CLOSE
    _, other = gradients(
        model, loss, [dict(batch[0], prompt_length=0), dict(batch[1], prompt_length=0)], labels, method
    )
    assert relative(other, wanted) > 1e-3


@pytest.mark.parametrize("name", SPARSE)
def test_sparse_models_keep_their_gradients(name: str, splade: SparseEncoder) -> None:
    count, kind, build = SPARSE[name]
    loss = build(splade)
    labels = labels_of(kind, 6, count, splade.get_embedding_dimension() or 0)
    if labels is not None and torch.is_floating_point(labels):
        labels = labels.to(next(splade.parameters()).dtype)
    plain, wanted = gradients(splade, loss, six_rows(count), labels, "plain")
    value, found = gradients(splade, loss, six_rows(count), labels, "chunked")
    assert float(wanted.norm()) > 1e-3
    assert float(value) == pytest.approx(float(plain), rel=1e-12)
    assert relative(found, wanted) <= 1e-11
    assert len(found) == sum(parameter.numel() for parameter in splade.parameters())
    assert untouched(splade, loss)


@pytest.mark.filterwarnings("ignore:The MultipleNegativesSymmetricRankingLoss is deprecated:DeprecationWarning")
def test_every_loss_that_is_trusted_has_its_gradients_compared(
    still: SentenceTransformer, splade: SparseEncoder
) -> None:
    built = [build(still) for _, _, build in LOSSES.values()] + [build(splade) for _, _, build in SPARSE.values()]
    compared = {type(module) for loss in built for module in loss.modules()}
    assert not [loss.__name__ for loss in TRUSTED if loss not in compared]


def test_in_double_precision_chunked_is_exact_and_packed_but_for_its_fp32_attention(folder: Path) -> None:
    model = load(folder).double()
    set_dropout(model, 0.0)
    loss = losses.MatryoshkaLoss(model, MNRL(model), [32, 16, 8])
    batch = columns([[5, 40, 3, 1], [30, 4, 6, 6], [7, 7, 60, 2]])
    _, wanted = gradients(model, loss, batch, None, "plain")
    assert relative(gradients(model, loss, batch, None, "chunked")[1], wanted) <= 1e-11
    assert relative(gradients(model, loss, batch, None, "packed")[1], wanted) <= 2e-6


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("targets", [["query", "value"], ["word_embeddings", "key"]])
def test_lora_keeps_its_gradients(targets: list[str], method: str, folder: Path) -> None:
    from peft import LoraConfig, TaskType

    model = load(folder)
    set_dropout(model, 0.0)
    torch.manual_seed(0)
    model.add_adapter(
        LoraConfig(
            task_type=TaskType.FEATURE_EXTRACTION,
            r=4,
            lora_dropout=0.0,
            target_modules=targets,
            init_lora_weights=False,
        )
    )
    loss = losses.CoSENTLoss(model)
    batch = columns([[5, 40, 3, 1], [30, 4, 6, 6]])
    _, wanted = gradients(model, loss, batch, torch.linspace(0, 1, 4), "plain")
    _, found = gradients(model, loss, batch, torch.linspace(0, 1, 4), method)
    assert 0 < len(wanted) < sum(parameter.numel() for parameter in model.parameters()) / 3
    assert relative(found, wanted) <= CLOSE


@pytest.mark.parametrize("method", METHODS)
def test_frozen_embeddings_stay_frozen(method: str, folder: Path) -> None:
    model = load(folder)
    set_dropout(model, 0.0)
    model[0].auto_model.embeddings.requires_grad_(False)
    loss = losses.CoSENTLoss(model)
    batch = columns([[5, 40, 3, 1], [30, 4, 6, 6]])
    _, wanted = gradients(model, loss, batch, torch.linspace(0, 1, 4), "plain")
    _, found = gradients(model, loss, batch, torch.linspace(0, 1, 4), method)
    assert relative(found, wanted) <= CLOSE


def test_checkpointed_activations_keep_their_gradients_in_chunks(folder: Path) -> None:
    model = load(folder)
    set_dropout(model, 0.0)
    model[0].auto_model.activation_checkpointing_enable()
    loss = losses.CoSENTLoss(model)
    batch = columns([[5, 40, 3, 1], [30, 4, 6, 6]])
    _, wanted = gradients(model, loss, batch, torch.linspace(0, 1, 4), "plain")
    _, found = gradients(model, loss, batch, torch.linspace(0, 1, 4), "chunked")
    assert relative(found, wanted) <= CLOSE


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_real_minilm_keeps_its_gradients(method: str, minilm: Path) -> None:
    model = load(minilm)
    set_dropout(model, 0.0)
    loss = MNRL(model)
    batch = [model.preprocess(column) for column in (TEXTS, TEXTS[1:] + TEXTS[:1], TEXTS[3:] + TEXTS[:3])]
    plain, wanted = gradients(model, loss, batch, None, "plain")
    value, found = gradients(model, loss, batch, None, method)
    assert float(value) == pytest.approx(float(plain), rel=1e-5)
    assert relative(found, wanted) <= CLOSE
