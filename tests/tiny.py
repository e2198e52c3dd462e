"""Small things that tests load as if they came from the Hub: a tiny random BERT, and data sets in the Hub's shape."""

from __future__ import annotations

import gzip
import json
import shutil
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["hub_folder_from_rows", "tiny_checkpoint", "tiny_encoder", "tiny_model", "tiny_splade", "tiny_static"]

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_WORDS = """
a about after again against all also an and are as at away back bad ball bear beat big bird blue boy bread bus but by
can car cat city coach cold cook could cup day defeat did dog down draw each eat end evening fast final first fish
five food for four from game girl goal good great green had half has have he head her him his home horse hot house in
into is it its just kick kitchen last late league left like little long lose lost made man many market match meal
minute monday more most music near new next nice night no not now of off old on one only open or other out over paper
park people piano plane play player point police price race rain read red right river road round run said saturday say
score season second see she short side sing sleep slow small so some song station still street sun sunday team than
that the their them then there they this three through time title to today told too train tree two under up very walk
warm was water we week well were what when where which while white who will win with woman won word work world would
write year yesterday you young
"""


def tiny_model(folder: Path, seed: int = 0) -> Path:
    """Save a random two-layer BERT (width 32) with mean pooling in `folder`, as plain sentence-transformers files.

    Its word pieces are some 250 common words and every letter, digit and punctuation mark of ASCII, alone and inside a
    word, so that no ASCII text has an unknown token. The weights depend on `seed` alone, and the caller's random
    generator is left as it was. Returns `folder`.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    vocabulary = _vocabulary()
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=0.5,  # at BERT's 0.02 a model this narrow gives every text nearly the same vector
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        bert = BertModel(config)
    encoder = folder.with_name(f"{folder.name}-encoder")
    bert.save_pretrained(encoder)
    BertTokenizer(vocab=vocabulary, model_max_length=128).save_pretrained(encoder)
    transformer = Transformer(str(encoder))
    modules = [transformer, Pooling(config.hidden_size, "mean"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    shutil.rmtree(encoder)
    return folder


def hub_folder_from_rows(
    folder: Path, rows_by_split: Mapping[str, Sequence[Mapping[str, Any]]], *, set_column: bool = False
) -> Path:
    """Write a data set as the Hub keeps it, and return `folder`.

    Args:
        folder: where to; made if need be.
        rows_by_split: split name -> rows, each row column name -> value, all rows with the same columns.
        set_column: write lines `{"set": [first column, second column]}` into one `NAME_compressed.jsonl.gz` and no
            README, as in embedding-data/sentence-compression: such a data set has no split but "train", and further
            columns are left out. Otherwise write one `data/SPLIT-00000-of-00001.parquet` for each split, named by the
            configuration in README.md, as in sentence-transformers/stsb.

    Raises:
        ValueError: if there are no rows, or `set_column` is asked for with other splits than "train".
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    empty = [split for split, rows in rows_by_split.items() if not rows]
    if empty or not rows_by_split:
        raise ValueError(f"no rows for {', '.join(empty) or 'any split'}")
    folder.mkdir(parents=True, exist_ok=True)
    if set_column:
        if set(rows_by_split) != {"train"}:
            raise ValueError(f"a data set with a column `set` has only the split 'train', got {sorted(rows_by_split)}")
        lines = [json.dumps({"set": list(row.values())[:2]}) for row in rows_by_split["train"]]
        content = gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)
        (folder / f"{folder.name}_compressed.jsonl.gz").write_bytes(content)
        return folder
    (folder / "data").mkdir(exist_ok=True)
    files = []
    for split, rows in rows_by_split.items():
        table = pa.Table.from_pylist([dict(row) for row in rows])
        pq.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet")
        files.append(f"  - split: {split}\n    path: data/{split}-*\n")
    configuration = "configs:\n- config_name: default\n  data_files:\n" + "".join(files)
    (folder / "README.md").write_text(f"---\nlanguage:\n- en\n{configuration}---\nMade for a test.\n", encoding="utf-8")
    return folder


def tiny_encoder(folder: Path, kind: str = "bert", seed: int = 0, *, pooling: str = "mean") -> Path:
    """Save a random two-layer encoder of another architecture with mean pooling, as :func:`tiny_model` does.

    Args:
        folder: where to.
        kind: bert, roberta, xlm-roberta, camembert, distilbert, electra or mpnet.
        seed: of the weights.
        pooling: a pooling mode of sentence-transformers.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    encoder = _encoder(folder, kind, seed)
    modules = [Transformer(str(encoder)), Pooling(32, pooling), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    shutil.rmtree(encoder)
    return folder


def tiny_splade(folder: Path, seed: int = 0) -> Path:
    """Save a random two-layer BERT with its masked-language head and SPLADE's max pooling. Returns `folder`."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    encoder = _encoder(folder, "bert", seed, head=True)
    modules = [Transformer(str(encoder), transformer_task="fill-mask"), SpladePooling("max")]
    SparseEncoder(modules=modules, device="cpu").save(str(folder))
    shutil.rmtree(encoder)
    return folder


def tiny_checkpoint(folder: Path, kind: str = "bert", seed: int = 0, *, head: bool = True) -> Path:
    """Save a random two-layer encoder as transformers does, with a masked-language head or not. Returns `folder`."""
    _encoder(folder, kind, seed, head=head).rename(folder)
    return folder


def tiny_static(folder: Path, seed: int = 0) -> Path:
    """Save a static model, a table of random vectors for the tiny word pieces. Returns `folder`."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from transformers import BertTokenizer

    vocabulary = _vocabulary()
    table = torch.randn(len(vocabulary), 16, generator=torch.Generator().manual_seed(seed))
    tokenizer = BertTokenizer(vocab=vocabulary, model_max_length=128)
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=table)], device="cpu").save(str(folder))
    return folder


def _encoder(folder: Path, kind: str, seed: int, *, head: bool = False) -> Path:
    """Save a random encoder of width 32 with the tiny word pieces beside `folder`."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, BertTokenizer

    vocabulary = _vocabulary()
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "initializer_range": 0.5,
    }
    if kind == "distilbert":
        sizes = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "initializer_range": 0.5}
    if kind == "electra":
        sizes["embedding_size"] = 16  # narrower than the layers, as the published ones are
    config = AutoConfig.for_model(
        kind, vocab_size=len(vocabulary), max_position_embeddings=130, pad_token_id=0, bos_token_id=2, **sizes
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = (AutoModelForMaskedLM if head else AutoModel).from_config(config)
    encoder = folder.with_name(f"{folder.name}-encoder")
    model.save_pretrained(encoder)
    BertTokenizer(vocab=vocabulary, model_max_length=128).save_pretrained(encoder)
    return encoder


def _vocabulary() -> dict[str, int]:
    marks = string.ascii_lowercase + string.digits
    pieces = [*_SPECIAL, *string.punctuation, *marks, *(f"##{mark}" for mark in marks), *_WORDS.split()]
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
