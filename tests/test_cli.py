from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import CHECKOUT
from tiny import tiny_model

from hf_simtune import recipe
from hf_simtune.cli import main


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(argv=list(words))
    shown = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, shown.out, shown.err


@pytest.mark.parametrize(
    "command", [[], ["tune"], ["score"], ["compare"], ["diagnose"], ["recipes"], ["generate"], ["bench"]]
)
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
def test_score_and_compare_speak_to_people_and_machines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    first, second = (str(tiny_model(tmp_path / f"tiny{seed}", seed=seed)) for seed in (0, 1))
    data = ("--data", "builtin:sports/scored:validation")
    status, out, _ = run(capsys, "score", first, *data, "--json")
    found = json.loads(out)
    assert status == 0
    assert found["n"] == 600
    assert found["similarity"] == "cosine"
    status, out, _ = run(capsys, "score", first, *data)
    assert status == 0
    assert f"{100 * found['spearman']:.2f}" in out
    status, out, _ = run(capsys, "compare", first, second, first, *data, "--json")
    compared = json.loads(out)["against"]
    assert status == 0
    assert [one["model"] for one in compared] == ["tiny1", "tiny0"]
    assert compared[1]["difference"] == 0
    assert compared[1]["verdict"] == "no evidence"
    status, out, _ = run(capsys, "compare", first, second, *data)
    assert status == 0
    assert "tiny1" in out
    assert compared[0]["verdict"] in out


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
