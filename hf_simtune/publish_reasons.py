"""What may speak against publishing a run: the names that --allow takes, and what each lets through."""

from __future__ import annotations

__all__ = ["ABOUT", "EPILOG", "REASONS"]

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

ABOUT = """\
Send a finished run to the Hub: model, card, record, scores and pictures in one commit.
The run is checked first, and refused where something speaks against it. Afterwards the
model is loaded back by its name, compared with the one that was scored, and then tagged.
What an earlier run put there is replaced; what somebody else put there stays.
"""

EPILOG = (
    "what --allow takes, each by its name:\n"
    + "\n".join(f"  {name:<12} {told}" for name, told in REASONS.items())
    + """

examples:
  hf-simtune publish runs/NAME-TIME --to ORG/NAME --dry-run       what would be sent
  hf-simtune publish runs/NAME-TIME --to ORG/NAME --tag v1        a release with a name that stays
  hf-simtune publish runs/NAME-TIME --to ORG/NAME --create-pr     for somebody else to merge
  hf-simtune score ORG/NAME --data DATA                           is the published score true?

Log in first: hf auth login. Ends with 0 (it is there), 1 (it is not, and the Hub is as it was
unless the message says otherwise) or 2 (the request was wrong, or the run was refused).
"""
)
