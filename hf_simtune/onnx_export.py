"""A dense model as ONNX files: one graph from token ids to the sentence's embedding, in fp32 and in int8."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import nn

from hf_simtune.errors import RequestError, RunError

__all__ = ["FP32", "INT8", "OnnxModel", "export", "refused"]

FP32, INT8 = "onnx/model.onnx", "onnx/model_qint8.onnx"  # below the model's folder
INPUTS = ("input_ids", "attention_mask")
OUTPUTS = ("token_embeddings", "sentence_embedding")  # as the Hub's other ONNX files of sentence-transformers call them
OPSET = 17
NEAR = 1e-4  # by which an fp32 embedding may differ
BATCH = 32


def refused(model: SentenceTransformer) -> list[str]:
    """Why a model is not exported, in sentences."""
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    problems = [f"an export needs the package {name}" for name in missing]
    if model.transformers_model is None:
        problems.append("an export is of a dense model with one transformer, and a static one has none")
    return problems


def export(model: SentenceTransformer, folder: Path, texts: Sequence[str]) -> dict[str, Path]:
    """Write both files, and see that the first gives the model's embeddings.

    Optimum, which sentence-transformers' own ONNX backend needs, holds transformers back, so the graph is traced here:
    encoder, pooling and normalization in one. OpenVINO reads the same file.

    Args:
        model: on a CPU, without adapters (merge them first).
        folder: the model's; the files go into ``onnx/`` in it.
        texts: to compare on, one or more.

    Returns:
        The files by their names in the folder.

    Raises:
        RequestError: a package is missing, or it is no model that can be exported.
        RunError: the graph gives other embeddings.
    """
    if problems := refused(model):
        raise RequestError(problems, hint="The packages come with the extra: pip install 'hf-simtune[onnx]'")
    (folder / "onnx").mkdir(exist_ok=True)
    whole, small = folder / FP32, folder / INT8
    features = model.preprocess(list(texts[:2]) * 2)
    axes = {0: "batch", 1: "tokens"}
    was, _ = model.training, model.eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of traced branches, each of which the comparison below would show
        torch.onnx.export(
            _Graph(model),
            tuple(features[name] for name in INPUTS),
            str(whole),
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes={**dict.fromkeys((*INPUTS, OUTPUTS[0]), axes), OUTPUTS[1]: {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
    model.train(was)
    vectors = model.encode(list(texts), convert_to_numpy=True, show_progress_bar=False)
    apart = float(np.abs(OnnxModel(whole, model).encode(texts) - vectors).max())
    if not apart <= NEAR * max(1.0, float(np.abs(vectors).max())):
        raise RunError(f"the exported graph gives other embeddings: they differ by {apart:.1e}")
    _quantized(whole, small)
    return {FP32: whole, INT8: small}


class _Graph(nn.Module):
    """The model as a function of tensors."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.model({"input_ids": input_ids, "attention_mask": attention_mask})
        return tuple(found[name] for name in OUTPUTS)


def _quantized(whole: Path, small: Path) -> None:
    """Weights as whole numbers of eight bits, by channel; activations are quantized as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()  # which advises a step for images
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        quantize_dynamic(str(whole), str(small), weight_type=QuantType.QInt8, per_channel=True)
    finally:
        root.setLevel(level)


class OnnxModel:
    """An exported file as an encoder.

    Args:
        file: that :func:`export` wrote.
        model: whose tokenizer it takes.
    """

    def __init__(self, file: Path, model: SentenceTransformer) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session: Any = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.model = model

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings, shape (texts, dimensions), encoded in the order of their lengths."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        prompt = self.model.prompts.get(self.model.default_prompt_name or "") or ""
        found: list[NDArray[np.float32]] = []
        for start in range(0, len(order), BATCH):
            features = self.model.preprocess([prompt + texts[index] for index in order[start : start + BATCH]])
            fed = {name: features[name].numpy() for name in INPUTS}
            found.append(self.session.run([OUTPUTS[1]], fed)[0])
        vectors = np.concatenate(found)
        back = np.empty_like(vectors)
        back[order] = vectors
        return back
