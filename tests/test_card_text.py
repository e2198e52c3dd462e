"""What text and figures look like in a card: they read as they were, and are never markup."""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from sample_record import HOSTILE

from hf_simtune import card_text


@given(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40)))
@settings(max_examples=150, deadline=None)
def test_escaped_text_reads_as_it_was(text: str) -> None:
    (paragraph,) = (
        MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(f"x {card_text.escape(text)} x")[1:2]
    )
    read = "".join(child.content for child in paragraph.children or ())
    assert read.split() == f"x {card_text.clean(text)} x".split()
    assert {child.type for child in paragraph.children or ()} <= {"text", "text_special"}


@pytest.mark.parametrize("before", ["", "- ", "> ", "x\n"])
@pytest.mark.parametrize("text", [text for text in HOSTILE if text.split()])
def test_escaped_text_starts_no_block_where_a_line_begins(before: str, text: str) -> None:
    def blocks(body: str) -> list[str]:
        return [token.type for token in MarkdownIt("commonmark").enable("table").parse(before + body)]

    assert blocks(card_text.escape(text)) == blocks("plain")


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=8), max_size=6))
@settings(max_examples=25, deadline=None)
def test_a_command_means_the_same_after_it_was_laid_out(words: list[str]) -> None:
    laid_out = card_text.shell(shlex.join(["printf", "%s|", *words, "--a-long-flag" * 8]))
    ran = subprocess.run(
        ["bash", "-c", laid_out], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
    )
    assert ran.stdout.decode() == "|".join([*words, "--a-long-flag" * 8]) + "|"


def test_a_command_with_a_pipe_is_left_as_it_was() -> None:
    assert card_text.shell("a --b | c > d") == "a --b | c > d"


def test_a_code_block_cannot_be_closed_from_inside() -> None:
    block = card_text.fenced("x\n```\n# heading\n`````", "bash")
    (token,) = MarkdownIt("commonmark").parse(block)
    assert (token.type, token.content) == ("fence", "x\n```\n# heading\n`````\n")


@pytest.mark.parametrize("value", [None, 0.5, True, object()])
def test_a_value_without_a_format_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="needs a format"):
        card_text.shown(value)
