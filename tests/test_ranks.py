"""Two processes that train one model: one score, one record, one card, and the gradients of one process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env
from conftest import CHECKOUT
from published import teachable
from safetensors.torch import load_file
from tiny import tiny_static

from hf_simtune import chatter, cli, losses, ranks
from hf_simtune.errors import RequestError
from hf_simtune.recipe import Recipe
from hf_simtune.record import RunRecord

CONFIGURATIONS = sorted((CHECKOUT / "recipes" / "accelerate").glob("*.yaml"))
RUN = {"two_cpu_processes", "one_process"}  # the others are parsed alone
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SCORED = ["--model", "tiny", "--select-on", "select.csv", "--report-on", "report.csv"]
SHORT = [*SCORED, "--epochs", "2", "--learning-rate", "0.03", "--evaluations", "2", "--precision", "fp32"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model and rows that it can learn from."""
    folder = tmp_path_factory.mktemp("place")
    teachable(tiny_static(folder / "tiny"), folder)
    return folder


def started(place: Path, launch: list[str] | int, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Started by a launcher, or so many processes as torchrun would."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT), "ACCELERATE_USE_CPU": "1"} | more
    if isinstance(launch, int):
        return forked.run([sys.executable, *words], env=environment, cwd=place, processes=launch)
    return forked.run([*launch, *words], env=environment, cwd=place)


def tuned(place: Path, out: str, launch: list[str] | int, *words: str) -> Path:
    """The folder of the one run that a command leaves."""
    done = started(place, launch, "-m", "hf_simtune", "tune", *words, "--out", out)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("run folder") == 1, "each process told the result"
    (run,) = (place / out).iterdir()
    return run


def record_of(run: Path) -> RunRecord:
    return RunRecord.load(run / "record.json")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_train_as_one_with_the_whole_batch_and_score_once(place: Path) -> None:
    two = tuned(place, "two", LAUNCH, "pairs.csv", *SHORT, "--batch-size", "8")
    one = tuned(place, "one", 1, "pairs.csv", *SHORT, "--batch-size", "16")
    record = record_of(two)
    assert (record.training.processes, record_of(one).training.processes) == (2, 1)
    assert "negatives from all 2 processes, 16 rows a step" in record.training.across
    assert "gradients are not accumulated, which would add no negatives" in record.training.across
    assert record.training.across.endswith("that do not fill a batch of every process are left out")
    assert record.training.across in (two / "README.md").read_text(encoding="utf-8")
    assert "8 \N{MULTIPLICATION SIGN} 2 processes" in (two / "README.md").read_text(encoding="utf-8")
    assert record.training.steps == record_of(one).training.steps == 2 * 640 // 16
    lines = [json.loads(line) for line in (two / "trainer" / "scored.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [40, 80], "each score once"
    pairs = [load_file(run / "model" / "model.safetensors") for run in (one, two)]
    for name, value in pairs[0].items():
        assert torch.allclose(value, pairs[1][name], atol=1e-4), name
    assert record.verdict == "improved"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_stop_at_the_same_step_and_go_on(place: Path) -> None:
    words = ["pairs.csv", *SCORED, "--epochs", "8", "--learning-rate", "0.003", "--evaluations", "4"]
    words += ["--precision", "fp32", "--batch-size", "8"]
    whole = tuned(place, "whole8", 2, *words)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT), "ACCELERATE_USE_CPU": "1"}
    command = [*LAUNCH, "-m", "hf_simtune", "tune", *words, "--out", "stopped"]
    with subprocess.Popen(command, cwd=place, env=environment, stderr=subprocess.PIPE, text=True) as process:
        while not (found := list(place.glob("stopped/*/trainer/checkpoint-80/whole.json"))):
            assert process.poll() is None, "it ended before it could be stopped"
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)  # which torchrun hands on
        _, said = process.communicate(timeout=300)
    assert said.count("stopped at step ") == 1, said
    run = found[0].parents[2]
    assert not (run / "record.json").exists()
    resumed = started(place, LAUNCH, "-m", "hf_simtune", "tune", "--resume", str(run))
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    record, training = record_of(run), record_of(run).training
    assert record.tuned.weights_sha256 == record_of(whole).tuned.weights_sha256, "stopped within a pass"
    assert (training.resumed, training.processes, training.steps) == (1, 2, 8 * 640 // 16)
    assert [point.step for point in training.checkpoints] == [0, 80, 160, 240, 320], "a stop is no further score"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pairs_are_compared_within_a_process_and_the_run_says_so(place: Path) -> None:
    words = ["report.csv", "--loss", "cosent", "--model", "tiny", "--select-on", "select.csv", "--epochs", "1"]
    done = started(
        place, 2, "-m", "hf_simtune", "tune", *words, "--batch-size", "8", "--precision", "fp32", "--out", "scored"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (run,) = (place / "scored").iterdir()
    told = "CoSENTLoss compares the 8 pairs of a process with each other, and not across processes"
    assert told in done.stderr and told in record_of(run).training.across


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_mean_of_several_trainings_goes_with_several_processes(place: Path) -> None:
    run = tuned(place, "soup", 2, "pairs.csv", *SHORT, "--batch-size", "8", "--soup", "2")
    assert len(record_of(run).training.soup) == 2 and record_of(run).verdict == "improved"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "processes"), [("two_cpu_processes", 2), ("one_process", 1)])
def test_a_recipe_runs_with_the_configuration_of_accelerate(place: Path, name: str, processes: int) -> None:
    script = place / "mine.py"
    script.write_text(
        "from hf_simtune import Recipe, main\n"
        'RECIPE = Recipe(name="mine", train_data="pairs.csv", model="tiny", select_on="select.csv",\n'
        '    report_on="report.csv", learning_rate=0.03, batch_size=8, evaluations=1, precision="fp32")\n'
        'if __name__ == "__main__":\n    main(RECIPE)\n'
    )
    config = CHECKOUT / "recipes" / "accelerate" / f"{name}.yaml"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)]
    done = started(place, launch, str(script), "--out", name)
    assert done.returncode == 0, done.stderr[-3000:]
    (run,) = (place / name).iterdir()
    assert record_of(run).training.processes == processes and done.stdout.count("run folder") == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_two_processes_began_is_not_taken_up_by_one(place: Path) -> None:
    run = tuned(place, "begun", 2, "pairs.csv", *SHORT, "--batch-size", "8")
    (run / "record.json").unlink()
    done = started(place, 1, "-m", "hf_simtune", "tune", "--resume", str(run))
    assert done.returncode == 2 and "2 processes trained it, and now there are 1" in done.stderr
    wrong = started(place, 2, "-m", "hf_simtune", "tune", "pairs.csv", "--epochs", "-1")
    assert wrong.returncode != 0 and wrong.stderr.count("error: --epochs") == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--more-data", "cosent=report.csv"], "--more-data: several processes would draw from different sets"),
        (["--batch-size", "400"], "do not fill one batch of 400 for each of 2 processes"),
        (["--train-data", "none.csv"], "none.csv"),
    ],
)
def test_what_does_not_go_with_several_processes_is_refused_once(place: Path, words: list[str], told: str) -> None:
    done = started(place, 2, "-m", "hf_simtune", "tune", "pairs.csv", *SHORT, *words, "--out", "refused")
    assert done.returncode != 0 and done.stderr.count("error: ") == 1 and told in done.stderr
    assert not list(place.glob("refused/*/record.json"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_of_two_processes_is_taken_up_again_with_the_same_weights(place: Path) -> None:
    run = tuned(place, "whole", 2, "pairs.csv", *SHORT, "--batch-size", "8")
    weights = record_of(run).tuned.weights_sha256
    (run / "record.json").unlink()
    for path in (run / "trainer").glob("checkpoint-80/**/*"):
        if path.is_file():
            path.unlink()
    done = started(place, 2, "-m", "hf_simtune", "tune", "--resume", str(run))
    assert done.returncode == 0, done.stderr[-3000:]
    assert record_of(run).training.resumed == 1 and record_of(run).tuned.weights_sha256 == weights


def test_a_sweep_is_of_one_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(SystemExit):
        cli.main(argv=["sweep", "builtin:sports/pairs:train", "--temperature", "0.05", "0.1", "--dry-run"])
    assert "2 processes train one run together" in capsys.readouterr().err


@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_first_has_told_what_is_wrong_before_a_launcher_ends_it_for_anothers_failure(
    rank: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(cli.time, "sleep", waited.append)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    with pytest.raises(SystemExit) as ended:
        cli.main(argv=["tune", "builtin:sports", "--epochs", "-1"])
    assert ended.value.code == 2
    assert bool(waited) == (rank == "1") and capsys.readouterr().err.startswith("error: --epochs")


def test_one_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert ranks.begin() == ranks.ALONE and ranks.ALONE.first
    assert ranks.ALONE.told("x") == "x"
    assert losses.across(["mnrl"], Recipe(train_data="x.csv"), 1) == ""


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_every_configuration_is_one_for_accelerate_and_says_whether_it_was_run(path: Path) -> None:
    value = load_config_from_file(str(path))
    assert value.num_machines == 1 and value.num_processes >= 1
    arguments = launch_command_parser().parse_args(["--config_file", str(path), "recipe.py"])
    assert {*value.fsdp_config, *value.deepspeed_config} <= set(vars(arguments)), "a key that accelerate does not know"
    arguments = _validate_launch_command(arguments)[0]
    assert arguments.num_processes == value.num_processes
    assert (path.stem == "fsdp2") == arguments.use_fsdp and (path.stem == "zero2") == arguments.use_deepspeed
    text = path.read_text(encoding="utf-8")
    assert ("Untested" in text) == (path.stem not in RUN | {"fsdp2"}) and ("refused" in text) == (path.stem == "fsdp2")


def test_fsdp_is_refused_with_the_configuration_to_take_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = (path for path in CONFIGURATIONS if path.stem == "fsdp2")
    arguments = launch_command_parser().parse_args(["--config_file", str(path), "recipe.py"])
    told = prepare_multi_gpu_env(_validate_launch_command(arguments)[0])
    assert (told["FSDP_VERSION"], told["FSDP_STATE_DICT_TYPE"]) == ("2", "FULL_STATE_DICT")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", told["ACCELERATE_USE_FSDP"])
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(RequestError, match=r"whole ones\n.*several_gpus\.yaml"):
        ranks.begin()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_mpirun_starts_two_processes_of_one_run(place: Path) -> None:
    if shutil.which("mpirun") is None:
        pytest.skip("needs mpirun")
    (place / "hosts").write_text("localhost slots=2\n")
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_machines",
        "1",
        "--num_processes",
        "2",
    ]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--mpirun_hostfile", "hosts", "-m"]
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    words = ["hf_simtune", "tune", "pairs.csv", *SHORT, "--batch-size", "8", "--out", "mpi"]
    done = started(place, launch, *words, **root)
    assert done.returncode == 0, done.stderr[-3000:]
    (run,) = (place / "mpi").iterdir()
    assert record_of(run).training.processes == 2 and done.stdout.count("run folder") == 1
    assert record_of(run).training.steps == 2 * 640 // 16


def test_what_mpirun_says_of_a_process_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in chatter.MPI:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    assert chatter.processes() == 2 and not chatter.speaks()


def test_there_is_a_configuration_for_each_way() -> None:
    assert [path.stem for path in CONFIGURATIONS] == [
        "fsdp2",
        "one_process",
        "several_gpus",
        "two_cpu_processes",
        "zero2",
    ]
