"""The runs that are to be on record, the ablation's table, and the ledger of looks at the test rows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_ways
from fake_runs import Done, record_of
from test_reference import cells, scores

from hf_simtune import ablation, beside, catalogue, ledger, quoted, reference_runs, scores_file
from hf_simtune.errors import RunError
from hf_simtune.recipe import BUILTIN_MINILM, Recipe
from hf_simtune.record import RunRecord
from hf_simtune.wording import points, signed

TEST = "sentence-transformers/stsb:test"


def test_every_wanted_run_is_a_recipe_that_can_be_run_in_a_place_of_its_own() -> None:
    wanted = reference_runs.wanted()
    assert len({one.place for one in wanted}) == len(wanted)
    for one in wanted:
        assert one.recipe.check() == [], one.place
        assert one.recipe.seed == int(one.place.rpartition("/")[2])
        assert one.origin in catalogue.shipped()


def test_no_lever_looks_at_the_test_rows_and_no_two_are_the_same() -> None:
    tried = [
        (ablation.recipe(name, seed), lever.first) for name, lever in ablation.LEVERS.items() for seed in lever.seeds
    ]
    for recipe, _ in tried:
        looked = (recipe.select_on, recipe.report_on, *(recipe.probe or ()))
        assert TEST not in looked and "sentence-transformers/stsb:validation" in looked
    bare = [(dataclasses.replace(recipe, name="", title=""), first) for recipe, first in tried]
    assert all(one not in bare[:index] for index, one in enumerate(bare))


def test_local_takes_every_name_of_the_hub_from_a_folder() -> None:
    recipe = dataclasses.replace(
        catalogue.find("cosent_minilm"), more_data=("mnrl=ORG/NAME", "a.csv"), probe=None, report_on="builtin:sports"
    )
    found = reference_runs.local(recipe, "copy/")
    assert found.model == BUILTIN_MINILM
    assert found.train_data == "copy/sentence-transformers/stsb:train"
    assert found.select_on == "copy/sentence-transformers/stsb:validation"
    assert found.report_on == "builtin:sports"
    assert found.more_data == ("mnrl=copy/ORG/NAME", "a.csv")
    assert reference_runs.local(recipe, "") == recipe


class Tunes:
    """Stands in for ``tune``, and can be cut short."""

    def __init__(self) -> None:
        self.calls: list[tuple[Recipe, Path | None]] = []
        self.dies = False

    def __call__(self, recipe: Recipe, *, out: Path, resume: Path | None, origin: tuple[str, Recipe]) -> Done:
        self.calls.append((recipe, resume))
        folder = resume or out / "run-1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plan.json").write_text("{}", encoding="utf-8")
        if self.dies:
            raise KeyboardInterrupt
        record = record_of(recipe, 0.88)
        scores_file.write(folder / "scores.parquet", [scores(evaluation) for evaluation in record.evaluations])
        record.save(folder / "record.json")
        return Done(folder, record)


def test_a_run_that_was_cut_short_is_taken_up_and_one_on_record_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tunes = Tunes()
    monkeypatch.setattr("hf_simtune.tuning.tune", tunes)
    words = ["--checkout", str(tmp_path), "--hub", "copy/", "--only", "ablation/plain"]
    tunes.dies = True
    with pytest.raises(KeyboardInterrupt):
        reference_runs.main(words)
    assert not list(tmp_path.glob("model_cards/**/record.json"))
    tunes.dies = False
    assert reference_runs.main(words) == 0
    assert [resume is not None for _, resume in tunes.calls] == [False, True, False, False]
    assert all(recipe.model == BUILTIN_MINILM for recipe, _ in tunes.calls)
    places = sorted(path.parent for path in tmp_path.glob("model_cards/**/record.json"))
    assert [place.name for place in places] == ["1", "2", "42"]
    assert all((place / "scores.parquet").is_file() for place in places)
    # A finished run whose record never got into the tree is not run again.
    (places[0] / "record.json").unlink()
    capsys.readouterr()
    assert reference_runs.main([*words, "--list"]) == 0
    assert capsys.readouterr().out == "1 of 1: model_cards/ablation/plain/1\n"
    assert reference_runs.main(words) == 0
    assert len(tunes.calls) == 4
    assert (places[0] / "record.json").is_file()


def test_a_stage_goes_on_from_the_run_of_its_seed_which_has_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tunes = Tunes()
    monkeypatch.setattr("hf_simtune.tuning.tune", tunes)
    order = [one.place for one in reference_runs.wanted()]
    assert order.index("ablation/contrastive-first/1") > order.index("mnrl_minilm/1")
    stage = ["--checkout", str(tmp_path), "--hub", "copy/", "--only", "ablation/contrastive-first/1"]
    assert reference_runs.main(stage) == 1
    told = capsys.readouterr().err
    assert "contrastive-first/1 goes on from the model of mnrl_minilm/1" in told and "--only mnrl_minilm/1" in told
    assert not tunes.calls
    reference_runs.main(["--checkout", str(tmp_path), "--hub", "copy/", "--only", "mnrl_minilm/1"])
    reference_runs.main(stage)
    first, second = (recipe for recipe, _ in tunes.calls)
    assert (first.start, first.seed, second.seed) == (None, 1, 1)
    assert second.start == str(tmp_path / "runs" / "reference" / "mnrl_minilm" / "1" / "run-1" / "model")
    assert second.loss == "cosent"


def tried(cards: Path, lever: str, seed: int, spearman: float, noise: float, found: float | None = None) -> None:
    """A run of the ablation whose tuned similarities are this far from the gold scores, and what it retrieves."""
    record = record_of(Recipe(name=lever, seed=seed), spearman)
    if found is not None:
        retrieval = sample_ways.matryoshka().report.retrieval
        assert retrieval
        report, *others = record.evaluations
        changed = dataclasses.replace(report, retrieval=dataclasses.replace(retrieval, base=0.8, tuned=found))
        record = dataclasses.replace(record, evaluations=(changed, *others))
    parts = []
    for evaluation in record.evaluations:
        part = scores(evaluation)
        off = np.random.default_rng(seed).normal(0, noise, len(part))
        parts.append(dataclasses.replace(part, tuned=np.clip(part.gold + off, -1, 1)))
    place = cards / ablation.FOLDER / lever / str(seed)
    place.mkdir(parents=True)
    record.save(place / "record.json")
    scores_file.write(place / "scores.parquet", parts)


def rows(text: str) -> dict[str, dict[str, str]]:
    table = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    return {row["lever"]: row for row in cells(table)}


def test_the_table_tells_each_levers_mean_range_and_gain_over_the_same_number_of_plain_runs(tmp_path: Path) -> None:
    assert ablation.page(tmp_path) is None
    for seed, score in ((1, 0.86), (2, 0.88)):
        tried(tmp_path, "plain", seed, score, 0.4)
    for seed, score in ((1, 0.90), (2, 0.91)):
        tried(tmp_path, "soup", seed, score, 0.1, found=score)
    found = ablation.page(tmp_path)
    assert found is not None
    table = rows(found)
    plain, soup = table[ablation.LEVERS["plain"].what], table[ablation.LEVERS["soup"].what]
    assert (plain["runs"], plain["validation"], plain["gain"]) == ("2", "87.00 (86.00 to 88.00)", "\N{EN DASH}")
    assert (soup["runs"], soup["validation"], soup["gain"]) == ("2", "90.50 (90.00 to 91.00)", "+3.50")
    assert soup["retrieval on sports"] == "80.00 \N{RIGHTWARDS ARROW} 90.50 (90.00 to 91.00)"
    assert plain["retrieval on sports"] == "\N{EN DASH}", "no run tells"
    low, high = (float(end) for end in soup["95 % interval"].split(" to "))
    assert 0 < low < high, "its similarities are far nearer to the gold scores"
    assert ablation.LEVERS["nli-beside"].what not in table, "what was not run has no row"
    assert ablation.page(tmp_path) == found
    tried(tmp_path, "soup", 3, 0.92, 0.1)
    told = rows(ablation.page(tmp_path) or "")[ablation.LEVERS["soup"].what]["retrieval on sports"]
    assert told == "80.00 \N{RIGHTWARDS ARROW} 90.50 (90.00 to 91.00), of 2 runs"


def test_a_lone_run_is_held_against_every_plain_one_and_several_against_that_of_their_seed(tmp_path: Path) -> None:
    for seed, score in ((1, 0.86), (2, 0.88), (42, 0.87)):
        tried(tmp_path, "plain", seed, score, 0.4)
    tried(tmp_path, "soup", 42, 0.90, 0.1)
    for seed, score in ((2, 0.89), (42, 0.90)):
        tried(tmp_path, "keep-base", seed, score, 0.1)
    table = rows(ablation.page(tmp_path) or "")
    assert table[ablation.LEVERS["soup"].what]["gain"] == "+3.00"
    assert table[ablation.LEVERS["keep-base"].what]["gain"] == "+2.00"


def test_runs_that_were_chosen_on_other_rows_are_not_compared(tmp_path: Path) -> None:
    tried(tmp_path, "plain", 1, 0.86, 0.4)
    tried(tmp_path, "soup", 1, 0.90, 0.1)
    path = tmp_path / ablation.FOLDER / "soup" / "1" / "scores.parquet"
    scores_file.write(path, [dataclasses.replace(part, fingerprint="other") for part in scores_file.read(path)])
    with pytest.raises(RunError, match="measured on other rows"):
        ablation.page(tmp_path)


def test_the_ledger_counts_every_look_at_the_test_rows_the_oldest_first(tmp_path: Path) -> None:
    def put(place: str, created: str, **changes: Any) -> RunRecord:
        record = dataclasses.replace(sample_ways.matryoshka(), created=created, **changes)
        (tmp_path / place).mkdir(parents=True)
        record.save(tmp_path / place / "record.json")
        return record

    put("b/42", "2026-02-01T10:00:00+00:00", commit=f"{'ab' * 20}, resumed at {'cd' * 20}")
    put("a/sweep/cells/x/run", "2026-01-01T10:00:00+00:00", commit=None)
    other = put("c/42", "2026-03-01T10:00:00+00:00")
    elsewhere = tuple(found for found in other.evaluations if found.source.title != TEST)
    dataclasses.replace(other, evaluations=elsewhere).save(tmp_path / "c/42/record.json")
    found = cells(ledger.table(tmp_path))
    assert [(row["when"], row["run"], row["commit"], row["role"]) for row in found] == [
        ("2026-01-01T10:00", "[a/sweep/cells/x/run](a/sweep/cells/x/run)", "not known", "report"),
        ("2026-02-01T10:00", "[b/42](b/42)", "abababababab, resumed at cdcdcdcdcdcd", "report"),
    ]
    assert (found[0]["base"], found[0]["tuned"]) == ("70.00", "72.25")


def test_a_record_from_before_a_field_did_what_is_now_its_default(tmp_path: Path) -> None:
    from test_reference import put

    from hf_simtune import reference

    record = sample_ways.matryoshka()
    put(tmp_path, record)
    path = put(tmp_path, record, seed=1) / "record.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    value["recipe"] |= {"layer_decay": 1.0, "keep_base": 0.0, "soup": 1}
    path.write_text(json.dumps(value), encoding="utf-8")
    assert cells(reference.table(tmp_path))[0]["runs"] == "2"
    value["recipe"]["keep_base"] = 0.2
    path.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(RunError, match="differ in more than their seeds"):
        reference.table(tmp_path)


def test_seeds_may_draw_other_rows_of_one_data_set_and_no_other_difference(tmp_path: Path) -> None:
    from test_reference import put

    from hf_simtune import reference

    record = sample_ways.matryoshka()
    for seed, drawn in ((1, 50), (2, 50)):
        path = put(tmp_path, record, seed=seed) / "record.json"
        value = json.loads(path.read_text(encoding="utf-8"))
        value["recipe"]["train_rows"] = drawn
        value["training"]["source"]["fingerprint"] = f"drawn by {seed}"
        path.write_text(json.dumps(value), encoding="utf-8")
    assert cells(reference.table(tmp_path))[0]["runs"] == "2"
    value["recipe"]["train_rows"] = None
    path.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(RunError, match="differ in more than their seeds"):
        reference.table(tmp_path)


def test_what_was_told_stands_beside_the_mean_of_what_was_measured() -> None:
    runs = [record_of(Recipe(name="mnrl_minilm", seed=seed), score) for seed, score in ((1, 0.87), (2, 0.88))]
    found = quoted.table(runs)
    select = next(evaluation for evaluation in runs[0].evaluations if evaluation.role == "select")
    assert select.base.spearman is not None
    base, gain = points(select.base.spearman), signed(0.875 - select.base.spearman)
    assert f"| base, STSb validation | 85.26 | {base} |" in found
    assert "| tuned, STSb validation | 87.53 | 87.50 |" in found
    assert f"| gain | +2.27 | {gain} |" in found
    assert "| as told | measured, 2 runs |" in found
    assert "measured, 1 run |" in quoted.table(runs[:1])


def test_the_best_recipe_stands_beside_the_plain_one_seed_by_seed(tmp_path: Path) -> None:
    def placed(name: str, seed: int, spearman: float, noise: float) -> tuple[Path, RunRecord]:
        tried(tmp_path, name, seed, spearman, noise)
        folder = tmp_path / ablation.FOLDER / name / str(seed)
        return folder, RunRecord.load(folder / "record.json")

    plain = [placed("plain", seed, 0.86 + seed / 100, 0.5) for seed in (1, 2)]
    best = [placed("best", seed, 0.87 + seed / 100, 0.05) for seed in (1, 2, 3)]
    (select, report) = (cells(beside.table(best, plain))[index] for index in (0, 1))
    assert select["`cosent_minilm`"] == "87.50 (87.00 to 88.00)" and select["`best_minilm`"] == "88.50 (88.00 to 89.00)"
    assert select["difference"] == "+1.00" and report["difference"] == "0.00"
    assert "2 runs each" in beside.table(best, plain)
    low, high = (float(number) for number in select["95 % interval"].split(" to "))
    assert 0 < low < high, "the rows whose noise is less by far are the better ones"
    assert beside.table(best, []) == "" == beside.table(best[2:], plain)
    path = plain[0][0] / "scores.parquet"
    scores_file.write(path, [part for part in scores_file.read(path) if part.role != "report"])
    with pytest.raises(RunError, match="has no rows of the role report"):
        beside.table(best, plain)
