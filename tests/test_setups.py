"""What a base does beside its weights: another tokenizer or pooling is another base, of the same weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer
from test_tuning import small
from tiny import tiny_model, tiny_splade, tiny_static

from hf_simtune import Recipe, models, tune
from hf_simtune.data import inputs
from hf_simtune.errors import RequestError
from hf_simtune.setups import setups
from hf_simtune.weights import weights_sha256


def changed(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def pooled(folder: Path) -> None:
    changed(folder / "1_Pooling" / "config.json", lambda value: value.update(pooling_mode="cls"))


def cased(folder: Path) -> None:
    changed(folder / "tokenizer_config.json", lambda value: value.update(do_lower_case=False))


def rounder(folder: Path) -> None:
    changed(folder / "config.json", lambda value: value.update(layer_norm_eps=1e-3))


def prompted(folder: Path) -> None:
    prompts = {"prompts": {"query": "find: "}, "default_prompt_name": "query"}
    changed(folder / "config_sentence_transformers.json", lambda value: value.update(prompts))


CHANGES = [(pooled, "module 1"), (cased, "tokenizer"), (rounder, "configuration"), (prompted, "prompts")]


@pytest.mark.parametrize(("change", "part"), CHANGES)
def test_a_run_is_not_gone_on_with_on_a_base_of_the_same_weights_that_does_otherwise(
    tmp_path: Path, change: Callable[[Path], None], part: str
) -> None:
    base = tiny_model(tmp_path / "tiny")
    untouched = shutil.copytree(base, tmp_path / "untouched")
    run = tune(small(base, train_rows=32, epochs=1.0, evaluations=1), out=tmp_path / "runs")
    (tmp_path / "unfinished").mkdir()
    shutil.copy(run.folder / "plan.json", tmp_path / "unfinished")
    change(base)
    before, after = (SentenceTransformer(str(folder), device="cpu") for folder in (untouched, base))
    assert weights_sha256(before) == weights_sha256(after)
    assert {name for name, digits in setups(before).items() if setups(after)[name] != digits} == {part}
    with pytest.raises(RequestError, match=f"not the one that the run started from: its {part} differs") as told:
        tune(small(base, train_rows=32, epochs=1.0, evaluations=1), resume=tmp_path / "unfinished")
    assert len(told.value.problems) == 1


@pytest.mark.parametrize("make", [tiny_model, tiny_splade, tiny_static])
def test_use_and_another_place_leave_it_as_it_was(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    folder = make(tmp_path / "here")
    model, _ = models.load(str(folder))
    found = setups(model)
    assert {"tokenizer", "prompts", "lengths", "module 0"} <= set(found)
    assert all(len(digits) == 16 for digits in found.values())
    model.encode(["a red bus", "we eat fish by the river " * 40], show_progress_bar=False)
    assert setups(model) == found
    again, _ = models.load(str(shutil.copytree(folder, tmp_path / "there")))
    assert setups(again) == found


def test_rows_in_other_parts_are_other_rows(tmp_path: Path) -> None:
    train, select, report = tmp_path / "train.csv", tmp_path / "select.csv", tmp_path / "report.csv"
    for path, first in ((train, 0), (select, 100), (report, 200)):
        parts = ["news", "captions"] if path == report else ["news"]
        rows = [f"one {n},two {n},{n % 6 / 5},{parts[n % len(parts)]}" for n in range(first, first + 40)]
        path.write_text("\n".join(["sentence1,sentence2,score,subset", *rows]), encoding="utf-8")
    recipe = Recipe(name="x", train_data=str(train), select_on=str(select), report_on=str(report), batch_size=8)
    before = inputs.prepare(recipe).fingerprints
    report.write_text(report.read_text(encoding="utf-8").replace("news", "forums"), encoding="utf-8")
    after = inputs.prepare(recipe).fingerprints
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == {"report"}
