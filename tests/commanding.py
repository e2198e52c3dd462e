"""One command of the command line in this process: its exit status and what it printed."""

from __future__ import annotations

import pytest

from hf_simtune.cli import main

__all__ = ["run"]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    with pytest.raises(SystemExit) as caught:
        main(argv=list(words))
    shown = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, shown.out, shown.err
