"""Recipes with wrong types and absurd values, and what holds of each: it is in order, or what is wrong is named.

`cases` is a hypothesis strategy, `check` looks at one case.
"""

from __future__ import annotations

import dataclasses
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from hostile_files import control
from hypothesis import strategies as st

from hf_simtune import cli, flags, run_commands
from hf_simtune.arguments import parser
from hf_simtune.catalogue import load
from hf_simtune.errors import SimtuneError
from hf_simtune.lora import LoRA
from hf_simtune.recipe import Recipe, fields
from hf_simtune.tuning import tune

__all__ = ["cases", "check"]

FIELDS = [field.name for field in dataclasses.fields(Recipe)]


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
    st.just(Recipe),
    st.just(len),
)
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


def cases() -> st.SearchStrategy[tuple[str, Any]]:
    """Values for some fields, the words of a command line, or a file that is called a recipe."""
    values = st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=1, max_size=4)
    named = st.sampled_from([name for name, *_ in fields()])
    words = st.lists(st.tuples(named, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=4)
    return st.one_of(
        st.tuples(st.just("values"), values),
        st.tuples(st.just("values"), values),
        st.tuples(st.just("words"), words),
        st.tuples(st.just("file"), SOURCES),
    )


def check(case: tuple[str, Any], folder: Path) -> str:
    """Ask for the recipe without running it. "result" or the name of the error; AssertionError for a broken promise."""
    kind, given = case
    data = folder / "rows.csv"
    if not data.is_file():
        data.write_text("anchor,positive\n" + "a cat,the cat\n" * 3, encoding="utf-8")
    out = io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(out):
            {"values": _values, "words": _words, "file": _file}[kind](given, data, folder)
    except SimtuneError as error:
        message = str(error)
        assert message.strip() and not control(message), repr(message)
        assert len(message) < 500_000
        return type(error).__name__
    return "result"


def _values(given: dict[str, Any], data: Path, folder: Path) -> None:
    recipe = Recipe(**{"train_data": str(data), **given})
    problems = recipe.check()
    assert all(isinstance(problem, str) and problem.strip() for problem in problems)
    if problems:  # from Python the same holds, before anything is loaded
        try:
            tune(recipe, offline=len(given) % 2 == 0, out=folder / "runs")
        except SimtuneError:
            pass
        else:
            raise AssertionError("a recipe with problems was run")
    arguments = parser().parse_args(["tune", str(data), "--dry-run", "--out", str(folder / "runs")])
    arguments.problems = []
    try:
        run_commands.run_recipe(arguments, recipe, str(data))
    except SimtuneError as error:
        told = str(error)
        assert "--" in told or any(name in told for name in given), f"no place in it: {told}"
        raise
    assert not problems, f"problems were found and the recipe was shown: {problems}"
    json.dumps(flags.without_paths(recipe), allow_nan=False, default=str)


def _words(given: list[tuple[str, list[str]]], data: Path, folder: Path) -> None:
    words = [word for name, values in given for word in (flags.flag(name), *values)]
    try:
        cli.main(argv=["tune", str(data), *words, "--dry-run", "--out", str(folder / "runs")])
    except SystemExit as end:
        status = end.code
    assert status in (0, 2), f"exit status {status} of a dry run"
    if status:
        raise SimtuneError("told on standard error")


def _file(given: bytes, data: Path, folder: Path) -> None:
    path = folder / "from_elsewhere.py"
    path.write_bytes(given)
    told = path.name
    try:
        load(path)
    except SimtuneError as error:
        told = str(error)
        raise
    finally:
        assert path.name in told, f"no place in it: {told}"
