"""Attention over rows that lie end to end without padding, through transformers' attention interface."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PretrainedConfig

from hf_simtune.speed.cuts import cuts
from hf_simtune.speed.dropout import keep_mask

__all__ = ["NAME", "Group", "groups", "packed"]

NAME = "hf_simtune_packed"


@dataclasses.dataclass(frozen=True)
class Group:
    """Neighbouring rows that attend in one call, each to itself."""

    start: int  # first token
    end: int  # token behind the last
    rows: int
    longest: int  # tokens
    padded: Tensor | None  # (rows * longest,) the token at each padded place; None where all rows are equally long
    real: Tensor | None  # (end - start,) the padded place of each token
    mask: Tensor | None  # (rows, 1, 1, longest) -inf where there is no token


def _cost(rows: int, longest: int) -> float:
    """Of a group, in scores computed: the calls themselves, the gathering of padded rows, the scores."""
    return 6000 + rows * longest * (longest + 24)


def groups(lengths: Sequence[int], device: torch.device) -> list[Group]:
    """Cut rows that lie end to end, shortest first, into groups.

    Args:
        lengths: tokens per row, ascending.
        device: where the indices are needed.
    """
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)
    found = []
    for first, last in cuts(lengths, _cost):
        shortest, longest, rows = lengths[first], lengths[last - 1], last - first
        start, end = starts[first], starts[last]
        padded = real = mask = None
        if shortest != longest:
            place = torch.arange(longest, device=device)
            sizes = torch.tensor(lengths[first:last], device=device)[:, None]
            filled = place < sizes
            begins = torch.tensor(starts[first:last], device=device)[:, None]
            padded = torch.where(filled, begins + place, begins).flatten()
            real = filled.flatten().nonzero()[:, 0]
            mask = torch.zeros(rows, 1, 1, longest, device=device).masked_fill_(~filled[:, None, None], float("-inf"))
        found.append(Group(start, end, rows, longest, padded, real, mask))
    return found


GROUPS: ContextVar[list[Group]] = ContextVar("groups")


@contextmanager
def packed(config: PretrainedConfig, lengths: Sequence[int], device: torch.device) -> Iterator[None]:
    """Within it, a model of this configuration takes rows that lie end to end in a batch of one."""
    before = config._attn_implementation
    token = GROUPS.set(groups(lengths, device))
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        GROUPS.reset(token)


class _Attention(torch.autograd.Function):
    """Softmax attention, group by group, in fp32.

    A function of its own rather than a graph of small steps: the rows are gathered again on the way back instead of
    kept, and the gradient of a gathering is another gathering.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float, p: float, parts: list[Group]
    ) -> Tensor:
        heads = query.shape[1]
        out = torch.empty_like(query)
        kept: list[Tensor] = []
        factor = 1.0
        for part in parts:
            q, k, v = (_rows(tokens, part) for tokens in (query, key, value))
            scores = torch.matmul(q, k.transpose(-1, -2)).mul_(scaling)
            if part.mask is not None:
                scores += part.mask
            weights = torch.softmax(scores, -1)
            kept.append(weights)
            if p > 0.0:
                mask, factor = keep_mask(weights.shape, p, weights.device)
                kept.append(mask)
                v = v * factor
                weights = weights * mask
            _put(out, torch.matmul(weights, v), part)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.scaling, ctx.p, ctx.parts, ctx.heads, ctx.factor = scaling, p, parts, heads, factor
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        grads = [torch.empty_like(tokens) for tokens in (query, key, value)]
        rest = iter(kept)
        for part in ctx.parts:
            q, k, v, g = (_rows(tokens, part) for tokens in (query, key, value, gradient))
            if part.mask is not None:
                g = g * (part.mask.transpose(-1, -2) == 0)  # a padded place is no token: nothing flows back from it
            weights = next(rest)
            back = torch.matmul(g, v.transpose(-1, -2))
            if ctx.p > 0.0:
                mask = next(rest)
                g = g * ctx.factor
                back = back.mul_(mask).mul_(ctx.factor)
                _put(grads[2], torch.matmul((weights * mask).transpose(-1, -2), g), part)
            else:
                _put(grads[2], torch.matmul(weights.transpose(-1, -2), g), part)
            # Softmax: dS = P * (dP - sum(P * dP)).
            back = back.mul_(weights)
            back = back.sub_(weights * back.sum(-1, keepdim=True)).mul_(ctx.scaling)
            _put(grads[0], torch.matmul(back, k), part)
            _put(grads[1], torch.matmul(back.transpose(-1, -2), q), part)
        return (*grads, None, None, None)


def _rows(tokens: Tensor, part: Group) -> Tensor:
    """(tokens, heads, width) -> (rows, heads, longest, width) of one group, in fp32."""
    found = tokens[part.start : part.end] if part.padded is None else tokens.index_select(0, part.padded)
    return found.view(part.rows, part.longest, *tokens.shape[1:]).transpose(1, 2).float()


def _put(tokens: Tensor, rows: Tensor, part: Group) -> None:
    """The way back from :func:`_rows`, into its place."""
    flat = rows.transpose(1, 2).flatten(0, 1)
    tokens[part.start : part.end] = flat if part.real is None else flat.index_select(0, part.real)


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in place of its own attention: (1, heads, tokens, width) each."""
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    q, k, v = (tokens[0].transpose(0, 1) for tokens in (query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        out: Tensor = _Attention.apply(q, k, v, scaling, dropout, GROUPS.get())  # type: ignore[no-untyped-call]
    return out[None], None


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """Rows are kept apart by their groups."""


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _no_mask)
