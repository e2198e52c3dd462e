"""The records of the long tests, and the README's table made of them."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torture_record
from conftest import CHECKOUT
from torture_record import BEGIN, END, TOLD, Keeper

FOUND = {
    "crash": {
        "moments": 3,
        "drawn": 1,
        "of them": {"SIGKILL at a file": {"same": 2}, "a full disk": {"same": 1}},
        "runs": {"LoRA": 2, "CoSENT": 1},
    },
    "input": {
        "seed": 1,
        "files": {"read": 1, "refused": 4},
        "recipes": {"refused": 2},
        "texts": {"read": 1},
        "cases": 8,
    },
    "publish": {"cases": 1200, "refused": 7, "model": 1190, "adapter": 0, "pull request": 10, "mixtures by hand": 4},
    "coverage": {
        "worlds": [
            {"groups": 200, "runs": 50, "truth": 0.0, "held": [94.0, 90.0, 97.0], "improved": [2.0, 1.0, 4.0]},
            {"groups": 200, "runs": 50, "truth": 0.01, "held": [95.5, 91.0, 98.0], "improved": [60.0, 50.0, 70.0]},
        ],
        "outside": 1,
    },
    "few_groups": {
        "outside": 0,
        "worlds": [{"groups": 10, "runs": 50, "truth": 0.0, "held": [99.0], "improved": [0.5]}],
    },
    "endurance": {
        "kinds": ["static", "soup"],
        "first": {"run": 10, "resident": 600.0, "files": 8, "threads": 6},
        "last": {"run": 100, "resident": 601.5, "files": 8, "threads": 6},
    },
    "mutants": {
        "of": 1234,
        "earlier": 3,
        "total": {"noticed": 7, "survived": 2, "too slow": 1, "not run": 0},
        "modules": {"data/split.py": {"noticed": 7, "survived": 2, "too slow": 1, "not run": 0}},
    },
}
ROWS = {
    "crash": "| 3 moments, 1 of them drawn, at which a run ended: 2 SIGKILL at a file; 1 a full disk; runs: 1 CoSENT, "
    "2 LoRA | 3 same |",
    "input": "| 8 inputs that nobody should have given: 5 files, 2 recipes, 1 texts | files: 1 read, 4 refused; ",
    "publish": "| 1,200 pushes with a fault at one request: 1190 model, 10 pull request | the old state or the new ",
    "coverage": "| 100 simulated comparisons with a known truth, in 2 worlds | 200 groups: the 95 % interval held the "
    "truth in 94.0 to 95.5 %, and 2.0 to 2.0 % were *improved* where nothing had changed; 1 of these "
    "shares are not what is promised |",
    "few_groups": "| 50 simulated comparisons with a known truth, in 1 worlds, with fewer groups than anything is "
    "promised of | 10 groups: the 95 % interval held the truth in 99.0 to 99.0 %, and 0.5 to 0.5 % were *improved* ",
    "endurance": "| 100 runs of 2 kinds (static, soup) in one process | 600.0 MiB, 8 open files and 6 threads after "
    "the 10th; 601.5, 8 and 6 ",
    "mutants": "| 10 small changes to `evaluation/` and `data/`, drawn from 1,234 | 7 noticed, 1 too slow, 2 survived, "
    "0 not run (in lines that no quick test runs); 3 of them in earlier starts |",
}


def test_every_torture_has_a_row_a_flag_and_a_place_in_the_makefile() -> None:
    names = {path.name.removesuffix("_torture.py") for path in (CHECKOUT / "tests").glob("*_torture.py")}
    # And a second one of coverage_torture.
    assert names | {"few_groups"} == set(TOLD) == set(FOUND) == set(ROWS)
    made = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    for name in names:
        source = (CHECKOUT / "tests" / f"{name}_torture.py").read_text(encoding="utf-8")
        assert f'parsed(parser, "{name}")' in source and "keeper.keep(" in source
        assert re.search(rf"tests/{name}_torture\.py --keep[ \n]", made)


@pytest.mark.parametrize("name", sorted(TOLD))
def test_what_was_found_is_a_row_with_the_command_that_finds_it_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torture_record, "ROOT", tmp_path)
    monkeypatch.setattr(torture_record.folder, "__defaults__", (tmp_path,))
    monkeypatch.setattr(sys, "argv", ["torture", "--seed", "3", "--keep"])
    (tmp_path / "model_cards").mkdir()
    Keeper(name, wanted=False, commit=None).keep(FOUND[name])
    assert torture_record.table(tmp_path).count("\n") == 1, "nothing was to be kept"
    Keeper(name, wanted=True, commit="0123456789abcdef").keep(FOUND[name])
    record = json.loads((tmp_path / "model_cards" / "torture" / f"{name}.json").read_text(encoding="utf-8"))
    assert record["found"] == FOUND[name] and record["seconds"] >= 0 and record["machine"]["cores"] > 0
    *_, row = torture_record.table(tmp_path).splitlines()
    plain = row.replace("[", "", 1).replace(f"](model_cards/torture/{name}.json)", "")
    assert plain.startswith(ROWS[name])
    assert f"| `python tests/{name}_torture.py --seed 3` | 0 min, " in row
    assert row.endswith("`0123456789ab` |")


def test_records_of_before_there_were_kinds_of_runs_have_their_rows_too() -> None:
    crash = {name: value for name, value in FOUND["crash"].items() if name in ("moments", "of them")}
    assert TOLD["crash"](crash)[0] == "3 moments at which a run ended: 2 SIGKILL at a file; 1 a full disk"
    endurance = {name: value for name, value in FOUND["endurance"].items() if name != "kinds"}
    assert TOLD["endurance"](endurance)[0] == "100 runs in one process"


def test_the_readmes_table_is_that_of_the_records() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert readme.partition(BEGIN)[2].partition(END)[0].strip() == torture_record.table()


def test_a_torture_keeps_nothing_unless_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = argparse.ArgumentParser()
    monkeypatch.setattr(sys, "argv", ["torture"])
    assert not torture_record.parsed(parser, "crash")[1].wanted
    done = subprocess.run(
        [sys.executable, "tests/coverage_torture.py", "--help"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--keep" in done.stdout
