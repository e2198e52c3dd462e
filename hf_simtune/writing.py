"""What a run leaves for people: scores, pictures, card, report, and the record last."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from hf_simtune import card, card_plots, report, scores_file, whole
from hf_simtune.before_after import Rows
from hf_simtune.card import Release
from hf_simtune.record import RunRecord
from hf_simtune.run_folder import RunFolder
from hf_simtune.scores_file import RowScores

__all__ = ["card_of", "tell", "write"]


def write(folder: RunFolder, record: RunRecord, parts: Sequence[RowScores], rows: Sequence[Rows]) -> None:
    """Write it all; the record last: a folder with a record is a finished run.

    Texts of the rows go into the report alone, which stays on this machine.
    """
    scores_file.write(folder.scores, parts)
    drawn = card_plots.render(record, parts)
    folder.plots.mkdir(exist_ok=True)
    for name, content in drawn.items():
        (folder.plots / name).write_bytes(content)
    tell(folder, record)
    texts = {
        (part.loaded.source.title, int(row)): (first, second)
        for part in rows
        for row, first, second in zip(
            *(part.loaded.dataset[name] for name in ("row", "sentence1", "sentence2")), strict=True
        )
    }
    whole.write_text(folder.report, report.render(record, parts, texts=texts))
    record.save(folder.record)


def tell(folder: RunFolder, record: RunRecord) -> None:
    """Write the card, with the pictures that are there; beside the model too."""
    text = card_of(folder, record)
    whole.write_text(folder.card, text)
    if folder.model.is_dir():
        whole.write_text(folder.model / "README.md", text)
        shutil.copytree(folder.plots, folder.model / folder.plots.name, dirs_exist_ok=True)


def card_of(folder: RunFolder, record: RunRecord, release: Release | None = None) -> str:
    """The card of a run with the pictures in its folder; with ``release``, of the model as it is published."""
    words = card_plots.alt_texts(record)
    there = [name for name in words if (folder.plots / name).is_file()]
    return card.render(
        record, pictures=[(f"{folder.plots.name}/{name}", words[name]) for name in there], release=release
    )
