from __future__ import annotations

import json
from pathlib import Path

import pytest
from commanding import run
from tiny import tiny_model, tiny_splade


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


@pytest.mark.slow
def test_compare_writes_a_page_with_the_rows_texts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    first, second = (str(tiny_model(tmp_path / f"tiny{seed}", seed=seed)) for seed in (0, 1))
    page = tmp_path / "compare.html"
    words = ("compare", first, second, "--data", "builtin:sports/scored:validation", "--out", str(page))
    status, out, err = run(capsys, *words)
    assert status == 0
    assert f"page written to {page}" in err
    assert "tiny1" in out
    text = page.read_text(encoding="utf-8")
    from hf_simtune.data.load import load

    rows = load("builtin:sports/scored:validation").dataset
    assert sum(str(sentence) in text for sentence in rows["sentence1"]) >= 4
    status, _, err = run(capsys, *words)
    assert status == 2
    assert "--force writes over it" in err


SCORED = "sentence1,sentence2,score\na goal,a match,0.1\nrain at night,a long road,0.5\nwe eat late,no,0.9\n"


@pytest.fixture
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of scored rows in the folder where the command runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text(SCORED, encoding="utf-8")
    return "rows.csv"


def test_a_prompt_is_in_what_score_prints(capsys: pytest.CaptureFixture[str], folder: Path, scored: str) -> None:
    words = ("score", str(folder), "--data", scored, "--quiet")
    _, out, _ = run(capsys, *words)
    assert "prompt" not in out
    _, out, _ = run(capsys, *words, "--prompt", "query: ")
    assert out.splitlines()[1:] == ["prompt 'query: ' before each sentence: tiny"]
    _, out, _ = run(capsys, *words, "--prompt", "")
    assert out.splitlines()[1:] == ["no prompt before each sentence: tiny"]
    found = [json.loads(run(capsys, *words, "--json", *more)[1]) for more in ((), ("--prompt", "query: "))]
    assert [one["prompt"] for one in found] == ["", "query: "]


def test_a_prompt_is_in_what_compare_prints_and_on_its_page(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path, scored: str
) -> None:
    other = str(tiny_model(tmp_path / "other", seed=1))
    words = ("compare", str(folder), other, "--data", scored, "--quiet", "--out", "page.html", "--force")
    status, out, err = run(capsys, *words)
    assert status == 0, err
    assert "prompt" not in out + (tmp_path / "page.html").read_text(encoding="utf-8")
    _, out, _ = run(capsys, *words, "--prompt", "<query>: ")
    assert out.splitlines()[-1] == "prompt '<query>: ' before each sentence: tiny, other"
    page = (tmp_path / "page.html").read_text(encoding="utf-8").replace("<wbr>", "")
    for name in ("tiny", "other"):
        assert f"{name}, prompt &#39;&lt;query&gt;: &#39;" in page
    assert "<query>" not in page and "no prompt" not in page
    _, out, _ = run(capsys, *words, "--json", "--prompt", "<query>: ")
    found = json.loads(out)
    assert (found["first_prompt"], found["against"][0]["prompt"]) == ("<query>: ", "<query>: ")


def test_a_prompt_and_the_rows_that_a_sparse_encoder_takes_are_in_what_diagnose_prints(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path, scored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hf_simtune.diagnosing.MOST_SPARSE", 4)
    words = ("diagnose", str(folder), str(tiny_splade(tmp_path / "splade")), "--data", scored, "--quiet")
    status, out, err = run(capsys, *words, "--prompt", "query: ")
    assert status == 0, err
    assert "'query: '" in out and "2 of 3 rows were drawn, the same for every model" in out
    assert "2 of 3 rows are drawn" in err
    _, out, _ = run(capsys, *words, "--prompt", "query: ", "--json")
    assert [(one["prompt"], one["rows"], one["sparse_limit"]) for one in json.loads(out)] == [("query: ", 2, 4)] * 2
    status, out, err = run(capsys, *words, "--max-rows", "3")
    assert (status, out) == (2, "")
    assert "6 sentences are too many for 1 sparse encoder " in err
