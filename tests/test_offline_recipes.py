"""A recipe offline: what stands in for what is on the Hub, and what stays."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_recipe import GOOD

from hf_simtune import catalogue
from hf_simtune.hub_names import is_hub_name
from hf_simtune.recipe import BUILTIN_MINILM, BUILTIN_SPLADE, Recipe

SPORTS = ("builtin:sports/scored:validation", "builtin:sports/scored:test")


def test_offline_replaces_what_is_on_the_hub_and_keeps_files() -> None:
    shipped = catalogue.find("mnrl_minilm").offline()
    assert shipped.model == "builtin:all-MiniLM-L6-v2"
    assert shipped.train_data == "builtin:sports/pairs:train"
    assert (shipped.select_on, shipped.report_on) == ("builtin:sports/scored:validation", "builtin:sports/scored:test")
    assert "STSb" not in shipped.title
    assert shipped.check() == []
    assert (shipped.evaluations, shipped.train_rows) == (5, 4000)
    for rows in (1000, None):
        assert dataclasses.replace(catalogue.find("mnrl_minilm"), train_rows=rows).offline().train_rows == rows
    own_rows = dataclasses.replace(catalogue.find("mnrl_minilm"), train_data="rows.csv").offline()
    assert own_rows.train_rows == catalogue.find("mnrl_minilm").train_rows
    for change, scores in (({"evaluations": 3}, 3), ({"epochs": 6.0}, None), ({"train_data": "rows.csv"}, None)):
        assert dataclasses.replace(catalogue.find("mnrl_minilm"), **change).offline().evaluations == scores  # type: ignore[arg-type]
    own = Recipe(name="x", train_data="rows.csv").offline()
    assert own.train_data == "rows.csv"
    assert own.model == "builtin:all-MiniLM-L6-v2"
    assert own.select_on is None


@pytest.mark.parametrize(
    ("changes", "select_on", "report_on"),
    [
        ({"report_on": "r.csv"}, None, "r.csv"),
        ({"select_on": "s.csv"}, "s.csv", None),
        ({"report_on": "ORG/NAME:test"}, None, SPORTS[1]),
        ({"select_on": "s.csv", "report_on": "ORG/NAME:test"}, "s.csv", SPORTS[1]),
        ({"select_on": "ORG/NAME:dev", "report_on": SPORTS[0]}, SPORTS[1], SPORTS[0]),
        ({"report_on": "r.csv", "shape": "sentences"}, None, "r.csv"),
        ({"report_on": "r.csv", "train_data": "ORG/NAME"}, SPORTS[0], "r.csv"),
        ({"train_data": "ORG/NAME:train+validation", "report_on": "ORG/NAME:test"}, *SPORTS),
    ],
)
def test_offline_measures_on_parts_of_ones_own_rows_where_that_can_be_done(
    changes: dict[str, object], select_on: str | None, report_on: str | None
) -> None:
    own = dataclasses.replace(Recipe(name="x", train_data="rows.csv"), **changes).offline()  # type: ignore[arg-type]
    assert (own.select_on, own.report_on) == (select_on, report_on)


def test_offline_names_the_model_that_it_stands_in_for() -> None:
    assert GOOD.offline().stand_in_for is None, "the packaged model is the one that is asked for"
    other = dataclasses.replace(GOOD, model="ORG/other", model_revision="abc").offline()
    assert (other.model, other.model_revision, other.stand_in_for) == (BUILTIN_MINILM, None, "ORG/other")
    splade = dataclasses.replace(GOOD, model="ORG/splade", sparse="splade").offline()
    assert (splade.model, splade.stand_in_for, splade.sparse) == (BUILTIN_SPLADE, "ORG/splade", "splade")
    csr = dataclasses.replace(GOOD, model="ORG/other", sparse="csr").offline()
    assert (csr.model, csr.stand_in_for) == (BUILTIN_MINILM, "ORG/other")


def test_offline_leaves_models_and_files_of_ones_own_alone(tmp_path: Path) -> None:
    own = dataclasses.replace(
        GOOD,
        model=str(tmp_path),
        more_data=("cosent=more.csv", "ORG/NAME", "mnrl=ORG/NAME:train", "builtin:sports"),
        probe=("probe.csv", "ORG/NAME:test"),
        select_on="s.csv",
        report_on="r.csv",
    ).offline()
    assert (own.model, own.stand_in_for) == (str(tmp_path), None)
    assert own.more_data == ("cosent=more.csv", "builtin:sports")
    assert own.probe == ("probe.csv",)
    assert (own.select_on, own.report_on) == ("s.csv", "r.csv")
    gone = dataclasses.replace(GOOD, more_data=("ORG/NAME",), probe=("ORG/NAME:test",)).offline()
    assert (gone.more_data, gone.probe) == (None, None)
    assert gone.check() == []


@pytest.mark.parametrize("name", catalogue.shipped())
def test_every_shipped_recipe_is_in_order_offline_and_asks_the_hub_for_nothing(name: str) -> None:
    recipe = catalogue.find(name).offline()
    assert recipe.check() == []
    named = [recipe.model, recipe.train_data, recipe.select_on, recipe.report_on, *(recipe.probe or ())]
    assert not [place for place in named if place and is_hub_name(place)]
    assert recipe.offline() == recipe


names = st.sampled_from(["ORG/NAME", "ORG/NAME:test", "a.csv", "b.csv", "builtin:sports", "builtin:sports/scored:test"])


@settings(max_examples=300, deadline=None)
@given(
    st.fixed_dictionaries(
        {"train_data": names},
        optional={
            "model": st.sampled_from(["ORG/NAME", BUILTIN_MINILM, "./folder"]),
            "shape": st.sampled_from(["pairs", "scored", "triplets", "sentences"]),
            "sparse": st.sampled_from(["splade", "csr"]),
            "more_data": st.lists(names, min_size=1, max_size=3).map(tuple),
            "probe": st.lists(names, min_size=1, max_size=3, unique=True).map(tuple),
            "select_on": names,
            "report_on": names,
        },
    )
)
def test_offline_of_what_is_in_order_is_in_order_and_stays_as_it_is(changes: dict[str, object]) -> None:
    recipe = dataclasses.replace(GOOD, **changes)  # type: ignore[arg-type]
    offline = recipe.offline()
    assert offline.offline() == offline
    if not recipe.check():
        assert offline.check() == []


def test_offline_tells_a_loss_from_a_name_as_the_run_does() -> None:
    recipe = dataclasses.replace(GOOD, more_data=("cosent=ORG/NAME", "ORG/NAME:a=b", "mnrl=a.csv", "b.csv"))
    assert recipe.offline().more_data == ("mnrl=a.csv", "b.csv")
