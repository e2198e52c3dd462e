"""Run records for the tests of card and report. Their numbers are made up, and say so; they are consistent."""

from __future__ import annotations

import dataclasses
from typing import Any

from hf_simtune.evaluation.compare import Comparison
from hf_simtune.recipe import Recipe
from hf_simtune.record import (
    Checkpoint,
    Evaluation,
    Health,
    Leakage,
    Machine,
    ModelFacts,
    RunRecord,
    Score,
    Source,
    Subset,
    Training,
)

__all__ = ["HOSTILE", "MADE_UP", "MINILM", "health", "improved", "no_evidence", "probe", "recipe_facts", "with_text"]

HOSTILE = (
    "a|b",
    "`code` ``two``",
    "<script>alert(1)</script><!-- -->",
    "---",
    "- item",
    "1. item",
    "# heading",
    "{{ 7*7 }}{% raw %}{{ record }}",
    "line\n\n# heading\n\n| a | b |\n|--|--|\n---\nkey: value",
    "\x1b[31mred\x1b[0m\x00\x07",
    "\u202egnp.exe\u2066\u200f",
    "[link](javascript:alert(1)) ![x](y)",
    "**bold** _it_ ~~x~~ \\",
    "&lt;b&gt; &amp;",
    "```\nfence",
    "a: b # c\n- d",
    "===",
    "+ item",
    "2) item",
    "\ud800\ufffe",
    "",
    "   ",
)
MADE_UP = "made-up numbers, for tests"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
BASE = ModelFacts(
    name=MINILM,
    hub_id=MINILM,
    revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
    weights_sha256="0b" * 32,
    parameters=22_713_216,
    megabytes=90.9,
    dimensions=384,
    max_length=256,
    language=("en",),
    license="apache-2.0",
    trained_on=(  # as the published card lists them
        *("s2orc", "flax-sentence-embeddings/stackexchange_xml", "ms_marco", "gooaq", "yahoo_answers_topics"),
        *("code_search_net", "search_qa", "eli5", "snli", "multi_nli", "wikihow", "natural_questions", "trivia_qa"),
        *("embedding-data/sentence-compression", "embedding-data/flickr30k-captions", "embedding-data/altlex"),
        *("embedding-data/simple-wiki", "embedding-data/QQP", "embedding-data/SPECTER", "embedding-data/PAQ_pairs"),
        "embedding-data/WikiAnswers",
    ),
)
MACHINE = Machine(
    processor="Imaginary CPU @ 2.00GHz",
    cores=2,
    memory_gb=15.6,
    accelerator=None,
    system="Linux x86_64",
    versions={"python": "3.11.9", "hf_simtune": "0.1.0", "torch": "2.13.0", "sentence-transformers": "6.2.0"},
)


def improved() -> RunRecord:
    """A run on STSb whose interval lies above zero; its training data are a local copy that the base has seen."""
    stsb = Source(
        name="sentence-transformers/stsb",
        kind="hub",
        config="default",
        revision="ab" * 20,
        columns=("sentence1", "sentence2", "score"),
    )
    test = dataclasses.replace(stsb, split="test", rows=1379, fingerprint="7e57" * 4)
    validation = dataclasses.replace(stsb, split="validation", rows=1500, fingerprint="5e1e" * 4)
    train = Source(
        name="embedding-data/sentence-compression",
        kind="local copy",
        config="default",
        split="train",
        license="mit",
        shape="pairs",
        columns=("set",),
        rows=96_158,
        fingerprint="ba5e" * 4,
        dropped={"empty text": 3, "wrong number of texts": 1},
    )
    comparison = Comparison(
        n=1379,
        groups=1179,
        base=0.7,
        tuned=0.7225,
        difference=0.0225,
        low=0.0131,
        high=0.0319,
        confidence=0.95,
        p=0.0001,
        resamples=10_000,
        seed=42,
        verdict="improved",
        detectable=0.0134,
        more_rows=400,
        detectable_with_more=0.0118,
    )
    report = Evaluation(
        source=test,
        role="report",
        similarity="cosine",
        base=Score(n=1379, spearman=0.7, pearson=0.71),
        tuned=Score(n=1379, spearman=0.7225, pearson=0.73),
        comparison=comparison,
        subsets=(
            _part("main-captions", 625, 0.75, 0.77),
            _part("main-forums", 254, 0.61, 0.64),
            _part("main-news", 500, 0.68, None, "the tuned model's similarities are constant"),
        ),
    )
    select = Evaluation(
        source=validation,
        role="select",
        similarity="cosine",
        base=Score(n=1500, spearman=0.76, pearson=0.77),
        tuned=Score(n=1500, spearman=0.784, pearson=0.79),
        comparison=None,
    )
    scores = (0.76, 0.771, 0.779, 0.782, 0.784, 0.7835)
    steps = (0, 301, 602, 902, 1203, 1503)
    losses = (None, 0.41, 0.22, 0.17, 0.15, 0.145)
    return RunRecord(
        name="mnrl_minilm",
        title=f"MiniLM on sentence compression ({MADE_UP})",
        created="2026-11-20T09:00:00+00:00",
        command="hf-simtune tune mnrl_minilm --train-data embedding-data/sentence-compression --seed 42",
        offline=False,
        recipe=recipe_facts(
            Recipe(name="mnrl_minilm", train_data=train.name, shape="pairs", loss="mnrl", evaluations=5)
        ),
        commit="c0ffee" * 6 + "c0ff",
        base=BASE,
        tuned=dataclasses.replace(BASE, name="mnrl_minilm", hub_id=None, revision=None, weights_sha256="7d" * 32),
        training=Training(
            source=train,
            rows=96_146,
            loss="mnrl",
            temperature=0.05,
            epochs=1.0,
            steps=1503,
            batch_size=64,
            processes=1,
            precision="bf16",
            precision_reason="a probe found it 2.4 times as fast as fp32",
            forward="packed",
            forward_reason="no padding; the same embeddings in fp32",
            seconds=2712.4,
            checkpoints=tuple(
                Checkpoint(step=step, epoch=round(step / 1503, 4), spearman=score, loss=loss)
                for step, score, loss in zip(steps, scores, losses, strict=True)
            ),
            best_step=1203,
            final_loss=0.144,
        ),
        leakage=(
            Leakage(
                evaluation=test.title,
                pairs_exact=12,
                pairs_near=2,
                sentences_exact=97,
                sentences_near=31,
                sentences=2552,
                rows_dropped=12,
                jaccard=0.8,
                examples=((4021, 17), (70_210, 903)),
            ),
            Leakage(
                evaluation=validation.title,
                pairs_exact=0,
                pairs_near=0,
                sentences_exact=103,
                sentences_near=28,
                sentences=2830,
                rows_dropped=0,
                jaccard=0.8,
            ),
        ),
        evaluations=(report, select),
        machine=MACHINE,
        seconds={"load": 8.2, "score base": 14.6, "train": 2712.4, "score tuned": 14.4, "compare": 1.1},
    )


def no_evidence() -> RunRecord:
    """An offline run in which no checkpoint beat the base, so that the base was kept."""
    sports = Source(name="builtin:sports", kind="builtin", license="apache-2.0", shape="scored")
    scored = dataclasses.replace(sports, config="scored", columns=("sentence1", "sentence2", "score"))
    test = dataclasses.replace(scored, split="test", rows=1200, fingerprint="0ff1" * 4)
    validation = dataclasses.replace(scored, split="validation", rows=600, fingerprint="0ff2" * 4)
    train = dataclasses.replace(
        sports,
        config="pairs",
        split="train",
        shape="pairs",
        columns=("anchor", "positive"),
        rows=4000,
        fingerprint="0ff3" * 4,
    )
    score, chosen = Score(n=1200, spearman=0.6, pearson=0.62), Score(n=600, spearman=0.59, pearson=0.6)
    comparison = Comparison(
        n=1200,
        groups=240,
        base=0.6,
        tuned=0.6,
        difference=0.0,
        low=0.0,
        high=0.0,
        confidence=0.95,
        p=1.0,
        resamples=0,
        seed=7,
        verdict="no evidence",
        reason="the two models give the same similarities",
    )
    recipe = Recipe(name="mnrl_minilm", shape="pairs", loss="mnrl", seed=7, learning_rate=1e-3, evaluations=2).offline()
    base = dataclasses.replace(BASE, name="builtin:all-MiniLM-L6-v2")
    return RunRecord(
        name="mnrl_minilm-offline",
        title=f"MiniLM on the built-in sports corpus ({MADE_UP})",
        created="2026-11-20T10:00:00+00:00",
        command="hf-simtune tune mnrl_minilm --offline --seed 7 --learning-rate 0.001",
        offline=True,
        recipe=recipe_facts(recipe),
        commit=None,
        base=base,
        tuned=dataclasses.replace(base, name="mnrl_minilm-offline", hub_id=None, revision=None),
        training=Training(
            source=train,
            rows=4000,
            loss="mnrl",
            temperature=0.05,
            epochs=1.0,
            steps=63,
            batch_size=64,
            processes=1,
            precision="fp32",
            precision_reason="the recipe asks for it",
            seconds=58.3,
            checkpoints=(
                Checkpoint(step=0, epoch=0.0, spearman=0.59),
                Checkpoint(step=32, epoch=0.5079, spearman=0.55, loss=2.1),
                Checkpoint(step=63, epoch=1.0, spearman=None, loss=4.2),
            ),
            best_step=0,
            final_loss=4.1589,
        ),
        leakage=(
            Leakage(
                evaluation=test.title,
                pairs_exact=0,
                pairs_near=0,
                sentences_exact=0,
                sentences_near=0,
                sentences=2400,
                rows_dropped=0,
                jaccard=0.8,
            ),
        ),
        evaluations=(
            Evaluation(source=test, role="report", similarity="cosine", base=score, tuned=score, comparison=comparison),
            Evaluation(
                source=validation, role="select", similarity="cosine", base=chosen, tuned=chosen, comparison=None
            ),
        ),
        machine=MACHINE,
        seconds={"load": 3.1, "score base": 4.0, "train": 58.3, "score tuned": 4.1, "compare": 0.2},
    )


def probe(
    record: RunRecord, name: str, split: str | None, n: int, figures: tuple[float, float, float, float]
) -> Evaluation:
    base, tuned, low, high = figures
    assert record.report.comparison
    return Evaluation(
        source=dataclasses.replace(
            record.report.source,
            name=name,
            kind="hub" if split else "file",
            split=split,
            rows=n,
            fingerprint="9e0b" * 4,
            revision="ef" * 20 if split else None,
        ),
        role="probe",
        similarity="cosine",
        base=Score(n=n, spearman=base, pearson=base),
        tuned=Score(n=n, spearman=tuned, pearson=tuned),
        comparison=dataclasses.replace(
            record.report.comparison,
            n=n,
            groups=n,
            base=base,
            tuned=tuned,
            difference=round(tuned - base, 6),
            low=low,
            high=high,
            p=0.27 if high > 0 else 0.01,
            verdict="no evidence" if high > 0 else "regressed",
        ),
    )


def health(
    step: int,
    anisotropy: float,
    uniformity: float,
    rank: float,
    deviation: float,
    *findings: str,
    active: float | None = None,
    dimensions: int = 0,
) -> Health:
    return Health(
        step=step,
        epoch=round(step / 1503, 4),
        anisotropy=anisotropy,
        uniformity=uniformity,
        effective_rank=rank,
        deviation=deviation,
        active_dimensions=active,
        sparsity=None if active is None else round(1 - active / dimensions, 6),
        findings=findings,
    )


def with_text(text: str) -> RunRecord:
    """A run on files with ``text`` in every place that data, a file's name or a person can fill."""
    record = improved()
    source = dataclasses.replace(
        record.training.source,
        name=text,
        kind="file",
        config=text,
        split=text,
        license=text,
        columns=(text,),
        fingerprint=text,
        dropped={text: 2},
        rescaled_from=(0.0, 5.0),
        rescaled_because=text,
        part=text,
    )
    report, select = record.evaluations
    parts = tuple(dataclasses.replace(part, name=text) for part in report.subsets)
    undefined = Score(n=1379, spearman=None, pearson=None, undefined=text)
    report = dataclasses.replace(
        report,
        source=source,
        subsets=parts,
        tuned=undefined,
        comparison=dataclasses.replace(
            report.comparison, tuned=None, difference=None, low=None, high=None, p=None, reason=text
        )
        if report.comparison
        else None,
    )
    facts = {"hub_id": None, "name": text, "license": text, "language": (text,), "trained_on": (text,)}
    return dataclasses.replace(
        record,
        name=text,
        title=text,
        created=text,
        command=text,
        commit=text,
        recipe=record.recipe | {text: text, "columns": [text, text]},
        base=dataclasses.replace(record.base, **facts),
        tuned=dataclasses.replace(record.tuned, **facts),
        training=dataclasses.replace(
            record.training,
            source=source,
            precision=text,
            precision_reason=text,
            forward=text,
            forward_reason=text,
            loss=text,
        ),
        leakage=tuple(dataclasses.replace(found, evaluation=text) for found in record.leakage),
        evaluations=(report, dataclasses.replace(select, source=source)),
        machine=Machine(
            processor=text, cores=2, memory_gb=1.0, accelerator=text, system=text, versions={"python": text, text: text}
        ),
        seconds={"load": 1.0, text: 2.0},
        examples=({"row": 3, "sentence1": text, text: text}, {"row": 4, "sentence1": text}),
    )


def _part(name: str, n: int, base: float, tuned: float | None, why: str | None = None) -> Subset:
    return Subset(
        name=name,
        base=Score(n=n, spearman=base, pearson=base),
        tuned=Score(n=n, spearman=tuned, pearson=tuned, undefined=why),
    )


def recipe_facts(recipe: Recipe) -> dict[str, Any]:
    return dataclasses.asdict(recipe)
