"""The module through the real ``evaluate.load``, in processes whose caches lie in tmp_path and that know no Hub."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from hf_simtune.evaluation.correlation import spearman
from hf_simtune.evaluation.metric import metric_path

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]

LOADED = """
import json, sys
import evaluate
from hf_simtune.evaluation.metric import metric_path
metric = evaluate.load(metric_path(), keep_in_memory=True)
print(json.dumps([metric.compute(**inputs) for inputs in json.load(sys.stdin)]))
"""
UNWRITABLE = """
import evaluate
from hf_simtune.evaluation.correlation import spearman
from hf_simtune.evaluation.metric import metric_path
try:
    evaluate.load(metric_path())
except OSError as error:
    print(type(error).__name__)
print(spearman([0, 1, 2], [0.1, 0.3, 0.2]))
"""


def run(code: str, home: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    keep = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = keep | {
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "HF_EVALUATE_OFFLINE": "1",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", code], input=given, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def computed(tmp_path_factory) -> list[tuple[dict[str, list[float]], dict[str, object]]]:
    """Inputs, and what the loaded module made of them."""
    rng = np.random.default_rng(7)
    gold = np.round(rng.random(300) * 5, 1)
    close = 0.7 + 1e-5 * rng.random(300)  # ties at float32
    inputs = [
        {"predictions": (gold + rng.normal(size=300)).tolist(), "references": gold.tolist()},
        {"predictions": close.tolist(), "references": (close + 1e-6 * rng.random(300)).tolist()},
        {"predictions": [0.5, 0.5, 0.5], "references": [0, 1, 2]},
        {"predictions": [0.1, 0.2, 0.3], "references": [1, 1, 1]},
        {"predictions": [0.1, math.nan, 0.3], "references": [0, 1, 2]},
        {"predictions": [0.1, None, 0.3], "references": [0, 1, 2]},
        {"predictions": [0.1, math.inf, 0.3], "references": [0, 1, 2]},
        {"predictions": [0.1], "references": [1]},
        {"predictions": [], "references": []},
    ]
    done = run(LOADED, tmp_path_factory.mktemp("home"), json.dumps(inputs))
    assert done.returncode == 0, done.stderr
    return list(zip(inputs, json.loads(done.stdout.splitlines()[-1]), strict=True))


def test_it_computes_what_the_evaluators_function_and_scipy_compute(computed):
    for given, result in computed[:2]:
        assert result == {"spearman": spearman(given["references"], given["predictions"]), "n": 300, "undefined": None}
        expected = stats.spearmanr(given["references"], given["predictions"]).statistic
        assert result["spearman"] == pytest.approx(expected, abs=1e-12)
        assert 0.3 < result["spearman"] < 1


def test_it_works_at_float64_so_that_close_similarities_do_not_tie(computed):
    given, result = computed[1]
    single = spearman(given["references"], np.array(given["predictions"], dtype=np.float32))
    assert abs(single - result["spearman"]) > 1e-6


def test_undefined_is_nan_with_a_reason_and_never_zero(computed):
    assert [(result["n"], result["undefined"]) for _, result in computed[2:]] == [
        (3, "the similarities are constant"),
        (3, "the gold scores are constant"),
        (3, "1 of 3 similarities is NaN"),
        (3, "1 of 3 similarities is NaN"),
        (3, "1 of 3 similarities is infinite"),
        (1, "there is 1 row; a correlation needs at least 2"),
        (0, "there are no rows; a correlation needs at least 2"),
    ]
    assert all(math.isnan(result["spearman"]) for _, result in computed[2:])


def test_with_no_writable_cache_evaluate_cannot_load_it_but_the_function_behind_it_works(tmp_path):
    (tmp_path / "file").write_text("a cache below a file can be made by nobody, root included")
    done = run(UNWRITABLE, tmp_path / "file" / "home")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["NotADirectoryError", "0.5"]


def test_its_path_is_a_folder_named_as_its_script_and_costs_no_heavy_import(tmp_path):
    folder = Path(metric_path())
    assert (folder / f"{folder.name}.py").is_file()
    code = "import sys, hf_simtune.evaluation.metric; print({'evaluate', 'datasets', 'torch'} & set(sys.modules))"
    assert run(code, tmp_path).stdout.strip() == "set()"
