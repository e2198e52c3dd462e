"""Adapters, merged, sparse and Matryoshka models: trained from a Hub, published there, loaded by id, scored again."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from forked import Commands
from loopback_hub import TOKEN, LoopbackHub
from published import teachable
from tiny import tiny_model, tiny_splade

from hf_simtune.publish_reasons import REASONS
from hf_simtune.record import RunRecord

pytestmark = pytest.mark.slow
# Names that a card may claim scores of, wherever their rows come from; these rows are the tests' own.
TRAIN, DATA = "embedding-data/sentence-compression", "sentence-transformers/stsb"
LOADED = """
from sentence_transformers import {kind}
model = {kind}("{to}"{more})
print(model.encode(["a blue bear", "the red bus"]).shape[1])
"""


@dataclasses.dataclass(frozen=True)
class Kind:
    """One way of training, and what its release must be."""

    name: str
    words: str
    tags: tuple[str, ...]
    relation: str = "finetune"
    model: str = "loopback/tiny"
    sparse: bool = False
    weights: str = "model.safetensors"


KINDS = (
    Kind("adapter", "--lora r=4 alpha=8", ("lora",), relation="adapter", weights="adapter_model.safetensors"),
    Kind("merged", "--lora r=4 alpha=8 --merge", ("lora",)),
    Kind("matryoshka", "--matryoshka 32 16", ("loss:MatryoshkaLoss",)),
    Kind(
        "splade",
        "--learning-rate 1e-3 --flops-weight 1e-6",
        ("sparse-encoder", "sparse", "splade"),
        model="loopback/splade",
        sparse=True,
    ),
    Kind("csr", "--sparse csr --active-dims 16", ("sparse-encoder", "sparse", "csr"), sparse=True),
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LoopbackHub, Commands, Path]]:
    place = tmp_path_factory.mktemp("kinds")
    tiny, splade = tiny_model(place / "models" / "tiny"), tiny_splade(place / "models" / "splade")
    teachable(tiny, place)
    data = {TRAIN: place / "pairs", DATA: place / "words"}
    for name, at in (("pairs", "pairs/train"), ("select", "words/validation"), ("report", "words/test")):
        (place / at).parent.mkdir(exist_ok=True)
        (place / f"{name}.csv").rename(place / f"{at}.csv")
    with LoopbackHub({"loopback/tiny": tiny, "loopback/splade": splade}, data, storage=place / "storage") as hub:
        yield hub, Commands(hub, place / "home"), place


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_it_is_published_loaded_by_its_name_and_scored_again(
    kind: Kind, served: tuple[LoopbackHub, Commands, Path]
) -> None:
    hub, simtune, place = served
    to = f"loopback/tuned-{kind.name}"
    out = place / kind.name
    words = [
        f"{TRAIN}:train",
        "--select-on",
        f"{DATA}:validation",
        "--report-on",
        f"{DATA}:test",
        "--model",
        kind.model,
    ]
    words += ["--train-rows", "320", "--evaluations", "2", "--batch-size", "32", "--learning-rate", "3e-3"]
    tuned = simtune("tune", *words, "--epochs", "2", "--precision", "fp32", *kind.words.split(), "--out", str(out))
    assert tuned.returncode == 0, tuned.stderr
    (run,) = out.iterdir()
    record = RunRecord.load(run / "record.json")
    assert record.training.best_step, "the run is meant to have a better step than the base's"
    done = simtune("publish", str(run), "--to", to, "--tag", "v1", "--json")
    if done.returncode == 2:  # so small a model: whatever speaks against it
        allow = [name for name in REASONS if f"{name}: " in done.stderr]
        done = simtune("publish", str(run), "--to", to, "--tag", "v1", "--json", "--allow", *allow)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["proof"].endswith("the weights that were scored, and the same similarities on 64 rows")
    paths = hub.paths("models", to)
    assert {path for path in paths if path.endswith(".safetensors") and "/" not in path} == {kind.weights}

    card = hub.read("models", to, "README.md").decode()
    front = yaml.safe_load(card.split("---")[1])
    assert (front["library_name"], front["base_model"]) == ("sentence-transformers", kind.model)
    assert front["base_model_relation"] == kind.relation
    assert front["pipeline_tag"] == ("feature-extraction" if kind.sparse else "sentence-similarity")
    assert {"sentence-transformers", *kind.tags} <= set(front["tags"])
    assert ("splade" in front["tags"]) == (kind.name == "splade") and front["datasets"] == [TRAIN]
    assert f'{"SparseEncoder" if kind.sparse else "SentenceTransformer"}("{to}")' in card
    _claims_agree(hub, to, front, record)
    _nothing_private(hub, to, place)

    loads_as = "SparseEncoder" if kind.sparse else "SentenceTransformer"
    for more in ("", ', revision="v1"', f', revision="{facts["commit"]}"'):
        loaded = simtune.python(LOADED.format(kind=loads_as, to=to, more=more))
        assert (loaded.returncode, loaded.stdout.strip()) == (0, str(record.tuned.dimensions)), loaded.stderr
    scored = simtune("score", to, "--data", f"{DATA}:test")
    figure = f"{100 * (record.report.tuned.spearman or 0):.2f}"
    assert scored.returncode == 0, scored.stdout + scored.stderr
    assert f"claimed {figure}, measured {figure}: the same, on the same rows" in scored.stdout


def _claims_agree(hub: LoopbackHub, to: str, front: dict[str, Any], record: RunRecord) -> None:
    """Model-index, ``.eval_results`` and record tell one score, of the same rows."""
    (result,) = front["model-index"][0]["results"]
    (entry,) = yaml.safe_load(hub.read("models", to, ".eval_results/simtune-stsb.yaml"))
    kept = json.loads(hub.read("models", to, "record.json"))["evaluations"][0]["tuned"]
    value = kept["spearman"]
    assert result["metrics"][0]["value"] == entry["value"] == value == record.report.tuned.spearman
    assert result["dataset"]["type"] == entry["dataset"]["id"] == DATA
    assert result["dataset"].get("revision") == entry["dataset"].get("revision")
    assert result["dataset"]["args"]["rows"] == kept["n"] == 200
    assert entry["source"]["url"].endswith(f"/{to}/blob/main/record.json")


def _nothing_private(hub: LoopbackHub, to: str, place: Path) -> None:
    """No token, path or row in any file, read back from the Hub."""
    with (place / "words" / "test.csv").open() as file:
        rows = [row["sentence1"] for row in csv.DictReader(file)]
    secrets = [TOKEN, str(place), f"{Path.home()}/", f"{Path.cwd()}/", *rows]
    assert len(rows) == 200
    for path in hub.paths("models", to):
        content = hub.read("models", to, path)
        found = [secret for secret in secrets if secret.encode() in content]
        assert not found, f"{path} holds {found}"
