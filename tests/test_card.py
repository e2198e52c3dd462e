"""The card of a run: the whole of it, what it must say, and what hostile text cannot do to it."""

from __future__ import annotations

import dataclasses
import os
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import sample_record
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from sample_record import HOSTILE
from sample_ways import SAMPLES

from hf_simtune.card import Release, render
from hf_simtune.card_metadata import check_metadata, metadata
from hf_simtune.errors import RunError
from hf_simtune.evaluation.compare import certainty, power_sentence, verdict_sentence
from hf_simtune.publish_gate import against
from hf_simtune.record import RunRecord, Score

GOLDEN = Path(__file__).parent / "golden"


def markdown(page: str) -> str:
    return re.sub(r"\A---\n.*?\n---\n", "", page, count=1, flags=re.DOTALL)


def front_matter(page: str) -> dict[str, Any]:
    found = re.match(r"\A---\n(.*?)\n---\n", page, flags=re.DOTALL)
    assert found
    value = yaml.safe_load(found.group(1))
    assert isinstance(value, dict)
    return value


def structure(page: str) -> list[str]:
    """The kinds of blocks, the headings' levels and the tables' cells, in order, without any text."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown(page))
    return [token.type + token.tag for token in tokens]


def inline_kinds(page: str) -> set[str]:
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown(page))
    return {child.type for token in tokens for child in token.children or ()}


def outside_fences(page: str) -> str:
    return re.sub(r"^(`{3,}).*?^\1$", "", markdown(page), flags=re.DOTALL | re.MULTILINE)


def section(page: str, heading: str) -> str:
    return page.split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]


CARDS = ("improved", "no_evidence", "lora", "splade", "csr", "matryoshka", "script")


@pytest.mark.parametrize("name", CARDS)
def test_the_whole_card_is_the_golden_one(name: str) -> None:
    path = GOLDEN / f"card_{name}.md"
    page = render(SAMPLES[name]())
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(page, encoding="utf-8")
    assert page == path.read_text(encoding="utf-8")


def released(name: str) -> str:
    """The card of a release; with all that speaks against the run, as it was allowed."""
    record = SAMPLES[name]()
    leak = dataclasses.replace(record.leakage[0], pairs_exact=3, rows_dropped=0)
    record = dataclasses.replace(record, leakage=(leak, *record.leakage[1:])) if name == "no_evidence" else record
    reasons = against(record, "other", searched=False) if name == "no_evidence" else []
    allowed = tuple(reason.shown or reason.told for reason in reasons)
    return render(record, [("plots/scores.png", "Dots.")], Release("me/model", allowed, claims=not allowed))


@pytest.mark.parametrize("name", ["lora", "no_evidence"])
def test_the_whole_card_of_a_release_is_the_golden_one(name: str) -> None:
    path = GOLDEN / f"card_{name}_released.md"
    page = released(name)
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(page, encoding="utf-8")
    assert page == path.read_text(encoding="utf-8")
    assert "model/`" not in page and "run folder" not in page, "a repository has neither"


def test_a_card_made_from_the_saved_record_is_the_same(tmp_path: Path) -> None:
    record = sample_record.improved()
    record.save(tmp_path / "record.json")
    assert render(RunRecord.load(tmp_path / "record.json")) == render(record)


def test_an_improved_run_opens_with_the_verdict_and_its_figures() -> None:
    opening = markdown(render(sample_record.improved())).split("\n## ", 1)[0]
    for fact in ("**Improved.**", "70.00", "72.25", "+2.25", "+1.31 to +3.19", "p &lt; 0.001", "1,379 rows"):
        assert fact in opening
    comparison = sample_record.improved().report.comparison
    assert comparison
    assert f"> {power_sentence(comparison)}\n" in opening
    assert "a gain of 1.34 points or more" in opening
    assert "400 more labelled rows would bring that to 1.18" in opening


def test_card_and_terminal_word_the_same_figures() -> None:
    comparison = sample_record.improved().report.comparison
    assert comparison
    sure = certainty(comparison)
    assert sure == "95 % interval +1.31 to +3.19, p < 0.001"
    assert f"({sure})" in verdict_sentence(comparison)
    assert f"({sure})".replace("<", "&lt;") in render(sample_record.improved())


def test_the_card_claims_no_more_than_what_this_run_selected() -> None:
    page = " ".join(render(sample_record.improved()).split())
    assert "(1,379 rows, not used for selection in this run)" in page
    assert "This run selected nothing on them." in page
    assert "never used" not in page
    assert "chose nothing" not in page


def test_the_rows_that_chose_the_checkpoint_get_no_verdict() -> None:
    lines = section(render(sample_record.improved()), "Before and after").splitlines()
    (select,) = (line for line in lines if "stsb:validation" in line)
    assert "chose the checkpoint, no verdict" in select
    assert select.endswith("| 76.00 | 78.40 | – | – | – |")  # noqa: RUF001


def test_a_regression_is_told_as_one() -> None:
    record = sample_record.improved()
    comparison = record.report.comparison
    assert comparison
    worse = dataclasses.replace(comparison, difference=-0.02, low=-0.03, high=-0.00001, verdict="regressed", tuned=0.68)
    report = dataclasses.replace(record.report, comparison=worse, tuned=Score(n=1379, spearman=0.68, pearson=0.7))
    page = render(dataclasses.replace(record, evaluations=(report, *record.evaluations[1:])))
    assert "> **Regressed: the tuned model is worse than its base.**" in page
    assert "fell from **70.00** to **68.00**" in page
    assert "-3.00 to -0.001" in page  # two decimals would show an end that looks like zero


def test_an_interval_that_holds_zero_is_no_evidence() -> None:
    record = sample_record.improved()
    comparison = record.report.comparison
    assert comparison
    unsure = dataclasses.replace(comparison, low=-0.004, verdict="no evidence")
    report = dataclasses.replace(record.report, comparison=unsure)
    page = render(dataclasses.replace(record, evaluations=(report, *record.evaluations[1:])))
    assert "> **No evidence of a change.**" in page
    assert "The interval holds zero" in page


def test_an_undefined_score_is_named_with_its_reason_and_never_a_number() -> None:
    record = sample_record.improved()
    why = "the tuned model's similarities are constant"
    comparison = record.report.comparison
    assert comparison
    none = dataclasses.replace(
        comparison, tuned=None, difference=None, low=None, high=None, p=None, verdict="no evidence", reason=why
    )
    tuned = Score(n=1379, spearman=None, pearson=None, undefined=why)
    report = dataclasses.replace(record.report, comparison=none, tuned=tuned, subsets=())
    record = dataclasses.replace(record, evaluations=(report, *record.evaluations[1:]))
    page = render(record)
    assert f"cannot be judged: {why}." in page
    (row,) = (line for line in section(page, "Before and after").splitlines() if "the primary comparison" in line)
    assert f"**undefined: {why}** | **undefined: {why}** | **undefined** | **undefined** |" in row
    assert not re.search(r"\bnan\b|\bNaN\b|\bNone\b|\binf\b", page)
    assert "model-index" not in metadata(record)


def test_a_kept_base_is_said_to_be_the_base() -> None:
    page = render(sample_record.no_evidence())
    assert "`model/` holds the base unchanged" in page.split("\n## ", 1)[0]
    assert "| 0 (base) **chosen** | 0 | **59.00** |" in page
    value = front_matter(page)
    assert "base_model_relation" not in value
    assert "datasets" not in value
    assert "base-unchanged" in value["tags"]


@pytest.mark.parametrize("best", [0, 32])
def test_an_offline_run_is_labelled_everywhere_and_never_stands_for_stsb(best: int) -> None:
    record = sample_record.no_evidence()
    record = dataclasses.replace(record, training=dataclasses.replace(record.training, best_step=best))
    page = render(record)
    value = front_matter(page)
    assert "offline" in value["tags"]
    assert "model-index" not in value
    assert "datasets" not in value
    assert "stsb" not in page.lower()
    title, opening = markdown(page).strip().split("\n## ", 1)[0].split("\n", 1)
    assert title.endswith("(OFFLINE)")
    assert "**OFFLINE run.**" in opening
    for line in section(page, "Before and after").splitlines():
        assert ("builtin:" in line) <= ("(OFFLINE)" in line)
    assert "not scores of the STS Benchmark" in section(page, "What it must not be used for")


def test_a_run_with_the_hub_is_not_labelled_offline() -> None:
    assert "offline" not in render(sample_record.improved()).lower()


def test_the_card_says_that_the_base_has_seen_the_training_data() -> None:
    leakage = section(render(sample_record.improved()), "Leakage")
    assert (
        "the base model's card lists this data set among its own training data: "
        "this run retrains on data that the base has seen" in leakage
    )


def test_that_the_base_has_seen_the_training_data_stands_in_the_opening_too() -> None:
    said = "> **This run retrains on data that the base has seen**: the base model's card lists "
    record = sample_record.improved()
    assert record.training.source.kind == "local copy"
    opening = markdown(render(record)).split("\n## ", 1)[0]
    assert f"{said}`embedding-data/sentence-compression`." in opening
    other = dataclasses.replace(record.training.source, name="acme/secret")
    unseen = dataclasses.replace(record, training=dataclasses.replace(record.training, source=other))
    assert "retrains" not in render(unseen)
    seen = dataclasses.replace(record.base, trained_on=("sentence-transformers/stsb",))
    opening = markdown(render(dataclasses.replace(record, base=seen))).split("\n## ", 1)[0]
    assert "> **Not unseen data**: the base model's card lists `sentence-transformers/stsb`" in opening


@pytest.mark.parametrize(
    ("seen", "warning"),
    [
        ("sentence-transformers/stsb", "lists this evaluation data set among its own training data"),
        ("mteb/sts14-sts", "`mteb/sts14-sts`, which shares rows with this evaluation data set"),
    ],
)
def test_the_card_warns_when_the_base_has_seen_the_evaluation_data_or_its_relatives(seen: str, warning: str) -> None:
    record = sample_record.improved()
    record = dataclasses.replace(record, base=dataclasses.replace(record.base, trained_on=(seen,)))
    leakage = section(render(record), "Leakage")
    assert leakage.count("**Warning, `sentence-transformers/stsb:test`") == 1
    assert warning in leakage
    assert "retrains" not in leakage


def test_a_base_that_lists_nothing_is_said_to_be_unknown() -> None:
    record = sample_record.improved()
    page = render(dataclasses.replace(record, base=dataclasses.replace(record.base, trained_on=())))
    assert "what the base has seen is not known" in page
    assert "retrains" not in page


def test_kept_leaks_and_sets_that_were_not_checked_are_named() -> None:
    record = sample_record.improved()
    record = dataclasses.replace(record, recipe=record.recipe | {"keep_leaks": True}, leakage=record.leakage[:1])
    leakage = section(render(record), "Leakage")
    assert "the shared pairs, 12 same and 2 near, were kept in the training data" in leakage
    assert "`sentence-transformers/stsb:validation`: **not checked**" in leakage
    assert "`sentence-transformers/stsb:test`: **not checked**" not in leakage


@pytest.mark.parametrize(("exact", "near", "warned"), [(0, 3, True), (3, 0, True), (0, 0, False)])
def test_kept_leaks_are_warned_of_when_they_are_only_nearly_the_same(exact: int, near: int, warned: bool) -> None:
    record = sample_record.improved()
    found = dataclasses.replace(record.leakage[0], pairs_exact=exact, pairs_near=near)
    record = dataclasses.replace(record, recipe=record.recipe | {"keep_leaks": True}, leakage=(found,))
    assert ("too high to be believed" in section(render(record), "Leakage")) is warned


def test_a_part_of_a_file_is_said_to_be_one_wherever_its_rows_stand() -> None:
    record = sample_record.improved()
    part = "report: 10 % of the rows, by connected rows"
    source = dataclasses.replace(
        record.report.source, name="mine.csv", kind="file", split="report", revision=None, part=part
    )
    record = dataclasses.replace(record, evaluations=(dataclasses.replace(record.report, source=source),))
    page = render(record)
    assert f"On `mine.csv:report` (a part, {part}) (1,379 rows" in page
    for heading in ("Before and after", "Data"):
        assert f"`mine.csv:report` (a part, {part})" in section(page, heading)
    assert "model-index" not in front_matter(page)


ALONE = "Files and folders go by their names alone: put the paths where they are on your machine."


def test_a_command_that_lost_its_paths_says_so() -> None:
    record = sample_record.improved()  # trained on a local copy
    assert ALONE in section(render(record), "Reproduce it")
    source = dataclasses.replace(record.training.source, kind="hub")
    record = dataclasses.replace(record, training=dataclasses.replace(record.training, source=source))
    assert ALONE not in render(record)
    folder = dataclasses.replace(record.base, name="my-model", hub_id=None)
    assert ALONE in render(dataclasses.replace(record, base=folder))
    assert ALONE not in render(sample_record.no_evidence())


def test_the_times_of_a_run_that_was_taken_up_again_are_those_of_its_last_start() -> None:
    record = sample_record.improved()
    assert "last start" not in render(record)
    again = dataclasses.replace(record, training=dataclasses.replace(record.training, resumed=2))
    (line,) = (line for line in section(render(again), "Reproduce it").splitlines() if line.startswith("| time |"))
    assert line.endswith("(of the last start only: the run was taken up again 2 ×) |")  # noqa: RUF001


def test_only_a_revision_of_the_hub_is_called_one() -> None:
    record = sample_record.improved()
    source = dataclasses.replace(record.report.source, kind="local copy")  # its revision stays, and must not be shown
    record = dataclasses.replace(record, evaluations=(dataclasses.replace(record.report, source=source),))
    page = render(record)
    assert "abababab" not in page
    (entry,) = metadata(record)["model-index"][0]["results"]
    assert entry["dataset"]["name"] == "sentence-transformers/stsb:test (local copy)"
    assert entry["dataset"]["args"] == {"source": "local copy", "rows": 1379, "fingerprint": "7e57" * 4}


def test_no_text_of_a_row_enters_unless_the_record_holds_examples() -> None:
    record = sample_record.improved()
    assert "## Examples" not in render(record)
    page = render(dataclasses.replace(record, examples=({"row": 7, "sentence1": "A *cat*.", "sentence2": "x|y"},)))
    assert "| row | sentence1 | sentence2 |\n|:--|:--|:--|\n| 7 | A \\*cat\\*. | x\\|y |\n" in section(page, "Examples")


def test_paths_of_this_machine_in_the_recipe_stay_out() -> None:
    record = sample_record.improved()
    paths = {name: "/home/me/rows.csv" for name in ("model", "train_data", "select_on", "report_on")}
    assert "/home/me" not in render(dataclasses.replace(record, recipe=record.recipe | paths))


def test_a_record_without_a_primary_comparison_is_refused() -> None:
    record = sample_record.improved()
    with pytest.raises(RunError, match="no evaluation with the role 'report'"):
        render(dataclasses.replace(record, evaluations=record.evaluations[1:]))


@pytest.mark.parametrize("loss", ["mnrl", "cosent", "angle", "cosine"])
def test_every_loss_is_cited_by_its_paper(loss: str) -> None:
    record = sample_record.improved()
    page = render(dataclasses.replace(record, training=dataclasses.replace(record.training, loss=loss)))
    key = {"mnrl": "oord-2018", "cosent": "huang-2024", "angle": "li-li-2024", "cosine": "reimers-gurevych-2019"}[loss]
    assert key in section(page, "Citation")
    assert section(page, "Citation").count("@") == (1 if loss == "cosine" else 2)


PLAIN = render(sample_record.with_text("plain"))


@given(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40), st.lists(st.sampled_from(HOSTILE)).map("".join)))
@example("gd")
@settings(max_examples=60, deadline=None)
def test_hostile_text_never_changes_the_structure_of_a_card(text: str) -> None:
    page = render(sample_record.with_text(text))
    assert page.encode()  # no lone surrogate is left
    hidden = [
        sign for sign in page if unicodedata.category(sign) in ("Cc", "Cf", "Cs") and sign not in "\n\u200c\u200d"
    ]
    assert hidden == []
    assert "<" not in outside_fences(page)
    value = front_matter(page)
    assert check_metadata(value) == []
    assert not {"html_inline", "link_open", "image", "s_open"} & inline_kinds(page)
    if text.split():  # what is blank is left out, as it should be
        assert value.pop("language", [text]) == [text]  # such as gd, which is a language's code
        assert value.keys() == front_matter(PLAIN).keys()
        assert structure(page) == structure(PLAIN)
