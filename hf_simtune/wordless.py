"""Texts of which a model's tokenizer leaves nothing, told before anything is encoded."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from datasets import Dataset

from hf_simtune.errors import DataError
from hf_simtune.evaluation.sts import Model

__all__ = ["check"]

BATCH = 1_000
EXAMPLES = 3
SHOWN = 60  # characters of a text in a message
log = logging.getLogger("hf_simtune")


def check(model: Model, name: str, rows: Sequence[tuple[str, Dataset]]) -> None:
    """Refuse rows with a text that the model has no token for; a static model gives such a text a vector of zeros.

    Most tokenizers put a token around every text, and then there is nothing to look for.

    Args:
        model: that is to encode them.
        name: what to call it.
        rows: checked rows, each set with its title.

    Raises:
        DataError: an encoder can do nothing with a text without a token; with row, column and text.
    """
    tokenizer: Any = model.tokenizer
    prompt = model.prompts.get(model.default_prompt_name or "") or ""
    if not callable(getattr(tokenizer, "encode_batch", tokenizer)) or _counts(tokenizer, [prompt])[0]:
        return
    for title, part in rows:
        found = list(_found(tokenizer, part))
        if not found:
            continue
        places = "; ".join(f"row {row}, column {column!r}: {text[:SHOWN]!r}" for row, column, text in found[:EXAMPLES])
        told = f"{title}: the tokenizer of {name} leaves nothing of {len(found):,} texts ({places})"
        if model.transformers_model is not None:
            raise DataError(told, hint="Take these rows out, or name a model that has tokens for them")
        log.warning("%s: their vectors are zero, and so are their similarities", told)


def _found(tokenizer: Any, rows: Dataset) -> Iterator[tuple[int, str, str]]:
    columns = [name for name in rows.column_names if name not in ("row", "group", "subset", "score")]
    for batch in rows.iter(BATCH):
        for column in columns:
            for number, count in enumerate(_counts(tokenizer, list(batch[column]))):
                if not count:
                    yield batch["row"][number], column, batch[column][number]


def _counts(tokenizer: Any, texts: list[str]) -> list[int]:
    """How many tokens each text has."""
    if hasattr(tokenizer, "encode_batch"):  # a static model's, which takes a text without tokens around it
        return [len(one.ids) for one in tokenizer.encode_batch(texts, add_special_tokens=False)]
    return [len(ids) for ids in tokenizer(texts)["input_ids"]]
