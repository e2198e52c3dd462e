from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hf_simtune.speed.dropout import Dropout, drop, fast_dropout, keep_mask, plain_dropout

CPU = torch.device("cpu")


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_the_share_that_stays_is_one_minus_p(p: float) -> None:
    torch.manual_seed(0)
    n = 4_000_000
    mask, factor = keep_mask((n,), p, CPU)
    share = float(mask.sum()) / n
    assert abs(share - (1 - p)) < 5 * math.sqrt(p * (1 - p) / n)
    kept = 1 / factor  # what the rounding to 1/65536 made of 1 - p
    assert abs(kept - (1 - p)) <= 2**-17
    assert abs(share - kept) < 5 * math.sqrt(p * (1 - p) / n)


def test_the_expectation_is_exact_over_every_value_that_the_bits_can_take(monkeypatch: pytest.MonkeyPatch) -> None:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.int64)
    monkeypatch.setattr(torch.Tensor, "random_", lambda self, low, high: self.copy_(every))
    for p in (0.05, 0.1, 1 / 3, 0.5, 0.999):
        mask, factor = keep_mask((2**16,), p, CPU)
        assert float(mask.sum()) * factor == 2**16


@pytest.mark.parametrize("place", range(4))
def test_each_of_the_four_entries_of_a_draw_has_the_share(place: int) -> None:
    torch.manual_seed(place)
    n = 2_000_000
    mask, _ = keep_mask((n, 4), 0.1, CPU)
    assert abs(float(mask[:, place].sum()) / n - 0.9) < 5 * math.sqrt(0.09 / n)


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 5, 8, 32, 384])
def test_neighbouring_entries_are_independent(lag: int) -> None:
    torch.manual_seed(1)
    n = 2_000_000
    kept = keep_mask((n,), 0.1, CPU)[0].double() - 0.9
    correlation = float((kept[:-lag] * kept[lag:]).mean()) / 0.09
    assert abs(correlation) < 5 / math.sqrt(n)


def test_two_masks_are_independent() -> None:
    torch.manual_seed(2)
    n = 1_000_000
    first, second = (keep_mask((n,), 0.5, CPU)[0].double() - 0.5 for _ in range(2))
    assert abs(float((first * second).mean()) / 0.25) < 5 / math.sqrt(n)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 7), max_size=3), st.floats(0.001, 0.999))
def test_any_shape_gets_a_mask_of_its_own_shape(shape: list[int], p: float) -> None:
    mask, factor = keep_mask(tuple(shape), p, CPU)
    assert mask.shape == tuple(shape)
    assert mask.dtype == torch.bool
    assert math.isfinite(factor) and factor >= 1


@pytest.mark.parametrize("p", [0.0, 1e-9, 1 - 1e-9, 1.0])
def test_the_rates_at_the_edges_keep_all_or_nothing_and_stay_finite(p: float) -> None:
    torch.manual_seed(0)
    mask, factor = keep_mask((100_000,), p, CPU)
    assert math.isfinite(factor)
    assert bool(mask.all()) if p < 0.5 else not bool(mask.any())
    dropped = drop(torch.ones(100), p)
    assert torch.equal(dropped, torch.ones(100) if p < 0.5 else torch.zeros(100))


def test_the_same_seed_gives_the_same_mask_and_a_kept_state_repeats_it() -> None:
    values = torch.ones(1001)
    torch.manual_seed(3)
    first = drop(values, 0.1)
    state = torch.get_rng_state()
    second = drop(values, 0.1)
    torch.manual_seed(3)
    assert torch.equal(drop(values, 0.1), first)
    torch.set_rng_state(state)
    assert torch.equal(drop(values, 0.1), second)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_gradient_goes_where_the_values_went(dtype: torch.dtype) -> None:
    values = torch.full((33, 7), 2.0, dtype=dtype, requires_grad=True)
    out = drop(values, 0.25)
    assert out.dtype == dtype
    assert set(out.detach().flatten().tolist()) == {0.0, 2.0 * float(torch.tensor(4 / 3, dtype=dtype))}
    upstream = torch.arange(1.0, 232.0).view(33, 7).to(dtype)
    out.backward(upstream)
    assert values.grad is not None
    assert values.grad.dtype == dtype
    torch.testing.assert_close(values.grad, out.detach() / 2 * upstream)
    assert torch.equal(values.detach(), torch.full((33, 7), 2.0, dtype=dtype)), "the input was changed"


def test_a_strided_input_gets_its_mask_entry_by_entry() -> None:
    values = torch.randn(6, 8).t()[::2].requires_grad_()
    out = drop(values, 0.5)
    kept = out != 0
    torch.testing.assert_close(out[kept], (values * 2)[kept])
    out.sum().backward()


def test_without_training_or_a_rate_it_is_the_identity_and_draws_nothing() -> None:
    values = torch.randn(10)
    state = torch.get_rng_state()
    assert Dropout(0.5).eval()(values) is values
    assert torch.equal(Dropout(0.0)(values), values)
    assert torch.equal(Dropout(1.0)(values), torch.zeros(10))
    torch.set_rng_state(state)
    torch.testing.assert_close(torch.rand(1), torch.rand(1, generator=torch.Generator().set_state(state)))


class Own(nn.Dropout):
    """Somebody else's."""


def test_only_plain_dropout_is_swapped_and_back_again() -> None:
    model = nn.Sequential(nn.Dropout(0.1), Own(0.2), nn.Sequential(nn.Dropout(0.3, inplace=True), nn.Dropout1d(0.4)))
    before = [type(module) for module in model.modules()]
    state = model.state_dict().keys()
    assert fast_dropout(model) == 1
    assert type(model[0]) is Dropout and model[0].p == 0.1 and isinstance(model[0], nn.Dropout)
    assert model.state_dict().keys() == state
    assert fast_dropout(model) == 0
    assert plain_dropout(model) == 1
    assert [type(module) for module in model.modules()] == before


def test_a_swapped_module_can_be_pickled_and_copied() -> None:
    model = nn.Sequential(nn.Dropout(0.1))
    fast_dropout(model)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(again[0]) is Dropout and again[0].p == 0.1
