"""Low-rank adapters: put on a model, saved without it, merged into it, restored from a checkpoint, and checked."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Module, Transformer
from torch import nn
from transformers import PreTrainedModel
from transformers.integrations.peft import MIN_PEFT_VERSION
from transformers.utils.peft_utils import check_peft_version

from hf_simtune.errors import RequestError, RunError
from hf_simtune.evaluation.sts import Model
from hf_simtune.evaluation.undisturbed import undisturbed
from hf_simtune.lora import LoRA
from hf_simtune.memory import enough
from hf_simtune.model_names import is_static

if TYPE_CHECKING:
    from hf_simtune.record import ModelFacts

__all__ = ["Trainable", "attach", "attached", "check_reload", "merged", "placed", "refused", "restore", "save"]

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
ADAPTER = "default"  # what peft calls an only one
ALL = "all-linear"
TOLERANCE = 3e-5  # of the largest absolute value of an embedding, or of 1 where that is less


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trainable:
    """What of a model with adapters is trained."""

    parameters: int  # of model and adapters
    trainable: int  # of these, of the adapters
    layers: int  # that have an adapter
    targets: tuple[str, ...]  # the last part of these layers' names, each once


def refused(name: str, base: ModelFacts | None = None, *, merge: bool = False) -> list[str]:
    """Why adapters do not go with a model, as far as its name tells; with ``base``, as far as its facts tell.

    Args:
        name: Hub id, folder or built-in model.
        base: the loaded model's facts.
        merge: the adapters are written into the base in the end.
    """
    try:
        check_peft_version(MIN_PEFT_VERSION)
    except ValueError:  # else transformers says so when the adapters are put on
        had = version("transformers")
        return [
            f"--lora: transformers {had} needs peft {MIN_PEFT_VERSION} for adapters, and peft is {version('peft')}; "
            f"pip install 'peft>={MIN_PEFT_VERSION}', or 'transformers<{had}'"
        ]
    if is_static(name):
        return [f"--lora does not go with {name}, a static model: it has no linear layers to adapt; leave it out"]
    if base is not None and base.untrained and not merge:
        # Its new part is in no file that an adapter could name, and is random where somebody makes it anew.
        return [
            f"--lora on {name} needs --merge: the adapters alone load on a published model only, and "
            f"{base.untrained} was made here"
        ]
    return []


def attach(model: Model, lora: LoRA, seed: int) -> Trainable:
    """Freeze a model and put new adapters on its linear layers (Hu et al. 2021, arXiv:2106.09685).

    An adapter changes nothing until it is trained: its second matrix starts at 0. All else stays as it is, modules
    behind the encoder too, so that base and adapters give the tuned model again. Left out are layers that no embedding
    comes from (a pooler), and the head's decoder, whose weights are the word embeddings.

    Args:
        model: dense or sparse, on which adapters are put in place.
        lora: rank, weight and targets.
        seed: of the adapters' weights.

    Raises:
        RequestError: no transformer, more than one, or one that has adapters already; or a target that is no layer.
        RunError: they do not fit into memory.
    """
    from peft import LoraConfig, TaskType

    backbone = _backbone(model).model
    if getattr(backbone, "_hf_peft_config_loaded", False):
        raise RequestError(
            "the base model has adapters already, and new ones would be saved without them",
            hint="Merge them first (--merge on the run that made them), or name the model that they belong to",
        )
    names, wrong = _chosen(backbone, lora.targets)
    if wrong:
        endings = ", ".join(sorted({name.rpartition(".")[2] for name in _layers(backbone)}))
        raise RequestError(
            f"--lora targets={','.join(lora.targets)}: no linear layer of the model is called {', '.join(wrong)}",
            hint=f"Its linear layers end in: {endings}; {ALL} takes each",
        )
    model.requires_grad_(False)
    config = LoraConfig(
        task_type=TaskType.FEATURE_EXTRACTION,
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=names,
    )
    told = f"--lora r={lora.r}: out of memory: adapters of this rank on {len(names)} layers do not fit"
    less = enough(told, "Take a smaller r, as in --lora r=16, or fewer targets")
    with less, torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        model.add_adapter(config, ADAPTER)
    adapter = backbone.peft_config[ADAPTER]
    if not (Path(str(adapter.base_model_name_or_path)) / "config.json").is_file():
        adapter.base_model_name_or_path = None  # by its name peft asks the Hub for the base, at each checkpoint
    return Trainable(
        parameters=sum(tensor.numel() for tensor in model.parameters()),
        trainable=sum(tensor.numel() for tensor in model.parameters() if tensor.requires_grad),
        layers=len(names),
        targets=tuple(sorted({name.rpartition(".")[2] for name in names})),
    )


def attached(model: Model) -> bool:
    """Whether a model has adapters."""
    return bool(getattr(model.transformers_model, "_hf_peft_config_loaded", False))


def _backbone(model: Model) -> Transformer:
    """The one module that holds a transformer."""
    found: list[Transformer] = [module for module in model.modules() if isinstance(module, Transformer)]
    if len(found) != 1 or not isinstance(found[0].model, PreTrainedModel):
        what = "a static model" if not found else f"a model of {len(found)} encoders"
        raise RequestError(f"--lora does not go with {what}: adapters go on the linear layers of one transformer")
    return found[0]


def _layers(backbone: PreTrainedModel) -> list[str]:
    """Names of the linear layers that an embedding comes from."""
    decoder = backbone.get_output_embeddings()
    return [
        name
        for name, part in backbone.named_modules()
        if isinstance(part, nn.Linear) and part is not decoder and "pooler" not in name.split(".")
    ]


def _chosen(backbone: PreTrainedModel, targets: Sequence[str]) -> tuple[list[str], list[str]]:
    """The layers whose names end in a target, and the targets that no name ends in."""
    layers = _layers(backbone)
    ends = {
        target: [name for name in layers if target == ALL or name == target or name.endswith(f".{target}")]
        for target in targets
    }
    chosen = {name for found in ends.values() for name in found}
    return [name for name in layers if name in chosen], [target for target, found in ends.items() if not found]


def save(model: Model, folder: Path, *, base: ModelFacts, base_place: Path | str) -> None:
    """Save the adapters alone, with what sentence-transformers needs to load them on their base.

    ``adapter_config.json`` names the base by its Hub id and revision. A base of no known Hub id is named as it is
    shown, by its folder's last name: whoever loads the adapters needs a folder of that name at hand.

    Args:
        model: with adapters.
        folder: is made.
        base: the facts of the model that the adapters were put on.
        base_place: where that was loaded from; no file in ``folder`` tells.

    Raises:
        RunError: a file in ``folder`` holds the path ``base_place``.
    """
    model.save_pretrained(str(folder), create_model_card=False)
    config = _read(folder)
    config["base_model_name_or_path"] = base.hub_id or base.name
    config["revision"] = base.revision
    config["target_modules"] = sorted(config["target_modules"])  # a set: its order is another in each process
    _write(folder, config)
    place = str(base_place)
    told = [path.name for path in folder.rglob("*.json") if place in path.read_text(encoding="utf-8")]
    if Path(place).is_absolute() and told:
        raise RunError(f"the saved adapters tell where the base lies on this machine: {', '.join(sorted(told))}")


def merged(load_base: Callable[[], Model], folder: Path) -> Model:
    """The base with saved adapters written into its weights: a model like any other, which needs no peft.

    Args:
        load_base: gives the untouched base anew; what it gives is changed.
        folder: that :func:`save` or a checkpoint wrote.
    """
    from peft import PeftModel

    model = load_base()
    transformer = _backbone(model)
    with warnings.catch_warnings():
        # peft reads an attribute of the model by a name that transformers is giving up.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        # peft's own way alone: weights that were added by hand are saved under names that load as random numbers.
        transformer.model = PeftModel.from_pretrained(transformer.model, str(folder)).merge_and_unload()
    _restore_rest(model, folder)
    model.requires_grad_(True)
    return model.eval()


def restore(model: Model, folder: Path) -> None:
    """Give a model with adapters the weights of one of its checkpoints, in place.

    The trainer's own way loads the base once more, from where it was loaded: it may be another revision by now, out of
    reach, or nowhere, as with a model that was made in memory.

    Raises:
        RunError: the checkpoint is not of this model.
    """
    backbone = _backbone(model).model
    saved = {
        f"{path}.{ADAPTER}.weight": tensor
        for name, tensor in load_file(folder / WEIGHTS).items()
        for path in [name.removeprefix("base_model.model.").removesuffix(".weight")]
    }
    missing = {name for name in backbone.state_dict() if ".lora_" in name} ^ set(saved)
    if missing:
        raise RunError(f"the checkpoint {folder.name} has other adapters than the model: {sorted(missing)[0]}")
    backbone.load_state_dict(saved, strict=False)
    _restore_rest(model, folder)


def _restore_rest(model: Model, folder: Path) -> None:
    """Load what modules behind the encoder keep of their own: an autoencoder counts what it has seen."""
    for entry in json.loads((folder / "modules.json").read_text(encoding="utf-8")):
        module = model[int(entry["idx"])]
        held = (folder / str(entry["path"]) / "model.safetensors").is_file()
        if held and isinstance(module, Module) and not isinstance(module, Transformer):
            module.load_torch_weights(str(folder), subfolder=str(entry["path"]), model=module)


@contextmanager
def placed(folder: Path, base_place: Path | str | None) -> Iterator[Path]:
    """A folder from which adapters load without a network: a copy that names where their base lies on this machine.

    The folder itself, where it holds no adapters or no place is known.
    """
    if base_place is None or not (folder / CONFIG).is_file():
        yield folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary) / folder.name
        shutil.copytree(folder, place)
        _write(place, _read(place) | {"base_model_name_or_path": str(base_place), "revision": None})
        yield place


def check_reload(
    model: Model, folder: Path, sentences: Sequence[str], *, base_place: Path | str | None = None
) -> tuple[Model, float]:
    """Load what was saved with plain sentence-transformers, and compare its embeddings with those of the model here.

    Args:
        model: in memory: with adapters, or merged, or any other.
        folder: where it was saved.
        sentences: to encode, one or more.
        base_place: where the base of adapters lies on this machine; they are tried on it in a copy of ``folder``, so
            that no network is needed.

    Returns:
        What was loaded, and the largest absolute difference over all sentences and dimensions.

    Raises:
        RunError: it does not load, or its embeddings differ by more than 3e-5 (of the largest value, if that is
            above 1).
    """
    kind = SparseEncoder if isinstance(model, SparseEncoder) else SentenceTransformer
    with placed(folder, base_place) as place:
        try:
            loaded = kind(str(place), device=str(model.device), local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise RunError(f"what was saved in {folder.name} does not load: {error}") from error
    loaded.float()
    here, there = _vectors(model, sentences), _vectors(loaded, sentences)
    if here.shape != there.shape:
        raise RunError(f"{folder.name} loads with {there.shape[1]} dimensions, and {here.shape[1]} were saved")
    difference = float((here - there).abs().max())
    allowed = TOLERANCE * max(1.0, float(here.abs().max()))
    if not difference <= allowed:  # NaN is no agreement
        raise RunError(
            f"{folder.name} loads with other embeddings than the model that was saved: they differ by "
            f"{difference:.1e}, and {allowed:.1e} is what rounding may do"
        )
    return loaded, difference


def _vectors(model: Model, sentences: Sequence[str]) -> torch.Tensor:
    with undisturbed(model):
        found = model.encode(list(sentences), convert_to_tensor=True, show_progress_bar=False)
    return (found.to_dense() if found.is_sparse else found).double()


def _read(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / CONFIG).read_text(encoding="utf-8")))


def _write(folder: Path, config: dict[str, Any]) -> None:
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
