"""What the other ways of tuning bring is on the page: probes, dimensions, sparsity, health, adapters, scripts."""

from __future__ import annotations

import dataclasses
import html as escaping
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_page import Page, read, row_scores
from sample_record import improved, no_evidence
from sample_ways import csr, lora, matryoshka, script, splade

from hf_simtune import card, report
from hf_simtune.evaluation.reindex import reindex_sentence
from hf_simtune.evaluation.retrieval import retrieval_sentence
from hf_simtune.evaluation.spread import spread_sentence
from hf_simtune.record import Checkpoint, Evaluation, Health, RunRecord, Score, Truncated

MINUS = "\N{MINUS SIGN}"
SICK = "sentence-transformers/sick:test"


def page(record: RunRecord) -> Page:
    parts = [row_scores(e.source.title, e.role, seed=index) for index, e in enumerate(record.evaluations)]
    return read(report.render(record, parts))


def own(record: RunRecord) -> str:
    """The page's own words, without those of the card in it."""
    return page(record).text.split("The text of README.md")[0]


def trained(record: RunRecord, **changes: Any) -> RunRecord:
    return dataclasses.replace(record, training=dataclasses.replace(record.training, **changes))


def probed(**figures: Any) -> RunRecord:
    """The first probe with another comparison."""
    record = matryoshka()
    probe = record.evaluations[2]
    assert probe.comparison
    probe = dataclasses.replace(probe, comparison=dataclasses.replace(probe.comparison, **figures))
    return dataclasses.replace(record, evaluations=(*record.evaluations[:2], probe))


@pytest.mark.parametrize("make", [improved, no_evidence, lora, splade, csr, matryoshka, script])
def test_every_kind_of_run_makes_a_page_with_the_whole_card_in_it(make: Any) -> None:
    record = make()
    text = report.render(record, [])
    found = read(text)
    assert found.within["svg"].count("desc") == [tag for tag, _ in found.tags].count("svg")
    assert found.within["table"].count("caption") == [tag for tag, _ in found.tags].count("table")
    (shown,) = re.findall(r"without its pictures</summary>\n<pre>(.*?)</pre>", text, re.DOTALL)
    assert escaping.unescape(shown) == card.render(record)


def test_a_run_without_new_facts_has_none_of_their_sections() -> None:
    text = own(improved())
    for words in ("Probes", "Cut to fewer", "How the embeddings lie", "active dimensions", "Stand-in", "No verdict"):
        assert words not in text
    assert 'class="offline' not in report.render(improved(), [])


def test_probes_have_a_table_of_their_own_with_an_answer_each() -> None:
    text = own(matryoshka())
    assert "Probes: what it may have forgotten" in text
    assert f"{SICK} not worse 4,906 rows 79.00 78.85 {MINUS}0.15 {MINUS}0.41 to +0.11" in text
    assert f"forum.csv worse 812 rows 66.00 64.50 {MINUS}1.50 {MINUS}2.62 to {MINUS}0.38" in text
    assert f"lower end is above {MINUS}0.50 points" in text
    before = text.split("Probes:")[0]
    assert SICK not in before
    bars = re.findall(r'<svg class="forest ([a-z-]+)"[^>]*>(.*?)</svg>', report.render(matryoshka(), []), re.DOTALL)
    assert [(colour, 'class="margin"' in bar) for colour, bar in bars] == [
        ("improved", False),
        ("no-evidence", False),
        ("no-evidence", True),
        ("regressed", True),
    ]


@given(low=st.floats(-0.02, 0.02), width=st.floats(0, 0.02))
def test_a_probe_is_not_worse_if_and_only_if_its_interval_begins_above_minus_half_a_point(
    low: float, width: float
) -> None:
    record = probed(low=low, high=low + width, difference=low + width / 2)
    (answer,) = re.findall(r'<span class="answer [a-z-]+">([^<]+)</span>', report.render(record, []))
    if 100 * low > -0.5:
        assert answer == "not worse"
    elif 100 * low < -0.5:
        assert answer == ("worse" if low + width < 0 else "cannot tell")


def test_a_probe_without_an_interval_cannot_tell() -> None:
    nothing = dict.fromkeys(("low", "high", "p", "detectable"))
    assert f"{SICK} cannot tell 4,906 rows" in own(probed(**nothing))
    record = matryoshka()
    probe = dataclasses.replace(record.evaluations[2], comparison=None)
    record = dataclasses.replace(record, evaluations=(record.report, probe))
    assert f"{SICK} cannot tell 4,906 rows 79.00 78.85 {MINUS}0.15 no interval" in own(record)


def test_the_row_figures_of_a_probe_say_what_it_is() -> None:
    assert f"The same for {SICK}, a probe" in own(matryoshka())
    assert "Rows of a probe" in own(matryoshka())


def test_dimensions_are_drawn_and_told_the_most_first() -> None:
    text = own(matryoshka())
    assert "384 all 70.00 72.25 +2.25 128 67.10 71.50 +4.40 64 64.20 70.12 +5.92" in text
    html = report.render(matryoshka(), [])
    (plot,) = re.findall(r"<svg[^>]*cut0-t.*?</svg>", html, re.DOTALL)
    assert plot.count('class="square base"') == plot.count('class="point tuned"') == 3


def test_the_whole_embedding_is_a_line_of_the_table_though_it_was_not_asked_for() -> None:
    record = matryoshka()
    cut = dataclasses.replace(record.report, truncated=record.report.truncated[2:])
    text = own(dataclasses.replace(record, evaluations=(cut, *record.evaluations[1:])))
    assert "384 all 70.00 72.25 +2.25 64 64.20 70.12 +5.92" in text


def test_an_undefined_score_of_a_cut_embedding_is_called_so() -> None:
    nothing = Score(n=9, spearman=None, pearson=None, undefined="all are alike")
    record = matryoshka()
    cut = dataclasses.replace(record.report, truncated=(Truncated(dimensions=384, base=nothing, tuned=nothing),))
    html = report.render(dataclasses.replace(record, evaluations=(cut,)), [])
    assert "384 all undefined undefined undefined all are alike" in read(html).text
    assert "cut0-t" not in html


def test_sparse_models_have_active_dimensions_and_sparsity_in_the_table() -> None:
    text = own(csr())
    assert "active dimensions 64.0 63.4 sparsity 95.83 % 95.87 %" in text
    assert "Active dimensions are those that are not zero" in text
    assert "kind sparse: CSR sparse: CSR" in text
    assert "active dimensions 15,310.4 212.7 sparsity 49.84 % 99.30 %" in own(splade())


def test_a_sparse_encoder_is_told_beside_the_dense_model_below_it() -> None:
    told = "Beside the dense model below the autoencoder, untuned: no evidence."
    assert told in own(csr())
    assert (
        "71.75 for the dense one (384 dimensions) and 72.25 for this one (63.4 of 1,536 dimensions): +0.50 points"
        in (own(csr()))
    )
    assert told not in own(dataclasses.replace(csr(), dense=None))


def test_an_untrained_base_has_no_verdict_anywhere() -> None:
    html = report.render(splade(), [])
    text = read(html).text.split("The text of README.md")[0]
    assert "<title>splade_stsb: no verdict</title>" in html
    assert '<div class="headline no-verdict">' in html
    assert "a broken ring with nothing in it" in html
    assert "No verdict: part of the base was untrained" in text
    assert "nobody has trained (the transform of the masked-language head): a gain over it proves nothing" in text
    assert "70.00 to 72.25: +2.25 points" in text
    assert "the primary comparison, without a verdict" in text
    assert "Improved" not in text
    assert "would have been seen in 4 of 5 runs" not in text
    assert "forest improved" not in html
    assert "forest regressed" not in html


def test_probes_of_an_untrained_base_are_answered_by_nothing() -> None:
    record = matryoshka()
    record = dataclasses.replace(record, base=dataclasses.replace(record.base, untrained="a head"))
    html = report.render(record, [])
    assert re.findall(r'<span class="answer [a-z-]+">([^<]+)</span>', html) == ["no verdict", "no verdict"]
    assert not re.search("forest (improved|regressed)", html)


def test_a_stand_in_is_named_before_the_verdict() -> None:
    text = own(splade())
    wanted = "naver/splade-cocondenser-ensembledistil"
    assert text.index(f"Stand-in: not {wanted}.") < text.index("No verdict:")
    assert f"builtin:splade-MiniLM-L6, which took the place of {wanted}" in text
    assert f"stands in for {wanted}" in text


def test_health_is_drawn_by_step_and_what_was_found_is_said_and_marked() -> None:
    html = report.render(lora(), [])
    text = read(html).text.split("The text of README.md")[0]
    assert "Step 1,203: collapsed. Different sentences" in text
    assert "Step 602: narrowing." in text
    assert "Found in 2 of 5 measurements, the chosen step among them." in text
    panels = re.findall(r'<svg class="plot panel"[^>]*health-([a-z-]+)-t.*?</svg>', html, re.DOTALL)
    assert panels == ["anisotropy", "uniformity", "effective-rank"]
    (plot,) = re.findall(r'<svg class="plot panel"[^>]*health-anisotropy-t.*?</svg>', html, re.DOTALL)
    assert re.findall(r'class="found" x[^>]*>([a-z]+)<', plot) == ["narrowing", "collapsed"]
    assert plot.count('class="cross"') == 3
    assert plot.count('class="level"') == plot.count('class="chosen"') == 1
    assert f"602 0.40 0.580 {MINUS}1.41 21.4 0.171 narrowing" in text


def test_sparse_health_has_a_panel_of_active_dimensions_and_the_bases_own_findings() -> None:
    html = report.render(splade(), [])
    assert "health-active-dimensions-t" in html
    text = read(html).text
    assert "The base, step 0: dense." in text
    assert "0 0.00 0.970" in text
    assert "15,290.3 49.90 % dense" in text
    assert "Unhealthy embeddings" not in text


def test_a_healthy_run_says_that_nothing_was_found() -> None:
    text = own(matryoshka())
    assert "Nothing was found in 2 measurements." in text
    assert "a cross" not in text


def test_one_measurement_is_told_and_not_drawn() -> None:
    html = report.render(dataclasses.replace(lora(), health=lora().health[:1]), [])
    assert "Nothing was found in 1 measurement." in read(html).text
    assert "plot panel" not in html


def test_a_measure_that_was_nowhere_defined_has_no_panel() -> None:
    nothing = Health(
        step=0, epoch=0, anisotropy=None, uniformity=None, effective_rank=None, deviation=None, undefined=512
    )
    record = dataclasses.replace(
        lora(), health=(nothing, dataclasses.replace(nothing, step=9, findings=("undefined", "a new one")))
    )
    html = report.render(record, [])
    assert "plot panel" not in html
    text = Page(html).text
    assert "Step 9: a new one. Found in 1 of 2 measurements." in text
    assert "512 without a direction" in text


@pytest.mark.parametrize(
    ("base", "chosen", "told"),
    [
        ((), ("collapsed",), ["collapsed"]),
        ((), ("narrowing",), []),
        (("dense",), ("dense",), []),
        (("dense",), ("collapsed", "dense"), ["collapsed"]),
        ((), (), []),
    ],
)
def test_a_chosen_step_that_training_made_unhealthy_is_warned_of_above_the_verdict(
    base: tuple[str, ...], chosen: tuple[str, ...], told: list[str]
) -> None:
    record = lora()
    changed = {0: base, record.training.best_step: chosen}
    health = tuple(dataclasses.replace(now, findings=changed.get(now.step, ())) for now in record.health)
    text = own(dataclasses.replace(record, health=health)).split("Before and after")[0]
    assert re.findall(r"they were found ([a-z ]+), whatever", text) == told


def test_the_index_and_the_spread_are_answered_in_their_own_words() -> None:
    record = matryoshka()
    assert record.reindex
    assert record.spread
    text = own(record)
    found = [retrieval_sentence(e.source.title, e.retrieval) for e in record.evaluations if e.retrieval]
    assert [sentence.partition(". ")[0].rpartition(": ")[2] for sentence in found] == [
        "better",
        "worse",
    ]
    for sentence in (reindex_sentence(record.reindex), spread_sentence(record.spread), *found):
        words = re.sub(r"(?<=[ (])-(?=\d)", MINUS, sentence).replace(" x 100", " \N{MULTIPLICATION SIGN} 100")
        assert words in text


def test_what_was_trained_is_told() -> None:
    text = own(lora())
    assert "trained 184,320 of 22,897,536 parameters (0.8 %)" in text
    assert "adapters LoRA r=16 alpha=32 targets=query,value" in text
    assert "further data 557,850 rows of sentence-transformers/all-nli/triplet:train, loss cached_mnrl" in text
    mined = lora().training.mined
    assert mined
    assert f"3 per pair asked for, looked for by {mined.model}, each at most 95 % as similar" in text
    assert f"{mined.rows:,} training rows came of it; pairs without any, left out: {mined.pairs_without:,}" in text
    assert f"ended early {lora().training.stopped}" in text
    assert "the adapters alone, which need their base, sentence-transformers/all-MiniLM-L6-v2" in text
    assert "Further training rows" in text
    assert "lora r=16 alpha=32 dropout=0 targets=query,value" in text
    assert "prompt “sentence: ” “sentence: ”" in text
    assert "trained all 22,713,216 parameters" in own(matryoshka())


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ("model", "the whole model"),
        ("merged", "a plain model: the adapters are merged into the base"),
        ("adapter", "the adapters alone, which need their base"),
        ("", "nothing: the script saves its model itself"),
    ],
)
def test_what_the_model_folder_holds_is_told(saved: str, words: str) -> None:
    assert f"model/ holds \N{EN DASH} {words}" in own(dataclasses.replace(improved(), saved=saved))
    assert "model/ holds \N{EN DASH} the base as it was" in own(no_evidence())


def test_a_script_claims_no_command_no_selection_and_no_scores_by_step() -> None:
    text = own(script())
    assert "Improved by 2.25 points" in text
    assert "whether the script chose anything on them is not known" in text
    assert "this run selected nothing" not in text
    assert "There is none: a script of the user\N{RIGHT SINGLE QUOTATION MARK}s own trained the model" in text
    assert "An unknown number of rows, 360 steps" in text
    assert "What was scored is the model after the last step." in text
    assert "rows not known" in text
    assert "dropped not known" in text
    assert "Score on the selection rows" not in text
    assert "look at the selection rows" not in text
    assert "The trainer\N{RIGHT SINGLE QUOTATION MARK}s arguments" in text
    assert "step loss 10 1.975 20 1.95" in text
    assert "restored from step 90." in own(trained(script(), best_step=90))
    assert "base was kept" not in own(trained(script(), best_step=0))


def scores(*values: float | None) -> tuple[Checkpoint, ...]:
    return tuple(Checkpoint(step=10 * index, epoch=index, spearman=value) for index, value in enumerate(values))


def test_a_better_score_that_was_passed_over_as_unhealthy_is_not_called_lower() -> None:
    record = trained(no_evidence(), checkpoints=scores(0.5, 0.6), best_step=0)
    assert "Every checkpoint that scored higher than the untouched base had unhealthy embeddings" in own(record)
    assert "No checkpoint scored higher" not in own(record)
    record = trained(improved(), checkpoints=scores(0.5, 0.55, 0.6), best_step=10)
    assert "A checkpoint with a higher score had unhealthy embeddings" in own(record)
    assert "model/ holds step 10." in own(record)
    assert "unhealthy" not in own(improved())


def test_a_record_without_report_rows_has_no_card_to_show() -> None:
    selection: tuple[Evaluation, ...] = improved().evaluations[1:]
    text = page(dataclasses.replace(improved(), evaluations=selection)).text
    assert "The text of README.md" not in text


def test_dimensions_of_rows_without_the_verdict_wait_behind_a_fold() -> None:
    record = matryoshka()
    parts = tuple(dataclasses.replace(e, truncated=record.report.truncated) for e in record.evaluations)
    html = report.render(dataclasses.replace(record, evaluations=parts), [])
    folds = re.findall(r"<summary>(.*?), cut to fewer dimensions</summary>", html)
    assert [fold.replace("<wbr>", "") for fold in folds] == [
        "sentence-transformers/stsb:validation, the rows that chose the checkpoint",
        f"{SICK}, a probe",
        "forum.csv, a probe",
    ]
    assert html.index("cut0-t") < html.index(f"<summary>{folds[0]}")
    assert all(f"cut{index}-t" in html for index in range(4))
    read(html)
