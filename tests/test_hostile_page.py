"""Page and card of a run on hostile texts, in a real browser: the texts are there to be read, and none of them runs."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT
from tiny import tiny_static

from hf_simtune import Recipe, tune

pytestmark = pytest.mark.slow

RUNS = "window.__ran = 1"
TEXTS = (
    f"<script>{RUNS}</script>",
    f"<img src=x onerror='{RUNS}'>",
    f"</td></table></pre></style></title><svg onload='{RUNS}'>",
    f"[click](javascript:{RUNS}) ![x](https://127.0.0.1:9/x.png)",
    f"<iframe srcdoc='<script>parent.{RUNS}</script>'></iframe>",
    "---\nlicense: stolen\ntags: [evil]\n---\n# heading",
    "{{ 7 * 191 }}{% raw %} ${7*191}",
    "\x1b[31mred\x1b]0;title\x07",
    '=HYPERLINK("https://127.0.0.1:9/","x")',
    "```\n</code></pre><b>bold</b>",
    "<a href='https://127.0.0.1:9/'>link</a><base href='https://127.0.0.1:9/'>",
    "\u202eevil <meta http-equiv=refresh content='0;url=https://127.0.0.1:9/'>",
)
READS = ("<script>", "<img src=x onerror=", "<svg onload=", "{{ 7 * 191 }}", "=HYPERLINK(", "<meta http-equiv=refresh")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on hostile texts, and with a hostile name of the data and of the prompt, its examples published."""
    folder = tmp_path_factory.mktemp("hostile")
    for part in ("train", "select", "report"):
        with (folder / f"<b onclick='{RUNS.split('.')[0]}'>{part}.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(("sentence1", "sentence2", "score"))
            for number in range(36):
                one, other = TEXTS[number % 12], TEXTS[(number * 5 + 1) % 12]
                table.writerow((f"{one} {part} {number}", f"{other} {part} {number}", number % 12 / 11))
    places = {part: str(next(folder.glob(f"*{part}.csv"))) for part in ("train", "select", "report")}
    recipe = Recipe(
        name="hostile",
        title=f"<script>{RUNS}</script> [x](javascript:{RUNS})",
        model=str(tiny_static(folder / "tiny")),
        train_data=places["train"],
        select_on=places["select"],
        report_on=places["report"],
        keep_leaks=True,
        prompt=f"<script>{RUNS}</script>: ",
        batch_size=8,
        learning_rate=0.05,
        evaluations=1,
        precision="fp32",
        on_collapse="ignore",
    )
    return tune(recipe, out=folder / "runs", publish_examples=True).folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium without a head, which tells of every request that a page makes."""
    selenium = pytest.importorskip("selenium.webdriver", reason="needs selenium, to look at pages in chromium")
    places = [Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")]
    if missing := [str(place) for place in places if not place.is_file()]:
        pytest.skip(f"needs Debian's chromium and chromedriver, and there is no {' and no '.join(missing)}")
    options = selenium.ChromeOptions()
    options.binary_location = str(places[0])
    profile = tmp_path_factory.mktemp("profile")
    for word in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", f"user-data-dir={profile}"):
        options.add_argument(f"--{word}")
    options.add_argument("--window-size=1200,2400")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(str(places[1])))
    yield driver
    driver.quit()


def looked_at(browser: Any, page: Path) -> str:
    """The text of a page as a reader sees it, after the proof that nothing ran and nothing was asked for."""
    browser.get_log("performance")
    browser.get(page.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
    browser.execute_script("document.querySelectorAll('*').forEach(one => one.dispatchEvent(new Event('error')))")
    asked = [
        entry["message"] for entry in browser.get_log("performance") if "Network.requestWillBeSent" in entry["message"]
    ]
    assert all(page.as_uri() in message for message in asked) and len(asked) == 1, asked
    assert browser.current_url == page.as_uri()
    assert browser.execute_script("return window.__ran") is None
    assert not browser.execute_script("return document.querySelectorAll('script, iframe, base, img[onerror]').length")
    kept = browser.execute_script(
        "return [...document.querySelectorAll('*')].filter(one => [...one.attributes].some("
        "held => held.name.startsWith('on') || held.value.trim().toLowerCase().startsWith('javascript:'))).length"
    )
    assert kept == 0
    if wanted := os.environ.get("SCREENSHOTS"):
        browser.save_screenshot(str(Path(wanted) / f"{page.stem}.png"))
    return str(browser.execute_script("return document.body.innerText"))


def test_a_script_in_a_page_would_be_seen(browser: Any, tmp_path: Path) -> None:
    """The proof can fail: the same look at a page that does show its texts as they are."""
    page = tmp_path / "naive.html"
    page.write_text("<!doctype html><meta charset=utf-8><body>" + TEXTS[0] + TEXTS[1], encoding="utf-8")
    browser.get(page.as_uri())
    assert browser.execute_script("return window.__ran") == 1
    with pytest.raises(AssertionError):
        looked_at(browser, page)


def test_the_report_shows_hostile_texts_as_text(browser: Any, run: Path) -> None:
    text = looked_at(browser, run / "report.html")
    assert any(words in text for words in READS), "the rows that moved show their texts"
    assert f"<script>{RUNS}</script>" in text
    assert "1337" not in text and "\x1b" not in text


def test_the_card_shows_hostile_texts_as_text(browser: Any, run: Path, tmp_path: Path) -> None:
    """Rendered as a careless host would: Markdown with HTML let through."""
    markdown = pytest.importorskip("markdown_it", reason="needs markdown-it-py")
    card = run.joinpath("README.md").read_text(encoding="utf-8")
    head, body = card.removeprefix("---\n").split("\n---\n", 1)
    assert "stolen" not in head and "evil" not in head, "front matter of a text is none of the card's"
    shutil.copytree(run / "plots", tmp_path / "plots")
    page = tmp_path / "card.html"
    html = markdown.MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
    html = html.replace('<img src="plots/', '<span title="plots/')  # the card's own pictures, which are requests
    page.write_text(f"<!doctype html><meta charset=utf-8><body>{html}", encoding="utf-8")
    text = looked_at(browser, page)
    assert f"<script>{RUNS}</script>" in text
    assert any(words in text for words in READS[1:])
    assert "1337" not in text and "\x1b" not in text


def test_no_file_of_a_run_is_a_page_that_runs_or_a_table_that_computes(run: Path) -> None:
    """What a run leaves is no csv, and what the command line writes as csv holds none of anybody's texts."""
    assert not [path for path in run.rglob("*") if path.suffix in (".csv", ".tsv", ".xlsx")]
    source = CHECKOUT.joinpath("hf_simtune", "data", "export.py").read_text(encoding="utf-8")
    assert "from hf_simtune.data.sports import generate" in source and "load(" not in source
