"""Which forward pass a run takes, decided once, and why."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence

import torch
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer import losses as dense
from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm, Pooling
from sentence_transformers.sparse_encoder import losses as sparse
from sentence_transformers.sparse_encoder.modules import SpladePooling
from torch import nn
from transformers import TrainingArguments
from transformers.utils.generic import strtobool

from hf_simtune.speed.forward import METHODS, Model, embed, encoder

__all__ = ["choose", "obstacle", "texts_of"]

log = logging.getLogger("hf_simtune")

# Losses that take nothing from the model but ``model(column)["sentence_embedding"]`` of whole columns. The Cached* ones
# run pieces of their own, Matryoshka2d and AdaptiveLayer look inside the layers, CSR counts the calls of its encoder.
LOSSES: tuple[type[nn.Module], ...] = (
    dense.AnglELoss,
    dense.BatchAllTripletLoss,
    dense.BatchHardSoftMarginTripletLoss,
    dense.BatchHardTripletLoss,
    dense.BatchSemiHardTripletLoss,
    dense.CoSENTLoss,
    dense.ContrastiveLoss,
    dense.CosineSimilarityLoss,
    dense.DistillKLDivLoss,
    dense.MSELoss,
    dense.MarginMSELoss,
    dense.MatryoshkaLoss,
    dense.MultipleNegativesRankingLoss,
    dense.MultipleNegativesSymmetricRankingLoss,
    dense.OnlineContrastiveLoss,
    dense.SoftmaxLoss,
    dense.TripletLoss,
    sparse.FlopsLoss,
    sparse.SparseAnglELoss,
    sparse.SparseCoSENTLoss,
    sparse.SparseCosineSimilarityLoss,
    sparse.SparseDistillKLDivLoss,
    sparse.SparseMSELoss,
    sparse.SparseMarginMSELoss,
    sparse.SparseMultipleNegativesRankingLoss,
    sparse.SparseTripletLoss,
    sparse.SpladeLoss,
)
MODULES: tuple[type[nn.Module], ...] = (Pooling, Normalize, Dense, Dropout, LayerNorm, SpladePooling)
# Every token attends to every token of its row and its position is a number: nothing else comes in by the attention.
PACKABLE = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")
CLOSE = 1e-5  # largest relative difference of two forward passes of one text in fp32


def obstacle(model: Model, loss: nn.Module, arguments: TrainingArguments | None = None) -> str | None:
    """Why only the plain forward will do, in words; None where another may be exact."""
    first, *others = list(model.children())
    if not isinstance(first, Transformer):
        return f"the model begins with {type(first).__name__}, not with a Transformer module"
    if strange := sorted({type(module).__name__ for module in others if type(module) not in MODULES}):
        return f"the model has a module whose need for padding is not known: {', '.join(strange)}"
    if strange := sorted({name for name in map(_unknown, _losses(loss)) if name}):
        return f"{', '.join(strange)} may ask the model for more than the embeddings of whole columns"
    if any(getattr(part, "model", None) is not model for part in _losses(loss)):
        return "the loss is one of another model"
    if "text" not in first.modalities or first.transformer_task not in ("feature-extraction", "fill-mask"):
        return f"the model's task is {first.transformer_task}, on {', '.join(map(str, first.modalities))}"
    if first.can_flatten_inputs:
        return "flash attention already leaves the padding out"
    if getattr(first.tokenizer, "padding_side", "right") != "right":
        return "the tokenizer pads in front"
    if arguments is not None and arguments.neftune_noise_alpha:
        return "NEFTune scales its noise by the padded length"
    if arguments is not None and arguments.torch_compile:
        return "torch.compile would compile each new length anew"
    if _spread(arguments):
        return "the weights are spread over processes (FSDP or DeepSpeed), and the token look-up needs them whole"
    return None


def _spread(arguments: TrainingArguments | None) -> bool:
    launched = any(strtobool(os.environ.get(f"ACCELERATE_USE_{name}", "false")) for name in ("FSDP", "DEEPSPEED"))
    return launched or (arguments is not None and bool(arguments.fsdp or arguments.deepspeed))


def _losses(loss: nn.Module) -> list[nn.Module]:
    """A loss and those that it wraps."""
    inner = [module for name, module in loss.named_children() if name == "loss"]
    return [loss, *(found for module in inner for found in _losses(module))]


def _unknown(loss: nn.Module) -> str | None:
    return None if type(loss) in LOSSES else type(loss).__name__


def choose(
    requested: str,
    model: Model,
    loss: nn.Module | Sequence[nn.Module],
    arguments: TrainingArguments | None = None,
    *,
    texts: Sequence[str],
    checkpointing: bool = False,
) -> tuple[str, str]:
    """``plain``, ``packed`` or ``chunked``, and why.

    Args:
        requested: one of these, or ``auto``: on a CPU packed where it is exact, else chunked, else plain; on a
            GPU plain.
        model: in fp32, before it is wrapped.
        loss: the outermost one, or one for each training set.
        arguments: of the trainer, where it may hold something that speaks against it.
        texts: a few of the training texts; a method is taken only if it gives their embeddings.
        checkpointing: activations will be computed again on the way back.
    """
    if requested == "plain":
        return "plain", "as asked for"
    for one in [loss] if isinstance(loss, nn.Module) else loss:
        if reason := obstacle(model, one, arguments):
            return "plain", reason
    if requested == "auto" and model.device.type != "cpu":
        return "plain", "not measured on this kind of device; --forward packed tries it"
    reasons: list[str] = []
    for method in METHODS if requested == "auto" else (requested,):
        reason = _unpackable(model, arguments, checkpointing) if method == "packed" else None
        reason = reason or _differs(model, texts, method)
        if reason is None:
            why = (
                "as asked for"
                if requested != "auto"
                else "; ".join(reasons) or "no padding; the same embeddings in fp32"
            )
            return method, why
        reasons.append(f"not {method}: {reason}")
    return "plain", "; ".join(reasons)


def _unpackable(model: Model, arguments: TrainingArguments | None, checkpointing: bool) -> str | None:
    bare = encoder(model)
    if bare.config.model_type not in PACKABLE or getattr(bare.config, "is_decoder", False):
        return f"the attention of {bare.config.model_type} is more than each row's with itself"
    if getattr(bare.config, "position_embedding_type", "absolute") != "absolute":
        return "its positions are relative"
    if any(isinstance(module, SpladePooling) for module in model.children()):
        return "SPLADE's pooling takes packed rows one by one"
    asked = checkpointing or (arguments is not None and arguments.gradient_checkpointing)
    if asked or any(getattr(module, "gradient_checkpointing", False) for module in bare.modules()):
        return "gradient checkpointing runs the layers again on the way back"
    return None


def texts_of(rows: Mapping[str, Sequence[object]]) -> list[str]:
    """The texts of a few rows, of every column that holds texts: what ``choose`` looks at."""
    return [value for values in rows.values() for value in values if isinstance(value, str)]


def _differs(model: Model, texts: Sequence[str], method: str) -> str | None:
    """Whether the method gives other embeddings than the plain forward does, on real texts and a very short one."""
    shown = [*texts[:15], "a"]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            batch = {
                key: value.to(model.device) if isinstance(value, torch.Tensor) else value
                for key, value in model.preprocess(shown).items()
            }
            plain = model(dict(batch))["sentence_embedding"]
            found = embed(model, method, [batch])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        log.debug("the %s forward failed", method, exc_info=True)
        return f"the model does not take such input ({type(error).__name__})"
    finally:
        model.train(was_training)
    if found is None:
        return "the model's input is more than token numbers"
    difference = float((found[0] - plain).norm() / plain.norm())
    return None if difference <= CLOSE else f"its embeddings differ by {difference:.1g}"
