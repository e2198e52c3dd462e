from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CHECKOUT
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_simtune import catalogue
from hf_simtune.errors import RequestError
from hf_simtune.recipe import LOSS_SHAPES, Recipe

GOOD = Recipe(name="x", train_data="rows.csv")


def test_a_recipe_with_a_name_and_data_is_in_order() -> None:
    assert GOOD.check() == []
    assert GOOD.checked() is GOOD


def test_every_problem_is_collected_and_names_its_flag() -> None:
    bad = dataclasses.replace(GOOD, epochs=0, batch_size=1, precision="bf17", warmup=1.0, train_data=" ")
    problems = bad.check()
    assert len(problems) == 5
    assert "did you mean 'bf16'?" in "".join(problems)
    for flag in ("--epochs", "--batch-size", "--precision", "--warmup", "--train-data"):
        assert sum(problem.startswith(flag) for problem in problems) == 1
    with pytest.raises(RequestError) as caught:
        bad.checked()
    assert caught.value.problems == tuple(problems)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"loss": "cosent", "shape": "pairs"}, "--loss cosent learns from scored, not from pairs"),
        ({"columns": ("a", "b"), "shape": "scored"}, "--columns names 2 columns; --shape scored takes 3"),
        ({"columns": ("a", "a")}, "names a column twice"),
        ({"select_on": "x.csv"}, "go together"),
        ({"select_on": "x.csv", "report_on": "x.csv"}, "cannot prove the gain"),
        ({"score_range": (5.0, 0.0)}, "the lower first"),
        ({"learning_rate": float("nan")}, "above 0"),
        ({"seed": -1}, "0 to 4294967295"),
    ],
)
def test_fields_that_do_not_go_together_are_named(change: dict[str, object], told: str) -> None:
    assert told in " ".join(dataclasses.replace(GOOD, **change).check())  # type: ignore[arg-type]


values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.tuples(st.text())
    | st.tuples(st.floats(), st.floats())
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([field.name for field in dataclasses.fields(Recipe)]), values)
def test_no_value_of_any_field_makes_the_check_itself_fail(field: str, value: object) -> None:
    problems = dataclasses.replace(GOOD, **{field: value}).check()  # type: ignore[arg-type]
    assert all(isinstance(problem, str) and problem for problem in problems)


def test_offline_replaces_what_is_on_the_hub_and_keeps_files() -> None:
    shipped = catalogue.find("mnrl_minilm").offline()
    assert shipped.model == "builtin:all-MiniLM-L6-v2"
    assert shipped.train_data == "builtin:sports/pairs:train"
    assert (shipped.select_on, shipped.report_on) == ("builtin:sports/scored:validation", "builtin:sports/scored:test")
    assert "STSb" not in shipped.title
    assert shipped.check() == []
    own = Recipe(name="x", train_data="rows.csv").offline()
    assert own.train_data == "rows.csv"
    assert own.model == "builtin:all-MiniLM-L6-v2"
    assert own.select_on is None


def test_the_shipped_recipes_are_found_recursively_and_each_is_in_order() -> None:
    files = [path for path in (CHECKOUT / "recipes").rglob("*.py") if not path.name.startswith("_")]
    found = catalogue.all_recipes()
    assert len(files) == 1, "count the recipes here when one is added"
    assert set(found) >= {path.stem for path in files}
    for name, value in found.items():
        assert value.name == name
        assert value.title
        assert value.check() == []


def test_recipe_files_are_short_and_end_in_the_two_lines() -> None:
    for path in (CHECKOUT / "recipes").rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 42, f"{path.name} has {len(lines)} lines"
        assert lines[-2:] == ['if __name__ == "__main__":', "    main(RECIPE)"]


def test_an_unknown_recipe_names_the_closest() -> None:
    with pytest.raises(RequestError, match="unknown recipe 'mnrl_minlm'; did you mean 'mnrl_minilm'"):
        catalogue.find("mnrl_minlm")


def test_recipe_files_that_cannot_be_used_are_refused_in_a_sentence(tmp_path: Path) -> None:
    cases = {
        "missing.py": (None, "no recipe file"),
        "empty.py": ("", "has no RECIPE"),
        "broken.py": ("1/0", "does not run: ZeroDivisionError"),
        "other.py": ("RECIPE = 3", "has no RECIPE"),
        "field.py": (
            "from hf_simtune import Recipe\nRECIPE = Recipe(name='x', epoch=3)",
            "unexpected keyword argument 'epoch'",
        ),
    }
    for name, (text, told) in cases.items():
        path = tmp_path / name
        if text is not None:
            path.write_text(text, encoding="utf-8")
        with pytest.raises(RequestError, match=told):
            catalogue.find(str(path))


def test_a_recipe_is_the_same_value_named_or_loaded_from_its_file() -> None:
    assert catalogue.find("mnrl_minilm") == catalogue.find(str(CHECKOUT / "recipes" / "mnrl_minilm.py"))


def test_every_loss_of_the_table_can_be_built() -> None:
    from hf_simtune.losses import LOSSES

    assert set(LOSSES) == set(LOSS_SHAPES)


def test_importing_the_package_and_a_recipe_loads_no_heavy_library() -> None:
    code = (
        "import sys, hf_simtune, hf_simtune.cli; from hf_simtune import catalogue; catalogue.all_recipes();"
        "heavy = ('torch', 'transformers', 'datasets', 'evaluate', 'sentence_transformers', 'rich', 'numpy');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout.strip() == "[]"


def test_an_installed_recipe_that_does_not_load_takes_no_other_with_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from importlib.metadata import EntryPoint

    def entries(group: str) -> list[EntryPoint]:
        values = {"broken": "no_such_module:RECIPE", "other": "math:pi", "good": "test_recipe:GOOD"}
        return [EntryPoint(name, value, group) for name, value in values.items()]

    monkeypatch.setattr(catalogue, "entry_points", entries)
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    found = catalogue.all_recipes()
    assert found["good"] == GOOD
    assert "mnrl_minilm" in found
    assert not {"broken", "other"} & set(found)
    assert catalogue.find("mnrl_minilm").name == "mnrl_minilm"
    assert {"broken", "other"} <= {word.strip("'") for record in caplog.records for word in record.getMessage().split()}
