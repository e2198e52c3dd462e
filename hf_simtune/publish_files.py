"""Which files of a run leave this machine: those on a list, and no other."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from hf_simtune.errors import RunError
from hf_simtune.run_folder import RunFolder
from hf_simtune.scores_file import SCHEMA

__all__ = ["RESULTS", "Files", "collect", "of_model", "replaceable", "stage"]

Files = Mapping[str, "bytes | Path"]  # what is published, by its path in the repository

RESULTS = ".eval_results/simtune-"  # what our files of results begin with: other people's stand beside them
_ONCE = {"README.md", "record.json", "scores.parquet"} | {
    f"plots/{name}.png" for name in ("scores", "similarities", "training")
}
_MODULE = re.compile(r"(?:\w+_)?\d+_\w+", re.ASCII)  # a folder of sentence-transformers: 1_Pooling, query_0_Transformer
# Of a model's folder, at any depth. All else stays here: a checkpoint's card with rows of the data, pickled weights
# and arguments, the optimizer's state, code.
_NAMES = {
    *("config.json", "config_sentence_transformers.json", "modules.json", "sentence_bert_config.json"),
    *("router_config.json", "model.safetensors", "model.safetensors.index.json"),
    *("adapter_config.json", "adapter_model.safetensors"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model"),
    *("wordpiece_config.json", "whitespacetokenizer_config.json", "phrasetokenizer_config.json", "chat_template.jinja"),
}


def collect(
    folder: RunFolder, exports: Collection[str] = (), pictures: Collection[str] = ()
) -> tuple[dict[str, bytes | Path], list[str]]:
    """The files of a run by their path in the repository, and those of its model's folder that are left out.

    Args:
        folder: a finished run.
        exports: files of the model in other formats.
        pictures: names of the run's own plots.

    Raises:
        RunError: there are no weights, record or scores; or the file of scores holds more than a run writes.
    """
    model, left = of_model(folder.model, exports)
    pictured = f"{folder.plots.name}/"
    left = [name for name in left if name != "README.md" and not name.startswith(pictured)]
    files: dict[str, bytes | Path] = {name: path for name, path in model.items() if not name.startswith(pictured)}
    files |= {f"{folder.plots.name}/{name}": path for name in pictures if (path := folder.plots / name).is_file()}
    files |= {path.name: path for path in (folder.record, folder.scores)}
    gone = [name for name, held in files.items() if isinstance(held, Path) and not held.is_file()]
    gone += [] if any(name.endswith(".safetensors") for name in files) else ["weights (*.safetensors) in model/"]
    if gone:
        more = f"; {', '.join(left)} may not be published" if left else ""
        raise RunError(f"{folder.path} lacks {', '.join(gone)}{more}: there is nothing to publish")
    try:
        schema = pq.read_schema(folder.scores)
    except (pa.ArrowException, OSError) as error:
        raise RunError(f"{folder.scores} cannot be read: {error}") from error
    if not schema.equals(SCHEMA, check_metadata=True):
        more = ", ".join(name for name in schema.names if name not in SCHEMA.names) or "other types, or notes"
        raise RunError(
            f"{folder.scores} is not as the run wrote it: it holds {more}",
            hint="It may hold texts of the rows, so it is not published. Put the run's own file back",
        )
    return files, left


def of_model(folder: Path, exports: Collection[str] = ()) -> tuple[dict[str, Path], list[str]]:
    """The files of a model's folder that may leave this machine, by their path in it, and the others' paths."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    names = [name for name, path in files.items() if path.name in _NAMES or _is_shard(path.name) or name in exports]
    return {name: files[name] for name in names}, [name for name in files if name not in names]


def stage(files: Files, folder: Path) -> Path:
    """The model as somebody would download it: its files alone, in a folder."""
    for name, held in files.items():
        if isinstance(held, Path) and held.is_file() and not name.endswith(".png"):
            place = folder.joinpath(*PurePosixPath(name).parts)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(held, place)
    return folder


def replaceable(name: str) -> bool:
    """Whether a file of a repository is of the kind that a run puts there, so that a later run may take it away."""
    path = PurePosixPath(name)
    of_model = all(_MODULE.fullmatch(folder) for folder in path.parts[:-1])
    once = name in _ONCE or name.startswith((RESULTS, "onnx/model"))
    return once or (of_model and (path.name in _NAMES or _is_shard(path.name)))


def _is_shard(name: str) -> bool:
    """Whether it is a part of large weights, as in ``model-00001-of-00002.safetensors``."""
    return name.startswith("model-") and name.endswith(".safetensors")
