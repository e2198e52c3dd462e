"""What a run saves, and the proof that it loads as what was scored."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sentence_transformers import SentenceTransformer, SparseEncoder

from hf_simtune import adapters, models, train
from hf_simtune.errors import RunError
from hf_simtune.evaluation.sts import Model
from hf_simtune.preparing import Prepared, load_base
from hf_simtune.run_folder import Plan, RunFolder
from hf_simtune.unwritten import writing
from hf_simtune.weights import weights_sha256

__all__ = ["save"]

log = logging.getLogger("hf_simtune")
TEXTS = 32  # that two models are compared on


def save(plan: Plan, folder: RunFolder, prepared: Prepared, step: int) -> tuple[Model, str]:
    """Save the model of the best step (0: the untouched base), load it back, and prove its weights both times.

    The Trainer logs a failed restore and goes on, and a model can be saved such that it loads with other weights.

    Returns:
        The model that was loaded back, and what ``model/`` holds: "model", "adapter" or "merged".

    Raises:
        RunError: it is not the model that was scored.
    """
    if step == 0:
        return _base(plan, folder), "model"
    model = prepared.model
    if weights_sha256(model) != train.scored_weights(folder.trainer, step):
        raise RunError(
            f"the weights restored for step {step} are not those that were scored there",
            hint=f"Look at {folder.trainer}",
        )
    if plan.recipe.lora is None:
        with _staged(folder.model) as place:
            models.save(model, place)
        return _reloaded(model, folder, weights_sha256(model)), "model"
    return _adapters(plan, folder, prepared)


def _adapters(plan: Plan, folder: RunFolder, prepared: Prepared) -> tuple[Model, str]:
    """Save the adapters, or the base with them written into it, and try what was saved."""
    recipe, model = plan.recipe, prepared.model
    report = prepared.inputs.report.dataset
    texts = list(dict.fromkeys(report[:TEXTS]["sentence1"] + report[:TEXTS]["sentence2"]))
    place = models.base_folder(recipe.model, prepared.base.revision or recipe.model_revision)
    target = folder.trainer / "adapter" if recipe.merge else folder.model
    with _staged(target) as part:
        adapters.save(model, part, base=prepared.base, base_place=place or recipe.model)
    if not recipe.merge:
        if place is None:
            raise RunError(f"the base of the adapters, {recipe.model}, is not on this machine: they cannot be tried")
        loaded, difference = adapters.check_reload(model, folder.model, texts, base_place=place)
        log.info("the adapters load on their base: embeddings differ by %.1e at most", difference)
        return loaded, "adapter"
    whole = adapters.merged(lambda: load_base(recipe)[0], target)
    with _staged(folder.model) as part:
        models.save(whole, part)
    _, difference = adapters.check_reload(model, folder.model, texts)
    log.info("the merged model loads: its embeddings differ from base and adapters by %.1e at most", difference)
    return _reloaded(whole, folder, weights_sha256(whole)), "merged"


def _base(plan: Plan, folder: RunFolder) -> Model:
    log.warning("no checkpoint scored better than the base on the selection rows: model/ holds the base unchanged")
    model = load_base(plan.recipe)[0]
    if weights_sha256(model) != plan.base_weights:
        raise RunError(f"the base model {plan.recipe.model} has other weights than at the start of the run")
    with _staged(folder.model) as place:
        models.save(model, place)
    return _reloaded(model, folder, plan.base_weights)


@contextmanager
def _staged(place: Path) -> Iterator[Path]:
    """A folder that takes its place when all of it is written: ``model/`` is there as a whole or not at all."""
    part = place.with_name(place.name + ".part")
    if part.exists():  # of a start that was killed here
        shutil.rmtree(part)
    try:
        with writing("the model", place.parent):
            yield part
            if place.exists():
                shutil.rmtree(place)
            part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _reloaded(model: Model, folder: RunFolder, wanted: str) -> Model:
    kind = SparseEncoder if isinstance(model, SparseEncoder) else SentenceTransformer
    reloaded: Model = kind(str(folder.model), device=str(model.device))
    if weights_sha256(reloaded) != wanted:
        raise RunError(f"the model saved in {folder.model} does not load with the weights that were scored")
    return reloaded
