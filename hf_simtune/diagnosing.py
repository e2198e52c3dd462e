"""Look at how models spread the same sentences: similarities of all pairs, side by side, without training anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import SparseEncoder

from hf_simtune import model_names
from hf_simtune import models as loader
from hf_simtune.before_after import POSITIVE
from hf_simtune.data.load import Loaded, load
from hf_simtune.data.shapes import CANONICAL
from hf_simtune.errors import DataError, RequestError, RunError
from hf_simtune.evaluation import geometry
from hf_simtune.evaluation.geometry import Geometry, UndefinedGeometry
from hf_simtune.evaluation.sts import Model

__all__ = ["Diagnosis", "diagnose"]

MOST_SPARSE = 5_000  # sentences under a sparse encoder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """One model on the distinct sentences of some rows."""

    model: str
    revision: str | None  # of the model on the Hub
    weights_sha256: str
    prompt: str  # what encode put before each sentence by the model's own settings; "" where nothing
    data: str  # Source.title
    fingerprint: str  # of the rows
    rows: int  # that were read
    rows_in_data: int
    geometry: Geometry  # of the distinct sentences' vectors
    alignment: float | None  # mean squared distance of the positive pairs, 0..4; None where the data have none
    positives: int  # how many pairs that is


def diagnose(
    models: Sequence[str],
    data: str,
    *,
    columns: tuple[str, ...] | None = None,
    shape: str | None = None,
    score_range: tuple[float, float] | None = None,
    skip_bad_rows: bool = False,
    max_rows: int | None = 20_000,
    seed: int = 0,
    progress: bool = False,
) -> tuple[Diagnosis, ...]:
    """How each model spreads the distinct sentences of the data: the same sentences for every model.

    Each sentence is encoded once, in fp32, through the model's own settings: its default prompt, its maximum length
    and its truncated dimensions. Positive pairs are the rows of pairs, the anchor and positive of triplets, and scored
    rows above 0.8 on 0..1; plain sentences have none, and then no alignment.

    Args:
        models: one or more, each a Hub id, a folder, builtin:all-MiniLM-L6-v2 or builtin:splade-MiniLM-L6.
        data: rows of any shape: Hub id, file, or ``builtin:sports/sentences:test``.
        columns: the columns with the texts, where their names do not tell.
        shape: "pairs", "scored", "triplets" or "sentences", where the columns do not tell.
        score_range: scale of the scores of scored rows, lowest and highest.
        skip_bad_rows: drop and count rows that cannot be used.
        max_rows: at most so many rows, drawn with ``seed``; None for all.
        seed: of the rows that are drawn, and of the pairs where there are too many to look at each.
        progress: show a bar while encoding.

    Raises:
        RequestError, DataError, HubError: with what was wrong where, before a model is loaded where that can be told.
        RunError: a model gave vectors without a direction.
    """
    problems = _problems(models, max_rows)
    if problems:
        raise RequestError(problems, hint="As in: hf-simtune diagnose MODEL_A MODEL_B --data sentences.txt")

    def rows_of_data(rows: int | None) -> Loaded:
        return load(
            data,
            columns=columns,
            shape=shape,
            score_range=score_range,
            skip_bad_rows=skip_bad_rows,
            rows=rows,
            seed=seed,
        )

    loaded = rows_of_data(None)
    there = loaded.source.rows
    if max_rows is not None and there > max_rows:
        loaded = rows_of_data(max_rows)
    rows, source = loaded.dataset, loaded.source
    texts = [column for column in CANONICAL[source.shape] if column != "score"]
    sentences = dict.fromkeys(text for column in texts for text in list(rows[column]))
    distinct = {sentence: index for index, sentence in enumerate(sentences)}
    if len(distinct) < 2:
        raise DataError(f"{source.title} has {len(distinct)} distinct sentence: a pair takes two")
    left, right = _positives(rows, source.shape, distinct)
    found: list[Diagnosis] = []
    for name in models:
        model, facts = loader.load(name)
        vectors = _encode(model, list(distinct), progress)
        try:
            figures = geometry.measure(vectors, seed=seed)
            near = geometry.alignment(vectors[left], vectors[right]) if len(left) else None
        except UndefinedGeometry as error:
            raise RunError(
                f"{facts.name} on {source.title}: {error}", hint="They are counted from 0 among the distinct sentences"
            ) from error
        diagnosis = Diagnosis(
            model=_label(facts.name, [other.model for other in found]),
            revision=facts.revision,
            weights_sha256=facts.weights_sha256,
            prompt=_prompt(model),
            data=source.title,
            fingerprint=source.fingerprint,
            rows=source.rows,
            rows_in_data=there,
            geometry=figures,
            alignment=near,
            positives=len(left),
        )
        found.append(diagnosis)
        del model  # before the next one is loaded
    return tuple(found)


def _problems(models: Sequence[str], max_rows: int | None) -> list[str]:
    """What can be seen to be wrong before anything is loaded: the second model is loaded after the first has worked."""
    problems = model_names.problems(models, "the model") if models else ["no model is named: name one or more"]
    if max_rows is not None and max_rows < 2:
        problems.append(f"--max-rows is {max_rows}: it must be 2 or more")
    return problems


def _label(name: str, taken: Sequence[str]) -> str:
    """The model's name; with a number behind it where another folder has the same last name."""
    numbers = (f"{name} ({number})" for number in range(2, len(taken) + 2))
    return name if name not in taken else next(label for label in numbers if label not in taken)


def _encode(model: Model, sentences: list[str], progress: bool) -> NDArray[np.float32]:
    """Shape (sentences, dimensions); of a sparse encoder the dimensions that some sentence has."""
    if isinstance(model, SparseEncoder):
        if len(sentences) > MOST_SPARSE:
            raise RequestError(
                f"{len(sentences):,} sentences are too many for a sparse encoder, as wide as its vocabulary; it takes "
                f"{MOST_SPARSE:,}",
                hint=f"As in: --max-rows {MOST_SPARSE // 2}",
            )
        found = model.encode(sentences, batch_size=64, show_progress_bar=progress, save_to_cpu=True)
        wide: NDArray[np.float32] = torch.as_tensor(found).to_dense().float().numpy()
        return wide[:, wide.any(axis=0)]
    vectors: NDArray[np.float32] = (
        model.encode(sentences, batch_size=64, convert_to_tensor=True, show_progress_bar=progress).float().cpu().numpy()
    )
    return vectors


def _prompt(model: Model) -> str:
    """The prompt that ``encode`` takes when it is given none."""
    name = model.default_prompt_name
    return "" if name is None else (model.prompts or {}).get(name) or ""


def _positives(rows: Dataset, shape: str, distinct: dict[str, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The sentences' places in ``distinct`` of the two sides of each positive pair."""
    if shape == "sentences":
        return np.empty(0, np.int64), np.empty(0, np.int64)
    first, second = CANONICAL[shape][:2]
    sides = [np.asarray([distinct[text] for text in list(rows[column])], dtype=np.int64) for column in (first, second)]
    if shape == "scored":
        positive = np.asarray(rows["score"], dtype=np.float64) > POSITIVE
        sides = [side[positive] for side in sides]
    return sides[0], sides[1]
