"""Recipes with wrong types and absurd values: each is in order and can be tuned, or what is wrong with it is named.

`cases` is a hypothesis strategy, `check` looks at one case. A recipe without problems is shown; a share of them, which
the strategy draws, is then really tuned, with a tiny model on few rows, and told to stop where that takes too long.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import itertools
import json
import logging
import math
import os
import random
import re
import signal
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import hostile_files
import hostile_texts
from hostile_files import control
from hypothesis import strategies as st
from tiny import tiny_model, tiny_splade, tiny_static

from hf_simtune import cli, flags, run_commands
from hf_simtune.arguments import parser
from hf_simtune.catalogue import load
from hf_simtune.errors import SimtuneError
from hf_simtune.lora import LoRA
from hf_simtune.recipe import FORWARDS, LOSS_SHAPES, ON_COLLAPSE, PRECISIONS, SCHEDULERS, SHAPES, SPARSE, Recipe, fields
from hf_simtune.stopping import Stopped
from hf_simtune.tuning import tune

__all__ = ["Case", "Mute", "cases", "check", "deep"]

FIELDS = [field.name for field in dataclasses.fields(Recipe)]
SCORED = ("sentence1", "sentence2", "score")
FILES: dict[str, tuple[str, ...]] = {  # by their columns; text files of one sentence a line have none
    "pairs": ("anchor", "positive"),
    "scored": SCORED,
    "triplets": ("anchor", "positive", "negative"),
    "sentences": (),
    "select": SCORED,
    "report": SCORED,
}
ROWS = 24  # of each file
PATIENCE = 8.0  # seconds in which a recipe may be tuned before it is told to stop
GRACE = 60.0  # seconds in which it has to have stopped then
SMALL: dict[str, Any] = {"batch_size": 8, "evaluations": 1, "precision": "fp32", "on_collapse": "ignore"}
# Told when model and data are loaded, which are named, and not the flag: what a model does not take, and what the
# Hub was asked for, which may be STSb where nobody named rows to measure on.
_BY_NAME = re.compile(
    r"the model \S+ does not load: |the maximum length of \d+ tokens is beyond the \d+ positions of \S"
    r"|could not reach the Hub at \S+ \(.+\) for the (data set|model) '"
)


@dataclasses.dataclass(frozen=True)
class Case:
    """What is given, and what is taken where it says nothing."""

    kind: str  # "values" of any type, values that are "fitting", "words" of a command line, or a "file"
    given: Any
    rows: str = "pairs"
    model: str = "dense"
    tuned: bool = False  # and not shown alone

    def __repr__(self) -> str:
        try:
            told = repr(self.given)
        except Exception as error:  # noqa: BLE001 - some of what is given has no words, or goes too deep for them
            told = f"{', '.join(self.given)} ({type(error).__name__})"
        return f"Case({self.kind!r}, {told}, rows={self.rows!r}, model={self.model!r}, tuned={self.tuned!r})"


class Odd:
    """Something whose words are no words."""

    def __repr__(self) -> str:
        return "<Odd \x1b[31m\n>"


class Mute:
    """Something that has no words."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


def deep() -> list[Any]:
    """A list in a list, deeper than Python shows."""
    made: list[Any] = []
    for _ in range(100_000):
        made = [made]
    return made


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 1, 2, 2**31, 2**63, 10**400, -(10**400), 10**5000]),
    st.floats(),
    st.sampled_from([0.5, 1.0, 1e308, 5e-324, float("nan"), float("inf")]),
    st.text(max_size=12),
    st.sampled_from(
        ["", " ", "none", "auto", "pairs", "mnrl", "cosent", "../x", "~", "~nobody/x", "a/b", "a/b/c", "/"]
    ),
    st.sampled_from(
        ["\0", "a\0b", "\x1b[2J", "\ud800", "x" * 100_000, "builtin:sports", "builtin:", ":", "@", "a:b@c"]
    ),
    st.sampled_from(
        ["=0.5", "mnrl=", "=", "cosent=x.csv", "x=nan", "x=1e999", "r=16", "--x", "-", "%s", "{0}", "a=b=c"]
    ),
    st.binary(max_size=5),
    st.tuples(),
    st.tuples(st.one_of(st.text(max_size=5), st.integers(), st.floats(), st.none())),
    st.tuples(st.floats(), st.floats()),
    st.tuples(st.integers(-3, 600), st.integers(-3, 600)),
    st.lists(st.text(max_size=3), max_size=3),
    st.lists(st.text(max_size=3), max_size=4).map(tuple),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.builds(
        LoRA,
        r=st.sampled_from([0, 1, -5, 10**30, None, "x", float("nan")]),
        alpha=st.sampled_from([0, 1, None, float("inf")]),
        dropout=st.sampled_from([0, 0.5, 1, None, "y", float("nan")]),
    ),
    st.builds(Odd),
    st.builds(Mute),
    st.builds(Mute).map(lambda one: (one,)),
    st.builds(deep),
    st.builds(deep).map(lambda one: (one,)),
    st.just(Recipe),
    st.just(len),
)
COUNTS = st.one_of(
    st.sampled_from([1, 2, 3, 8, 100, 1_000, 65_536, 10**6, 10**7, 10**10]),
    st.sampled_from([0, -1, 2**32 - 1, 2**32, 2**63, 10**12, 10**30, 10**299, 10**400]),
    st.integers(1, 50),
)
NUMBERS = st.one_of(
    st.sampled_from([0.5, 1.0, 2.0, 0.999999, 1e-3, 1e-6, 5e-324, 0.0, 100.0, 1e3, 1e5]),
    st.sampled_from([-1.0, 1e9, 1e308, math.inf, -math.inf, math.nan]),
    st.floats(0, 10),
)
SHARES = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 5e-324, 0.5, 0.999999, 1.0, -1.0, -0.5, math.nan]))
SCALES = st.sampled_from([(0, 1), (0.0, 5.0), (0, 1e308), (-1e308, 7e307), (0, 1e-290), (-1.0, 1.0), (5, 0)])
# Values of a field's own type, wild as numbers, so that many a recipe is in order.
FITTING: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("train_rows", "batch_size", "mini_batch", "max_length", "active_dims", "evaluations"), COUNTS),
    **dict.fromkeys(("patience", "seed", "soup", "mine_negatives"), COUNTS),
    **dict.fromkeys(("temperature", "epochs", "learning_rate", "weight_decay", "flops_weight"), NUMBERS),
    **dict.fromkeys(("negative_margin", "warmup", "keep_base"), SHARES),
    **dict.fromkeys(("merge", "gradient_checkpointing", "keep_leaks", "skip_bad_rows"), st.booleans()),
    **dict.fromkeys(("score_range", "eval_score_range"), SCALES),
    **{
        name: st.sampled_from(words)
        for name, words in {
            "loss": tuple(LOSS_SHAPES),
            "shape": SHAPES,
            "precision": PRECISIONS[:-1],  # fp16 has no CPU that trains in it
            "forward": FORWARDS,
            "scheduler": SCHEDULERS,
            "sparse": SPARSE,
            "on_collapse": ON_COLLAPSE,
        }.items()
    },
    "lora": st.builds(LoRA, r=COUNTS, alpha=COUNTS, dropout=SHARES),
    "matryoshka": st.lists(COUNTS, min_size=1, max_size=3).map(tuple),
    "prompt": st.text(max_size=12),
    "title": st.text(max_size=12),
    "name": st.text(max_size=12),
}
WORDS = st.one_of(
    st.sampled_from(
        ["nan", "inf", "-inf", "1e999", "1_0", "0x1", "-1", "0", "1", "2", "none", "", " ", "\u0663", "true"]
    ),
    st.sampled_from(["r=16", "r=", "r=nan", "alpha=x", "a/b", "a/b/c", "../..", "/", "~", "\x1b[2J", "-", "--", "--x"]),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=8).filter(lambda text: "\0" not in text),
)
SOURCES = st.one_of(
    st.sampled_from(
        [
            "",
            "RECIPE = 3",
            "def",
            "raise SystemExit(3)",
            "1 / 0",
            "raise ValueError('\\x1b[31m hf_' + 'A' * 30)",
            "def f(): return f()\nf()",
            "from hf_simtune import Recipe\nRECIPE = Recipe(epochs='many')",
            "from hf_simtune import Recipe\nRECIPE = Recipe(nonsense=1)",
            "import no_such_module_at_all",
            "from hf_simtune import Recipe\nclass R(Recipe):\n    pass\nRECIPE = R(train_data='a/b')",
            "\0",
            "x = '\ud800'",
        ]
    ).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=40),
    st.text(max_size=40).map(lambda text: b"# " + text.encode("utf-8", "surrogatepass")),
)


def cases(*, tuned: int = 1, shown: int = 3) -> st.SearchStrategy[Case]:
    """Values for some fields, the words of a command line, or a file that is called a recipe.

    Of what can be shown, so many parts are tuned to so many that are not.
    """
    values = st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=1, max_size=4)
    some = st.lists(st.sampled_from(list(FITTING)), min_size=1, max_size=3, unique=True)
    fitting = some.flatmap(lambda names: st.fixed_dictionaries({name: FITTING[name] for name in names}))
    named = st.sampled_from([name for name, *_ in fields()])
    words = st.lists(st.tuples(named, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=4)
    one_word = st.tuples(st.sampled_from(list(FITTING)), st.tuples(WORDS | COUNTS.map(_typed) | NUMBERS.map(str)))
    rest = {
        "rows": st.sampled_from(["pairs", "pairs", "scored", "triplets", "sentences"]),
        "model": st.sampled_from(["dense", "dense", "static", "splade"]),
        "tuned": st.integers(0, tuned + shown - 1).map(lambda number: number < tuned),
    }
    return st.one_of(
        st.builds(Case, st.just("values"), values, **rest),
        st.builds(Case, st.just("fitting"), fitting, **rest),
        st.builds(Case, st.just("words"), words | st.lists(one_word, min_size=1, max_size=2), **rest),
        st.builds(Case, st.just("file"), SOURCES),
    )


def _typed(number: int) -> str:
    return str(number) if abs(number) < 10**300 else "1" + "0" * 400


def check(case: Case, folder: Path) -> str:
    """Ask for the recipe, and run it where that was drawn. How it ended; AssertionError for a broken promise.

    "shown" and "tuned" (after that); "stopped" where it was told to, as it took too long; "usage: exit 2" for a command
    line; the name of the error, with "when tuned" behind it where it came only then; "loaded" and so on for a file.
    """
    kind = {"values": _values, "fitting": _values, "words": _words, "file": _file}[case.kind]
    log = logging.getLogger("hf_simtune")
    kept = log.handlers[:], log.propagate, log.level
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            return kind(case, folder)
    finally:  # what the command line leaves behind
        log.handlers, log.propagate = kept[0], kept[1]
        log.setLevel(kept[2])


def _values(case: Case, folder: Path) -> str:
    base = {**SMALL, "model": _models()[case.model], "train_data": str(_data(folder)[case.rows]), **_measured(folder)}
    recipe = Recipe(**{**base, **case.given})
    problems = recipe.check()
    assert all(isinstance(problem, str) and problem.strip() for problem in problems)
    if problems:  # from Python the same holds, before anything is loaded
        try:
            tune(recipe, offline=len(case.given) % 2 == 0, out=folder / "runs")
        except SimtuneError as error:
            _look(error, case.given, {})
        else:
            raise AssertionError("a recipe with problems was run")
    target = str(_data(folder)[case.rows])
    arguments = parser().parse_args(["tune", target, "--dry-run", "--out", str(folder / "runs")])
    arguments.problems = []
    try:
        run_commands.run_recipe(arguments, recipe, target)
    except SimtuneError as error:
        return _look(error, case.given, case.given)
    assert not problems, f"problems were found and the recipe was shown: {problems}"
    json.dumps(flags.without_paths(recipe), allow_nan=False, default=str)
    if not case.tuned:
        return "shown"
    try:
        with _limited():
            run = tune(recipe, out=folder / "runs")
    except Stopped as stopped:
        if control(str(stopped)):
            raise AssertionError(repr(stopped)) from stopped
        return "stopped"
    except SimtuneError as error:
        return f"{_look(error, case.given, case.given)} when tuned"
    hostile_texts.check_written(run.folder)
    return "tuned"


def _words(case: Case, folder: Path) -> str:
    given = dict(case.given)
    small = [word for name, value in SMALL.items() if name not in given for word in (flags.flag(name), str(value))]
    measured = [
        word for name, value in _measured(folder).items() if name not in given for word in (flags.flag(name), value)
    ]
    model = [] if "model" in given else ["--model", _models()[case.model]]
    drawn = [word for name, values in case.given for word in (flags.flag(name), *values)]
    words = ["tune", str(_data(folder)[case.rows]), "--out", str(folder / "runs"), *small, *measured, *model]
    status, said, refused = _typed_in([*words, "--dry-run", *drawn])  # last: behind "--" nothing is a flag
    assert status in (0, 2), f"exit status {status} of a dry run: {said}"
    if status:
        assert refused is not None and refused.exit_status == 2
        _look(refused, given, {word: word for word in drawn})
        assert "Traceback" not in said and not control(said), said
        assert said.startswith("error: ") and all(problem in said for problem in refused.problems), said
        return "usage: exit 2"
    if not case.tuned:
        return "shown"
    with _limited():
        status, said, refused = _typed_in([*words, *drawn])
    assert "Traceback" not in said, said
    if status == 143:
        assert "SIGTERM" in said or "to go on:" in said, said
        return "stopped"
    if refused is not None:
        assert status == refused.exit_status and "error: " in said, said
        return f"{_look(refused, given, {word: word for word in drawn})} when tuned"
    assert status in (0, 1), f"exit status {status}: {said}"  # 1: it diverged, which is said
    return "tuned"


def _typed_in(words: list[str]) -> tuple[int, str, SimtuneError | None]:
    """Status and standard error of a command line, and the error that it told, if any."""
    refused: list[SimtuneError] = []
    dispatch = cli._dispatch

    def noted(*given: Any) -> int:
        try:
            return dispatch(*given)
        except SimtuneError as error:
            refused.append(error)
            raise

    said = io.StringIO()
    with redirect_stderr(said), mock.patch.object(cli, "_dispatch", noted):
        try:
            cli.main(argv=words)
        except SystemExit as end:
            return int(end.code or 0), said.getvalue(), refused[0] if refused else None
    raise AssertionError("the command line has no end")


def _file(case: Case, folder: Path) -> str:
    path = folder / "from_elsewhere.py"
    path.write_bytes(case.given)
    try:
        load(path)
    except SimtuneError as error:
        message = str(error)
        assert message.strip() and not control(message), repr(message)
        for problem in error.problems:
            assert path.name in problem, f"no place in it: {problem}"
        return type(error).__name__
    return "loaded"


def _look(error: SimtuneError, given: Collection[str], values: Mapping[str, Any]) -> str:
    """Look at an error, whose every problem has to name what was given: a field by its flag, or a word as it was typed.

    Rows that cannot be used are named by their place in the file.
    """
    message = str(error)
    assert message.strip() and not control(message), repr(message)
    assert len(message) < 500_000
    for problem in error.problems:
        assert _placed(problem, given, values), f"no place in it: {problem}"
    return type(error).__name__


def _placed(problem: str, given: Collection[str], values: Mapping[str, Any]) -> bool:
    named = [re.escape(name if name == "stand_in_for" else flags.flag(name)) for name in given]
    if re.search(rf"(?<![\w-])({'|'.join(named)})(?![\w-])", problem):
        return True
    if any(repr(word) in problem for word in values if word not in given) or _BY_NAME.match(problem):
        return True
    return any(
        hostile_files.placed(problem, f"{name}.{'csv' if columns else 'txt'}") for name, columns in FILES.items()
    )


@contextmanager
def _limited() -> Iterator[None]:
    """Send SIGTERM to what goes on for too long, and look at whether it has ended soon after that."""
    sent: list[float] = []

    def late(number: int, frame: Any) -> None:
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGTERM)

    before = {
        signal.SIGALRM: signal.signal(signal.SIGALRM, late),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, frame: None),  # it may have ended just then
    }
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
    late_by = time.perf_counter() - sent[0] if sent else 0.0
    assert late_by < GRACE, f"{late_by:.0f} s from SIGTERM to the end"


@functools.cache
def _models() -> dict[str, str]:
    folder = Path(tempfile.mkdtemp(prefix="hostile-recipes-"))
    made = {"dense": tiny_model, "static": tiny_static, "splade": tiny_splade}
    return {name: str(make(folder / name)) for name, make in made.items()}


@functools.cache
def _data(folder: Path) -> dict[str, Path]:
    """Rows of each kind to train on, of words that the tiny models know, and others to select and report on."""
    words = re.findall("[a-z]+", "cat dog bird ball car city home river road rain snow sun day night goal game team")
    random_ = random.Random(0)
    sentences = (" ".join(random_.choices(words, k=5)) for _ in itertools.count())
    found = {}
    for kind, names in FILES.items():
        found[kind] = folder / f"{kind}.{'csv' if names else 'txt'}"
        rows = [
            [f"{number / ROWS:.3f}" if name == "score" else next(sentences) for name in names or ("sentence",)]
            for number in range(ROWS)
        ]
        with found[kind].open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([names, *rows] if names else rows)
    return found


def _measured(folder: Path) -> dict[str, str]:
    return {name: str(_data(folder)[name.removesuffix("_on")]) for name in ("select_on", "report_on")}
