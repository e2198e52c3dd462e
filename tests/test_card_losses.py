"""The names of losses in a card are those of the classes that a run is trained with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import sample_record
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss
from sentence_transformers.sparse_encoder.losses import CSRLoss, SpladeLoss
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder
from tiny import tiny_splade

from hf_simtune import losses
from hf_simtune.card import render
from hf_simtune.card_losses import PAPERS, loss_classes
from hf_simtune.loss_table import LOSSES
from hf_simtune.recipe import Recipe
from hf_simtune.record import Ingredient


@pytest.fixture(scope="module")
def models(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    dense = SentenceTransformer(str(folder), device="cpu")
    autoencoder = SparseAutoEncoder(input_dim=32, hidden_dim=128, k=8)
    modules = [*SentenceTransformer(str(folder), device="cpu"), autoencoder]
    return {
        "dense": dense,
        "splade": SparseEncoder(str(tiny_splade(tmp_path_factory.mktemp("splade") / "model")), device="cpu"),
        "csr": SparseEncoder(modules=modules, device="cpu"),
    }


def names(loss: Any) -> tuple[str, ...]:
    """The class of a loss and, if it is around another, of that one."""
    around = isinstance(loss, MatryoshkaLoss | SpladeLoss | CSRLoss)
    return (type(loss).__name__, *(names(loss.loss) if around else ()))


@pytest.mark.parametrize(("kind", "cut"), [("dense", None), ("dense", (32, 8)), ("splade", None), ("csr", None)])
def test_the_classes_are_those_of_the_losses_that_are_built(
    models: dict[str, Any], kind: str, cut: tuple[int, ...] | None
) -> None:
    known = [name for name, loss in LOSSES.items() if kind == "dense" or loss.sparse]
    assert len(known) == (6 if kind == "dense" else 5)
    recipe = Recipe(train_data="builtin:sports", matryoshka=cut)
    for name in known:
        built = names(losses.build(name, models[kind], recipe))
        assert loss_classes(name, kind, matryoshka=bool(cut)) == built


def test_a_loss_that_is_not_ours_keeps_its_name() -> None:
    assert loss_classes("MarginMSELoss", "splade", matryoshka=True) == ("MarginMSELoss",)


def test_every_paper_has_its_entry() -> None:
    def cited(**changes: Any) -> set[str]:
        record = sample_record.improved()
        kind, recipe = changes.pop("kind", "dense"), changes.pop("recipe", {})
        page = render(
            dataclasses.replace(
                record,
                recipe=record.recipe | recipe,
                tuned=dataclasses.replace(record.tuned, kind=kind),
                training=dataclasses.replace(record.training, **changes),
            )
        )
        return {line.partition("{")[2].rstrip(",") for line in page.splitlines() if line.startswith("@")}

    always = cited(loss="cosine")
    assert always == {"reimers-gurevych-2019-sentence-bert"}
    ways: dict[str, dict[str, Any]] = {
        "mnrl": {"loss": "mnrl"},
        "cached": {"loss": "cached_mnrl"},
        "cosent": {"loss": "cosent"},
        "angle": {"loss": "angle"},
        "simcse": {"loss": "simcse"},
        "splade": {"loss": "cosine", "kind": "splade"},
        "csr": {"loss": "cosine", "kind": "csr"},
        "matryoshka": {"loss": "cosine", "recipe": {"matryoshka": [384, 64]}},
        "lora": {"loss": "cosine", "lora": "r=16"},
        "soup": {"loss": "cosine", "soup": (Ingredient(seed=42, step=602, spearman=0.8),) * 2},
        "wise": {
            "loss": "cosine",
            "soup": (Ingredient(seed=42, step=602, spearman=0.8),),
            "recipe": {"keep_base": 0.2},
        },
        "task": {
            "loss": "cosine",
            "soup": (Ingredient(seed=42, step=602, spearman=0.8),),
            "recipe": {"keep_base": -0.2},
        },
    }
    assert set(ways) == {key for keys in PAPERS.values() for key in keys} | {"simcse", "lora", "soup", "wise", "task"}
    more = {way: cited(**changes) - always for way, changes in ways.items()}
    assert {way: len(found) for way, found in more.items()} == {
        **dict.fromkeys(ways, 1),
        "cached": 2,  # the loss, and how it is computed
        "simcse": 2,
    }
    assert more["mnrl"] == more["cached"] & more["simcse"]
