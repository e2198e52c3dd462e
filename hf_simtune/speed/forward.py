"""The forward pass of a training batch without its padding, with the same embeddings and gradients."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.losses import column_merging_disabled
from torch import Tensor, nn

from hf_simtune.speed.attention import packed
from hf_simtune.speed.cuts import cuts
from hf_simtune.speed.dropout import fast_dropout, plain_dropout

__all__ = ["METHODS", "Model", "SortedForward", "embed", "encoder", "sorted_forward"]

METHODS = ("packed", "chunked")
Model = SentenceTransformer | SparseEncoder
Features = dict[str, Any]
log = logging.getLogger("hf_simtune")
PER_TOKEN = ("input_ids", "attention_mask", "token_type_ids")


@dataclasses.dataclass(frozen=True)
class Rows:
    """All rows of a batch, column after column: their tokens end to end, and their lengths."""

    input_ids: Tensor  # (tokens,)
    token_type_ids: Tensor | None
    lengths: Tensor  # (rows,)
    order: Tensor  # (rows,) shortest first
    columns: list[int]  # rows of each
    rest: Features  # what is no token

    @classmethod
    def of(cls, batch: Sequence[Features]) -> Rows | None:
        """None where the columns cannot be put together: no plain text, padded in front, or told apart by more."""
        first = batch[0]
        rest = {key: value for key, value in first.items() if key not in PER_TOKEN}
        for features in batch:
            ids, mask = features.get("input_ids"), features.get("attention_mask")
            if not isinstance(ids, Tensor) or not isinstance(mask, Tensor) or ids.ndim != 2 or mask.shape != ids.shape:
                return None
            if features.keys() != first.keys() or any(not _same(features[key], value) for key, value in rest.items()):
                return None
        if len({id(features["input_ids"]) for features in batch}) < len(batch):
            return None  # one column twice could not be told apart, and each has dropout of its own
        masks = [features["attention_mask"].bool() for features in batch]
        for mask in masks:
            if bool((~mask[:, :-1] & mask[:, 1:]).any()) or not bool(mask[:, 0].all()):
                return None
        lengths = torch.cat([mask.sum(1) for mask in masks])

        def tokens(key: str) -> Tensor:
            return torch.cat([features[key][mask] for features, mask in zip(batch, masks, strict=True)])

        return cls(
            input_ids=tokens("input_ids"),
            token_type_ids=tokens("token_type_ids") if "token_type_ids" in first else None,
            lengths=lengths,
            order=torch.argsort(lengths, stable=True),
            columns=[len(mask) for mask in masks],
            rest=rest,
        )

    def filled(self) -> Rows:
        """With one more row, copied from the first tokens, up to a number of tokens that other batches have too.

        The libraries keep code for each shape of a matrix product that they have seen. If every batch had a shape of
        its own, a long run would grow by it. The row costs at most a thirty-second of the batch, and ``back`` drops it.
        """
        count = len(self.input_ids)
        grain = min(2 ** max(count // 32, 1).bit_length() // 2, 64)
        missing = -count % grain
        if missing == 0:
            return self
        lengths = torch.cat([self.lengths, self.lengths.new_tensor([missing])])
        types = self.token_type_ids
        return dataclasses.replace(
            self,
            input_ids=torch.cat([self.input_ids, self.input_ids[:missing]]),
            token_type_ids=None if types is None else torch.cat([types, types[:missing]]),
            lengths=lengths,
            order=torch.argsort(lengths, stable=True),
        )

    def sorted_tokens(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where each token of the sorted rows lies, its place in its row, and the first token of each sorted row."""
        lengths = self.lengths[self.order]
        starts = (self.lengths.cumsum(0) - self.lengths)[self.order]
        ends = lengths.cumsum(0)
        place = torch.arange(len(self.input_ids), device=lengths.device)
        place = place - torch.repeat_interleave(ends - lengths, lengths)
        return torch.repeat_interleave(starts, lengths) + place, place, F.pad(ends, (1, 0))

    def back(self, embeddings: Tensor) -> list[Tensor]:
        """Embeddings of the sorted rows -> one tensor per column, in the batch's own order."""
        ranks = torch.empty_like(self.order)
        ranks[self.order] = torch.arange(len(self.order), device=self.order.device)
        return list(torch.split(embeddings.index_select(0, ranks[: sum(self.columns)]), self.columns))


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor) or isinstance(right, Tensor):
        return isinstance(left, Tensor) and isinstance(right, Tensor) and torch.equal(left, right)
    return bool(left == right)


def _chunk_cost(rows: int, longest: int) -> float:
    """Of a chunk, in tokens computed: a forward and backward pass of its own, and the padding."""
    return 160 + rows * longest


class SortedForward:
    """Stands in for ``model.forward`` while a batch is announced, and is ``model.forward`` otherwise.

    A loss asks for the embeddings of one column after the other. The first one asked for computes them all: rows of
    every column together, sorted by length, without padding (``packed``) or in chunks that are each padded to their own
    longest (``chunked``). In-batch negatives only need the embeddings of the whole batch, so loss and gradients are
    those of the plain forward.

    An object rather than a closure: the model can still be pickled and copied.
    """

    def __init__(self, model: Model, method: str) -> None:
        self.model = model
        self.method = method
        self.position_offset = position_offset(model)
        self.batch: list[Features] | None = None
        self.columns: list[Tensor] | None = None
        self.merging: ExitStack | None = None
        self.refused = 0  # batches that went plain after all

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "batch": None, "columns": None, "merging": None}

    def announce(self, loss: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Before a loss: these columns are coming. For ``register_forward_pre_hook``."""
        self.merging = ExitStack()
        self.merging.enter_context(column_merging_disabled())  # or a loss would put columns together in its own way
        columns = arguments[0] if arguments else None
        self.batch = list(columns) if isinstance(columns, (list, tuple)) else None
        self.columns = None

    def forget(self, loss: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        """After a loss, also one that failed. For ``register_forward_hook``."""
        self.batch = self.columns = None
        if self.merging is not None:
            self.merging.close()
            self.merging = None

    def __call__(self, *given: Any, **kwargs: Any) -> Features:
        """The features with ``sentence_embedding``, shape (rows, dimensions)."""
        features: Features = given[-1]  # accelerate's unwrap_model binds what it finds to the model, which comes first
        learning = self.model.training and torch.is_grad_enabled() and not kwargs
        column = self._column(features) if learning else None
        if column is None or self.batch is None:
            return self._plain(features, **kwargs)
        if self.columns is None:
            self.columns = self.embed(self.batch)
            if self.columns is None:
                if self.refused == 0:
                    log.warning("a batch cannot go %s, and goes plain: its columns cannot be put together", self.method)
                self.refused += 1
                self.batch = None
                return self._plain(features)
        return {**features, "sentence_embedding": self.columns[column]}

    def embed(self, batch: Sequence[Features]) -> list[Tensor] | None:
        """The embeddings of each column; None where the batch is not for it."""
        rows = Rows.of(batch)
        if rows is None or (self.position_offset and bool((rows.input_ids == self.position_offset - 1).any())):
            return None  # RoBERTa's family counts no position for a padding token, also for one that is written out
        rows = rows.filled() if self.method == "packed" else rows
        return rows.back(self._packed(rows) if self.method == "packed" else self._chunked(rows))

    def _column(self, features: Features) -> int | None:
        """Which announced column this is: told by its tensor, since a wrapper may hand on another dictionary."""
        ids = features.get("input_ids")
        if ids is None:
            return None
        return next((i for i, other in enumerate(self.batch or ()) if other.get("input_ids") is ids), None)

    def _plain(self, features: Features, **kwargs: Any) -> Features:
        found: Features = type(self.model).forward(self.model, features, **kwargs)
        return found

    def _packed(self, rows: Rows) -> Tensor:
        tokens, place, starts = rows.sorted_tokens()
        features: Features = {
            **rows.rest,
            "input_ids": rows.input_ids[tokens][None],
            "position_ids": place[None] + self.position_offset,
            "cu_seq_lens_q": starts,  # how sentence-transformers' pooling knows rows that lie end to end
        }
        if rows.token_type_ids is not None:
            features["token_type_ids"] = rows.token_type_ids[tokens][None]
        lengths = rows.lengths[rows.order].tolist()
        with packed(encoder(self.model).config, lengths, tokens.device):
            embeddings: Tensor = self._plain(features)["sentence_embedding"]
        return embeddings

    def _chunked(self, rows: Rows) -> Tensor:
        tokens, _, starts = rows.sorted_tokens()
        lengths = rows.lengths[rows.order]
        # One look-up per batch: its gradient is as large as the vocabulary.
        distinct, numbers = torch.unique(rows.input_ids[tokens], return_inverse=True)
        table = encoder(self.model).get_input_embeddings()(distinct)
        found = []
        for first, last in cuts(lengths.tolist(), _chunk_cost):
            place = torch.arange(int(lengths[last - 1]), device=tokens.device)
            filled = place < lengths[first:last, None]
            where = torch.where(filled, starts[first:last, None] + place, 0)
            features: Features = {
                **rows.rest,
                "inputs_embeds": F.embedding(numbers[where], table),
                "attention_mask": filled.long(),
            }
            if rows.token_type_ids is not None:
                features["token_type_ids"] = rows.token_type_ids[tokens][where] * filled
            found.append(self._plain(features)["sentence_embedding"])
        return torch.cat(found)


def encoder(model: Model) -> Any:
    """The transformers model inside."""
    return cast(Any, model[0]).auto_model


def position_offset(model: Model) -> int:
    """What the first token's position is called: RoBERTa's family counts from behind its padding index."""
    for module in model[0].modules():
        padding = getattr(module, "padding_idx", None)
        if isinstance(padding, int) and isinstance(getattr(module, "position_embeddings", None), nn.Embedding):
            return padding + 1
    return 0


def embed(model: Model, method: str, batch: Sequence[Features]) -> list[Tensor] | None:
    """The embeddings of each column of a batch by a method; None where the batch is not for it."""
    return SortedForward(model, method).embed(batch)


@contextmanager
def sorted_forward(model: Model, loss: nn.Module | Sequence[nn.Module], method: str) -> Iterator[SortedForward | None]:
    """Within it, ``loss`` gets its embeddings of ``model`` by ``method``; with ``plain`` nothing is changed.

    ``loss`` is the outermost one, the one that the trainer calls, or one for each training set. To be entered before
    the model is wrapped for several processes, and left when training is over. Yields what stands in, where something
    does: its ``refused`` counts the batches that went plain after all.
    """
    if method == "plain":
        yield None
        return
    forward = SortedForward(model, method)
    hooks = []
    for one in [loss] if isinstance(loss, nn.Module) else loss:
        hooks.append(one.register_forward_pre_hook(forward.announce))
        hooks.append(one.register_forward_hook(forward.forget, always_call=True))
    before = model.__dict__.get("forward")
    fast_dropout(model)
    model.__dict__["forward"] = forward
    try:
        yield forward
    finally:
        for hook in hooks:
            hook.remove()
        del model.__dict__["forward"]  # ours, or accelerate's around it
        if before is not None:
            model.__dict__["forward"] = before
        if model.__dict__.get("_original_forward") is forward:
            del model.__dict__["_original_forward"]
        plain_dropout(model)
