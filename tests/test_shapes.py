"""Which columns make which shape."""

from __future__ import annotations

import pytest

from hf_simtune.data.shapes import Column, Layout, find_layout
from hf_simtune.errors import RequestError

TEXT, NUMBER, LIST2, LIST3 = Column("text"), Column("number"), Column("list", length=2), Column("list", length=3)


def columns(*names: str, **others: Column) -> dict[str, Column]:
    return {**dict.fromkeys(names, TEXT), **others}


@pytest.mark.parametrize(
    ("source", "shape", "found"),
    [
        (columns("anchor", "positive"), "pairs", ("anchor", "positive")),
        (columns("Answer", "Query"), "pairs", ("Query", "Answer")),
        (columns("id", "source_sentence", "target_sentence"), "pairs", ("source_sentence", "target_sentence")),
        (columns("source", "target"), "pairs", ("source", "target")),
        (columns("english", "simple", idx=NUMBER), "pairs", ("english", "simple")),
        (columns("question", "answer", "negative"), "triplets", ("question", "answer", "negative")),
        (columns("anchor", "positive", "hard-negative"), "triplets", ("anchor", "positive", "hard-negative")),
        (columns("sentence1", "sentence2", score=NUMBER), "scored", ("sentence1", "sentence2", "score")),
        (columns("Sentence 1", "Sentence 2", Label=NUMBER), "scored", ("Sentence 1", "Sentence 2", "Label")),
        (columns("left", "right", rating=NUMBER), "scored", ("left", "right", "rating")),
        (columns("text", id=NUMBER), "sentences", ("text",)),
        (columns("body"), "sentences", ("body",)),
    ],
)
def test_columns_are_known_by_name_then_by_kind(source: dict[str, Column], shape: str, found: tuple[str, ...]) -> None:
    layout = find_layout(source)
    assert (layout.shape, layout.columns, layout.expand) == (shape, found, False)


@pytest.mark.parametrize(("column", "shape"), [(LIST2, "pairs"), (LIST3, "triplets")])
def test_a_column_of_lists_holds_all_the_texts_of_a_row(column: Column, shape: str) -> None:
    assert find_layout({"set": column}) == Layout(shape, ("set",), expand=True)
    assert find_layout({"set": column, "id": NUMBER}, columns=["set"]) == Layout(shape, ("set",), expand=True)


def test_lists_of_another_length_are_refused() -> None:
    with pytest.raises(RequestError, match="lists of 4 texts"):
        find_layout({"set": Column("list", length=4)})


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (columns("anchor", "positive", "query", "answer"), "can be read as anchor + positive or as query + "),
        (columns("a", "b", "c"), "does not show which columns"),
        (columns("sentence1", "sentence2", score=NUMBER, label=NUMBER), "more than one column that may be the score"),
        (columns("anchor", "positive", "negative", score=NUMBER), "scored pairs or as triplets"),
        ({"x": NUMBER}, "does not show which columns"),
    ],
)
def test_what_is_ambiguous_is_refused_with_the_columns_and_the_flags(source: dict[str, Column], says: str) -> None:
    with pytest.raises(RequestError) as caught:
        find_layout(source, title="pairs.csv")
    message = str(caught.value)
    assert says in message
    assert "pairs.csv" in message
    assert "--columns" in message
    assert "--shape" in message
    assert all(f"{name} ({column.kind})" in message for name, column in source.items())


def test_told_columns_and_shapes_are_taken_as_told() -> None:
    source = columns("a", "b", "c", n=NUMBER)
    assert find_layout(source, columns=["c", "a"]).columns == ("c", "a")
    assert find_layout(source, columns=["b", "a", "n"]).shape == "scored"
    assert find_layout(source, columns=["b", "a", "c"]).shape == "triplets"
    assert find_layout(source, columns=["b"]).shape == "sentences"
    scored = columns("sentence1", "sentence2", score=NUMBER)
    assert find_layout(scored, shape="pairs").columns == ("sentence1", "sentence2")
    with pytest.raises(RequestError, match="--eval-columns names 2 columns; scored takes 3"):
        find_layout(source, columns=["a", "b"], shape="scored", flags="--eval-")


def test_a_column_that_is_not_there_is_named_with_the_closest() -> None:
    with pytest.raises(RequestError, match="no column 'sentense1'; did you mean sentence1"):
        find_layout(columns("sentence1", "sentence2"), columns=["sentense1", "sentence2"])


def test_scored_pairs_are_never_taken_for_positive_pairs_unless_told() -> None:
    source = columns("sentence1", "sentence2", score=NUMBER)
    with pytest.raises(RequestError, match="--columns sentence1 sentence2 --shape pairs"):
        find_layout(source, expect=("pairs", "triplets"))
    assert find_layout(source, shape="pairs", expect=("pairs",)).shape == "pairs"


@pytest.mark.parametrize(
    ("label", "good"),
    [
        (NUMBER, True),
        (Column("class", ("not_duplicate", "duplicate")), True),
        (Column("class", ("entailment", "not_entailment")), False),
        (Column("class", ("entailment", "neutral", "contradiction")), False),
        (Column("text", example="'neutral'"), False),
    ],
)
def test_a_class_is_a_score_only_where_its_names_say_which_end_is_the_same(label: Column, good: bool) -> None:
    source = columns("premise", "hypothesis", label=label)
    if good:
        assert find_layout(source).columns == ("premise", "hypothesis", "label")
    else:
        with pytest.raises(RequestError, match="not a score"):
            find_layout(source)


def test_groups_and_parts_are_kept_for_scored_rows_only() -> None:
    scored = columns("sentence1", "sentence2", "genre", score=NUMBER, group=NUMBER)
    layout = find_layout(scored)
    assert (layout.group, layout.subset) == ("group", "genre")
    assert find_layout(scored, columns=["sentence1", "genre", "score"]).subset is None
    assert find_layout(columns("anchor", "positive", "genre")).subset is None
    assert find_layout({**scored, "group": TEXT, "genre": NUMBER}) == Layout(
        "scored", ("sentence1", "sentence2", "score")
    )


@pytest.mark.parametrize(
    ("there", "asked", "meant"),
    [
        (("sentence1", "sentence2"), ("sentense1", "sentens2"), "sentence1 sentence2"),
        (("sentence1", "sentence2"), ("sentence_2", "sentence_1"), "sentence2 sentence1"),
        (("sentence1", "sentence2"), ("sentenceA", "sentenceB"), "sentence1 sentence2"),
        (("sentence1", "sentence2", "other"), ("sentence1", "sentense1"), "sentence2"),
    ],
)
def test_missing_columns_are_each_given_a_column_of_their_own(
    there: tuple[str, ...], asked: tuple[str, ...], meant: str
) -> None:
    with pytest.raises(RequestError) as caught:
        find_layout(columns(*there), columns=asked)
    assert f"; did you mean {meant}? Its columns: " in caught.value.problems[0]


def test_no_column_is_suggested_for_a_name_that_none_is_near() -> None:
    with pytest.raises(RequestError, match=r"has no column 'xyz', 'sentense'\. Its columns: "):
        find_layout(columns("sentence1", "sentence2"), columns=["xyz", "sentense"])
    with pytest.raises(RequestError, match=r"has no column 'sentense', 'sentens'\. Its columns: "):
        find_layout(columns("sentence"), columns=["sentense", "sentens"])
