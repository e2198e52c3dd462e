"""What stands in, offline, for what a recipe takes from the Hub: the packaged MiniLM, the built-in sports corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_simtune.branches import named_branches
from hf_simtune.hub_names import is_hub_name
from hf_simtune.row_shapes import named_losses

if TYPE_CHECKING:
    from hf_simtune.recipe import Recipe

__all__ = ["BUILTIN_MINILM", "BUILTIN_SPLADE", "MINILM", "offline_changes"]

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
BUILTIN_MINILM = "builtin:all-MiniLM-L6-v2"
BUILTIN_SPLADE = "builtin:splade-MiniLM-L6"  # MiniLM with a masked-language head that nobody has trained


def offline_changes(recipe: Recipe) -> dict[str, Any]:
    """The fields that differ in the same recipe on what the package carries.

    Only what would come from the Hub is replaced, or, if it is a probe, further data, a start or a branch, left
    out; files and folders of your own stay. The scores are then on the sports corpus and never stand for STSb.
    Five passes or fewer over that corpus are scored 5 times: more scores would be most of a trial's time.
    """
    changes: dict[str, Any] = {"name": f"{recipe.name.removesuffix('-offline')}-offline"}
    if is_hub_name(recipe.model):
        stand_in = BUILTIN_SPLADE if recipe.sparse == "splade" else BUILTIN_MINILM
        changes |= {"model": stand_in, "model_revision": None}
        if recipe.model != MINILM:
            changes["stand_in_for"] = recipe.model
    if on_hub := is_hub_name(recipe.train_data):
        changes |= {
            "title": f"offline trial of {recipe.name}: the packaged MiniLM on the built-in sports corpus",
            "train_data": f"builtin:sports/{recipe.shape or 'pairs'}:train",
            "columns": None,
            "score_range": None,
        }
        if isinstance(recipe.train_rows, int):  # a trial is short
            changes["train_rows"] = min(recipe.train_rows, 4000)
        if recipe.evaluations is None and isinstance(recipe.epochs, int | float) and recipe.epochs <= 5:
            changes["evaluations"] = 5
    if is_hub_name(recipe.start or ""):
        changes["start"] = None
    branches = named_branches(recipe.branches)
    changes["branches"] = tuple(one.entry for one in branches if one.data and not is_hub_name(one.data)) or None
    further = zip(recipe.more_data or (), named_losses(recipe.more_data), strict=True)
    changes["more_data"] = tuple(entry for entry, (_, data) in further if not is_hub_name(data)) or None
    changes["probe"] = tuple(name for name in recipe.probe or () if not is_hub_name(name)) or None
    # Rows of one's own are kept to be measured on, as online; those of the corpus have graded rows beside them.
    places = {"select_on": "builtin:sports/scored:validation", "report_on": "builtin:sports/scored:test"}
    replaced = [name for name in places if is_hub_name(value := getattr(recipe, name) or "") or (not value and on_hub)]
    left = [value for name in places if name not in replaced and (value := getattr(recipe, name))]
    free = [place for place in places.values() if place not in left]
    changes |= {name: places[name] if places[name] in free else free[0] for name in replaced}
    if replaced and not left:
        changes |= {"eval_columns": None, "eval_score_range": None}
    scored = [changes.get(name) for name in places]  # what is reported on need not be probed
    changes["probe"] = tuple(name for name in changes["probe"] or () if name not in scored) or None
    return changes
