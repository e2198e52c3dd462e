"""A run's model as ONNX: the same embeddings, scored and timed, in the card, and published with it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import CHECKOUT
from published import teachable
from sentence_transformers import SentenceTransformer
from test_tuning import small
from tiny import tiny_model, tiny_static

from hf_simtune import cli, model_names, onnx_export, publish_files, publishing, tune
from hf_simtune.errors import RequestError
from hf_simtune.exporting import export
from hf_simtune.lora import LoRA
from hf_simtune.onnx_export import FP32, INT8, OnnxModel
from hf_simtune.publishing import Published
from hf_simtune.record import RunRecord
from hf_simtune.run_folder import RunFolder

pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
PUBLISHED = Published(repository="me/model", files=(), left_out=(), allowed=(), proof="loaded back")
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


@pytest.mark.parametrize("name", ["tiny", pytest.param("minilm", marks=pytest.mark.slow)])
def test_openvino_reads_the_file_and_gives_the_models_embeddings(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    openvino = pytest.importorskip("openvino", reason="needs the package openvino")
    folder = tmp_path / "model"
    if name == "tiny":
        tiny_model(folder)
    else:
        shutil.copytree(request.getfixturevalue("minilm"), folder)
    model = SentenceTransformer(str(folder), device="cpu")
    path = onnx_export.export(model, folder, TEXTS)[FP32]
    # Without the hint it may compute in bf16: that differs by 1e-3.
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    features = model.preprocess(TEXTS)
    found = compiled({name: features[name].numpy() for name in onnx_export.INPUTS})["sentence_embedding"]
    assert np.abs(found - model.encode(TEXTS)).max() < 1e-5


def test_a_run_is_exported_at_its_end(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "tiny")
    done = tune(small(model, evaluations=1, epochs=1.0, export="onnx"), out=tmp_path / "runs")
    record = RunRecord.load(done.folder / "record.json")
    assert [one.file for one in done.record.exports] == ["", FP32, INT8] and record == done.record
    assert (done.folder / "model" / FP32).is_file() and "export" not in record.recipe
    assert "--export" not in record.command and "OpenVINO" in (done.folder / "README.md").read_text(encoding="utf-8")


def test_what_cannot_be_exported_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    static = tiny_static(tmp_path / "static")
    for model, more, told in (
        (static, {}, "is a static model"),
        (tmp_path / "m", {"lora": LoRA()}, "add --merge"),
        (tmp_path / "m", {"sparse": "csr"}, "is of a dense model"),
    ):
        with pytest.raises(RequestError, match=told):
            tune(small(model, export="onnx", **more), out=tmp_path / "runs")
    with pytest.raises(SystemExit) as ended:
        cli.main(argv=["tune", "mnrl_minilm", "--offline", "--export", "tflite", "--out", str(tmp_path / "runs")])
    assert ended.value.code == 2 and "--export is 'tflite': it must be one of onnx" in capsys.readouterr().err
    monkeypatch.setattr(model_names, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        cli.main(argv=["tune", "mnrl_minilm", "--offline", "--export", "onnx", "--dry-run"])
    assert ended.value.code == 2 and capsys.readouterr().err.count("pip install 'hf-simtune[onnx]'") == 2
    assert not (tmp_path / "runs").exists()


def test_a_run_is_exported_before_it_is_published_if_it_is_not_yet(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(copy / "model" / "onnx", ignore_errors=True)
    dataclasses.replace(RunRecord.load(copy / "record.json"), exports=()).save(copy / "record.json")
    called = []
    monkeypatch.setattr(publishing, "publish", lambda *words, **named: called.append(words) or PUBLISHED)

    def publish(*more: str) -> int | str | None:
        with pytest.raises(SystemExit) as ended:
            cli.main(argv=["publish", str(copy), "--export", "onnx", "--quiet", *more])
        return ended.value.code

    assert publish("--to", "no-name") == 2 and publish("--to", "me/model", "--dry-run") == 0
    assert "not on a dry run" in capsys.readouterr().err and not (copy / "model" / FP32).exists()
    assert publish("--to", "me/model") == 0 and (copy / "model" / FP32).is_file()
    written = (copy / "model" / FP32).stat().st_mtime_ns
    assert publish("--to", "me/model") == 0 and len(called) == 3
    assert (copy / "model" / FP32).stat().st_mtime_ns == written


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
