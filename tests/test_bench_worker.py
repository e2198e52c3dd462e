from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import ProfilerActivity, profile

from hf_simtune.bench.worker import KINDS, shares

# Operators as torch names them when a model trains, and what their time counts as.
EXPECTED = {
    "aten::mm": "matrix products",
    "aten::addmm": "matrix products",
    "aten::bmm": "matrix products",
    "aten::linear": "matrix products",
    "aten::matmul": "matrix products",
    "aten::scaled_dot_product_attention": "matrix products",
    "AddmmBackward0": "matrix products",
    "aten::random_": "random numbers",
    "aten::bernoulli_": "random numbers",
    "aten::dropout": "random numbers",
    "aten::gelu": "activation",
    "aten::gelu_backward": "activation",
    "aten::_softmax": "activation",
    "aten::_log_softmax_backward_data": "activation",
    "aten::native_layer_norm": "normalisation",
    "aten::native_layer_norm_backward": "normalisation",
    "aten::_fused_adamw_": "optimiser and clipping",
    "aten::linalg_vector_norm": "optimiser and clipping",
    "aten::_foreach_norm": "optimiser and clipping",
    "Optimizer.step#AdamW.step": "optimiser and clipping",
    "Optimizer.zero_grad#AdamW.zero_grad": "optimiser and clipping",
    "aten::embedding": "look-up and gathering",
    "aten::embedding_dense_backward": "look-up and gathering",
    "aten::index_select": "look-up and gathering",
    "aten::index_add_": "look-up and gathering",
    "aten::scatter_add_": "look-up and gathering",
    "aten::copy_": "copies and casts",
    "aten::_to_copy": "copies and casts",
    "aten::cat": "copies and casts",
    "aten::clone": "copies and casts",
    "aten::add": "sums and products by element",
    "aten::add_": "sums and products by element",
    "aten::mul": "sums and products by element",
    "aten::sum": "sums and products by element",
    "aten::ge": "sums and products by element",
    "aten::arange": "other",
    "aten::view": "other",
    "torch::autograd::AccumulateGrad": "other",
}


@pytest.fixture(scope="module")
def events() -> dict[str, Any]:
    """What torch's profiler saw of two steps of a small network, by name."""
    embedding, norm, linear = nn.Embedding(50, 16), nn.LayerNorm(16), nn.Linear(16, 16)
    weights = [*embedding.parameters(), *norm.parameters(), *linear.parameters()]
    optimizer = torch.optim.AdamW(weights, fused=True)
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(2):
            looked_up = embedding(torch.arange(8)) + 1.0
            made = F.dropout(F.gelu(linear(norm(looked_up))), 0.1)
            heads = made.view(1, 2, 4, 16)
            attended = F.scaled_dot_product_attention(heads, heads, heads).reshape(8, 16) * 2.0
            both = torch.cat([attended, made.index_select(0, torch.arange(8))])
            products = torch.bmm(heads[0], heads[0].transpose(1, 2)).softmax(-1).sum()
            rows = torch.zeros(16).scatter_add_(0, torch.arange(16), both.sum(1))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                scores = torch.matmul(both, both.T)
            loss = F.cross_entropy(scores.float(), torch.arange(16)) + products + rows.clone().sum()
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            optimizer.zero_grad()
        (torch.empty(8, dtype=torch.int64).random_() >= 0).to(torch.float32)
    return {event.key: event for event in found.key_averages()}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_time_of_a_real_operator_counts_as_its_kind(name: str, events: dict[str, Any]) -> None:
    alone: Any = SimpleNamespace(key_averages=lambda: [events[name]])
    assert list(shares(alone)) == [EXPECTED[name]]


def test_every_kind_is_tried() -> None:
    assert {kind for kind, _ in KINDS} | {"other"} == set(EXPECTED.values())


def test_shares_are_of_the_whole_and_largest_first(events: dict[str, Any]) -> None:
    whole: Any = SimpleNamespace(key_averages=lambda: list(events.values()))
    counted = shares(whole)
    assert list(counted.values()) == sorted(counted.values(), reverse=True)
    assert sum(counted.values()) == pytest.approx(1, abs=1e-3)
    own = sum(event.self_cpu_time_total for event in events.values())
    random = [event.self_cpu_time_total for key, event in events.items() if EXPECTED.get(key) == "random numbers"]
    assert counted["random numbers"] == pytest.approx(sum(random) / own, abs=1e-4)
