from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import CHECKOUT
from tiny import tiny_model

from hf_simtune.bench import commands, gemm, page, step, text
from hf_simtune.bench.answer import AnswerBench, Outcome, gap, splits
from hf_simtune.bench.process import Worker
from hf_simtune.bench.step import Ratio, Side, StepBench
from hf_simtune.bench.worker import Counter
from hf_simtune.errors import RequestError, RunError
from hf_simtune.record import Machine, Source

MACHINE = Machine(processor="P", cores=2, memory_gb=8.0, accelerator=None, system="Linux x86_64", versions={})


def side(name: str, seconds: tuple[float, ...], forward: str, computed: float) -> Side:
    return Side(
        name=name,
        precision="fp32",
        forward=forward,
        seconds=seconds,
        tokens=100.0,
        computed=computed,
        peak_mib=1000.0,
        resident_mib=(900.0,) * len(seconds),
        gemm_share=0.5,
    )


@pytest.fixture
def sample() -> StepBench:
    sides = (side("plain fp32", (2.0, 4.0, 6.0), "plain", 400.0), side("ours fp32", (1.0, 1.0, 2.0), "packed", 100.0))
    return StepBench(
        created="2026-11-20T12:00:00+00:00",
        commit="c" * 40,
        command="hf-simtune bench step --data rows.csv",
        machine=MACHINE,
        threads=2,
        load_before=0.1,
        model="m",
        data=Source(name="rows.csv", kind="file", shape="pairs"),
        loss="mnrl",
        batch_size=64,
        max_length=256,
        steps=4,
        rounds=3,
        gemm={"fp32": 200.0},
        sides=sides,
        ratios=(Ratio(side="ours fp32", against="plain fp32", median=3.0, low=2.0, high=4.0),),
        profiled="ours fp32",
        shares={"matrix products": 0.6, "other": 0.4},
    )


def test_figures_follow_from_the_rounds(sample: StepBench) -> None:
    plain, ours = sample.sides
    assert plain.steps_per_second == pytest.approx(0.25) and plain.tokens_per_second == pytest.approx(25.0)
    assert plain.padding == pytest.approx(0.75) and ours.padding == 0.0
    assert step._ratio(ours, plain) == Ratio(side="ours fp32", against="plain fp32", median=3.0, low=2.0, high=4.0)


def test_a_benchmark_is_the_same_after_a_file(sample: StepBench, tmp_path: Path) -> None:
    commands.save(sample, tmp_path / "made" / "step.json")
    assert page.read(tmp_path / "made" / "step.json", StepBench) == sample
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["step.json"]
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RunError, match=r"other\.json is no StepBench"):
        page.read(tmp_path / "other.json", StepBench)


def test_the_tables_show_each_side_and_the_range_of_its_ratio(sample: StepBench, tmp_path: Path) -> None:
    first, second = text.lines(sample)
    assert first == ("plain", "fp32", "plain", "4,000", "25", "75 %", "1,000", "50 %", "", "")
    assert second[-2:] == ("3.00 (2.00 to 4.00)", "") and second[2] == "packed"
    commands.save(sample, tmp_path / "step-a.json")
    commands.save(sample, tmp_path / "growth-a.json")
    commands.save(sample, tmp_path / "long.json")
    table = page.readme(tmp_path)
    assert "| 4,000 ms | 1,000 ms | 3.00 (2.00 to 4.00) |  | 1,000 to 1,000 MiB | 75 to 0 % |" in table
    shown = page.page(tmp_path)
    assert shown.count(sample.command) == 3 and "matrix products 60 %, other 40 %" in shown
    for line in shown.splitlines():
        if line.startswith("|---"):
            assert line.count("|") == shown.splitlines()[shown.splitlines().index(line) - 1].count("|")


def test_a_step_benchmark_without_a_plain_side_is_no_comparison(sample: StepBench, tmp_path: Path) -> None:
    commands.save(dataclasses.replace(sample, sides=sample.sides[1:], ratios=()), tmp_path / "step-a.json")
    with pytest.raises(RunError, match="compares nothing with a plain script"):
        page.readme(tmp_path)


def outcome(seed: int, losses: tuple[float | None, ...], forward: str = "plain") -> Outcome:
    return Outcome(
        precision="fp32", forward=forward, seed=seed, losses=losses, select=(0.5,), report=0.5 + seed / 100, seconds=1.0
    )


def test_the_gap_of_two_ways_is_that_of_their_mean_curves() -> None:
    first = [outcome(0, (1.0, 0.5)), outcome(1, (2.0, 0.7))]
    other = [outcome(0, (1.5, 0.6), "packed"), outcome(1, (1.7, 0.8), "packed")]
    assert gap(first, other) == pytest.approx(0.1)
    assert gap(first, first) == 0.0
    with pytest.raises(ValueError, match="missing"):
        gap(first, [outcome(0, (None, 0.5)), outcome(1, (1.0, 1.0))])


def test_ways_that_differ_are_among_the_farthest_partings_and_ways_that_do_not_are_anywhere() -> None:
    low = [outcome(seed, (1.0 + seed / 100,)) for seed in range(3)]
    high = [outcome(seed, (2.0 + seed / 100,), "packed") for seed in range(3)]
    assert splits(low, high) == (2, 20)  # itself, and itself with the sides exchanged
    assert splits(low, low) == (20, 20)


def test_the_answers_table_has_a_line_for_each_way() -> None:
    runs = (outcome(0, (1.0,)), outcome(2, (2.0,)), outcome(0, (1.1,), "packed"), outcome(2, (2.1,), "packed"))
    found = AnswerBench(
        created="",
        commit=None,
        command="c",
        machine=MACHINE,
        model="m",
        train="t",
        rows=10,
        steps=2,
        report="r",
        base=0.4,
        outcomes=runs,
    )
    plain, packed = text.answer_lines(found)
    assert plain[:6] == ("fp32", "plain", "2", "51.00 (50.00 to 52.00)", "", "")
    assert packed[1] == "packed" and packed[4:6] == ("0.1000", "4 of 6")
    assert "10 rows of t, 2 steps, 2 seeds each" in text.answer_facts(found)


def test_only_matrices_that_every_token_meets_are_counted(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_model(tmp_path / "tiny")), device="cpu")
    # Two layers of width 32: query, key, value and output, and 32 x 64 up and down.
    assert sorted(gemm.shapes(model)) == sorted([(32, 32)] * 8 + [(64, 32), (32, 64)] * 2)
    assert gemm.rate(gemm.shapes(model), 8, torch.float32) > 0


def test_tokens_are_counted_where_they_are_given_and_places_where_they_are_computed() -> None:
    counter = Counter()
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    counter.given(torch.nn.Identity(), ([{"attention_mask": mask}, {"attention_mask": mask[:, :2]}], None))
    counter.passed(torch.nn.Identity(), ({"input_ids": torch.zeros(2, 3)},))
    counter.passed(torch.nn.Identity(), ({"inputs_embeds": torch.zeros(2, 2, 7)},))
    assert (counter.real, counter.computed) == (6, 10)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rounds": 1}, "--rounds is 1: it must be 2 or more"),
        ({"steps": 0}, "--steps is 0"),
        ({"batch_size": 1}, "--batch-size is 1"),
        ({"batch_size": 100_000}, "a step takes 100000"),
        ({"sides": ("plain fp32", "plain fp32")}, "--sides names one twice"),
        ({"loss": "cosent"}, "scored"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_starts(change: dict[str, object], told: str) -> None:
    with pytest.raises(RequestError, match=told):
        step.measure("builtin:sports/pairs:validation", **change)  # type: ignore[arg-type]


@pytest.mark.slow
def test_both_sides_train_the_same_batches(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "models" / "tiny")
    rows = tmp_path / "pairs.csv"
    long = "and the players walked over the grass of the old ground "
    lines = [f"goal number {i},the {i} goal {long * (i % 4)}" for i in range(96)]
    rows.write_text("anchor,positive\n" + "\n".join(lines) + "\n", encoding="utf-8")
    out = tmp_path / "bench.json"
    words = ["bench", "--data", str(rows), "--model", str(model), "--batch-size", "8", "--steps", "2", "--rounds", "2"]
    words += ["--sides", "plain-fp32", "ours-fp32", "--out", str(out), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "hf_simtune", *words], capture_output=True, text=True, cwd=CHECKOUT, timeout=300
    )
    assert done.returncode == 0, done.stderr
    found = page.read(out, StepBench)
    assert json.loads(done.stdout) == json.loads(out.read_text(encoding="utf-8"))
    plain, ours = found.sides
    assert (plain.forward, ours.forward) == ("plain", "packed")
    assert plain.tokens == ours.tokens <= ours.computed <= ours.tokens * 33 / 32 < plain.computed
    assert len(plain.seconds) == len(ours.seconds) == found.rounds == 2
    assert found.ratios[0].low <= found.ratios[0].median <= found.ratios[0].high
    assert sum(found.shares.values()) == pytest.approx(1, abs=0.01) and "matrix products" in found.shares
    assert found.command.startswith("hf-simtune bench step --data pairs.csv --model tiny --batch-size 8")
    assert str(tmp_path) not in out.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_side_that_dies_is_told_with_its_last_words(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "tiny")
    (model / "model.safetensors").unlink()
    job = step._job("ours fp32", "fp32", "packed", {
        "model": str(model), "max_length": None, "rows": str(tmp_path), "loss": "mnrl", "temperature": 0.05,
        "batch_size": 8, "learning_rate": 1e-5, "seed": 0, "steps": 1, "rounds": 2, "threads": 1,
    })  # fmt: skip
    worker = Worker("ours fp32", job, tmp_path)
    try:
        with pytest.raises(RunError, match=r"'ours fp32' ended early; its last words: .*model.safetensors"):
            worker.hear()
    finally:
        worker.end()
    assert worker.process.poll() is not None
