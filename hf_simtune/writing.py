"""What a run leaves for people: scores, pictures, card, report, and the record last."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from hf_simtune import card, card_plots, report, scores_file
from hf_simtune.before_after import Rows
from hf_simtune.record import RunRecord
from hf_simtune.run_folder import RunFolder
from hf_simtune.scores_file import RowScores

__all__ = ["write"]


def write(folder: RunFolder, record: RunRecord, parts: Sequence[RowScores], rows: Sequence[Rows]) -> None:
    """Write it all; the record last: a folder with a record is a finished run.

    Texts of the rows go into the report alone, which stays on this machine.
    """
    scores_file.write(folder.scores, parts)
    alone = card_plots.alt_texts(record)
    drawn = card_plots.render(record, parts)
    pictures = [(f"{folder.plots.name}/{name}", alone[name]) for name in drawn]
    folder.plots.mkdir(exist_ok=True)
    for name, content in drawn.items():
        (folder.plots / name).write_bytes(content)
    text = card.render(record, pictures=pictures)
    folder.card.write_text(text, encoding="utf-8")
    if folder.model.is_dir():
        (folder.model / "README.md").write_text(text, encoding="utf-8")
        shutil.copytree(folder.plots, folder.model / folder.plots.name, dirs_exist_ok=True)
    texts = {
        (part.loaded.source.title, int(row)): (first, second)
        for part in rows
        for row, first, second in zip(
            *(part.loaded.dataset[name] for name in ("row", "sentence1", "sentence2")), strict=True
        )
    }
    folder.report.write_text(report.render(record, parts, texts=texts), encoding="utf-8")
    record.save(folder.record)
