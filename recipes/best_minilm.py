# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-simtune[offline]"]
# [tool.uv]
# constraint-dependencies = ["torch==2.13.0"]
# [tool.uv.sources]
# hf-simtune = { path = "..", editable = true }
# ///
"""all-MiniLM-L6-v2 on the scores of the STS Benchmark: three trainings with CoSENTLoss, and the mean of their weights.

Run:      accelerate launch recipes/best_minilm.py     (or: hf-simtune tune best_minilm)
Cost:     COST
Measured: MEASURED
Source:   https://kexue.fm/archives/8847 (CoSENT, Su 2022); Wortsman et al. 2022, arXiv:2203.05482 (model soups)
"""

from hf_simtune import Recipe, main

RECIPE = Recipe(
    name="best_minilm",
    title="MiniLM on STSb scores with CoSENT, the mean of three trainings",
    model="sentence-transformers/all-MiniLM-L6-v2",
    train_data="sentence-transformers/stsb:train",
    shape="scored",
    select_on="sentence-transformers/stsb:validation",
    report_on="sentence-transformers/stsb:test",
    probe=("builtin:sports/scored:test",),
    loss="cosent",
    epochs=4,
    batch_size=64,
    learning_rate=1e-4,
    evaluations=4,
    soup=3,
)

if __name__ == "__main__":
    main(RECIPE)
