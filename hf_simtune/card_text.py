"""Text made fit for Markdown: what comes from data or a user is cleaned and escaped, always."""

from __future__ import annotations

import math
import re
import shlex
from typing import Any

from hf_simtune.wording import unseen, visible

__all__ = ["Markdown", "clean", "code", "escape", "fenced", "setting", "shell", "shown"]

BACKSLASHED = re.compile(r"([\\`*\[\]|~$#!])|(?<![^\W_])_|_(?![^\W_])")
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class Markdown(str):
    """Text that is Markdown already: written here, or escaped here. A plain ``str`` is escaped before it is shown."""

    __slots__ = ()

    def fill(self, **values: object) -> Markdown:
        """This text with ``{name}`` replaced by each value, escaped unless it is Markdown."""
        return Markdown(self.format(**{name: shown(value) for name, value in values.items()}))


def shown(value: object) -> Markdown:
    """A value as Markdown: text escaped, whole numbers with thousands marks.

    Raises:
        TypeError: a value whose form has to be chosen first, such as a float or None.
    """
    if isinstance(value, Markdown):
        return value
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Markdown(f"{value:,}")
    raise TypeError(f"{value!r} needs a format before it goes into the card")


def clean(text: object, limit: int = 200) -> str:
    """``text`` on one line of at most ``limit`` characters; what cannot be seen becomes U+FFFD, so that it shows."""
    line = visible(" ".join(str(text)[: 4 * limit].split()))
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def escape(text: object, limit: int = 200) -> Markdown:
    """``text`` as it reads, anywhere in a line, a list item or a table cell: nothing in it is markup."""
    line = BACKSLASHED.sub(r"\\\g<0>", clean(text, limit)).translate(ENTITIES)
    line = re.sub(r"^([-+=])", r"\\\1", line)
    return Markdown(re.sub(r"^(\d{1,9})([.)])(?=\s|$)", r"\1\\\2", line))


def code(text: str) -> Markdown:
    """A name in code type; one with signs that code type cannot hold safely is escaped instead."""
    line = clean(text)
    if not line:
        return Markdown("(no name)")
    return escape(line) if any(sign in "`|<>&\\" for sign in line) else Markdown(f"`{line}`")


def fenced(text: str, language: str = "") -> Markdown:
    """A code block that nothing in ``text`` can close; lines stay, unseen characters do not."""
    body = visible(text)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", body)), default=0))
    return Markdown(f"{fence}{language}\n{body}\n{fence}")


def shell(command: str) -> str:
    """A command line as it can be pasted: unseen characters in ``$'...'`` quotes, long ones broken before each flag."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    if shlex.join(words) != command:
        return command  # pipes, variables: only its author knows where it may be broken
    quoted = [_quoted(word) for word in words]
    line = " ".join(quoted)
    if len(line) <= 90:
        return line
    return "".join((" \\\n    " if word.startswith("--") else " ") + word for word in quoted).lstrip()


def _quoted(word: str) -> str:
    """One word for the shell; with unseen signs as bash's ``$'...'``, which spells them out."""
    if not any(map(unseen, word)):
        return shlex.quote(word)
    spelled = "".join(
        f"\\U{ord(sign):08x}" if unseen(sign) else f"\\{sign}" if sign in "'\\" else sign for sign in word
    )
    return f"$'{spelled}'"


def setting(value: Any) -> Markdown:
    """A recipe's value: yes or no, a number in short form, several with spaces, text escaped."""
    if isinstance(value, bool):
        return Markdown("yes" if value else "no")
    if isinstance(value, float):
        return Markdown(f"{value:.6g}" if math.isfinite(value) else "not a number")
    if isinstance(value, int):
        return Markdown(str(value))
    if isinstance(value, list | tuple):
        return Markdown(" ".join(setting(item) for item in value))
    return escape(value)
