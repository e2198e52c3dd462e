"""Every shipped recipe, end to end: its own loss, shape and way of tuning, on a tiny model and a few rows."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import CHECKOUT
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.util import pairwise_cos_sim
from tiny import tiny_model, tiny_splade

from hf_simtune import Recipe, catalogue, score, scores_file, tune
from hf_simtune.data import export
from hf_simtune.data.load import load
from hf_simtune.evaluation.health import unclaimed
from hf_simtune.record import RunRecord
from hf_simtune.row_shapes import LOSS_SHAPES
from hf_simtune.run_folder import RunFolder
from hf_simtune.tuning import Run

NAMES = sorted(catalogue.shipped())
ROWS = 96
WAYS = {"csr_minilm": "csr", "splade_stsb": "splade"}  # every other recipe trains a dense model
PROBED = ("best_minilm", "mnrl_minilm", "simcse_compressions", "simcse_sup", "simcse_unsup")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny models and a few graded rows."""
    folder = tmp_path_factory.mktemp("recipes")
    tiny_model(folder / "tiny")
    tiny_splade(folder / "tiny-splade")
    for name, split, rows in (("validation", "validation", 200), ("test", "test", 150), ("probe", "validation", 80)):
        export.sports(str(folder / f"{name}.csv"), shape="scored", split=split, rows=rows)
    sentences = load("builtin:sports/sentences:train", rows=ROWS).dataset["sentence"][:]
    (folder / "sentences.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8")
    with (folder / "validation.csv").open(encoding="utf-8", newline="") as file:
        rows_of = list(csv.DictReader(file))
    with (folder / "backwards.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["sentence1", "sentence2", "score"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**row, "score": 1 - float(row["score"])} for row in rows_of)
    return folder


def small(recipe: Recipe, place: Path) -> Recipe:
    """The recipe on a model and rows that take seconds; what it teaches, and how, stays as it is.

    So few steps do a random sparse encoder no good. Its selection rows are scored backwards: a checkpoint is chosen,
    and what is saved is what was trained.
    """
    return dataclasses.replace(
        recipe,
        model=str(place / ("tiny-splade" if recipe.sparse == "splade" else "tiny")),
        train_data=f"builtin:sports/{recipe.shape}:train",
        columns=None,
        branches=recipe.branches and (f"simcse_compressions:{place / 'sentences.txt'}=0.3",),
        train_rows=ROWS,
        select_on=str(place / ("backwards.csv" if recipe.sparse else "validation.csv")),
        report_on=str(place / "test.csv"),
        probe=recipe.probe and (str(place / "probe.csv"),),
        epochs=4,
        batch_size=16,
        learning_rate=5e-3,
        evaluations=2,
        precision="fp32",
        active_dims=recipe.active_dims and 8,
        matryoshka=recipe.matryoshka and (32, 16, 8),
    )


@pytest.fixture(scope="module", params=NAMES)
def done(request: pytest.FixtureRequest, place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Run]:
    recipe = small(catalogue.find(request.param), place)
    assert recipe.check() == []
    return request.param, tune(recipe, out=tmp_path_factory.mktemp("runs"))


def test_all_recipes_are_run() -> None:
    files = {path.stem for path in (CHECKOUT / "recipes").rglob("*.py") if not path.name.startswith("_")}
    assert set(NAMES) == files
    assert len(NAMES) == 12, "count the recipes here when one is added"


def test_the_record_says_what_the_recipe_does(done: tuple[str, Run]) -> None:
    name, run = done
    recipe, record = catalogue.find(name), run.record
    as_json = dataclasses.replace(record, recipe=json.loads(json.dumps(record.recipe)))
    assert as_json == RunRecord.load(run.folder / "record.json")
    assert (record.name, record.offline, record.script) == (name, False, False)
    roles = [evaluation.role for evaluation in record.evaluations]
    assert roles == ["report", "select", *(["probe"] if name in PROBED else [])]
    assert [evaluation.base.n for evaluation in record.evaluations][:2] == [150, 200]
    assert record.training.loss == recipe.loss
    assert record.training.source.shape == recipe.shape
    assert recipe.shape in LOSS_SHAPES[record.training.loss]
    training, mined = record.training, record.training.mined
    assert (mined is not None) == bool(recipe.mine_negatives)
    if mined:
        assert mined.rows + mined.pairs_without == ROWS and mined.rows > ROWS / 2
    assert training.rows == (mined.rows if mined else ROWS)
    own = 4 * math.ceil(training.rows / 16)
    assert training.steps == own + (2 if recipe.branches else 0)  # a branch has batches of 64
    added = [own + 1, own + 2, own + 3] if recipe.branches else []  # two of the branch, and the average
    assert [point.step for point in training.checkpoints] == [0, own // 2, own, *added]
    assert record.training.best_step > 0, "the settings above are meant to gain something"
    assert record.base.kind == WAYS.get(name, "dense")
    assert record.tuned.kind == record.base.kind
    assert record.tuned.weights_sha256 != record.base.weights_sha256
    assert [cut.dimensions for cut in record.report.truncated] == ([32, 16, 8] if recipe.matryoshka else [])
    assert record.health[0].step == 0
    assert len(record.health) >= 3
    dense = name not in WAYS  # neighbours and spread are those of dense vectors
    claimed = unclaimed(record) is None  # so narrow a random model collapses with some of the losses
    assert (record.spread is not None, record.reindex is not None) == (dense and claimed, dense)
    assert [e.retrieval is not None for e in record.evaluations] == [
        dense and claimed and e.role != "select" for e in record.evaluations
    ]


def test_what_is_trained_and_what_is_saved_are_told(done: tuple[str, Run]) -> None:
    name, run = done
    training = run.record.training
    if name == "lora_minilm":
        assert run.record.saved == "adapter"
        assert 0 < training.trainable < training.parameters
        assert training.parameters == run.record.base.parameters + training.trainable
        assert training.lora is not None
        assert training.lora.startswith("r = 16, alpha = 32, on 12 layers (")
        assert (run.folder / "model" / "adapter_config.json").is_file()
    else:
        assert (run.record.saved, training.lora) == ("model", None)
        assert training.trainable == training.parameters == run.record.base.parameters
        assert (run.folder / "model" / "model.safetensors").is_file() or name == "csr_minilm"


def test_sparse_models_say_how_sparse_they_are(done: tuple[str, Run]) -> None:
    name, run = done
    for found in (run.record.report.base, run.record.report.tuned):
        if name not in WAYS:
            assert (found.active_dimensions, found.sparsity) == (None, None)
            continue
        assert found.active_dimensions is not None
        assert found.sparsity is not None
        width = run.record.base.dimensions
        assert found.sparsity == pytest.approx(1 - found.active_dimensions / width)
        if name == "csr_minilm":
            assert found.active_dimensions <= 8
    assert (run.record.base.untrained is not None) == (name == "csr_minilm")


def test_an_autoencoder_is_held_against_the_dense_model_below_it(done: tuple[str, Run], place: Path) -> None:
    name, run = done
    record, parts = run.record, {part.role: part for part in scores_file.read(run.folder / "scores.parquet")}
    assert (record.dense is None) == ("dense" not in parts) == (name != "csr_minilm")
    if record.dense is None:
        return
    found, part = record.dense.evaluation, parts["dense"]
    assert (found.role, found.tuned, record.dense.dimensions) == ("dense", record.report.tuned, 32)
    assert np.array_equal(part.tuned, parts["report"].tuned)
    assert not np.array_equal(part.base, parts["report"].base)
    assert found.base.active_dimensions is None
    dense = SentenceTransformer(str(place / "tiny"), device="cpu")
    rows = load(str(place / "test.csv")).dataset
    first, second = (dense.encode(rows[column], convert_to_tensor=True) for column in ("sentence1", "sentence2"))
    expected = pairwise_cos_sim(first, second).numpy()
    assert np.allclose(part.base, expected, atol=1e-6)
    assert found.base.spearman == pytest.approx(spearmanr(part.gold, expected).statistic, abs=1e-9)
    assert found.comparison is not None
    assert found.comparison.base == found.base.spearman


def test_the_model_loads_without_us_and_scores_what_is_on_record(
    done: tuple[str, Run], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, run = done
    monkeypatch.chdir(place)  # adapters of a base that is on no Hub look for a folder of its name
    folder = run.folder / "model"
    kind = SparseEncoder if name in WAYS else SentenceTransformer
    model = kind(str(folder), device="cpu")
    assert model.similarity_fn_name == "cosine"
    vectors = model.encode(["A ball.", "A dog runs."])
    assert tuple(vectors.shape) == (2, run.record.tuned.dimensions)
    again = score(str(folder), str(place / "test.csv"))
    tuned = run.record.report.tuned
    assert again.score.n == tuned.n
    assert again.score.spearman == pytest.approx(tuned.spearman, abs=1e-6)
    assert again.score.pearson == pytest.approx(tuned.pearson, abs=1e-6)


def test_card_and_report_are_whole(done: tuple[str, Run], place: Path) -> None:
    name, run = done
    folder = RunFolder(run.folder)
    assert (folder.model / "README.md").read_text(encoding="utf-8") == folder.card.read_text(encoding="utf-8")
    for path in (folder.card, folder.report):
        text = path.read_text(encoding="utf-8")
        assert len(text) > 2000
        assert not re.search(r"\b(None|nan|NaN|inf)\b|\{\{|\}\}\}|<function", text), path.name
        assert ("undefined" in text) == (unclaimed(run.record) is not None), path.name
        assert str(place) not in text
    card = folder.card.read_text(encoding="utf-8").replace(" \\\n    ", " ")
    assert f"hf-simtune tune builtin:sports/{catalogue.find(name).shape}:train --name {name}" in card
    assert run.record.verdict in card.lower()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["splade_stsb", "lora_minilm"])
def test_offline_a_stand_in_is_named_and_nothing_is_claimed_of_it(
    name: str, minilm: Path, place: Path, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(
        catalogue.find(name),
        select_on=str(place / "probe.csv"),
        report_on=str(place / "test.csv"),
        train_rows=32,
        batch_size=16,
        evaluations=1,
        epochs=1,
        precision="fp32",
    )
    run = tune(recipe, out=tmp_path, offline=True, origin=(name, catalogue.find(name)))
    record = run.record
    card, report = ((run.folder / file).read_text(encoding="utf-8") for file in ("README.md", "report.html"))
    assert record.offline
    assert record.command.endswith("--offline")
    assert record.training.source.title == "builtin:sports/scored:train"
    if name == "splade_stsb":
        assert record.base.stand_in_for == "naver/splade-cocondenser-ensembledistil"
        assert record.base.untrained is not None
        assert record.verdict == "no verdict"
        for text in (card, report):
            assert "naver/splade-cocondenser-ensembledistil" in text
            assert re.search(r"stand-in|stands in", text)
            assert "no verdict" in text.lower()
        assert not re.search(r"\b(improved|regressed)\b", card)
        assert re.findall(r'class="headline ([\w-]+)"', report) == ["no-verdict"]
    else:
        assert (record.base.stand_in_for, record.base.untrained) == (None, None)
        assert record.base.hub_id == "sentence-transformers/all-MiniLM-L6-v2"
        assert "stand-in" not in card
