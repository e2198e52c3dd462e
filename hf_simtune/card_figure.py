"""What the PNG pictures of cards share: size, colours, letters, and the same bytes for the same picture.

The colours are those of the report on a light page. The ground is opaque, so that a picture also reads on a dark one.
matplotlib is loaded when the first picture is drawn.
"""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from hf_simtune.report_text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BASE", "PAGE", "QUIET", "RULE", "TEXT", "TUNED", "empty", "encoded", "short", "styled"]

WIDTH = 8.0  # inches, which a card shows at about 100 pixels each
DPI = 200  # twice as many, for screens with small pixels
MOST_LETTERS = 52  # of a name that a title has room for
# report.css has the same: --page, --text, --quiet, --rule, --base, --tuned.
PAGE, TEXT, QUIET, RULE, BASE, TUNED = "#fdfdfc", "#1c2127", "#58616b", "#d8dcdf", "#78828c", "#0b62b8"
FONT = "DejaVu Sans"  # comes with matplotlib: the same letters on every machine
STYLE = {
    "font.family": FONT,
    "font.size": 10,
    "text.parse_math": False,  # a dollar in a file's name is a dollar
    "text.color": TEXT,
    "figure.facecolor": PAGE,
    "axes.facecolor": PAGE,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": QUIET,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titlepad": 10,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.08,
    "grid.color": RULE,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "ytick.major.size": 0,
    "legend.frameon": False,
}


def styled() -> AbstractContextManager[None]:
    """The look of every picture, whatever a matplotlibrc says."""
    import matplotlib.style

    style: AbstractContextManager[None] = matplotlib.style.context(["default", STYLE])
    return style


def empty(height: float, title: str) -> Figure:
    """An empty picture, so many inches high, under a title."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(drawn)
    drawn.suptitle(title, x=0.01, ha="left", fontsize=10, color=QUIET)
    return drawn


def encoded(drawn: Figure) -> bytes:
    """As PNG. No date and no name of a program in it: the bytes depend on the picture alone."""
    file = io.BytesIO()
    drawn.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def short(name: str) -> str:
    """A name that a title has room for, of letters that can be drawn."""
    name = " ".join(_drawable(name).split())
    half = MOST_LETTERS // 2 - 1
    return name if len(name) <= MOST_LETTERS else f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


def _drawable(text: str) -> str:
    """With U+FFFD for each letter that the font lacks: matplotlib would warn, and draw a box."""
    from matplotlib.font_manager import findfont, get_font

    has = get_font(findfont(FONT)).get_charmap()
    seen = str(printable(text))
    return "".join(sign if ord(sign) in has or sign.isspace() else "\N{REPLACEMENT CHARACTER}" for sign in seen)
