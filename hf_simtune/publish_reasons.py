"""What may speak against publishing a run: the names that --allow takes, and what each lets through."""

from __future__ import annotations

__all__ = ["REASONS"]

REASONS = {
    "regressed": "a verdict of regressed",
    "no-evidence": "a verdict of no evidence",
    "no-verdict": "no verdict, as the base was not a trained model",
    "collapsed": "embeddings that the guard found unhealthy at the step that was kept",
    "leaks": "training rows that are evaluation pairs",
    "unchanged": "a model that is the base as it was",
    "unwatched": "no measurement of how the embeddings of the kept step lie",
    "unsearched": "rows that are not at hand, so that their texts cannot be looked for in what is sent",
    "names": "this machine's or its user's name in a file, as a word that happens to be one",
    "texts": "the text of a row in a file",
    "weights": "weights that are not those that were scored",
}
