"""The bench of the data's path: its rows are what they are said to be, and what it tells was measured."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import platform
from pathlib import Path

import pytest

from hf_simtune.bench.data import DataBench, Size, measure
from hf_simtune.bench.rows import DUPLICATES, EMPTY, PLANTED, write_rows
from hf_simtune.data.inputs import prepare
from hf_simtune.data.load import load
from hf_simtune.data.measured import SPORTS
from hf_simtune.errors import RequestError, RunError
from hf_simtune.recipe import Recipe
from hf_simtune.record import Machine


def read(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["anchor"], row["positive"]) for row in csv.DictReader(file)]


def size(rows: int, **changes: object) -> Size:
    plain = Size(
        rows=rows,
        file_bytes=250 * rows,
        check_seconds=rows / 100_000,
        leak_seconds=rows / 10_000,
        ready_seconds=rows / 5_000,
        cpu_seconds=rows / 5_000,
        start_mib=300.0,
        peak_mib=400.0,
        growth_mib=100.0,
        own_growth_mib=50.0,
        kept=rows - 15,
        dropped={"empty text": 5, "evaluation pair": 10},
        planted=10,
        planted_found=10,
        duplicates=20,
    )
    return dataclasses.replace(plain, **changes)


def bench(*sizes: Size) -> DataBench:
    described = Machine(
        processor="a processor", cores=2, memory_gb=8.0, accelerator=None, system="Linux", versions={"python": "3.11"}
    )
    return DataBench(machine=described, commit="abc", seed=0, peak_from="VmHWM", sizes=sizes)


def test_the_rows_are_distinct_but_for_those_that_are_said_to_be_none(tmp_path: Path) -> None:
    written = write_rows(tmp_path / "rows.csv", 400, seed=3)
    rows = read(tmp_path / "rows.csv")
    assert len(rows) == 400
    assert (len(written.planted), len(written.duplicates), len(written.empty)) == (PLANTED, DUPLICATES, EMPTY)
    assert {number for number, row in enumerate(rows) if "" in row} == written.empty
    special = written.planted | written.duplicates | written.empty
    assert len(special) == PLANTED + DUPLICATES + EMPTY
    plain = [row for number, row in enumerate(rows) if number not in special]
    assert len(set(plain)) == len(plain) == 400 - len(special)
    assert all(rows[number] in plain for number in written.duplicates)
    lengths = [len(text.split()) for row in plain for text in row]
    assert 8 <= min(lengths) < max(lengths) <= 25
    scored = {
        pair
        for name in SPORTS
        for row in load(name, expect=("scored",), cache_dir=tmp_path).dataset
        for pair in ((row["sentence1"], row["sentence2"]), (row["sentence2"], row["sentence1"]))
    }
    assert {number for number, row in enumerate(rows) if row in scored} == written.planted


def test_rows_go_on_to_the_next_season_without_a_repetition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_simtune.bench.rows._SEASON_ROWS", 50)
    written = write_rows(tmp_path / "rows.csv", 300, seed=0)
    plain = [row for n, row in enumerate(read(tmp_path / "rows.csv")) if n not in written.duplicates | written.empty]
    assert len(set(plain)) == len(plain)
    assert {season for row in plain for season in range(1900, 1910) if str(season) in row[0]} == set(range(1900, 1906))


def test_the_same_seed_writes_the_same_rows_and_another_seed_others(tmp_path: Path) -> None:
    texts = []
    for seed in (1, 1, 2):
        write_rows(tmp_path / "rows.csv", 200, seed)
        texts.append((tmp_path / "rows.csv").read_text(encoding="utf-8"))
    assert texts[0] == texts[1] != texts[2]


def test_the_leak_search_drops_exactly_the_planted_rows(tmp_path: Path) -> None:
    written = write_rows(tmp_path / "rows.csv", 400, seed=0)
    select_on, report_on = SPORTS
    recipe = Recipe(train_data=str(tmp_path / "rows.csv"), skip_bad_rows=True, select_on=select_on, report_on=report_on)
    found = prepare(recipe, offline=True)
    assert set(found.train.dataset.select(found.leaks.drop)["row"]) == written.planted
    assert set(range(400)) - set(found.rows["row"]) == written.planted | written.empty


@pytest.mark.slow
def test_a_size_is_measured_in_a_process_of_its_own_and_says_nothing_of_where(tmp_path: Path) -> None:
    found = measure([400], folder=tmp_path)
    (one,) = found.sizes
    assert one.rows == 400
    assert one.dropped == {"empty text": EMPTY, "evaluation pair": PLANTED}
    assert one.kept == 400 - EMPTY - PLANTED
    assert one.planted_found == one.planted == PLANTED
    assert min(one.check_seconds, one.leak_seconds) > 0
    assert one.check_seconds + one.leak_seconds <= one.ready_seconds
    assert 50 < one.start_mib <= one.peak_mib
    assert one.growth_mib == pytest.approx(one.peak_mib - one.start_mib, abs=0.2)
    assert one.own_growth_mib is None or 0 < one.own_growth_mib <= one.growth_mib + 1
    text = json.dumps(dataclasses.asdict(found))
    for told in (str(tmp_path), str(Path.home()) + os.sep, platform.node() or "no node"):
        assert told not in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_process_that_ends_early_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "false")
    with pytest.raises(RunError, match="200 rows ended with status 1"):
        measure([200], folder=tmp_path)


def test_sizes_that_cannot_be_measured_are_refused_together(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        measure([10, 500, 500], folder=tmp_path / "nowhere")
    assert len(caught.value.problems) == 3
    with pytest.raises(RequestError, match="no number of rows"):
        measure([])
