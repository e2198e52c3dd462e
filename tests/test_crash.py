"""Runs that are killed, stopped or left without room, a few of the moments that ``make torture`` tries."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import CHECKOUT
from crash_promises import Broken
from crash_runs import recipe_words
from crash_ways import Torture, nursery_in
from crashing import Moment
from safetensors import SafetensorError

from hf_simtune import checkpoint, cli, run_commands, whole
from hf_simtune.attempt import attempt
from hf_simtune.errors import RequestError
from hf_simtune.held import held
from hf_simtune.run_folder import RunFolder
from hf_simtune.stopping import Stop, Stopped
from hf_simtune.unwritten import UnwrittenError, writing

# Of the moments that are drawn; to draw the same ones again: CRASH_SEED=N.
SEED = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(10**6))
SAME = "same weights"


@pytest.fixture(scope="module")
def torture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Torture]:
    folder = tmp_path_factory.mktemp("torture")
    with nursery_in(folder) as nursery:
        yield Torture(folder, nursery, SEED)


def kind(torture: Torture) -> str:
    """Of two, so that there is little to make that a run is held against."""
    return torture.luck.choice(["CoSENT", "packed MNRL"])


MODEL = Moment("write", r"model.part/model.safetensors")
CASES: dict[str, Callable[[Torture], str]] = {
    "killed in a checkpoint": lambda it: it.named("CoSENT", Moment("write", r"checkpoint-\d+/optimizer.pt", 3)),
    "killed in the model": lambda it: it.named("packed MNRL", MODEL),
    "killed at a drawn file": lambda it: it.drawn(kind(it), signal.SIGKILL),
    "stopped at a drawn file": lambda it: it.drawn(kind(it)),
    "ended in the card": lambda it: it.named("CoSENT", Moment("write", r"README.md.part", 1, signal.SIGTERM)),
    "out of room": lambda it: it.limited("CoSENT", 2**15),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_run_that_ended_early_is_gone_on_with_to_the_same_weights(case: str, torture: Torture) -> None:
    torture.luck = random.Random(f"{SEED} {case}")
    # A drawn moment may come before there is a run, or when it is over.
    ends = (SAME, "finished before", "nothing begun", "nothing to go on with") if "drawn" in case else (SAME,)
    try:
        became = CASES[case](torture)
    except Broken as broken:
        became = f"{broken}; it had said: {torture.log.read_text(encoding='utf-8')}"
    assert became in ends, f"CRASH_SEED={SEED}"


@pytest.mark.slow
def test_two_processes_do_not_mix_in_one_folder(torture: Torture) -> None:
    assert torture.together("CoSENT") == "one of two"


@pytest.mark.slow
def test_two_runs_that_begin_at_once_have_a_folder_each_and_share_an_empty_cache(torture: Torture) -> None:
    assert torture.beside("CoSENT") == "both whole"


@pytest.mark.slow
def test_one_ctrl_c_stops_at_the_next_step_and_says_how_to_go_on(torture: Torture, tmp_path: Path) -> None:
    moment = Moment("replaced", r"checkpoint-4/whole.json", 1, signal.SIGINT)
    assert torture.nursery.run(recipe_words(torture.folder, tmp_path), torture.log, moment) == 130
    said = torture.log.read_text(encoding="utf-8")
    (folder,) = tmp_path.iterdir()
    assert "stopped at step 5, with a checkpoint (Ctrl-C); to go on:" in said
    assert f"hf-simtune tune --resume {folder}\n" in said
    found = checkpoint.last(folder / "trainer")
    assert found is not None and found.name == "checkpoint-5"
    scored = (folder / "trainer" / "scored.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in scored] == [4], "a stop is no further score to choose from"
    # And with other rows, another base or another recipe it is not gone on with.
    rows, base = torture.folder / "train.csv", torture.folder / "tiny"
    kept = rows.read_bytes()
    try:
        rows.write_bytes(kept.replace(b"train 7 ", b"other 7 "))
        said = _refused(torture, folder)
        assert "the train rows are not those that the run started with (fingerprint " in said
    finally:
        rows.write_bytes(kept)
    shutil.copytree(base, tmp_path / "base")
    try:
        weights = bytearray((base / "model.safetensors").read_bytes())
        weights[-1] ^= 1
        (base / "model.safetensors").write_bytes(weights)
        assert "the base model's weights are not those that the run started from (SHA-256 " in _refused(torture, folder)
    finally:
        shutil.copytree(tmp_path / "base", base, dirs_exist_ok=True)
    assert "--epochs was 2.0 and is now 3.0" in _refused(torture, folder, "--epochs", "3")
    assert torture.whole("CoSENT").promises.resumed(folder, torture.log) == "same weights"


def _refused(torture: Torture, folder: Path, *words: str) -> str:
    assert torture.nursery.run(["tune", "--resume", str(folder), *words], torture.log) == 2
    return torture.log.read_text(encoding="utf-8")


def sealed(folder: Path, step: int, best: int | None = None) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights" * 100)
    (path / "optimizer.pt").write_bytes(b"moments" * 100)
    state = {
        "global_step": step,
        "best_model_checkpoint": str(folder.resolve() / f"checkpoint-{best}") if best else None,
    }
    (path / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")
    checkpoint.seal(path)
    return path


def cut(name: str) -> Callable[[Path], None]:
    def do(path: Path) -> None:
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[: len(content) // 2])

    return do


HURT: dict[str, tuple[Callable[[Path], None], str]] = {
    "no seal": (lambda path: (path / "whole.json").unlink(), "it was cut short: it has no whole.json"),
    "half a seal": (cut("whole.json"), "it was cut short: whole.json or trainer_state.json cannot be read"),
    "no state": (lambda path: (path / "trainer_state.json").unlink(), "it has no trainer_state.json"),
    "half a state": (cut("trainer_state.json"), "cannot be read"),
    "half the weights": (cut("model.safetensors"), "model.safetensors has 350 bytes of 700"),
    "half the optimizer": (cut("optimizer.pt"), "optimizer.pt has 350 bytes of 700"),
    "no optimizer": (lambda path: (path / "optimizer.pt").unlink(), "optimizer.pt is missing"),
    "other weights": (
        lambda path: (path / "model.safetensors").write_bytes(b"weighty" * 100) and None,
        "model.safetensors is not what was written",
    ),
    "another step": (
        lambda path: (path / "trainer_state.json").write_text('{"global_step": 7}') and None,
        "are not of this checkpoint",
    ),
}


@pytest.mark.parametrize("how", HURT)
def test_a_checkpoint_that_is_not_whole_is_not_taken_up(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sealed(tmp_path, 9)
    newest = sealed(tmp_path, 10)
    assert checkpoint.last(tmp_path) == newest
    hurt, said = HURT[how]
    hurt(newest)
    with caplog.at_level(logging.WARNING, "hf_simtune"):
        found = checkpoint.last(tmp_path)
    assert found == tmp_path / "checkpoint-9"
    assert f"checkpoint-10 is not used: {said}" in caplog.text or said in caplog.text
    hurt(sealed(tmp_path / "alone", 10))
    assert checkpoint.last(tmp_path / "alone") is None


def test_a_checkpoint_whose_best_one_is_cut_short_is_not_taken_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    best = sealed(tmp_path, 5, best=5)
    sealed(tmp_path, 10, best=5)
    assert checkpoint.last(tmp_path) == tmp_path / "checkpoint-10"
    cut("model.safetensors")(best)
    with caplog.at_level(logging.WARNING, "hf_simtune"):
        assert checkpoint.last(tmp_path) is None
    assert "checkpoint-10 is not used: the best one before it, checkpoint-5: model.safetensors has" in caplog.text


@pytest.mark.parametrize(
    ("best", "left"), [(None, [10, 15]), (15, [10, 15]), (5, [5, 15])], ids=["none", "the newest", "an old one"]
)
def test_older_checkpoints_go_when_a_newer_one_is_whole(best: int | None, left: list[int], tmp_path: Path) -> None:
    for step in (5, 10, 15):
        newest = sealed(tmp_path, step)
    (tmp_path / "checkpoint-12").mkdir()  # cut short
    (tmp_path / "eval").mkdir()
    checkpoint.tidy(tmp_path, newest, f"/elsewhere/checkpoint-{best}" if best else None)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["eval", *(f"checkpoint-{n}" for n in left)])


def test_a_folder_is_held_by_one_and_let_go_of_by_the_dead(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from hf_simtune.held import held; place = Path(sys.argv[1])\n"
        "with held(place, place / 'lock'): print('held', flush=True); time.sleep(600)"
    )
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        said = f"another process works in .*: process {other.pid} on "
        with pytest.raises(RequestError, match=said), held(tmp_path, tmp_path / "lock"):
            pass
        other.send_signal(signal.SIGKILL)
    lock, said = tmp_path / "lock", f"process {os.getpid()} on "  # another run of this process
    with held(tmp_path, lock), pytest.raises(RequestError, match=said), held(tmp_path, lock):
        pass


def test_the_first_signal_waits_for_a_step_and_the_second_does_not() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    stop, got = Stop(), []

    def train() -> None:
        with stop.heard(), stop.at_steps():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):  # torchrun sends a SIGTERM behind a Ctrl-C
                signal.raise_signal(number)
                got.append(stop.asked)

    with pytest.raises(Stopped) as stopped:
        train()
    assert got == [signal.SIGINT, signal.SIGINT]
    assert (stopped.value.number, stopped.value.step, stopped.value.exit_status) == (signal.SIGINT, None, 130)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    _wait_for_threads()


def test_a_signal_outside_of_the_steps_and_one_of_the_last_step_end_the_run_too() -> None:
    for steps in (Stop.at_steps, lambda stop: contextlib.nullcontext()):
        stop = Stop()
        with pytest.raises(Stopped) as stopped, stop.heard(), steps(stop):
            signal.raise_signal(signal.SIGTERM)
        assert stopped.value.exit_status == 143
        with pytest.raises(Stopped):
            stop.check()
    _wait_for_threads()


def test_what_is_ignored_stays_ignored_and_another_thread_listens_to_nothing() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stop = Stop()
        with stop.heard():
            signal.raise_signal(signal.SIGINT)
        assert stop.asked is None and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    found = []

    def listen() -> None:
        with Stop().heard():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [before]


def _wait_for_threads() -> None:
    """What a signal is answered with is logged in a thread."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(10)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the quota of the disk is used up"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (shutil.Error([("a", "b", "[Errno 28] No space left on device: 'a' -> 'b'")]), "the disk is full"),
        (Exception("No space left on device (os error 28)"), "the disk is full"),  # as tokenizers has it
        (RuntimeError("PytorchStreamWriter failed writing file data/1: file write failed"), "torch could not write"),
    ],
)
def test_a_disk_that_is_full_is_a_sentence(error: Exception, said: str, tmp_path: Path) -> None:
    told = f"^checkpoint-7 could not be written in {tmp_path}: {said}.* free there"
    with pytest.raises(UnwrittenError, match=told), writing("checkpoint-7", tmp_path):
        raise error


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "no"), RuntimeError("a bug"), SafetensorError("x")])
def test_another_error_is_not_called_a_full_disk(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)), writing("checkpoint-7", tmp_path):
        raise error


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole.write_text(tmp_path / "file", "old")

    def full(self: Path, text: str, encoding: str) -> None:
        self.write_bytes(text[:1].encode())
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        whole.write_text(tmp_path / "file", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("begun", [True, False])
def test_the_command_line_ends_as_shells_expect_it(
    number: signal.Signals,
    status: int,
    begun: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stopped(*given: object) -> int:
        error = Stopped(number, 7)
        error.folder = tmp_path / "a run" if begun else None
        raise error

    monkeypatch.setattr(run_commands, "run_recipe", stopped)
    with pytest.raises(SystemExit) as end:
        cli.main(argv=["tune", "mnrl_minilm"])
    assert end.value.code == status
    said = capsys.readouterr().err
    if begun:
        assert "stopped at step 7, with a checkpoint" in said
        assert f"tune --resume '{tmp_path / 'a run'}'\n" in said
    else:
        assert "the same command begins it again" in said and "--resume" not in said


def test_a_set_of_runs_ends_likewise_with_its_own_command(capsys: pytest.CaptureFixture[str]) -> None:
    made = SimpleNamespace(cells=[SimpleNamespace(state="done")], plan=SimpleNamespace(trials=3))
    words = ["sweep", "--resume", "runs/a set"]

    def ended(error: BaseException) -> int:
        def go_on(given: object) -> Any:
            raise error

        return run_commands._ended_early(made, go_on, words, quiet=True)  # type: ignore[arg-type]

    for error, status in ((KeyboardInterrupt(), 130), (Stopped(signal.SIGINT), 130), (Stopped(signal.SIGTERM), 143)):
        assert ended(error) == status
        said = capsys.readouterr().err
        assert "1 of 3 runs are finished" in said and "sweep --resume 'runs/a set'" in said
    with pytest.raises(UnwrittenError, match="Make room there, then go on: hf-simtune sweep --resume 'runs/a set'"):
        ended(UnwrittenError("sweep.json could not be written"))


def test_a_run_that_is_stopped_while_it_is_published_is_called_finished(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x", "20260101-000000")

    def publish() -> None:
        with attempt(tmp_path) as this:
            this.hold(folder)
            for path in (folder.plan, folder.record):
                path.touch()
            raise Stopped(signal.SIGTERM)

    with pytest.raises(Stopped) as stopped:
        publish()
    assert str(stopped.value) == f"stopped at once (SIGTERM); the run in {folder.path} is finished"


def test_a_start_that_ends_before_there_is_a_plan_leaves_no_folder(tmp_path: Path) -> None:
    def full() -> None:
        with attempt(tmp_path) as this:
            this.hold(RunFolder.create(tmp_path, "x", "20260101-000000"))
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UnwrittenError) as error:
        full()
    assert "begin again with the same command" in str(error.value)
    assert not list(tmp_path.iterdir())
