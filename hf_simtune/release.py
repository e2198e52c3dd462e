"""``push_to_hub`` in a recipe: where a run will be published, asked before it begins, and its publishing at the end."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import httpx2
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

from hf_simtune import notebook_view, publishing
from hf_simtune.errors import HubError, RequestError, RunError, SimtuneError
from hf_simtune.hub_patience import patient
from hf_simtune.publishing import Published
from hf_simtune.recipe import Recipe
from hf_simtune.record import RunRecord

__all__ = ["Run", "UnpublishedError", "publish", "target"]


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run: its folder and its record."""

    folder: Path
    record: RunRecord
    published: Published | None = None  # with push_to_hub

    def _repr_html_(self) -> str:
        """What a notebook shows of it."""
        return notebook_view.html(self.record, self.folder)


class UnpublishedError(RunError):
    """A run is finished, and is not on the Hub.

    Attributes:
        run: which.
    """

    def __init__(self, problems: Sequence[str], run: Run, hint: str | None = None) -> None:
        super().__init__(problems, hint)
        self.run = run


def target(recipe: Recipe, *, offline: bool) -> str | None:
    """Where a run is to be published: ``hub_model_id``, or the user's own name and the recipe's; None: nowhere.

    The Hub is asked who the user is, so that a long run does not end at a missing login.

    Raises:
        RequestError: with ``offline``, which sends nothing.
        HubError: nobody is logged in, or the Hub does not answer.
    """
    if not recipe.push_to_hub:
        return None
    if offline:
        raise RequestError(
            "--push-to-hub sends the run to the Hub, and --offline goes without it",
            hint="Run it, look at it, and publish it then: hf-simtune publish RUN --to ORG/NAME",
        )
    try:
        with patient():
            user = str(HfApi().whoami()["name"])
    except (LocalTokenNotFoundError, HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise HubError(
            f"--push-to-hub: the Hub does not say who you are, and nothing was trained: {said[0]}",
            hint="Log in with a token that may write: hf auth login",
        ) from error
    to = recipe.hub_model_id or f"{user}/{re.sub(r'[^A-Za-z0-9._-]+', '-', recipe.name).strip('-.')}"
    if problems := publishing.named_wrong(to):
        raise RequestError(problems, hint="Name it: --hub-model-id ORG/NAME")
    return to


def publish(run: Run, to: str, *, private: bool) -> Published:
    """Publish a run that has just ended.

    Raises:
        UnpublishedError: something speaks against it, or the Hub did not take it; the run stays as it is.
    """
    try:
        return publishing.publish(run.folder, to, private=private)
    except SimtuneError as error:
        told = [f"the run in {run.folder} is finished and was not published: {problem}" for problem in error.problems]
        raise UnpublishedError(told, run, hint=error.hint) from error
