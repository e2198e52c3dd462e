from __future__ import annotations

import dataclasses
import errno
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commanding import run
from conftest import CHECKOUT

from hf_simtune import recipe, scoring
from hf_simtune.cli import COLLECTING, COMMANDS, main
from hf_simtune.data import export


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_of_every_command_can_be_printed(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    status, out, err = run(capsys, *command, "--help")
    assert status == 0
    assert err == ""
    assert out.startswith("usage: hf-simtune")


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys)
    assert status == 0
    assert "examples:" in out


def test_help_names_every_recipe_field_with_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "tune", "--help")
    for name, _, _, text in recipe.fields():
        assert f"--{name.replace('_', '-')}" in out
        assert text.split()[0] in out


@pytest.mark.slow
def test_help_comes_at_once() -> None:
    fastest = 9.0
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "hf_simtune", "--help"], capture_output=True, check=True, cwd=CHECKOUT)
        fastest = min(fastest, time.perf_counter() - start)
    assert fastest < 0.5, f"{fastest:.2f} s: something heavy is imported"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tune"], "tune what?"),
        (["tune", "mnrl_minlm"], "did you mean 'mnrl_minilm'"),
        (["tune", "mnrl_minilm", "--lerning-rate", "3"], "did you mean --learning-rate?"),
        (["tune", "mnrl_minilm", "--epochs", "x", "--batch-size", "1", "--sead=3"], "3 problems"),
        (["tune", "mnrl_minilm", "--train-rows", "0"], "--train-rows is 0: it must be 1 or more"),
        (["tune", "rows.csv", "--loss", "mnlr"], "did you mean 'mnrl'?"),
        (["tune", "no/where.csv"], "no/where.csv"),
        (["tune", "--resume", "nowhere"], "no run folder at nowhere"),
        (["recipes", "--fo"], "unknown flag '--fo'"),
        (["nothing"], "invalid choice: 'nothing'"),
        (["score", "m"], "--data"),
        (["compare", "one"], "name two or more"),
        (["compare", "one", "two"], "name them"),
        (["compare", "one", "two", "--out", "x.svg"], "--out x.svg: it must end in .html"),
        (["compare", "one", "two", "--out", "no/x.html"], "there is no folder no"),
        (["tune", "mnrl_minilm", "--model", "org/a", "--model", "org/a"], "--model org/a is given 2 times"),
        (["tune", "mnrl_minilm", "--model", "org/a", "--model", "./b", "--epochs", "0", "--sead", "1"], "3 problems"),
        (["tune", "mnrl_minilm", "--model", "org/a", "--model", "org/b", "--offline"], "--model org/b is on the Hub"),
        (["tune", "mnrl_minlm", "--model", "org/a", "--model", "org/b"], "did you mean 'mnrl_minilm'"),
        (["sweep"], "sweep over what?"),
        (["sweep", "mnrl_minilm"], "nothing to sweep over"),
        (["sweep", "mnrl_minlm", "--epochs", "1", "2"], "did you mean 'mnrl_minilm'"),
        (["sweep", "mnrl_minilm", "--epochs", "1", "x", "--temperature", "-1", "--sead", "1"], "3 problems"),
        (["sweep", "mnrl_minilm", "--epochs", "1", "1.0"], "--epochs names 1 twice"),
        (["sweep", "mnrl_minilm", "--epochs", "1", "2", "--trials", "2"], "leave it out to run them all"),
        (["sweep", "mnrl_minilm", "--epochs", "1", "2", "--trials", "x"], "--trials"),
        (["sweep", "mnrl_minilm", "--seed", "1", "2", "--offline", "--select-on", "org/x"], "--select-on org/x is on"),
        (["sweep", "mnrl_minilm", "--model", "org/a", "org/b", "--offline"], "--model org/b is on the Hub"),
        (["sweep", "--resume", "nowhere"], "no sweep.json"),
        (["diagnose", "m"], "--data"),
        (["diagnose", "m", "--data", "x.txt", "--out", "x.png"], "it must end in .svg or .html"),
        (["diagnose", "m", "--data", "x.txt", "--out", "no/x.svg"], "there is no folder no"),
        (["diagnose", "./m", "--data", "x.txt", "--max-rows", "1"], "2 problems"),
        (["diagnose", "builtin:all-MiniLM-L6-v2", "--data", "x.txt"], "there is no file or folder 'x.txt'"),
        (["generate", "sports", "--rows", "0", "--out", "-"], "rows is 0"),
        (["generate", "sports", "--shape", "pairs", "--out", "x.txt"], "one sentence a line"),
    ],
)
def test_a_wrong_request_exits_with_2_and_a_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *words)
    assert status == 2
    assert out == ""
    assert told in err
    assert list(tmp_path.iterdir()) == []


def test_dry_run_prints_the_resolved_recipe_and_runs_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = run(capsys, "tune", "mnrl_minilm", "--dry-run", "--train-rows", "7", "--offline")
    assert status == 0
    assert "builtin:sports/pairs:train" in out
    assert "hf-simtune tune mnrl_minilm --train-rows 7 --offline" in out
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_prints_a_command_that_can_be_pasted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "files").mkdir()
    export.sports("files/rows.csv", shape="scored", split="train", rows=30)
    status, out, _ = run(capsys, "tune", "files/rows.csv", "--epochs", "500", "--dry-run")
    assert status == 0
    assert "  hf-simtune tune files/rows.csv --epochs 500\n" in out
    shown = " ".join(out.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", " ").split())
    assert "patience default: 5 beyond 10 epochs, else 0" in shown


def test_recipes_lists_them_for_people_and_machines(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "recipes")
    assert status == 0
    assert "mnrl_minilm" in out
    assert "\x1b" not in out
    _, out, _ = run(capsys, "recipes", "--json")
    assert json.loads(out)["mnrl_minilm"]["batch_size"] == 64


def test_generate_writes_rows_that_score_and_tune_can_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for shape, name in (("sentences", "a.txt"), ("pairs", "b.tsv"), ("scored", "c.csv"), ("triplets", "d.jsonl")):
        status, _, err = run(capsys, "generate", "sports", "--shape", shape, "--rows", "30", "--out", name)
        assert status == 0
        assert "30 rows written" in err
        from hf_simtune.data.load import load

        loaded = load(name)
        assert (loaded.source.shape, loaded.source.rows) == (shape, 30)
    status, _, err = run(capsys, "generate", "sports", "--out", "a.txt")
    assert status == 2
    assert "--force" in err
    status, out, _ = run(capsys, "generate", "sports", "--rows", "3", "--out", "-")
    assert status == 0
    assert len(out.splitlines()) == 3


@pytest.mark.slow
def test_a_full_disk_is_a_sentence_of_every_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = tmp_path / "full.csv"
    full.symlink_to("/dev/full")

    def told(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(argv=list(words))
        assert ended.value.code == 1
        return capsys.readouterr().err

    assert "could not be written: the disk is full" in told("generate", "sports", "--out", str(full), "--force")
    assert told("generate", "sports", "--out", "/proc/x.csv").startswith("error: /proc/x.csv: ")

    def no_room(*given: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(scoring, "load", no_room)
    assert "HF_HOME=FOLDER" in told("score", "builtin:all-MiniLM-L6-v2", "--data", str(tmp_path / "rows.csv"))


def test_a_fault_of_ours_is_no_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def ours(*given: object, **more: object) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise KeyError("ours")  # noqa: B904 - while another is handled, and not from it

    monkeypatch.setattr(scoring, "load", ours)
    with pytest.raises(KeyError, match="ours"):
        main(argv=["score", "builtin:all-MiniLM-L6-v2", "--data", "rows.csv"])

    def missing(*given: object, **more: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "a-template-of-the-package")

    monkeypatch.setattr(scoring, "load", missing)
    with pytest.raises(FileNotFoundError):
        main(argv=["score", "builtin:all-MiniLM-L6-v2", "--data", "rows.csv"])


def test_bad_rows_are_told_with_file_line_and_column(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("sentence1,sentence2,score\na b,c d,0.5\n,x,0.1\ny,z,high\n", encoding="utf-8")
    status, _, err = run(capsys, "score", "builtin:all-MiniLM-L6-v2", "--data", str(file))
    assert status == 2
    assert "rows.csv" in err
    assert "line 3" in err
    assert "sentence1" in err
    assert "line 4" in err
    assert "'high'" in err
    assert "--skip-bad-rows" in err


def test_what_is_on_the_hub_is_not_to_be_had_offline_and_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "tune", "mnrl_minilm", "--offline", "--model", "org/other", "--epochs", "0")
    assert status == 2
    assert "2 problems" in err
    assert "--model org/other is on the Hub" in err
    assert "--epochs is 0.0" in err


@pytest.mark.parametrize("offline", [[], ["--offline"]])
def test_a_recipe_file_with_values_of_wrong_types_is_refused_in_sentences(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, offline: list[str]
) -> None:
    path = tmp_path / "odd.py"
    path.write_text("from hf_simtune import Recipe\nRECIPE = Recipe(name=3, model=None, train_data=['a'])\n", "utf-8")
    status, _, err = run(capsys, "tune", str(path), "--dry-run", *offline)
    assert status == 2
    assert "3 problems" in err and "--name is 3: it must be text" in err


def test_commands_that_collect_problems_are_those_that_take_recipes() -> None:
    assert set(COLLECTING) <= set(COMMANDS)


def test_an_offline_recipe_that_cannot_be_run_is_refused_before_it_starts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe.Recipe, "offline", lambda own: dataclasses.replace(own, epochs=0, model="./gone"))
    models = ("--model", "builtin:all-MiniLM-L6-v2", "--model", "builtin:splade-MiniLM-L6")
    for words in (
        ("tune", "mnrl_minilm"),
        ("tune", "mnrl_minilm", *models),
        ("sweep", "mnrl_minilm", "--seed", "1", "2"),
    ):
        status, _, err = run(capsys, *words, "--offline", "--dry-run")
        assert status == 2
        assert err.count("--epochs is 0: it must be above 0") == 1
        assert err.count("--model ./gone: there is no such folder") == 1


def test_the_built_in_models_are_named_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("tune", "score", "diagnose", "sweep"):
        _, out, _ = run(capsys, command, "--help")
        assert "builtin:all-MiniLM-L6-v2" in out and "builtin:splade-MiniLM-L6" in out


def test_offline_says_what_it_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    named = ("--probe", "ORG/forgotten:test", "--more-data", "cosent=ORG/scores", "--mine-negatives", "0")
    models = ("--model", "builtin:all-MiniLM-L6-v2", "--model", "builtin:splade-MiniLM-L6")
    for command, *further in (("tune",), ("tune", *models), ("sweep", "--seed", "1", "2")):
        status, _, err = run(capsys, command, "mnrl_minilm", *named, "--offline", "--dry-run", *further)
        assert status == 0, err
        assert err.count("--offline leaves out --probe ORG/forgotten:test: it is on the Hub") == 1
        assert err.count("--offline leaves out --more-data cosent=ORG/scores: it is on the Hub") == 1
    _, _, err = run(capsys, "tune", "cosent_minilm", "--offline", "--dry-run")
    assert "leaves out" not in err


def test_adapters_are_shown_in_full_and_commanded_in_short(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "tune", "cosent_minilm", "--lora", "--dry-run")
    assert status == 0
    assert "r=16 alpha=32 dropout=0 targets=all-linear" in out
    assert "hf-simtune tune cosent_minilm --lora\n" in out
    _, out, _ = run(capsys, "recipes", "--json")
    lora = json.loads(out)["lora_minilm"]["lora"]
    assert set(lora) == {"r", "alpha", "dropout", "targets"}


def test_none_unsets_a_field_of_the_recipe_and_stays_in_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("tune", "lora_minilm", "--lora", "none", "--no-merge", "--select-on", "none", "--report-on", "none")
    status, out, err = run(capsys, *words, "--dry-run", "--offline")
    assert status == 0, err
    assert "--lora none" in out and "--select-on none --report-on none" in out
    status, out, _ = run(capsys, "sweep", "mnrl_minilm", "--max-length", "none", "64", "--dry-run")
    assert status == 0
    assert "--max-length none 64" in out
