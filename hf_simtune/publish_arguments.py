"""The words of the commands for a run that is over: export, publish, demo."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from hf_simtune.publish_reasons import ABOUT, EPILOG

__all__ = ["add"]

DEMO = """\
A page for a finished run (the extra: pip install 'hf-simtune[demo]'): two sentences under the base and under the tuned
model, the lines of a pasted list by their similarity to a query, and what the run measured. It fetches nothing but a
base that is not on this machine yet, and what is typed stays here. Ctrl-C ends it.
"""
DEMO_EXAMPLES = """\
examples:
  hf-simtune demo runs/NAME --browser                                 on this machine, in its browser
  hf-simtune demo runs/NAME --host 0.0.0.0 --port 8000                for everybody who can reach this machine
  hf-simtune demo runs/NAME --space ORG/NAME --of ORG/MODEL           a Space's files, and the commands that send them
"""


def add(
    command: Callable[[str, str], argparse.ArgumentParser], output_flags: Callable[[argparse.ArgumentParser], None]
) -> None:
    """Add the commands.

    Args:
        command: makes one, of its name and a sentence.
        output_flags: adds what every command has that prints.
    """
    export = command("export", "A finished run's model as ONNX, in fp32 and int8, with score, size and speed of each.")
    export.add_argument("run", metavar="RUN", help="the run's folder, runs/NAME-TIME; the files go into its model/onnx")
    output_flags(export)

    publish = command("publish", "Send a finished run to the Hub: model, card, record and scores in one commit.")
    publish.formatter_class = argparse.RawDescriptionHelpFormatter
    publish.description, publish.epilog = ABOUT, EPILOG
    publish.add_argument("run", metavar="RUN", help="the run's folder, runs/NAME-TIME")
    publish.add_argument("--to", required=True, metavar="ORG/NAME", help="repository; made if there is none")
    publish.add_argument("--private", action="store_true", help="a new repository is private")
    publish.add_argument("--create-pr", action="store_true", help="open a pull request in place of a commit to main")
    publish.add_argument("--tag", metavar="NAME", help="name the commit, as in v1")
    told = "publish although this speaks against it, and have the card say so (below)"
    publish.add_argument("--allow", nargs="+", metavar="REASON", help=told)
    publish.add_argument(
        "--export", choices=["onnx"], help="send the model in this format too; written first if it is not there yet"
    )
    publish.add_argument("--dry-run", action="store_true", help="check and list what would be sent; send nothing")
    output_flags(publish)

    demo = command("demo", "Show a finished run: a page that compares sentences before and after, or a Space's files.")
    demo.formatter_class = argparse.RawDescriptionHelpFormatter
    demo.description, demo.epilog = DEMO, DEMO_EXAMPLES
    demo.add_argument("run", metavar="RUN", help="the run's folder, runs/NAME-TIME")
    demo.add_argument("--port", type=int, metavar="N", help="port to listen on; 0 is any [the first free from 7860 on]")
    demo.add_argument("--host", help="address to listen on; 0.0.0.0 lets others in [127.0.0.1: this machine alone]")
    demo.add_argument("--browser", action="store_true", help="open the page in this machine's browser")
    demo.add_argument("--space", metavar="ORG/NAME", help="write the files of this Space, and serve nothing")
    demo.add_argument(
        "--of", metavar="ORG/MODEL", help="with --space: the run as it was published [@REVISION behind it]"
    )
    demo.add_argument("--out", metavar="FOLDER", help="with --space: where the files go [space/ in the run's folder]")
    demo.add_argument("--force", action="store_true", help="with --space: write over a folder that holds something")
    demo.add_argument("--quiet", action="store_true", help="only warnings and the address")
