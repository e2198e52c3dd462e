"""Spearman's rank correlation as an ``evaluate`` module that names undefined values instead of scoring them.

Load it by path: ``evaluate.load(hf_simtune.metric_path())``.
"""

# evaluate reads the imports by pattern to check what is installed: never two modules in one import statement.
from __future__ import annotations

from typing import Any

import datasets
import evaluate

from hf_simtune.evaluation.correlation import UndefinedCorrelation, spearman

__all__ = ["Spearman"]

_DESCRIPTION = """\
Spearman's rank correlation of a model's similarities with the scores that people gave, ties at their mean rank.
Where it does not exist (constant values, NaN, infinity, fewer than two rows) it is NaN and `undefined` says why.
"""

_INPUTS = """\
Args:
    predictions: similarities given by a model, floats, any scale.
    references: scores given by people, floats, any scale.
Returns:
    spearman: -1..1, NaN where undefined.
    n: number of rows.
    undefined: why there is no correlation, None where there is one.
Examples:
    >>> metric = evaluate.load(hf_simtune.metric_path())
    >>> metric.compute(predictions=[0.1, 0.4, 0.9], references=[0, 2, 5])
    {'spearman': 1.0, 'n': 3, 'undefined': None}
"""

_CITATION = """\
@article{spearman1904,
  author = {Spearman, Charles},
  title = {The Proof and Measurement of Association between Two Things},
  journal = {The American Journal of Psychology},
  volume = {15},
  number = {1},
  pages = {72--101},
  year = {1904}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class Spearman(evaluate.Metric):
    """Spearman's rank correlation of similarities with gold scores."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            # float64: at float32 close similarities would tie, and the score would differ from the evaluator's.
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
            ),
        )

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, Any]:
        try:
            value, undefined = spearman(references, predictions), None
        except UndefinedCorrelation as error:
            value, undefined = float("nan"), error.reason
        return {"spearman": value, "n": len(predictions), "undefined": undefined}
