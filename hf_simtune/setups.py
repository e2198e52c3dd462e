"""What a model does beside its weights: how it cuts texts into tokens, pools them and computes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sentence_transformers import SentenceTransformer, SparseEncoder

__all__ = ["setups"]

_FLEETING = ("truncation", "padding")  # of a tokenizer: set anew at every call
_LEARNED = ("embedding_dimension",)  # of a module: a SpladePooling's is that of the first texts that it pools
_WHENCE = ("transformers_version", "dtype", "torch_dtype")  # of a configuration: what it was saved by, and as


def setups(model: SentenceTransformer | SparseEncoder) -> dict[str, str]:
    """The parts of a model that its weights do not tell, each with 16 hex digits: the same parts, the same model.

    "module 0" and so on are the modules' settings (pooling, say), "tokenizer" is all of a fast tokenizer and the
    vocabulary of another, "configuration" that of the encoder (activation, dropout, positions), "prompts" are the
    prompts with the name of the default, "lengths" the most tokens of a text and the dimensions that are kept, and
    "similarity" is how its vectors are compared.
    """
    found: dict[str, Any] = {
        "prompts": [model.prompts, model.default_prompt_name],
        "lengths": [model.max_seq_length, model.truncate_dim if isinstance(model, SentenceTransformer) else None],
        "similarity": str(model.similarity_fn_name),
    }
    for number, module in enumerate(model):
        told: dict[str, Any] = getattr(module, "get_config_dict", dict)()
        found[f"module {number}"] = [type(module).__qualname__, {k: v for k, v in told.items() if k not in _LEARNED}]
        configuration: Any = getattr(getattr(module, "auto_model", None), "config", None)
        if hasattr(configuration, "to_dict"):
            settings = configuration.to_dict().items()
            found["configuration"] = {
                name: value for name, value in settings if name not in _WHENCE and not name.startswith("_")
            }
        if (tokenizer := getattr(module, "tokenizer", None)) is not None:
            found["tokenizer"] = _cuts(tokenizer)
    return {name: _digits(value) for name, value in found.items()}


def _cuts(tokenizer: Any) -> Any:
    """What decides how a tokenizer cuts a text."""
    fast = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(fast, "to_str"):
        vocabulary = tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else {}
        return [type(tokenizer).__qualname__, sorted(vocabulary.items())]
    whole = json.loads(fast.to_str())
    return {name: value for name, value in whole.items() if name not in _FLEETING}


def _digits(value: Any) -> str:
    told = json.dumps(value, sort_keys=True, default=repr)
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:16]
