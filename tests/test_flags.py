from __future__ import annotations

import argparse
import dataclasses
import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_simtune import catalogue, flags
from hf_simtune.fields import optional as may_be_none
from hf_simtune.lora import LoRA
from hf_simtune.recipe import PRECISIONS, SCHEDULERS, SHAPES, SPARSE, Recipe, fields

BASE = Recipe(name="x", train_data="ORG/rows")


def parse(words: list[str], base: Recipe = BASE) -> Recipe:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    flags.add(parser)
    return flags.apply(base, parser.parse_args(words))


def test_every_field_is_a_flag_under_its_own_name() -> None:
    parser = argparse.ArgumentParser()
    flags.add(parser)
    for field in dataclasses.fields(Recipe):
        if field.name == "stand_in_for":  # what a card says of the base is not the user's to choose
            assert "--stand-in-for" not in parser.format_help()
            continue
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


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        (["--lora"], {"lora": LoRA()}),
        (["--lora", "--merge"], {"lora": LoRA(), "merge": True}),
        (["--lora", "r=4", "alpha=8", "targets=query,value", "dropout=0.1"],
         {"lora": LoRA(r=4, alpha=8, dropout=0.1, targets=("query", "value"))}),
        (["--no-merge"], {}),
        (["--more-data", "cosent=a.csv", "b.csv"], {"more_data": ("cosent=a.csv", "b.csv")}),
        (["--probe", "a.csv", "ORG/NAME:test"], {"probe": ("a.csv", "ORG/NAME:test")}),
        (["--matryoshka", "32", "16"], {"matryoshka": (32, 16)}),
        (["--sparse", "csr", "--active-dims", "8"], {"sparse": "csr", "active_dims": 8}),
        (["--mine-negatives", "2", "--negative-margin", "0.1"], {"mine_negatives": 2, "negative_margin": 0.1}),
        (["--prompt", "query: "], {"prompt": "query: "}),
        (["--prompt", ""], {"prompt": ""}),
        (["--patience", "0", "--evaluations", "3"], {"patience": 0, "evaluations": 3}),
        (["--on-collapse", "stop"], {"on_collapse": "stop"}),
        (["--flops-weight", "0", "--sparse", "splade"], {"flops_weight": 0.0, "sparse": "splade"}),
        (["--loss", "cached_mnrl", "--mini-batch", "8"], {"loss": "cached_mnrl", "mini_batch": 8}),
        (["--gradient-checkpointing"], {"gradient_checkpointing": True}),
    ],
)  # fmt: skip
def test_flags_of_the_ways_of_tuning(words: list[str], changes: dict[str, object]) -> None:
    assert parse(words) == dataclasses.replace(BASE, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--lora", "r=many"], "--lora is 'r=many'"),
        (["--lora", "rank=3", "alpha=2"], "--lora is 'rank=3 alpha=2'"),
        (["--lora", "r=0"], "r=N alpha=N dropout=X targets=A,B"),
        (["--matryoshka", "32", "half"], "--matryoshka is (32, 'half'): it must be several of a whole number"),
        (["--mine-negatives", "some"], "--mine-negatives is 'some': it must be a whole number"),
        (["--patience", "2.5"], "--patience is '2.5': it must be a whole number"),
    ],
)
def test_wrong_words_of_the_ways_of_tuning_stay_for_the_check_to_name(words: list[str], told: str) -> None:
    [problem] = parse(words).check()
    assert told in problem


def optional(**strategies: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    """Any of some fields, with any of their values."""
    return st.fixed_dictionaries({}, optional=strategies)


word = st.text("ab c'\"$=,é", min_size=1).filter(str.strip)
place = st.sampled_from(["ORG/NAME", "ORG/NAME/config:train", "builtin:sports/scored:test", "ORG/OTHER:test"])
layer = st.text("abcxyz_.0123456789", min_size=1, max_size=9)
CHANGES = optional(
    name=st.text("abc -_.+", min_size=1).map(lambda text: f"a{text}"),
    model=st.sampled_from(["ORG/NAME", "builtin:all-MiniLM-L6-v2"]),
    model_revision=word,
    columns=st.tuples(word, st.text("xyz ", min_size=1)),
    shape=st.sampled_from(SHAPES),
    score_range=st.tuples(st.integers(-5, 0).map(float), st.integers(1, 100).map(float)),
    train_rows=st.integers(1, 10**9),
    skip_bad_rows=st.booleans(),
    keep_leaks=st.booleans(),
    more_data=st.lists(st.builds("{}{}".format, st.sampled_from(["", "cosent=", "mnrl="]), place), min_size=1).map(
        tuple
    ),
    mine_negatives=st.integers(0, 99),
    negative_margin=st.floats(0, 0.99),
    select_on=place,
    report_on=place,
    probe=st.lists(place, min_size=1).map(tuple),
    loss=st.sampled_from(["mnrl", "cosent", "cached_mnrl"]),
    temperature=st.floats(1e-9, 1e9),
    epochs=st.floats(0.01, 100),
    mini_batch=st.integers(1, 999),
    scheduler=st.sampled_from(SCHEDULERS),
    prompt=word | st.just(""),
    sparse=st.sampled_from(SPARSE),
    active_dims=st.integers(1, 999),
    flops_weight=st.floats(0, 1),
    lora=st.builds(
        LoRA,
        r=st.integers(1, 999),
        alpha=st.integers(1, 999),
        dropout=st.floats(0, 0.99),
        targets=st.lists(layer, min_size=1).map(tuple),
    ),
    merge=st.booleans(),
    matryoshka=st.lists(st.integers(1, 9999), min_size=1).map(tuple),
    gradient_checkpointing=st.booleans(),
    evaluations=st.integers(1, 999),
    patience=st.integers(0, 99),
    on_collapse=st.sampled_from(["warn", "stop", "ignore"]),
    seed=st.integers(0, 2**32 - 1),
    precision=st.sampled_from(PRECISIONS),
)


@settings(max_examples=500, deadline=None)
@given(CHANGES, st.sampled_from([BASE, *catalogue.shipped().values()]))
def test_the_printed_command_gives_the_same_recipe_back(changes: dict[str, object], base: Recipe) -> None:
    changed = dataclasses.replace(base, **changes)  # type: ignore[arg-type]
    words = shlex.split(flags.command(changed, base, base.name))
    assert words[:3] == ["hf-simtune", "tune", base.name]
    assert parse(words[3:], base) == changed


@pytest.mark.parametrize("name", catalogue.shipped())
def test_the_command_of_a_shipped_recipe_without_its_file_gives_it_back(name: str) -> None:
    recipe = catalogue.find(name)
    words = shlex.split(flags.command(recipe))
    origin = flags.for_data(words[2])
    assert parse(words[3:], origin) == dataclasses.replace(recipe, title=origin.title)


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


OPTIONAL = [name for name, hint, default, _ in fields() if may_be_none(hint) and default is None]


def filled() -> Recipe:
    """A recipe with a value in every optional field."""
    return dataclasses.replace(
        BASE,
        model_revision="main",
        push_checkpoints="me/checkpoints",
        report_to=("tensorboard", "wandb"),
        columns=("a", "b"),
        shape="pairs",
        score_range=(0.0, 5.0),
        train_rows=9,
        more_data=("cosent=a.csv",),
        start="first/model",
        select_on="s.csv",
        report_on="r.csv",
        eval_columns=("a", "b", "c"),
        eval_score_range=(0.0, 5.0),
        probe=("p.csv",),
        loss="mnrl",
        mini_batch=8,
        max_length=9,
        prompt="query: ",
        sparse="csr",
        active_dims=8,
        lora=LoRA(r=4),
        matryoshka=(8,),
        evaluations=3,
        patience=3,
        branches=("simcse_unsup=0.3",),
        hub_model_id="me/model",
        export="onnx",
    )


def test_the_word_none_unsets_every_optional_field_and_no_other() -> None:
    assert len(OPTIONAL) == 27, "give a new optional field a value in filled()"
    assert None not in [getattr(filled(), name) for name in OPTIONAL]
    for name in OPTIONAL:
        assert parse([flags.flag(name), "none"], filled()) == dataclasses.replace(filled(), **{name: None})  # type: ignore[arg-type]
    assert parse(["--name", "none"]).name == "none"
    assert "--epochs is 'none': it must be a number" in parse(["--epochs", "none"]).check()


@settings(max_examples=200, deadline=None)
@given(st.sets(st.sampled_from(OPTIONAL)))
def test_the_printed_command_unsets_what_its_origin_has(names: set[str]) -> None:
    changed = dataclasses.replace(filled(), **dict.fromkeys(names))  # type: ignore[arg-type]
    words = shlex.split(flags.command(changed, filled(), "x", whole=True))
    assert parse(words[3:], filled()) == changed
    assert words.count("none") == len(names)


def test_a_command_for_others_publishes_nothing() -> None:
    changed = dataclasses.replace(
        BASE, push_to_hub=True, hub_model_id="me/model", hub_private_repo=True, export="onnx", seed=7
    )
    assert flags.command(changed, BASE, "x") == "hf-simtune tune x --seed 7"
    assert parse(shlex.split(flags.command(changed, BASE, "x", whole=True))[3:], BASE) == changed


def test_a_value_that_looks_like_a_flag_is_printed_such_that_it_is_read_as_one_value() -> None:
    changed = dataclasses.replace(BASE, prompt="-x y")
    words = shlex.split(flags.command(changed, BASE, "x"))
    assert parse(words[3:], BASE) == changed


@pytest.mark.parametrize("change", [{"prompt": "none"}, {"columns": ("none",)}, {"probe": ("none",)}])
def test_the_word_none_is_no_value(change: dict[str, object]) -> None:
    (problem,) = dataclasses.replace(BASE, **change).check()  # type: ignore[arg-type]
    assert "the word for no value: leave it out" in problem


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["r16"], ["r16"]),
        (["r=0", "alpha=x"], ["r=0", "alpha=x"]),
        (["r=4", "targets="], ["targets="]),
        (["targets=query,"], ["targets=query,"]),
        (["dropout=1", "rank=3", "r=8"], ["dropout=1", "rank=3"]),
        (["r=4", "r=8"], ["r twice"]),
    ],
)
def test_wrong_words_of_adapters_are_named_beside_what_they_may_be(words: list[str], named: list[str]) -> None:
    (problem,) = parse(["--lora", *words]).check()
    assert "it must be r=N alpha=N dropout=X targets=A,B" in problem
    assert problem.endswith(f", not {', '.join(named)}")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--scale", "20"], "--scale'; here it is --temperature 0.05 (the libraries' scale is 1/temperature)"),
        (["--scale=8"], "here it is --temperature 0.125"),
        (["--scale", "0"], "here it is --temperature 1/scale"),
        (["--lr", "1e-5"], "--lr'; here it is --learning-rate"),
        (["--batch", "8"], "here it is --batch-size"),
        (["--num-epochs", "8"], "here it is --epochs"),
        (["--num_train_epochs", "8"], "--num_train_epochs'; here it is --epochs"),
        (["--per_device_train_batch_size=8"], "here it is --batch-size"),
        (["--max-seq-length", "8"], "here it is --max-length"),
        (["--warmup-ratio", "0.1"], "here it is --warmup, a share of the steps"),
        (["--warmup-steps", "100"], "here it is --warmup, a share of the steps"),
    ],
)
def test_old_habits_are_told_what_they_are_called_here(words: list[str], told: str) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    flags.add(parser)
    (problem,) = flags.unknown(parser.parse_known_args(words)[1], parser)
    assert told in problem


def test_every_old_habit_has_a_flag_and_is_none_itself() -> None:
    known = {flags.flag(name) for name, _, _, _ in fields()} | {"--out"}
    assert set(flags.HABITS.values()) <= known
    assert not set(flags.HABITS) & known


def test_what_a_model_stands_in_for_is_no_flag_and_in_no_command() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    flags.add(parser)
    assert "stand-in-for" not in parser.format_help()
    assert parser.parse_known_args(["--stand-in-for", "ORG/NAME"])[1] == ["--stand-in-for", "ORG/NAME"]
    stands = dataclasses.replace(BASE, stand_in_for="ORG/NAME")
    assert stands.check() == []
    assert flags.command(stands, BASE, "x") == "hf-simtune tune x"
    assert dataclasses.replace(BASE, model="ORG/NAME").offline().stand_in_for == "ORG/NAME"
