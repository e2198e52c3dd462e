"""What a recipe asks for when its run is over: other formats, and the Hub, where it is asked before it begins."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import httpx2
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

from hf_simtune import exporting, hub_state, notebook_view, publishing
from hf_simtune.errors import RequestError, RunError, SimtuneError
from hf_simtune.hub_patience import asked, patient
from hf_simtune.publishing import Published
from hf_simtune.recipe import Recipe
from hf_simtune.record import RunRecord
from hf_simtune.tellable import tellable_cause

__all__ = ["FinishedError", "Run", "UnexportedError", "UnpublishedError", "export", "publish", "target"]

log = logging.getLogger("hf_simtune")


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run: its folder and its record."""

    folder: Path
    record: RunRecord
    published: Published | None = None  # with push_to_hub

    def _repr_html_(self) -> str:
        """What a notebook shows of it."""
        return notebook_view.html(self.record, self.folder)


class FinishedError(RunError):
    """A run is finished, and what was to come of it then is not there.

    Attributes:
        run: which.
    """

    def __init__(self, problems: Sequence[str], run: Run, hint: str | None = None) -> None:
        super().__init__(problems, hint)
        self.run = run


class UnpublishedError(FinishedError):
    """A run is finished, and is not on the Hub."""


class UnexportedError(FinishedError):
    """A run is finished, and is not there in another format, nor on the Hub."""


def export(run: Run) -> Run:
    """Write the model of a run that has just ended in another format.

    Returns:
        The run, with the formats in its record.

    Raises:
        UnexportedError: it could not be; the run stays as it is.
    """
    try:
        return dataclasses.replace(run, record=exporting.export(run.folder))
    except SimtuneError as error:
        told = [f"the run in {run.folder} is finished and was not exported: {problem}" for problem in error.problems]
        raise UnexportedError(told, run, hint=error.hint or f"Again: hf-simtune export {run.folder}") from error


def target(recipe: Recipe, *, offline: bool) -> str | None:
    """Where a run is to be published: ``hub_model_id``, or the user's own name and the recipe's; None: nowhere.

    The Hub is asked who the user is and whether they may write there, so that a long run does not end at that.

    Raises:
        RequestError: with ``offline``, which sends nothing; or the repository's name is no name.
        HubError: nobody is logged in, or may not write there, or the Hub does not answer.
    """
    if not recipe.push_to_hub:
        return None
    if offline:
        raise RequestError(
            "--push-to-hub sends the run to the Hub, and --offline goes without it",
            hint="Run it, look at it, and publish it then: hf-simtune publish RUN --to ORG/NAME",
        )
    api = HfApi()
    with patient():
        try:
            me = asked(api.whoami)
        except (LocalTokenNotFoundError, HfHubHTTPError, httpx2.HTTPError, OSError) as error:
            told = "--push-to-hub: the Hub does not say who you are"
            raise hub_state.untrained(told, error) from tellable_cause(error)
        to = recipe.hub_model_id or f"{me['name']}/{re.sub(r'[^A-Za-z0-9._-]+', '-', recipe.name).strip('-.')}"
        if problems := publishing.named_wrong(to):
            raise RequestError(
                [problem.replace("--to ", "--hub-model-id ") for problem in problems],
                hint="Name it: --hub-model-id ORG/NAME",
            )
        if me.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise hub_state.untrained(f"--push-to-hub: the token of {me['name']} may only read")
        try:
            if hub_state.main_at(api, to, private=recipe.hub_private_repo):
                asked(lambda: api.auth_check(to, write=True))
            elif to.partition("/")[0] not in (me["name"], *(one["name"] for one in me.get("orgs", ()))):
                log.warning("--push-to-hub: there is no %s yet, and %s may not be able to make it", to, me["name"])
        except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
            told = f"--push-to-hub: {me['name']} may not write to {to}"
            raise hub_state.untrained(told, error) from tellable_cause(error)
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
