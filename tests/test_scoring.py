from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
import sample_record
from conftest import Write
from sentence_transformers import SentenceTransformer
from tiny import tiny_splade

from hf_simtune import compare, score, scores_file
from hf_simtune.errors import DataError, RequestError
from hf_simtune.scores_file import RowScores


def run_folder(folder: Path, *, fingerprint: str = "a" * 16, shift: float = 0.0, role: str = "report") -> str:
    """A run folder with nothing but its scores."""
    folder.mkdir()
    random = np.random.default_rng(0)
    gold = random.random(200)
    base = gold + random.normal(0, 0.5, 200)
    tuned = gold + random.normal(0, 0.2 + shift, 200)
    rows = np.arange(200, dtype=np.int64)
    part = RowScores("org/data:test", role, rows, rows, gold, base, tuned, fingerprint)
    scores_file.write(folder / "scores.parquet", [part])
    return str(folder)


def test_one_run_alone_is_its_base_against_its_tuned_model(tmp_path: Path) -> None:
    first, [(other, comparison)] = compare([run_folder(tmp_path / "a")])
    assert (first.model, other.model) == ("a (base)", "a (tuned)")
    assert comparison.verdict == "improved"
    assert comparison.difference == pytest.approx((other.score.spearman or 0) - (first.score.spearman or 0))


def test_a_run_alone_is_compared_with_the_seed_of_its_record_unless_another_is_named(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "a")
    seeds = [compare([folder], **named)[1][0][1].seed for named in ({}, {"seed": 7})]
    assert seeds == [0, 7]
    record = sample_record.improved()
    assert record.report.comparison
    comparison = dataclasses.replace(record.report.comparison, seed=42)
    report = dataclasses.replace(record.report, comparison=comparison)
    dataclasses.replace(record, evaluations=(report, *record.evaluations[1:])).save(tmp_path / "a" / "record.json")
    seeds = [compare([folder], **named)[1][0][1].seed for named in ({}, {"seed": 7})]
    assert seeds == [42, 7]


def test_two_runs_are_paired_by_their_tuned_models_without_running_them(tmp_path: Path) -> None:
    a, b = run_folder(tmp_path / "a"), run_folder(tmp_path / "b", shift=0.4)
    first, [(other, comparison)] = compare([a, f"{b}/scores.parquet"])
    assert (first.model, other.model) == ("a (tuned)", "b (tuned)")
    assert comparison.verdict == "regressed"


def test_files_of_other_rows_are_refused_even_with_the_same_numbers_and_scores(tmp_path: Path) -> None:
    a, b = run_folder(tmp_path / "a"), run_folder(tmp_path / "b", fingerprint="b" * 16)
    with pytest.raises(RequestError, match="not the same rows"):
        compare([a, b])


@pytest.mark.parametrize(
    ("names", "data", "told"),
    [
        (["a", "b"], "x.csv", "has no use"),
        (["a", "some/model"], None, "name them"),
        (["some/model"], "x.csv", "name two or more"),
        ([], None, "0 model"),
    ],
)
def test_requests_that_compare_nothing_are_refused(
    tmp_path: Path, names: list[str], data: str | None, told: str
) -> None:
    folders = {name: run_folder(tmp_path / name) for name in ("a", "b")}
    with pytest.raises(RequestError, match=told):
        compare([folders.get(name, name) for name in names], data)


def test_a_file_without_report_rows_or_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no rows with the role 'report'"):
        compare([run_folder(tmp_path / "a", role="select")])
    with pytest.raises(DataError, match="no scores file"):
        compare([str(tmp_path / "nothing.parquet")])


ROWS = [("a goal in the last minute", "the match was cold"), ("rain at night", "a long road"), ("we eat late", "no")]
SCORED = "sentence1,sentence2,score\n" + "".join(f"{a},{b},{n / 2}\n" for n, (a, b) in enumerate(ROWS))


def with_prompts(model: Path, folder: Path, prompts: dict[str, str], default: str | None) -> str:
    made = SentenceTransformer(str(model), device="cpu")
    made.prompts, made.default_prompt_name = dict(prompts), default
    made.save(str(folder))
    return str(folder)


def by_hand(model: Path, prompt: str) -> list[float]:
    encoder = SentenceTransformer(str(model), device="cpu")
    left, right = (encoder.encode([prompt + pair[side] for pair in ROWS]) for side in (0, 1))
    return [float(value) for value in (left * right).sum(axis=1)]


def test_a_prompt_stands_before_each_sentence_and_is_in_the_score(folder: Path, tmp_path: Path, write: Write) -> None:
    data = write("scored.csv", SCORED)
    own = with_prompts(folder, tmp_path / "own", {"kitchen": "late in the kitchen "}, "kitchen")
    for model, given, there in (
        (str(folder), None, ""),
        (str(folder), "what is it ", "what is it "),
        (own, None, "late in the kitchen "),
        (own, "what is it ", "what is it "),
        (own, "", ""),
    ):
        found = score(model, data, prompt=given)
        assert found.prompt == there
        assert found.similarities.tolist() == pytest.approx(by_hand(folder, there), abs=1e-6)
    assert abs(np.subtract(by_hand(folder, ""), by_hand(folder, "what is it "))).min() > 1e-4
    splade = str(tiny_splade(tmp_path / "splade"))
    assert score(splade, data).similarities.tolist() != score(splade, data, prompt="what is it ").similarities.tolist()


def test_a_prompt_stands_before_the_sentences_of_every_model_that_is_compared(
    folder: Path, tmp_path: Path, write: Write
) -> None:
    data = write("scored.csv", SCORED)
    own = with_prompts(folder, tmp_path / "own", {"kitchen": "late in the kitchen "}, "kitchen")
    first, [(second, _)] = compare([str(folder), own], data, prompt="what is it ")
    assert (first.prompt, second.prompt) == ("what is it ", "what is it ")
    assert first.similarities.tolist() == second.similarities.tolist()
    first, [(second, _)] = compare([str(folder), own], data)
    assert (first.prompt, second.prompt) == ("", "late in the kitchen ")
    assert compare([run_folder(tmp_path / "run")])[0].prompt is None


@pytest.mark.parametrize("prompt", ["query: ", ""])
def test_a_prompt_for_recorded_similarities_is_refused_with_everything_else(tmp_path: Path, prompt: str) -> None:
    a, b = run_folder(tmp_path / "a"), run_folder(tmp_path / "b")
    for names in ([a], [a, b], [f"{a}/scores.parquet", b]):
        with pytest.raises(RequestError, match=f"--prompt {prompt!r} has no use: .* nothing is encoded") as told:
            compare(names, prompt=prompt)
        assert len(told.value.problems) == 1
    with pytest.raises(RequestError) as told:
        compare([a, b], "x.csv", prompt=prompt)
    assert [problem.split(" has no use")[0] for problem in told.value.problems] == [
        "--data x.csv",
        f"--prompt {prompt!r}",
    ]


def test_unused_prompts_of_a_scored_model_are_warned_of(
    folder: Path, tmp_path: Path, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    data, prompts = write("scored.csv", SCORED), {"query": "query: ", "passage": "passage: ", "document": ""}
    silent = with_prompts(folder, tmp_path / "silent", prompts, None)
    score(silent, data)
    said = (
        "silent has prompts (query, passage) and no default: its sentences are encoded without one; --prompt sets one"
    )
    assert [r.levelno for r in caplog.records if r.getMessage() == said] == [logging.WARNING]
    caplog.clear()
    score(silent, data, prompt="")
    score(silent, data, prompt="query: ")
    compare([str(folder), with_prompts(folder, tmp_path / "chosen", prompts, "query")], data)
    assert "has prompts" not in caplog.text
