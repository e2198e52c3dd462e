"""The metadata of a card: what it holds, and that the check finds what the Hub would not take."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest
import sample_record
import sample_ways
from huggingface_hub import ModelCard, ModelCardData
from sample_ways import SAMPLES
from sentence_transformers.sparse_encoder.model_card import SparseEncoderModelCardData

from hf_simtune import catalogue
from hf_simtune.card import render
from hf_simtune.card_metadata import WELL_KNOWN, check_metadata, metadata
from hf_simtune.data import spec
from hf_simtune.record import ModelFacts


@pytest.mark.parametrize("name", ["improved", "no_evidence", "lora", "splade", "csr", "matryoshka", "script"])
def test_metadata_passes_the_check_and_survives_the_hubs_own_classes(name: str) -> None:
    record = SAMPLES[name]()
    value = metadata(record)
    assert check_metadata(value) == []
    assert ModelCard(render(record)).data.to_dict() == value
    again = ModelCardData(**{key: item for key, item in value.items() if key != "model-index"})
    assert again.to_dict() == {key: item for key, item in value.items() if key != "model-index"}


def test_the_model_index_holds_the_tuned_score_of_the_report_rows_alone() -> None:
    (model,) = metadata(sample_record.improved())["model-index"]
    (result,) = model["results"]
    assert result["dataset"]["split"] == "test"
    assert result["dataset"]["revision"] == "ab" * 20
    assert [metric["value"] for metric in result["metrics"]] == [0.7225]


def test_names_that_are_not_on_the_hub_stay_out_of_the_metadata() -> None:
    record = sample_record.improved()
    source = dataclasses.replace(record.training.source, name="local/news")
    file = dataclasses.replace(record.report.source, name="rows/mine.csv", kind="file")
    facts: ModelFacts = dataclasses.replace(
        record.base, hub_id=None, name="my-model", license=None, language=("klingon",)
    )
    value = metadata(
        dataclasses.replace(
            record,
            base=facts,
            tuned=facts,
            training=dataclasses.replace(record.training, source=source),
            evaluations=(dataclasses.replace(record.report, source=file),),
        )
    )
    assert not {"datasets", "base_model", "base_model_relation", "model-index", "language"} & set(value)
    assert value["license"] == "unknown"
    assert check_metadata(value) == []


def test_a_stand_in_claims_nothing_of_the_model_in_whose_place_it_stood() -> None:
    record = sample_ways.splade()
    value = metadata(record)
    assert "stand-in" in value["tags"]
    assert "model-index" not in value
    assert value["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert str(record.base.stand_in_for) not in str(value)
    # Even if its facts were to name that model as its own.
    named = dataclasses.replace(record.base, hub_id=record.base.stand_in_for)
    assert str(record.base.stand_in_for) not in str(metadata(dataclasses.replace(record, base=named)))
    # The score of a base that is only untrained is a fact about the tuned model.
    untrained = metadata(dataclasses.replace(record, base=dataclasses.replace(record.base, stand_in_for=None)))
    assert "model-index" in untrained
    assert "stand-in" not in untrained["tags"]


@pytest.mark.parametrize(("name", "kind"), [("splade", "splade"), ("csr", "csr")])
def test_a_sparse_encoder_is_listed_as_the_library_lists_its_own(name: str, kind: str) -> None:
    own = SparseEncoderModelCardData()  # the library's own card
    value = metadata(SAMPLES[name]())
    assert value["tags"][: len(own.tags) + 1] == [*own.tags, kind]
    assert "sentence-similarity" not in value["tags"]
    assert value["pipeline_tag"] == "feature-extraction"


@pytest.mark.parametrize(("saved", "relation"), [("adapter", "adapter"), ("merged", "finetune"), ("model", "finetune")])
def test_only_a_model_that_needs_its_base_is_called_an_adapter_of_it(saved: str, relation: str) -> None:
    value = metadata(dataclasses.replace(sample_ways.lora(), saved=saved))
    assert value["base_model_relation"] == relation
    assert "lora" in value["tags"]


def test_every_data_set_and_every_loss_of_a_run_is_listed_once() -> None:
    record = sample_ways.lora()
    value = metadata(record)
    assert value["datasets"] == ["embedding-data/sentence-compression", "sentence-transformers/all-nli"]
    assert f"dataset_size:{271_014 + 557_850}" in value["tags"]
    losses = [tag for tag in value["tags"] if tag.startswith("loss:")]
    assert losses == ["loss:MultipleNegativesRankingLoss", "loss:CachedMultipleNegativesRankingLoss"]
    again = dataclasses.replace(record.training.further[0], source=record.training.source, loss="mnrl")
    twice = metadata(dataclasses.replace(record, training=dataclasses.replace(record.training, further=(again,))))
    assert twice["datasets"] == ["embedding-data/sentence-compression"]
    assert [tag for tag in twice["tags"] if tag.startswith("loss:")] == losses[:1]


def test_what_a_script_did_not_tell_is_not_listed() -> None:
    value = metadata(sample_ways.script())
    assert "datasets" not in value
    assert not any(tag.startswith(("loss:", "dataset_size:")) for tag in value["tags"])
    assert "base-unchanged" not in value["tags"]


def test_a_part_of_a_data_set_is_never_published_as_its_whole_split() -> None:
    record = sample_record.improved()
    part = dataclasses.replace(record.report.source, part="report: 10 % of the rows, by connected rows")
    value = metadata(dataclasses.replace(record, evaluations=(dataclasses.replace(record.report, source=part),)))
    assert "model-index" not in value


def test_a_folder_that_is_only_named_like_a_data_set_of_the_hub_is_not_claimed_to_be_one() -> None:
    record = sample_record.improved()
    train = dataclasses.replace(record.training.source, name="acme/secret", kind="local copy")
    rows = dataclasses.replace(record.report.source, name="acme/secret-rows", kind="local copy", revision=None)
    record = dataclasses.replace(
        record,
        training=dataclasses.replace(record.training, source=train),
        evaluations=(dataclasses.replace(record.report, source=rows),),
    )
    value = metadata(record)
    assert "datasets" not in value
    assert "model-index" not in value
    assert "huggingface.co/datasets/acme" not in render(record)


def test_a_local_copy_of_a_data_set_that_the_recipes_name_is_listed_without_a_revision() -> None:
    record = sample_record.improved()
    rows = dataclasses.replace(record.report.source, kind="local copy")
    value = metadata(dataclasses.replace(record, evaluations=(dataclasses.replace(record.report, source=rows),)))
    assert value["datasets"] == ["embedding-data/sentence-compression"]
    data = value["model-index"][0]["results"][0]["dataset"]
    assert (data["type"], data["name"]) == (
        "sentence-transformers/stsb",
        "sentence-transformers/stsb:test (local copy)",
    )
    assert "revision" not in data


def test_every_data_set_that_a_shipped_recipe_names_is_known_to_be_public() -> None:
    recipes = [catalogue.load(path) for path in catalogue.recipe_folder().rglob("*.py")]
    named = [name for recipe in recipes for name in (recipe.train_data, recipe.select_on, recipe.report_on) if name]
    assert named
    assert {spec.parse(name).name for name in named if not name.startswith("builtin:")} <= WELL_KNOWN


def test_a_licence_that_the_hub_does_not_know_is_named_as_other() -> None:
    record = sample_record.improved()
    value = metadata(dataclasses.replace(record, tuned=dataclasses.replace(record.tuned, license="House Rules 2")))
    assert value["license"] == "other"
    assert value["license_name"] == "House Rules 2"
    assert check_metadata(value) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"licence": "mit"}, "unknown key 'licence'"),
        ({"license": "license"}, "license is 'license'"),
        ({"license": ["mit"]}, r"license is \['mit'\]"),
        ({"license": "other"}, "license_name must say which"),
        ({"pipeline_tag": "sentence similarity"}, "pipeline_tag is"),
        ({"library_name": "transformers"}, "library_name is 'transformers'"),
        ({"language": ["english"]}, "language: 'english'"),
        ({"language": "xx"}, "language: 'xx'"),
        ({"tags": ["a", 1]}, "tags is"),
        ({"datasets": ["rows.csv"]}, "datasets: 'rows.csv' is not a Hub id"),
        ({"datasets": ["a/b/c"]}, "datasets: 'a/b/c' is not a Hub id"),
        ({"base_model": "all-MiniLM-L6-v2"}, "base_model: 'all-MiniLM-L6-v2' is not a Hub id"),
        ({"base_model_relation": "child"}, "base_model_relation is 'child'"),
        ({"metrics": []} | {"model-index": []}, "model-index must be a list"),
        ({"model-index": [{"name": "x", "results": []}]}, "results must be a list with at least one entry"),
        ({"model-index": ["x"]}, "must be a mapping with a name"),
    ],
)
def test_the_check_finds_what_the_hub_would_not_take(change: dict[str, Any], problem: str) -> None:
    found = check_metadata(metadata(sample_record.improved()) | change)
    assert any(re.search(problem, line) for line in found), found


def test_the_check_names_every_missing_key() -> None:
    found = check_metadata({"base_model_relation": "finetune"})
    for key in ("library_name", "pipeline_tag", "license", "tags"):
        assert f"{key} is missing" in found
    assert "base_model_relation stands without base_model" in found


@pytest.mark.parametrize(
    ("place", "item", "problem"),
    [
        ("dataset", {"type": "stsb", "name": "STSb"}, "is not a Hub id"),
        ("dataset", {"type": "a/b"}, "the dataset has no name"),
        ("dataset", {"type": "a/b", "name": "b", "revision": "main"}, "revision 'main' is not a commit"),
        ("dataset", {"type": "a/b", "name": "b", "split": 3}, "dataset split is 3"),
        ("task", {"type": "translation"}, "task type 'translation'"),
        ("task", "sentence-similarity", "task and dataset must be mappings"),
        ("metrics", [], "metrics must be a list"),
        ("metrics", [{"type": "spearman", "value": 1.0}], "must have a type and a name"),
        ("metrics", [{"type": "spearman", "name": "S", "value": math.nan}], "must be a finite number"),
        ("metrics", [{"type": "spearman", "name": "S", "value": "0.8"}], "must be a finite number"),
        ("metrics", [{"type": "spearman", "name": "S", "value": True}], "must be a finite number"),
    ],
)
def test_the_check_finds_what_is_wrong_in_a_result(place: str, item: Any, problem: str) -> None:
    value = metadata(sample_record.improved())
    value["model-index"][0]["results"][0][place] = item
    found = check_metadata(value)
    assert len(found) == 1
    assert problem in found[0]
