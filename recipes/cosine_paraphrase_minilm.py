# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-simtune[offline]"]
# [tool.uv]
# constraint-dependencies = ["torch==2.13.0"]
# [tool.uv.sources]
# hf-simtune = { path = "..", editable = true }
# ///
"""paraphrase-MiniLM-L6-v2 on (text, text, score) rows with CosineSimilarityLoss, evaluated twice an epoch.

Run:      accelerate launch recipes/cosine_paraphrase_minilm.py     (or: hf-simtune tune cosine_paraphrase_minilm)
Measured: not yet on the data that it names; its tests run it on a few rows
Source:   Reimers and Gurevych 2019, arXiv:1908.10084; sentence-transformers' training_stsbenchmark.py
"""

from hf_simtune import Recipe, main

RECIPE = Recipe(
    name="cosine_paraphrase_minilm",
    title="paraphrase-MiniLM on STSb scores with CosineSimilarityLoss",
    model="sentence-transformers/paraphrase-MiniLM-L6-v2",
    train_data="sentence-transformers/stsb:train",
    shape="scored",
    select_on="sentence-transformers/stsb:validation",
    report_on="sentence-transformers/stsb:test",
    loss="cosine",
    epochs=4,
    batch_size=64,
    learning_rate=5e-5,
    evaluations=8,
)

if __name__ == "__main__":
    main(RECIPE)
