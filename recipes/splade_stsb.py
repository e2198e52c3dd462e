# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-simtune[offline]"]
# [tool.uv]
# constraint-dependencies = ["torch==2.13.0"]
# sources.hf-simtune = { path = "..", editable = true }
# [tool.hf-jobs]
# flavor = "cpu-upgrade"
# timeout = "2h"
# secrets = ["HF_TOKEN"]
# env = { UV_NO_SOURCES = "1" }
# ///
"""splade-cocondenser-ensembledistil on the STS Benchmark: SparseCosineSimilarityLoss inside SpladeLoss.

Run:      accelerate launch recipes/splade_stsb.py     (or: hf-simtune tune splade_stsb)
Measured: with a SPLADE made of MiniLM's weights and a fresh head standing in for its base model, STSb test 74.36 ->
          79.88 with 67.5 -> 63.9 active dimensions, and no verdict, as that base starts untrained; 9 minutes on 2 cores
          of an AMD EPYC in bf16, one seed, see model_cards/splade_stsb/42
Source:   Formal et al. 2022, arXiv:2205.04733; sentence-transformers' train_splade_stsbenchmark.py
"""

from hf_simtune import Recipe, main

RECIPE = Recipe(
    name="splade_stsb",
    title="SPLADE on STSb scores with the cosine loss and the FLOPS regulariser",
    model="naver/splade-cocondenser-ensembledistil",
    train_data="sentence-transformers/stsb:train",
    shape="scored",
    select_on="sentence-transformers/stsb:validation",
    report_on="sentence-transformers/stsb:test",
    loss="cosine",
    epochs=1,
    batch_size=64,
    learning_rate=5e-5,
    sparse="splade",
    flops_weight=3e-3,
)

if __name__ == "__main__":
    main(RECIPE)
