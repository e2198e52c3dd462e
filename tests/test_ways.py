"""Each way of tuning, through ``tune``: what it does to the weights, and what the record says of it."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from tiny import tiny_model, tiny_static

from hf_simtune import LoRA, Recipe, schedule, score, tune
from hf_simtune.data import export
from hf_simtune.errors import RequestError
from hf_simtune.record import RunRecord
from hf_simtune.terminal_run import show_run
from hf_simtune.tuning import Run

TEXTS = ["A ball.", "The dog runs to the river.", "Rain over the city on Sunday."]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, the same without dropout, and a few graded rows."""
    folder = tmp_path_factory.mktemp("ways")
    tiny_model(folder / "tiny")
    shutil.copytree(folder / "tiny", folder / "still")
    config = json.loads((folder / "still" / "config.json").read_text(encoding="utf-8"))
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "still" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for split, rows in (("validation", 200), ("test", 150), ("train", 80)):
        export.sports(str(folder / f"{split}.csv"), shape="scored", split=split, rows=rows)
    return folder


def small(place: Path, **changes: Any) -> Recipe:
    """A run of about two seconds."""
    recipe = Recipe(
        name="small",
        model=str(place / "tiny"),
        train_data="builtin:sports/scored:train",
        train_rows=64,
        select_on=str(place / "validation.csv"),
        report_on=str(place / "test.csv"),
        epochs=2,
        batch_size=16,
        learning_rate=5e-3,
        evaluations=2,
        precision="fp32",
    )
    return dataclasses.replace(recipe, **changes)


def backwards(place: Path, split: str) -> str:
    """The graded rows with their scores turned round: what does a model no good is a gain on them."""
    path = place / f"{split}-backwards.csv"
    if not path.exists():
        with (place / f"{split}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["sentence1", "sentence2", "score"], extrasaction="ignore")
            writer.writeheader()
            writer.writerows({**row, "score": 1 - float(row["score"])} for row in rows)
    return str(path)


def card(run: Run) -> str:
    return (run.folder / "README.md").read_text(encoding="utf-8")


def embeddings(folder: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    return SentenceTransformer(str(folder), device="cpu").encode(TEXTS)


def losses(record: RunRecord) -> list[float]:
    return [point.loss for point in record.training.checkpoints if point.loss is not None]


def test_several_training_sets_take_turns_each_with_its_loss(place: Path, tmp_path: Path) -> None:
    recipe = small(
        place, train_data="builtin:sports/pairs:train", more_data=("cosent=builtin:sports/scored:train",), epochs=1
    )
    run = tune(recipe, out=tmp_path)
    training = run.record.training
    assert (training.loss, training.source.shape, training.rows) == ("mnrl", "pairs", 64)
    [further] = training.further
    assert (further.loss, further.source.shape, further.rows) == ("cosent", "scored", 64)
    assert training.steps == (64 + 64) // 16
    alone = tune(dataclasses.replace(recipe, more_data=None), out=tmp_path).record.training
    assert (alone.steps, alone.further) == (64 // 16, ())
    assert "cosent" in card(run).lower()
    assert "builtin:sports/scored:train" in card(run)


def test_a_further_set_without_a_loss_gets_that_of_its_shape(place: Path, tmp_path: Path) -> None:
    run = tune(small(place, more_data=("builtin:sports/pairs:train",), epochs=1), out=tmp_path)
    [further] = run.record.training.further
    assert (further.loss, further.source.shape) == ("mnrl", "pairs")


def test_mined_negatives_are_on_record(place: Path, tmp_path: Path) -> None:
    recipe = small(place, train_data="builtin:sports/pairs:train", mine_negatives=2, negative_margin=0.1, epochs=1)
    run = tune(recipe, out=tmp_path)
    training = run.record.training
    assert training.mined is not None
    assert (training.mined.asked, training.mined.margin, training.mined.model) == (2, 0.1, "tiny")
    assert training.mined.rows == training.rows
    assert 0 <= training.mined.pairs_without < 64
    assert training.loss == "mnrl"
    plain = tune(dataclasses.replace(recipe, mine_negatives=0, negative_margin=0.05), out=tmp_path).record
    assert plain.training.mined is None
    assert losses(plain) != losses(run.record)
    assert "negative" in card(run)


def test_a_prompt_stands_before_every_text_of_base_and_tuned_and_is_saved(place: Path, tmp_path: Path) -> None:
    run = tune(small(place, prompt="query: ", select_on=backwards(place, "validation")), out=tmp_path)
    record = run.record
    assert record.training.best_step > 0
    assert record.base.prompt == record.tuned.prompt == "query: "
    bare = score(str(place / "tiny"), str(place / "test.csv")).score
    prompted = SentenceTransformer(str(place / "tiny"), prompts={"p": "query: "}, default_prompt_name="p", device="cpu")
    prompted.save_pretrained(str(tmp_path / "prompted"))
    assert record.report.base == score(str(tmp_path / "prompted"), str(place / "test.csv")).score != bare
    assert score(str(run.folder / "model"), str(place / "test.csv")).score == record.report.tuned
    saved = SentenceTransformer(str(run.folder / "model"), device="cpu")
    assert saved.prompts[saved.default_prompt_name or ""] == "query: "
    without = tune(small(place), out=tmp_path).record
    assert without.training.checkpoints[1].loss != record.training.checkpoints[1].loss, "training saw no prompt"
    assert "query: " in card(run)


def test_probes_are_scored_before_and_after_and_judged(place: Path, tmp_path: Path) -> None:
    probes = (str(place / "train.csv"), "builtin:sports/scored:validation")
    run = tune(small(place, probe=probes, epochs=1, train_rows=32), out=tmp_path)
    found = [evaluation for evaluation in run.record.evaluations if evaluation.role == "probe"]
    assert [evaluation.source.title for evaluation in found] == ["train.csv", "builtin:sports/scored:validation"]
    assert found[0].base == score(str(place / "tiny"), probes[0]).score
    assert found[0].tuned == score(str(run.folder / "model"), probes[0]).score
    assert all(evaluation.comparison is not None for evaluation in found)
    assert len(run.record.leakage) == 4, "each set that is measured on is checked for leaks"
    assert "train.csv" in card(run)


def without_newest_checkpoint(run: Run, to: Path, count: int) -> Path:
    """A copy of a finished run as a kill would have left it, ``count`` checkpoints before its end."""
    shutil.copytree(run.folder, to)
    (to / "record.json").unlink()
    found = sorted((to / "trainer").glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
    assert len(found) > count
    for path in found[len(found) - count :]:
        shutil.rmtree(path)
    return to


@pytest.fixture(scope="module")
def patient(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Run]:
    """A run that gains nothing and stops for it: at so low a rate every score is the same."""
    recipe = small(place, learning_rate=1e-12, epochs=4, evaluations=8, patience=3)
    return recipe, tune(recipe, out=tmp_path_factory.mktemp("patient"))


def test_a_run_without_gain_stops_and_says_so(patient: tuple[Recipe, Run]) -> None:
    training = patient[1].record.training
    assert [point.step for point in training.checkpoints] == [0, 2, 4, 6, 8], "one score to beat, three that do not"
    assert training.steps == 8
    assert training.stopped == "no better score in 3 evaluations, at step 8 of 16"
    assert training.stopped in card(patient[1])


@pytest.mark.parametrize("count", [0, 1])
def test_a_resumed_run_stops_without_gain_at_the_same_step(
    patient: tuple[Recipe, Run], tmp_path: Path, count: int
) -> None:
    recipe, run = patient
    again = tune(recipe, resume=without_newest_checkpoint(run, tmp_path / "again", count)).record.training
    first = run.record.training
    assert (again.steps, again.stopped, again.resumed) == (first.steps, first.stopped, 1)
    assert again.checkpoints == first.checkpoints


@pytest.mark.slow
def test_five_hundred_epochs_are_ended_early_and_not_before_the_rate_has_risen(place: Path, tmp_path: Path) -> None:
    recipe = small(
        place,
        train_rows=32,
        epochs=500,
        evaluations=None,
        learning_rate=1e-3,
        select_on=str(place / "train.csv"),
        on_collapse="ignore",
    )
    run = tune(recipe, out=tmp_path)
    training = run.record.training
    assert training.stopped is not None
    assert training.stopped.startswith("no better score in 5 evaluations, at step ")
    assert 500 * 2 // 10 < training.steps < 500 * 2
    [checkpoint] = sorted((run.folder / "trainer").glob("checkpoint-*"), key=lambda path: int(path.name[11:]))[-1:]
    logged = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    assert max(entry["learning_rate"] for entry in logged if "learning_rate" in entry) > 0.95e-3
    assert f"| epochs | {training.steps / 2:g} of 500 |" in card(run)


def test_a_static_model_is_tuned_like_any_other(place: Path, tmp_path: Path) -> None:
    tiny_static(tmp_path / "static")
    run = tune(
        small(place, model=str(tmp_path / "static"), select_on=backwards(place, "validation"), learning_rate=0.05),
        out=tmp_path / "runs",
    )
    assert (run.record.base.max_length, run.record.tuned.max_length) == (None, None)
    assert run.record.training.best_step > 0
    assert not np.array_equal(embeddings(run.folder / "model"), embeddings(tmp_path / "static"))
    assert "no limit given" in card(run)


def test_an_offline_run_on_rows_of_ones_own_is_not_called_one_on_the_sports_corpus(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tune(small(place, train_data=str(place / "train.csv"), train_rows=None, epochs=1), out=tmp_path, offline=True)
    assert run.record.offline
    assert not run.record.built_in
    show_run(run.record, run.folder)
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    for text in (capsys.readouterr().out, card(run), page):
        assert "sports corpus" not in text
        assert "built-in sentences" not in text
    sports = tune(small(place, epochs=1, select_on=None, report_on=None, train_rows=200), out=tmp_path, offline=True)
    assert sports.record.built_in
    show_run(sports.record, sports.folder)
    assert "Offline: these scores are on the built-in sports corpus" in capsys.readouterr().out


@pytest.mark.parametrize(("rate", "word"), [(1e-12, "is the better"), (5e-3, "score")])
def test_what_to_do_next_follows_from_the_verdict(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], rate: float, word: str
) -> None:
    run = tune(small(place, learning_rate=rate, select_on=backwards(place, "validation")), out=tmp_path)
    record = run.record
    assert (record.training.best_step == 0) == (rate < 1e-3)
    report = dataclasses.replace(record.report.comparison, verdict="no evidence")  # type: ignore[type-var]
    evaluations = (dataclasses.replace(record.report, comparison=report), *record.evaluations[1:])
    show_run(dataclasses.replace(record, evaluations=evaluations), run.folder)
    [told] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("next ")]
    assert word in told


def test_patience_that_is_not_tried_stops_nothing(place: Path, tmp_path: Path) -> None:
    training = tune(small(place, learning_rate=1e-12, patience=0, evaluations=4), out=tmp_path).record.training
    assert (training.steps, training.stopped) == (8, None)


@pytest.mark.parametrize(("patience", "told"), [(None, "stops after 5 scores"), (0, "--patience 5 would stop")])
def test_many_passes_over_few_rows_are_warned_of(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, patience: int | None, told: str
) -> None:
    with caplog.at_level(logging.WARNING, logger="hf_simtune"):
        tune(small(place, train_rows=16, epochs=12, patience=patience, evaluations=1), out=tmp_path)
    [said] = [message for message in caplog.messages if "by heart" in message]
    assert said.startswith("12 passes over 16 rows")
    assert told in said


def test_no_more_than_ten_passes_are_no_reason_to_warn(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="hf_simtune"):
        tune(small(place, train_rows=16, epochs=10, evaluations=1), out=tmp_path)
    assert "by heart" not in caplog.text


@pytest.fixture(scope="module")
def same(place: Path) -> Path:
    """Training rows that are all alike to the label: a model learns from them that everything is."""
    with (place / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    path = place / "same.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["sentence1", "sentence2", "score"], extrasaction="ignore")
        writer.writeheader()
        # Two rows with other labels: a column of one value alone has no scale.
        labels = [0.0, *[1.0] * (len(rows) - 1)]
        writer.writerows({**row, "score": label} for row, label in zip(rows, labels, strict=True))
    return path


def collapsing(place: Path, same: Path, **changes: Any) -> Recipe:
    return small(
        place,
        train_data=str(same),
        train_rows=None,
        loss="cosine",
        learning_rate=1e-2,
        scheduler="constant",
        epochs=8,
        evaluations=8,
        **changes,
    )


def test_a_collapse_ends_a_run_that_is_to_stop_there(place: Path, same: Path, tmp_path: Path) -> None:
    warned = tune(collapsing(place, same), out=tmp_path).record
    assert any("collapsed" in health.findings for health in warned.health), "the rows are meant to collapse it"
    assert (warned.training.steps, warned.training.stopped) == (40, None)
    run = tune(collapsing(place, same, on_collapse="stop"), out=tmp_path)
    record = run.record
    ill = [health.step for health in record.health if "collapsed" in health.findings]
    assert ill == [record.training.steps]
    assert record.training.steps < 40
    assert record.training.stopped == f"collapsed at step {ill[0]}"
    assert record.training.best_step not in ill
    assert record.training.stopped in card(run)
    assert score(str(run.folder / "model"), str(place / "test.csv")).score == record.report.tuned


def test_a_collapsed_step_is_not_kept_though_it_scored_best(place: Path, same: Path, tmp_path: Path) -> None:
    recipe = collapsing(place, same, select_on=backwards(place, "validation"))
    warned = tune(recipe, out=tmp_path).record
    stopped = tune(dataclasses.replace(recipe, on_collapse="stop"), out=tmp_path).record
    ill = {health.step for health in warned.health if "collapsed" in health.findings}
    assert warned.training.best_step in ill
    told = warned.report.comparison
    assert told is not None and told.reason is not None and "which was kept, are unhealthy: collapsed" in told.reason
    assert told.verdict == "no evidence" and told.low is None
    assert stopped.training.best_step not in ill
    healthy = [point for point in stopped.training.checkpoints if point.step not in ill]
    best = max(healthy, key=lambda point: (point.spearman or -1, -point.step))
    assert stopped.training.best_step == best.step


def test_collapse_can_be_ignored(place: Path, same: Path, tmp_path: Path) -> None:
    record = tune(collapsing(place, same, on_collapse="ignore"), out=tmp_path).record
    assert record.health == ()
    assert (record.training.steps, record.training.stopped) == (40, None)


class Killed(BaseException):
    """What no code of ours may catch."""


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Let runs break off at a step, as by a kill; None: no more."""
    original = schedule.EvaluateEvenly.on_step_end

    def at(step: int | None) -> None:
        def breaks_off(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == step:
                raise Killed
            original(self, args, state, control, **kwargs)

        monkeypatch.setattr(schedule.EvaluateEvenly, "on_step_end", breaks_off)

    return at


RESUMED: dict[str, dict[str, Any]] = {
    "lora": {"lora": LoRA(r=4, alpha=8, dropout=0.1)},
    "merged": {"lora": LoRA(r=4, alpha=8, targets=("query", "value")), "merge": True},
    "several sets": {"more_data": ("mnrl=builtin:sports/pairs:train",)},
    "mined": {"train_data": "builtin:sports/pairs:train", "mine_negatives": 1},
    "matryoshka": {"matryoshka": (32, 8)},
    "cached": {"train_data": "builtin:sports/pairs:train", "loss": "cached_mnrl", "mini_batch": 8},
    "csr": {"sparse": "csr", "active_dims": 8},
    "checkpointing": {"gradient_checkpointing": True},
}


@pytest.mark.parametrize("way", RESUMED)
def test_a_run_that_broke_off_ends_with_the_same_weights(
    way: str, place: Path, tmp_path: Path, kill: Callable[[int | None], None]
) -> None:
    recipe = small(place, evaluations=4, select_on=backwards(place, "validation"), **RESUMED[way])
    whole = tune(recipe, out=tmp_path / "whole")
    kill(5)
    with pytest.raises(Killed):
        tune(recipe, out=tmp_path / "cut")
    kill(None)
    [folder] = (tmp_path / "cut").iterdir()
    assert list((folder / "trainer").glob("checkpoint-*"))
    again = tune(recipe, resume=folder)
    assert again.record.training.resumed == 1
    assert again.record.tuned.weights_sha256 == whole.record.tuned.weights_sha256
    assert again.record.training.checkpoints == whole.record.training.checkpoints
    assert again.record.evaluations == whole.record.evaluations
    assert again.record.health == whole.record.health
    scored = [(path / "trainer" / "scored.jsonl") for path in (folder, whole.folder)]
    one, other = ({line["step"]: line["weights"] for line in map(json.loads, path.read_text().splitlines())}
                  for path in scored)  # fmt: skip
    assert one == other


def test_merged_adapters_give_the_embeddings_of_base_and_adapters(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)  # adapters of a base that is on no Hub look for a folder of its name
    recipe = small(place, lora=LoRA(r=4, alpha=8), select_on=backwards(place, "validation"))
    apart = tune(recipe, out=tmp_path)
    merged = tune(dataclasses.replace(recipe, merge=True), out=tmp_path)
    assert apart.record.training.best_step == merged.record.training.best_step > 0
    assert (apart.record.saved, merged.record.saved) == ("adapter", "merged")
    assert not list((merged.folder / "model").glob("adapter*"))
    whole = embeddings(merged.folder / "model")
    np.testing.assert_allclose(embeddings(apart.folder / "model"), whole, atol=1e-5)
    assert np.abs(whole - embeddings(place / "tiny")).max() > 1e-3, "nothing was learnt"
    assert merged.record.tuned.parameters == merged.record.base.parameters
    for run in (apart, merged):
        for path in (run.folder / "record.json", *(run.folder / "model").rglob("*.json")):
            assert str(place) not in path.read_text(encoding="utf-8"), path.name


def test_gradient_checkpointing_changes_memory_and_not_the_losses(place: Path, tmp_path: Path) -> None:
    plain, checkpointed = (
        tune(small(place, gradient_checkpointing=on, forward="plain"), out=tmp_path).record for on in (False, True)
    )
    assert losses(checkpointed) == pytest.approx(losses(plain), rel=1e-5)
    assert len(losses(plain)) == 2


def test_a_cached_loss_in_small_pieces_is_that_of_the_whole_batch(place: Path, tmp_path: Path) -> None:
    recipe = small(place, model=str(place / "still"), train_data="builtin:sports/pairs:train", forward="plain")
    whole = tune(dataclasses.replace(recipe, loss="mnrl"), out=tmp_path).record
    pieces = tune(dataclasses.replace(recipe, loss="cached_mnrl", mini_batch=4), out=tmp_path).record
    assert pieces.training.loss == "cached_mnrl"
    assert losses(pieces) == pytest.approx(losses(whole), rel=1e-4)
    for one, other in zip(pieces.training.checkpoints, whole.training.checkpoints, strict=True):
        assert one.spearman == pytest.approx(other.spearman, abs=1e-3)


def test_what_only_the_loaded_model_shows_is_refused_before_a_step(place: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--matryoshka 64 8: the model has 32 dimensions"):
        tune(small(place, matryoshka=(64, 8)), out=tmp_path)
    with pytest.raises(RequestError, match="no linear layer of the model is called"):
        tune(small(place, lora=LoRA(targets=("quarry",))), out=tmp_path)
    with pytest.raises(RequestError, match=r"--lora .*targets="):
        tune(small(place, lora=LoRA(targets=("",))), out=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_adapters_of_the_packaged_model_name_it_by_its_hub_id_and_no_path(
    minilm: Path, place: Path, tmp_path: Path
) -> None:
    recipe = small(
        place,
        model="builtin:all-MiniLM-L6-v2",
        lora=LoRA(r=4, alpha=8),
        train_data="builtin:sports/scored:train",
        train_rows=128,
        epochs=1,
        learning_rate=1e-3,
        evaluations=1,
    )
    run = tune(recipe, out=tmp_path)
    assert run.record.saved == "adapter"
    config = json.loads((run.folder / "model" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert config["revision"] == run.record.base.revision
    for path in (run.folder / "model").rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert str(minilm) not in text
        assert str(Path.home()) + "/" not in text
    assert "sentence-transformers/all-MiniLM-L6-v2" in card(run)
