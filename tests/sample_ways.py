"""Run records of other ways to tune, for the tests of card and report: adapters, sparse, short vectors, scripts."""

from __future__ import annotations

import dataclasses

from sample_record import MADE_UP, health, improved, no_evidence, probe, recipe_facts

from hf_simtune.evaluation.compare import NO_VERDICT
from hf_simtune.evaluation.health import unclaimed
from hf_simtune.evaluation.reindex import Reindex
from hf_simtune.evaluation.retrieval import RetrievalChange
from hf_simtune.evaluation.spread import Spread
from hf_simtune.lora import LoRA
from hf_simtune.recipe import Recipe
from hf_simtune.record import (
    Checkpoint,
    DenseBelow,
    Evaluation,
    FurtherData,
    Mined,
    RunRecord,
    Score,
    Source,
    Training,
    Truncated,
)
from hf_simtune.watching import Compared

__all__ = ["SAMPLES", "csr", "lora", "matryoshka", "script", "splade"]


def lora() -> RunRecord:
    """Adapters without their base, with mined negatives and a second data set; the step that was kept has collapsed."""
    record = improved()
    nli = Source(
        name="sentence-transformers/all-nli",
        kind="hub",
        config="triplet",
        split="train",
        revision="cd" * 20,
        shape="triplets",
        columns=("anchor", "positive", "negative"),
        rows=557_850,
        fingerprint="0411" * 4,
    )
    recipe = Recipe(
        name="lora_minilm",
        train_data=record.training.source.name,
        shape="pairs",
        loss="mnrl",
        lora=LoRA(r=16, alpha=32, targets=("query", "value")),
        mine_negatives=3,
        mini_batch=32,
        more_data=("cached_mnrl=sentence-transformers/all-nli/triplet:train",),
        prompt="sentence: ",
        evaluations=5,
    )
    made = dataclasses.replace(
        record,
        name=recipe.name,
        title=f"adapters of MiniLM ({MADE_UP})",
        command="hf-simtune tune lora_minilm",
        recipe=recipe_facts(recipe),
        base=dataclasses.replace(record.base, prompt="sentence: "),
        tuned=dataclasses.replace(record.tuned, name=recipe.name, prompt="sentence: "),
        training=dataclasses.replace(
            record.training,
            rows=271_014,
            further=(FurtherData(source=nli, rows=557_850, loss="cached_mnrl"),),
            mined=Mined(asked=3, rows=271_014, pairs_without=5820, margin=0.05, model="the base model"),
            parameters=22_897_536,
            trainable=184_320,
            lora="r=16 alpha=32 targets=query,value",
            stopped="no better score in 2 evaluations, at step 1503 of 12951",
        ),
        health=(
            health(0, 0.04, -3.71, 88.2, 0.131),
            health(301, 0.35, -2.02, 60.5, 0.152),
            health(602, 0.58, -1.41, 21.4, 0.171, "narrowing"),
            health(1203, 0.93, -0.31, 6.71, 0.062, "collapsed"),
            health(1503, 0.94, -0.29, 6.60, 0.061, "collapsed"),
        ),
        saved="adapter",
    )
    why = unclaimed(made)
    assert why
    withheld = Compared((), made.evaluations, made.spread, made.reindex).withheld(why)
    return dataclasses.replace(made, evaluations=withheld.evaluations, spread=withheld.spread)


def splade() -> RunRecord:
    """A SPLADE model on MiniLM's weights, in the place of a trained one: its head was random."""
    record = improved()
    wanted = "naver/splade-cocondenser-ensembledistil"
    base = dataclasses.replace(
        record.base,
        name="builtin:splade-MiniLM-L6",
        parameters=22_893_626,
        megabytes=91.6,
        dimensions=30_522,
        kind="splade",
        stand_in_for=wanted,
        untrained="the transform of the masked-language head",
    )
    report, select = record.evaluations
    recipe = Recipe(
        name="splade_stsb",
        model="builtin:splade-MiniLM-L6",
        train_data="sentence-transformers/stsb:train",
        shape="scored",
        loss="cosine",
        sparse="splade",
        stand_in_for=wanted,
        evaluations=5,
    )
    stsb = dataclasses.replace(
        report.source, split="train", rows=5749, fingerprint="7121" * 4, rescaled_from=(0.0, 5.0)
    )
    return dataclasses.replace(
        record,
        name=recipe.name,
        title=f"SPLADE on STSb ({MADE_UP})",
        command="hf-simtune tune splade_stsb --model builtin:splade-MiniLM-L6",
        recipe=recipe_facts(recipe),
        base=base,
        tuned=dataclasses.replace(base, name=recipe.name, hub_id=None, revision=None, weights_sha256="7d" * 32),
        training=dataclasses.replace(
            record.training, source=stsb, rows=5730, loss="cosine", temperature=None, forward="plain", forward_reason=""
        ),
        evaluations=(_sparse(report, 15_310.4, 212.7, 30_522), _sparse(select, 15_288.0, 210.1, 30_522)),
        health=(
            health(0, 0.97, -0.12, 3.1, 0.011, "dense", active=15_290.3, dimensions=30_522),
            health(1203, 0.41, -1.9, 41.0, 0.141, active=213.9, dimensions=30_522),
        ),
    )


def csr() -> RunRecord:
    """A sparse autoencoder over a dense model: new weights on a base that is trained."""
    record = improved()
    report, select = record.evaluations
    base = dataclasses.replace(
        record.base,
        parameters=23_896_704,
        megabytes=95.6,
        dimensions=1536,
        kind="csr",
        untrained="an autoencoder of 1,536 dimensions",
    )
    recipe = Recipe(
        name="csr_minilm",
        train_data=record.training.source.name,
        shape="pairs",
        loss="mnrl",
        sparse="csr",
        active_dims=64,
        evaluations=5,
    )
    return dataclasses.replace(
        record,
        name=recipe.name,
        title=f"CSR over MiniLM ({MADE_UP})",
        command="hf-simtune tune csr_minilm",
        recipe=recipe_facts(recipe),
        base=base,
        tuned=dataclasses.replace(base, name=recipe.name, hub_id=None, revision=None, weights_sha256="7d" * 32),
        training=dataclasses.replace(
            record.training, forward="plain", forward_reason="", parameters=23_896_704, trainable=23_896_704
        ),
        evaluations=(_sparse(report, 64.0, 63.4, 1536), _sparse(select, 64.0, 63.5, 1536)),
        dense=DenseBelow(dimensions=384, evaluation=_below(_sparse(report, 64.0, 63.4, 1536))),
    )


def _below(report: Evaluation) -> Evaluation:
    """The same rows with a dense model of 0.7175 in place of the untrained base."""
    assert report.comparison
    comparison = dataclasses.replace(
        report.comparison, base=0.7175, difference=0.005, low=-0.0031, high=0.0132, p=0.21, verdict="no evidence"
    )
    base = dataclasses.replace(report.base, spearman=0.7175, active_dimensions=None, sparsity=None)
    return dataclasses.replace(report, role="dense", base=base, comparison=comparison)


def matryoshka() -> RunRecord:
    """Embeddings that can be cut, two probes, and what it means for an index and for the spread of similarities."""
    record = improved()
    report, select = record.evaluations
    recipe = Recipe(
        name="matryoshka_minilm",
        train_data=record.training.source.name,
        shape="pairs",
        loss="mnrl",
        matryoshka=(384, 128, 64),
        probe=("sentence-transformers/sick:test", "forum.csv"),
        evaluations=5,
    )
    cuts = ((384, 0.7, 0.7225), (128, 0.671, 0.715), (64, 0.642, 0.7012))
    report = dataclasses.replace(
        report,
        truncated=tuple(
            Truncated(
                dimensions=count,
                base=Score(n=1379, spearman=base, pearson=base),
                tuned=Score(n=1379, spearman=tuned, pearson=tuned),
            )
            for count, base, tuned in cuts
        ),
        retrieval=RetrievalChange(
            n=2552,
            queries=320,
            groups=301,
            base=0.912,
            tuned=0.934,
            base_first=0.876,
            tuned_first=0.908,
            low=0.0084,
            high=0.0371,
            resamples=1000,
            seed=42,
        ),
    )
    forum = probe(record, "forum.csv", None, 812, (0.66, 0.645, -0.0262, -0.0038))
    lost = RetrievalChange(
        n=1560,
        queries=84,
        groups=84,
        base=0.803,
        tuned=0.771,
        base_first=0.75,
        tuned_first=0.702,
        low=-0.0611,
        high=-0.0052,
        resamples=1000,
        seed=42,
    )
    probes = (
        probe(record, "sentence-transformers/sick", "test", 4906, (0.79, 0.7885, -0.0041, 0.0011)),
        dataclasses.replace(forum, retrieval=lost),
    )
    return dataclasses.replace(
        record,
        name=recipe.name,
        title=f"MiniLM that can be cut ({MADE_UP})",
        command="hf-simtune tune matryoshka_minilm --probe sentence-transformers/sick:test forum.csv",
        recipe=recipe_facts(recipe),
        tuned=dataclasses.replace(record.tuned, name=recipe.name),
        training=dataclasses.replace(
            record.training, forward="plain", forward_reason="", parameters=22_713_216, trainable=22_713_216
        ),
        evaluations=(report, select, *probes),
        health=(health(0, 0.04, -3.71, 88.2, 0.131), health(1203, 0.03, -3.8, 91.4, 0.144)),
        spread=Spread(
            n=2552,
            given=2552,
            groups=1179,
            base=0.131,
            tuned=0.144,
            difference=0.013,
            low=0.0121,
            high=0.0139,
            confidence=0.95,
            resamples=1000,
            seed=42,
            verdict="wider",
        ),
        reindex=Reindex(
            n=2552,
            k=10,
            overlap=0.712,
            queries=320,
            groups=301,
            base=0.912,
            tuned=0.934,
            mixed=0.871,
            mixed_low=-0.081,
            mixed_high=-0.046,
            old=0.88,
            old_low=-0.071,
            old_high=-0.038,
            resamples=1000,
            seed=42,
            answer="rebuild",
            reason="queries find less where old and new vectors meet",
        ),
    )


def script() -> RunRecord:
    """What SimtuneCallback writes of a script of the user's own: much of it is not known."""
    record = improved()
    return dataclasses.replace(
        record,
        name="my-model",
        title=f"trained by a script of its own, with SimtuneCallback ({MADE_UP})",
        command="",
        recipe={
            "num_train_epochs": 1,
            "per_device_train_batch_size": 16,
            "learning_rate": 5e-5,
            "warmup_steps": 0.1,
            "seed": 42,
            "bf16": False,
            "metric_for_best_model": None,
        },
        tuned=dataclasses.replace(record.tuned, name="my-model"),
        training=Training(
            source=Source(name="rows of the script's own", kind="script", shape="unknown"),
            rows=0,
            loss="unknown",
            temperature=None,
            epochs=1.0,
            steps=360,
            batch_size=16,
            processes=1,
            precision="fp32",
            precision_reason="as the script has it",
            forward="plain",
            forward_reason="as the script has it",
            seconds=93.1,
            checkpoints=tuple(
                Checkpoint(step=step, epoch=0.0, spearman=None, loss=round(2 - step / 400, 3))
                for step in range(10, 361, 10)
            ),
            best_step=360,
            final_loss=1.1,
            parameters=22_713_216,
            trainable=22_713_216,
        ),
        leakage=(),
        evaluations=record.evaluations[:1],
        seconds={},
        saved="",
        script=True,
    )


def _sparse(evaluation: Evaluation, base: float, tuned: float, dimensions: int) -> Evaluation:
    def with_activity(score: Score, active: float) -> Score:
        return dataclasses.replace(score, active_dimensions=active, sparsity=round(1 - active / dimensions, 6))

    comparison = evaluation.comparison
    if comparison:
        comparison = dataclasses.replace(comparison, verdict=NO_VERDICT)
    return dataclasses.replace(
        evaluation,
        base=with_activity(evaluation.base, base),
        tuned=with_activity(evaluation.tuned, tuned),
        comparison=comparison,
        subsets=(),
    )


SAMPLES = {made.__name__: made for made in (improved, no_evidence, lora, splade, csr, matryoshka, script)}
