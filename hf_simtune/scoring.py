"""Score models on graded pairs, and compare them, without training anything."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_simtune import kept, models, scores_file, wordless
from hf_simtune.before_after import groups
from hf_simtune.claims import Claim, claim_of
from hf_simtune.data.load import Loaded, load
from hf_simtune.data.scores import check_scores
from hf_simtune.errors import RequestError
from hf_simtune.evaluation import compare as bootstrap
from hf_simtune.evaluation import sts
from hf_simtune.evaluation.compare import Comparison
from hf_simtune.evaluation.health import unclaimed
from hf_simtune.record import RunRecord, Score
from hf_simtune.run_folder import RunFolder

__all__ = ["Scored", "compare", "score"]

log = logging.getLogger("hf_simtune")


@dataclasses.dataclass(frozen=True)
class Scored:
    """One model on one set of rows."""

    model: str
    evaluation: str
    fingerprint: str  # of the rows
    score: Score
    similarity: str
    row: NDArray[np.int64]
    group: NDArray[np.int64]
    gold: NDArray[np.float64]
    similarities: NDArray[np.float64]
    prompt: str | None = None  # what stood before each sentence, "" where nothing; None: encoded earlier, in a run
    claim: Claim | None = None  # what the model's own record says of these rows


def score(
    model: str,
    data: str,
    *,
    revision: str | None = None,
    columns: tuple[str, ...] | None = None,
    score_range: tuple[float, float] | None = None,
    skip_bad_rows: bool = False,
    prompt: str | None = None,
    allow_pickle: bool = False,
    progress: bool = False,
) -> Scored:
    """Spearman correlation of a model's similarities with the scores of some rows.

    Args:
        model: Hub id, folder, or builtin:all-MiniLM-L6-v2.
        data: scored rows: Hub id (``sentence-transformers/stsb:test``), file, or ``builtin:sports/scored:test``.
        revision: commit, tag or branch of the model.
        columns: the two sentences and the score, where their names do not tell.
        score_range: scale of the scores, lowest and highest.
        skip_bad_rows: drop and count rows that cannot be used.
        prompt: stands before each sentence; None keeps the model's own default prompt, ``""`` takes it away.
        allow_pickle: load models whose weights are pickled, with no safetensors beside them, as weights alone.
        progress: show a bar while encoding.

    Raises:
        RequestError, DataError, HubError: with what was wrong where.
    """
    rows = load(data, columns=columns, score_range=score_range, skip_bad_rows=skip_bad_rows, expect=("scored",))
    check_scores([rows])
    scored, weights = _scored(
        model, rows, revision=revision, prompt=prompt, progress=progress, allow_pickle=allow_pickle
    )
    if prompt is not None:
        return scored
    return dataclasses.replace(scored, claim=claim_of(model, revision, weights, scored.fingerprint, scored.score))


def _scored(
    model: str,
    loaded: Loaded,
    *,
    revision: str | None = None,
    prompt: str | None,
    progress: bool,
    allow_pickle: bool = False,
) -> tuple[Scored, str]:
    """A model on rows that are loaded, and the hash of its weights."""
    encoder, facts = models.load(model, revision, prompt=prompt, allow_pickle=allow_pickle)
    rows = loaded.dataset
    wordless.check(encoder, facts.name, [(loaded.source.title, rows)])
    gold = np.asarray(rows["score"], dtype=np.float64)
    encoded = sts.encode(encoder, rows, progress=progress)
    found = encoded.similarities()
    scored = Scored(
        model=facts.name,
        evaluation=loaded.source.title,
        fingerprint=loaded.source.fingerprint,
        score=sts.score(gold, found, encoded.activity),
        similarity=facts.similarity,
        row=np.asarray(rows["row"], dtype=np.int64),
        group=groups(rows),
        gold=gold,
        similarities=found,
        prompt=facts.prompt,
    )
    return scored, facts.weights_sha256


def from_file(path: Path) -> tuple[Scored, Scored]:
    """Base and tuned model on a run's report rows, from its scores.parquet: nothing is encoded again."""
    parts = scores_file.read(path)
    part = next((part for part in parts if part.role == "report"), None)
    if part is None:
        raise RequestError(f"{path} holds no rows with the role 'report'")
    run = path.resolve().parent.name
    base, tuned = (
        Scored(
            model=f"{run} ({which})",
            evaluation=part.evaluation,
            fingerprint=part.fingerprint,
            score=sts.score(part.gold, values),
            similarity="as recorded",
            row=part.row,
            group=part.group,
            gold=part.gold,
            similarities=values,
        )
        for which, values in (("base", part.base), ("tuned", part.tuned))
    )
    return base, tuned


def compare(
    candidates: Sequence[str],
    data: str | None = None,
    *,
    columns: tuple[str, ...] | None = None,
    score_range: tuple[float, float] | None = None,
    skip_bad_rows: bool = False,
    prompt: str | None = None,
    allow_pickle: bool = False,
    seed: int | None = None,
    progress: bool = False,
) -> tuple[Scored, list[tuple[Scored, Comparison]]]:
    """The first candidate against each other one, on the same rows, by a paired bootstrap.

    A candidate is a model, a run folder or a ``scores.parquet``. One file or run folder alone is its base against its
    tuned model. Models need ``data``; files hold their own.

    Args:
        candidates: two or more, or one file or run folder.
        data, columns, score_range, skip_bad_rows: the scored rows, as for :func:`score`.
        prompt: stands before each sentence, of every model among the candidates; None keeps each model's own default
            prompt, ``""`` takes it away. Files and run folders were encoded earlier and keep theirs.
        allow_pickle: load models whose weights are pickled, with no safetensors beside them, as weights alone.
        seed: of the bootstrap; None takes that of a run folder which is alone, so that its interval is its own, else 0.
        progress: show a bar while encoding.

    Raises:
        RequestError: nothing to compare, candidates scored on different rows, a run that is not finished, or one alone
            of which nothing is claimed.
    """
    files = {name: path for name in candidates if (path := _scores_path(name))}
    if files and len(files) == len(set(candidates)):
        problems = []
        if data is not None and len(candidates) > 1:
            problems.append(f"--data {data} has no use: run folders and scores files hold their own rows")
        if prompt is not None:
            problems.append(
                f"--prompt {prompt!r} has no use: run folders and scores files hold similarities; nothing is encoded"
            )
        if problems:
            raise RequestError(
                problems, hint="To score models on other rows or with a prompt, name the models: RUN/model"
            )
    if len(candidates) == 1 and files:
        (path,) = files.values()
        record = _record_beside(path)
        _check_claims(record, path.parent)
        if seed is None and record and record.report.comparison:
            seed = record.report.comparison.seed
        scored = list(from_file(path))
    else:
        if len(candidates) < 2:
            raise RequestError(
                f"{len(candidates)} model to compare: name two or more, or one run folder",
                hint="As in: hf-simtune compare MODEL_A MODEL_B --data sentence-transformers/stsb:test",
            )
        if len(files) < len(set(candidates)) and data is None:
            raise RequestError(
                "models are compared on rows: name them", hint="As in: --data sentence-transformers/stsb:test"
            )
        options: dict[str, Any] = {"columns": columns, "score_range": score_range, "skip_bad_rows": skip_bad_rows}
        rows = load(data, **options, expect=("scored",)) if data is not None else None
        if rows is not None:
            check_scores([rows])
        scored = []
        for name in candidates:
            if name in files:
                scored.append(from_file(files[name])[1])
            elif rows is not None:
                scored.append(_scored(name, rows, prompt=prompt, progress=progress, allow_pickle=allow_pickle)[0])
    first = scored[0]
    for other in scored[1:]:
        told = {first.similarity, other.similarity} - {"as recorded"}
        if len(told) > 1:
            log.warning(
                "%s compares by %s, %s by %s: each is scored as it was saved",
                first.model,
                first.similarity,
                other.model,
                other.similarity,
            )
        same = first.fingerprint == other.fingerprint and np.array_equal(first.row, other.row)
        if not (same and np.array_equal(first.gold, other.gold)):
            raise RequestError(
                f"{first.model} was scored on {len(first.row)} rows of {first.evaluation}, {other.model} on "
                f"{len(other.row)} rows of {other.evaluation}: not the same rows with the same scores",
                hint="Score both on the same data: hf-simtune compare A/model B/model --data DATA",
            )
    return first, [
        (other, bootstrap.compare(first.gold, first.similarities, other.similarities, first.group, seed=seed or 0))
        for other in scored[1:]
    ]


def _record_beside(path: Path) -> RunRecord | None:
    """The record of the run that some scores are of; None where it does not lie beside them."""
    record = path.with_name("record.json")
    return RunRecord.load(record) if record.is_file() else None


def _check_claims(record: RunRecord | None, run: Path) -> None:
    """Refuse to tell what a run itself does not: whether its model is better than a base that nobody trained, say.

    Raises:
        RequestError: with why nothing is claimed of the run.
    """
    why = None
    if record and (unfit := unclaimed(record)):
        why = unfit
    elif record and record.base.untrained:
        why = f"{record.base.untrained} of its base was never trained, so that its score is no baseline"
    if why:
        raise RequestError(
            f"nothing is claimed of the run in {run}: {why}",
            hint="To compare models as they are, name them: hf-simtune compare BASE RUN/model --data DATA",
        )


def _scores_path(name: str) -> Path | None:
    """Where a candidate's similarities lie: a file, or those of a finished run; None for a model.

    Raises:
        RequestError: the folder of a run that is not finished.
    """
    path = Path(name)
    if path.suffix == ".parquet":
        return path
    folder = RunFolder(path)
    if folder.plan.is_file() or (path / kept.NAME).is_file():  # that a run or a script began there
        return RunFolder.finished(path).scores
    return folder.scores if folder.scores.is_file() else None
