"""The rows of a run: what is measured on what, and what is refused before anything is trained."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from conftest import CHECKOUT, Write
from datasets import Dataset

from hf_simtune.data.inputs import prepare
from hf_simtune.data.leakage import shared_pairs
from hf_simtune.data.load import load
from hf_simtune.data.measured import SPORTS
from hf_simtune.data.spec import check_names
from hf_simtune.errors import HubError, RequestError
from hf_simtune.recipe import LOSS_SHAPES, SHAPES, Recipe
from hf_simtune.row_shapes import default_loss

Pair = tuple[str, str]


def odd(n: int) -> str:
    """A word like no other: texts that differ by a digit are near, and the leak check takes them."""
    return hashlib.sha256(str(n).encode()).hexdigest()[:16]


def pairs(path: Path, count: int = 40) -> str:
    path.write_text(
        "anchor,positive\n" + "".join(f"query {odd(n)},answer {odd(n)}\n" for n in range(count)), encoding="utf-8"
    )
    return str(path)


def scored(path: Path, rows: Sequence[Pair]) -> str:
    path.parent.mkdir(exist_ok=True)
    lines = (json.dumps({"sentence1": a, "sentence2": b, "score": n % 5 / 4}) for n, (a, b) in enumerate(rows))
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def numbered(word: str, count: int) -> list[Pair]:
    return [(f"{word} number {n}", f"{n} is a {word}") for n in range(count)]


def recipe(train: str, **changes: object) -> Recipe:
    return dataclasses.replace(Recipe(train_data=train, batch_size=8), **changes)  # type: ignore[arg-type]


def triplets(path: Path, count: int) -> str:
    lines = (
        json.dumps({"anchor": f"query {odd(n)}", "positive": f"answer {odd(n)}", "negative": f"no {odd(n)}"})
        for n in range(count)
    )
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def texts(dataset: Dataset) -> set[str]:
    return {text for name in dataset.column_names if name not in ("row", "group", "score") for text in dataset[name]}


@pytest.mark.parametrize(("write", "shape"), [(pairs, "pairs"), (triplets, "triplets")])
@pytest.mark.parametrize("offline", [False, True])
def test_pairs_and_triplets_of_your_own_are_held_out_and_graded_without_the_hub(
    write: Callable[[Path, int], str], shape: str, offline: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="hf_simtune"):
        inputs = prepare(
            recipe(write(tmp_path / "mine.jsonl" if shape == "triplets" else tmp_path / "mine.csv", 400)),
            offline=offline,
        )
    loaded = (inputs.train, inputs.select, inputs.report)
    name = inputs.train.source.name
    assert [one.source.title for one in loaded] == [f"{name}:train", f"{name}:select", f"{name}:report"]
    assert [one.source.shape for one in loaded] == [shape, "scored", "scored"]
    assert len(inputs.rows) == 320
    assert [len(one.dataset) for one in loaded[1:]] == [80, 80]
    found = [texts(one.dataset) for one in loaded]
    assert not found[0] & found[1] and not found[0] & found[2] and not found[1] & found[2]
    assert [fact.evaluation for fact in inputs.leaks.facts] == [f"{name}:select", f"{name}:report"]
    assert f"{name} has no scores: select: 10 % of the {shape} held out" in caplog.text


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("anchor,positive\n" + "".join(f"query {n},answer {n}\n" for n in range(40)), "rows.csv has 40 pairs"),
        ("anchor,positive\n" + "".join(f"query,answer {n}\n" for n in range(400)), "has 400 rows in 1 groups"),
        ("sentence\n" + "".join(f"sentence {n}\n" for n in range(400)), "holds plain sentences and no pairs"),
    ],
)
def test_where_nothing_can_be_held_out_the_run_is_measured_elsewhere_and_says_why(
    content: str, why: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    own = recipe(write("rows.csv", content))
    with caplog.at_level(logging.INFO, logger="hf_simtune"):
        inputs = prepare(own, offline=True)
    titles = [loaded.source.title for loaded in (inputs.train, inputs.select, inputs.report)]
    assert titles == ["rows.csv", "builtin:sports/scored:validation", "builtin:sports/scored:test"]
    assert [fact.evaluation for fact in inputs.leaks.facts] == titles[1:]
    assert why in caplog.text
    assert "measuring on builtin:sports/scored:validation and builtin:sports/scored:test" in caplog.text
    with pytest.raises(HubError, match="sentence-transformers/stsb"):  # and online, on what the Hub has
        prepare(own)


def graded(path: Path, count: int) -> str:
    return scored(path, [(f"this {odd(n)}", f"that {odd(n)}") for n in range(count)])


@pytest.mark.parametrize("write", [pairs, triplets, graded])
@pytest.mark.parametrize("named", ["select", "report"])
def test_the_rows_that_are_not_named_are_kept_from_the_training_rows(
    write: Callable[[Path, int], str], named: str, tmp_path: Path
) -> None:
    path = tmp_path / ("mine.csv" if write is pairs else "mine.jsonl")
    other = scored(tmp_path / "other.jsonl", numbered("plant", 60))
    inputs = prepare(recipe(write(path, 400), **{f"{named}_on": other}), offline=True)
    missing = {"select": "report", "report": "select"}[named]
    assert (getattr(inputs, named).source.title, len(getattr(inputs, named).dataset)) == ("other.jsonl", 60)
    part = getattr(inputs, missing)
    assert part.source.title == f"{path.name}:{missing}"
    assert len(inputs.rows) == 360 and inputs.train.source.part == "train: 90 % of the rows, by connected rows"
    assert len(part.dataset) == (40 if inputs.train.source.shape == "scored" else 80)
    assert not texts(inputs.rows) & texts(part.dataset)
    assert [fact.evaluation for fact in inputs.leaks.facts] == [inputs.select.source.title, inputs.report.source.title]


@pytest.mark.parametrize("named", ["select", "report"])
def test_named_rows_that_the_training_file_holds_too_are_neither_trained_nor_measured_on_twice(
    named: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [(f"this {odd(n)}", f"that {odd(n)}") for n in range(400)]
    own = recipe(scored(tmp_path / "train.jsonl", rows), **{f"{named}_on": scored(tmp_path / "few.jsonl", rows[:100])})
    with caplog.at_level(logging.WARNING, logger="hf_simtune"):
        inputs = prepare(own, offline=True)
    part = inputs.report if named == "select" else inputs.select
    shared = 40 - len(part.dataset)
    assert 0 < shared < 40 and f"{shared} rows of few.jsonl left out" in str(part.source.part)
    assert f"{part.source.title}: {shared} rows of few.jsonl left out" in caplog.text
    assert not texts(getattr(inputs, named).dataset) & (texts(part.dataset) | texts(inputs.rows))
    assert len(inputs.rows) == 360 - (100 - shared)


@pytest.mark.parametrize(("flag", "taken"), [("select_on", SPORTS[1]), ("report_on", SPORTS[0])])
def test_rows_that_are_named_are_not_borrowed_once_more(flag: str, taken: str, write: Write) -> None:
    rows = write("rows.csv", "sentence\n" + "".join(f"sentence {n}\n" for n in range(400)))
    inputs = prepare(recipe(rows, **{flag: taken}), offline=True)
    assert {inputs.select.source.title, inputs.report.source.title} == set(SPORTS)


def test_columns_and_scale_of_ones_own_evaluation_rows_are_not_those_of_borrowed_ones(write: Write) -> None:
    rows = write("rows.csv", "sentence\n" + "".join(f"sentence {n}\n" for n in range(400)))
    lines = [f"this {odd(n)},that {odd(n)},{n % 6}" for n in range(60)]
    mine = write("mine.csv", "\n".join(["a,b,label", *lines]))
    told = {"eval_columns": ("a", "b", "label"), "eval_score_range": (0.0, 5.0)}
    inputs = prepare(recipe(rows, report_on=mine, **told), offline=True)
    assert inputs.report.source.rescaled_from == (0.0, 5.0) and inputs.select.source.rescaled_from is None
    assert max(inputs.select.dataset["score"]) == 1.0 == max(inputs.report.dataset["score"])
    named = prepare(recipe(rows, select_on=SPORTS[0], report_on=mine, **told), offline=True)
    assert named.select.source.fingerprint == inputs.select.source.fingerprint


def test_beside_plain_sentences_only_what_is_missing_is_measured_elsewhere(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    rows = write("rows.csv", "sentence\n" + "".join(f"sentence {n}\n" for n in range(400)))
    mine = scored(Path(rows).parent / "mine.jsonl", numbered("plant", 60))
    with caplog.at_level(logging.INFO, logger="hf_simtune"):
        inputs = prepare(recipe(rows, report_on=mine), offline=True)
    assert (inputs.select.source.title, inputs.report.source.title) == (SPORTS[0], "mine.jsonl")
    assert caplog.text.count(f"measuring on {SPORTS[0]}\n") == 1
    with pytest.raises(HubError, match="stsb") as caught:
        prepare(recipe(rows, report_on=mine))
    assert "--select-on FILE;" in str(caught.value.hint) and "--report-on" not in str(caught.value.hint)


def test_the_built_in_corpus_is_measured_on_its_own_graded_rows_and_named_rows_are_taken(tmp_path: Path) -> None:
    inputs = prepare(recipe("builtin:sports/triplets:train", train_rows=300), offline=True)
    assert [one.source.title for one in (inputs.select, inputs.report)] == list(SPORTS)
    named = recipe(pairs(tmp_path / "mine.csv", 400), select_on=SPORTS[0], report_on=SPORTS[1])
    inputs = prepare(named)
    assert (inputs.train.source.title, len(inputs.rows)) == ("mine.csv", 400)


def test_probes_and_further_training_sets_are_loaded_titled_and_checked_against_each_other(tmp_path: Path) -> None:
    probe, same = numbered("animal", 40), numbered("plant", 40)
    (tmp_path / "b").mkdir()
    own = recipe(
        pairs(tmp_path / "pairs.csv", 400),
        probe=(scored(tmp_path / "probe.jsonl", probe), scored(tmp_path / "b" / "probe.jsonl", same)),
        more_data=(
            scored(tmp_path / "more.jsonl", [*numbered("stone", 30), probe[3], same[4][::-1], probe[5]]),
            "cached_mnrl=" + pairs(tmp_path / "again.csv", 400),
            "simcse=builtin:sports",
        ),
        train_rows=400,
    )
    inputs = prepare(own)
    titles = ["pairs.csv:select", "pairs.csv:report", "probe.jsonl", "probe.jsonl:probe 2"]
    assert [one.source.title for one in (inputs.select, inputs.report, *inputs.probes)] == titles
    assert [fact.evaluation for fact in inputs.leaks.facts] == titles
    assert [(one.loss, one.loaded.source.shape) for one in inputs.further] == [
        ("cosent", "scored"),
        ("cached_mnrl", "pairs"),
        ("simcse", "sentences"),
    ]
    # The same pairs once more, not split: those that were held out of the first set leave the second.
    assert [len(one.rows) for one in inputs.further] == [30, 320, 400]
    assert [len(drop) for drop in inputs.leaks.further] == [3, 80, 0]
    assert inputs.leaks.drop.size == 0
    assert [fact.rows_dropped for fact in inputs.leaks.facts] == [40, 40, 2, 1]
    assert set(inputs.rows["row"]) == set(inputs.further[1].rows["row"])
    assert list(inputs.fingerprints) == [
        "train",
        "select",
        "report",
        "probe 1",
        "probe 2",
        "further 1",
        "further 2",
        "further 3",
    ]
    assert len(set(inputs.fingerprints.values())) == 8
    kept = prepare(dataclasses.replace(own, keep_leaks=True))
    assert [len(one.rows) for one in kept.further] == [33, 400, 400]
    assert {fact.rows_dropped for fact in kept.leaks.facts} == {0}
    assert [fact.pairs_exact for fact in kept.leaks.facts] == [fact.pairs_exact for fact in inputs.leaks.facts]


def test_a_training_row_that_is_a_pair_of_a_probe_is_dropped(tmp_path: Path) -> None:
    probe = scored(tmp_path / "probe.jsonl", [*numbered("animal", 20), (f"Query {odd(7)}!", f"answer {odd(7)}")])
    inputs = prepare(recipe(pairs(tmp_path / "pairs.csv"), probe=(probe,)), offline=True)
    assert inputs.leaks.drop.tolist() == [7]
    assert inputs.leaks.facts[2].examples == ((7, 20),)
    assert len(inputs.rows) == 39


def test_every_loss_that_does_not_take_its_rows_is_refused_at_once(tmp_path: Path) -> None:
    wrong = recipe(
        scored(tmp_path / "train.jsonl", numbered("animal", 40)),
        loss="mnrl",
        select_on=pairs(tmp_path / "select.csv"),
        report_on=SPORTS[1],
        probe=(triplets(tmp_path / "probe.jsonl", 30),),
        more_data=("cosent=" + triplets(tmp_path / "more.jsonl", 30), "simcse=" + pairs(tmp_path / "again.csv")),
    )
    with pytest.raises(RequestError) as caught:
        prepare(wrong)
    assert [problem.partition(" holds ")[0] for problem in caught.value.problems] == [
        "train.jsonl",
        "select.csv",
        "probe.jsonl",
        "more.jsonl",
        "again.csv",
    ]
    assert "more.jsonl holds triplets (anchor, positive, negative); wanted here: scored" in str(caught.value)
    assert "again.csv holds pairs (anchor, positive); wanted here: sentences" in str(caught.value)


def test_what_the_recipe_says_of_its_evaluation_rows_is_tried_on_a_probe_that_does_not_tell(write: Write) -> None:
    def rated(name: str, header: str) -> str:
        return write(name, header + "".join(f"a {n},b {n},c {n},{n % 6}\n" for n in range(30)))

    own = recipe(
        rated("train.csv", "one,two,three,rating\n"),
        columns=("one", "two"),
        shape="pairs",
        select_on=rated("select.csv", "x,y,z,mark\n"),
        report_on=write("report.csv", "x,y,z,mark\n" + "".join(f"d {n},e {n},f {n},{n % 6}\n" for n in range(30))),
        eval_columns=("x", "y", "mark"),
        eval_score_range=(0.0, 5.0),
        probe=(
            write("named.csv", "sentence1,sentence2,score\n" + "".join(f"g {n},h {n},{n % 2}\n" for n in range(30))),
            write("scale.csv", "sentence1,sentence2,score\n" + "".join(f"i {n},j {n},{n % 6}\n" for n in range(30))),
            write("told.csv", "x,y,z,mark\n" + "".join(f"k {n},l {n},m {n},{n % 6}\n" for n in range(30))),
        ),
        keep_leaks=True,
    )
    probes = prepare(own).probes
    assert [one.source.columns for one in probes] == [("sentence1", "sentence2", "score")] * 2 + [("x", "y", "mark")]
    assert [one.source.rescaled_from for one in probes] == [None, (0.0, 5.0), (0.0, 5.0)]
    lost = dataclasses.replace(own, eval_columns=("x", "z", "mark"), probe=(write("lost.csv", "p,q,r\na,b,c\n"),))
    with pytest.raises(RequestError, match=r"lost\.csv"):
        prepare(lost)


def test_training_sets_that_fill_no_batch_are_named_together(tmp_path: Path) -> None:
    own = recipe(
        pairs(tmp_path / "pairs.csv", 40),
        batch_size=64,
        more_data=(pairs(tmp_path / "few.csv", 12), pairs(tmp_path / "many.csv", 90)),
    )
    with pytest.raises(RequestError) as caught:
        prepare(own, offline=True)
    assert caught.value.problems == (
        "40 training rows of pairs.csv are left, fewer than one batch of 64",
        "12 training rows of few.csv are left, fewer than one batch of 64",
    )
    assert caught.value.hint == "Give more rows, or --batch-size 3"


def test_each_shape_has_a_loss_of_its_own() -> None:
    assert {shape: default_loss(shape) for shape in SHAPES} == {
        "pairs": "mnrl",
        "triplets": "mnrl",
        "scored": "cosent",
        "sentences": "simcse",
    }


def test_an_offline_run_refuses_every_name_on_the_hub(tmp_path: Path) -> None:
    named = recipe(
        "org/rows:train",
        select_on="org/rows:validation",
        report_on=scored(tmp_path / "a.jsonl", []),
        probe=("org/probe",),
        more_data=("cosent=org/more",),
    )
    with pytest.raises(RequestError) as caught:
        prepare(named, offline=True)
    assert [problem.split(",")[0] for problem in caught.value.problems] == [
        "--train-data is 'org/rows:train'",
        "--more-data is 'org/more'",
        "--select-on is 'org/rows:validation'",
        "--probe is 'org/probe'",
    ]
    assert all("which is on the Hub" in problem for problem in caught.value.problems)


def test_all_names_that_stand_for_nothing_are_told_at_once_before_anything_is_loaded(tmp_path: Path) -> None:
    broken = pairs(tmp_path / "pairs.csv")
    wrong = recipe(
        "nowhere.csv",
        select_on=str(tmp_path / "pears.csv"),
        report_on="builtin:sports/scored:dev",
        more_data=("cosent=lost.csv", broken),
        probe=(broken, "stsb"),
    )
    problems = check_names(wrong)
    probe = problems.pop()
    assert probe.startswith("--probe is 'stsb': it is neither a file or folder here nor a Hub id")
    assert problems == [
        "--train-data is 'nowhere.csv': there is no file or folder 'nowhere.csv'",
        "--more-data is 'lost.csv': there is no file or folder 'lost.csv'",
        f"--select-on is {wrong.select_on!r}: there is no file or folder {wrong.select_on!r}; did you mean {broken!r}?",
        "--report-on is 'builtin:sports/scored:dev': builtin:sports has no scored:dev; it has pairs, scored, "
        "triplets, sentences, each with :train, :validation, :test",
    ]
    with pytest.raises(RequestError) as caught:
        prepare(wrong)
    assert list(caught.value.problems) == [*problems, probe]
    # The training rows are on the Hub, which a test cannot reach: the wrong name is found before it is asked.
    with pytest.raises(RequestError, match="--report-on is 'stsb': it is neither a file or folder here nor a Hub id"):
        prepare(recipe("org/rows", select_on=broken, report_on="stsb"))
    assert check_names(recipe(broken, select_on="org/a:test", report_on="builtin:sports:test")) == []
    assert check_names(recipe(f"{broken}:train")) == [
        f"--train-data is '{broken}:train': a file has no split 'train'. Name the file alone: {broken}"
    ]


def test_names_are_checked_without_any_heavy_import() -> None:
    code = (
        "import sys; from hf_simtune.data.spec import check_names; from hf_simtune.recipe import Recipe;"
        "check_names(Recipe(train_data='builtin:sports'), offline=True);"
        "print([m for m in ('datasets', 'pyarrow', 'torch', 'numpy', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("loss", "shape"), [(None, "pairs"), ("mnrl", "pairs"), ("cosent", "scored"), ("simcse", "sentences")]
)
def test_the_built_in_corpus_without_a_shape_is_one_that_the_loss_learns_from(loss: str | None, shape: str) -> None:
    assert prepare(recipe("builtin:sports", loss=loss), offline=True).train.source.shape == shape


def test_which_shapes_can_be_learned_from_has_one_order_in_every_process() -> None:
    code = "from hf_simtune.data.inputs import _learns; print(*_learns(None))"
    found = set()
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT, env=environment
        )
        found.add(done.stdout.strip())
    assert found == {"pairs triplets scored sentences"}
    assert set(SHAPES) == {shape for shapes in LOSS_SHAPES.values() for shape in shapes}


def test_both_parts_of_a_split_file_are_checked_for_leaks(tmp_path: Path) -> None:
    rows = scored(tmp_path / "rows.jsonl", numbered("thing", 400))
    inputs = prepare(recipe(rows))
    assert [inputs.select.source.title, inputs.report.source.title] == ["rows.jsonl:select", "rows.jsonl:report"]
    assert [fact.evaluation for fact in inputs.leaks.facts] == ["rows.jsonl:select", "rows.jsonl:report"]
    assert [fact.sentences for fact in inputs.leaks.facts] == [2 * len(inputs.select.dataset)] * 2


def test_two_files_of_one_name_are_both_checked_for_leaks(tmp_path: Path) -> None:
    train = [(f"{letter * 9} is here", f"there goes {letter * 7}") for letter in "bcdfghjklmnpqrst"]
    select = scored(tmp_path / "a" / "rows.jsonl", [*numbered("animal", 30), train[3]])
    report = scored(tmp_path / "b" / "rows.jsonl", [*numbered("plant", 30), train[5]])
    inputs = prepare(recipe(scored(tmp_path / "rows.jsonl", train), select_on=select, report_on=report))
    facts = {fact.evaluation: (fact.pairs_exact, fact.examples) for fact in inputs.leaks.facts}
    assert facts == {"rows.jsonl:select": (1, ((3, 30),)), "rows.jsonl": (1, ((5, 30),))}
    assert set(facts) == {inputs.select.source.title, inputs.report.source.title}
    assert inputs.leaks.drop.tolist() == [3, 5]


def test_rows_to_select_and_report_on_that_overlap_are_refused_with_their_numbers(tmp_path: Path) -> None:
    rows = numbered("animal", 200)
    select = scored(tmp_path / "select.jsonl", rows)
    turned = [(b.upper() + "!", a) for a, b in rows[1:]]
    report = scored(tmp_path / "report.jsonl", [("one", "of its own"), *turned])
    with pytest.raises(RequestError) as caught:
        prepare(recipe(pairs(tmp_path / "pairs.csv"), select_on=select, report_on=report))
    assert "select.jsonl and report.jsonl share 199 of 200 pairs to report on" in str(caught.value)
    assert "(rows 1 and 1, 2 and 2, 3 and 3, 4 and 4, 5 and 5, ...)" in str(caught.value)
    assert "--report-on" in str(caught.value)


@pytest.mark.parametrize(("count", "refused"), [(200, False), (100, True)])
def test_a_shared_pair_among_many_is_told_and_not_refused(
    count: int, refused: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    select = scored(tmp_path / "select.jsonl", numbered("animal", 50))
    report = scored(tmp_path / "report.jsonl", [*numbered("plant", count - 1), ("Animal number 7.", "7 is a animal")])
    named = recipe(pairs(tmp_path / "pairs.csv"), select_on=select, report_on=report)
    told = f"select.jsonl and report.jsonl share 1 of {count} pairs to report on (rows 7 and {count - 1})"
    if refused:
        with pytest.raises(RequestError) as caught:
            prepare(named)
        assert told in str(caught.value)
        return
    with caplog.at_level(logging.WARNING, logger="hf_simtune"):
        prepare(named)
    assert told in caplog.text


def test_the_sts_benchmark_shares_four_pairs_with_itself_and_is_taken(
    shared_hub: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stsb = shared_hub / "sentence-transformers" / "stsb"
    select, report = (load(f"{stsb}:{split}", cache_dir=tmp_path / "cache") for split in ("validation", "test"))
    assert [row for _, row in shared_pairs(select.dataset, report.dataset)] == [9, 10, 68, 138]
    with caplog.at_level(logging.WARNING, logger="hf_simtune"):
        prepare(recipe(pairs(tmp_path / "pairs.csv"), select_on=f"{stsb}:validation", report_on=f"{stsb}:test"))
    assert "share 4 of 1,379 pairs" in caplog.text


def test_a_folder_that_calls_itself_a_data_set_of_the_hub_stays_a_local_copy(tmp_path: Path) -> None:
    folder = tmp_path / "datasets" / "acme" / "secret"
    folder.mkdir(parents=True)
    scored(folder / "train.jsonl", numbered("thing", 20))
    source = load(str(folder), cache_dir=tmp_path / "cache").source
    assert (source.name, source.kind, source.revision) == ("acme/secret", "local copy", None)


def test_plain_sentences_without_the_hub_are_told_every_way_on(write: Write) -> None:
    with pytest.raises(HubError, match="could not reach the Hub") as caught:
        prepare(recipe(write("s.txt", "".join(f"sentence {n}\n" for n in range(40)))))
    hint = str(caught.value.hint)
    assert hint.startswith("s.txt holds plain sentences and no pairs, so the run is to be measured on sentence-transf")
    for way in ("--select-on FILE --report-on FILE", "--offline", "HF_HOME=FOLDER"):
        assert way in hint
