from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from speeding import relative
from torch import Tensor
from transformers import AttentionInterface, BertConfig

from hf_simtune.speed.attention import NAME, groups, packed

CPU = torch.device("cpu")
LENGTHS = st.lists(st.integers(1, 70), min_size=1, max_size=12).map(sorted)


def attend(lengths: Sequence[int], query: Tensor, key: Tensor, value: Tensor, **options: float) -> Tensor:
    """(1, heads, tokens, width) each -> (1, tokens, heads, width), as transformers calls it."""
    with packed(BertConfig(), lengths, CPU):
        out, none = AttentionInterface()[NAME](torch.nn.Module(), query, key, value, None, **options)
    assert none is None
    return out


def row_by_row(lengths: Sequence[int], query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    parts = zip(*(tokens.split(list(lengths), dim=2) for tokens in (query, key, value)), strict=True)
    return torch.cat([F.scaled_dot_product_attention(q, k, v, scale=scale) for q, k, v in parts], 2).transpose(1, 2)


def drawn(tokens: int, heads: int = 2, width: int = 8, seed: int = 0, size: float = 2.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    # The model makes them by a transpose: not contiguous.
    made = [torch.randn(1, tokens, heads, width, generator=generator).mul_(size).transpose(1, 2) for _ in range(3)]
    return [tensor.requires_grad_() for tensor in made]


@settings(max_examples=40, deadline=None)
@given(LENGTHS, st.integers(0, 2**31), st.sampled_from([None, 0.1, 1.0]))
def test_it_is_torchs_attention_of_each_row_by_itself(lengths: list[int], seed: int, scale: float | None) -> None:
    tensors = drawn(sum(lengths), seed=seed)
    found = attend(lengths, *tensors, **({} if scale is None else {"scaling": scale}))
    wanted = row_by_row(lengths, *tensors, scale)
    assert found.shape == wanted.shape == (1, sum(lengths), 2, 8)
    assert relative(found, wanted) <= 1e-6
    upstream = torch.randn(found.shape, generator=torch.Generator().manual_seed(seed + 1))
    mine = torch.autograd.grad(found, tensors, upstream)
    theirs = torch.autograd.grad(wanted, tensors, upstream)
    # One row of one token: query and key have no gradient, so all three count together.
    assert relative(torch.cat(mine), torch.cat(theirs)) <= 4e-6


def test_scores_as_large_as_they_get_do_not_overflow() -> None:
    lengths = [1, 2, 3, 60, 60, 61]
    tensors = drawn(sum(lengths), size=200.0)
    found = attend(lengths, *tensors)
    assert relative(found, row_by_row(lengths, *tensors, None)) <= 1e-5
    found.sum().backward()
    assert all(bool(tensor.grad.isfinite().all()) for tensor in tensors)


@pytest.mark.parametrize("row", range(3))
def test_a_row_neither_sees_nor_moves_another(row: int) -> None:
    lengths = [3, 4, 9]
    query, key, value = drawn(16)
    assert any(part.rows > 1 and part.mask is not None for part in groups(lengths, CPU)), "no padding to get wrong"
    first = attend(lengths, query, key, value)
    with torch.no_grad():
        key.split(lengths, 2)[row].fill_(1e4)
        value.split(lengths, 2)[row].fill_(float("nan"))
    second = attend(lengths, query, key, value)
    for other, (mine, theirs) in enumerate(zip(first.split(lengths, 1), second.split(lengths, 1), strict=True)):
        assert torch.equal(mine, theirs) == (other != row)


def test_the_groups_hold_every_token_once_and_little_padding() -> None:
    lengths = sorted([7] * 40 + [8] * 3 + [30, 31, 120])
    found = groups(lengths, CPU)
    assert [part.start for part in found[1:]] == [part.end for part in found[:-1]]
    assert (found[0].start, found[-1].end) == (0, sum(lengths))
    for part in found:
        if part.padded is not None:
            assert part.real is not None and part.mask is not None
            tokens = part.padded[part.real]
            assert torch.equal(tokens, torch.arange(part.start, part.end))
            assert int((part.mask == 0).sum()) == part.end - part.start
        else:
            assert part.rows * part.longest == part.end - part.start
    assert sum(part.rows * part.longest for part in found) < 1.2 * sum(lengths)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropped_attention_is_the_undropped_one_on_average_and_no_single_time(p: float) -> None:
    torch.manual_seed(0)
    lengths = [1, 4, 6, 6]
    tensors = [tensor.detach() for tensor in drawn(17, size=1.0)]
    wanted = attend(lengths, *tensors)
    n = 3000
    draws = torch.stack([attend(lengths, *tensors, dropout=p) for _ in range(n)])
    deviation = draws.std(0) / n**0.5
    assert not torch.allclose(draws[0], wanted)
    assert float(((draws.mean(0) - wanted) / deviation.clamp_min(1e-6)).abs().max()) < 5.5


def test_the_gradient_goes_through_the_mask_that_was_drawn() -> None:
    # The output is linear in the values, and its derivative by query and key is what a small step shows.
    lengths = [2, 3, 5, 5]
    tensors = [tensor.detach().double().requires_grad_() for tensor in drawn(15, size=1.0)]
    upstream = torch.randn(1, 15, 2, 8, generator=torch.Generator().manual_seed(5))

    def value() -> Tensor:
        torch.manual_seed(9)
        return (attend(lengths, *tensors, dropout=0.3).double() * upstream).sum()

    grads = torch.autograd.grad(value(), tensors)
    generator = torch.Generator().manual_seed(6)
    for tensor, gradient in zip(tensors, grads, strict=True):
        direction = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        step = 1e-2
        with torch.no_grad():
            tensor += step * direction
            up = value()
            tensor -= 2 * step * direction
            down = value()
            tensor += step * direction
        numeric = float(up - down) / (2 * step)
        assert numeric == pytest.approx(float((gradient * direction).sum()), rel=5e-3, abs=1e-3)


def test_the_same_seed_drops_the_same_and_every_head_and_row_drops_its_own() -> None:
    lengths = [6] * 4
    query, key = (torch.zeros(1, 2, 24, 8) for _ in range(2))
    value = torch.ones(1, 2, 24, 8)
    torch.manual_seed(4)
    first = attend(lengths, query, key, value, dropout=0.5)
    again = attend(lengths, query, key, value, dropout=0.5)
    torch.manual_seed(4)
    assert torch.equal(attend(lengths, query, key, value, dropout=0.5), first)
    assert not torch.equal(first, again)
    places = first[0, :, :, 0].view(4, 6, 2).permute(0, 2, 1).reshape(8, 6)
    assert len({tuple(row) for row in places.tolist()}) > 4


def test_half_precision_is_widened_inside_and_given_back() -> None:
    lengths = [2, 5, 6]
    tensors = [tensor.detach().bfloat16().requires_grad_() for tensor in drawn(13)]
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(lengths, *tensors)
    assert found.dtype == torch.bfloat16
    wanted = row_by_row(lengths, *(tensor.float() for tensor in tensors), None)
    assert relative(found, wanted) < 4e-3
    found.sum().backward()
    assert all(tensor.grad.dtype == torch.bfloat16 for tensor in tensors)


def test_the_configuration_gets_its_own_attention_back_even_after_a_failure() -> None:
    config = BertConfig()
    config._attn_implementation = "sdpa"
    with pytest.raises(ZeroDivisionError), packed(config, [1], CPU):
        assert config._attn_implementation == NAME and 1 / 0
    assert config._attn_implementation == "sdpa"


def test_outside_of_a_packed_batch_the_attention_refuses_to_run() -> None:
    tensors = drawn(3)
    with pytest.raises(LookupError):
        AttentionInterface()[NAME](torch.nn.Module(), *tensors, None)
