"""How hard the built-in corpus is: word counts fail, the untouched model does better, and room is left above it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hf_simtune.data.sports import DEFAULT_ROWS, generate

# Spearman x100. A corpus that word counts solve, or that leaves the base no room, would say nothing about tuning.
WORDS_AT_MOST = 40.0
BASE_BETWEEN = (60.0, 75.0)


def rows_of(split: str) -> list[dict[str, Any]]:
    return list(generate("scored", split, DEFAULT_ROWS["scored", split]))


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def spearman(similarities: Any, rows: list[dict[str, Any]]) -> float:
    from scipy.stats import spearmanr

    return 100 * float(spearmanr(similarities, [row["score"] for row in rows])[0])


def bags_of_words(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Spearman x100 of four ways to count words, the strongest baselines without a model."""
    import numpy as np

    first, second = ([words_of(row[name]) for row in rows] for name in ("sentence1", "sentence2"))
    index = {word: place for place, word in enumerate(sorted({word for text in first + second for word in text}))}
    counts = np.zeros((2, len(rows), len(index)))
    for side, texts in enumerate((first, second)):
        for place, text in enumerate(texts):
            for word in text:
                counts[side, place, index[word]] += 1
    weights = np.log((1 + 2 * len(rows)) / (1 + (counts > 0).sum((0, 1)))) + 1

    def cosine(vectors: Any) -> Any:
        unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
        return (unit[0] * unit[1]).sum(-1)

    present = counts > 0
    jaccard = (present[0] & present[1]).sum(-1) / (present[0] | present[1]).sum(-1)
    ways = {
        "counts": cosine(counts),
        "binary": cosine(1.0 * present),
        "tf-idf": cosine(counts * weights),
        "jaccard": jaccard,
    }
    return {name: spearman(similarities, rows) for name, similarities in ways.items()}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_bag_of_words_does_not_solve_it(split: str) -> None:
    scores = bags_of_words(rows_of(split))
    assert all(0 < score < WORDS_AT_MOST for score in scores.values()), scores


@pytest.mark.slow
def test_the_untouched_minilm_beats_word_counts_and_leaves_room(minilm: Path) -> None:
    from sentence_transformers import SentenceTransformer

    rows = rows_of("test")
    model = SentenceTransformer(str(minilm), device="cpu")
    first, second = (
        model.encode([row[name] for row in rows], normalize_embeddings=True, batch_size=64, show_progress_bar=False)
        for name in ("sentence1", "sentence2")
    )
    base = spearman((first * second).sum(1), rows)
    assert max(BASE_BETWEEN[0], *bags_of_words(rows).values()) < base < BASE_BETWEEN[1]


def test_the_readme_states_what_word_counts_reach() -> None:
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    found = re.search(r"the best of four bags of words reaches\s+([\d.]+)", readme)
    assert found is not None
    assert max(bags_of_words(rows_of("test")).values()) == pytest.approx(float(found[1]), abs=0.05)
