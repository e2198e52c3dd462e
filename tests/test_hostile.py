"""Models, texts and recipes from somebody who means harm: nothing executes, nothing is hidden, no token is told."""

from __future__ import annotations

import base64
import json
import logging
import os
import pickle
import re
import struct
import sys
import time
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
from conftest import CHECKOUT, Write
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from loopback_hub import TOKEN, LoopbackHub
from safetensors.torch import load_file, save_file
from tiny import hub_folder_from_rows, tiny_model
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers

from hf_simtune import Recipe, adapters, catalogue, models, tellable, tokenizer_files
from hf_simtune.cli import main
from hf_simtune.data.load import load
from hf_simtune.errors import DataError, RequestError, SimtuneError, panics
from hf_simtune.lora import LoRA
from hf_simtune.model_errors import explained
from hf_simtune.weights import weights_sha256


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = str(place)

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.place,))


def pickled(folder: Path, bomb: Path | None = None) -> Path:
    """A tiny model with its weights as torch saves them, or with a bomb in their place."""
    tiny_model(folder)
    safe = next(folder.rglob("model.safetensors"))
    if bomb is None:
        torch.save(load_file(safe), safe.with_name("pytorch_model.bin"))
    else:
        safe.with_name("pytorch_model.bin").write_bytes(pickle.dumps(Bomb(bomb)))
    safe.unlink()
    return folder


def test_pickled_weights_are_refused_unless_asked_for_by_name(tmp_path: Path) -> None:
    folder = pickled(tmp_path / "pickled")
    with pytest.raises(RequestError, match=r"pytorch_model\.bin\) and no safetensors") as told:
        models.load(str(folder))
    assert "--allow-pickle" in str(told.value)
    expected = models.load(str(tiny_model(tmp_path / "safe")))[1]
    assert models.load(str(folder), allow_pickle=True)[1].weights_sha256 == expected.weights_sha256


def test_a_pickle_with_code_in_it_does_not_run_whatever_is_allowed(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    folder = pickled(tmp_path / "bomb", ran)
    for allowed in (False, True):
        with pytest.raises(RequestError):
            models.load(str(folder), allow_pickle=allowed)
    assert not ran.exists()
    pickle.loads((folder / "pytorch_model.bin").read_bytes())
    assert ran.exists(), "the bomb itself works"


def test_a_pickle_beside_safetensors_is_not_opened(tmp_path: Path) -> None:
    folder, ran = tiny_model(tmp_path / "both"), tmp_path / "ran"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(ran)))
    model, facts = models.load(str(folder))
    assert facts.weights_sha256 == weights_sha256(model)
    assert not ran.exists()


def test_safetensors_that_nobody_loads_make_no_pickle_safe(tmp_path: Path) -> None:
    folder = pickled(tmp_path / "decoy")
    for place in {path.parent for path in folder.rglob("pytorch_model.bin")}:
        save_file({"x": torch.zeros(1)}, place / "decoy.safetensors")
        save_file({"x": torch.zeros(1)}, place / "adapter_model.safetensors")
    with pytest.raises(RequestError, match=r"pytorch_model\.bin\) and no safetensors"):
        models.load(str(folder))


def test_the_base_that_adapters_name_is_looked_at_too(tmp_path: Path) -> None:
    base, folder = tiny_model(tmp_path / "base"), tmp_path / "adapters"
    model, _ = models.load(str(base))
    adapters.attach(model, LoRA(), seed=0)
    model.save_pretrained(str(folder))
    (config,) = folder.rglob("adapter_config.json")
    named = json.loads(config.read_text()) | {"base_model_name_or_path": str(base)}
    config.write_text(json.dumps(named))
    models.load(str(folder))
    (folder / "config.json").unlink(missing_ok=True)
    pickled(base)
    with pytest.raises(RequestError, match=r"the base of .*adapters, has pickled weights"):
        models.load(str(folder))


def test_what_is_in_folders_that_nothing_loads_is_no_matter(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny")
    (folder / "checkpoint-9").mkdir()
    (folder / "checkpoint-9" / "tokenizer.json").write_text("no JSON")
    models.load(str(folder))


@pytest.mark.parametrize("file", ["tokenizer.json", "model.safetensors.index.json"])
def test_what_a_file_may_not_say_it_may_not_say_in_a_folder_of_a_module_either(file: str, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny")
    below = folder / "0_Transformer"
    below.mkdir()
    for path in folder.iterdir():
        if path.is_file() and path.name not in ("modules.json", "config_sentence_transformers.json"):
            path.rename(below / path.name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))
    models.load(str(folder))
    said = {
        "tokenizer.json": {"normalizer": {"type": "Replace", "content": "a" * 5000}},
        "model.safetensors.index.json": {"weight_map": {"a": "../../../b.safetensors"}},
    }
    (below / file).write_text(json.dumps(said[file]))
    with pytest.raises(RequestError, match=rf"0_Transformer/{file} (makes a text up to 5,000|names '\.\./)"):
        models.load(str(folder))


LONG_FILLED = {"processing_kwargs": {"text": {"padding": "max_length", "max_length": 1_000_000}}}


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("modules.json", [{"idx": 0, "name": "0", "path": "../../elsewhere", "type": "x.Y"}], "out of the model's own"),
        ("modules.json", [{"idx": 0, "name": "0", "path": "/etc", "type": "x.Y"}], "'/etc', out of the model's own"),
        ("model.safetensors.index.json", {"weight_map": {"a": "../../b.safetensors"}}, r"'\.\./\.\./b\.safetensors'"),
        (
            "tokenizer.json",
            {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Replace", "content": "a" * 50}] * 9}},
            "times as long",
        ),
        ("tokenizer.json", "[" * 100_000, "not JSON that can be read"),
        ("tokenizer.json", {"version": "1.0", "model": {"type": "Nonsense"}}, "does not load"),
        ("config.json", {"model_type": "bert", "hidden_size": -5}, "does not load"),
        ("config.json", {"model_type": "x", "auto_map": {"AutoConfig": "own.C"}}, "Remote code is never run"),
        ("modules.json", {"0": 3}, "does not load"),
        ("config_sentence_transformers.json", [1], "does not load"),
        ("sentence_bert_config.json", LONG_FILLED, r"fills each text up to 1,000,000 tokens \(max_length\), and"),
    ],
)
def test_a_model_that_means_harm_is_refused_in_a_sentence(
    file: str, content: object, told: str, tmp_path: Path
) -> None:
    folder = tiny_model(tmp_path / "tiny")
    (folder / file).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    with pytest.raises(RequestError, match=told):
        models.load(str(folder))


def with_tokenizer(folder: Path, parts: dict[str, Any], file: str = "tokenizer.json") -> Path:
    """A tiny model whose tokenizer is made of its file as it stands, with other parts in it."""
    tiny_model(folder)
    whole = json.loads((folder / "tokenizer.json").read_text()) | parts
    (folder / file).write_text(json.dumps(whole), encoding="utf-8")
    path = folder / "tokenizer_config.json"
    more = {"tokenizer_class": "PreTrainedTokenizerFast", "fast_tokenizer_files": [file]}
    path.write_text(json.dumps(json.loads(path.read_text()) | more), encoding="utf-8")
    return folder


TEXT = {"Sequence": {"id": "A", "type_id": 0}}
SPECIAL = {"SpecialToken": {"id": "X", "type_id": 0}}
PAIR = [TEXT, {"Sequence": {"id": "B", "type_id": 1}}]


def template(ids: int, pieces: int, texts: int = 1) -> dict[str, Any]:
    single = [SPECIAL] * pieces + [TEXT] * texts
    special = {"X": {"id": "X", "ids": [1] * ids, "tokens": ["[UNK]"] * ids}}
    return {"type": "TemplateProcessing", "single": single, "pair": PAIR, "special_tokens": special}


def parted(*steps: Any, of: str) -> dict[str, Any]:
    return {"type": "Sequence", of: list(steps)}


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def replaced(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def charsmap(content: bytes) -> str:
    """SentencePiece's map of "a" to ``content``: the size of a trie, the trie, and the texts."""
    units = [0] * 512
    child = 256 ^ ord("a")
    units[0], units[child], units[480] = 256 << 10, ord("a") | 1 << 8 | (child ^ 480) << 10, 1 << 31
    return base64.b64encode(struct.pack("<513I", 4 * 512, *units) + content + b"\0").decode()


UNTAGGED = [[SPECIAL, TEXT], PAIR, {"X": ["X", [1] * 500, ["[UNK]"] * 500]}]  # a template's fields, as a list
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
NOTHING = replaced({"Regex": "(?=a)|\\b"}, "a")
BERT = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
HARM = {
    "ids": ({"post_processor": template(20_000, 1)}, "puts 20,000 tokens around a text, however short it is cut, and"),
    "pieces": ({"post_processor": template(1, 20_000)}, "puts 20,000 tokens around a text"),
    "products": ({"post_processor": template(13, 5)}, "puts 65 tokens around a text, .* and 64 is the most"),
    "deep": (
        {"post_processor": parted(parted(template(65, 1), of="processors"), of="processors")},
        "puts 65 tokens around a text",
    ),
    "many": ({"post_processor": parted(*[BERT] * 40, of="processors")}, "puts 80 tokens around a text"),
    "again": ({"post_processor": template(1, 0, texts=9)}, "puts a text 9 times in its own place, and once is the"),
    "untyped": ({"post_processor": UNTAGGED}, "puts 500 tokens around a text"),
    "bytes": ({"pre_tokenizer": parted(*[BYTES] * 24, of="pretokenizers")}, "a text up to 16,777,216 times as long"),
    "letters": ({"normalizer": parted(*[{"type": "ByteLevel"}] * 24, of="normalizers")}, "up to 16,777,216 times"),
    "between": ({"normalizer": parted(*[NOTHING] * 20, of="normalizers")}, "up to 1,048,576 times as long"),
    "nowhere": (
        {"normalizer": parted(*[replaced({"String": ""}, "a")] * 20, of="normalizers")},
        "up to 1,048,576 times as long",
    ),
    "untyped steps": ({"normalizer": {"normalizers": [[{"String": "a"}, "b" * 2000]]}}, "up to 2,000 times as long"),
    "map": (
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap(b"b" * 5000)}},
        "up to 5,000 times as long",
    ),
    "steps": (
        {"normalizer": parted(*[{"type": "Lowercase"}] * 2000, of="normalizers")},
        "has 2,000 steps in its normalizer, and 1,000 is the most",
    ),
    "regex": (
        {"pre_tokenizer": parted(split("a"), split("(a|aa)+$"), of="pretokenizers")},
        r'has the regular expression "\(a\|aa\)\+\$", which may try 1,000,000,000 and more ways to match at one place',
    ),
    "regex of a normalizer": (
        {"normalizer": parted(replaced({"Regex": "(a+)+$"}, ""), of="normalizers")},
        r'"\(a\+\)\+\$", which may try',
    ),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_tokenizer_that_swells_a_text_or_takes_for_ever_is_refused(harm: str, tmp_path: Path) -> None:
    parts, told = HARM[harm]
    folder = with_tokenizer(tmp_path / "tiny", parts)
    assert Tokenizer.from_file(str(folder / "tokenizer.json")), "its library takes it"
    with pytest.raises(RequestError, match=rf"tiny: tokenizer\.json .*{told}") as refused:
        models.load(str(folder))
    assert "Name another model: nothing of this one was loaded" in str(refused.value)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        (
            "max_input_chars_per_word",
            2**62,
            "takes words of up to 4,611,686,018,427,387,904 characters apart",
        ),
        ("continuing_subword_prefix", "#" * 20_000, "has a continuing_subword_prefix of 20,000 characters, and 100 is"),
    ],
)
def test_what_makes_word_pieces_slow_is_refused(field: str, value: object, told: str, tmp_path: Path) -> None:
    folder = with_tokenizer(tmp_path / "tiny", {})
    model = json.loads((folder / "tokenizer.json").read_text())["model"] | {field: value}
    with pytest.raises(RequestError, match=told):
        models.load(str(with_tokenizer(tmp_path / "tiny", {"model": model})))


def test_a_tokenizer_of_another_name_that_the_configuration_asks_for_is_looked_at_too(tmp_path: Path) -> None:
    folder = with_tokenizer(tmp_path / "tiny", {"post_processor": template(500, 1)}, "tokenizer.4.0.json")
    with pytest.raises(RequestError, match=r"tokenizer\.4\.0\.json puts 500 tokens around a text"):
        models.load(str(folder))


FIXED = {"direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"post_processor": template(4, 1)},
        {"post_processor": parted(BERT, BYTES, of="processors")},
        {"padding": FIXED | {"strategy": {"Fixed": 10**9}, "pad_to_multiple_of": None}},
        {"padding": FIXED | {"strategy": "BatchLongest", "pad_to_multiple_of": 10**9}},
        {"truncation": {"direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 0}},
        {"pre_tokenizer": split("") | {"invert": True}},
        {"pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap("\u0635\u0644\u0649".encode())}},
        {"decoder": replaced({"Regex": "(a|aa)+$"}, "a" * 5000)},  # no text that is encoded goes through it
    ],
    ids=str,
)
def test_a_tokenizer_that_does_no_harm_is_loaded_and_cut(parts: dict[str, Any], tmp_path: Path) -> None:
    model, _ = models.load(str(with_tokenizer(tmp_path / "tiny", parts)), max_length=128)
    there = model.preprocess(["a", "a team and a ball " * 500])["input_ids"].shape
    assert there == (2, 128)


@pytest.mark.slow
def test_the_packaged_model_has_a_tokenizer_like_any(minilm: Path) -> None:
    assert list(tokenizer_files.problems(json.loads((minilm / "tokenizer.json").read_text()))) == []
    assert models.load("builtin:all-MiniLM-L6-v2")[1].dimensions == 384


@settings(deadline=None, max_examples=60)
@given(ids=st.integers(0, 40), pieces=st.integers(0, 20), beside=st.booleans())
def test_the_tokens_that_a_template_adds_are_counted_as_the_library_adds_them(
    ids: int, pieces: int, beside: bool
) -> None:
    processor = parted(template(ids, pieces), BYTES, of="processors") if beside else template(ids, pieces)
    model = {"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": "[UNK]"}
    whole = {"version": "1.0", "added_tokens": [], "model": model, "post_processor": processor}
    added = len(Tokenizer.from_str(json.dumps(whole)).encode("a").ids) - 1
    told = [f"puts {added} tokens around a text, however short it is cut, and 64 is the most"] if added > 64 else []
    assert added == ids * pieces and list(tokenizer_files.problems(whole)) == told


CLITIC = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"


def cased(clitic: str, digits: str, less: str = "") -> str:
    """The one of GPT-4o and its like: words in capitals, then in small letters."""
    upper, lower = (rf"[\p{{L{case}}}\p{{Lm}}\p{{Lo}}\p{{M}}{less}]" for case in (r"u}\p{Lt", "l"))
    before = r"[^\r\n\p{L}\p{N}]?"
    words = f"{before}{upper}*{lower}+{clitic}|{before}{upper}+{lower}*{clitic}"
    return rf"{words}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}"


PUBLISHED = {
    "gpt-2, roberta, modernbert": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "clip": r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    "gpt-4, llama 3": rf"{CLITIC}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}",
    "gpt-4 of tiktoken": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|"
    r"\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "qwen 2": rf"{CLITIC}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}",
    "gpt-4o": cased(f"{CLITIC}?", r"\p{N}{1,3}"),
    "mistral": cased("", r"\p{N}"),
    "kimi k2": r"[\p{Han}]+|" + cased(f"{CLITIC}?", r"\p{N}{1,3}", r"&&[^\p{Han}]"),
    "deepseek coder": r"\s?\p{L}+",
    "deepseek 3": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
    rf" ?[\p{{P}}\p{{S}}]+[\r\n]*|{SPACES}",
    "deepseek 3, letters": "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    "exaone": rf"{CLITIC}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}|"
    rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
    "bloom": " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+",
    "falcon": "[0-9][0-9][0-9]",
    "superbpe": r"(?=(\d{3})+(?!\d))",
    "aya": r"\d{1,3}(?=(?:\d{3})*\b)",
    "jais 2": r"\s{512}(?!\S)|\s{256}(?!\S)|\s{1,2}(?!\S)|\s{1}",
    "chameleon": "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
    "xlm-r, t5": " {2,}",
    "gemma, camembert": r"\s{2,}|[\n\r\t]",
    "albert": r"^\u2581+$",
    "siglip": r"[!\"\#\$%\&'\(\)\*\+,\-\.:;=\?@\[\\\]\^_`\{\|\}\~]",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_regular_expressions_of_published_tokenizers_pass(name: str, tmp_path: Path) -> None:
    text = "The 1234567 HELLOworld's it'll\n\n  \u4e2d\u6587 na\u00efve -- " * 20
    start = time.monotonic()
    assert pre_tokenizers.Split(Regex(PUBLISHED[name]), "isolated").pre_tokenize_str(text)
    assert time.monotonic() - start < 2
    parts = {"pre_tokenizer": split(PUBLISHED[name]), "normalizer": replaced({"Regex": PUBLISHED[name]}, " ")}
    assert list(tokenizer_files.problems(parts)) == []


def test_a_model_with_all_of_them_is_loaded(tmp_path: Path) -> None:
    parts = {"pre_tokenizer": parted(*map(split, PUBLISHED.values()), of="pretokenizers")}
    models.load(str(with_tokenizer(tmp_path / "tiny", parts)))[0].encode(["a team and a ball " * 50])


def outcome(pattern: str, text: str) -> str:
    """What Oniguruma makes of a text: "" or the panic that it ends in."""
    try:
        pre_tokenizers.Split(Regex(pattern), "isolated").pre_tokenize_str(text)
    except panics() as panic:
        return str(panic)
    return ""


ENDLESS = r"""
(a|aa)+$ (a+)+$ (a*)*$ (?:a?a)+$ (?i-m:a|aa)+$ (?=(a|aa)+$) ((a|aa)+|b)$ (a|aa)*?$ (?<n>a|aa)+$ x|(a+)+$
(?'n'a|aa)+$ a{1,2}+$ (a|aa){1,1000}$ (a|aa){40,}$ (?:a|aa){30}[^ab] (?>(a|aa)+$) (?i)(a|aa)+$ (a|aa)+(?i)$|c
(?:(?:a|aa){2}?){30}[^ab] (x{0,3}a|p{1}|aa)+$
\((a|aa)+$|(a+)+$ [\]](a|aa)+$|(a+)+\b$ (a|aa)+[^a]c (?:(?:a|aa){1}){30}$ [[a]b](a+)+$
"""


@pytest.mark.parametrize("pattern", re.findall(r"\S+", ENDLESS))
def test_a_regular_expression_that_goes_back_without_end_is_refused(pattern: str) -> None:
    (told,) = tokenizer_files.problems({"pre_tokenizer": split(pattern)})
    assert " ways to match at one place of a text, and 500,000 is the most" in told
    assert "retry-limit-in-match over" in outcome(pattern, "a" * 70 + "b"), "and it does harm"


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        (r"(?<n>a|a\g<n>|aa\g<n>)$", r"\g is in it"),  # which takes minutes over 60 letters, and meets no limit
        ("(?x)#[\n(a|aa)+$#]", "(?x is in it"),
        ("(a|aa)(?#)+$", "(?# is in it"),
        ("(?L)(a|aa)+", "(?L is in it"),
        ("(?~a)", "(?~ is in it"),
        (r"[\c]x]", r"\c is in it"),
        ("[]a](b)", "a class of characters begins with ] in it"),
        ("(" * 99 + "a" + ")" * 99, "its groups are more than 50 deep"),
        ("[" * 99 + "a" + "]" * 99, "its groups are more than 50 deep"),
    ],
)
def test_a_regular_expression_that_nobody_publishes_is_refused_unread(pattern: str, told: str) -> None:
    (problem,) = tokenizer_files.problems({"pre_tokenizer": split(pattern)})
    assert problem.endswith(f'", which cannot be judged: {told}') and len(problem) < 250


def test_regular_expressions_that_would_take_long_to_judge_are_refused_together() -> None:
    steps = [split(f"a{number}" + "b" * 1_000) for number in range(30)]
    (problem,) = tokenizer_files.problems({"pre_tokenizer": parted(*steps, of="pretokenizers")})
    assert problem == "has regular expressions of 30,080 characters, and 20,000 is the most"


@pytest.mark.parametrize("pattern", ["(a|aa)+", "(a+)+", r"(?:\r?\n)+", r"[a\[]+$", "(?>(a|aa)+)$", "(?:a|aa)++$"])
def test_a_repetition_that_nothing_sends_back_does_no_harm_and_passes(pattern: str) -> None:
    assert list(tokenizer_files.problems({"pre_tokenizer": split(pattern)})) == []
    assert outcome(pattern, "a" * 9_000 + "b\r\n") == ""


ATOMS = [*re.findall(r"\S+", r"a a b . [ab] [^b] \w \p{L} aa \b $ \\ \[ [[a]b]"), ""]
OFTEN = [*re.findall(r"\S+", "+ * ? +? *? ++ *+ ?+ {2} {1,3} {2,} {,2} {0,9} {2}? {1,2}+ {20}"), "", ""]
OPENED = re.findall(r"\S+", "( (?: (?= (?! (?> (?i: (?<= (?<n> (?i)(?:")


def grouped(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    part = st.tuples(inner, st.sampled_from(OFTEN)).map("".join)
    branches = st.lists(st.lists(part, min_size=1, max_size=4).map("".join), min_size=1, max_size=3).map("|".join)
    return st.tuples(st.sampled_from(OPENED), branches, st.just(")")).map("".join)


PIECES = st.tuples(st.recursive(st.sampled_from(ATOMS), grouped, max_leaves=8), st.sampled_from(OFTEN)).map("".join)


@settings(deadline=None, max_examples=150)
@given(st.lists(PIECES, min_size=1, max_size=4).map("".join))
def test_what_passes_ends_soon_and_takes_as_many_characters_as_is_said(pattern: str) -> None:
    try:
        put = normalizers.Replace(Regex(pattern), "xyz")
    except Exception:  # noqa: BLE001 - it raises plain ones: it is no regular expression
        assume(False)
    assume(not list(tokenizer_files.problems({"pre_tokenizer": split(pattern)})))
    start = time.monotonic()
    for text in ("a" * 60 + "b", "ab" * 40 + "c", "aab " * 20):
        assert outcome(pattern, text) == ""
    assert time.monotonic() - start < 5
    twenty = parted(*[replaced({"Regex": pattern}, "a")] * 20, of="normalizers")
    taking = not list(tokenizer_files.problems({"normalizer": twenty}))
    for text in ("", "a", "aab b"):
        assert not taking or len(put.normalize_str(text)) <= 3 * len(text)


def test_a_panic_is_known_by_its_name_and_nothing_else_is_one() -> None:
    with pytest.raises(BaseException, match="retry-limit") as ended:
        pre_tokenizers.Split(Regex("(a|aa)+$"), "isolated").pre_tokenize_str("a" * 60 + "b")
    assert not isinstance(ended.value, Exception)
    for other in (ended.value, KeyboardInterrupt(), SystemExit(), ValueError()):
        try:
            raise other
        except BaseException:  # noqa: BLE001 - what it is is the question
            assert panics() == ((type(other),) if other is ended.value else ())
    assert panics() == ()


def test_a_library_that_panics_ends_a_command_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = with_tokenizer(tmp_path / "tiny", {"pre_tokenizer": {"type": "FixedLength", "length": 0}})
    with pytest.raises(SystemExit) as ended:
        main(argv=["score", str(folder), "--data", "builtin:sports/scored:test"])
    told = capsys.readouterr().err
    assert ended.value.code == 1 and "Traceback" not in told
    assert (
        "error: a library failed within itself: chunk size must be non-zero\nMost likely the model's tokenizer" in told
    )


def test_a_library_that_panics_while_it_loads_does_so_in_a_sentence(tmp_path: Path) -> None:
    model = {"type": "BPE", "vocab": {"a": 0, "aa": 1}, "merges": [["a", "a"]], "continuing_subword_prefix": "#" * 9}
    with pytest.raises(RequestError, match="does not load: a library failed within itself: range end index"):
        models.load(str(with_tokenizer(tmp_path / "tiny", {"model": model})))


def test_a_recipe_from_a_path_is_said_to_be_code(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from hf_simtune import Recipe\nRECIPE = Recipe(train_data='a/b')\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING, "hf_simtune"):
        assert catalogue.find(str(path)) == Recipe(train_data="a/b")
    assert caplog.messages == [f"the recipe {path} is code, and it is run"]
    caplog.clear()
    catalogue.find("mnrl_minilm")
    assert not caplog.messages, "those of the package are its own"


def test_what_an_error_and_a_log_line_hold_moves_no_cursor(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    path = write("\x1b[2Jrows.csv", "anchor\x1b[31m,b\u202e\nx,y\n")
    with pytest.raises(SimtuneError) as told:
        load(path, shape="scored")
    assert "\\x1b[31m" in str(told.value) and "\\u202e" in str(told.value)
    assert not {"\x1b", "\u202e"} & set(str(told.value))
    with caplog.at_level(logging.WARNING, "hf_simtune"):
        logging.getLogger("hf_simtune").warning("about %s", "\x1b]0;title\x07")
    assert caplog.messages == ["about \\x1b]0;title\\x07"]


SECRETS = (
    "hf_abcdefghijklmnopqrstuvwxyz",
    "ghp_0123456789abcdefghijklmn",
    "sk-0123456789abcdefghijklmn",
)


@pytest.mark.parametrize("secret", SECRETS)
def test_tokens_come_out_of_errors_logs_and_tracebacks(
    secret: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"GET https://me:{secret}@host/x with Authorization: Bearer {secret} answered 401"
    assert secret not in str(DataError(words, hint=words)) and "401" in str(DataError(words))
    try:
        raise ValueError(words)
    except ValueError as error:
        with caplog.at_level(logging.WARNING, "hf_simtune"):
            logging.getLogger("hf_simtune").exception("it failed: %s", error)
        tellable.tell_uncaught(type(error), error, error.__traceback__)
    said = caplog.text + capsys.readouterr().err
    assert said.count("Traceback (most recent call last)") == 2
    assert secret not in said


def test_a_secret_that_begins_as_another_does_is_hidden_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {f"SECRET_{n}_KEY": "abcdefgh" + "IJKLMNOP" * n for n in range(6)}
    for name, value in words.items():
        monkeypatch.setenv(name, value)
    for value in words.values():
        assert tellable.tellable(f"it is {value}.") == "it is (a secret)."
    assert tellable.tellable(f"token_hf_{'a1' * 12} x") == "token_(a secret) x"


def test_what_is_printed_moves_no_cursor(write: Write, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = write("\x1b[2J\x1b]0;owned\x07.csv", "sentence1,sentence2,score\na,b,1\nc,d,0\ne,f,0.5\n")
    for words in (["score", str(tiny_model(tmp_path / "tiny")), "--data", path], ["tune", path, "--dry-run"]):
        with pytest.raises(SystemExit) as ended:
            main(argv=words)
        told = capsys.readouterr()
        assert ended.value.code == 0, told.err
        assert not {"\x1b", "\x07"} & set(told.out + told.err) and "\\x1b[2J\\x1b]0;owned" in told.out


def test_a_password_in_an_address_and_a_secret_of_the_environment_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SERVICE_TOKEN", "quite-another-form")
    told = tellable.tellable("http://user:pass@127.0.0.1:80/x?y=1 quite-another-form")
    assert told == "http://(a secret)@127.0.0.1:80/x?y=1 (a secret)"


PROGRAM = """
import sys
from hf_simtune.cli import main
main(argv=sys.argv[1:])
"""
RAISED = """
import traceback
from huggingface_hub import HfApi
from hf_simtune import Recipe, checkpoint_push, diagnosing, hub_upload, models, release
from hf_simtune.data.load import load

for call in (
    lambda: HfApi().model_info("me/tiny"),
    lambda: models.load("me/tiny"),
    lambda: load("me/pairs"),
    lambda: diagnosing.diagnose(["me/tiny"], "builtin:sports/scored:test"),
    lambda: hub_upload.send({"a.txt": b"a"}, "loopback/new", title="one", again="again"),
    lambda: hub_upload.name_it("loopback/new", "0" * 40, "v1", again="again"),
    lambda: checkpoint_push.place(Recipe(train_data="a/b", push_checkpoints="loopback/new"), offline=False),
    lambda: release.target(Recipe(train_data="a/b", push_to_hub=True), offline=False),
):
    try:
        call()
    except Exception as error:
        print("".join(traceback.format_exception(error)), "=====", sep="")
"""


@pytest.mark.slow
def test_no_token_is_told_whatever_the_hub_answers(tmp_path: Path) -> None:
    """Over real HTTP with a token, which comes back with every refusal: what is raised, and what a command tells."""
    rows = {"train": [{"sentence1": f"a{row}", "sentence2": f"b{row}", "score": row / 9} for row in range(9)]}
    score = ["score", "me/tiny", "--data", "builtin:sports/scored:test"]
    tune = ["tune", "me/pairs", "--model", "me/tiny"]
    with LoopbackHub(
        models={"me/tiny": tiny_model(tmp_path / "tiny")},
        datasets={"me/pairs": hub_folder_from_rows(tmp_path / "pairs", rows)},
        storage=tmp_path / "hub",
    ) as hub:
        environment = hub.environment(tmp_path / "home", HF_SIMTUNE_THREADS="1", PYTHONPATH=str(CHECKOUT))

        def told(code: str, *words: str) -> tuple[int, str, str]:
            done = forked.run([sys.executable, "-c", code, *words], env=environment, cwd=tmp_path)
            return done.returncode, done.stdout, done.stderr

        for status in (401, 403, 404, 429, 500):
            for methods, words in (["*"], score), (["GET", "POST"], tune):  # the second time it first says: it is there
                for method in methods:
                    hub.fail(method, "", status, 500, {"Retry-After": "0"}, how="echo")
                _, raised, logged = told(RAISED)
                plain, *ours = raised.split("=====\n")[:-1]
                assert TOKEN in plain, "the library's own error tells it"
                assert len(ours) == 7 and all("hf_simtune.errors.HubError: " in one for one in ours), raised
                assert sum("hf_simtune.tellable.UntoldError: \nTraceback" in one for one in ours) >= 4
                assert sum("Authorization: Bearer (a secret)" in one for one in ours) >= 4
                ended, shown, error = told(PROGRAM, *words)
                assert ended == 1 and "Traceback" not in error and "me/" in error, error
                assert TOKEN not in "".join(ours) + logged + shown + error
                hub.calm()


def test_a_cause_without_a_secret_is_raised_from_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, telling = ValueError("x"), ValueError("Authorization: Bearer quite-another-form")
    monkeypatch.setenv("SOME_SERVICE_TOKEN", "quite-another-form")
    assert tellable.tellable_cause(plain) is plain
    noted, behind, grouped = ValueError("x"), ValueError("x"), ExceptionGroup("x", [plain, telling])
    noted.add_note(str(telling))
    behind.__cause__ = telling
    for error in (telling, noted, behind, grouped):
        stand_in = tellable.tellable_cause(error)
        assert isinstance(stand_in, tellable.UntoldError) and stand_in.__cause__ is None
        assert "ValueError: " in str(stand_in) and "(a secret)" in str(stand_in)
        assert "quite-another-form" not in str(stand_in)


def test_half_a_token_is_not_told_either() -> None:
    told = str(explained(ValueError("x" * 190 + f" hf_{'a1' * 12}"), Path("here"), "", online=False))
    assert "hf_a1" not in told and "(a secre" in told
