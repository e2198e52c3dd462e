"""Models, texts and recipes from somebody who means harm: nothing executes, nothing is hidden, no token is told."""

from __future__ import annotations

import json
import logging
import os
import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
from conftest import CHECKOUT, Write
from loopback_hub import TOKEN, LoopbackHub
from safetensors.torch import load_file, save_file
from tiny import tiny_model

from hf_simtune import Recipe, adapters, catalogue, models, tellable
from hf_simtune.cli import main
from hf_simtune.data.load import load
from hf_simtune.errors import DataError, RequestError, SimtuneError
from hf_simtune.lora import LoRA
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
    ],
)
def test_a_model_that_means_harm_is_refused_in_a_sentence(
    file: str, content: object, told: str, tmp_path: Path
) -> None:
    folder = tiny_model(tmp_path / "tiny")
    (folder / file).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    with pytest.raises(RequestError, match=told):
        models.load(str(folder))


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


@pytest.mark.slow
def test_no_token_is_told_whatever_the_hub_answers() -> None:
    """Over real HTTP with a token: refusals, as the command line tells them."""
    with (
        tempfile.TemporaryDirectory() as temporary,
        LoopbackHub(models={"me/tiny": tiny_model(Path(temporary) / "tiny")}, storage=Path(temporary) / "hub") as hub,
    ):
        said = ""
        for number, status in enumerate((401, 403)):
            hub.fail("*", "", status=status, times=50, headers={"Retry-After": "0"})
            home = Path(temporary) / f"home{number}"
            words = ["score", "me/tiny", "--data", "builtin:sports/scored:test"]
            done = forked.run(
                [sys.executable, "-c", PROGRAM, *words],
                env=hub.environment(home, HF_SIMTUNE_THREADS="1"),
                cwd=CHECKOUT,
            )
            hub.calm()
            assert done.returncode == 1, done.stderr
            assert "Traceback" not in done.stderr
            said += done.stdout + done.stderr
        assert TOKEN not in said and "me/tiny" in said
