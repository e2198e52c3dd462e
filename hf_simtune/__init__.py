"""Tune a sentence-embedding model for semantic similarity with one command, and know whether it got better.

Every name is imported when it is first used: ``import hf_simtune`` loads neither torch nor transformers.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hf_simtune.tellable import guard
from hf_simtune.version import __version__

if TYPE_CHECKING:
    from hf_simtune.callback import SimtuneCallback
    from hf_simtune.cli import main
    from hf_simtune.diagnosing import diagnose
    from hf_simtune.errors import SimtuneError
    from hf_simtune.evaluation.metric import metric_path
    from hf_simtune.evaluation.sts import SimilarityEvaluator
    from hf_simtune.guard import CollapseGuard
    from hf_simtune.lora import LoRA
    from hf_simtune.publishing import Published, publish
    from hf_simtune.recipe import Recipe
    from hf_simtune.record import RunRecord
    from hf_simtune.scoring import compare, score
    from hf_simtune.several import tune_several
    from hf_simtune.sweeping import sweep
    from hf_simtune.tuning import Run, tune

__all__ = [
    "CollapseGuard",
    "LoRA",
    "Published",
    "Recipe",
    "Run",
    "RunRecord",
    "SimilarityEvaluator",
    "SimtuneCallback",
    "SimtuneError",
    "__version__",
    "compare",
    "diagnose",
    "main",
    "metric_path",
    "publish",
    "score",
    "sweep",
    "tune",
    "tune_several",
]

_PLACES = {
    "CollapseGuard": "guard",
    "LoRA": "lora",
    "Published": "publishing",
    "Recipe": "recipe",
    "Run": "tuning",
    "RunRecord": "record",
    "SimilarityEvaluator": "evaluation.sts",
    "SimtuneCallback": "callback",
    "SimtuneError": "errors",
    "compare": "scoring",
    "diagnose": "diagnosing",
    "main": "cli",
    "metric_path": "evaluation.metric",
    "publish": "publishing",
    "score": "scoring",
    "sweep": "sweeping",
    "tune": "tuning",
    "tune_several": "several",
}

guard(logging.getLogger("hf_simtune"))


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'hf_simtune' has no attribute {name!r}")
    return getattr(import_module(f"hf_simtune.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
