"""What ``hf-simtune bench`` makes of its words; nothing is measured here."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hf_simtune.bench.answer import AnswerBench, Outcome
from hf_simtune.bench.data import DataBench, Size
from hf_simtune.bench.step import Ratio, Side, StepBench
from hf_simtune.cli import main
from hf_simtune.errors import RequestError, RunError
from hf_simtune.recipe import Recipe
from hf_simtune.record import Machine, Source

MACHINE = Machine(processor="P", cores=2, memory_gb=8.0, accelerator=None, system="Linux x86_64", versions={})
ABOUT: dict[str, Any] = {"created": "2026-11-20T12:00:00+00:00", "commit": "c" * 40, "machine": MACHINE}
Calls = list[tuple[str, tuple[Any, ...], dict[str, Any]]]


def side(name: str, seconds: float) -> Side:
    return Side(
        name=name,
        precision="fp32",
        forward="plain",
        seconds=(seconds, seconds),
        tokens=50.0,
        computed=100.0,
        peak_mib=10.0,
        resident_mib=(9.0, 9.0),
        gemm_share=0.5,
    )


def step_bench(command: str) -> StepBench:
    return StepBench(
        **ABOUT,
        command=command,
        threads=2,
        load_before=0.1,
        model="m",
        data=Source(name="rows.csv", kind="file", shape="pairs"),
        loss="mnrl",
        batch_size=64,
        max_length=128,
        steps=4,
        rounds=2,
        gemm={"fp32": 200.0},
        sides=(side("plain fp32", 2.0), side("ours fp32", 1.0)),
        ratios=(Ratio(side="ours fp32", against="plain fp32", median=2.0, low=2.0, high=2.0),),
        profiled="ours fp32",
        shares={"matrix products": 1.0},
    )


def data_bench(command: str) -> DataBench:
    figures = {field.name: 1 for field in dataclasses.fields(Size)}
    size = Size(**{**figures, "rows": 12_345, "dropped": {"empty": 1}})  # type: ignore[arg-type]
    return DataBench(**ABOUT, command=command, load_before=0.1, seed=0, peak_from="here", sizes=(size,))


def answer_bench(command: str) -> AnswerBench:
    outcomes = tuple(
        Outcome(
            precision="fp32", forward=forward, seed=seed, losses=(1.0 + seed,), select=(0.5,), report=0.5, seconds=1.0
        )
        for seed in (0, 1)
        for forward in ("plain", "packed")
    )
    about = {"model": "m", "train": "t", "rows": 10, "steps": 2, "report": "r", "base": 0.4}
    return AnswerBench(**ABOUT, **about, command=command, outcomes=outcomes)


MADE: dict[str, Callable[[str], Any]] = {"step": step_bench, "data": data_bench, "answer": answer_bench}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    """What was to be measured; the working folder is an empty one."""
    found: Calls = []

    def stand_in(what: str) -> Callable[..., Any]:
        def measure(*given: Any, **options: Any) -> Any:
            found.append((what, given, options))
            return MADE[what](options["command"])

        return measure

    for what in MADE:
        monkeypatch.setattr(f"hf_simtune.bench.{what}.measure", stand_in(what))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return found


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(argv=["bench", *words])
    shown = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, shown.out, shown.err


@pytest.mark.parametrize(
    ("words", "what", "shown"),
    [([], "step", "ours"), (["step"], "step", "ours"), (["data"], "data", "12,345"), (["answer"], "answer", "packed")],
)
def test_each_benchmark_is_told_to_people_and_machines(
    words: list[str], what: str, shown: str, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, *words)
    assert status == 0 and shown in out and "\x1b" not in out
    status, out, err = run(capsys, *words, "--json")
    assert status == 0 and err == ""
    assert json.loads(out) == json.loads(json.dumps(dataclasses.asdict(MADE[what](f"hf-simtune bench {what}"))))
    assert [call[0] for call in calls] == [what, what]
    assert list(Path.cwd().iterdir()) == []


def test_the_values_given_are_the_values_measured(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    words = "step --data org/rows:train --columns a b --shape pairs --model org/m --loss mnrl --batch-size 8"
    words += " --max-length 16 --forward chunked --sides plain-fp32 ours-fp32 --steps 2 --rounds 3 --skip-bad-rows"
    assert run(capsys, *words.split(), "--score-range", "0", "5")[0] == 0
    assert run(capsys, "data", "--rows", "300", "400")[0] == 0
    words = "answer --data org/rows --columns a b --shape scored --model org/m --loss cosent --batch-size 8 --rows 50"
    words += " --seeds 3 4 --select-on org/select --report-on org/report --skip-bad-rows --score-range 0 5"
    assert run(capsys, *words.split())[0] == 0
    (_, given, step), (_, (sizes,), data), (_, (recipe,), answer) = calls
    del step["command"], data["command"], answer["command"]
    assert given == ("org/rows:train",)
    assert step == {
        "columns": ("a", "b"),
        "shape": "pairs",
        "score_range": (0.0, 5.0),
        "skip_bad_rows": True,
        "model": "org/m",
        "loss": "mnrl",
        "batch_size": 8,
        "max_length": 16,
        "forward": "chunked",
        "sides": ["plain fp32", "ours fp32"],
        "steps": 2,
        "rounds": 3,
    }
    assert list(sizes) == [300, 400] and data == {}
    assert isinstance(recipe, Recipe) and answer == {"seeds": [3, 4], "offline": False}
    assert (recipe.model, recipe.train_data, recipe.loss, recipe.batch_size) == ("org/m", "org/rows", "cosent", 8)
    assert (recipe.train_rows, recipe.select_on, recipe.report_on) == (50, "org/select", "org/report")
    assert (recipe.columns, recipe.shape, recipe.score_range) == (("a", "b"), "scored", (0.0, 5.0))
    assert recipe.skip_bad_rows


def test_an_answer_from_what_the_package_carries_needs_no_hub(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "answer")[0] == 0
    assert calls[0][2]["offline"] is True


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ("answer --steps 3 --max-length 8", ["--steps", "--max-length"]),
        ("answer --sides plain-fp32 --rounds 3 --forward packed", ["--sides", "--rounds", "--forward"]),
        ("data --data x --model y", ["--data", "--model"]),
        ("data --columns a --shape pairs --score-range 0 5 --skip-bad-rows", ["--columns", "--skip-bad-rows"]),
        ("data --loss mnrl --batch-size 8 --seeds 1 2", ["--loss", "--batch-size", "--seeds"]),
        ("step --rows 5", ["--rows"]),
        ("--rows 5 --seeds 3 4", ["--rows", "--seeds"]),
        ("step --select-on a --report-on b", ["--select-on", "--report-on"]),
        ("data --steps 4 --batch-size 64", ["--steps", "--batch-size"]),  # as large as when nothing is said
    ],
)
def test_flags_of_another_benchmark_are_refused_all_at_once(
    words: str, wrong: list[str], calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, *words.split())
    assert (status, out, calls) == (2, "", [])
    what = words.split()[0] if not words.startswith("-") else "step"
    assert all(f"{name} is no flag of 'bench {what}'" in err for name in wrong)
    assert "hf-simtune bench --help" in err


def test_an_answer_takes_one_number_of_rows(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "answer", "--rows", "1", "2", "--steps", "3")
    assert (status, out, calls) == (2, "", [])
    assert "--rows is 1 2" in err and "--steps is no flag" in err, "both are told at once"


@pytest.mark.parametrize("what", MADE)
def test_figures_are_kept_in_a_folder_that_is_made(what: str, calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, what, "--out", "new/er/bench.json", "--json")
    assert status == 0
    assert json.loads(Path("new/er/bench.json").read_text(encoding="utf-8")) == json.loads(out)
    assert "new/er/bench.json" in err
    assert [path.name for path in Path("new/er").iterdir()] == ["bench.json"]


def test_figures_that_are_there_are_written_over_only_when_told_to(
    calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path("bench.json")
    file.write_text("kept", encoding="utf-8")
    status, out, err = run(capsys, "--out", "bench.json")
    assert (status, out, calls) == (2, "", [])
    assert "--out bench.json" in err and "--force" in err
    assert file.read_text(encoding="utf-8") == "kept"
    assert run(capsys, "--out", "bench.json", "--force")[0] == 0
    assert json.loads(file.read_text(encoding="utf-8"))["loss"] == "mnrl"


@pytest.mark.parametrize("out", ["folder", "file/bench.json", "file/below/bench.json"])
def test_an_out_that_can_never_be_written_is_refused_before_anything_runs(
    out: str, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("folder").mkdir()
    Path("file").touch()
    status, shown, err = run(capsys, "data", "--out", out, "--force", "--steps", "3")
    assert (status, shown, calls) == (2, "", [])
    assert f"--out {out}" in err and "--steps is no flag" in err, "both are told at once"


def test_the_command_on_record_repeats_what_was_given_without_paths(
    calls: Calls, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "my model").mkdir()
    rows = tmp_path / "rows.csv"
    rows.write_text("anchor,positive\na,b\n", encoding="utf-8")
    words = ["--data", str(rows), "--columns", "anchor", "positive", "--shape", "pairs", "--skip-bad-rows"]
    words += ["--model", str(tmp_path / "my model"), "--loss", "mnrl", "--batch-size", "8"]
    options = ["--max-length", "16", "--forward", "chunked", "--sides", "plain-fp32", "ours-fp32", "--steps", "2"]
    assert run(capsys, "step", *words, *options, "--rounds", "3", "--out", str(tmp_path / "step.json"))[0] == 0
    assert run(capsys, "answer", *words, "--rows", "50", "--seeds", "3", "4", "--select-on", str(rows))[0] == 0
    assert run(capsys, "data", "--rows", "300", "400", "--quiet")[0] == 0
    commands = [call[2]["command"] for call in calls]
    assert not [command for command in commands if str(tmp_path) in command]
    told = [shlex.split(command) for command in commands]
    read = ["--data", "rows.csv", "--columns", "anchor", "positive", "--shape", "pairs", "--skip-bad-rows"]
    read += ["--model", "my model", "--loss", "mnrl", "--batch-size", "8"]
    assert told[0] == ["hf-simtune", "bench", "step", *read, *options, "--rounds", "3"]
    selected = ["--rows", "50", "--seeds", "3", "4", "--select-on", "rows.csv"]
    assert told[1] == ["hf-simtune", "bench", "answer", *read, *selected]
    assert told[2] == ["hf-simtune", "bench", "data", "--rows", "300", "400"]
    assert str(tmp_path) not in (tmp_path / "step.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (RunError("it ended early"), 1, "it ended early"),
        (RequestError("too few rows"), 2, "too few rows"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_a_benchmark_that_fails_says_so_and_writes_nothing(
    error: BaseException,
    status: int,
    told: str,
    calls: Calls,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*given: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr("hf_simtune.bench.data.measure", fails)
    found, out, err = run(capsys, "data", "--out", "bench.json")
    assert (found, out) == (status, "")
    assert told in err
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("words", [["nothing"], ["--stesp", "3"], ["--forward", "fast"], ["--steps", "x"]])
def test_words_that_are_none_exit_with_2(words: list[str], calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *words)
    assert (status, out, calls) == (2, "", []) and err
