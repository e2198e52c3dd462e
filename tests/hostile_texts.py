"""Texts that no tokenizer was made for, through scoring and tuning, and what holds: no NaN in a record, no row lost.

`cases` is a hypothesis strategy, `check` looks at one case with models that are made once.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import math
import re
import tempfile
from pathlib import Path
from typing import Any

from hostile_files import control
from hypothesis import strategies as st
from tiny import tiny_model, tiny_splade, tiny_static

from hf_simtune import Recipe, diagnose, score, scores_file, tune
from hf_simtune.errors import SimtuneError
from hf_simtune.plain import not_finite

__all__ = ["TEXTS", "Case", "bare_model", "cases", "check", "check_written"]

TEXTS = (
    "a",
    ".",
    "\u200b\u200b",  # seen by nobody, and taken out by tokenizers
    "\u00ad\u00ad\u00ad",
    "\ufeff",
    "\u2060",
    "\ufffd",
    "\x01\x02\x03",
    "\x1b[2J\x1b]0;title\x07",
    "\x7f",
    "\U0001f600" * 40,
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u202eright to left\u202c",
    "\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064a\u0643\u0645",
    "\u05e9\u05dc\u05d5\u05dd",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "e\u0301" * 50,
    "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324" * 20,
    "\ud7a3\u1100\u1161",
    "\U000e0041\U000e0042",
    "\ufffe",
    "[PAD] [PAD]",
    "[CLS][SEP][MASK][UNK]",
    "word " * 3_000,
    "w" * 20_000,
    "=SUM(A1:A9)",
    "---\nlicense: mit\n---\n# hello",
    "<script>window.__ran = 1</script>",
    "{{ 7 * 7 }}{% for x in y %}",
    "nan",
    "None",
)
# The file, and in it rows; or what is wrong with its rows together; or, of static models' texts without a vector, their
# numbers among the distinct ones.
_PLACE = re.compile(
    r"\b(texts|select|report)\.csv( has 1 row: | has 1 distinct sentence: |: all [\d,]+ rows have the score "
    r"|: \d+ of \d+ vectors are zero throughout, and have no direction: \d|: .*\brow \d+, column ')",
    re.DOTALL,
)


@dataclasses.dataclass(frozen=True)
class Case:
    """What is done with which texts, by which kind of model."""

    does: str
    model: str
    rows: tuple[tuple[str, str, float], ...]


@functools.cache
def _models() -> dict[str, Path]:
    folder = Path(tempfile.mkdtemp(prefix="hostile-texts-"))
    return {
        "dense": tiny_model(folder / "dense"),
        "static": tiny_static(folder / "static"),
        "splade": tiny_splade(folder / "splade"),
        "bare": bare_model(folder / "bare"),
    }


def bare_model(folder: Path) -> Path:
    """A dense model whose tokenizer puts no token around a text, and knows none but the tiny words: many have none."""
    tiny_model(folder)
    path = next(folder.rglob("tokenizer.json"))
    told = json.loads(path.read_text(encoding="utf-8"))
    told["post_processor"] = None
    told["model"] = {"type": "WordLevel", "vocab": told["model"]["vocab"], "unk_token": "[UNK]"}
    told["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"Regex": "[^a-z]+"},
        "behavior": "Removed",
        "invert": False,
    }
    path.write_text(json.dumps(told), encoding="utf-8")
    for config in folder.rglob("tokenizer_config.json"):
        held = json.loads(config.read_text(encoding="utf-8"))
        config.write_text(json.dumps(held | {"tokenizer_class": "PreTrainedTokenizerFast"}), encoding="utf-8")
    return folder


def cases(*, tuned: int = 1, scored: int = 19) -> st.SearchStrategy[Case]:
    """A case of so many parts tuning to so many parts scoring and so many of looking."""
    text = st.one_of(
        st.sampled_from(TEXTS),
        st.sampled_from(TEXTS),
        st.text(min_size=1, max_size=30),
    ).filter(lambda one: one.strip() != "" and "\0" not in one)
    grades = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, 0.5]))
    short = st.lists(st.tuples(text, text, grades), min_size=1, max_size=8).map(tuple)
    long = st.lists(st.tuples(text, text, grades), min_size=24, max_size=32, unique_by=lambda row: row[:2]).map(tuple)
    kinds = st.sampled_from(["dense", "static", "splade", "bare"])
    looks = st.builds(Case, st.sampled_from(["score", "score", "diagnose"]), kinds, short)
    tunes = st.builds(Case, st.just("tune"), kinds, long)
    return st.integers(0, tuned + scored - 1).flatmap(lambda number: tunes if number < tuned else looks)


def huge() -> list[Case]:
    """Texts of a megabyte."""
    letters, words = "w" * 1_000_000, "a cat saw " * 100_000
    rows = tuple((letters[:-n] if n else letters, words + str(n), n / 40) for n in range(2))
    plain = tuple((f"the {n} cat", f"a {n} dog sat", n / 40) for n in range(40))
    return [
        Case("score", "dense", rows),
        Case("score", "static", rows),
        Case("diagnose", "splade", rows),
        Case("tune", "dense", rows + plain),
    ]


def check(case: Case, folder: Path) -> str:
    """Score, diagnose or tune. "result" or the name of the error; AssertionError where a promise is broken."""
    model = str(_models()[case.model])
    data = folder / "texts.csv"
    with data.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("sentence1", "sentence2", "score"), *case.rows])
    refused: SimtuneError | None = None
    try:
        {"score": _score, "diagnose": _diagnose, "tune": _tune}[case.does](case, model, data, folder)
    except SimtuneError as error:
        refused = error
    if refused is None:
        return "result"
    told = str(refused)
    assert told.strip() and not control(told), repr(told)
    for problem in refused.problems:
        assert _PLACE.search(problem), f"no place in it: {problem}"
    return type(refused).__name__


def _score(case: Case, model: str, data: Path, folder: Path) -> None:
    scored = score(model, str(data))
    assert scored.score.n == len(case.rows) == len(scored.similarities), "a row was lost"
    value = scored.score.spearman
    assert (value is None) == bool(scored.score.undefined), "an undefined score without its reason, or with a value"
    assert value is None or math.isfinite(value)
    assert not not_finite(dataclasses.asdict(scored.score))


def _diagnose(case: Case, model: str, data: Path, folder: Path) -> None:
    for found in diagnose([model], str(data)):
        told: Any = dataclasses.asdict(found)
        figures = {name: value for name, value in told.items() if isinstance(value, int | float | dict | list | tuple)}
        assert not not_finite(figures), not_finite(figures)


def _tune(case: Case, model: str, data: Path, folder: Path) -> None:
    for part in ("select", "report"):  # other rows than those that are trained on, as many as score at all
        with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
            rows = [(f"{part} {number} {one}", other, grade) for number, (one, other, grade) in enumerate(case.rows)]
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("sentence1", "sentence2", "score"), *rows])
    recipe = Recipe(
        name="texts",
        model=model,
        train_data=str(data),
        select_on=str(folder / "select.csv"),
        report_on=str(folder / "report.csv"),
        batch_size=8,
        evaluations=1,
        precision="fp32",
        on_collapse="ignore",
    )
    run = tune(recipe, out=folder / "runs", publish_examples=True)
    check_written(run.folder)
    used = run.record.training.rows + sum(fact.rows_dropped for fact in run.record.leakage)
    assert used >= len(case.rows), f"{len(case.rows)} rows in, {used} told of"
    for part in scores_file.read(run.folder / "scores.parquet"):
        assert len(part.row) == len(case.rows), "a row was lost"


def check_written(folder: Path) -> None:
    """See that a run's record is JSON without a number that is none."""
    written = json.loads((folder / "record.json").read_text(encoding="utf-8"), parse_constant=_no_number)
    assert not not_finite(written), not_finite(written)


def _no_number(name: str) -> float:
    raise AssertionError(f"{name} in a record")
