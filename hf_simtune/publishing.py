"""From a finished run's folder to a model on the Hub: the gate, one commit, and the proof that it loads."""

from __future__ import annotations

import dataclasses
import logging
import re
import shlex
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from datasets import Dataset

from hf_simtune import (
    branching,
    card_plots,
    eval_results,
    hub_upload,
    models,
    publish_files,
    publish_gate,
    publish_search,
    writing,
)
from hf_simtune.card import Release
from hf_simtune.data import inputs
from hf_simtune.data.inputs import Inputs
from hf_simtune.errors import RequestError, RunError, SimtuneError, joined
from hf_simtune.hub_names import is_hub_id
from hf_simtune.hub_patience import patient
from hf_simtune.publish_gate import Reason
from hf_simtune.publish_proof import round_trip
from hf_simtune.record import RunRecord
from hf_simtune.run_folder import RunFolder
from hf_simtune.weights import sha256_of

__all__ = ["Published", "named_wrong", "publish"]

BRANCHES = ("main", "master", "HEAD")  # a tag of that name would make a revision of two meanings
TAG = re.compile(r"[\w][\w.-]*", re.ASCII)
log = logging.getLogger("hf_simtune")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """What was sent, or with ``dry_run`` would be."""

    repository: str
    files: tuple[str, ...]  # of the model on the Hub
    left_out: tuple[str, ...]  # files in model/ that stay here
    allowed: tuple[Reason, ...]  # what spoke against it and was allowed
    kind: str = "dense"
    changed: tuple[str, ...] = ()  # files of the commit
    gone: tuple[str, ...] = ()  # files of an earlier run that it takes away; both empty: all was there already
    stayed: tuple[str, ...] = ()  # files in the repository that no run puts there
    commit: str | None = None
    url: str | None = None
    pull_request: str | None = None
    tag: str | None = None
    proof: str = ""  # what was seen of the model after it was loaded back


def publish(
    run: Path | str,
    to: str,
    *,
    private: bool = False,
    create_pr: bool = False,
    tag: str | None = None,
    allow: Sequence[str] = (),
    dry_run: bool = False,
) -> Published:
    """Send a finished run to the Hub in one commit, and load it back.

    The model is first loaded from the files that would be sent, and must be the one that was scored. What the Hub has
    of an earlier run is replaced; a tag keeps a state by name. What is there already is not sent again.

    Args:
        run: its folder.
        to: ``ORG/NAME``, made if there is none.
        private: whether a new repository is private.
        create_pr: open a pull request instead of a commit to main.
        tag: a name for the commit.
        allow: names of ``publish_reasons.REASONS``: what may speak against it; the card then says so.
        dry_run: check all that can be checked here, and send nothing.

    Raises:
        RequestError: no finished run, or a run that the gate refuses.
        RunError: what must not leave this machine stands in a file; or the model that was loaded back is another one.
        HubError: the Hub did not take it, and is as it was.
    """
    with patient():
        return _publish(Path(run), to, private, create_pr, tag, tuple(allow), dry_run)


def _publish(
    run: Path, to: str, private: bool, create_pr: bool, tag: str | None, allow: tuple[str, ...], dry_run: bool
) -> Published:
    folder = _finished(run, [*named_wrong(to, tag, create_pr=create_pr), *publish_gate.unknown(allow)])
    record = RunRecord.load(folder.record)
    if record.saved == "adapter" and not record.base.hub_id:
        raise RequestError(
            f"{run} holds adapters of {record.base.name}, which has no name on the Hub: nobody else could load them",
            hint="Make the run again with --lora --merge",
        )
    prepared = _rows(folder)
    exports = {one.file: one.sha256 for one in record.exports if one.file}
    files, left = publish_files.collect(folder, exports, card_plots.alt_texts(record))
    if other := [name for name, hashed in exports.items() if sha256_of(folder.model / name) != hashed]:
        raise RunError(
            [f"model/{name} is not the file that was scored" for name in other], hint=f"Again: hf-simtune export {run}"
        )
    weights = _weights(folder, {**files, "README.md": folder.card}, left)
    found = publish_gate.against(record, weights, searched=prepared is not None)
    private_things = _searched(record, _told(folder, record, Release(to)) | files, prepared)
    if secrets := [one for one in private_things if not one.reason]:
        raise RunError(
            [f"{one.file} holds {one.what}" for one in secrets],
            hint="Nothing was sent. Make the run again without it, as data or names of your own may hold it",
        )
    found += [Reason(one.reason, f"{one.file} holds {one.what}", one.shown) for one in private_things]

    def again(names: Sequence[str]) -> str:
        return _command(run, to, private=private, create_pr=create_pr, tag=tag, allow=names)

    allowed = publish_gate.checked(found, allow, again)
    told = tuple(dict.fromkeys(reason.shown or reason.told for reason in allowed))
    claims = {reason.name for reason in allowed}.isdisjoint(("weights", "leaks"))
    files = _told(folder, record, Release(to, told, claims=claims)) | files
    whole = Published(
        repository=to,
        kind=record.tuned.kind,
        files=tuple(sorted(files)),
        left_out=tuple(left),
        allowed=tuple(allowed),
        tag=tag,
    )
    if dry_run:
        return dataclasses.replace(whole, changed=whole.files)
    words, title = again(allow), f"{record.name}: {record.verdict}"
    sent = hub_upload.send(files, to, title=title, private=private, create_pr=create_pr, tag=tag, again=words)
    rows = prepared.report.dataset if prepared and weights == record.tuned.weights_sha256 else None
    proof = round_trip(record, folder.scores, rows, to, sent.commit, weights=weights, again=words)
    if tag:  # not before: a name that stays is for a model that is known to load
        hub_upload.name_it(to, sent.commit, tag, again=words)
    return dataclasses.replace(whole, **dataclasses.asdict(sent), proof=proof)


def _finished(run: Path, problems: list[str]) -> RunFolder:
    """The run's folder, if nothing is wrong with the request; else all that is, together."""
    errors: list[SimtuneError] = []
    try:
        folder = RunFolder.finished(run)
    except RequestError as error:
        errors.append(error)
    if problems:
        errors.append(RequestError(problems, hint="See: hf-simtune publish --help"))
    if errors:
        raise joined(errors)
    return folder


def named_wrong(to: str, tag: str | None = None, *, create_pr: bool = False) -> list[str]:
    """What is wrong with the names of a release, in sentences."""
    problems = []
    if not is_hub_id(to) or re.search(r"--|\.\.|[-.](?:/|$)|\.git$", to):
        problems.append(
            f"--to {to}: it must be ORG/NAME, of letters, digits, '.', '_' and '-', neither of them with '--' or '..' "
            "in it or '-' or '.' at its end, and not NAME.git"
        )
    if tag is not None and (not TAG.fullmatch(tag) or re.search(r"\.\.|\.$|\.lock$", tag) or tag in BRANCHES):
        problems.append(
            f"--tag {tag}: it must be letters, digits, '.', '_' and '-', as in v1, and no branch's name as main is"
        )
    if tag and create_pr:
        problems.append("--tag names a commit on main; with --create-pr there is none yet")
    return problems


def _told(folder: RunFolder, record: RunRecord, release: Release) -> dict[str, bytes | Path]:
    """Card and results, as files."""
    results = eval_results.eval_results(record, release.hub_id) if release.claims else {}
    return {
        "README.md": writing.card_of(folder, record, release).encode(),
        **{name: text.encode() for name, text in results.items()},
    }


def _rows(folder: RunFolder) -> Inputs | None:
    """The rows of the run, to look for their texts and to score some again; None where they are not as they were."""
    if not folder.plan.is_file():
        return None
    plan = folder.read_plan()
    try:
        prepared = inputs.prepare(plan.recipe, branches=branching.resolve(plan.recipe), offline=plan.offline)
    except SimtuneError as error:
        log.warning("the rows of this run cannot be read here: %s", error.problems[0])
        return None
    other = [name for name, mark in plan.fingerprints.items() if prepared.fingerprints.get(name) != mark]
    if other:
        log.warning("other rows by now than the run had: %s", ", ".join(other))
    return None if other else prepared


def _searched(record: RunRecord, files: publish_files.Files, prepared: Inputs | None) -> list[publish_search.Found]:
    """What must not leave this machine, less the rows that a person wanted to be shown."""
    shown = [text for example in record.examples for text in example.values() if isinstance(text, str)]
    return publish_search.private(files, _texts(prepared), shown)


def _texts(prepared: Inputs | None) -> Iterable[str]:
    """Every text of the run's rows; those that this package wrote are no secret."""
    if prepared is None:
        return
    further = [one.loaded for one in prepared.further]
    for loaded in (prepared.train, prepared.select, prepared.report, *prepared.probes, *further):
        if loaded.source.kind != "builtin":
            yield from _sentences(loaded.dataset)


def _sentences(rows: Dataset) -> Iterable[str]:
    for name, kind in rows.features.items():
        if getattr(kind, "dtype", "") == "string":
            yield from rows[name]


def _weights(folder: RunFolder, files: publish_files.Files, left: Sequence[str]) -> str:
    """SHA-256 of what the files load as, on their own, as they will on the Hub.

    Raises:
        RunError: they do not load.
    """
    with tempfile.TemporaryDirectory() as temporary:
        try:
            _, facts = models.load(str(publish_files.stage(files, Path(temporary) / "model")))
        except RequestError as error:
            more = f" Not among them: {', '.join(left)}." if left else ""
            raise RunError(
                f"{folder.path}: the files that may be published are no model: {error.problems[0]}.{more}",
                hint=error.hint,
            ) from error
    return facts.weights_sha256


def _command(run: Path | str, to: str, *, private: bool, create_pr: bool, tag: str | None, allow: Sequence[str]) -> str:
    words = ["hf-simtune", "publish", str(run), "--to", to]
    words += ["--private"] if private else []
    words += ["--create-pr"] if create_pr else []
    words += ["--tag", tag] if tag else []
    words += ["--allow", *allow] if allow else []
    return shlex.join(words)
