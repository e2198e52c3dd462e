from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CHECKOUT

from hf_simtune import catalogue
from hf_simtune.errors import RequestError
from hf_simtune.recipe import LOSS_SHAPES, Recipe

GOOD = Recipe(name="x", train_data="rows.csv")


def test_the_shipped_recipes_are_found_recursively_and_each_is_in_order() -> None:
    files = [path for path in (CHECKOUT / "recipes").rglob("*.py") if not path.name.startswith("_")]
    found = catalogue.all_recipes()
    assert len(files) == 12, "count the recipes here when one is added"
    assert set(found) >= {path.stem for path in files}
    for name, value in found.items():
        assert value.name == name
        assert value.title
        assert value.check() == []


def test_recipe_files_are_short_and_end_in_the_two_lines() -> None:
    for path in (CHECKOUT / "recipes").rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        body = lines[lines.index("# ///") + 1 :]  # behind the header, which says where it runs
        assert len(body) <= 34, f"{path.name} has {len(body)} lines behind its header"
        assert lines[-2:] == ['if __name__ == "__main__":', "    main(RECIPE)"]


def test_an_unknown_recipe_names_the_closest() -> None:
    with pytest.raises(RequestError, match="unknown recipe 'mnrl_minlm'; did you mean 'mnrl_minilm'"):
        catalogue.find("mnrl_minlm")


def test_recipe_files_that_cannot_be_used_are_refused_in_a_sentence(tmp_path: Path) -> None:
    cases = {
        "missing.py": (None, "no recipe file"),
        "empty.py": ("", "has no RECIPE"),
        "broken.py": ("1/0", "does not run: ZeroDivisionError"),
        "other.py": ("RECIPE = 3", "has no RECIPE"),
        "field.py": (
            "from hf_simtune import Recipe\nRECIPE = Recipe(name='x', epoch=3)",
            "unexpected keyword argument 'epoch'",
        ),
    }
    for name, (text, told) in cases.items():
        path = tmp_path / name
        if text is not None:
            path.write_text(text, encoding="utf-8")
        with pytest.raises(RequestError, match=told):
            catalogue.find(str(path))


def test_a_recipe_is_the_same_value_named_or_loaded_from_its_file() -> None:
    assert catalogue.find("mnrl_minilm") == catalogue.find(str(CHECKOUT / "recipes" / "mnrl_minilm.py"))


def test_every_loss_of_the_table_can_be_built_on_every_model_that_takes_it(tmp_path: Path) -> None:
    from tiny import tiny_model, tiny_splade
    from torch import nn

    from hf_simtune.loss_table import LOSSES
    from hf_simtune.losses import build
    from hf_simtune.models import load
    from hf_simtune.row_shapes import default_loss

    assert set(LOSSES) == {"mnrl", "cached_mnrl", "cosent", "angle", "cosine", "simcse"}
    assert [name for name, loss in LOSSES.items() if loss.sparse is None] == ["cached_mnrl"]
    assert all(shape in LOSS_SHAPES[default_loss(shape)] for shape in ("pairs", "scored", "triplets", "sentences"))
    folder = str(tiny_model(tmp_path / "tiny"))
    dense, _ = load(folder)
    for name in LOSSES:
        loss = build(name, dense, GOOD)
        assert isinstance(loss, nn.Module)
        scale = getattr(loss, "scale", None)  # 1 / temperature, and nothing of the kind without one
        assert scale == (pytest.approx(1 / GOOD.temperature) if LOSSES[name].temperature else None)
        cut = build(name, dense, dataclasses.replace(GOOD, matryoshka=(8, 32)))
        assert type(cut).__name__ == "MatryoshkaLoss"
    for sparse, facts in (load(str(tiny_splade(tmp_path / "splade"))), load(folder, sparse="csr", active_dims=8)):
        for name in (name for name, loss in LOSSES.items() if loss.sparse):
            loss = build(name, sparse, GOOD)
            assert type(loss).__name__ == {"splade": "SpladeLoss", "csr": "CSRLoss"}[facts.kind]
            assert sparse.similarity_fn_name == facts.similarity, "a loss left its own similarity behind"
        with pytest.raises(RequestError, match="--loss cached_mnrl is for dense models; a sparse one takes mnrl"):
            build("cached_mnrl", sparse, GOOD)
        with pytest.raises(RequestError, match="--matryoshka cuts dense embeddings"):
            build("mnrl", sparse, dataclasses.replace(GOOD, matryoshka=(8,)))
    with pytest.raises(RequestError, match="--matryoshka 64 8: the model has 32 dimensions"):
        build("mnrl", dense, dataclasses.replace(GOOD, matryoshka=(64, 8)))


def test_importing_the_package_and_a_recipe_loads_no_heavy_library() -> None:
    code = (
        "import sys, hf_simtune, hf_simtune.cli; from hf_simtune import catalogue; catalogue.all_recipes();"
        "heavy = ('torch', 'transformers', 'datasets', 'evaluate', 'sentence_transformers', 'rich', 'numpy');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout.strip() == "[]"


def test_an_installed_recipe_that_does_not_load_takes_no_other_with_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from importlib.metadata import EntryPoint

    def entries(group: str) -> list[EntryPoint]:
        values = {"broken": "no_such_module:RECIPE", "other": "math:pi", "good": "test_recipe:GOOD"}
        return [EntryPoint(name, value, group) for name, value in values.items()]

    monkeypatch.setattr(catalogue, "entry_points", entries)
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    found = catalogue.all_recipes()
    assert found["good"] == GOOD
    assert "mnrl_minilm" in found
    assert not {"broken", "other"} & set(found)
    assert catalogue.find("mnrl_minilm").name == "mnrl_minilm"
    assert {"broken", "other"} <= {word.strip("'") for record in caplog.records for word in record.getMessage().split()}
