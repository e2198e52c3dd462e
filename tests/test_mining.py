"""Hard negatives: those of a slow search, never a positive or the anchor, and nothing else is touched."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer, SimilarityFunction, SparseEncoder
from sentence_transformers.util import hard_negatives
from tiny import tiny_model, tiny_splade

from hf_simtune.data import mining
from hf_simtune.data.mining import mine
from hf_simtune.data.normalise import normalised
from hf_simtune.errors import RequestError
from hf_simtune.weights import weights_sha256

# fmt: off
WORDS = [
    "game", "goal", "player", "team", "house", "horse", "dog", "cat",
    "street", "music", "night", "day", "train", "bread", "river", "season",
]
# fmt: on
Pair = tuple[str, str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_model(tmp_path_factory.mktemp("models") / "tiny")), device="cpu")


def rows(pairs: list[Pair], first: int = 0) -> Dataset:
    return Dataset.from_dict(
        {
            "anchor": [a for a, _ in pairs],
            "positive": [b for _, b in pairs],
            "row": list(range(first, first + len(pairs))),
        }
    )


def drawn(count: int, seed: int = 0) -> list[Pair]:
    rng = random.Random(seed)
    return [(" ".join(rng.choices(WORDS, k=4)), " ".join(rng.choices(WORDS, k=4))) for _ in range(count)]


def lines(found: Dataset) -> list[tuple[int, str, str, str]]:
    return [(line["row"], line["anchor"], line["positive"], line["negative"]) for line in found]


def generators() -> tuple[str, ...]:
    """The states of all random generators."""
    return repr(random.getstate()), repr(np.random.get_state(legacy=False)), repr(torch.get_rng_state().tolist())


def slowly(
    pairs: list[Pair], model: SentenceTransformer, negatives: int, margin: float
) -> tuple[list[list[float]], float]:
    """Per pair the similarities of the best negatives, by trying every text; and how near a decision came."""
    forms = [(normalised(a), normalised(b)) for a, b in pairs]
    texts: dict[str, str] = {}
    for pair, written in zip(forms, pairs, strict=True):
        texts.setdefault(pair[0], written[0])
    for pair, written in zip(forms, pairs, strict=True):
        texts.setdefault(pair[1], written[1])
    vectors = dict(
        zip(texts, model.encode(list(texts.values()), show_progress_bar=False).astype(np.float64), strict=True)
    )

    def cosine(one: str, other: str) -> float:
        a, b = vectors[one], vectors[other]
        return float(a @ b / np.sqrt((a @ a) * (b @ b)))

    found, closest = [], 1.0
    for anchor, _ in forms:
        own = {b for a, b in forms if a == anchor}
        least = min(cosine(anchor, positive) for positive in own)
        limit = least - abs(least) * margin
        others = [cosine(anchor, other) for other in {b for _, b in forms} - own - {anchor}]
        closest = min([closest, *(abs(value - limit) for value in others)])
        found.append(sorted((value for value in others if value <= limit), reverse=True)[:negatives])
    return found, closest


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pairs=st.lists(
        st.tuples(*[st.lists(st.sampled_from(WORDS[:6]), min_size=1, max_size=3).map(" ".join)] * 2),
        min_size=2,
        max_size=14,
    ),
    negatives=st.integers(1, 3),
    margin=st.sampled_from([0.0, 0.05, 0.3]),
)
def test_the_negatives_are_those_of_a_slow_search(
    model: SentenceTransformer, pairs: list[Pair], negatives: int, margin: float
) -> None:
    expected, closest = slowly(pairs, model, negatives, margin)
    if closest < 1e-4:  # rounding may decide
        return
    if not any(expected):
        with pytest.raises(RequestError, match="has a hard negative"):
            mine(rows(pairs), model, negatives=negatives, margin=margin)
        return
    found, facts = mine(rows(pairs), model, negatives=negatives, margin=margin)
    assert (facts.asked, facts.rows, facts.margin) == (negatives, len(found), margin)
    assert facts.pairs_without == sum(not values for values in expected)
    by_row: dict[int, list[str]] = {}
    for row, anchor, positive, negative in lines(found):
        assert (anchor, positive) == pairs[row]
        assert negative in {b for _, b in pairs}
        by_row.setdefault(row, []).append(negative)
    assert list(by_row) == [row for row, values in enumerate(expected) if values]
    for row, texts in by_row.items():
        vectors = model.encode([pairs[row][0], *texts], show_progress_bar=False)
        near = model.similarity(vectors[:1], vectors[1:])[0].tolist()
        assert near == pytest.approx(expected[row], abs=1e-5)


def test_the_anchor_and_its_known_positives_are_never_negatives_however_they_are_written(
    model: SentenceTransformer,
) -> None:
    pairs = [
        ("the dog", "a cat"),
        ("The dog!", "the horse"),  # the same anchor, with another positive
        ("a street", "THE  DOG"),  # that anchor as the positive of another
        ("a river", "A cat."),
        ("bread", "The Horse"),
        *drawn(20),
    ]
    asked = 40  # more than there are: whatever may be a negative is one
    found, facts = mine(rows(pairs), model, negatives=asked, margin=0.0)
    known = {"thedog": {"thedog", "acat", "thehorse"}}
    seen = [(normalised(anchor), normalised(negative)) for _, anchor, _, negative in lines(found)]
    assert {anchor for anchor, _ in seen} >= {"astreet", "ariver"}
    for anchor, negative in seen:
        own = known.get(anchor, {anchor} | {normalised(b) for a, b in pairs if normalised(a) == anchor})
        assert negative not in own
    assert len(set(zip(found["row"], found["negative"], strict=True))) == len(found) == facts.rows
    assert {negative for anchor, negative in seen if anchor == "astreet"} & {"acat", "thehorse"}


def test_an_anchor_is_not_its_own_negative_where_the_model_cannot_tell_its_positive_from_it(tmp_path: Path) -> None:
    model = SentenceTransformer(str(tiny_model(tmp_path / "tiny")), device="cpu")
    model.max_seq_length = 5  # so that what comes behind three words makes no difference
    pairs = [(f"{a} here", f"{a} there") for a, _ in drawn(20)]
    pairs += [(f"{b} elsewhere", a) for (a, _), (_, b) in zip(pairs, drawn(20), strict=True)]
    found, facts = mine(rows(pairs), model, negatives=1, margin=0.0)
    assert all(normalised(anchor) != normalised(negative) for _, anchor, _, negative in lines(found))
    assert len({row for row in found["row"] if row < 20}) == 20  # the next one takes its place
    assert facts.rows == len(found)


def test_negatives_of_a_pair_stand_together_in_the_order_of_the_pairs_and_rows_keep_their_numbers(
    model: SentenceTransformer,
) -> None:
    pairs = drawn(60)
    found, facts = mine(rows(pairs, first=500), model, negatives=2, margin=0.05, name="a tiny model")
    assert found.column_names == ["anchor", "positive", "negative", "row"]
    assert found["row"][:] == sorted(found["row"])
    assert facts.model == "a tiny model"
    assert facts.pairs_without == 60 - len(set(found["row"]))
    counts = np.unique(found["row"], return_counts=True)[1]
    assert set(counts.tolist()) <= {1, 2}
    for row, anchor, positive, _ in lines(found):
        assert pairs[row - 500] == (anchor, positive)


def test_the_same_again_and_nothing_of_the_model_or_the_generators_is_changed(
    model: SentenceTransformer, capfd: pytest.CaptureFixture[str]
) -> None:
    own = rows(drawn(50))
    shown = vars(hard_negatives)["trange"]
    model.train()
    model[0].eval()
    modes, weights = [module.training for module in model.modules()], weights_sha256(model)
    before = generators()
    capfd.readouterr()
    first, again = (mine(own, model, negatives=3, margin=0.1) for _ in range(2))
    after = generators()
    assert capfd.readouterr() == ("", "")
    assert lines(first[0]) == lines(again[0])
    assert first[1] == again[1]
    assert before == after
    assert [module.training for module in model.modules()] == modes
    assert weights_sha256(model) == weights
    assert vars(hard_negatives)["trange"] is shown
    assert "faiss" not in sys.modules
    model.eval()


def test_in_half_precision_what_is_found_is_as_near_but_for_rounding(model: SentenceTransformer) -> None:
    own = rows(drawn(60))
    whole, half = (lines(mine(own, model, negatives=1, margin=0.1, precision=mode)[0]) for mode in ("fp32", "bf16"))

    def similarities(found: list[tuple[int, str, str, str]]) -> dict[int, float]:
        sides = (model.encode([line[side] for line in found], normalize_embeddings=True) for side in (1, 3))
        return dict(zip([line[0] for line in found], np.sum(np.multiply(*sides), axis=1), strict=True))

    exact, rounded = similarities(whole), similarities(half)
    off = np.array([rounded[row] - exact[row] for row in exact.keys() & rounded.keys()])
    assert len(off) >= 0.9 * len(exact)
    # One at the edge of the margin may fall to its other side, and the next one is then taken.
    assert (np.abs(off) < 0.02).mean() >= 0.8, off
    assert off.any(), "nothing was rounded"
    assert not torch.is_autocast_enabled("cpu")


def test_how_much_is_searched_at_a_time_changes_nothing(
    model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [*drawn(40), *(("one anchor", text) for text, _ in drawn(15, seed=1))]
    whole = lines(mine(rows(pairs), model, negatives=3, margin=0.05)[0])
    monkeypatch.setattr(mining, "CANDIDATES", 2000)
    monkeypatch.setattr(mining, "SIMILARITIES", 100)
    sizes: list[int] = []
    original = mining._slices

    def watched(own: dict[int, dict[int, None]], negatives: int) -> list[list[int]]:
        slices = list(original(own, negatives))
        sizes.extend(map(len, slices))
        return slices

    monkeypatch.setattr(mining, "_slices", watched)
    assert lines(mine(rows(pairs), model, negatives=3, margin=0.05)[0]) == whole
    assert len(sizes) > 10
    assert max(sizes) == 3
    assert sizes[-1] == 1  # the anchor with many positives, alone


def test_negatives_come_from_the_texts_nearest_to_the_anchor(
    model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = drawn(80)
    wide = lines(mine(rows(pairs), model, negatives=1, margin=0.05)[0])
    monkeypatch.setattr(mining, "WINDOW", 8)
    narrow, facts = mine(rows(pairs), model, negatives=1, margin=0.05)
    assert facts.pairs_without > 80 - len(wide)
    assert set(lines(narrow)) < set(wide)  # fewer, and none that is not the nearest


def test_a_model_is_asked_as_it_is_when_it_is_scored(tmp_path: Path) -> None:
    model = SentenceTransformer(str(tiny_model(tmp_path / "tiny")), device="cpu")
    pairs = drawn(40)
    plain = lines(mine(rows(pairs), model, negatives=2, margin=0.05)[0])
    model.prompts, model.default_prompt_name = {"query": "", "document": "", "own": "match of the day: "}, "own"
    prompted = lines(mine(rows(pairs), model, negatives=2, margin=0.05)[0])
    model.prompts, model.default_prompt_name = {"query": "", "document": ""}, None
    prefixed = [(f"match of the day: {a}", f"match of the day: {b}") for a, b in pairs]
    by_hand = lines(mine(rows(prefixed), model, negatives=2, margin=0.05)[0])
    assert [(row, negative) for row, _, _, negative in prompted] == [
        (row, negative.removeprefix("match of the day: ")) for row, _, _, negative in by_hand
    ]
    assert prompted != plain


@pytest.mark.parametrize("similarity", [SimilarityFunction.DOT_PRODUCT, SimilarityFunction.EUCLIDEAN])
def test_other_similarities_find_some_too(tmp_path: Path, similarity: SimilarityFunction) -> None:
    model = SentenceTransformer(str(tiny_model(tmp_path / "tiny")), device="cpu", similarity_fn_name=similarity)
    found, facts = mine(rows(drawn(40)), model, negatives=2, margin=0.05)
    vectors = {text: model.encode([text], normalize_embeddings=True) for pair in drawn(40) for text in pair}
    assert facts.rows > 20
    for _, anchor, positive, negative in lines(found):
        own, other = (float(model.similarity_pairwise(vectors[anchor], vectors[t])) for t in (positive, negative))
        assert other <= own - abs(own) * 0.05 + 1e-5


def test_no_negative_at_all_is_told_with_what_to_type(model: SentenceTransformer) -> None:
    with pytest.raises(RequestError) as caught:
        mine(rows([("the same", f"{word} of the day") for word in WORDS]), model, negatives=2, margin=0.25)
    assert "none of 16 pairs has a hard negative" in str(caught.value)
    assert "at most 0.75 times as similar" in str(caught.value)
    assert "a smaller --negative-margin than 0.25" in str(caught.value.hint)


def test_what_cannot_be_mined_is_refused_with_all_problems(model: SentenceTransformer, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        mine(
            rows(drawn(5)).rename_column("positive", "score"),
            SparseEncoder(str(tiny_splade(tmp_path / "splade")), device="cpu"),  # type: ignore[arg-type]
            negatives=0,
            margin=float("nan"),
        )
    told = str(caught.value)
    for part in ("--mine-negatives is 0", "--negative-margin is nan", "not in anchor, score, row", "SparseEncoder"):
        assert part in told
    triplets = rows(drawn(5)).add_column("negative", ["a"] * 5)
    with pytest.raises(RequestError, match="in pairs: anchor, positive, row"):
        mine(triplets, model, negatives=1, margin=0.0)
