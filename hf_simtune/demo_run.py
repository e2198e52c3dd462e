"""A finished run -> its demo, served on this machine."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hf_simtune import adapters, models, preparing
from hf_simtune.demo_page.encoders import Encoders, UnavailableError
from hf_simtune.errors import RequestError, RunError, SimtuneError, joined
from hf_simtune.evaluation.sts import Model
from hf_simtune.recipe import Recipe
from hf_simtune.record import ModelFacts, RunRecord
from hf_simtune.run_folder import RunFolder

__all__ = ["FIRST_PORT", "Demo", "encoders", "free_port", "open_run", "start"]

_HOST = "127.0.0.1 is this machine alone, 0.0.0.0 every network that it is in"
FIRST_PORT, PORTS = 7860, 100  # gradio's own; where nobody names one, the first that is free


@dataclasses.dataclass(frozen=True)
class Demo:
    """A page that is being served."""

    url: str
    stop: Callable[[], None]


def open_run(run: Path) -> RunFolder:
    """The folder of a finished run that holds a model.

    Raises:
        RequestError: no finished run, or none with a model in it.
    """
    folder = RunFolder.finished(run)
    if not folder.model.is_dir():
        raise RequestError(
            f"{run} holds no model: there is no folder model/ in it",
            hint="A script that trains with SimtuneCallback saves its model itself, and a demo is of a run with one",
        )
    return folder


def encoders(folder: RunFolder, record: RunRecord) -> Encoders:
    """Both models of a run, not loaded yet: the base as the run had it, and what lies in ``model/``."""

    def tuned() -> tuple[Model, str]:
        return _checked(lambda: _tuned(folder, record), "model in the run folder", record.tuned)

    def base() -> tuple[Model, str]:
        return _checked(lambda: preparing.load_base(_recipe(folder, record)), "base", record.base)

    return Encoders(tuned, base)


def _tuned(folder: RunFolder, record: RunRecord) -> tuple[Model, ModelFacts]:
    """The model that a run left; adapters on their base where that lies on this machine."""
    place = None
    if record.saved == "adapter":
        recipe = _recipe(folder, record)
        place = models.base_folder(recipe.model, recipe.model_revision)
    with adapters.placed(folder.model, place) as lies:
        return models.load(str(lies))


def _recipe(folder: RunFolder, record: RunRecord) -> Recipe:
    """What tells how the base is loaded: the plan, which knows its folder; else the record, by its name.

    Raises:
        RequestError: neither tells.
    """
    if folder.plan.is_file():
        recipe = folder.read_plan().recipe
    elif record.script:
        recipe = Recipe(name="base", model=record.base.hub_id or record.base.name)
    else:
        held = {field.name: record.recipe.get(field.name, field.default) for field in dataclasses.fields(Recipe)}
        held = {name: tuple(value) if isinstance(value, list) else value for name, value in held.items()}
        recipe = Recipe(**held)
    if recipe.model_revision is None and not recipe.model.startswith("builtin:") and recipe.model == record.base.hub_id:
        recipe = dataclasses.replace(recipe, model_revision=record.base.revision)
    return recipe


def _checked(load: Callable[[], tuple[Model, ModelFacts]], called: str, meant: ModelFacts) -> tuple[Model, str]:
    """A model, and a sentence where it is not the one that was scored.

    Raises:
        UnavailableError: it does not load.
    """
    try:
        model, facts = load()
    except SimtuneError as error:
        raise UnavailableError(f"{'; '.join(error.problems)}. {error.hint or ''}".strip()) from error
    if facts.weights_sha256 == meant.weights_sha256:
        return model, ""
    return model, f"The {called} has other weights by now than those that were scored: what it says here is not theirs."


def free_port(host: str, port: int | None) -> int:
    """A port that can be listened on.

    Args:
        host: address of this machine.
        port: which; None: the first of a hundred that is free; 0: any.

    Raises:
        RequestError: it is in use, may not be opened, or is none; or the host is no address of this machine.
    """
    if port is not None and not 0 <= port <= 65535:
        raise RequestError(f"--port {port}: it must be 0 (any that is free) to 65535")
    wanted = range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else [port]
    for one in wanted:
        try:
            family = socket.getaddrinfo(host, one, type=socket.SOCK_STREAM)[0][0]
            with socket.socket(family, socket.SOCK_STREAM) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind((host, one))
                return int(tried.getsockname()[1])
        except socket.gaierror as error:
            raise RequestError(f"--host {host}: there is no such address ({error.strerror})", hint=_HOST) from error
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise RequestError(f"--host {host} is no address of this machine", hint=_HOST) from error
            if error.errno == errno.EACCES:
                raise RequestError(
                    f"--port {one} may not be opened by this user", hint="Name one above 1023"
                ) from error
            if error.errno != errno.EADDRINUSE:
                raise RequestError(f"{host}:{one} cannot be listened on: {error.strerror or error}") from error
    shown = f"port {port} is" if port is not None else f"ports {wanted[0]} to {wanted[-1]} are"
    raise RequestError(f"{shown} in use on {host}", hint="Name another one, or 0 for any that is free: --port 0")


@contextmanager
def _collected(errors: list[SimtuneError]) -> Iterator[None]:
    """Keep what is wrong with a request, to be told with the rest."""
    try:
        yield
    except RequestError as error:
        errors.append(error)


def start(run: Path, *, host: str = "127.0.0.1", port: int | None = None, browser: bool = False) -> Demo:
    """Serve the demo of a run, until it is stopped.

    Args:
        run: its folder.
        host: address to listen on.
        port: None takes the first that is free from 7860 on.
        browser: open the page in this machine's browser.

    Raises:
        RequestError: the package gradio is missing, no finished run, or a port or host that cannot be had; all of that
            at once.
        RunError: gradio could not serve it.
    """
    errors: list[SimtuneError] = []
    if find_spec("gradio") is None:
        errors.append(RequestError("a demo needs the package gradio", hint="pip install 'hf-simtune[demo]'"))
    folder = None
    with _collected(errors):
        folder = open_run(run)
    with _collected(errors):
        port = free_port(host, port)
    if errors or folder is None:
        raise joined(errors)
    record = RunRecord.load(folder.record)
    page, looks = _page(folder, record)
    try:
        page.launch(
            server_name=host,
            server_port=port,
            share=False,
            inbrowser=browser,
            quiet=True,
            prevent_thread_lock=True,
            show_error=True,
            ssr_mode=False,
            mcp_server=False,
            enable_monitoring=False,
            **looks,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise RunError(f"the page could not be served: {error}") from error
    return Demo(f"http://{host}:{port}/", page.close)


def _page(folder: RunFolder, record: RunRecord) -> tuple[Any, dict[str, Any]]:
    """The page, with gradio's own calls home off."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from hf_simtune.demo_page import page

    held = json.loads(folder.record.read_text(encoding="utf-8"))
    return page.build(held, encoders(folder, record))
