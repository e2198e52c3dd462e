"""The rows of a run: what is measured on what, and what is refused before anything is trained."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import CHECKOUT

from hf_simtune.data.inputs import prepare
from hf_simtune.data.leakage import shared_pairs
from hf_simtune.data.load import load
from hf_simtune.data.spec import check_names
from hf_simtune.errors import HubError, RequestError
from hf_simtune.recipe import LOSS_SHAPES, Recipe

Pair = tuple[str, str]


def pairs(path: Path, count: int = 40) -> str:
    path.write_text("anchor,positive\n" + "".join(f"query {n},answer {n}\n" for n in range(count)), encoding="utf-8")
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


def test_unscored_rows_of_your_own_are_measured_offline_without_the_hub(tmp_path: Path) -> None:
    own = recipe(pairs(tmp_path / "pairs.csv"))
    inputs = prepare(own, offline=True)
    titles = [loaded.source.title for loaded in (inputs.train, inputs.select, inputs.report)]
    assert titles == ["pairs.csv", "builtin:sports/scored:validation", "builtin:sports/scored:test"]
    assert [fact.evaluation for fact in inputs.leaks.facts] == titles[1:]
    with pytest.raises(HubError, match="sentence-transformers/stsb"):  # and online, on what the Hub has
        prepare(own)


def test_an_offline_run_refuses_every_name_on_the_hub(tmp_path: Path) -> None:
    named = recipe("org/rows:train", select_on="org/rows:validation", report_on=scored(tmp_path / "a.jsonl", []))
    with pytest.raises(RequestError) as caught:
        prepare(named, offline=True)
    assert [problem.split(",")[0] for problem in caught.value.problems] == [
        "--train-data is 'org/rows:train'",
        "--select-on is 'org/rows:validation'",
    ]
    assert all("which is on the Hub" in problem for problem in caught.value.problems)


def test_all_names_that_stand_for_nothing_are_told_at_once_before_anything_is_loaded(tmp_path: Path) -> None:
    broken = pairs(tmp_path / "pairs.csv")
    wrong = recipe("nowhere.csv", select_on=str(tmp_path / "pears.csv"), report_on="builtin:sports/scored:dev")
    problems = check_names(wrong)
    assert problems == [
        "--train-data is 'nowhere.csv': there is no file or folder 'nowhere.csv'",
        f"--select-on is {wrong.select_on!r}: there is no file or folder {wrong.select_on!r}; did you mean {broken!r}?",
        "--report-on is 'builtin:sports/scored:dev': builtin:sports has no scored:dev; it has pairs, scored, "
        "triplets, sentences, each with :train, :validation, :test",
    ]
    with pytest.raises(RequestError) as caught:
        prepare(wrong)
    assert list(caught.value.problems) == problems
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


@pytest.mark.parametrize(("loss", "shape"), [(None, "pairs"), ("mnrl", "pairs"), ("cosent", "scored")])
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
    assert found == {"pairs triplets scored"}
    assert {"pairs", "triplets", "scored"} == {shape for shapes in LOSS_SHAPES.values() for shape in shapes}


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
