"""What a card says of the ways to tune: stand-ins, sparse encoders, adapters, probes, cut embeddings, scripts."""

from __future__ import annotations

import ast
import dataclasses
import re
from typing import Any

import pytest
import sample_record
import sample_ways
from conftest import CHECKOUT
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from sample_record import HOSTILE
from sample_ways import SAMPLES
from test_card import CARDS, front_matter, inline_kinds, markdown, outside_fences, section, structure

from hf_simtune.card import render
from hf_simtune.card_evaluation import share
from hf_simtune.card_metadata import check_metadata
from hf_simtune.errors import RunError
from hf_simtune.evaluation.compare import NO_VERDICT
from hf_simtune.record import Checkpoint, Health, Leakage, RunRecord


def opening(page: str) -> str:
    return markdown(page).strip().split("\n## ", 1)[0]


def changed(record: RunRecord, **training: Any) -> RunRecord:
    return dataclasses.replace(record, training=dataclasses.replace(record.training, **training))


def test_every_record_of_a_reference_run_still_makes_a_card() -> None:
    paths = list((CHECKOUT / "model_cards").glob("*/*/record.json"))
    assert paths
    for path in paths:
        record = RunRecord.load(path)
        page = render(record)
        assert check_metadata(front_matter(page)) == []
        assert ("STAND-IN" in page) == (record.base.stand_in_for is not None)
        assert "How the embeddings lie" not in page or RunRecord.load(path).health


@pytest.mark.parametrize("name", CARDS)
def test_the_code_of_every_card_is_python_and_loads_the_right_class(name: str) -> None:
    record = SAMPLES[name]()
    (code,) = re.findall(r"```python\n(.*?)```", render(record), re.DOTALL)
    ast.parse(code)
    wanted, other = "SparseEncoder", "SentenceTransformer"
    if record.tuned.kind == "dense":
        wanted, other = other, wanted
    assert f"import {wanted}\n" in code
    assert f'{wanted}("model")' in code
    assert other not in code


@pytest.mark.parametrize("name", CARDS)
def test_no_card_shows_what_is_no_figure(name: str) -> None:
    page = markdown(render(SAMPLES[name]()))
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b|\(no name\)|\n\n\n", page)


def test_a_stand_in_is_called_one_in_the_first_lines_and_wherever_scores_stand() -> None:
    record = sample_ways.splade()
    page = render(record)
    title, first = opening(page).split("\n\n", 1)
    assert title.endswith("(STAND-IN)")
    assert first.startswith("> **STAND-IN: not `naver/splade-cocondenser-ensembledistil`.**")
    for heading in ("Before and after (STAND-IN)", "How the embeddings lie (STAND-IN)"):
        assert f"\n## {heading}\n" in page
    assert "(STAND-IN)" in section(page, "Training")
    assert "must not be set beside scores of it" in section(page, "What it must not be used for")
    assert "STAND-IN" not in render(dataclasses.replace(record, base=sample_record.improved().base))
    assert "# splade_stsb (STAND-IN, OFFLINE)\n" in render(dataclasses.replace(record, offline=True))


@pytest.mark.parametrize("name", ["splade", "csr"])
def test_a_base_that_starts_untrained_gets_no_verdict_whatever_the_figures(name: str) -> None:
    record = SAMPLES[name]()
    assert record.verdict == NO_VERDICT
    comparison = record.report.comparison
    assert comparison
    for verdict, low in (("improved", 0.0131), ("regressed", -0.03), ("no evidence", -0.004)):
        found = dataclasses.replace(comparison, verdict=verdict, low=low)
        report = dataclasses.replace(record.report, comparison=found)
        page = render(dataclasses.replace(record, evaluations=(report, *record.evaluations[1:])))
        assert "> **No verdict.** The base starts with a part that nobody has trained" in page
        assert "a gain over it proves nothing" in page
        assert not re.search(r"Improved|Regressed|No evidence|would have been seen", page)
        (row,) = (line for line in section(page, "Before and after").splitlines() if "the primary comparison" in line)
        assert "the primary comparison, no verdict" in row
        assert "**70.00** | **72.25** | **+2.25** |" in row  # the figures stay
    kept = opening(render(changed(record, best_step=0, checkpoints=())))
    assert "The base was kept: no checkpoint scored above it" in kept


def test_the_table_of_a_sparse_encoder_has_its_active_dimensions_and_sparsity_in_every_row() -> None:
    rows = [line for line in section(render(sample_ways.splade()), "Before and after").splitlines() if line[:1] == "|"]
    assert len(rows) == 4
    assert {row.count("|") for row in rows} == {10}
    assert "15,310.4 → 212.7 | 49.84 % → 99.30 % |" in rows[2]
    record = sample_ways.csr()
    tuned = dataclasses.replace(record.report.tuned, active_dimensions=None, sparsity=None)
    report = dataclasses.replace(record.report, tuned=tuned)
    page = render(dataclasses.replace(record, evaluations=(report, *record.evaluations[1:])))
    assert "64.0 → not known | 95.83 % → not known |" in page
    assert "Sparsity" not in render(sample_record.improved())


@given(st.floats(0, 1), st.integers(1, 2))
def test_a_share_is_shown_as_none_or_all_only_where_it_is(value: float, digits: int) -> None:
    if 0 < value < 1e-9 or 1 - 1e-9 < value < 1:
        return
    text = share(value, digits)
    assert text.endswith(" %")
    number = float(text.removesuffix(" %"))
    assert (number in (0, 100)) == (value in (0, 1))
    assert number == pytest.approx(100 * value, abs=0.5 * 10**-digits + 1e-9)


def test_probes_stand_in_a_table_of_their_own_with_their_answers() -> None:
    page = section(render(sample_ways.matryoshka()), "Before and after")
    table, probes = page.split("\n### Probes", 1)
    assert "sick" not in table
    assert "forum.csv" not in table
    rows = [line for line in probes.split("\n### ")[0].splitlines() if line[:1] == "|"][2:]
    assert [row.split(" | ")[-1] for row in rows] == ["not worse |", "**worse** |"]
    assert "-0.15 | -0.41 to +0.11 |" in rows[0]
    assert "Probes" not in render(sample_record.improved())


def test_a_probe_without_an_interval_or_of_an_untrained_base_answers_nothing() -> None:
    record = sample_ways.matryoshka()
    *rest, probe = record.evaluations
    silent = dataclasses.replace(record, evaluations=(*rest, dataclasses.replace(probe, comparison=None)))
    assert "| 66.00 | 64.50 | not compared | – | cannot tell |" in render(silent)  # noqa: RUF001
    untrained = dataclasses.replace(record, base=dataclasses.replace(record.base, untrained="a head"))
    page = render(untrained)
    assert page.count("| no verdict |") == 2
    assert "| not worse |" not in page


def test_cut_embeddings_have_a_score_for_each_size_and_one_for_the_whole() -> None:
    record = sample_ways.matryoshka()
    page = section(render(record), "Before and after")
    assert "| 384 (all) | 70.00 | 72.25 |\n| 128 | 67.10 | 71.50 |\n| 64 | 64.20 | 70.12 |\n" in page
    report = dataclasses.replace(record.report, truncated=record.report.truncated[1:])
    again = section(
        render(dataclasses.replace(record, evaluations=(report, *record.evaluations[1:]))), "Before and after"
    )
    assert again == page  # the whole is told either way
    assert "truncate_dim=64" in render(record)
    assert "| Matryoshka dimensions | 384 128 64 |" in section(render(record), "Training")


def test_findings_are_told_with_the_step_and_whether_it_is_the_one_that_is_scored() -> None:
    lying = section(render(sample_ways.lora()), "How the embeddings lie")
    assert "- **Collapsed at step 1,203** (" in lying
    assert "found in 2 of 5 measurements, the step that is scored among them." in lying
    assert "- Narrowing at step 602 (" in lying  # a note, not in bold
    assert lying.index("Collapsed") < lying.index("Narrowing")
    assert "| base | 0.040 | -3.710 | 88.2 | 0.131 |\n| step 1,203 | 0.930 | -0.310 | 6.7 | 0.062 |\n" in lying
    assert "- **Dense at the base, step 0**" in render(sample_ways.splade())
    assert "- No collapse in 2 measurements." in render(sample_ways.matryoshka())


def test_a_step_that_was_not_measured_is_not_said_to_be_healthy() -> None:
    record = changed(sample_ways.matryoshka(), best_step=902)
    lying = section(render(record), "How the embeddings lie")
    assert "- Step 902, which is scored, was not measured." in lying
    assert "| step" not in lying
    none = Health(step=902, epoch=0.6, anisotropy=None, uniformity=None, effective_rank=None, deviation=None)
    undefined = dataclasses.replace(record, health=(*record.health, none))
    assert "| step 902 | undefined | undefined | undefined | undefined |" in render(undefined)


def test_what_it_means_for_an_index_and_for_the_spread_is_told_where_it_was_measured() -> None:
    record = sample_ways.matryoshka()
    lying = section(render(dataclasses.replace(record, health=())), "How the embeddings lie")
    assert "- Spread of similarities, wider: the standard deviation ×100 " in lying  # noqa: RUF001
    assert "- Old index: rebuild it, as queries find less where old and new vectors meet. " in lying
    assert "(-5.40, 95 % interval -7.10 to -3.80)" in lying
    assert "- Retrieval on sentence-transformers/stsb:test: better. MRR@10 " in lying
    assert " of 320 queries (301 groups) among 2,552 sentences went from 91.20 to 93.40 (+2.20, " in lying
    assert "- Retrieval on forum.csv: worse. " in lying
    bare = tuple(dataclasses.replace(found, retrieval=None) for found in record.evaluations)
    assert "How the embeddings lie" not in render(
        dataclasses.replace(record, health=(), spread=None, reindex=None, evaluations=bare)
    )


def test_a_kept_step_that_another_outscored_is_not_called_the_best() -> None:
    record = changed(sample_ways.lora(), best_step=602)
    page = render(record)
    assert "Step 602 scored best of those with healthy embeddings on the rows that choose" in page
    none = render(changed(record, best_step=0))
    assert "No healthy checkpoint scored above the untouched base" in none
    assert "gave no step with healthy embeddings that is better" in none
    assert "healthy" not in opening(render(sample_record.no_evidence()))


def test_adapters_are_told_with_their_share_and_how_they_are_loaded() -> None:
    record = sample_ways.lora()
    page = render(record)
    model = section(page, "Model\n")
    assert "| trained | – | 0.8 % of 22,897,536 parameters: LoRA r=16 alpha=32 targets=query,value |" in model  # noqa: RUF001
    assert "the adapters alone, which need their base, [sentence-transformers/all-MiniLM-L6-v2]" in model
    assert "with `peft` installed, and fetches their base" in section(page, "Use it")
    local = dataclasses.replace(record, base=dataclasses.replace(record.base, hub_id=None, name="mine"))
    assert "takes their base from where `adapter_config.json` says" in section(render(local), "Use it")
    merged = dataclasses.replace(record, saved="merged")
    assert "a plain model: the adapters are merged into the base's weights" in section(render(merged), "Model\n")
    assert "needs neither `peft` nor its base" in section(render(merged), "Use it")
    whole = render(sample_ways.matryoshka())
    assert "| trained | – | all 22,713,216 parameters |" in whole  # noqa: RUF001
    assert "peft" not in whole


def test_the_prompt_is_shown_with_the_spaces_at_its_ends() -> None:
    assert '| prompt, before each text | `"sentence: "` | `"sentence: "` |' in render(sample_ways.lora())
    assert "prompt" not in render(sample_record.improved())


def test_further_data_mined_negatives_and_an_early_end_are_told() -> None:
    page = render(sample_ways.lora())
    assert (
        "on 271,014 pairs with mined negatives from `embedding-data/sentence-compression:train` with "
        "`MultipleNegativesRankingLoss`, and on 557,850 triplets from [sentence-transformers/all-nli/triplet:train]"
    ) in opening(page)
    data = section(page, "Data")
    assert data.count("| training |") == 2
    assert "3 were looked for per pair among all positives, by the base model, each at most 0.95 times as" in data
    assert "For 5,820 pairs none was found" in data
    assert "triplets of `sentence-transformers/all-nli/triplet:train` too, with `Cached" in data
    training = section(page, "Training")
    assert "Training ended early: no better score in 2 evaluations, at step 1503 of 12951." in training
    assert "| mini_batch | 32 |" in training
    assert "`snli`, `multi_nli`, which shares rows" in section(page, "Leakage")


def test_settings_that_decided_nothing_are_left_out() -> None:
    training = section(render(sample_record.improved()), "Training")
    for name in ("mini_batch", "flops_weight", "negative_margin", "mine_negatives", "merge", "on_collapse", "lora"):
        assert f"| {name} |" not in training
    assert "| flops_weight | 0.003 |" in section(render(sample_ways.splade()), "Training")
    assert "| active_dims | 64 |" in section(render(sample_ways.csr()), "Training")
    record = sample_record.improved()
    saving = dataclasses.replace(record, recipe=record.recipe | {"gradient_checkpointing": True})
    assert "| gradient_checkpointing | yes |" in section(render(saving), "Training")


def test_simcse_is_told_for_what_it_is() -> None:
    page = render(changed(sample_record.improved(), loss="simcse"))
    assert "`MultipleNegativesRankingLoss` on each sentence with itself, under another dropout" in opening(page)


def test_rows_that_a_program_graded_are_told_from_those_that_people_did() -> None:
    record = sample_record.improved()
    part = "report: 10 % of the pairs held out, each against its lexically nearest other positive"
    source = dataclasses.replace(record.report.source, name="pairs.csv", kind="file", part=part, revision=None)
    graded = dataclasses.replace(record, evaluations=(dataclasses.replace(record.report, source=source),))
    assert "held out of the training data and graded by a program" in section(render(graded), "What the verdict")
    assert "graded by a program" not in render(record)


def test_the_card_of_a_script_says_what_is_not_known_and_names_no_command() -> None:
    page = render(sample_ways.script())
    assert "trained by a script of the user's own, with `SimtuneCallback`, on rows of the script's own" in opening(page)
    assert "whether the script chose anything on them is not known" in opening(page)
    reproduce = section(page, "Reproduce it")
    assert "there is no command" in reproduce
    assert "```" not in reproduce
    assert "| training | rows of the script's own | the script | not known | not known | not stated |" in page
    training = section(page, "Training")
    assert "it was scored as it was after the last step, 360" in training
    assert "| learning_rate | 5e-05 |" in training
    assert "| 360 | 1.1 |" in training
    assert len(re.findall(r"^\| \d+ \| [\d.]+ \|$", training, re.MULTILINE)) <= 20
    assert "no rank correlation" not in page  # its checkpoints were not scored
    assert "`model/` holds that step" not in page
    assert "This run selected nothing" not in page
    assert "no bad rows" in section(page, "Data")  # of the report rows, which were checked
    assert "neither checked nor fingerprinted" in section(page, "Data")


def test_what_a_script_did_tell_is_told() -> None:
    record = changed(
        sample_ways.script(),
        best_step=300,
        rows=4000,
        loss="CoSENTLoss and SpladeLoss",
        checkpoints=(Checkpoint(step=0, epoch=0.0, spearman=None),),
    )
    shared = Leakage(
        evaluation=record.report.source.title,
        pairs_exact=3,
        pairs_near=0,
        sentences_exact=4,
        sentences_near=0,
        sentences=2552,
        rows_dropped=0,
        jaccard=0.8,
    )
    page = render(dataclasses.replace(record, leakage=(shared,)))
    assert "on 4,000 rows of the script's own with CoSENTLoss and SpladeLoss." in opening(page)
    assert "it was scored as the trainer left it, restored from step 300 of 360" in page
    assert "are among the script's training rows, so its tuned score is a little too high, with" in page
    many = dataclasses.replace(shared, pairs_exact=13, pairs_near=1)  # of 1,379 rows
    page = render(dataclasses.replace(record, leakage=(many,)))
    assert "are among the script's training rows, so its tuned score is too high to be believed" in page
    assert "Training loss, as logged" not in page
    unmoved = render(changed(record, best_step=0))
    assert "base was kept" not in unmoved  # nobody chose


def test_arguments_of_a_script_that_name_a_place_or_hold_a_secret_stay_out() -> None:
    record = sample_ways.script()
    names = (
        *("output_dir", "logging_dir", "hub_token", "resume_from_checkpoint", "deepspeed", "run_name"),
        *("push_to_hub_token", "fsdp_config", "data_file", "cache_path"),
    )
    page = render(dataclasses.replace(record, recipe=record.recipe | dict.fromkeys(names, "s3cret")))
    assert "s3cret" not in page


def test_pictures_are_shown_with_their_words_and_only_where_there_are_some() -> None:
    record = sample_record.improved()
    page = render(record, [("plots/scores.png", "Base [70.00] and *tuned*"), ("plots/training.png", "The curve")])
    shown = section(page, "Pictures")
    tokens = MarkdownIt("commonmark").parse(shown)
    images = [child for token in tokens for child in token.children or () if child.type == "image"]
    assert [image.attrs["src"] for image in images] == ["plots/scores.png", "plots/training.png"]
    assert [image.content for image in images] == ["Base \\[70.00\\] and \\*tuned\\*", "The curve"]
    assert "## Pictures" not in render(record)
    assert render(record, []) == render(record)


@pytest.mark.parametrize(
    "path", ["/plots/a.png", "../a.png", "a b.png", "https://x.org/a.png", "a.png)", "", "plots/../a.png", "a\n.png"]
)
def test_a_picture_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(RunError, match="relative path"):
        render(sample_record.improved(), [("plots/a.png", "fine"), (path, "not fine")])


def hostile(text: str) -> tuple[RunRecord, ...]:
    """Records with ``text`` wherever the newer facts can hold some."""
    record, reindex = sample_ways.lora(), sample_ways.matryoshka().reindex
    assert record.training.mined
    assert reindex
    source = dataclasses.replace(record.training.source, name=text, kind="file", config=None, split=None, part=text)
    run = dataclasses.replace(
        record,
        base=dataclasses.replace(
            record.base, stand_in_for=text, untrained=text, prompt=text, kind=text, hub_id=None, name=text
        ),
        tuned=dataclasses.replace(record.tuned, prompt=text, kind=text),
        training=dataclasses.replace(
            record.training,
            further=tuple(dataclasses.replace(more, source=source, loss=text) for more in record.training.further),
            mined=dataclasses.replace(record.training.mined, model=text),
            lora=text,
            stopped=text,
        ),
        evaluations=(
            *record.evaluations,
            dataclasses.replace(sample_ways.matryoshka().evaluations[-1], source=source),
        ),
        health=(dataclasses.replace(record.health[-1], findings=(text,)),),
        reindex=dataclasses.replace(reindex, reason=text),
    )
    script = sample_ways.script()
    script = dataclasses.replace(
        changed(
            script,
            loss=text,
            source=dataclasses.replace(script.training.source, name=text, shape=text),
            stopped=text,
        ),
        recipe={"optim": text, f"x{text}x": text},
    )
    return run, script


PICTURES = [("plots/scores.png", "plain")]
PLAIN = [render(record, PICTURES) for record in hostile("plain")]


@given(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40), st.lists(st.sampled_from(HOSTILE)).map("".join)))
@settings(max_examples=40, deadline=None)
def test_hostile_text_in_the_newer_facts_changes_no_structure_either(text: str) -> None:
    for plain, record in zip(PLAIN, hostile(text), strict=True):
        page = render(record, [("plots/scores.png", text)])
        assert page.encode()
        assert "<" not in outside_fences(page)
        assert check_metadata(front_matter(page)) == []
        assert not {"html_inline", "s_open"} & inline_kinds(page)
        if text.split():
            assert structure(page) == structure(plain)
