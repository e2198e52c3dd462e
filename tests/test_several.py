from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from fake_runs import FakeRuns, record_of
from few_rows import few_rows
from tiny import tiny_model

from hf_simtune import model_names, several, several_page
from hf_simtune.errors import DataError, HubError, RequestError, RunError
from hf_simtune.lora import LoRA
from hf_simtune.recipe import Recipe
from hf_simtune.record import RunRecord
from hf_simtune.run_set import RunSet, kind_of
from hf_simtune.unwritten import UnwrittenError

RECIPE = Recipe(
    name="pairs",
    train_data="builtin:sports/pairs:train",
    select_on="builtin:sports/scored:validation",
    report_on="builtin:sports/scored:test",
)
MODELS = ("org/a", "other/a", "sentence-transformers/all-MiniLM-L6-v2")


def states(made: RunSet) -> list[str]:
    return [cell.state for cell in made.cells]


def test_each_model_gets_a_run_with_a_name_and_a_folder_of_its_own(tmp_path: Path) -> None:
    runs = FakeRuns()
    made = several.tune_several(RECIPE, MODELS, out=tmp_path, run=runs)
    assert [recipe.model for recipe in runs.started] == list(MODELS)
    assert [recipe.name for recipe in runs.started] == ["pairs-a", "pairs-a-2", "pairs-all-MiniLM-L6-v2"]
    assert {dataclasses.replace(recipe, model="", name="") for recipe in runs.started} == {
        dataclasses.replace(RECIPE, model="", name="")
    }
    assert len({cell.run for cell in made.cells}) == 3
    assert all((made.folder / str(cell.run) / "record.json").is_file() for cell in made.cells)
    assert kind_of(made.folder) == "several" and made.page.is_file()
    assert several_page.said(made).head[0] == "model"


def test_a_full_disk_ends_the_whole_set_and_another_process_keeps_out(tmp_path: Path) -> None:
    refused: list[str] = []

    def full(recipe: Recipe) -> Exception:
        with pytest.raises(RequestError) as error:
            several.go_on(several.resume(next(tmp_path.iterdir())), FakeRuns())
        refused.append(str(error.value))
        return UnwrittenError("the model could not be written")

    runs = FakeRuns(failing=full)
    with pytest.raises(UnwrittenError):
        several.tune_several(RECIPE, MODELS, out=tmp_path, run=runs)
    assert len(runs.started) == len(refused) == 1
    (folder,) = tmp_path.iterdir()
    assert refused[0].startswith(f"another process works in {folder}: process ")
    made = several.resume(folder)
    assert states(made) == ["running", "waiting", "waiting"]
    assert states(several.go_on(made, again := FakeRuns())) == ["done"] * 3
    assert len(again.resumed) == 1


@pytest.mark.parametrize("error", [RunError("no"), HubError("away"), DataError("bad rows"), RequestError("no folder")])
def test_a_model_that_fails_does_not_take_the_others_with_it(error: Exception, tmp_path: Path) -> None:
    runs = FakeRuns(failing=lambda recipe: error if recipe.model == "other/a" else None)
    made = several.tune_several(RECIPE, MODELS, out=tmp_path, run=runs)
    assert states(made) == ["done", "failed", "done"]
    said = several_page.said(made)
    assert [row[5] for row in said.rows] == ["improved", "failed", "improved"]
    assert f"other/a failed: {error}" in said.after
    page = made.page.read_text(encoding="utf-8")
    assert f"other/a failed: {error}" in page and f"tune --resume {made.folder.name}" in page
    again = FakeRuns()
    made = several.go_on(several.resume(made.folder), again)
    assert [recipe.model for recipe in again.started] == ["other/a"]
    assert states(made) == ["done"] * 3
    assert "--resume" not in made.page.read_text(encoding="utf-8")


def test_interrupted_runs_go_on_where_they_stopped(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        several.tune_several(RECIPE, MODELS, out=tmp_path, run=FakeRuns(stop=2))
    (folder,) = tmp_path.iterdir()
    runs = FakeRuns()
    made = several.go_on(several.resume(folder), runs)
    assert [recipe.model for recipe in runs.started] == list(MODELS[1:])
    assert [path.parent.name for path in runs.resumed] == ["a-2"]
    assert states(made) == ["done"] * 3


def test_the_table_holds_the_records_figures(tmp_path: Path) -> None:
    made = several.tune_several(RECIPE, MODELS, out=tmp_path, run=FakeRuns(lambda recipe: 0.789))
    row = several_page.said(made).rows[1]
    assert row[1:7] == ("70.00", "72.00", "+2.00", "+1.31 to +3.19", "improved", "78.90")
    kept = json.loads((made.folder / "several.json").read_text(encoding="utf-8"))["cells"][1]["figures"]
    assert (kept["base"], kept["tuned"], kept["verdict"]) == (0.7, 0.72, "improved")
    assert "sentence-transformers/stsb:test, 1,379 rows" in several_page.heading(made)


def test_scores_on_different_rows_are_not_to_be_compared(tmp_path: Path) -> None:
    made = several.tune_several(RECIPE, MODELS, out=tmp_path, run=FakeRuns())
    assert not any("different rows" in note for note in several_page.notes(made))
    report = made.records[0].report
    other = dataclasses.replace(report, source=dataclasses.replace(report.source, fingerprint="other"))
    evaluations = (other, *made.records[0].evaluations[1:])
    made.records[0] = dataclasses.replace(made.records[0], evaluations=evaluations)
    assert any("different rows" in note for note in several_page.notes(made))


def test_every_problem_of_every_model_is_told_before_anything_starts(tmp_path: Path) -> None:
    runs = FakeRuns()
    (tmp_path / "empty").mkdir()
    models = ["org/a", "org/a", "./nowhere", "builtin:other", str(tmp_path / "empty"), "a/b/c", ""]
    recipe = dataclasses.replace(RECIPE, epochs=0.0, train_data="./no.csv", model_revision="abc")
    with pytest.raises(RequestError) as caught:
        several.tune_several(recipe, models, out=tmp_path / "runs", run=runs)
    problems = caught.value.problems
    for part in (
        "--model org/a is given 2 times",
        "--model ./nowhere: there is no such folder",
        "--model builtin:other: there is no such built-in model",
        "the folder holds no model",
        "--model a/b/c",
        "--model : there is no such folder",
        "--model-revision is of one model",
        "--epochs is 0.0",
        "no.csv",
    ):
        assert sum(part in problem for problem in problems) == 1, part
    assert not runs.started and not (tmp_path / "runs").exists()


def test_one_model_is_not_several_and_offline_takes_none_from_the_hub(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="name two or more"):
        several.tune_several(RECIPE, ["org/a"], out=tmp_path, run=FakeRuns())
    with pytest.raises(RequestError, match=r"2 problems(.|\n)*--offline takes nothing from there"):
        several.tune_several(RECIPE, ["org/a", "org/b"], offline=True, out=tmp_path, run=FakeRuns())


def test_a_recipes_own_revision_stays_with_its_own_model(tmp_path: Path) -> None:
    pinned = dataclasses.replace(RECIPE, model="org/a", model_revision="abc")
    runs = FakeRuns()
    several.tune_several(pinned, ["org/a", "org/b"], out=tmp_path, run=runs, origin=("pinned", pinned))
    assert [recipe.model_revision for recipe in runs.started] == ["abc", None]


def test_other_runs_are_not_gone_on_with(tmp_path: Path) -> None:
    made = several.tune_several(RECIPE, MODELS, out=tmp_path, run=FakeRuns())
    wanted = several.plan(dataclasses.replace(RECIPE, epochs=3.0), MODELS[:2])
    with pytest.raises(RequestError, match=r"2 problems(.|\n)*--model was(.|\n)*--epochs was 1 and is now 3"):
        several.resume(made.folder, wanted)
    with pytest.raises(RequestError, match=r"no several\.json"):
        several.resume(tmp_path)


def test_a_long_name_stays_within_what_a_recipe_may_be_called(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, name="x" * 96)
    planned = several.plan(recipe, ["org/" + "m" * 90, "org/b"])
    assert several.check(planned) == []
    assert all(len(cell.values["name"]) == 96 for cell in several.cells(planned))


def test_names_of_models_that_exist_have_no_problem(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "modules.json").touch()
    assert (
        model_names.problems([str(tmp_path / "model"), "org/a", "bert-base-uncased", "builtin:all-MiniLM-L6-v2"]) == []
    )


def test_the_page_shows_no_path_and_escapes_names(tmp_path: Path) -> None:
    folder = tmp_path / "<b>model"
    folder.mkdir()
    (folder / "modules.json").touch()
    failing = FakeRuns(failing=lambda recipe: RunError("<script>alert(1)</script>"))
    made = several.tune_several(RECIPE, [str(folder), "org/b"], out=tmp_path / "runs", run=failing)
    page = made.page.read_text(encoding="utf-8")
    assert "&lt;b&gt;model" in page and "<b>model" not in page and "<script" not in page
    assert str(tmp_path) not in page


def test_an_undefined_score_is_called_so(tmp_path: Path) -> None:
    made = several.tune_several(RECIPE, MODELS, out=tmp_path, run=FakeRuns())
    made.records[0] = record_of(RECIPE, None)
    assert several_page.said(made).rows[0][6] == "undefined"


@pytest.mark.slow
def test_two_tiny_models_are_tuned_one_after_the_other(tmp_path: Path) -> None:
    models = [str(tiny_model(tmp_path / name, seed=seed)) for seed, name in enumerate(("first", "second"))]
    select_on, report_on = few_rows(tmp_path)
    settings = {"train_rows": 32, "batch_size": 16, "evaluations": 1, "precision": "fp32"}
    recipe = dataclasses.replace(
        RECIPE, train_data="builtin:sports/scored:train", select_on=select_on, report_on=report_on, **settings
    )
    made = several.tune_several(recipe, models, out=tmp_path / "runs")
    assert states(made) == ["done", "done"]
    for index, name in enumerate(("first", "second")):
        record = RunRecord.load(made.folder / str(made.cells[index].run) / "record.json")
        assert record == made.records[index]
        assert (record.base.name, record.name) == (name, f"pairs-{name}")
    assert made.records[0].base.weights_sha256 != made.records[1].base.weights_sha256
    assert [row[0] for row in several_page.said(made).rows] == ["first", "second"]


def test_a_static_model_takes_no_adapters_as_far_as_its_name_or_folder_tells(tmp_path: Path) -> None:
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / "modules.json").write_text('[{"type": "sentence_transformers.models.StaticEmbedding"}]', encoding="utf-8")
    for name, static in (("org/static-retrieval", True), (str(folder), True), ("org/ecstatic", False)):
        assert model_names.is_static(name) is static
        found = model_names.of_recipe(dataclasses.replace(RECIPE, model=name, lora=LoRA()))
        assert [f"--lora does not go with {name}" in problem for problem in found] == [True] * static
        assert model_names.of_recipe(dataclasses.replace(RECIPE, model=name)) == []


@pytest.mark.parametrize("called", ["--model", "the model"])
def test_problems_of_models_begin_with_what_they_are_called(called: str) -> None:
    found = model_names.problems(["builtin:foo", "./no", "a/b/c", "org/a", "org/a"], called)
    assert len(found) == 4
    assert all(problem.startswith(f"{called} ") for problem in found)
    assert model_names.problems(["builtin:splade-MiniLM-L6", "builtin:all-MiniLM-L6-v2"]) == []
