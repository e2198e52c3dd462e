"""The page: what was measured, two sentences before and after, a list ranked before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import shown, told, typed
from .encoders import Encoders, UnavailableError

__all__ = ["build", "compared", "ranked"]

# Written for this page: they are no rows of any data.
PAIRS = {
    "Said differently": ("The meeting was moved to Thursday.", "They have rescheduled our meeting for Thursday."),
    "One detail differs": ("The shop opens at nine on weekdays.", "The shop opens at ten on weekdays."),
    "Same words, turned round": ("The dog chased the cat over the fence.", "The cat chased the dog over the fence."),
    "Nothing in common": ("She plays the violin in an orchestra.", "The last train to the coast was cancelled."),
}
QUERY = "How do I get a new password?"
LINES = """\
Reset your login if you have forgotten it
Choosing a strong password
Change the address that we deliver to
How to return something that you bought
Unlock an account after too many attempts
Where is my parcel?
Sign in with your phone in place of a password
Opening hours of the help desk
Cancel a subscription
Password rules for administrators"""
LOADING = {"tuned": "Loading the tuned model\N{HORIZONTAL ELLIPSIS}", "base": "Loading its base\N{HORIZONTAL ELLIPSIS}"}


def build(record: Mapping[str, Any], encoders: Encoders) -> tuple[Any, dict[str, Any]]:
    """The page as gradio's Blocks, and what its ``launch`` takes for the page's looks.

    Args:
        record: the run's record.json.
        encoders: both models; they are loaded when somebody opens the page.
    """
    import gradio as gr

    def opened() -> Iterator[str]:
        """Say which model is being loaded, and at the end what must be said of them."""
        try:
            for name in encoders.loading():
                yield shown.state(LOADING[name])
        except UnavailableError as error:
            yield shown.message(f"The tuned model is not to be had: {error}")
            return
        yield shown.state("", encoders.caveats)

    with gr.Blocks(title=f"{told.name(record)}: before and after", analytics_enabled=False) as page:
        _html(gr, told.heading(record), elem_id="heading")
        state = _html(gr, shown.state(LOADING["tuned"]), elem_id="state")
        _title(gr, "How alike are two sentences?", "Cosine similarity: 1 is the same meaning, 0 nothing in common")
        with gr.Row(elem_classes="st-examples"):
            tries = [(gr.Button(name, size="sm", min_width=150), pair) for name, pair in PAIRS.items()]
        with gr.Row(equal_height=True):
            first, second = (
                gr.Textbox(
                    value=text, label=f"{which} sentence", lines=2, max_lines=6, min_width=260, elem_id=which.lower()
                )
                for which, text in zip(("First", "Second"), next(iter(PAIRS.values())), strict=True)
            )
        compare = gr.Button("Compare", variant="primary", elem_id="compare")
        below = _html(gr, "", elem_id="compared", min_height=120)
        _title(gr, "Which lines are nearest?", "A query, and a list to look through, a line each")
        with gr.Row():
            with gr.Column():
                query = gr.Textbox(value=QUERY, label="Query", lines=1, max_lines=4, elem_id="query")
                lines = gr.Textbox(value=LINES, label="Lines", lines=10, max_lines=14, elem_id="lines")
                rank = gr.Button("Rank", variant="primary", elem_id="rank")
            with gr.Column(scale=2):
                beside = _html(gr, "", elem_id="ranked", min_height=240)
        _title(gr, "What was measured?", "One pair or one list proves nothing; these rows were scored before and after")
        _html(gr, told.table(record), elem_id="measured")

        hidden: dict[str, Any] = {"api_visibility": "private"}
        pair = {"fn": compared(encoders), "inputs": [first, second], "outputs": below, **hidden}
        listed = {"fn": ranked(encoders), "inputs": [query, lines], "outputs": beside, **hidden}
        page.load(opened, None, state, show_progress="hidden", **hidden).then(**pair).then(**listed)
        gr.on([compare.click, first.submit, second.submit], **pair)
        gr.on([rank.click, query.submit], **listed)
        for button, texts in tries:
            button.click(_given(texts), None, [first, second], show_progress="hidden", **hidden).then(**pair)
    return page, _looks(gr)


def compared(encoders: Encoders) -> Callable[[str, str], str]:
    """What answers two sentences."""

    def answer(first: str, second: str) -> str:
        """Both similarities of two sentences."""
        both = [typed.sentence(first, "The first sentence"), typed.sentence(second, "The second sentence")]
        if not all(one.texts for one in both):
            return shown.message("Type two sentences: one of the fields is empty.")
        try:
            before, after = encoders.pair(both[0].texts[0], both[1].texts[0])
        except UnavailableError as error:
            return shown.message(str(error))
        return shown.pair(before, after, [note for one in both for note in one.notes])

    return answer


def ranked(encoders: Encoders) -> Callable[[str, str], str]:
    """What answers a query and a list."""

    def answer(query: str, lines: str) -> str:
        """The lines, the nearest first."""
        asked, listed = typed.sentence(query, "The query"), typed.lines(lines)
        if not asked.texts or not listed.texts:
            return shown.message("Type a query, and paste a list: a line each.")
        try:
            found = encoders.ranked(asked.texts[0], listed.texts)
        except UnavailableError as error:
            return shown.message(str(error))
        return shown.ranking(found, [*asked.notes, *listed.notes])

    return answer


def _given(texts: tuple[str, str]) -> Callable[[], tuple[str, str]]:
    return lambda: texts


def _title(gr: Any, title: str, told: str) -> None:
    _html(gr, f'<h2 class="st-title">{title}</h2><p class="st-quiet">{told}.</p>')


def _html(gr: Any, value: str, **more: Any) -> Any:
    return gr.HTML(value, apply_default_css=False, **more)


def _looks(gr: Any) -> dict[str, Any]:
    """Theme and style: with the fonts of the machine that looks at it, so that nothing is fetched for them."""
    theme = gr.themes.Base(
        primary_hue="blue",
        neutral_hue="gray",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
        radius_size="sm",
    ).set(
        body_background_fill="#fdfdfc",
        body_background_fill_dark="#14171a",
        block_background_fill_dark="#1c2024",
        input_background_fill="#ffffff",
        input_border_width="1px",
        input_border_color_dark="#363d44",
        input_background_fill_dark="#14171a",
        button_primary_background_fill="#0b62b8",
        button_primary_background_fill_hover="#084c90",
        button_primary_background_fill_dark="#0b62b8",
        button_primary_background_fill_hover_dark="#2a7fd0",
    )
    css = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return {"theme": theme, "css": css, "footer_links": []}
