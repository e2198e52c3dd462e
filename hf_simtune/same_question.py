"""Whether runs of one recipe did the same thing but for the seed."""

from __future__ import annotations

import dataclasses
import re

from hf_simtune.errors import RunError
from hf_simtune.recipe import Recipe
from hf_simtune.record import RunRecord
from hf_simtune.unread_fields import MINI_BATCH

__all__ = ["check_same_question"]

RUN_TIME = re.compile(r"-\d{8}-\d{6}(-\d+)?(?=/)")  # in RECIPE-TIME/model


def check_same_question(name: str, runs: list[RunRecord]) -> None:
    """Refuse to average runs that did not do the same thing but for the seed.

    Raises:
        RunError: the settings, the base, or the rows differ.
    """

    def question(record: RunRecord) -> tuple[object, ...]:
        # A field that an older record does not have was not there yet: the run did what is now the default. One that
        # recipes no longer have is left out: no kept run set it.
        defaults = dataclasses.asdict(Recipe())
        recipe = {field: record.recipe.get(field, value) for field, value in defaults.items() if field != "seed"}
        recipe["start"] = recipe["start"] and RUN_TIME.sub("", recipe["start"])  # a run of each seed's own
        if recipe["mini_batch"] == MINI_BATCH:  # which is taken where none is given
            recipe["mini_batch"] = None
        rows = [(one.role, one.source.fingerprint) for one in record.evaluations]
        # A part of the base that nobody has trained is drawn from the seed, and its hash with it.
        base = record.base.name if record.base.untrained else record.base.weights_sha256
        trained = record.training.source  # of --train-rows, each seed draws its own
        return recipe, base, trained.title if recipe["train_rows"] else trained.fingerprint, rows

    if any(question(record) != question(runs[0]) for record in runs[1:]):
        raise RunError(f"the reference runs of {name} differ in more than their seeds")
