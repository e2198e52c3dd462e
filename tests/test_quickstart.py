"""The notebook for Colab: what it says, and that it runs as it stands, without a Hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from conftest import CHECKOUT
from nbclient import NotebookClient
from published import teachable
from tiny import tiny_static

PLACE = CHECKOUT / "recipes" / "quickstart.ipynb"
STEPS = ["install", "tune", "look", "publish"]


def notebook() -> Any:
    return nbformat.read(PLACE, as_version=4)


def cell(book: Any, tag: str) -> Any:
    (found,) = (one for one in book.cells if tag in one.metadata.get("tags", []))
    return found


def test_it_has_one_line_for_each_step_no_outputs_and_a_badge_that_opens_this_very_file() -> None:
    book = notebook()
    nbformat.validate(book)
    for tag in STEPS:
        assert len(cell(book, tag).source.splitlines()) == 1
    code = [one for one in book.cells if one.cell_type == "code"]
    assert [one.metadata.tags for one in code] == [["install"], ["parameters"], ["tune"], ["look"], ["publish"]]
    assert all(one.outputs == [] and one.execution_count is None for one in code)
    given: dict[str, Any] = {}
    exec(cell(book, "parameters").source, given)
    assert given["recipe"].check() == [] and given["offline"] is False
    badge = "https://colab.research.google.com/github/OWNER/hf-simtune/blob/main/recipes/quickstart.ipynb"
    assert badge in book.cells[0].source and badge in (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert "git+https://github.com/OWNER/hf-simtune" in cell(book, "install").source
    assert PLACE.read_text(encoding="utf-8") == nbformat.writes(book, indent=1) + "\n"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_runs_as_it_stands_on_rows_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the install cell, as this is what is installed; other parameters stand behind those of the notebook."""
    teachable(tiny_static(tmp_path / "tiny"), tmp_path)
    book = notebook()
    book.cells.remove(cell(book, "install"))
    few = 'recipe = Recipe(name="quickstart", model="tiny", train_data="pairs.csv", select_on="select.csv",\n'
    few += '    report_on="report.csv", epochs=3, learning_rate=0.03, batch_size=16, evaluations=2, precision="fp32")'
    given = nbformat.v4.new_code_cell(few, id="given")
    book.cells.insert(book.cells.index(cell(book, "parameters")) + 1, given)
    for name, value in {"PYTHONPATH": str(CHECKOUT), "IPYTHONDIR": str(tmp_path), "HF_HUB_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = next(output.data for output in cell(book, "look").outputs if "data" in output)["text/html"]
    assert re.search(r"<td>report\.csv</td><td>report</td><td>200</td><td>[\d.]+</td><td>[\d.]+</td><td>\+", shown)
    assert "Improved: Spearman" in shown and "data:image/png;base64,iVBOR" in shown
    (told,) = (output.data["text/plain"] for output in cell(book, "publish").outputs if "data" in output)
    assert "model.safetensors" in told and "record.json" in told
