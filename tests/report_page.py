"""Row scores to draw, and a strict reader of the page that is made of them."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np

from hf_simtune.record import RunRecord
from hf_simtune.scores_file import RowScores

__all__ = ["DEV", "TEST", "VOID", "Page", "both", "compared", "read", "row_scores", "with_report"]

VOID = {"meta", "wbr"}
TEST, DEV = "sentence-transformers/stsb:test", "sentence-transformers/stsb:validation"


def row_scores(evaluation: str = TEST, role: str = "report", n: int = 200, seed: int = 7) -> RowScores:
    rng = np.random.default_rng(seed)
    gold = np.round(rng.uniform(0, 5, n) * 5) / 25
    noise = rng.normal(0, 0.16, n)
    base = np.clip(0.1 + 0.8 * gold + noise, -1, 1)
    tuned = np.clip(0.05 + 0.9 * gold + 0.6 * noise + rng.normal(0, 0.07, n), -1, 1)
    return RowScores(evaluation, role, np.arange(n), np.arange(n) // 2, gold, base, tuned)


def both(n: int = 200) -> list[RowScores]:
    return [row_scores(n=n), row_scores(DEV, "select", n, 8)]


def with_report(record: RunRecord, **changes: Any) -> RunRecord:
    first, *rest = record.evaluations
    return dataclasses.replace(record, evaluations=(dataclasses.replace(first, **changes), *rest))


def compared(record: RunRecord, **changes: Any) -> RunRecord:
    assert record.report.comparison
    return with_report(record, comparison=dataclasses.replace(record.report.comparison, **changes))


class Page(HTMLParser):
    """Reads a page strictly: every element is closed in order, every id is there once."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.within: dict[str, list[str]] = {}
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []
        ids = [attributes["id"] for _, attributes in self.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        named = {name for _, a in self.tags for name in (a.get("aria-labelledby") or "").split()}
        assert named <= set(ids)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        for outer in self.open[:-1]:
            self.within.setdefault(outer, []).append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("td", "th", "dt", "dd", "b", "p", "small", "caption"):
            self.words.append(" ")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "desc", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r" ([.,:])", r"\1", " ".join("".join(self.words).split()))


def read(html: str) -> Page:
    """The page, after the checks that hold for every page."""
    assert "<script" not in html.lower()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html)
    assert not re.search(r"\b(nan|None|inf|Undefined)\b", html)
    html.encode("utf-8")
    page = Page(html)
    loads = {"src", "href", "xlink:href", "action", "srcset", "data", "poster", "style"}
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "img", "iframe", "object", "embed", "form", "base", "image", "use"}
        assert not [name for name in attributes if name in loads or name.startswith("on")]
    assert "url(" not in html
    assert "@import" not in html
    return page
