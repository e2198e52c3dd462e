"""Hard negatives for pairs: other positives that a model takes for near the anchor, though not as near as its own."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import dot_score, hard_negatives, pairwise_dot_score
from torch import Tensor

from hf_simtune.data.normalise import normalised
from hf_simtune.errors import RequestError
from hf_simtune.evaluation.undisturbed import undisturbed
from hf_simtune.record import Mined

__all__ = ["mine"]

# What is in memory at a time beside the embeddings: so many similarities of a block of anchors with all positives, and
# so many candidates of all anchors of one call of the utility, of some 50 bytes each.
SIMILARITIES = 2**25
CANDIDATES = 2**21
WINDOW = 500  # texts nearest to an anchor among which its negatives are looked for, beside its own positives
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
log = logging.getLogger("hf_simtune")


def mine(
    rows: Dataset,
    model: SentenceTransformer,
    *,
    negatives: int,
    margin: float,
    batch_size: int = 64,
    precision: str = "fp32",
    progress: bool = False,
    name: str = "the base model",
) -> tuple[Dataset, Mined]:
    """Give each pair the positives of other anchors that the model puts nearest to its anchor.

    The search is sentence-transformers' ``mine_hard_negatives``, which keeps a positive of another anchor as a negative
    if it is at most ``(1 - margin)`` times as similar to the anchor as the anchor's own positive (the least similar of
    them, where there are several): nearer than that, it may be a positive that nobody marked (TopK-PercPos of
    Moreira et al. 2024, arXiv:2407.15831). It looks at the 500 texts nearest to the anchor, and not at ten for each
    negative as the utility would by itself: pairs whose positive is far away would lose their negatives. A text that
    is, after ``normalised``, the anchor itself or any of its known positives is never its negative.

    The answer has one row for each negative, so that a pair for which fewer are found than asked for keeps those that
    there are; a pair without any is left out. An epoch over it sees a pair as often as it has negatives.

    The texts are embedded once, and the model is left as it was: its weights, its modes and
    the state of every random generator. The same rows and model give the same answer.

    Memory: ``4 * dimensions`` bytes for each distinct text (300 MB for 100,000 pairs in 384 dimensions) and twice that
    while they are searched, some 200 MB for the search whatever the number of pairs, and the answer's texts.

    Args:
        rows: columns ``anchor``, ``positive`` and ``row``; all of them are searched.
        model: a dense model.
        negatives: how many to look for, per pair, 1 or more.
        margin: 0 up to, not including, 1.
        batch_size: texts embedded at a time.
        precision: that they are embedded in: fp32, or bf16 or fp16, in which it is faster and which is enough to rank.
        progress: show a bar while embedding.
        name: of the model, for the record.

    Returns:
        ``anchor, positive, negative, row``, in memory, in the order of the pairs and, for one pair, the nearest
        negative first; and what was found.

    Raises:
        RequestError: settings out of range, rows that are no pairs, a model that is not dense; no pair has a negative.
    """
    _check(rows, model, negatives, margin)
    anchors, positives = (list(rows[column]) for column in ("anchor", "positive"))
    known: dict[str, int] = {}
    one, other = ([known.setdefault(normalised(t), len(known)) for t in texts] for texts in (anchors, positives))
    first: dict[int, str] = {}
    for number, text in itertools.chain(zip(one, anchors, strict=True), zip(other, positives, strict=True)):
        first.setdefault(number, text)
    log.info("looking for hard negatives: embedding %s texts of %s pairs", f"{len(first):,}", f"{len(rows):,}")
    vectors = _embedded(model, [first[number] for number in range(len(first))], batch_size, precision, progress)
    found = _found(_Known(model, vectors), one, other, negatives, margin)
    # A negative is shown as the first pair that has it as its positive writes it.
    place: dict[int, int] = {}
    for position, number in enumerate(other):
        place.setdefault(number, position)
    kept = [(position, place[number]) for position, key in enumerate(one) for number in found.get(key, ())]
    if not kept:
        raise RequestError(
            f"none of {len(rows):,} pairs has a hard negative: no positive of another anchor is at most "
            f"{1 - margin:g} times as similar to an anchor as its own positive",
            hint=f"Allow nearer ones with a smaller --negative-margin than {margin:g}, give more pairs, or leave "
            "--mine-negatives out",
        )
    mined = Mined(
        asked=negatives,
        rows=len(kept),
        pairs_without=sum(not found.get(key) for key in one),
        margin=margin,
        model=name,
    )
    log.info("%d hard negatives for %d of %d pairs", len(kept), len(rows) - mined.pairs_without, len(rows))
    return _triplets(rows, np.array(kept, dtype=np.int64)), mined


def _check(rows: Dataset, model: SentenceTransformer, negatives: int, margin: float) -> None:
    problems = []
    if negatives < 1:
        problems.append(f"--mine-negatives is {negatives}: it must be 1 or more to look for any")
    if not 0 <= margin < 1:  # NaN included
        problems.append(f"--negative-margin is {margin}: it must be 0 to below 1")
    columns = rows.column_names
    if "negative" in columns or not {"anchor", "positive", "row"} <= set(columns):
        problems.append(f"hard negatives are looked for in pairs: anchor, positive, row; not in {', '.join(columns)}")
    if not isinstance(model, SentenceTransformer):
        problems.append(
            f"hard negatives are looked for with a dense model; {type(model).__name__} is none: leave out "
            "--mine-negatives"
        )
    if problems:
        raise RequestError(problems)


def _embedded(
    model: SentenceTransformer, texts: Sequence[str], batch_size: int, precision: str, progress: bool
) -> NDArray[np.float32]:
    """Embeddings of length 1, shape (texts, dimensions)."""
    half = HALVES.get(precision)
    with undisturbed(model), torch.autocast(model.device.type, half or torch.bfloat16, enabled=half is not None):
        vectors = model.encode(
            list(texts),
            batch_size=batch_size,
            convert_to_numpy=True,
            show_progress_bar=progress,
        )
    wide = np.array(vectors, dtype=np.float32)
    wide /= np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return wide


class _Known:
    """Stands before the utility for a model whose texts are numbers, each embedded already.

    So the utility neither encodes anything again nor copies a text, and two ways to write one text are one number.
    """

    device = torch.device("cpu")

    def __init__(self, model: SentenceTransformer, vectors: NDArray[np.float32]) -> None:
        self.vectors = vectors
        self.similarity: Callable[..., Tensor] = model.similarity
        self.similarity_pairwise: Callable[..., Tensor] = model.similarity_pairwise
        if model.similarity_fn_name == "cosine":  # the same for vectors of length 1, without a second copy of them
            self.similarity, self.similarity_pairwise = dot_score, pairwise_dot_score

    def encode_query(self, texts: Sequence[str], **options: Any) -> NDArray[np.float32]:
        """The embeddings of some numbers, shape (texts, dimensions)."""
        return self.vectors[np.array(texts, dtype=np.int64)]

    encode_document = encode_query


def _found(
    model: _Known, anchors: Sequence[int], positives: Sequence[int], negatives: int, margin: float
) -> dict[int, list[int]]:
    """The negatives of each anchor, nearest first, at most so many; all by number."""
    own: dict[int, dict[int, None]] = {}
    for anchor, positive in zip(anchors, positives, strict=True):
        own.setdefault(anchor, {})[positive] = None
    corpus = list(map(str, dict.fromkeys(positives)))
    found: dict[int, list[int]] = {}
    for few in _slices(own, negatives):
        pairs = Dataset.from_dict(
            {
                "anchor": [str(anchor) for anchor in few for _ in own[anchor]],
                "positive": [str(positive) for anchor in few for positive in own[anchor]],
            }
        )
        with _quiet():
            mined = hard_negatives.mine_hard_negatives(
                pairs,
                model,  # type: ignore[arg-type]
                corpus=corpus,
                relative_margin=margin,
                num_negatives=negatives + 1,  # one of them may be the anchor itself, as a positive of another
                range_max=_window(negatives) + len(own[few[0]]),
                output_format="triplet",
                faiss_batch_size=max(1, SIMILARITIES // len(corpus)),
                verbose=False,
            )
        for text, near in zip(mined["anchor"], mined["negative"], strict=True):
            anchor, negative = int(text), int(near)
            kept = found.setdefault(anchor, [])
            # An anchor with several positives comes once for each of them, with the same negatives.
            if negative != anchor and negative not in kept and len(kept) < negatives:
                kept.append(negative)
    return found


def _window(negatives: int) -> int:
    return max(WINDOW, negatives + 1)


def _slices(own: dict[int, dict[int, None]], negatives: int) -> Iterator[list[int]]:
    """Anchors that are searched at once: so many that memory is bounded, and all with as many positives.

    The utility widens its window by the positives of the anchor that has most. Alike within a call, they leave the
    answer for one anchor to that anchor alone.
    """
    alike: dict[int, list[int]] = {}
    for anchor, positives in own.items():
        alike.setdefault(len(positives), []).append(anchor)
    for count, anchors in sorted(alike.items()):
        size = max(1, CANDIDATES // (_window(negatives) + 2 * count))
        yield from (anchors[start : start + size] for start in range(0, len(anchors), size))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bar that the utility shows whatever ``verbose`` says."""
    names = vars(hard_negatives)
    shown = names["trange"]

    def hidden(*args: Any, **options: Any) -> Any:
        return shown(*args, **{**options, "disable": True})

    names["trange"] = hidden
    try:
        yield
    finally:
        names["trange"] = shown


def _triplets(rows: Dataset, kept: NDArray[np.int64]) -> Dataset:
    """A row for each (pair, pair whose positive is the negative), by position, shape (n, 2)."""
    texts = {
        name: pa.chunked_array(
            [
                batch[name].cast(pa.large_string())
                for batch in rows.select_columns([name]).with_format("arrow").iter(10_000)
            ]
        )
        for name in ("anchor", "positive")
    }
    pair, other = (pa.array(kept[:, side]) for side in (0, 1))
    table = {
        "anchor": texts["anchor"].take(pair),
        "positive": texts["positive"].take(pair),
        "negative": texts["positive"].take(other),
        "row": pa.array(np.asarray(rows["row"], dtype=np.int64)[kept[:, 0]]),
    }
    return Dataset.from_dict(table)
