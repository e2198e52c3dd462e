"""Every example in a docstring is run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import hf_simtune

# Scripts of their own, which are no modules of the package.
LEFT_OUT = {"hf_simtune.__main__", "hf_simtune.evaluation.spearman.spearman"}
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(hf_simtune.__path__, "hf_simtune.")
    if module.name not in LEFT_OUT and not module.name.startswith("hf_simtune.recipes")
)
FEWEST = 16  # examples; fewer of them mean that they are no longer found


def examples(name: str) -> list[doctest.DocTest]:
    module = importlib.import_module(name)
    return [test for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples]


def test_the_examples_are_found() -> None:
    assert sum(len(test.examples) for name in MODULES for test in examples(name)) >= FEWEST


@pytest.mark.parametrize("name", [name for name in MODULES if examples(name)])
def test_examples(name: str) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
    said: list[str] = []
    for test in examples(name):
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)
