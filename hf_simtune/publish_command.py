"""The commands for a run that is over: publish it, export it to other formats, show it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import threading
from pathlib import Path

from hf_simtune.chatter import calm_libraries
from hf_simtune.errors import RequestError

__all__ = ["demo", "export", "publish"]


def export(arguments: argparse.Namespace) -> int:
    """Write a finished run's model as ONNX."""
    from hf_simtune import terminal

    calm_libraries(quiet=arguments.quiet)
    from hf_simtune import exporting

    record = exporting.export(Path(arguments.run))
    if arguments.json:
        terminal.plain(json.dumps([dataclasses.asdict(one) for one in record.exports]))
    else:
        terminal.show_exports(record, Path(arguments.run))
    return 0


def publish(arguments: argparse.Namespace) -> int:
    """Send a finished run to the Hub."""
    from hf_simtune import terminal

    calm_libraries(quiet=arguments.quiet)
    from hf_simtune import publishing

    if arguments.export:
        _exported(arguments)
    done = publishing.publish(
        Path(arguments.run),
        arguments.to,
        private=arguments.private,
        create_pr=arguments.create_pr,
        tag=arguments.tag,
        allow=tuple(arguments.allow or ()),
        dry_run=arguments.dry_run,
    )
    if arguments.json:
        terminal.plain(json.dumps(dataclasses.asdict(done)))
    else:
        terminal.show_published(done, dry_run=arguments.dry_run)
    return 0


def _exported(arguments: argparse.Namespace) -> None:
    """Write the other formats of a run that is to be published, where they are not there yet."""
    from hf_simtune import exporting, publishing, terminal
    from hf_simtune.record import RunRecord
    from hf_simtune.run_folder import RunFolder

    if problems := publishing.named_wrong(arguments.to, arguments.tag, create_pr=arguments.create_pr):
        raise RequestError(problems, hint="See: hf-simtune publish --help")
    folder = RunFolder.finished(Path(arguments.run))
    files = [folder.model / one.file for one in RunRecord.load(folder.record).exports if one.file]
    if files and all(path.is_file() for path in files):
        return
    if arguments.dry_run:
        terminal.note(f"--export {arguments.export} writes further files into {folder.model}; not on a dry run")
        return
    exporting.export(folder.path)


def demo(arguments: argparse.Namespace) -> int:
    """Serve a finished run's page until Ctrl-C, or write the files of a Space."""
    from hf_simtune import demo_space, terminal

    serving = {"--port": arguments.port, "--host": arguments.host, "--browser": arguments.browser or None}
    if problems := demo_space.wrong(arguments.space, arguments.of, arguments.out, serving):
        raise RequestError(problems, hint=f"See: {arguments.parser.prog} --help")
    if arguments.space:
        out = Path(arguments.out) if arguments.out else None
        made = demo_space.write(Path(arguments.run), arguments.space, arguments.of, out, force=arguments.force)
        terminal.show_space(made)
        return 0
    calm_libraries(quiet=arguments.quiet)
    from hf_simtune import demo_run, threads

    threads.settle()
    served = demo_run.start(
        Path(arguments.run), host=arguments.host or "127.0.0.1", port=arguments.port, browser=arguments.browser
    )
    terminal.show_served(served.url)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        served.stop()
    return 0
