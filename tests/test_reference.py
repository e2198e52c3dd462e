"""The README's tables and the reference runs' cards, from records whose numbers are made up."""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import sample_record
import sample_ways
from conftest import CHECKOUT
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_simtune import card_plots, catalogue, reference, scores_file
from hf_simtune.errors import DataError, RunError
from hf_simtune.evaluation.compare import compare
from hf_simtune.record import Evaluation, RunRecord, Score
from hf_simtune.scores_file import RowScores
from hf_simtune.wording import interval

BUILDERS = (
    sample_record.improved,
    sample_record.no_evidence,
    sample_ways.lora,
    sample_ways.splade,
    sample_ways.csr,
    sample_ways.matryoshka,
)
MARKS = (
    (reference.BEGIN, reference.END),
    (reference.RECIPES_BEGIN, reference.RECIPES_END),
    (reference.QUOTED_BEGIN, reference.QUOTED_END),
    (reference.BESIDE_BEGIN, reference.BESIDE_END),
    (reference.SPEED_BEGIN, reference.SPEED_END),
)


def scores(evaluation: Evaluation, seed: int = 0) -> RowScores:
    """Similarities for some rows of an evaluation, of which three each are connected."""
    rng = np.random.default_rng(seed + evaluation.base.n)
    gold = rng.random(90).round(1)
    return RowScores(
        evaluation=evaluation.source.title,
        role=evaluation.role,
        row=np.arange(90),
        group=np.arange(90) // 3,
        gold=gold,
        base=np.clip(gold + rng.normal(0, 0.5, 90), -1, 1),
        tuned=np.clip(gold + rng.normal(0, 0.4, 90), -1, 1),
        fingerprint=evaluation.source.fingerprint,
    )


def put(folder: Path, record: RunRecord, seed: int = 42, *, swapped: bool = False) -> Path:
    """A reference run's two files."""
    place = folder / record.name / str(seed)
    place.mkdir(parents=True)
    dataclasses.replace(record, recipe=record.recipe | {"seed": seed}).save(place / "record.json")
    measured = [*record.evaluations, *([record.dense.evaluation] if record.dense else [])]
    parts = [scores(evaluation) for evaluation in measured]
    if swapped:
        parts = [dataclasses.replace(part, base=part.tuned, tuned=part.base) for part in parts]
    scores_file.write(place / "scores.parquet", parts)
    return place


def cells(table: str) -> list[dict[str, str]]:
    """The rows of a table of Markdown by their headings."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    assert len({len(line) for line in lines}) == 1, "rows of different width"
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def test_a_recipe_has_a_row_for_its_verdict_and_one_for_each_probe_and_none_for_selection(tmp_path: Path) -> None:
    put(tmp_path, sample_ways.matryoshka())
    found = cells(reference.table(tmp_path))
    assert [(row["measured on"], row["role"], row["answer"]) for row in found] == [
        ("sentence-transformers/stsb:test", "report", "improved"),
        ("sentence-transformers/sick:test", "probe", "not worse"),
        ("forum.csv", "probe", "worse"),
    ]
    first = found[0]
    assert first["recipe"] == "[matryoshka_minilm](model_cards/matryoshka_minilm)"
    assert [first[name] for name in ("rows", "base", "tuned", "change", "95 % interval", "runs")] == [
        *("1,379", "70.00", "72.25", "+2.25", "+1.31 to +3.19", "1"),
    ]
    assert reference.table(tmp_path).count("\n\n") == 1, "nothing but the machine to be named below the table"
    assert first["training"] == "45 min 12 s"


def test_a_probe_whose_interval_reaches_half_a_point_below_zero_cannot_tell(tmp_path: Path) -> None:
    record = sample_ways.matryoshka()
    probe = record.evaluations[2]
    assert probe.comparison
    wide = dataclasses.replace(probe, comparison=dataclasses.replace(probe.comparison, low=-0.005, high=0.004))
    none = dataclasses.replace(record.evaluations[3], comparison=None)
    put(tmp_path, dataclasses.replace(record, evaluations=(*record.evaluations[:2], wide, none)))
    assert [row["answer"] for row in cells(reference.table(tmp_path))] == ["improved", "cannot tell", "cannot tell"]


def test_a_stand_in_has_no_row_and_is_named_below(tmp_path: Path) -> None:
    put(tmp_path, sample_ways.splade())
    dense = sample_record.improved()
    wanted = "sentence-transformers/paraphrase-MiniLM-L6-v2"
    dense = dataclasses.replace(
        dense, name="paraphrase", base=dataclasses.replace(dense.base, stand_in_for=wanted, untrained=None)
    )
    put(tmp_path, dense)
    own = sample_ways.splade()
    put(tmp_path, dataclasses.replace(own, name="own", base=dataclasses.replace(own.base, stand_in_for=None)))
    table = reference.table(tmp_path)
    assert cells(table) == []
    (line,) = table.split("\n\n")[1:]
    assert line == (
        "Stand-ins, whose scores are not the named model's: [own](model_cards/own) (builtin:splade-MiniLM-L6, the "
        f"transform of the masked-language head untrained), [paraphrase](model_cards/paraphrase) "
        f"({sample_record.MINILM} in place of {wanted}), [splade_stsb](model_cards/splade_stsb) "
        "(builtin:splade-MiniLM-L6 in place of naver/splade-cocondenser-ensembledistil, the transform of the "
        "masked-language head untrained)."
    )


def test_a_base_that_begins_untrained_has_no_verdict_and_a_sparse_one_its_active_dimensions(tmp_path: Path) -> None:
    record = sample_ways.csr()
    probed = dataclasses.replace(record, evaluations=(*record.evaluations, *sample_ways.matryoshka().evaluations[2:]))
    put(tmp_path, probed)
    table = reference.table(tmp_path)
    found = cells(table)
    assert [row["answer"] for row in found] == [*["no verdict"] * 3, "no evidence"]
    assert [found[3][name] for name in ("role", "base", "tuned", "change", "95 % interval")] == [
        *("dense", "71.75", "72.25 (63.4 active)", "+0.50", "-0.31 to +1.32"),
    ]
    assert (found[0]["base"], found[0]["tuned"]) == ("70.00 (64.0 active)", "72.25 (63.4 active)")
    assert table.split("\n\n")[1:] == [
        "Training: of one run, the median; on Imaginary CPU @ 2.00GHz, 2 cores, in bf16.",
        "Active: dimensions that are not zero, a sentence's mean; of 1,536 in csr_minilm.",
        "No verdict: csr_minilm with an autoencoder of 1,536 dimensions untrained; a gain over such a base proves "
        "nothing.",
    ]


def test_an_undefined_score_is_called_so(tmp_path: Path) -> None:
    record = sample_record.improved()
    report, select = record.evaluations
    assert report.comparison
    broken = dataclasses.replace(
        report,
        tuned=Score(n=1379, spearman=None, pearson=None, undefined="the tuned model's similarities are constant"),
        comparison=dataclasses.replace(
            report.comparison, tuned=None, difference=None, low=None, high=None, p=None, verdict="no evidence"
        ),
    )
    put(tmp_path, dataclasses.replace(record, evaluations=(broken, select)))
    (row,) = cells(reference.table(tmp_path))
    assert [row[name] for name in ("base", "tuned", "change", "95 % interval", "answer")] == [
        *("70.00", "undefined", "undefined", "undefined", "no evidence"),
    ]


def _shifted(record: RunRecord, by: float) -> RunRecord:
    evaluations = tuple(
        dataclasses.replace(e, tuned=dataclasses.replace(e.tuned, spearman=(e.tuned.spearman or 0) + by))
        for e in record.evaluations
    )
    return dataclasses.replace(record, evaluations=evaluations)


def test_several_seeds_are_averaged_each_set_of_rows_by_itself(tmp_path: Path) -> None:
    """Runs with the same similarities have, averaged, the interval of one: that of a plain comparison."""
    record = sample_ways.matryoshka()
    put(tmp_path, record, 1)
    put(tmp_path, _shifted(record, 0.01), 2)
    found = cells(reference.table(tmp_path))
    assert {row["runs"] for row in found} == {"2"}
    assert found[0]["tuned"] == "72.75 (72.25 to 73.25)"
    assert found[0]["change"] == "+2.75"
    measured = [evaluation for evaluation in record.evaluations if evaluation.role != "select"]
    for row, evaluation in zip(found, measured, strict=True):
        part = scores(evaluation)
        plain = compare(part.gold, part.base, part.tuned, part.group, seed=0)
        assert plain.low is not None and plain.high is not None
        assert row["95 % interval"] == interval(plain.low, plain.high)
    assert len({row["95 % interval"] for row in found}) == 3, "probes were told apart"


def test_a_gain_and_the_same_loss_leave_nothing(tmp_path: Path) -> None:
    put(tmp_path, sample_record.improved(), 1)
    put(tmp_path, sample_record.improved(), 2, swapped=True)
    (row,) = cells(reference.table(tmp_path))
    assert row["95 % interval"] == "0.00 to 0.00"
    assert row["answer"] == "no evidence"


def test_a_start_of_each_seeds_own_and_an_unread_default_are_no_difference(tmp_path: Path) -> None:
    record = sample_record.improved()
    for seed, start, mini_batch in ((1, "first-20261121-120000/model", 32), (2, "first-20261122-130000-1/model", None)):
        recipe = record.recipe | {"start": start, "mini_batch": mini_batch}
        put(tmp_path, dataclasses.replace(record, recipe=recipe), seed)
    (row,) = cells(reference.table(tmp_path))
    assert row["runs"] == "2"
    put(tmp_path, dataclasses.replace(record, recipe=recipe | {"start": "other-20261122-130000/model"}), 3)
    with pytest.raises(RunError, match="differ in more than their seeds"):
        reference.table(tmp_path)


@pytest.mark.parametrize("part", ["recipe", "base"])
def test_runs_that_differ_in_more_than_the_seed_are_not_averaged(tmp_path: Path, part: str) -> None:
    record = sample_record.improved()
    other = {
        "recipe": dataclasses.replace(record, recipe=record.recipe | {"epochs": 3.0}),
        "base": dataclasses.replace(record, base=dataclasses.replace(record.base, weights_sha256="cc" * 32)),
    }[part]
    put(tmp_path, record, 1)
    put(tmp_path, other, 2)
    with pytest.raises(RunError, match="mnrl_minilm differ in more than their seeds"):
        reference.table(tmp_path)


def test_of_a_base_that_is_drawn_from_the_seed_each_run_has_another(tmp_path: Path) -> None:
    record = sample_ways.csr()
    put(tmp_path, record, 1)
    put(tmp_path, dataclasses.replace(record, base=dataclasses.replace(record.base, weights_sha256="cc" * 32)), 2)
    assert [(row["role"], row["runs"]) for row in cells(reference.table(tmp_path))] == [("report", "2"), ("dense", "2")]


def test_rows_that_the_scores_lack_are_named(tmp_path: Path) -> None:
    record = sample_record.improved()
    put(tmp_path, record, 1)
    place = put(tmp_path, record, 2)
    scores_file.write(place / "scores.parquet", [scores(record.evaluations[1])])
    with pytest.raises(RunError, match=r"mnrl_minilm/2/scores.parquet has no rows of sentence-transformers/stsb:test"):
        reference.table(tmp_path)


@settings(max_examples=20, deadline=None)
@given(chosen=st.lists(st.sampled_from(BUILDERS), unique=True))
def test_whatever_runs_there_are_each_is_in_the_table_or_below_it(
    tmp_path_factory: pytest.TempPathFactory, chosen: list[Callable[[], RunRecord]]
) -> None:
    folder = tmp_path_factory.mktemp("cards")
    made = [build() for build in chosen]
    for record in made:
        put(folder, record)
    found = cells(reference.table(folder))
    told = "".join(reference.table(folder).split("\n\n")[1:])
    for record in made:
        measured = [evaluation for evaluation in record.evaluations if evaluation.role != "select"]
        rows = [row for row in found if row["recipe"] == f"[{record.name}](model_cards/{record.name})"]
        assert len(rows) == (0 if record.base.stand_in_for else len(measured) + (record.dense is not None))
        assert (f"(model_cards/{record.name})" in told) is bool(record.base.stand_in_for)


def test_the_table_of_recipes_names_each_with_its_file_and_its_loss() -> None:
    shipped = catalogue.shipped()
    found = {row["recipe"]: row for row in cells(reference.recipes())}
    assert len(found) == len(shipped) >= 10
    for name, recipe in shipped.items():
        assert (CHECKOUT / "recipes" / f"{name}.py").is_file()
        row = found[f"[{name}](recipes/{name}.py)"]
        assert (row["what it does"], row["base model"]) == (recipe.title, recipe.model)
    losses = {
        "splade_stsb": "SpladeLoss around SparseCosineSimilarityLoss",
        "matryoshka_minilm": "MatryoshkaLoss around CoSENTLoss",
        "lora_minilm": "CoSENTLoss, adapters alone",
        "simcse_unsup": "MultipleNegativesRankingLoss",
    }
    for name, loss in losses.items():
        assert found[f"[{name}](recipes/{name}.py)"]["loss"] == loss


def pixels(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(matplotlib.image.imread(io.BytesIO(png), format="png"), dtype=np.float64)[..., :3]


def test_the_pictures_of_the_tree_look_like_those_of_a_run_in_fewer_bytes(tmp_path: Path) -> None:
    record = sample_record.improved()
    place = put(tmp_path, record)
    whole = card_plots.render(record, scores_file.read(place / "scores.parquet"))
    small = reference.pictures(place, record)
    assert list(small) == list(whole) == ["scores.png", "similarities.png", "training.png"]
    assert small == reference.pictures(place, record), "the same bytes again"
    for name, content in small.items():
        assert len(content) < len(whole[name]) / 2
        one, other = pixels(content), pixels(whole[name])
        assert one.shape == other.shape
        assert np.abs(one - other).mean() < 0.002
        assert len(np.unique(one.reshape(-1, 3), axis=0)) <= reference.COLOURS


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with two reference runs, one of them in two seeds."""
    shutil.copytree(CHECKOUT / "model_cards" / "bench", tmp_path / "model_cards" / "bench")
    record = sample_record.improved()
    put(tmp_path / "model_cards", record, 1)
    put(tmp_path / "model_cards", record, 2)
    put(tmp_path / "model_cards", sample_ways.splade())
    marks = "\n".join(f"{begin}\nold\n{end}" for begin, end in MARKS)
    (tmp_path / "README.md").write_text(f"before\n{marks}\nafter\n", encoding="utf-8")
    return tmp_path


def test_all_is_written_once_and_then_nothing_changes(checkout: Path) -> None:
    changed = {path.relative_to(checkout).as_posix() for path in reference.write(checkout)}
    runs = ("mnrl_minilm/1", "mnrl_minilm/2", "splade_stsb/42")
    files = ("README.md", "plots/scores.png", "plots/similarities.png", "plots/training.png")
    assert changed - {"model_cards/bench/README.md"} == {
        "README.md",
        "model_cards/LEDGER.md",
        "model_cards/README.md",
        *(f"model_cards/{run}/{file}" for run in runs for file in files),
    }
    for run in runs:
        card = (checkout / "model_cards" / run / "README.md").read_text(encoding="utf-8")
        for file in files[1:]:
            assert f"]({file})" in card
    assert "STAND-IN" in (checkout / "model_cards" / "splade_stsb" / "42" / "README.md").read_text(encoding="utf-8")
    readme = (checkout / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("before\n") and readme.endswith("\nafter\n")
    assert "old" not in readme.splitlines()
    assert reference.table(checkout / "model_cards") in readme and reference.recipes() in readme
    assert reference.write(checkout) == []


def test_a_picture_that_a_run_has_no_more_is_deleted(checkout: Path) -> None:
    reference.write(checkout)
    place = checkout / "model_cards" / "mnrl_minilm" / "1"
    (place / "plots" / "older.png").write_bytes(b"x")
    record = RunRecord.load(place / "record.json")
    only = dataclasses.replace(record, training=dataclasses.replace(record.training, checkpoints=()))
    only.save(place / "record.json")
    changed = {path.relative_to(place).as_posix() for path in reference.write(checkout)}
    assert {"plots/older.png", "plots/training.png", "README.md"} <= changed
    assert sorted(path.name for path in (place / "plots").iterdir()) == ["scores.png", "similarities.png"]
    assert "plots/training.png" not in (place / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("mark", [mark for pair in MARKS for mark in pair])
def test_a_readme_without_a_mark_is_refused_before_anything_is_written(checkout: Path, mark: str) -> None:
    readme = checkout / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8").replace(mark, ""), encoding="utf-8")
    before = {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"README\.md has no lines"):
        reference.write(checkout)
    assert {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()} == before


def test_a_run_without_its_scores_is_refused(checkout: Path) -> None:
    (checkout / "model_cards" / "splade_stsb" / "42" / "scores.parquet").unlink()
    with pytest.raises(DataError, match="no scores file"):
        reference.write(checkout)
