from __future__ import annotations

import ast
import dataclasses
import json
from pathlib import Path

import pytest
from hostile_recipes import Mute, deep
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_simtune import row_shapes, rules, tellable
from hf_simtune.errors import RequestError
from hf_simtune.lora import LoRA
from hf_simtune.recipe import Recipe, fields
from hf_simtune.run_folder import Plan, RunFolder

GOOD = Recipe(name="x", train_data="rows.csv")
SPORTS = ("builtin:sports/scored:validation", "builtin:sports/scored:test")


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
    "name",
    ["org/sk-en-parallel-sentences-2024", "corpora/en-sk-parallel-corpus-filtered", "data/hf_ParaphraseData.csv"],
)
def test_a_name_in_words_is_no_secret(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "parallel")  # a word as any other
    assert dataclasses.replace(GOOD, train_data=name).check() == []
    monkeypatch.delenv("DB_PASSWORD")
    assert tellable.tellable(name) == name


@pytest.mark.parametrize(
    "change",
    [
        {"train_data": "https://me:quiet@example.org/rows.csv"},
        {"model": "hf_" + "a1" * 16},
        {"prompt": "of a secret of the environment"},
        {"probe": ("rows.csv", "api_org_" + "b2" * 12)},
    ],
)
def test_a_secret_is_kept_out_of_a_recipe_and_not_told(
    change: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "a secret of the environment")
    ((name, value),) = change.items()
    (told,) = dataclasses.replace(GOOD, **change).check()
    assert told.startswith(f"--{name.replace('_', '-')} holds a token or a password") and "HF_TOKEN" in told
    assert all(one not in told for one in ([value] if isinstance(value, str) else value))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"score_range": (5.0, 0.0)}, "the lower first"),
        ({"learning_rate": float("nan")}, "above 0"),
        ({"seed": -1}, "0 to 4294967295"),
        ({"lora": LoRA(r=0)}, "r=N alpha=N dropout=X targets=A,B"),
        ({"lora": LoRA(dropout=1.0)}, "r=N alpha=N dropout=X targets=A,B"),
        ({"lora": "r=many"}, "--lora is 'r=many'"),
        ({"matryoshka": ()}, "one dimension or more"),
        ({"matryoshka": (64, 0)}, "each 1 or more"),
        ({"more_data": ()}, "LOSS=DATA once or more"),
        ({"probe": ()}, "one name or more"),
        ({"start": " "}, "a Hub id or a folder"),
        ({"patience": -1}, "0 or more"),
        ({"evaluations": 0}, "1 or more"),
        ({"mine_negatives": -1}, "0 or more"),
        ({"negative_margin": 1.0}, "0 to below 1"),
        ({"flops_weight": float("inf")}, "0 or more"),
        ({"mini_batch": 0}, "1 or more"),
        ({"sparse": "spalde"}, "did you mean 'splade'?"),
        ({"on_collapse": "halt"}, "one of warn, stop, ignore"),
    ],
)
def test_a_value_that_no_field_takes_is_named_with_what_is_allowed(change: dict[str, object], told: str) -> None:
    [problem] = dataclasses.replace(GOOD, **change).check()  # type: ignore[arg-type]
    assert problem.startswith(f"--{next(iter(change)).replace('_', '-')} is ")
    assert told in problem


# Fields of numbers, each with the most that it takes; scales of scores have no end but a float's.
MOST: dict[str, float] = {
    "train_rows": 10**10,
    "mine_negatives": 1_000,
    "negative_margin": 0.999,
    "temperature": 1_000,
    "epochs": 100_000,
    "batch_size": 1_000_000,
    "mini_batch": 1_000_000,
    "learning_rate": 1e30,
    "warmup": 0.999,
    "weight_decay": 1_000,
    "max_length": 10**7,
    "active_dims": 10**6,
    "flops_weight": 1_000,
    "evaluations": 1_000_000,
    "patience": 1_000_000,
    "seed": 2**32 - 1,
    "soup": 1_000,
    "keep_base": 0.999,
}
WITH: dict[str, dict[str, object]] = {  # what reads them
    "negative_margin": {"mine_negatives": 1},
    "mini_batch": {"loss": "cached_mnrl", "batch_size": 1_000_000},
    "active_dims": {"sparse": "csr"},
}


def test_every_number_has_an_upper_end() -> None:
    kinds = {int, float, int | None, float | None}
    assert set(MOST) == {name for name, hint, _, _ in fields() if hint in kinds}
    for name, most in MOST.items():
        beside = WITH.get(name, {})
        assert dataclasses.replace(GOOD, **{name: most}, **beside).check() == []  # type: ignore[arg-type]
        for value in (2 * most + 1, 10**299):
            [problem] = dataclasses.replace(GOOD, **{name: value}, **beside).check()  # type: ignore[arg-type]
            assert problem.startswith(f"--{name.replace('_', '-')} is {value}: it must be "), problem
    assert [field.name for field in dataclasses.fields(LoRA)] == ["r", "alpha", "dropout", "targets"]
    assert dataclasses.replace(GOOD, lora=LoRA(r=65_536, alpha=1_000_000, dropout=0.999)).check() == []
    for lora, wrong in ((LoRA(r=10**12), "r=1000000000000"), (LoRA(alpha=10**12), "alpha=1000000000000")):
        [problem] = dataclasses.replace(GOOD, lora=lora).check()
        assert "r 1 to 65,536, alpha 1 to 1,000,000" in problem and problem.endswith(f", not {wrong}")
    assert dataclasses.replace(GOOD, matryoshka=(10**6,)).check() == []
    [problem] = dataclasses.replace(GOOD, matryoshka=(64, 10**6 + 1)).check()
    assert "each 1 or more, at most 1,000,000" in problem
    [problem] = dataclasses.replace(GOOD, temperature=5e-324).check()
    assert "--temperature is 5e-324: it must be 0.000001 or more" in problem


# Fields that do not go together, and the sentence that says so: one of each in rules.py.
TOGETHER: list[tuple[dict[str, object], str]] = [
    ({"columns": ("a", "b"), "shape": "scored"}, "--columns names 2 columns; --shape scored takes 3"),
    ({"columns": ("a", "a")}, "--columns names a column twice: a a"),
    ({"more_data": ("cosnet=a.csv",)}, "--more-data cosnet=a.csv: unknown loss 'cosnet'; it must be one of mnrl"),
    ({"more_data": ("cosent=",)}, "--more-data cosent= names no data"),
    ({"mine_negatives": 1, "shape": "triplets"}, "--mine-negatives looks for negatives of pairs; --shape triplets"),
    ({"select_on": "x.csv", "report_on": "x.csv"}, "cannot prove the gain"),
    ({"probe": ("p.csv", "q.csv", "p.csv")}, "--probe names p.csv twice"),
    ({"probe": ("r.csv",), "select_on": "s.csv", "report_on": "r.csv"}, "--probe r.csv is scored already"),
    ({"probe": ("s.csv",), "select_on": "s.csv", "report_on": "r.csv"}, "--probe s.csv is scored already"),
    ({"loss": "cosent", "shape": "pairs"}, "--loss cosent learns from scored, not from pairs; for pairs: mnrl, cached"),
    ({"loss": "cached_mnrl", "gradient_checkpointing": True}, "does not go with --gradient-checkpointing"),
    (
        {"more_data": ("cached_mnrl=a.csv",), "gradient_checkpointing": True},
        "--loss cached_mnrl does not go with --gra",
    ),
    (
        {"loss": "cached_mnrl", "sparse": "splade"},
        "--loss cached_mnrl is for dense models; with --sparse splade: --los",
    ),
    (
        {"loss": "cached_mnrl", "mini_batch": 32, "batch_size": 16},
        "--mini-batch is 32, more than --batch-size 16",
    ),
    ({"loss": "cached_mnrl", "forward": "packed"}, "--forward packed does not go with --loss cached_mnrl"),
    ({"loss": "cached_mnrl", "forward": "chunked"}, "--forward chunked does not go with --loss cached_mnrl"),
    ({"forward": "packed", "gradient_checkpointing": True},
     "--forward packed keeps what --gradient-checkpointing computes again; plain and chunked"),
    ({"columns": ("a", "b"), "loss": "cosent"},
     "--loss cosent learns from scored, and --columns names 2 columns: pairs; for pairs: mnrl, cached_mnrl"),
    ({"columns": ("a", "b", "c"), "loss": "simcse"},
     "--loss simcse learns from sentences, and --columns names 3 columns: scored or triplets; for scored or triplets"),
    ({"columns": ("a",), "loss": "mnrl"}, "--loss mnrl learns from pairs or triplets, and --columns names one column"),
    ({"train_data": "rows.txt", "loss": "mnrl"}, "and rows.txt holds sentences; for sentences: simcse"),
    ({"train_data": "rows.TXT.gz", "loss": "cosent"}, "and rows.TXT.gz holds sentences; for sentences: simcse"),
    ({"train_data": "builtin:sports/scored:train", "loss": "mnrl"},
     "--loss mnrl learns from pairs or triplets, and builtin:sports/scored:train holds scored; for scored: cosent"),
    ({"train_data": "rows.txt", "columns": ("a", "b")}, "names 2 columns, and rows.txt has one: a sentence a line"),
    ({"train_data": "rows.txt", "shape": "pairs"}, "--shape pairs does not go with rows.txt, which holds sentences"),
    ({"train_data": "builtin:sports/pairs", "shape": "triplets"}, "--shape triplets does not go with builtin:sports"),
    ({"more_data": ("cosent=more.txt",)}, "--more-data cosent=more.txt: cosent learns from scored, and the data hold"),
    ({"mine_negatives": 3, "loss": "cosent"},
     "--mine-negatives looks for negatives of pairs, --loss cosent takes none; for pairs: mnrl, cached_mnrl"),
    ({"mine_negatives": 3, "columns": ("a", "b", "c")}, "of pairs, and --columns names 3 columns: scored or triplets"),
    ({"mine_negatives": 3, "train_data": "rows.txt"}, "looks for negatives of pairs, and rows.txt holds sentences"),
    ({"mine_negatives": 3, "train_data": "builtin:sports/triplets"}, "and builtin:sports/triplets holds triplets; lea"),
    ({"loss": "cosine", "temperature": 0.1},
     "--temperature is 0.1, and nothing reads it: --loss cosine has none, mnrl, cached_mnrl, cosent, angle, simcse"),
    ({"loss": "cosine", "more_data": ("cosine=a.csv",), "temperature": 0.1}, "--temperature is 0.1, and nothing reads"),
    ({"warmup": 0.3, "scheduler": "constant"}, "--warmup is 0.3, and nothing reads it: --scheduler constant"),
    ({"mini_batch": 8}, "--mini-batch is 8, and nothing reads it: it is for --loss cached_mnrl; leave it out"),
    ({"negative_margin": 0.1}, "--negative-margin is 0.1, and nothing reads it: it is for --mine-negatives, as in"),
    ({"flops_weight": 0.1, "sparse": "csr"}, "--flops-weight is 0.1, and nothing reads it: it is for a SPLADE model"),
    ({"merge": True}, "--merge writes adapters into their base, and there are none: add --lora"),
    ({"active_dims": 8}, "--active-dims is for --sparse csr"),
    ({"active_dims": 8, "sparse": "splade"}, "--active-dims is for --sparse csr"),
    ({"matryoshka": (32, 16), "sparse": "csr"}, "--matryoshka cuts dense embeddings; with --sparse csr leave it out"),
    ({"matryoshka": (32, 16, 32)}, "--matryoshka names a dimension twice: 32 16 32"),
    ({"mine_negatives": 1, "sparse": "splade"}, "--mine-negatives looks with dense embeddings; with --sparse splade"),
    ({"lora": LoRA(), "sparse": "csr"}, "--lora does not go with --sparse csr"),
    ({"lora": LoRA(), "soup": 3}, "--soup averages weights, and the mean of two adapters is no adapter of the mean"),
    ({"lora": LoRA(), "keep_base": 0.2}, "--keep-base mixes the base's weights into those that were trained"),
    ({"lora": LoRA(), "branches": ("simcse_unsup=0.3",)}, "--branches averages weights, and adapters leave those of"),
    ({"lora": LoRA(), "start": "my/model"}, "--start gives the base other weights, which adapters would not hold"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "told"), TOGETHER)
def test_fields_that_do_not_go_together_are_named(change: dict[str, object], told: str) -> None:
    [problem] = dataclasses.replace(GOOD, **change).check()  # type: ignore[arg-type]
    assert told in problem


def test_every_rule_has_a_case_above() -> None:
    told = [" ".join(dataclasses.replace(GOOD, **change).check()) for change, _ in TOGETHER]  # type: ignore[arg-type]
    rule_sentences = [
        node.value
        for node in ast.walk(ast.parse(Path(rules.__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.Yield) and node.value is not None
    ]
    assert len(rule_sentences) >= 18
    for sentence in rule_sentences:
        literal = [
            part.value for part in ast.walk(sentence) if isinstance(part, ast.Constant) and len(str(part.value)) > 8
        ]
        assert literal
        assert any(all(str(part) in problem for part in literal) for problem in told), ast.unparse(sentence)


@pytest.mark.parametrize(
    "change",
    [
        {"lora": LoRA(), "sparse": "splade"},
        {"lora": LoRA(), "merge": True},
        {"sparse": "csr", "active_dims": 8},
        {"loss": "cached_mnrl", "mini_batch": 16, "batch_size": 16},
        {"loss": "cached_mnrl", "batch_size": 16},
        {"more_data": ("cached_mnrl=a.csv",), "mini_batch": 8},
        {"mini_batch": 32},  # as records and plans of before have it
        {"forward": "chunked", "gradient_checkpointing": True},
        {"columns": ("a", "b"), "loss": "mnrl"},
        {"columns": ("a", "b", "c"), "loss": "cosent"},
        {"columns": ("a", "b", "c"), "loss": "mnrl"},
        {"columns": ("set",), "loss": "mnrl", "train_data": "rows.jsonl"},
        {"columns": ("set",), "mine_negatives": 3, "train_data": "ORG/NAME"},
        {"train_data": "rows.txt", "loss": "simcse"},
        {"train_data": "builtin:sports/scored", "shape": "pairs", "loss": "mnrl"},
        {"train_data": "builtin:sports/scored", "columns": ("sentence1", "sentence2"), "loss": "mnrl"},
        {"train_data": "builtin:sports", "loss": "angle"},
        {"loss": "cosine", "more_data": ("mnrl=a.csv",), "temperature": 0.1},
        {"loss": "cosine", "more_data": ("a.csv",), "temperature": 0.1},
        {"loss": "cosine"},
        {"mine_negatives": 3, "negative_margin": 0.1},
        {"flops_weight": 0.1},
        {"flops_weight": 0.1, "sparse": "splade"},
        {"loss": "mnrl", "shape": "triplets", "gradient_checkpointing": True},
        {"mine_negatives": 3, "shape": "pairs"},
        {"mine_negatives": 3},
        {"matryoshka": (8, 32, 16)},
        {"more_data": ("cosent=a.csv", "b.csv", "ORG/NAME/config:train", "mnrl=builtin:sports")},
        {"probe": ("p.csv",), "select_on": "s.csv", "report_on": "r.csv"},
        {"patience": 0, "epochs": 500.0},
        {"soup": 3, "keep_base": 0.2, "branches": ("simcse_unsup=0.3", "mnrl_minilm:a.csv=0.3")},
    ],
)
def test_fields_that_go_together_are_in_order(change: dict[str, object]) -> None:
    assert dataclasses.replace(GOOD, **change).check() == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        (None, []),
        (("cosent=a.csv",), [("cosent", "a.csv")]),
        (("a.csv",), [(None, "a.csv")]),
        (("./x=y.csv",), [(None, "./x=y.csv")]),
        (("ORG/NAME/a=b:train",), [(None, "ORG/NAME/a=b:train")]),
        (("mnrl=folder/x=y.csv:train",), [("mnrl", "folder/x=y.csv:train")]),
        (("mnrl=a.csv", "angle=ORG/NAME"), [("mnrl", "a.csv"), ("angle", "ORG/NAME")]),
    ],
)
def test_a_loss_before_the_equals_sign_is_told_from_a_path_with_one(
    entries: tuple[str, ...] | None, found: list[tuple[str | None, str]]
) -> None:
    assert row_shapes.named_losses(entries) == found


words = st.text("abcdefgh_.0123456789", min_size=1, max_size=12)
adapters = st.builds(
    LoRA,
    r=st.integers(1, 4096),
    alpha=st.integers(1, 4096),
    dropout=st.floats(0, 1, exclude_max=True),
    targets=st.lists(words, min_size=1, max_size=4).map(tuple),
)


@settings(max_examples=300, deadline=None)
@given(adapters)
def test_adapters_in_words_are_the_same_adapters_again(lora: LoRA) -> None:
    assert dataclasses.replace(GOOD, lora=lora).check() == []
    assert LoRA.of(str(lora).split()) == LoRA.of(lora.words) == lora


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(max_size=12) | st.sampled_from(["r=8", "alpha=0", "dropout=nan", "targets=", "targets=a,b"])))
def test_words_for_adapters_give_a_value_or_nothing(said: list[str]) -> None:
    found = LoRA.of(said)
    assert found is None or all(word.partition("=")[0] in ("r", "alpha", "dropout", "targets") for word in said)
    assert all(isinstance(problem, str) for problem in dataclasses.replace(GOOD, lora=found).check())


def test_words_for_adapters() -> None:
    assert LoRA.of([]) == LoRA()
    assert LoRA().words == []
    assert str(LoRA()) == "r=16 alpha=32 dropout=0 targets=all-linear"
    assert LoRA.of(["r=4", "targets=query,value"]) == LoRA(r=4, targets=("query", "value"))
    assert LoRA.of(["dropout=0.25"]) == LoRA(dropout=0.25)
    for wrong in (["r"], ["r=x"], ["r=4", "r=8"], ["rank=4"], ["r=1.5"], ["dropout=x"], ["alpha=16.0"]):
        assert LoRA.of(wrong) is None, wrong


values = (
    adapters
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.tuples(st.text())
    | st.tuples(st.floats(), st.floats())
    | st.lists(st.integers()).map(tuple)
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([field.name for field in dataclasses.fields(Recipe)]), values)
def test_no_value_of_any_field_makes_the_check_itself_fail(field: str, value: object) -> None:
    problems = dataclasses.replace(GOOD, **{field: value}).check()  # type: ignore[arg-type]
    assert all(isinstance(problem, str) and problem for problem in problems)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Recipe)])
def test_what_python_itself_cannot_show_is_told_all_the_same(field: str) -> None:
    deepest = deep()
    for value in (10**5000, -(10**5000), (10**5000,), Mute(), (Mute(),), deepest, (deepest,), "x" * 10_000):
        problems = dataclasses.replace(GOOD, **{field: value}).check()  # type: ignore[arg-type]
        assert all(len(problem) < 5000 for problem in problems)


plans = st.fixed_dictionaries(
    {},
    optional={
        "lora": adapters,
        "merge": st.booleans(),
        "matryoshka": st.lists(st.integers(1, 999), min_size=1).map(tuple),
        "more_data": st.lists(st.text(min_size=1), min_size=1).map(tuple),
        "probe": st.lists(st.text(min_size=1), min_size=1).map(tuple),
        "score_range": st.tuples(st.floats(-9, 0), st.floats(1, 9)),
        "prompt": st.text(),
        "temperature": st.floats(1e-6, 10),
        "active_dims": st.integers(1, 99),
        "patience": st.integers(0, 99),
        "stand_in_for": st.text(),
    },
)


@settings(max_examples=200, deadline=None)
@given(plans)
def test_a_plan_is_read_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, object]
) -> None:
    plan = Plan(
        recipe=dataclasses.replace(GOOD, **changes),  # type: ignore[arg-type]
        offline=True,
        command="hf-simtune tune rows.csv",
        created="2026-01-01T00:00:00+00:00",
        loss="cosent",
        precision="fp32",
        precision_reason="",
        base_weights="0" * 64,
        fingerprints={"train": "a", "probe 1": "b"},
        publish_examples=False,
        commit=None,
    )
    folder = RunFolder(tmp_path_factory.getbasetemp())
    folder.write_plan(plan)
    found = folder.read_plan()
    assert found == plan
    assert type(found.recipe.lora) is type(plan.recipe.lora)
    assert found.differences(plan) == []


def test_a_plan_tells_what_another_start_would_do_differently(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    test_values = {"offline": False, "command": "", "created": "", "loss": "", "precision": "", "precision_reason": ""}
    plan = Plan(
        recipe=dataclasses.replace(GOOD, lora=LoRA(r=8)),
        base_weights="",
        fingerprints={},
        publish_examples=False,
        commit=None,
        **test_values,  # type: ignore[arg-type]
    )
    other = dataclasses.replace(plan, recipe=dataclasses.replace(GOOD, lora=LoRA(r=4)))
    [difference] = plan.differences(other)
    assert difference.startswith("--lora was ")
    folder.write_plan(plan)
    value = json.loads(folder.plan.read_text(encoding="utf-8"))
    value["recipe"]["lora"]["rank"] = 3
    folder.plan.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(RequestError, match="unknown fields of LoRA: rank"):
        folder.read_plan()


def test_adapters_are_shown_with_every_field() -> None:
    assert str(LoRA()) == "r=16 alpha=32 dropout=0 targets=all-linear"
    assert LoRA().words == []
    assert LoRA(r=4, dropout=0.25).words == ["r=4", "dropout=0.25"]


@settings(max_examples=300, deadline=None)
@given(adapters)
def test_the_short_words_for_adapters_are_the_same_adapters_again(lora: LoRA) -> None:
    assert LoRA.of(lora.words) == lora
    assert set(lora.words) <= set(str(lora).split())
