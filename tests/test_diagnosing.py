from __future__ import annotations

import json
import logging
import os
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import forked
import numpy as np
import pytest
from conftest import CHECKOUT, Write
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from tiny import tiny_model, tiny_splade

from hf_simtune import diagnose, diagnosing, diagnosis_page, plots, terminal
from hf_simtune.errors import DataError, HubError, RequestError, RunError
from hf_simtune.evaluation import geometry
from hf_simtune.evaluation.sts import Model

SENTENCES = ["a goal in the last minute", "the match was cold", "rain at night", "a long road", "we eat late", "no"]
PAIRS = "anchor\tpositive\n" + "".join(f"{a}\t{b}\n" for a, b in zip(SENTENCES[:3], SENTENCES[2:5], strict=True))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    return [str(tiny_model(folder / name / "tiny", seed=seed)) for seed, name in enumerate("ab")]


def test_several_models_are_measured_on_the_same_distinct_sentences(models: list[str], write: Write) -> None:
    data = write("lines.txt", "\n".join([*SENTENCES, SENTENCES[0], ""]))
    found = diagnose(models, data)
    assert [diagnosis.model for diagnosis in found] == ["tiny", "tiny (2)"]
    for name, diagnosis in zip(models, found, strict=True):
        assert diagnosis.geometry == geometry.measure(SentenceTransformer(name, device="cpu").encode(SENTENCES))
        assert (diagnosis.rows, diagnosis.rows_in_data, diagnosis.geometry.n) == (7, 7, 6)
        assert (diagnosis.alignment, diagnosis.positives, diagnosis.prompt) == (None, 0, "")
    assert found[0].geometry != found[1].geometry
    assert found[0].fingerprint == found[1].fingerprint


@pytest.mark.parametrize(
    ("name", "content", "positives", "texts"),
    [
        ("pairs.tsv", PAIRS, [(0, 2), (1, 3), (2, 4)], [0, 1, 2, 3, 4]),
        (
            "triplets.csv",
            "anchor,positive,negative\n" + ",".join(SENTENCES[:3]) + "\n" + ",".join(SENTENCES[3:]) + "\n",
            [(0, 1), (3, 4)],
            [0, 1, 2, 3, 4, 5],
        ),
        (
            "scored.csv",
            "sentence1,sentence2,score\n"
            + "".join(
                f"{SENTENCES[a]},{SENTENCES[b]},{score}\n" for a, b, score in ((0, 1, 0.81), (2, 3, 0.8), (4, 5, 0))
            ),
            [(0, 1)],
            [0, 1, 2, 3, 4, 5],
        ),
    ],
)
def test_positive_pairs_are_aligned_and_all_texts_measured(
    models: list[str], write: Write, name: str, content: str, positives: list[tuple[int, int]], texts: list[int]
) -> None:
    (found,) = diagnose(models[:1], write(name, content))
    vectors = SentenceTransformer(models[0], device="cpu").encode(SENTENCES).astype(np.float64)
    assert found.positives == len(positives)
    assert found.alignment == pytest.approx(
        np.mean([np.sum((vectors[a] - vectors[b]) ** 2) for a, b in positives]), abs=1e-6
    )
    assert found.geometry.n == len(texts)
    assert found.geometry.mean == pytest.approx(geometry.measure(vectors[texts]).mean, abs=1e-6)


def test_the_default_prompt_of_a_model_is_put_before_each_sentence_and_told(
    models: list[str], tmp_path: Path, write: Write
) -> None:
    model = SentenceTransformer(models[0], device="cpu")
    model.prompts = {"query": "what is the score of ", "kitchen": "late in the kitchen "}
    model.default_prompt_name = "kitchen"
    model.save(str(tmp_path / "prompted"))
    data = write("lines.txt", "\n".join(SENTENCES))
    plain, prompted = diagnose([models[0], str(tmp_path / "prompted")], data)
    assert (plain.prompt, prompted.prompt) == ("", "late in the kitchen ")
    by_hand = SentenceTransformer(models[0], device="cpu").encode([f"late in the kitchen {s}" for s in SENTENCES])
    assert prompted.geometry.mean == pytest.approx(geometry.measure(by_hand).mean, abs=1e-6)
    assert abs(prompted.geometry.mean - plain.geometry.mean) > 1e-3


def test_more_rows_than_wanted_are_drawn_by_the_seed_and_told(models: list[str], write: Write) -> None:
    data = write("lines.txt", "\n".join(f"score {number} of the game" for number in range(50)))
    once, again, other = (diagnose(models[:1], data, max_rows=10, seed=seed)[0] for seed in (1, 1, 2))
    assert once == again
    assert (once.rows, once.rows_in_data, once.geometry.n) == (10, 50, 10)
    assert once.fingerprint != other.fingerprint
    assert "10 of 50 rows" in diagnosis_page.heading([once])
    assert any("10 of 50 rows were drawn" in note for note in diagnosis_page.notes([once]))
    assert diagnose(models[:1], data, max_rows=None)[0].rows == 50


def test_nothing_is_loaded_for_a_wrong_request(models: list[str], tmp_path: Path, write: Write) -> None:
    (tmp_path / "run").mkdir()
    wrong = ["builtin:other", "./nowhere", str(tmp_path / "run"), models[0], models[0], "a/b/c"]
    with pytest.raises(RequestError) as told:
        diagnose(wrong, "no/where.csv", max_rows=1)
    assert len(told.value.problems) == 6
    for part in (
        "builtin:other: there is no such built-in",
        "./nowhere: ",
        "run/model",
        "given 2 times",
        "a/b/c: ",
        "--max-rows is 1",
    ):
        assert part in str(told.value)
    with pytest.raises(RequestError, match="no model is named"):
        diagnose([], "x.txt")
    with pytest.raises(DataError, match="1 distinct sentence"):
        diagnose(models, write("one.txt", "again and again\nagain and again\n"))


def test_vectors_without_a_direction_fail_the_run_by_the_models_name(
    models: list[str], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosing, "_encode", lambda model, sentences, progress: np.zeros((len(sentences), 4)))
    with pytest.raises(RunError, match=r"tiny on .*: 6 of 6 vectors are zero"):
        diagnose(models, write("lines.txt", "\n".join(SENTENCES)))


def test_the_table_names_every_figure_of_every_model(
    models: list[str], write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    found = diagnose(models, write("pairs.tsv", PAIRS))
    terminal.show_diagnoses(found)
    out = capsys.readouterr().out
    rows = diagnosis_page.rows(found)
    assert len(rows) == 10
    for row in rows:
        assert row.label in out and len(row.values) == 2
        assert all(value in out for value in row.values)
    assert f"{found[1].geometry.uniformity:.3f}" in out
    assert f"{found[1].geometry.effective_rank:.1f} of 5" in out
    assert f"{found[0].alignment:.3f}" in out
    assert "nan" not in out


def test_the_picture_and_the_page_stand_alone(models: list[str], write: Write, tmp_path: Path) -> None:
    found = diagnose(models, write("pairs.tsv", PAIRS))
    evil = [diagnosis.__class__(**{**vars(diagnosis), "model": "<b>&a" * 40}) for diagnosis in found]
    diagnosis_page.write(found, str(tmp_path / "a.svg"))
    diagnosis_page.write(evil, str(tmp_path / "b.svg"))
    diagnosis_page.write(evil, str(tmp_path / "c.html"))
    for name in ("a.svg", "b.svg", "c.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "<b>" not in text
        for outside in ("http", "url(", "@import", "<script", "<link", "src="):
            assert outside not in text.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
        if name.endswith(".svg"):
            ElementTree.fromstring(text)
    drawn = ElementTree.fromstring((tmp_path / "a.svg").read_text(encoding="utf-8"))
    lines = [path.get("d", "") for path in drawn.iter() if "series s" in path.get("class", "")]
    assert len(lines) == 4 and len(set(lines)) == 4  # an outline and a sign in the key for each of two
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert all(
        row.label in page and row.values[0].replace("-", "\N{MINUS SIGN}") in page for row in diagnosis_page.rows(found)
    )


def test_an_outline_holds_the_shares_of_its_bins() -> None:
    drawn = plots.outlines("x", [("one", [0, 3, 1, 0]), ("two", [0, 0, 4, 0])], -1, 1, "x", "% of pairs", about="")
    up = plots.Axis.over([0, 75.0, 100.0])
    assert "% of pairs in each 0.5" in drawn
    for share in (75.0, 25.0, 100.0):
        assert f"V{up.place(share, plots.HEIGHT - plots.BOTTOM, plots.TOP):.1f}H" in drawn


def test_a_collapsed_model_is_drawn_and_told_without_nan(models: list[str], write: Write, tmp_path: Path) -> None:
    (found,) = diagnose(models[:1], write("lines.txt", "\n".join(SENTENCES)))
    one_point = diagnosing.Diagnosis(**{**vars(found), "geometry": geometry.measure(np.ones((9, 4)))})
    diagnosis_page.write([found, one_point], str(tmp_path / "x.html"))
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "100.0 % from 0.80" in page
    assert "nan" not in page


@pytest.mark.slow
def test_the_command_prints_json_and_writes_a_picture(models: list[str], write: Write, tmp_path: Path) -> None:
    data, out = write("lines.txt", "\n".join(SENTENCES)), tmp_path / "picture.svg"
    words = [sys.executable, "-m", "hf_simtune", "diagnose", *models, "--data", data, "--json", "--out", str(out)]
    done = forked.run(words, env=os.environ, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [one["geometry"]["pairs"] for one in found] == [15, 15]
    assert sum(found[0]["geometry"]["histogram"]) == 15
    assert found[0]["geometry"]["anisotropy"] == found[0]["geometry"]["mean"] != found[1]["geometry"]["mean"]
    assert str(tmp_path) not in done.stdout
    assert out.read_text(encoding="utf-8").startswith("<svg")


def test_both_built_in_models_have_names_that_may_be_diagnosed() -> None:
    assert diagnosing._problems(["builtin:splade-MiniLM-L6", "builtin:all-MiniLM-L6-v2", "org/a"], None) == []


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("sparse")
    return [str(tiny_splade(folder / name, seed=seed)) for seed, name in enumerate(("splade-a", "splade-b"))]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The sentences that each model encodes; a sparse one takes four."""
    seen: list[list[str]] = []
    encode = diagnosing._encode
    monkeypatch.setattr(diagnosing, "MOST_SPARSE", 4)

    def kept(model: Model, texts: list[str], progress: bool) -> NDArray[np.float32]:
        seen.append(texts)
        return encode(model, texts, progress)

    monkeypatch.setattr(diagnosing, "_encode", kept)
    return seen


def test_too_many_sentences_for_sparse_encoders_are_refused_before_any_model_is_loaded(
    models: list[str], sparse: list[str], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosing, "MOST_SPARSE", 4)
    monkeypatch.setattr("hf_simtune.models.load", lambda *_, **__: pytest.fail("a model was loaded"))
    data = write("lines.txt", "\n".join(SENTENCES))
    for rows in (None, 5):
        with pytest.raises(RequestError) as told:
            diagnose([models[0], sparse[0], "builtin:splade-MiniLM-L6", sparse[1]], data, max_rows=rows)
        assert f"{rows or 6} sentences are too many for 3 sparse encoders" in str(told.value)
        assert f"({sparse[0]}, builtin:splade-MiniLM-L6, {sparse[1]})" in str(told.value)
        assert "Leave --max-rows out" in str(told.value) and "--max-rows 4" in str(told.value)


def test_without_a_wish_every_model_has_the_rows_that_a_sparse_encoder_takes(
    models: list[str], sparse: list[str], write: Write, encoded: list[list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    repeated = [SENTENCES[0]] * 6 + SENTENCES
    data = write("lines.txt", "\n".join(repeated))
    found = diagnose([models[0], sparse[0]], data, seed=3)
    order = [repeated[index] for index in np.random.default_rng(3).permutation(len(repeated))]
    fits = next(n for n in range(1, len(order)) if len(set(order[: n + 1])) > 4)
    assert encoded == [list(dict.fromkeys(order[:fits]))] * 2 and len(encoded[0]) == 4
    for diagnosis in found:
        assert (diagnosis.rows, diagnosis.rows_in_data, diagnosis.geometry.n) == (fits, 12, 4)
        assert diagnosis.sparse_limit == 4
    assert found[0].fingerprint == found[1].fingerprint
    said = f"{sparse[0]}: a sparse encoder takes 4 sentences, its vectors being as wide as its vocabulary; {fits} of 12"
    assert [record.levelno for record in caplog.records if said in record.getMessage()] == [logging.WARNING]
    (note,) = (note for note in diagnosis_page.notes(found) if "rows were drawn" in note)
    assert f"{fits} of 12 rows were drawn, the same for every model: a sparse encoder is among them" in note
    assert "takes 4 distinct sentences" in note and "--max-rows" not in note
    assert [one["sparse_limit"] for one in diagnosis_page.facts(found)] == [4, 4]


def test_rows_are_left_out_for_a_sparse_encoder_only_where_they_are_too_many(
    models: list[str], sparse: list[str], write: Write, encoded: list[list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    pairs = write("pairs.tsv", PAIRS.replace(SENTENCES[4], SENTENCES[0]))  # 4 sentences
    for diagnosis in diagnose([models[0], sparse[0]], pairs):
        assert (diagnosis.rows, diagnosis.geometry.n, diagnosis.sparse_limit) == (3, 4, None)
    assert diagnose(models, write("lines.txt", "\n".join(SENTENCES)))[0].geometry.n == 6
    assert [len(texts) for texts in encoded] == [4, 4, 6, 6]
    assert "sparse" not in caplog.text


def test_models_that_cannot_be_diagnosed_are_told_together_before_the_data_and_the_first_load(
    models: list[str], sparse: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hf_simtune.models.load", lambda *_, **__: pytest.fail("a model was loaded"))
    wrong = []
    for name, content in (("cross", {"model_type": "CrossEncoder"}), ("unmarked", {})):
        folder = tmp_path / name
        folder.mkdir()
        wrong.append(str(folder))
        (folder / "config_sentence_transformers.json").write_text(json.dumps(content), encoding="utf-8")
        (folder / "modules.json").write_bytes((Path(sparse[0]) / "modules.json").read_bytes())
    with pytest.raises(RequestError) as told:
        diagnose([models[0], *wrong, "org/nowhere"], "no/where.csv")
    assert len(told.value.problems) == 3
    for part in ("cross is a CrossEncoder", "unmarked has the modules of a sparse encoder", "the model 'org/nowhere'"):
        assert part in str(told.value)
    with pytest.raises(HubError, match="'org/nowhere'"):
        diagnose([models[0], "org/nowhere"], "no/where.csv")


def with_prompts(model: str, folder: Path, prompts: dict[str, str], default: str | None) -> str:
    made = SentenceTransformer(model, device="cpu")
    made.prompts, made.default_prompt_name = dict(prompts), default
    made.save(str(folder))
    return str(folder)


def test_a_prompt_is_put_before_each_sentence_of_every_model_and_told(
    models: list[str], sparse: list[str], tmp_path: Path, write: Write
) -> None:
    data = write("lines.txt", "\n".join(SENTENCES))
    own = with_prompts(models[1], tmp_path / "own", {"kitchen": "late in the kitchen "}, "kitchen")
    found = diagnose([models[0], own, sparse[0]], data, prompt="what <is> it ")
    assert [(one.prompt, one.prompt_given) for one in found] == [("what <is> it ", True)] * 3
    for name, diagnosis in zip(models, found, strict=False):
        by_hand = SentenceTransformer(name, device="cpu").encode([f"what <is> it {text}" for text in SENTENCES])
        assert diagnosis.geometry.mean == pytest.approx(geometry.measure(by_hand).mean, abs=1e-6)
    assert abs(found[2].geometry.mean - diagnose(sparse[:1], data)[0].geometry.mean) > 1e-3
    assert [one["prompt"] for one in diagnosis_page.facts(found)] == ["what <is> it "] * 3
    assert diagnosis_page.rows(found)[-1] == diagnosis_page.Row(
        "prompt", ("'what <is> it '",) * 3, "Put before each sentence, by --prompt."
    )
    for name in ("a.svg", "a.html"):
        diagnosis_page.write(found, str(tmp_path / name))
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "cosine similarity, prompt &#39;what &lt;is&gt; it &#39;" in text and "<is>" not in text


def test_no_prompt_takes_a_default_one_away_and_is_told(models: list[str], tmp_path: Path, write: Write) -> None:
    own = with_prompts(models[0], tmp_path / "own", {"kitchen": "late in the kitchen "}, "kitchen")
    data = write("lines.txt", "\n".join(SENTENCES))
    (plain,), (without,) = diagnose(models[:1], data), diagnose([own], data, prompt="")
    assert without.geometry == plain.geometry
    assert (without.prompt, without.prompt_given, plain.prompt_given) == ("", True, False)
    assert [row.values for row in diagnosis_page.rows([without]) if row.label == "prompt"] == [("none",)]
    assert not [row for row in diagnosis_page.rows([plain]) if row.label == "prompt"]


def test_prompts_that_a_model_brings_along_and_does_not_use_are_warned_of(
    models: list[str], tmp_path: Path, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    prompts = {"query": "query: ", "passage": "passage: ", "document": ""}
    data = write("lines.txt", "\n".join(SENTENCES))
    silent = with_prompts(models[0], tmp_path / "silent", prompts, None)
    said = (
        "silent has prompts (query, passage) and no default: its sentences are encoded without one; --prompt sets one"
    )
    diagnose([silent], data)
    assert [r.levelno for r in caplog.records if r.getMessage() == said] == [logging.WARNING]
    caplog.clear()
    diagnose([silent], data, prompt="")
    diagnose([silent], data, prompt="query: ")
    diagnose([models[0], with_prompts(models[0], tmp_path / "chosen", prompts, "query")], data)
    assert "has prompts" not in caplog.text
