from __future__ import annotations

import argparse
import dataclasses
import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_simtune import flags
from hf_simtune.recipe import PRECISIONS, Recipe

BASE = Recipe(name="x", train_data="ORG/rows")


def parse(words: list[str], base: Recipe = BASE) -> Recipe:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    flags.add(parser)
    return flags.apply(base, parser.parse_args(words))


def test_every_field_is_a_flag_under_its_own_name() -> None:
    parser = argparse.ArgumentParser()
    flags.add(parser)
    for field in dataclasses.fields(Recipe):
        assert "--" + field.name.replace("_", "-") in parser.format_help()


def test_flags_change_their_fields_and_nothing_else() -> None:
    changed = parse(
        ["--train-rows", "100", "--columns", "a", "b", "--score-range", "0", "5", "--skip-bad-rows", "--loss", "mnrl"]
    )
    assert changed == dataclasses.replace(
        BASE, train_rows=100, columns=("a", "b"), score_range=(0.0, 5.0), skip_bad_rows=True, loss="mnrl"
    )


def test_a_value_of_the_wrong_type_stays_for_the_check_to_name() -> None:
    assert parse(["--epochs", "three", "--seed", "1.5"]).check() == [
        "--epochs is 'three': it must be a number",
        "--seed is '1.5': it must be a whole number",
    ]


def test_unknown_flags_are_named_with_the_closest() -> None:
    parser = argparse.ArgumentParser()
    flags.add(parser)
    assert flags.unknown(["--lerning-rate", "3", "--epoch=2"], parser) == [
        "unknown flag '--lerning-rate'; did you mean --learning-rate?",
        "unknown flag '--epoch'; did you mean --epochs?",
    ]
    assert flags.unknown(["stray"], parser) == ["unknown argument 'stray'"]


@settings(max_examples=200, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "epochs": st.floats(0.01, 100),
            "train_rows": st.integers(1, 10**9),
            "seed": st.integers(0, 2**32 - 1),
            "skip_bad_rows": st.booleans(),
            "columns": st.tuples(st.text("ab c'\"$", min_size=1), st.text("xyz ", min_size=1)),
            "score_range": st.tuples(st.integers(-5, 0).map(float), st.integers(1, 100).map(float)),
            "precision": st.sampled_from(PRECISIONS),
            "loss": st.sampled_from(["mnrl", "cosent"]),
        },
    )
)
def test_the_printed_command_gives_the_same_recipe_back(changes: dict[str, object]) -> None:
    changed = dataclasses.replace(BASE, **changes)  # type: ignore[arg-type]
    words = shlex.split(flags.command(changed, BASE, "ORG/rows"))
    assert words[:3] == ["hf-simtune", "tune", "ORG/rows"]
    assert parse(words[3:]) == changed


def test_local_paths_are_cut_to_their_names_in_commands_and_records(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.touch()
    folder = tmp_path / "datasets" / "org" / "data"
    folder.mkdir(parents=True)
    own = Recipe(name="x", train_data=str(file), select_on=f"{folder}:validation", report_on=f"{folder}:test")
    assert str(tmp_path) not in flags.command(own)
    assert flags.command(own).startswith("hf-simtune tune rows.csv --name x --select-on org/data:validation")
    assert flags.without_paths(own)["train_data"] == "rows.csv"


@pytest.mark.parametrize(
    "name", ["builtin:sports/scored:test", "ORG/NAME:test", "ORG/NAME/config:train", "builtin:all-MiniLM-L6-v2"]
)
def test_hub_ids_and_builtins_keep_their_names(name: str) -> None:
    assert flags.without_path(name) == name


def test_offline_and_switches_come_back_as_flags() -> None:
    changed = dataclasses.replace(BASE, keep_leaks=True)
    assert (
        flags.command(changed, BASE, "mnrl_minilm", offline=True)
        == "hf-simtune tune mnrl_minilm --keep-leaks --offline"
    )
