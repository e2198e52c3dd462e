from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.merged_forward import merge_feature_batches
from sentence_transformers.sentence_transformer import losses
from speeding import CLOSE, TEXTS, columns, gradients, load, relative, set_dropout, untouched, weights
from torch import nn

from hf_simtune.speed.forward import METHODS, Rows, SortedForward, sorted_forward

MNRL = losses.MultipleNegativesRankingLoss


class Counting:
    """Counts the passes through the encoder and notes their shapes."""

    def __init__(self, model: SentenceTransformer) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.hook = model[0].auto_model.embeddings.register_forward_pre_hook(self.note, with_kwargs=True)

    def note(self, module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        given = options.get("input_ids")
        self.shapes.append(tuple((options["inputs_embeds"] if given is None else given).shape[:2]))


def test_packed_is_one_pass_over_the_real_tokens_and_a_filler_and_plain_merges_again_afterwards(
    still: SentenceTransformer,
) -> None:
    loss = MNRL(still)
    batch = columns([[5, 40, 3], [30, 4, 6], [7, 7, 9]])
    counting = Counting(still)
    try:
        gradients(still, loss, batch, None, "packed")
        assert counting.shapes == [(1, 112)], "111 tokens, and one that fills up"
        counting.shapes.clear()
        gradients(still, loss, batch, None, "plain")
        assert counting.shapes == [(3, 40), (6, 30)], "sentence-transformers merges the candidates of a triplet"
        counting.shapes.clear()
        gradients(still, loss, columns([[5] * 40 + [100], [6] * 40 + [90]]), None, "chunked")
        assert counting.shapes == [(80, 6), (2, 100)]
    finally:
        counting.hook.remove()
    assert merge_feature_batches(batch) is not None


def test_batches_of_nearly_as_many_tokens_share_a_shape() -> None:
    def filled(tokens: int) -> Rows:
        mask = torch.ones(1, tokens, dtype=torch.long)
        rows = Rows.of([{"input_ids": torch.arange(tokens)[None], "attention_mask": mask}])
        assert rows is not None
        return rows.filled()

    seen = set()
    for tokens in range(1, 4097):
        rows = filled(tokens)
        whole = len(rows.input_ids)
        assert tokens <= whole <= tokens * 33 / 32 and int(rows.lengths.sum()) == whole
        assert rows.columns == [1] and len(rows.lengths) == (1 if whole == tokens else 2)
        seen.add(whole)
    assert len(seen) < 260
    embeddings = torch.tensor([[1.0], [2.0]])  # of the filler, which is shorter, and of the row
    assert filled(2049).back(embeddings)[0].tolist() == [[2.0]]


@pytest.mark.parametrize("method", METHODS)
def test_the_same_sentence_twice_gets_two_independent_passes(method: str, folder: Path) -> None:
    # SimCSE (Gao et al. 2021): the two dropout masks are the whole signal.
    model = load(folder)
    set_dropout(model, 0.1)
    model.train()
    seen: list[torch.Tensor] = []

    class Watch(MNRL):
        def forward(self, features: Any, labels: Any) -> torch.Tensor:
            seen.extend(self.model(column)["sentence_embedding"] for column in features)
            return super().forward(features, labels)

    loss = Watch(model)
    column = columns([[9] * 5 + [4, 4]])[0]
    for key in ("input_ids", "token_type_ids"):
        column[key][:5] = column[key][0]  # identical rows in one column as well
    with sorted_forward(model, loss, method):
        loss(
            [
                column,
                {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in column.items()},
            ],
            None,
        )
    first, second = seen
    assert bool(((first - second).norm(dim=1) > 1e-3).all())
    assert float(torch.pdist(first[:5].detach()).min()) > 1e-3
    model.eval()
    with torch.no_grad():
        same = model(dict(column))["sentence_embedding"][:5]
    assert float(torch.pdist(same).max()) < 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_one_column_given_twice_gets_two_independent_passes_too(method: str, folder: Path) -> None:
    model = load(folder)
    set_dropout(model, 0.1)
    model.train()
    loss = losses.CosineSimilarityLoss(model)
    column = columns([[9, 4, 4]])[0]
    with sorted_forward(model, loss, method):
        value = loss([column, column], torch.ones(3))
    assert float(value.detach()) > 1e-6, "the two passes had one mask"


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_gradients_with_dropout_on(method: str, folder: Path) -> None:
    model = load(folder)
    set_dropout(model, 0.1)
    loss = MNRL(model)
    batch = columns([[5, 40, 3], [30, 4, 6]])
    torch.manual_seed(1)
    _, first = gradients(model, loss, batch, None, method)
    _, other = gradients(model, loss, batch, None, method)
    torch.manual_seed(1)
    _, again = gradients(model, loss, batch, None, method)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("method", METHODS)
def test_dropout_gives_the_plain_gradients_on_average(method: str, folder: Path) -> None:
    model = load(folder)
    set_dropout(model, 0.1)
    loss = losses.CosineSimilarityLoss(model)
    batch = columns([[5, 12, 3], [9, 4, 6]])
    labels = torch.tensor([0.1, 0.5, 0.9])
    torch.manual_seed(0)
    n = 300
    plain = torch.stack([gradients(model, loss, batch, labels, "plain")[1] for _ in range(n)])
    found = torch.stack([gradients(model, loss, batch, labels, method)[1] for _ in range(n)])
    noise = ((plain.var(0).sum() + found.var(0).sum()) / n).sqrt()
    assert float((plain.mean(0) - found.mean(0)).norm() / noise) < 1.6
    assert float(found.var(0).sum() / plain.var(0).sum()) == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("method", METHODS)
def test_evaluation_and_a_pass_without_gradients_are_plain(method: str, still: SentenceTransformer) -> None:
    loss = losses.CoSENTLoss(still)
    batch = columns([[5, 40, 3], [30, 4, 6]])
    labels = torch.linspace(0, 1, 3)
    counting = Counting(still)
    try:
        with sorted_forward(still, loss, method):
            still.train()
            with torch.no_grad():
                loss([dict(column) for column in batch], labels)
            still.eval()
            loss([dict(column) for column in batch], labels)
            still.encode(["A ball."], show_progress_bar=False)
            still.train()
            still(dict(batch[0]))  # not announced
        assert counting.shapes[:4] == [(3, 40), (3, 30)] * 2
        assert counting.shapes[-1] == (3, 40)
    finally:
        counting.hook.remove()


@pytest.mark.parametrize("method", METHODS)
def test_a_loss_that_fails_leaves_nothing_announced(method: str, still: SentenceTransformer) -> None:
    still.train()
    loss = losses.CoSENTLoss(still)
    batch = columns([[5, 40, 3], [30, 4, 6]])
    with sorted_forward(still, loss, method):
        forward = still.__dict__["forward"]
        with pytest.raises((TypeError, ValueError, RuntimeError, AttributeError)):
            loss(batch, "no labels")
        assert (forward.batch, forward.columns, forward.merging) == (None, None, None)
        assert merge_feature_batches(batch) is not None, "merging stayed off"
        broken = [dict(batch[0]), {"input_ids": "nothing"}]
        with pytest.raises((TypeError, ValueError, RuntimeError, AttributeError)):
            loss(broken, torch.linspace(0, 1, 3))
        with pytest.raises(TypeError):
            loss(3, None)
        assert (forward.batch, forward.columns, forward.merging) == (None, None, None)
        assert merge_feature_batches(batch) is not None
        loss(batch, torch.linspace(0, 1, 3)).backward()
    assert untouched(still, loss)


@pytest.mark.parametrize("method", METHODS)
def test_a_failure_in_the_model_leaves_nothing_behind(method: str, still: SentenceTransformer) -> None:
    still.train()
    loss = losses.CoSENTLoss(still)
    before = still[0].auto_model.config._attn_implementation
    too_long = columns([[5, 200, 3], [30, 4, 6]])  # there are 128 positions
    with pytest.raises((IndexError, RuntimeError)), sorted_forward(still, loss, method):
        loss(too_long, torch.linspace(0, 1, 3))
    assert untouched(still, loss)
    assert still[0].auto_model.config._attn_implementation == before
    assert merge_feature_batches(too_long) is not None


@pytest.mark.parametrize("method", METHODS)
def test_batches_that_it_cannot_take_are_embedded_plainly(method: str, still: SentenceTransformer) -> None:
    loss = losses.CoSENTLoss(still)
    left = columns([[5, 40, 3], [30, 4, 6]])
    for column in left:
        for key in ("input_ids", "token_type_ids", "attention_mask"):
            column[key] = column[key].flip(1)
    more = columns([[5, 4, 3], [3, 4, 6]])
    more[0] = dict(more[0], prompt_length=1)
    unlike = columns([[5, 4, 3], [3, 4, 6]])
    del unlike[1]["token_type_ids"]
    other = columns([[5, 4, 3], [3, 4, 6]])
    other[0], other[1] = dict(other[0], task="query"), dict(other[1], task="document")
    counting = Counting(still)
    try:
        for batch in (left, more, unlike, other):
            counting.shapes.clear()
            _, wanted = gradients(still, loss, batch, torch.linspace(0, 1, 3), "plain")
            passes = list(counting.shapes)
            counting.shapes.clear()
            _, found = gradients(still, loss, batch, torch.linspace(0, 1, 3), method)
            assert counting.shapes == passes
            assert relative(found, wanted) <= CLOSE
    finally:
        counting.hook.remove()


@pytest.mark.parametrize("method", METHODS)
def test_columns_may_come_by_name_or_one_by_one(method: str, still: SentenceTransformer) -> None:
    still.train()
    loss = losses.CoSENTLoss(still)
    batch = columns([[5, 40, 3], [30, 4, 6]])
    labels = torch.linspace(0, 1, 3)
    wanted, _ = gradients(still, loss, batch, labels, "plain")
    with sorted_forward(still, loss, method):
        by_name = loss(sentence_features=[dict(column) for column in batch], labels=labels)
        one_by_one = loss((dict(column) for column in batch), labels)
    assert float(by_name.detach()) == pytest.approx(float(wanted), rel=1e-5)
    assert float(one_by_one.detach()) == pytest.approx(float(wanted), rel=1e-5)


class Copying(losses.CoSENTLoss):
    """Copies its model with a batch announced and embedded."""

    again: Callable[[Any], Any]
    made: Any = None

    def forward(self, features: Any, labels: Any) -> torch.Tensor:
        self.model(features[0])
        Copying.made = Copying.again(self.model)
        return super().forward(features, labels)


def repickled(kept: Any) -> Any:
    return pickle.loads(pickle.dumps(kept))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("again", [copy.deepcopy, repickled])
def test_model_and_loss_can_be_pickled_and_copied_meanwhile(
    again: Callable[[Any], Any], method: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(folder)
    set_dropout(model, 0.0)
    loss = Copying(model)
    batch = columns([[5, 40, 3], [30, 4, 6]])
    labels = torch.linspace(0, 1, 3)
    wanted = model.encode(TEXTS, show_progress_bar=False)
    value, _ = gradients(model, losses.CoSENTLoss(model), batch, labels, "plain")
    monkeypatch.setattr(Copying, "again", staticmethod(again), raising=False)
    with sorted_forward(model, loss, method):
        model.train()
        loss([dict(column) for column in batch], labels)
        between, copied_loss = again(model), again(loss)
    within = Copying.made
    assert within.__dict__["forward"].batch is None and within.__dict__["forward"].columns is None
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    for other in (between, within, copied_loss.model):
        assert type(other.__dict__["forward"]) is SortedForward
        assert other.__dict__["forward"].model is other, "the copy embeds with the first model's weights"
        assert other.encode(TEXTS, show_progress_bar=False) == pytest.approx(wanted, abs=1e-6)
    copied_loss.model.train()
    found = copied_loss([dict(column) for column in batch], labels)
    assert float(found.detach()) == pytest.approx(float(value), rel=1e-4)
    found.backward()
    Copying.made = None


def test_the_weights_are_left_where_they_were(folder: Path) -> None:
    model = load(folder)
    before, names = weights(model), list(model.state_dict())
    loss = MNRL(model)
    with sorted_forward(model, loss, "packed"):
        assert list(model.state_dict()) == names
        gradients(model, loss, columns([[3, 4], [5, 6]]), None, "plain")
    assert torch.equal(weights(model), before)
