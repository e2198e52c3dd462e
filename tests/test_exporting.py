"""A run's model as ONNX: the same embeddings, scored and timed, in the card, and published with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import CHECKOUT
from published import teachable
from sentence_transformers import SentenceTransformer
from test_tuning import small
from tiny import tiny_model, tiny_static

from hf_simtune import cli, onnx_export, publish_files, tune
from hf_simtune.errors import RequestError
from hf_simtune.exporting import export
from hf_simtune.onnx_export import FP32, INT8, OnnxModel
from hf_simtune.record import RunRecord
from hf_simtune.run_folder import RunFolder

pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
TEXTS = [
    "a dog runs",
    "the small cat sat on the mat by the river",
    "x",
    "A longer text of some more words, and of signs!",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    model = tiny_model(folder / "tiny")
    return tune(small(model, evaluations=1, epochs=1.0), out=folder / "runs").folder


def test_the_files_give_the_models_embeddings(tmp_path: Path) -> None:
    model = SentenceTransformer(str(tiny_model(tmp_path / "tiny")), device="cpu")
    files = onnx_export.export(model, tmp_path / "tiny", TEXTS)
    vectors = model.encode(TEXTS)
    whole, eighth = (OnnxModel(files[name], model).encode(TEXTS) for name in (FP32, INT8))
    assert np.abs(whole - vectors).max() < 1e-5
    assert 1e-4 < np.abs(eighth - vectors).max() < 0.3
    assert files[INT8].stat().st_size < files[FP32].stat().st_size


def test_an_export_is_scored_timed_told_and_published(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(argv=["export", str(run), "--json", "--quiet"])
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out)
    record = RunRecord.load(run / "record.json")
    assert [one["file"] for one in told] == [one.file for one in record.exports] == ["", FP32, INT8]
    original, whole, _ = record.exports
    spearman = record.report.tuned.spearman
    assert spearman is not None and original.spearman == pytest.approx(spearman, abs=1e-6)
    assert whole.spearman == pytest.approx(spearman, abs=1e-4)
    assert all(one.sentences_per_second > 0 and one.megabytes > 0 for one in record.exports)
    for card in (run / "README.md", run / "model" / "README.md"):
        text = card.read_text(encoding="utf-8")
        assert "## Other formats" in text and f"`{INT8}`" in text
    files, left = publish_files.collect(RunFolder(run), [FP32, INT8])
    assert {FP32, INT8} <= files.keys() and left == []
    assert publish_files.collect(RunFolder(run))[1] == [FP32, INT8]


def test_what_cannot_be_exported_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no finished run"):
        export(tmp_path)
    static = tune(teachable(tiny_static(tmp_path / "static"), tmp_path), out=tmp_path / "runs").folder
    with pytest.raises(RequestError, match="an export is of a dense model with one transformer"):
        export(static)


def test_the_extra_and_the_pins_name_the_same_packages() -> None:
    pins = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8")
    assert all(f"\n{name}==" in pins for name in ("onnx", "onnxruntime"))
