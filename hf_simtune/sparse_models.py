"""Opening a model as what it is, dense or sparse, and making sparse encoders of dense and masked-language models."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder, SpladePooling
from torch import nn
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertForMaskedLM, BertModel, PreTrainedModel
from transformers.utils import logging as transformers_logging

from hf_simtune.errors import RequestError
from hf_simtune.evaluation.sts import Model
from hf_simtune.hub import MODEL_CACHE
from hf_simtune.recipe import BUILTIN_MINILM, BUILTIN_SPLADE

__all__ = ["base_of_adapter", "head_width", "kind", "opened", "refused", "stand_in"]

UNTRAINED_HEAD = "the masked-language head"
UNTRAINED_AUTOENCODER = "the sparse autoencoder"
WIDER = 4  # an autoencoder has so many times the dimensions of what it takes in
HEADS = ("ForMaskedLM", "ForPreTraining")  # the published checkpoints of these hold a masked-language head
STRAIGHT = 2.0  # gelu(x + 2) is nearly x + 2 for a hidden state (deviation 0.4); more would cost bits in bf16


def read_json(place: str | Path, file: str, revision: str | None, *, online: bool) -> Any:
    """A small file of a model in a folder or of the Hub, or None where it has none.

    Raises:
        OSError, httpx2.HTTPError: the Hub was asked and did not give it.
        ValueError: not JSON.
    """
    if isinstance(place, Path):
        path = place / file
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    try:
        found = huggingface_hub.hf_hub_download(
            place, file, revision=revision, cache_dir=MODEL_CACHE, local_files_only=not online
        )
    except RemoteEntryNotFoundError:
        return None
    except LocalEntryNotFoundError:
        if online:  # it is there, but did not come; a guess would load another kind of model
            raise
        return None
    return json.loads(Path(found).read_text(encoding="utf-8"))


def model_type(place: str | Path, revision: str | None, *, online: bool) -> str:
    """The class of sentence-transformers that a model was saved as; ``""`` for a checkpoint of transformers.

    Raises:
        RequestError: a sparse encoder that is not marked as one.
        OSError, httpx2.HTTPError, ValueError: as :func:`read_json`.
    """
    modules = read_json(place, "modules.json", revision, online=online)
    if not isinstance(modules, list):
        return ""
    config = read_json(place, "config_sentence_transformers.json", revision, online=online)
    found = str((config if isinstance(config, dict) else {}).get("model_type", "SentenceTransformer"))
    parts = [str(module.get("type")) for module in modules if isinstance(module, dict)]
    if found == "SentenceTransformer" and any(".sparse_encoder." in part for part in parts):
        # The libraries would put an autoencoder behind it, or a mean in its place, and say nothing.
        raise RequestError(
            f"{place} has the modules of a sparse encoder, and its config_sentence_transformers.json does not say so",
            hint='Add "model_type": "SparseEncoder" there, or fetch the model again: the file may be missing',
        )
    return found


def base_of_adapter(folder: Path) -> str | None:
    """The model that the adapters in a folder belong to; None for a folder that needs no other."""
    config = read_json(folder, "adapter_config.json", None, online=False)
    if not isinstance(config, dict) or (folder / "config.json").is_file():
        return None
    return str(config.get("base_model_name_or_path") or "") or None


def opened(
    name: str,
    place: str | Path,
    revision: str | None,
    *,
    device: str | None,
    online: bool,
    sparse: str | None,
    active: int | None,
    seed: int,
) -> tuple[Model, str | None]:
    """A model of a folder or of the Hub as what it was saved as, or made sparse; and the part that nobody has trained.

    Raises:
        RequestError: it gives no embeddings, or cannot be made sparse in that way.
        OSError, httpx2.HTTPError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError: it does not load.
    """
    saved_as = model_type(place, revision, online=online)
    if saved_as not in ("", "SentenceTransformer", "SparseEncoder"):  # the libraries would make a dense one of it
        raise RequestError(f"{name} is a {saved_as}: it gives no embedding of a sentence, dense or sparse")
    if saved_as == "SparseEncoder":
        if sparse == "csr" and (refusal := refused(name, sparse, "sparse")):
            raise refusal  # before the weights are fetched
        encoder = SparseEncoder(
            str(place), revision=revision, device=device, trust_remote_code=False, local_files_only=not online
        )
        if refusal := refused(name, sparse, kind(encoder)):
            raise refusal
        return encoder, None
    if sparse == "splade":
        return masked_language_model(name, place, revision, device=device, online=online), None
    model = SentenceTransformer(
        str(place), revision=revision, device=device, trust_remote_code=False, local_files_only=not online
    )
    return (autoencoder(model, name, active, seed), UNTRAINED_AUTOENCODER) if sparse == "csr" else (model, None)


def kind(model: Model) -> str:
    """``dense``, ``splade``, ``csr`` or ``sparse`` (another sparse encoder)."""
    if not isinstance(model, SparseEncoder):
        return "dense"
    parts = list(model.children())
    for name, module in (("splade", SpladePooling), ("csr", SparseAutoEncoder)):
        if any(isinstance(part, module) for part in parts):
            return name
    return "sparse"


def masked_language_model(
    name: str, place: str | Path, revision: str | None, *, device: str | None, online: bool
) -> SparseEncoder:
    """A SPLADE model of a checkpoint with a masked-language head (Formal et al. 2021, arXiv:2109.10086).

    Raises:
        RequestError: the checkpoint has no such head.
        OSError, httpx2.HTTPError, ValueError: it does not load.
    """
    refusal = RequestError(
        f"--sparse splade needs a masked-language head, and {name} has none",
        hint="Name a masked-language model (distilbert/distilbert-base-uncased) or a SPLADE model "
        f"(naver/splade-cocondenser-ensembledistil) or {BUILTIN_SPLADE}; a dense model takes --sparse csr",
    )
    config = read_json(place, "config.json", revision, online=online)
    if isinstance(config, dict):  # seen before the weights are fetched
        classes = config.get("architectures") or ()
        if classes and not any(str(entry).endswith(HEADS) for entry in classes):
            raise refusal
    where: dict[str, Any] = {
        "revision": revision,
        "cache_dir": MODEL_CACHE,
        "local_files_only": not online,
        "trust_remote_code": False,
    }
    # A configuration may name a head that its weights lack (all-mpnet-base-v2's does): transformers would make one up.
    with quiet():
        _, report = AutoModelForMaskedLM.from_pretrained(str(place), output_loading_info=True, **where)
    if report["missing_keys"]:
        raise refusal
    transformer = Transformer(
        str(place),
        transformer_task="fill-mask",
        **{f"{part}_kwargs": dict(where) for part in ("model", "processor", "config")},
    )
    return splade(transformer, device)


def splade(transformer: Transformer, device: str | None) -> SparseEncoder:
    """SPLADE's max pooling on a masked-language model; its similarity is the dot product, as it was published."""
    width = head_width(transformer.model)
    pooling = SpladePooling("max", embedding_dimension=width)
    return SparseEncoder(modules=[transformer, pooling], device=device, similarity_fn_name="dot")


def head_width(model: PreTrainedModel) -> int | None:
    """How many logits a masked-language model has for each token."""
    head = model.get_output_embeddings()
    return int(head.weight.shape[0]) if isinstance(getattr(head, "weight", None), torch.Tensor) else None


def autoencoder(model: SentenceTransformer, name: str, active: int | None, seed: int) -> SparseEncoder:
    """A sparse autoencoder, which nobody has trained, on a dense model (CSR; Wen et al. 2025, arXiv:2503.01776).

    Its shape is that which ``SparseEncoder(name)`` of sentence-transformers gives a dense model: 4 times the
    dimensions, a quarter of the dense ones active, half of them for the auxiliary loss, behind all modules of the
    dense model. So a last normalisation stays: the autoencoder then reconstructs vectors of one length, and its loss
    weighs each text alike. Similarity function and prompts are the dense model's.

    Args:
        model: dense.
        name: of the model, for messages.
        active: dimensions that stay active, 1 to the dense model's number: the loss looks at 4 times as many too.
        seed: of the autoencoder's weights.

    Raises:
        RequestError: too many active dimensions.
    """
    width = model.get_embedding_dimension() or 0
    active = active or max(width // 4, 1)
    if active > width:
        raise RequestError(
            f"--active-dims {active} is more than the {width} dimensions of {name}",
            hint=f"1 to {width}; leave it out for {max(width // 4, 1)}",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        coder = SparseAutoEncoder(input_dim=width, hidden_dim=WIDER * width, k=active, k_aux=max(width // 2, 1))
    sparse = SparseEncoder(
        modules=[*model.children(), coder],
        device=str(model.device),
        prompts={name: text or "" for name, text in model.prompts.items()},
        default_prompt_name=model.default_prompt_name,
        similarity_fn_name=model.similarity_fn_name,
    )
    sparse.module_kwargs = model.module_kwargs
    return sparse


def stand_in(minilm: Path, device: str | None) -> tuple[SparseEncoder, str]:
    """The packaged MiniLM as a SPLADE model, with a masked-language head that nobody has trained; the head's name.

    The decoder is tied to the word embeddings. The transform in front of it lets hidden states through unchanged but
    for the layer normalisation, so that a token's logit is high where its embedding is like the hidden state: the
    sentence's own tokens stand out. A token's bias holds back what chance would give it. A normalised hidden state
    that has nothing to do with token v has a logit of standard deviation ``|e_v|``; the largest of V such logits is
    about ``sqrt(2 ln V)`` standard deviations (the universal threshold of Donoho and Johnstone 1994), and that is the
    bias. Special tokens have one that no hidden state reaches.
    """
    with quiet():  # the pooler's weights have no place in this model
        bert = BertModel.from_pretrained(str(minilm), add_pooling_layer=False, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(str(minilm), local_files_only=True)
    with torch.random.fork_rng(devices=[]):
        model = BertForMaskedLM(bert.config)
    model.bert.load_state_dict(bert.state_dict())
    untrained_head(model, tokenizer.all_special_ids)
    with tempfile.TemporaryDirectory() as folder, quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = Transformer(folder, transformer_task="fill-mask")
    transformer.model.name_or_path = transformer.model.config._name_or_path = BUILTIN_SPLADE  # the folder is no more
    transformer.max_seq_length = read_json(minilm, "sentence_bert_config.json", None, online=False)["max_seq_length"]
    return splade(transformer, device), UNTRAINED_HEAD


def untrained_head(model: BertForMaskedLM, special: list[int]) -> None:
    """Set a BERT's masked-language head as :func:`stand_in` tells, without a random number."""
    head = model.cls.predictions
    words = model.bert.embeddings.word_embeddings.weight
    vocabulary, width = words.shape
    with torch.no_grad():
        nn.init.eye_(head.transform.dense.weight)
        head.transform.dense.bias.fill_(STRAIGHT)  # the normalisation takes it away again
        head.transform.LayerNorm.reset_parameters()
        length = words.norm(dim=1)
        bias = -math.sqrt(2 * math.log(vocabulary)) * length
        bias[special] = -math.sqrt(width) * length[special] - 1  # |h| <= sqrt(width), by Cauchy and Schwarz
        head.bias.copy_(bias)
        head.decoder.bias.copy_(bias)
    model.tie_weights()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from telling about weights that are missing on purpose, and from drawing bars."""
    before, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
        if bars:
            transformers_logging.enable_progress_bar()


def refused(name: str, sparse: str | None, held: str) -> RequestError | None:
    """Why ``--sparse`` does not go with a model of a kind (``dense``, ``splade``, ``csr``, ``sparse``)."""
    if sparse is None or sparse == held == "splade" or held == "dense":
        return None
    what = {"splade": "a SPLADE model", "csr": "a sparse autoencoder (csr)"}.get(held, "a sparse encoder")
    return RequestError(
        f"--sparse {sparse} makes a sparse encoder of another model, and {name} is {what} already",
        hint=f"Leave --sparse out, or name a dense model, as in --model {BUILTIN_MINILM} --sparse csr",
    )
