"""Names of models, before one is loaded: which stand for nothing, and which do not take what a recipe asks for."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hf_simtune.fields import wrong_fields
from hf_simtune.hub_names import is_hub_name, local
from hf_simtune.recipe import BUILTIN_MINILM, BUILTIN_SPLADE, MINILM, Recipe
from hf_simtune.row_shapes import cached
from hf_simtune.rules import DENSE
from hf_simtune.unread_fields import told

__all__ = ["FORMS", "at_revision", "exported", "is_static", "kind", "of_recipe", "problems", "unread"]

BUILTINS = (BUILTIN_MINILM, BUILTIN_SPLADE)
FORMS = f"Hub id, folder, {BUILTIN_MINILM} or {BUILTIN_SPLADE}"
STATIC = ("static-", "potion-", "m2v_")  # how the published models start that look words up in a table


def of_recipe(recipe: Recipe) -> list[str]:
    """What can be seen to be wrong with a recipe's model, each a sentence.

    There is no such folder or built-in, it does not take what the recipe asks for, or it does not read what is set.
    """
    if not isinstance(recipe.model, str):  # which Recipe.check tells
        return []
    found, wrong = problems([recipe.model]), wrong_fields(recipe)
    if recipe.start is not None and "start" not in wrong:
        found += problems([at_revision(recipe.start)[0]], "--start")
        places = [local(name) for name in (recipe.start, recipe.model)]
        if recipe.start == recipe.model or (all(map(Path.is_dir, places)) and places[0].samefile(places[1])):
            found.append(f"--start {recipe.start} is the base itself, where training begins anyway; leave it out")
    found += [*_static(recipe, wrong), *_sparse(recipe, wrong), *exported(recipe)]
    return found + [told(field, [getattr(recipe, field)], why) for field, why in unread(recipe).items()]


def at_revision(name: str) -> tuple[str, str | None]:
    """``ORG/NAME@REVISION`` in its two parts; a folder's name is one."""
    if local(name).exists():
        return name, None
    plain, _, revision = name.partition("@")
    return plain, revision or None


def unread(recipe: Recipe) -> dict[str, str]:
    """Fields that are not as by default and that a model of this kind does not read, each with why."""
    if not {"flops_weight", "model", "sparse"}.isdisjoint(wrong_fields(recipe)):
        return {}
    # The base that an offline run stands in for may be a SPLADE model.
    if recipe.flops_weight == Recipe.flops_weight or recipe.sparse or recipe.stand_in_for:
        return {}
    if kind(recipe.model) not in ("dense", "static"):
        return {}
    one = "--sparse splade makes one of a masked-language model"
    return {"flops_weight": f"it is for a SPLADE model, and {recipe.model} is dense ({one})"}


def _static(recipe: Recipe, wrong: Collection[str]) -> Iterator[str]:
    if kind(recipe.model) != "static":
        return
    if recipe.gradient_checkpointing:
        yield (
            f"--gradient-checkpointing does not go with {recipe.model}, a static model: it has no layers to run again; "
            "leave it out"
        )
    if recipe.max_length is not None:
        yield f"--max-length does not go with {recipe.model}, a static model: it takes texts whole; leave it out"
    for loss in cached(recipe) if {"loss", "more_data"}.isdisjoint(wrong) else ():
        yield f"--loss {loss} does not go with {recipe.model}, a static model, which runs a batch whole: --loss mnrl"
    if recipe.lora is not None:
        yield f"--lora does not go with {recipe.model}, a static model: it has no linear layers to adapt; leave it out"


def _sparse(recipe: Recipe, wrong: Collection[str]) -> Iterator[str]:
    if kind(recipe.model) != "sparse" or "sparse" in wrong:
        return
    is_sparse = f"{recipe.model} is a sparse encoder"
    if recipe.sparse == "csr":
        yield f"--sparse csr makes a sparse encoder of a dense model, and {is_sparse} already; leave it out"
    elif recipe.sparse is None:  # else the rules have told it
        for name, does in DENSE.items():
            if name not in wrong and getattr(recipe, name):
                yield f"--{name.replace('_', '-')} {does} dense embeddings, and {is_sparse}; leave it out"
        for loss in cached(recipe) if {"loss", "more_data"}.isdisjoint(wrong) else ():
            yield f"--loss {loss} is for dense models, and {is_sparse}: --loss mnrl"


def exported(recipe: Recipe) -> list[str]:
    """Why a recipe's model cannot be exported, or not on this machine, as far as can be seen before it is trained."""
    wrong = wrong_fields(recipe)
    if recipe.export is None or "export" in wrong:
        return []
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    found = [f"--export {recipe.export} needs the package {name}: pip install 'hf-simtune[onnx]'" for name in missing]
    held = "" if "model" in wrong else kind(recipe.model)
    if recipe.sparse or held == "sparse":
        found.append(f"--export {recipe.export} is of a dense model, and the run makes a sparse encoder; leave it out")
    if held == "static":
        found.append(
            f"--export {recipe.export} takes a transformer, and {recipe.model} is a static model; leave it out"
        )
    if recipe.lora is not None and not recipe.merge:
        found.append(f"--export {recipe.export} takes a whole model, and --lora leaves adapters alone: add --merge")
    return found


def kind(name: str) -> str:
    """``dense``, ``static`` (dense too) or ``sparse``, as far as a model's folder or name tells; else ``""``.

    What a folder without ``modules.json`` holds, and what is on the Hub under most names, is seen on loading.
    """
    if name in (BUILTIN_MINILM, MINILM, BUILTIN_SPLADE):
        return "sparse" if name == BUILTIN_SPLADE else "dense"
    if is_static(name):
        return "static"
    place = local(name)
    if not name or not (place / "modules.json").is_file():
        return ""
    config = _json(place / "config_sentence_transformers.json")
    saved_as = config.get("model_type", "SentenceTransformer") if isinstance(config, dict) else "SentenceTransformer"
    if saved_as == "SparseEncoder":
        return "sparse"
    marked = ".sparse_encoder." in (place / "modules.json").read_text(encoding="utf-8", errors="replace")
    return "dense" if saved_as == "SentenceTransformer" and not marked else ""


def _json(path: Path) -> Any:
    """What a file holds; None where there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def is_static(name: str) -> bool:
    """Whether a model looks words up in a table, as far as its folder or, on the Hub, its name tells."""
    modules = local(name) / "modules.json"
    if modules.is_file():
        return "StaticEmbedding" in modules.read_text(encoding="utf-8", errors="replace")
    return name.rpartition("/")[2].lower().startswith(STATIC)


def problems(models: Sequence[str], called: str = "--model") -> list[str]:
    """What can be seen to be wrong with the names of models without loading one or asking the Hub.

    Args:
        models: the names.
        called: what stands before a name in a message.
    """
    found = []
    for name in dict.fromkeys(models):
        place = local(name)
        if models.count(name) > 1:
            found.append(f"{called} {name} is given {models.count(name)} times")
        if name.startswith("builtin:"):
            if name not in BUILTINS:
                found.append(f"{called} {name}: there is no such built-in model; there are {', '.join(BUILTINS)}")
        elif name and place.is_dir():
            if not any((place / file).is_file() for file in ("modules.json", "config.json", "adapter_config.json")):
                found.append(f"{called} {name}: the folder holds no model; in a run folder that is {place / 'model'}")
        elif not name or name.count("/") > 1 or not is_hub_name(name):
            found.append(f"{called} {name}: there is no such folder; a model is a Hub id (ORG/NAME) or a folder")
    return found
