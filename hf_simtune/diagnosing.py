"""Look at how models spread the same sentences: similarities of all pairs, side by side, without training anything."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Literal

import httpx2
import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import SparseEncoder

from hf_simtune import model_names, sparse_models, wording, wordless
from hf_simtune import models as loader
from hf_simtune.before_after import POSITIVE
from hf_simtune.data.load import Loaded, load
from hf_simtune.data.shapes import CANONICAL
from hf_simtune.errors import DataError, RequestError, RunError, SimtuneError, joined
from hf_simtune.evaluation import geometry
from hf_simtune.evaluation.geometry import Geometry, UndefinedGeometry
from hf_simtune.evaluation.sts import Model
from hf_simtune.hub import answers, unreachable
from hf_simtune.hub_names import local
from hf_simtune.model_errors import explained
from hf_simtune.recipe import BUILTIN_MINILM, BUILTIN_SPLADE
from hf_simtune.tellable import tellable_cause

__all__ = ["Diagnosis", "diagnose"]

MOST_ROWS = 20_000  # where the caller does not say
MOST_SPARSE = 5_000  # distinct sentences under a sparse encoder, whose vectors are as wide as its vocabulary
EMBEDDING = ("", "SentenceTransformer", "SparseEncoder")  # what a model may have been saved as

log = logging.getLogger("hf_simtune")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """One model on the distinct sentences of some rows."""

    model: str
    revision: str | None  # of the model on the Hub
    weights_sha256: str
    prompt: str  # what encode put before each sentence; "" where nothing
    prompt_given: bool = False  # by the caller; otherwise it is the model's own default
    data: str  # Source.title
    fingerprint: str  # of the rows
    rows: int  # that were read
    rows_in_data: int
    geometry: Geometry  # of the distinct sentences' vectors
    alignment: float | None  # mean squared distance of the positive pairs, 0..4; None where the data have none
    positives: int  # how many pairs that is
    sparse_limit: int | None = None  # distinct sentences; rows were left out as a sparse encoder takes no more


def diagnose(
    models: Sequence[str],
    data: str,
    *,
    columns: tuple[str, ...] | None = None,
    shape: str | None = None,
    score_range: tuple[float, float] | None = None,
    skip_bad_rows: bool = False,
    max_rows: int | Literal["auto"] | None = "auto",
    prompt: str | None = None,
    allow_pickle: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> tuple[Diagnosis, ...]:
    """How each model spreads the distinct sentences of the data: the same sentences for every model.

    Each sentence is encoded once, in fp32, through the model's own settings: its default prompt where none is given,
    its maximum length and its truncated dimensions. Positive pairs are the rows of pairs, the anchor and positive of
    triplets, and scored rows above 0.8 on 0..1; plain sentences have none, and then no alignment.

    Args:
        models: one or more, each a Hub id, a folder, builtin:all-MiniLM-L6-v2 or builtin:splade-MiniLM-L6.
        data: rows of any shape: Hub id, file, or ``builtin:sports/sentences:test``.
        columns: the columns with the texts, where their names do not tell.
        shape: "pairs", "scored", "triplets" or "sentences", where the columns do not tell.
        score_range: scale of the scores of scored rows, lowest and highest.
        skip_bad_rows: drop and count rows that cannot be used.
        max_rows: at most so many rows, drawn with ``seed``; None for all. "auto" is 20,000, and where a sparse encoder
            is among the models as many of them as have 5,000 distinct sentences, for every model: it takes no more.
        prompt: stands before each sentence, of every model; None keeps each model's own default prompt, ``""`` takes it
            away.
        allow_pickle: load models whose weights are pickled, with no safetensors beside them, as weights alone.
        seed: of the rows that are drawn, and of the pairs where there are too many to look at each.
        progress: show a bar while encoding.

    Raises:
        RequestError, DataError, HubError: with what was wrong where, before a model is loaded where that can be told.
        RunError: a model gave vectors without a direction.
    """
    problems = _problems(models, max_rows)
    if problems:
        raise RequestError(problems, hint="As in: hf-simtune diagnose MODEL_A MODEL_B --data sentences.txt")
    sparse = _sparse_among(models)

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
    most = MOST_ROWS if max_rows == "auto" else max_rows
    if most is not None and there > most:
        loaded = rows_of_data(most)
    texts = [column for column in CANONICAL[loaded.source.shape] if column != "score"]
    limited = bool(sparse) and _rows_that_fit(loaded.dataset, texts) < loaded.source.rows
    if limited:
        if max_rows != "auto":
            raise _too_many(sparse, loaded.dataset, texts)
        drawn = loaded if loaded.source.rows < there else rows_of_data(there - 1)  # all rows are in order, fewer drawn
        loaded = rows_of_data(_rows_that_fit(drawn.dataset, texts))
        log.warning(
            "%s: a sparse encoder takes %s sentences, its vectors being as wide as its vocabulary; %s of %s rows are "
            "drawn, the same for every model",
            ", ".join(sparse),
            f"{MOST_SPARSE:,}",
            f"{loaded.source.rows:,}",
            f"{there:,}",
        )
    rows, source = loaded.dataset, loaded.source
    sentences = dict.fromkeys(text for column in texts for text in list(rows[column]))
    distinct = {sentence: index for index, sentence in enumerate(sentences)}
    if len(distinct) < 2:
        raise DataError(f"{source.title} has {len(distinct)} distinct sentence: a pair takes two")
    left, right = _positives(rows, source.shape, distinct)
    found: list[Diagnosis] = []
    for name in models:
        model, facts = loader.load(name, prompt=prompt, allow_pickle=allow_pickle)
        wordless.check(model, facts.name, [(source.title, rows)])
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
            prompt=facts.prompt,
            prompt_given=prompt is not None,
            data=source.title,
            fingerprint=source.fingerprint,
            rows=source.rows,
            rows_in_data=there,
            geometry=figures,
            alignment=near,
            positives=len(left),
            sparse_limit=MOST_SPARSE if limited else None,
        )
        found.append(diagnosis)
        del model  # before the next one is loaded
    return tuple(found)


def _problems(models: Sequence[str], max_rows: int | Literal["auto"] | None) -> list[str]:
    """What can be seen to be wrong before anything is loaded: the second model is loaded after the first has worked."""
    problems = model_names.problems(models, "the model") if models else ["no model is named: name one or more"]
    if max_rows != "auto" and max_rows is not None and max_rows < 2:
        problems.append(f"--max-rows is {max_rows}: it must be 2 or more")
    return problems


def _sparse_among(models: Sequence[str]) -> list[str]:
    """The names of the sparse encoders, as their folders or the Hub say in small files: no weights are fetched.

    Raises:
        RequestError, HubError: models that are not to be had or give no embedding, all at once.
    """
    sparse: list[str] = []
    wrong: list[SimtuneError] = []
    for name in models:
        try:
            if _is_sparse(name):
                sparse.append(name)
        except SimtuneError as error:
            wrong.append(error)
    if wrong:
        raise joined(wrong)
    return sparse


def _is_sparse(name: str) -> bool:
    """Whether a model is a sparse encoder.

    Raises:
        RequestError, HubError: it is not to be had, or gives no embedding.
    """
    here = loader.base_folder(BUILTIN_MINILM if name == BUILTIN_SPLADE else name)  # the stand-in is made of it
    if name == BUILTIN_SPLADE:
        return True
    on_hub = not name.startswith("builtin:") and not local(name).is_dir()
    online = on_hub and answers(name, "model")
    if here is None and not online:
        raise unreachable(f"the model {name!r}")
    place = name if on_hub or here is None else here
    try:
        saved_as = sparse_models.model_type(place, None, online=online)
    except (OSError, httpx2.HTTPError, ValueError) as error:
        raise explained(error, place, "", online) from tellable_cause(error)
    if saved_as not in EMBEDDING:
        raise RequestError(f"{name} is a {saved_as}: it gives no embedding of a sentence, dense or sparse")
    return saved_as == "SparseEncoder"


def _rows_that_fit(rows: Dataset, texts: Sequence[str]) -> int:
    """How many of the first rows have together no more distinct sentences than a sparse encoder takes."""
    seen: set[str] = set()
    for number, row in enumerate(zip(*(list(rows[column]) for column in texts), strict=True)):
        seen.update(row)
        if len(seen) > MOST_SPARSE:
            return number
    return len(rows)


def _too_many(sparse: Sequence[str], rows: Dataset, texts: Sequence[str]) -> RequestError:
    """The refusal of rows that the caller wanted, before any model has worked."""
    count = len({text for column in texts for text in list(rows[column])})
    named = wording.count(len(sparse), "sparse encoder")
    return RequestError(
        f"{count:,} sentences are too many for {named} ({', '.join(sparse)}), as wide as the vocabulary: at most "
        f"{MOST_SPARSE:,}",
        hint=f"Leave --max-rows out, and as many rows are drawn for every model as have {MOST_SPARSE:,} sentences; or "
        f"give fewer, as in: --max-rows {MOST_SPARSE // len(texts)}",
    )


def _label(name: str, taken: Sequence[str]) -> str:
    """The model's name; with a number behind it where another folder has the same last name."""
    numbers = (f"{name} ({number})" for number in range(2, len(taken) + 2))
    return name if name not in taken else next(label for label in numbers if label not in taken)


def _encode(model: Model, sentences: list[str], progress: bool) -> NDArray[np.float32]:
    """Shape (sentences, dimensions); of a sparse encoder the dimensions that some sentence has."""
    if isinstance(model, SparseEncoder):
        found = model.encode(sentences, batch_size=64, show_progress_bar=progress, save_to_cpu=True)
        wide: NDArray[np.float32] = torch.as_tensor(found).to_dense().float().numpy()
        return wide[:, wide.any(axis=0)]
    vectors: NDArray[np.float32] = (
        model.encode(sentences, batch_size=64, convert_to_tensor=True, show_progress_bar=progress).float().cpu().numpy()
    )
    return vectors


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
