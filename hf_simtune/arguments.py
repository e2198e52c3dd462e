"""The words of the command line: its commands, their flags and their help."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from hf_simtune import flags, model_names, publish_arguments, recipe
from hf_simtune.data import spec
from hf_simtune.errors import RequestError
from hf_simtune.recipe import Recipe
from hf_simtune.version import __version__

__all__ = ["parser", "recipe_parser"]

LONGEST = 60  # characters of a word that a message shows
ROWS, STEPS, TOKENS, SEEDS = 10**10, 1_000_000, 10**7, 2**32 - 1  # far above any use, as the fields of a recipe
EXAMPLES = """\
examples:
  hf-simtune tune mnrl_minilm                 tune MiniLM on sentence-compression, measure on STSb
  hf-simtune tune mnrl_minilm --offline       a short trial on what the package carries, no network
  hf-simtune tune my_pairs.csv                tune on your own rows
  hf-simtune tune my_pairs.csv --model ORG/A --model ORG/B    a run for each model, one table
  hf-simtune tune mnrl_minilm --dry-run       show and check the recipe, run nothing
  hf-simtune sweep mnrl_minilm --temperature 0.05 0.1 --epochs 1 2    every combination, one table
  hf-simtune score runs/NAME/model --data sentence-transformers/stsb:test
  hf-simtune compare MODEL_A MODEL_B --data sentence-transformers/stsb:test --out compare.html
  hf-simtune diagnose MODEL_A MODEL_B --data sentences.txt --out diagnose.html
  hf-simtune diagnose MODEL --data sentences.txt   how a model spreads sentences: anisotropy, uniformity
  hf-simtune publish runs/NAME --to ORG/NAME  send a run to the Hub: model, card, record, in one commit
  hf-simtune demo runs/NAME                   a page: two sentences, a list, before and after
  hf-simtune bench                            a training step against a plain script's, on this machine
  hf-simtune generate sports --rows 20000     sentences to try things on
"""


SWEEP = """\
Every recipe field takes several values. Fields that are given more than one are the axes of a grid, and every cell of
it is a run with a folder of its own; the others hold for all cells. A field of several words, like --columns, is one
value. Cells are compared on the selection rows alone; the report rows of the winner are the result.
"""
SWEEP_EXAMPLES = """\
examples:
  hf-simtune sweep mnrl_minilm --temperature 0.05 0.1 0.2 --epochs 1 2 3            9 runs
  hf-simtune sweep mnrl_minilm --temperature 0.05 0.1 0.2 --dry-run                show the cells, run nothing
  hf-simtune sweep my_scores.csv --loss cosent angle cosine --learning-rate 1e-5 2e-5 5e-5 --trials 5
                                               5 of the 9 cells, as a search picks them (Optuna's TPE: the values are
                                               its choices; --seed makes it the same again)
  hf-simtune sweep --resume runs/mnrl_minilm-sweep-TIME    go on: finished cells are read, failed ones tried again
  hf-simtune sweep --resume runs/NAME-sweep-TIME --trials 8    let a search look at more cells

The table says for each cell: the score on the selection rows, its change from the untouched base, and how the tuned
model spreads sentences (standard deviation of their similarities, anisotropy, uniformity).
"""


def up_to(most: int) -> Callable[[str], int]:
    """What takes a whole number off the command line; how small it may be is the command's own to say.

    Args:
        most: beyond it is a slip, which would never end, or which the libraries cannot count to.
    """

    def read(text: str) -> int:
        try:
            if (value := int(text)) <= most:
                return value
        except ValueError:
            pass
        told = repr(text) if len(text) <= LONGEST else f"{text[:LONGEST]!r}..."
        raise argparse.ArgumentTypeError(f"{told}: it must be a whole number, at most {most:,}")

    return read


class OncePerModel(argparse.Action):
    """Keeps a value as argparse does, and beside it every model that was named: each gets a run."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, values)
        if self.dest == "model":
            namespace.models = [*getattr(namespace, "models", []), values]


class Choices(argparse.Action):
    """Keeps every value that a field is given, behind one flag or several.

    A field of several words takes one setting: ``repeated`` of the arguments names the flags that were given again.
    """

    def __init__(self, option_strings: list[str], dest: str, nargs: str | None = None, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=nargs or "+", **options)
        self.one_word = nargs is None

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        before = getattr(namespace, self.dest, []) if self.one_word else []
        if not self.one_word and hasattr(namespace, self.dest):
            namespace.repeated = [*getattr(namespace, "repeated", []), self.option_strings[0]]
        setattr(namespace, self.dest, [*before, *values])


class Parser(argparse.ArgumentParser):
    """Raises what argparse would print and exit with.

    Attributes:
        given: the words that it was last asked to take apart, to tell what stands behind what.
    """

    given: tuple[str, ...] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does."""
        self.given = tuple(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise RequestError(message, hint=f"See: {self.prog} --help")


def parser() -> Parser:
    """The parser of ``hf-simtune`` with its commands; ``arguments.parser`` is the command's own."""
    whole = Parser(
        prog="hf-simtune",
        description="Tune a sentence-embedding model for semantic similarity, and know whether it got better.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    whole.add_argument("--version", action="version", version=f"hf-simtune {__version__}")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    def command(name: str, text: str) -> Parser:
        made: Parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        made.set_defaults(parser=made)
        return made

    tune = command("tune", "Run a recipe, or tune on a file of your own; write a run folder.")
    tune.add_argument("target", nargs="?", help="a recipe's name, a recipe.py, a data file, or a data set's Hub id")
    _run_flags(tune)
    _recipe_flags(tune)
    tune.epilog = (
        f"--model once or more: given several times, a run for each model and one table over all. {spec.FORMS}. "
        "Bad rows are told with file, line and column before anything is trained."
    )

    sweep = command("sweep", "Run a recipe with every combination of some values, or with those that a search picks.")
    sweep.formatter_class = argparse.RawDescriptionHelpFormatter
    sweep.description, sweep.epilog = SWEEP, SWEEP_EXAMPLES
    sweep.add_argument("target", nargs="?", help="a recipe's name, a recipe.py, a data file, or a data set's Hub id")
    sweep.add_argument(
        "--trials", type=up_to(STEPS), metavar="N", help="run N cells that a search picks, in place of all"
    )
    _run_flags(sweep, of="sweep")
    sweep.register("action", None, Choices)
    flags.add(sweep)

    score = command("score", "Spearman correlation of a model with the scores of some rows.")
    score.add_argument("model", help=model_names.FORMS)
    score.add_argument("--revision", help="commit, tag or branch of the model")
    _data_flags(score, required=True)
    _model_flags(score)

    compare = command("compare", "Compare models on the same rows: difference, interval, verdict.")
    compare.add_argument(
        "models",
        nargs="+",
        help="models, run folders or scores.parquet files; the first is compared with each other one",
    )
    _data_flags(compare, required=False)
    _model_flags(compare)
    compare.add_argument(
        "--seed", type=up_to(SEEDS), help="seed of the bootstrap [0; of a run folder alone, the run's own]"
    )
    compare.add_argument("--out", metavar="FILE", help="page to write, .html: table, intervals, figures, moved rows")
    compare.add_argument("--force", action="store_true", help="write over a file that exists")

    diagnose = command("diagnose", "How models spread the same sentences: similarities of all pairs, side by side.")
    diagnose.add_argument("models", nargs="+", metavar="MODEL", help=model_names.FORMS)
    diagnose.add_argument(
        "--data", required=True, help="rows of any shape: Hub id, file, or builtin:sports/sentences:test"
    )
    diagnose.add_argument("--columns", nargs="+", metavar="COLUMN", help="the texts, where the names do not tell")
    diagnose.add_argument("--shape", choices=recipe.SHAPES, help="what a row is, where the columns do not tell")
    _row_flags(diagnose)
    diagnose.add_argument(
        "--max-rows",
        type=up_to(ROWS),
        help="rows that are drawn if there are more [20000; with a sparse encoder as many as have 5000 sentences]",
    )
    _model_flags(diagnose)
    diagnose.add_argument("--seed", type=up_to(SEEDS), default=0, help="of the rows and pairs that are drawn [0]")
    diagnose.add_argument("--out", metavar="FILE", help="picture to write, .svg, or picture and table, .html")
    diagnose.add_argument("--force", action="store_true", help="write over a file that exists")
    _output_flags(diagnose)

    publish_arguments.add(command, _output_flags)

    bench = command("bench", "Measure the speed of training on this machine, against a plain trainer script.")
    bench.add_argument(
        "what",
        nargs="?",
        choices=["step", "data", "answer"],
        default="step",
        help="step: time and memory of a training step, ours against a plain script's; data: from a file of N rows to "
        "ready to train; answer: whether precision and forward pass change what comes out of a run [step]",
    )
    bench.add_argument("--data", help="training rows [builtin:sports/pairs:train]")
    bench.add_argument("--columns", nargs="+", metavar="COLUMN", help="of the rows, where the names do not tell")
    bench.add_argument("--shape", choices=recipe.SHAPES, help="what a row is, where the columns do not tell")
    _row_flags(bench)
    bench.add_argument("--model", help=f"Hub id or folder [{recipe.BUILTIN_MINILM}]")
    bench.add_argument("--loss", choices=sorted(recipe.LOSS_SHAPES), help="by default what the shape of the rows takes")
    bench.add_argument("--batch-size", type=up_to(STEPS), help="rows per step [64]")
    bench.add_argument("--max-length", type=up_to(TOKENS), help="cut texts after so many tokens (step)")
    bench.add_argument("--forward", choices=recipe.FORWARDS, help="of our side (step) [auto]")
    bench.add_argument(
        "--sides",
        nargs="+",
        choices=["plain-fp32", "plain-bf16", "ours-fp32", "ours-auto"],
        help="which take part; the others are compared with the first (step) [all four]",
    )
    bench.add_argument("--steps", type=up_to(STEPS), help="steps a round (step) [4]")
    bench.add_argument("--rounds", type=up_to(STEPS), help="rounds that count (step) [5]")
    bench.add_argument(
        "--rows",
        type=up_to(ROWS),
        nargs="+",
        metavar="N",
        help="sizes of the file (data) [10000 100000], or training rows (answer)",
    )
    bench.add_argument("--seeds", type=up_to(SEEDS), nargs="+", help="of the runs (answer) [0 1 2]")
    bench.add_argument("--select-on", help="scored rows that choose the checkpoint (answer)")
    bench.add_argument("--report-on", help="scored rows that are compared (answer)")
    bench.add_argument("--out", metavar="FILE", help="keep the figures as JSON")
    bench.add_argument("--force", action="store_true", help="write over a file that exists")
    _output_flags(bench)

    listing = command("recipes", "The recipes that there are.")
    listing.add_argument("--json", action="store_true", help="print JSON")

    generate = command("generate", "Write rows of a built-in corpus to a file.")
    generate.add_argument("corpus", choices=["sports"], help="the corpus")
    generate.add_argument("--rows", type=up_to(ROWS), default=1000, help="how many [1000]")
    generate.add_argument("--shape", choices=recipe.SHAPES, default="sentences", help="what a row is [sentences]")
    generate.add_argument("--split", choices=["train", "validation", "test"], default="train", help="[train]")
    generate.add_argument("--seed", type=up_to(SEEDS), default=0, help="[0]")
    generate.add_argument(
        "--out", help="file to write, .txt, .csv, .tsv or .jsonl; - is the terminal [sports-SHAPE.csv or .txt]"
    )
    generate.add_argument("--force", action="store_true", help="write over a file that exists")
    return whole


def recipe_parser(own: Recipe) -> Parser:
    """The parser of one recipe run as a script: the flags of ``tune`` without a target."""
    made = Parser(prog=Path(sys.argv[0]).name, description=own.title, allow_abbrev=False)
    made.set_defaults(parser=made)
    _run_flags(made)
    _recipe_flags(made, own)
    return made


def _recipe_flags(parser: Parser, shown: Recipe | None = None) -> None:
    """The fields of a recipe; --model may be given several times."""
    parser.register("action", None, OncePerModel)
    flags.add(parser, shown)


def _run_flags(parser: Parser, of: str = "run") -> None:
    parser.add_argument("--offline", action="store_true", help="packaged MiniLM and built-in sports corpus; no network")
    shown = "the cells and how many runs that is" if of == "sweep" else "the resolved recipe"
    parser.add_argument("--dry-run", action="store_true", help=f"print {shown}, check it, and stop")
    parser.add_argument("--out", default="runs", help=f"where the {of}'s folder is made [runs]")
    parser.add_argument(
        "--resume", metavar="FOLDER", help=f"take up an unfinished {of}'s folder; it ends with the same weights"
    )
    parser.add_argument("--publish-examples", action="store_true", help="let a few rows' texts into record and card")
    parser.add_argument("--quiet", action="store_true", help="no progress; only warnings and the result")


def _data_flags(parser: Parser, *, required: bool) -> None:
    parser.add_argument(
        "--data", required=required, help="scored rows: Hub id (ORG/NAME:SPLIT), file, or builtin:sports/scored:test"
    )
    parser.add_argument("--columns", nargs=3, metavar=("A", "B", "SCORE"), help="where the names do not tell")
    _row_flags(parser)
    _output_flags(parser)


def _model_flags(parser: Parser) -> None:
    parser.add_argument(
        "--prompt",
        metavar="TEXT",
        help='put before each sentence, of every model named, in place of its own default prompt; "" takes that away',
    )
    parser.add_argument(
        "--allow-pickle",
        action="store_true",
        help="load a model that has pickled weights and no safetensors, as weights alone",
    )


def _row_flags(parser: Parser) -> None:
    parser.add_argument("--score-range", nargs=2, type=float, metavar=("LOW", "HIGH"), help="scale of the scores")
    parser.add_argument("--skip-bad-rows", action="store_true", help="drop and count rows that cannot be used")


def _output_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress")
