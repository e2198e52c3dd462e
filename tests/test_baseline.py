"""The untouched all-MiniLM-L6-v2 on the real STS Benchmark: the figures that every gain is measured from."""

from __future__ import annotations

from pathlib import Path

import pytest

import hf_simtune


@pytest.mark.slow
@pytest.mark.parametrize(("split", "rows", "expected"), [("validation", 1500, 86.716), ("test", 1379, 82.032)])
def test_the_untouched_minilm_scores_its_published_figure(
    minilm: Path, shared_hub: Path, split: str, rows: int, expected: float
) -> None:
    scored = hf_simtune.score("builtin:all-MiniLM-L6-v2", f"{shared_hub}/sentence-transformers/stsb:{split}")
    assert scored.score.n == rows
    assert scored.score.spearman is not None
    assert 100 * scored.score.spearman == pytest.approx(expected, abs=0.005)
    assert scored.similarity == "cosine"
