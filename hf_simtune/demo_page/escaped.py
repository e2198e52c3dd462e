"""Text for HTML, such that nothing in it is read as anything else."""

from __future__ import annotations

import html

__all__ = ["escape"]

TEMPLATES = str.maketrans({"{": "&#123;", "}": "&#125;", "$": "&#36;", "`": "&#96;"})  # gradio fills in ${} and {{}}


def escape(text: str) -> str:
    """``text`` with entities for the signs of HTML and of gradio's templates."""
    return html.escape(str(text)).translate(TEMPLATES)
