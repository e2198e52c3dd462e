"""The commands for a run that is over: publish, and export to other formats."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from hf_simtune.chatter import calm_libraries

__all__ = ["export", "publish"]


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
