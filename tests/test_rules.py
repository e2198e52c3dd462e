"""What cannot be run is told all at once: wrong fields beside wrong combinations, and models by what they are."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_recipe import GOOD, TOGETHER
from tiny import tiny_model, tiny_splade, tiny_static

from hf_simtune import catalogue, losses, model_names, rules, sweeping, unread_fields
from hf_simtune.lora import LoRA
from hf_simtune.recipe import BUILTIN_MINILM, BUILTIN_SPLADE, MINILM, Recipe

SCORED = "builtin:sports/scored:train"


@pytest.mark.parametrize(("change", "told"), TOGETHER)
def test_a_wrong_field_hides_no_wrong_combination_of_others(change: dict[str, object], told: str) -> None:
    problems = dataclasses.replace(GOOD, epochs=0, precision="bf17", **change).check()  # type: ignore[arg-type]
    assert len(problems) == 3
    assert problems[0].startswith("--epochs is 0: ") and problems[1].startswith("--precision is 'bf17': ")
    assert told in problems[2]


class Watched(Recipe):
    """A recipe that remembers which of its fields were read."""

    def __getattribute__(self, name: str) -> Any:
        if name in NAMES:
            READ.add(name)
        return super().__getattribute__(name)


NAMES = {field.name for field in dataclasses.fields(Recipe)}
READ: set[str] = set()
CASES = [change for change, _ in TOGETHER]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(CASES), min_size=1, max_size=4))
def test_a_rule_reads_no_field_but_those_that_it_names(cases: list[dict[str, object]]) -> None:
    changes = {name: value for case in cases for name, value in case.items()}
    recipe = Watched(**{"name": "x", "train_data": "rows.csv", **changes})  # type: ignore[arg-type]
    every = [
        *rules.RULES,
        *((frozenset({*others, field}), rule) for field, (others, rule) in unread_fields.UNREAD.items()),
    ]
    assert len(every) >= 20
    for fields, rule in every:
        assert fields <= NAMES
        READ.clear()
        list(rule(recipe))
        assert fields >= READ, rule


def test_a_combination_is_not_told_of_a_field_that_is_wrong_itself() -> None:
    wrong = dataclasses.replace(GOOD, loss="mnlr", mini_batch=8, temperature=0.1, lora="r=many", merge=True)  # type: ignore[arg-type]
    assert [problem.split()[0] for problem in wrong.check()] == ["--loss", "--lora"]


def test_shipped_recipes_set_nothing_in_vain() -> None:
    found = catalogue.shipped()
    assert len(found) == 12
    for recipe in found.values():
        for one in (recipe, recipe.offline()):
            assert unread_fields.unread(one) == {} and model_names.of_recipe(one) == []


def test_a_cached_loss_without_a_mini_batch_takes_the_batch_where_that_is_smaller(tmp_path: Path) -> None:
    from hf_simtune.models import load

    model, _ = load(str(tiny_model(tmp_path / "tiny")))
    for batch, given_size, taken in ((16, None, 16), (64, None, 32), (64, 8, 8), (64, 64, 64)):
        recipe = dataclasses.replace(GOOD, loss="cached_mnrl", batch_size=batch, mini_batch=given_size)
        assert recipe.check() == []
        assert losses.build("cached_mnrl", model, recipe).mini_batch_size == taken


# Models, by folder and name.


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_model(folder / "dense")
    tiny_splade(folder / "splade")
    tiny_static(folder / "words")
    (folder / "broken").mkdir()
    (folder / "broken" / "modules.json").write_text("[", encoding="utf-8")
    (folder / "broken" / "config_sentence_transformers.json").write_text("{", encoding="utf-8")
    (folder / "unmarked").mkdir()
    (folder / "unmarked" / "modules.json").write_text(
        json.dumps([{"type": "sentence_transformers.sparse_encoder.modules.SpladePooling"}]), encoding="utf-8"
    )
    return folder


@pytest.mark.parametrize(
    ("name", "kind"),
    [("dense", "dense"), ("splade", "sparse"), ("words", "static"), ("broken", "dense"), ("unmarked", "")],
)
def test_the_kind_of_a_model_in_a_folder_is_seen_without_loading_it(name: str, kind: str, place: Path) -> None:
    assert model_names.kind(str(place / name)) == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [(MINILM, "dense"), (BUILTIN_MINILM, "dense"), (BUILTIN_SPLADE, "sparse"), ("org/static-x", "static"), ("a/b", "")],
)
def test_the_kind_of_a_model_that_is_known_by_its_name(name: str, kind: str) -> None:
    assert model_names.kind(name) == kind


MODELS: list[tuple[str, dict[str, object], str]] = [
    ("splade", {"matryoshka": (8,)}, "--matryoshka cuts dense embeddings, and {} is a sparse encoder"),
    ("splade", {"mine_negatives": 3}, "--mine-negatives looks with dense embeddings, and {} is a sparse encoder"),
    ("splade", {"loss": "cached_mnrl"}, "--loss cached_mnrl is for dense models, and {} is a sparse encoder: --loss"),
    ("splade", {"sparse": "csr"}, "--sparse csr makes a sparse encoder of a dense model, and {} is a sparse encoder"),
    ("words", {"gradient_checkpointing": True}, "--gradient-checkpointing does not go with {}, a static model"),
    ("words", {"lora": LoRA()}, "--lora does not go with {}, a static model"),
    ("words", {"flops_weight": 0.1}, "--flops-weight is 0.1, and nothing reads it: it is for a SPLADE model, and {}"),
    ("dense", {"flops_weight": 0.1}, "--flops-weight is 0.1, and nothing reads it: it is for a SPLADE model, and {}"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "told"), MODELS)
def test_what_a_model_does_not_take_is_told_by_its_folder(
    name: str, change: dict[str, object], told: str, place: Path
) -> None:
    recipe = dataclasses.replace(GOOD, model=str(place / name), **change)  # type: ignore[arg-type]
    assert recipe.check() == []
    [problem] = model_names.of_recipe(recipe)
    assert told.format(recipe.model) in problem
    # A wrong field beside it hides nothing, and a wrong value of the field itself is told by check() alone.
    assert model_names.of_recipe(dataclasses.replace(recipe, epochs=0)) == [problem]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("splade", {"flops_weight": 0.1}),
        ("splade", {"sparse": "splade", "flops_weight": 0.1}),
        ("splade", {"gradient_checkpointing": True, "lora": LoRA()}),
        ("dense", {"matryoshka": (8,), "mine_negatives": 3, "gradient_checkpointing": True}),
        ("dense", {"sparse": "csr"}),
        ("dense", {"flops_weight": 0.1, "sparse": "splade"}),
        ("dense", {"flops_weight": 0.1, "stand_in_for": "org/splade"}),
        ("words", {"matryoshka": (8,), "mine_negatives": 3}),
        ("splade", {"matryoshka": "x", "mine_negatives": "x", "more_data": 3, "loss": 3, "flops_weight": "x"}),
        ("splade", {"sparse": 3, "matryoshka": (8,)}),
    ],
)
def test_what_a_model_takes_is_let_through(name: str, change: dict[str, object], place: Path) -> None:
    assert model_names.of_recipe(dataclasses.replace(GOOD, model=str(place / name), **change)) == []  # type: ignore[arg-type]


def test_a_model_that_is_no_text_is_for_the_check_of_the_fields_to_tell() -> None:
    recipe = dataclasses.replace(GOOD, model=None)  # type: ignore[arg-type]
    assert model_names.of_recipe(recipe) == []
    assert recipe.check() == ["--model is None: it must be text"]


def test_an_offline_run_in_place_of_a_splade_model_may_set_its_flops_weight() -> None:
    recipe = dataclasses.replace(GOOD, model="naver/splade", flops_weight=0.1)
    assert recipe.offline().model == BUILTIN_MINILM
    for one in (recipe, recipe.offline()):
        assert one.check() == [] and model_names.of_recipe(one) == []


# Sweeps: cells that would be the same run.


def swept(axes: dict[str, tuple[object, ...]], **changes: object) -> list[str]:
    recipe = dataclasses.replace(GOOD, **{"train_data": SCORED, **changes})  # type: ignore[arg-type]
    return sweeping.check(sweeping.plan(recipe, axes))


def test_cells_that_would_be_the_same_run_are_told_in_one_sentence() -> None:
    [problem] = swept({"loss": ("cosine", "cosent"), "temperature": (0.05, 0.1, 0.2)})
    assert problem == (
        "--temperature is 0.1 or 0.2, and nothing reads it in the cells with loss=cosine: --loss cosine has none, "
        "mnrl, cached_mnrl, cosent, angle, simcse have one; sweep those without it"
    )
    [problem] = swept({"temperature": (0.1, 0.2)}, loss="cosine")
    assert problem.startswith("--temperature is 0.1 or 0.2, and nothing reads it: ")
    [problem] = swept({"loss": ("cosine", "cosent"), "learning_rate": (1e-5, 2e-5)}, temperature=0.1)
    assert problem.startswith("--temperature is 0.1, and nothing reads it in the cells with loss=cosine: ")
    [problem] = swept({"flops_weight": (0.1, 0.2)})
    assert problem.startswith("--flops-weight is 0.1 or 0.2, and nothing reads it: it is for a SPLADE model, and ")
    assert f"{MINILM} is dense" in problem


def test_cells_that_differ_in_what_they_read_are_let_through() -> None:
    assert swept({"loss": ("cosent", "angle", "cosine"), "learning_rate": (2e-5, 5e-5)}) == []
    assert swept({"loss": ("cosent", "angle"), "temperature": (0.05, 0.1)}) == []
    assert swept({"mine_negatives": (1, 3), "negative_margin": (0.05, 0.1)}, train_data="builtin:sports/pairs") == []


def test_a_wrong_value_of_one_cell_hides_no_wrong_name_and_no_cell_that_reads_nothing() -> None:
    problems = swept({"loss": ("cosine", "cosent"), "epochs": (0, 1)}, temperature=0.1, model="./no", probe=("p.csv",))
    assert [problem.split(":")[0] for problem in problems] == [
        "--epochs is 0.0",
        "--model ./no",
        "--probe is 'p.csv'",
        "--temperature is 0.1, and nothing reads it in the cells with loss=cosine",
    ]
