"""A finished run -> the files of a Space that shows it: they need sentence-transformers and gradio, and not this."""

from __future__ import annotations

import dataclasses
import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import jinja2
import yaml

from hf_simtune import publish_search
from hf_simtune.errors import RequestError, RunError, first_line
from hf_simtune.hub import MODEL_CACHE, answers
from hf_simtune.hub_names import is_hub_id
from hf_simtune.model_names import at_revision
from hf_simtune.record import RunRecord
from hf_simtune.run_folder import RunFolder
from hf_simtune.tellable import tellable_cause

__all__ = ["SDK", "Space", "write", "wrong"]

SDK = "6.31.0"  # of gradio, as it was tried
PYTHON = "3.12"  # a Space's own would be too old for transformers
REQUIREMENTS = ["sentence-transformers>=6.2,<7", "gradio>=6.30,<7"]
ADAPTERS = "peft>=0.20,<1"
PAGE = Path(__file__).with_name("demo_page")
log = logging.getLogger("hf_simtune")


@dataclasses.dataclass(frozen=True)
class Space:
    """What was written, and how it gets to the Hub."""

    folder: Path
    files: tuple[str, ...]
    commands: tuple[str, ...]  # that make the Space and send the files


def wrong(space: str | None, of: str | None, out: str | None, serving: Mapping[str, object]) -> list[str]:
    """What is wrong with the flags of a demo, in sentences.

    Args:
        space: ``ORG/NAME`` of the Space; None: the page is served here.
        of: the model on the Hub.
        out: where the files go.
        serving: flags that are for a page served here, with their values.
    """
    if space is None:
        given = {"--of": of, "--out": out}
        return [f"{flag} {value} has no use without --space" for flag, value in given.items() if value is not None]
    problems = [
        f"{flag} has no use with --space, which serves nothing" for flag, value in serving.items() if value is not None
    ]
    if not is_hub_id(space):
        problems.append(f"--space {space}: it must be ORG/NAME, of letters, digits, '.', '_' and '-'")
    if of is None:
        problems.append(
            "--space needs the model's name on the Hub, from which the Space loads it: --of ORG/MODEL, as in "
            "hf-simtune publish RUN --to ORG/MODEL"
        )
    elif not is_hub_id(at_revision(of)[0]):
        problems.append(f"--of {of}: it must be ORG/MODEL, or ORG/MODEL@REVISION")
    return problems


def write(run: Path, space: str, of: str, out: Path | None = None, *, force: bool = False) -> Space:
    """Write the files of a Space.

    Args:
        run: folder of a finished run.
        space: ``ORG/NAME`` of the Space.
        of: the model as it was published, ``ORG/MODEL`` or ``ORG/MODEL@REVISION``.
        out: where to; None: ``space/`` in the run's folder.
        force: write over a folder that holds something.

    Raises:
        RequestError: no finished run, names that are none, a model on the Hub that is not this run's, or a folder that
            holds something.
        RunError: what must not leave this machine stands in a file.
    """
    folder = RunFolder.finished(run)
    target = out or run / "space"
    problems = wrong(space, of, None, {})
    if target.is_file() or (target.is_dir() and any(target.iterdir()) and not force):
        problems.append(f"--out {target} is there and holds something; --force writes over it")
    if problems:
        raise RequestError(problems, hint="See: hf-simtune demo --help")
    record = RunRecord.load(folder.record)
    name, revision = at_revision(of)
    _published(record, run, name, revision)
    files: dict[str, bytes | Path] = {
        "README.md": _readme(record, name).encode(),
        "app.py": _app(record, name, revision).encode(),
        "requirements.txt": "".join(f"{line}\n" for line in _requirements(record)).encode(),
        "record.json": folder.record,
    }
    files |= {f"{PAGE.name}/{path.name}": path for path in sorted(PAGE.glob("*")) if path.suffix in (".py", ".css")}
    if found := publish_search.private(files):
        raise RunError([f"{one.file} holds {one.what}" for one in found], hint="Nothing was written")
    try:
        for path, held in files.items():
            place = target / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(held if isinstance(held, bytes) else held.read_bytes())
    except OSError as error:
        raise RequestError(f"--out {target} cannot be written: {error.strerror or error}") from error
    commands = (
        shlex.join(["hf", "repos", "create", space, "--type", "space", "--sdk", "gradio", "--exist-ok"]),
        shlex.join(["hf", "upload", space, str(target), ".", "--type", "space"]),
    )
    return Space(target, tuple(files), commands)


def _published(record: RunRecord, run: Path, name: str, revision: str | None) -> None:
    """See that the Hub has this run under that name; where it does not answer, say that nothing was seen.

    Raises:
        RequestError: it has no such model, or another run's.
    """
    publish = f"Publish it first: hf-simtune publish {run} --to {name}"
    if not answers(name, "model", revision):
        log.warning("the Hub does not answer: whether it has this run as %s was not looked at", name)
        return
    try:
        path = huggingface_hub.hf_hub_download(name, "record.json", revision=revision, cache_dir=MODEL_CACHE)
    except (OSError, httpx2.HTTPError, ValueError) as error:
        raise RequestError(
            f"--of {name}: the Hub gives no record of a run there: {first_line(error)}", hint=publish
        ) from tellable_cause(error)
    if RunRecord.load(Path(path)).tuned.weights_sha256 != record.tuned.weights_sha256:
        raise RequestError(f"--of {name}: the Hub has another run there than {run}", hint=publish)


def _app(record: RunRecord, name: str, revision: str | None) -> str:
    base = record.base
    why = ""
    if base.untrained:
        why = f"Its base begins with {base.untrained} untrained, and is not on the Hub: there is no before."
    elif base.hub_id is None:
        why = f"Its base, {base.name}, is not on the Hub: there is no before."
    before = {"revision": base.revision, "sparse": base.kind != "dense", "max_length": base.max_length}
    return _template("space_app.py.jinja").render(
        model=name,
        tuned=_call(name, revision=revision, sparse=record.tuned.kind != "dense"),
        base="" if why else _call(str(base.hub_id), **before, prompt=base.prompt),
        why=repr(why),
    )


def _call(name: str, **given: Any) -> str:
    """The words between the brackets of a call, without those that are as by default."""
    return ", ".join([repr(name), *(f"{key}={value!r}" for key, value in given.items() if value not in (None, False))])


def _requirements(record: RunRecord) -> list[str]:
    return [*REQUIREMENTS, *([ADAPTERS] if record.saved == "adapter" else [])]


def _readme(record: RunRecord, name: str) -> str:
    base = record.base.hub_id
    front = {
        "title": f"{record.name}: before and after",
        "emoji": "\N{STRAIGHT RULER}",
        "colorFrom": "gray",
        "colorTo": "blue",
        "sdk": "gradio",
        "sdk_version": SDK,
        "python_version": PYTHON,
        "app_file": "app.py",
        "license": "apache-2.0",
        "models": [name, *([base] if base and not record.base.untrained else [])],
    }
    text = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return _template("space_readme.md.jinja").render(front_matter=text, model=name)


def _template(name: str) -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).with_name("templates"))
    environment = jinja2.Environment(
        loader=loader,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name)
