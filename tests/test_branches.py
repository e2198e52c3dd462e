"""Branches: recipes trained apart from the same weights, and averaged with the run's own training by their shares."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file
from sample_record import improved
from test_fitting import learnable
from tiny import tiny_model

from hf_simtune import Recipe, branching, catalogue, cli, origins, preparing, reference_runs, tune
from hf_simtune.branches import Named, in_order, named_branches
from hf_simtune.data import inputs
from hf_simtune.data.load import load as load_rows
from hf_simtune.data.shapes import Column, find_layout
from hf_simtune.errors import DataError, RequestError
from hf_simtune.recipe import BUILTIN_MINILM, MINILM
from hf_simtune.record import RunRecord
from hf_simtune.run_folder import Plan
from hf_simtune.tuning import Run

SPORTS = "builtin:sports/scored:train"
GOOD = Recipe(name="n", train_data="a.csv")


def test_an_entry_names_a_recipe_its_share_and_perhaps_other_rows() -> None:
    assert named_branches(("simcse_unsup=0.3", "my recipes/x.py:org/data/config:train=.25")) == [
        Named("simcse_unsup=0.3", "simcse_unsup", None, 0.3),
        Named("my recipes/x.py:org/data/config:train=.25", "my recipes/x.py", "org/data/config:train", 0.25),
    ]
    assert named_branches(None) == []
    assert in_order(("a=0.3", "a:b.txt=0.3", "b=0.39"))


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        (("simcse_unsup",), "'simcse_unsup' has no share"),
        (("=0.3",), "'=0.3' names no recipe"),
        (("a:=0.3",), "'a:=0.3' names no data"),
        (("a=x",), "'a=x' ends in no share above 0 and below 1"),
        (("a=nan",), "'a=nan' ends in no share"),
        (("a=0",), "'a=0' ends in no share"),
        (("a=1",), "'a=1' ends in no share"),
        (("a=0.5", "b=0.5"), "the shares leave nothing for the recipe itself"),
        (("a=0.1", "b=0.1", "a=0.2"), "'a=0.2' is there already, with another share"),
    ],
)
def test_an_entry_that_cannot_be_read_is_named(entries: tuple[str, ...], told: str) -> None:
    (problem,) = dataclasses.replace(GOOD, branches=entries).check()
    assert problem.startswith(
        f"--branches is {' '.join(entries)}: it must be RECIPE=SHARE or RECIPE:DATA=SHARE once or"
    )
    assert told in problem


def written(folder: Path, name: str, **changes: object) -> Path:
    """A recipe's file."""
    fields = {"name": name, "train_data": str(folder / "sentences.txt"), "shape": "sentences"} | changes
    said = ", ".join(f"{field}={value!r}" for field, value in fields.items())
    path = folder / f"{name}.py"
    path.write_text(f"from hf_simtune import Recipe\nRECIPE = Recipe({said})\n", encoding="utf-8")
    return path


def test_all_branches_that_are_none_are_told_at_once(tmp_path: Path) -> None:
    soup = written(tmp_path, "stirred", soup=3, keep_base=0.1)
    wrong = ("simcse_unsupp=0.1", f"{soup}=0.1", "cosent_minilm:rows.txt=0.1")
    with pytest.raises(RequestError) as refused:
        branching.resolve(dataclasses.replace(GOOD, branches=wrong))
    one, two, three = refused.value.problems
    assert one == "--branches simcse_unsupp=0.1: unknown recipe 'simcse_unsupp'; did you mean 'simcse_unsup'?"
    assert "the recipe stirred has --soup, --keep-base, and a branch is one training" in two
    assert three.startswith("--branches cosent_minilm:rows.txt=0.1: ") and "rows.txt" in three
    with pytest.raises(RequestError, match="--branches averages the weights of dense models; with --sparse csr"):
        branching.resolve(dataclasses.replace(GOOD, branches=("simcse_unsup=0.1",), sparse="csr"))


def test_what_is_wrong_with_the_run_itself_is_told_once(tmp_path: Path) -> None:
    wrong = dataclasses.replace(GOOD, branches=("simcse_unsup=0.1",), precision="bf17", select_on="s.csv")
    assert branching.problems(wrong) == []
    assert branching.problems(dataclasses.replace(GOOD, branches=("simcse_unsup",))) == []
    gone = dataclasses.replace(GOOD, branches=("simcse_unsup:gone.txt=0.1",))
    (told,) = branching.problems(gone)
    assert told.startswith("--branches simcse_unsup:gone.txt=0.1: --train-data") and "gone.txt" in told


def test_a_dry_run_sees_what_is_wrong_with_a_branch(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tune", "cosent_minilm", "--dry-run", "--branches", "simcse_unsupp=0.3", "--epochs", "-1"]
    with pytest.raises(SystemExit, match="2"):
        cli.main(argv=words)
    said = capsys.readouterr().err
    assert "unknown recipe 'simcse_unsupp'; did you mean 'simcse_unsup'?" in said and "--epochs is -1" in said
    with pytest.raises(SystemExit, match="0"):
        cli.main(argv=["tune", "best_minilm", "--dry-run"])
    assert "simcse_compressions=0.3" in capsys.readouterr().out


def test_a_branch_has_its_own_data_loss_and_schedule_and_the_runs_all_else() -> None:
    run = dataclasses.replace(
        GOOD, branches=("simcse_unsup:b.txt=0.1",), max_length=9, seed=7, select_on="s", report_on="r"
    )
    (branch,) = branching.resolve(run)
    own = catalogue.find("simcse_unsup")
    assert (branch.recipe.train_data, branch.recipe.loss, branch.recipe.train_rows) == (
        "b.txt",
        "simcse",
        own.train_rows,
    )
    assert (branch.recipe.max_length, branch.recipe.seed, branch.recipe.report_on) == (9, 7, "r")
    assert branch.recipe.probe is None and branch.recipe.learning_rate == own.learning_rate


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("matryoshka_minilm=0.1", "the recipe matryoshka_minilm has --matryoshka, and the run has not"),
        ("cosent_minilm=0.1", "that is the run's own training again"),
    ],
)
def test_a_branch_that_would_be_another_thing_is_refused(entry: str, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        branching.resolve(dataclasses.replace(catalogue.find("cosent_minilm"), branches=(entry,), seed=3, soup=2))


def test_a_branch_reads_its_rows_as_its_recipe_does(tmp_path: Path) -> None:
    lines = [f"a word {number},another {number},0.{number % 10}" for number in range(40)]
    (tmp_path / "rows.csv").write_text("sentence1,sentence2,score\n" + "\n".join(lines) + "\n", encoding="utf-8")
    text = [f"a sentence number {number}" for number in range(20)]
    (tmp_path / "other.txt").write_text("\n".join(text) + "\n", encoding="utf-8")
    pairs = written(tmp_path, "pairs", train_data=str(tmp_path / "rows.csv"), shape="pairs", batch_size=8)
    texts = written(tmp_path, "texts", train_data="org/name", columns=("set[1]",), loss="simcse", batch_size=8)
    run = Recipe(
        name="n",
        train_data="builtin:sports/scored:train",
        select_on="builtin:sports/scored:validation",
        report_on="builtin:sports/scored:test",
        branches=(f"{pairs}=0.1", f"{texts}:{tmp_path / 'other.txt'}=0.1"),
    )
    one, two = inputs.prepare(run, branches=branching.resolve(run)).further
    assert (one.loaded.source.shape, one.loss, len(one.rows), one.branch) == ("pairs", "mnrl", 40, 0)
    assert (two.loaded.source.shape, two.loss, len(two.rows), two.branch) == ("sentences", "simcse", 20, 1)
    own = dataclasses.replace(run, branches=(f"{written(tmp_path, 'odd', columns=('a', 'b'), shape='pairs')}=0.1",))
    with pytest.raises(RequestError, match=r"--branches .*odd\.py=0\.1: "):
        inputs.prepare(own, branches=branching.resolve(own))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("rows")
    rows = load_rows("builtin:sports/sentences:train").dataset.select(range(64))
    shared = load_rows("builtin:sports/scored:test").dataset[0]
    lines = [*rows["sentence"], shared["sentence1"]]
    (folder / "sentences.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = written(folder, "apart", loss="simcse", temperature=0.1, batch_size=16, evaluations=2, learning_rate=1e-3)
    model = tiny_model(folder / "tiny")
    return dataclasses.replace(learnable(model, folder), branches=(f"{path}=0.3",))


@pytest.fixture(scope="module")
def run(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tune(dataclasses.replace(recipe, soup=2, keep_base=0.2), out=tmp_path_factory.mktemp("runs"))


def test_the_weights_are_the_mean_by_shares(run: Run, recipe: Recipe) -> None:
    soup = run.record.training.soup
    assert [(one.branch, one.seed, one.share) for one in soup] == [
        *((None, 42, None), (None, 1042, None), ("apart.py", 42, 0.3), ("apart.py", 1042, 0.3))
    ]
    base = load_file(Path(recipe.model) / "model.safetensors")
    parts = []
    for one in soup:
        folder = f"seed-{one.seed}" if one.branch is None else f"branch-1-seed-{one.seed}"
        best = run.folder / "trainer" / folder / f"checkpoint-{one.step}" / "model.safetensors"
        parts.append(load_file(best) if one.step else base)
    assert any(one.step for one in soup if one.branch), "the branch is meant to gain something"
    for name, value in load_file(run.folder / "model" / "model.safetensors").items():
        mean = 0.2 * base[name].double()
        for share, part in zip((0.28, 0.28, 0.12, 0.12), parts, strict=True):
            mean += share * part[name].double()
        assert (value.double() - mean).abs().max() < 1e-7, name


def test_the_branch_is_trained_as_its_recipe_has_it(run: Run) -> None:
    training = run.record.training
    (apart,) = training.further
    assert (apart.branch, apart.loss, apart.temperature, apart.rows) == ("apart.py", "simcse", 0.1, 65)
    own = 2 * 10 * (96 // 16)
    assert training.steps == own + 2 * 5  # of 65 sentences, in batches of 16
    assert RunRecord.load(run.folder / "record.json").training == training
    assert training.epochs == 10.0 and "--branches" in run.record.command


def test_card_report_and_sentence_say_what_was_averaged(run: Run) -> None:
    said = origins.soup(run.record)
    assert said.startswith(
        "Kept: 80 % of a mean (70 % of the mean of the weights of 2 trainings from the same weights: "
    )
    assert "and 30 % of the mean of the weights of 2 trainings from the same weights: seed 42 (" in said
    assert (
        "of the branch apart.py, trained apart from the same weights), and 20 % of the untouched base's weights; this"
        in said
    )
    card = (run.folder / "README.md").read_text(encoding="utf-8")
    assert "apart, from where this training began too: the branch `apart.py`, 1 pass, batches of 16" in card
    assert "li-2022-branch" in card and "wortsman-2022-soups" in card and str(run.folder.parent) not in card
    assert "the branch apart.py, trained apart: 1 pass," in (run.folder / "report.html").read_text(encoding="utf-8")


def test_a_branchs_rows_are_checked_against_what_is_measured(recipe: Recipe, tmp_path: Path) -> None:
    rows = load_rows(recipe.report_on or "").dataset
    pairs = tmp_path / "pairs.csv"
    lines = [f'"{row["sentence1"]}","{row["sentence2"]}"' for row in rows]
    pairs.write_text("anchor,positive\n" + "\n".join(lines) + "\n", encoding="utf-8")
    path = written(tmp_path, "leaking", train_data=str(pairs), shape="pairs", loss="mnrl", batch_size=16)
    own = dataclasses.replace(recipe, keep_leaks=False, branches=(f"{path}=0.3",), train_data=SPORTS)
    with pytest.raises(RequestError, match=r"=0\.3: 0 training rows are left, fewer than one batch of 16"):
        tune(own, out=tmp_path / "runs")


def test_a_run_that_was_cut_short_in_a_branch_ends_with_the_same_weights(
    run: Run, recipe: Recipe, tmp_path: Path
) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(run.folder, folder)
    (folder / "record.json").unlink()
    shutil.rmtree(folder / "trainer" / "branch-1-seed-1042")
    (folder / "trainer" / "scored.jsonl").unlink()
    again = tune(dataclasses.replace(recipe, soup=2, keep_base=0.2), resume=folder)
    assert again.record.tuned.weights_sha256 == run.record.tuned.weights_sha256
    assert again.record.training.soup == run.record.training.soup


def test_a_branch_that_changed_is_not_taken_up(recipe: Recipe, tmp_path: Path) -> None:
    def plan(rate: float) -> Plan:
        path = written(tmp_path, "changing", train_data=str(tmp_path / "s.txt"), loss="simcse", learning_rate=rate)
        changed = dataclasses.replace(recipe, branches=(f"{path}=0.3",))
        fields = {"offline": False, "command": "", "created": "", "loss": "", "precision": "", "precision_reason": ""}
        fields |= {"base_weights": "", "fingerprints": {}, "publish_examples": False, "commit": None}
        return Plan(recipe=changed, branches=tuple(one.recipe for one in branching.resolve(changed)), **fields)  # type: ignore[arg-type]

    first = plan(1e-3)
    assert first.differences(plan(1e-3)) == []
    (told,) = first.differences(plan(2e-3))
    assert told.startswith("--branches ") and told.endswith(
        "changing.py=0.3: --learning-rate was 0.001 and is now 0.002"
    )


def test_the_guard_looks_where_a_branch_is_scored(run: Run) -> None:
    steps = {point.step for point in run.record.training.checkpoints}
    assert {health.step for health in run.record.health} == steps


def test_without_a_soup_each_training_is_one(recipe: Recipe, tmp_path: Path) -> None:
    said = origins.soup(tune(dataclasses.replace(recipe, epochs=2.0), out=tmp_path).record)
    assert "70 % of the weights of seed 42 (" in said and "of its own data and 30 % of the weights of seed 42 (" in said
    assert origins.soup(improved()) == ""


def test_a_branch_that_gains_nothing_leaves_its_share_to_the_base(recipe: Recipe, tmp_path: Path) -> None:
    still = written(
        tmp_path, "still", train_data=str(Path(recipe.train_data).parent / "sentences.txt"), loss="simcse",
        batch_size=16, learning_rate=1e-30,
    )  # fmt: skip
    done = tune(dataclasses.replace(recipe, branches=(f"{still}=0.3",)), out=tmp_path / "runs")
    own, apart = done.record.training.soup
    assert own.step and not apart.step
    assert "30 % of the weights of seed 42 (the base, " in origins.soup(done.record)
    best = load_file(done.folder / "trainer" / "seed-42" / f"checkpoint-{own.step}" / "model.safetensors")
    base = load_file(Path(recipe.model) / "model.safetensors")
    for name, value in load_file(done.folder / "model" / "model.safetensors").items():
        mean = 0.7 * best[name].double() + 0.3 * base[name].double()
        assert (value.double() - mean).abs().max() < 1e-7, name


def test_how_often_a_run_is_scored_counts_for_its_branches_where_it_is_asked_for(recipe: Recipe) -> None:
    found = [
        branching.resolve(dataclasses.replace(recipe, evaluations=asked))[0].recipe.evaluations for asked in (None, 7)
    ]
    assert found == [2, 7], "the branch's own, and the run's"


def test_many_passes_of_a_branch_are_warned_of(
    recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = str(Path(recipe.train_data).parent / "sentences.txt")
    paths = [
        written(tmp_path, name, train_data=rows, loss="simcse", batch_size=16, epochs=epochs)
        for name, epochs in (("long", 12), ("short", 2))
    ]
    preparing.prepare(dataclasses.replace(recipe, branches=tuple(f"{path}=0.2" for path in paths)), offline=False)
    told = [record.message for record in caplog.records if "passes over" in record.message]
    assert len(told) == 1 and told[0].startswith("the branch long.py: 12 passes over 65 rows")


def test_offline_leaves_out_a_branch_whose_rows_are_elsewhere() -> None:
    both = dataclasses.replace(GOOD, branches=("simcse_compressions=0.3", "simcse_compressions:own.txt=0.2"))
    assert both.offline().branches == ("simcse_compressions:own.txt=0.2",)
    assert catalogue.find("best_minilm").offline().branches is None


def test_reference_runs_take_a_branchs_rows_from_a_copy_too() -> None:
    found = reference_runs.local(catalogue.find("best_minilm"), "copy/")
    assert found.branches == ("simcse_compressions:copy/embedding-data/sentence-compression=0.3",)
    assert found.model == BUILTIN_MINILM != MINILM


LISTS = {"id": Column("number"), "set": Column("list", length=2)}


def test_one_text_of_a_list_is_a_sentence() -> None:
    layout = find_layout(LISTS, columns=["set[1]"], expect=("sentences",))
    assert (layout.shape, layout.columns, layout.item) == ("sentences", ("set[1]",), ("set", 1))
    named = find_layout({"set[1]": Column("text")}, columns=["set[1]"])
    assert named.item is None and named.columns == ("set[1]",)


@pytest.mark.parametrize(
    ("column", "shape", "told"),
    [
        ("set[2]", None, r"has lists of 2 texts in 'set', and set\[2\] is number 2 of a list, from 0"),
        ("id[0]", None, r"has no lists but number in 'id', and id\[0\] is number 0"),
        ("sets[0]", None, r"has no column 'sets\[0\]'"),
        ("set", "sentences", r"has lists of texts in 'set'; .* as a sentence: --columns \"set\[1\]\""),
        ("set[0]", "pairs", r"--columns set\[0\] is one text of a list; pairs takes more"),
    ],
)
def test_a_text_that_no_list_has_is_told(column: str, shape: str | None, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        find_layout(LISTS, columns=[column], shape=shape)


def test_texts_of_lists_are_read_and_short_lists_are_told(tmp_path: Path) -> None:
    good = tmp_path / "good.jsonl"
    good.write_text('{"set": ["a b", "c d"]}\n{"set": ["e f", "g h", "i"]}\n', encoding="utf-8")
    loaded = load_rows(str(good), columns=("set[1]",), shape="sentences")
    assert loaded.dataset["sentence"][:] == ["c d", "g h"] and loaded.source.columns == ("set[1]",)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"set": ["a b", "c d"]}\n{"set": ["e f"]}\n{"set": null}\n', encoding="utf-8")
    with pytest.raises(DataError) as refused:
        load_rows(str(bad), columns=("set[1]",))
    assert "1, and number 1 is read: ['e f']" in str(refused.value) and "null" in str(refused.value)


def test_lists_that_are_to_be_sentences_are_answered_with_what_to_type() -> None:
    with pytest.raises(RequestError, match=r'--columns "set\[1\]"'):
        find_layout(LISTS, shape="sentences")


def test_a_mean_that_is_worse_than_one_of_its_trainings_says_so(run: Run) -> None:
    training = run.record.training
    best = dataclasses.replace(training.soup[0], spearman=0.999)
    changed = dataclasses.replace(training, soup=(best, *training.soup[1:]))
    said = origins.soup(dataclasses.replace(run.record, training=changed))
    assert said.endswith("on the rows that choose (Spearman x 100), less than the 99.90 of one of them alone.")
