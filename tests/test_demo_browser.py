"""The demo of a run in a headless Chromium: what is typed is what is answered, and nothing leaves the machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT
from published import teachable
from sentence_transformers import SentenceTransformer, util
from tiny import tiny_model

from hf_simtune import tune

pytestmark = pytest.mark.slow
PATIENCE = 120  # seconds until the models are loaded, on a busy machine
HOSTILE = "<img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script> {{value}} ${1+1}"
PAIR = ("A dog runs over the road.", "The cat sat in the house.")


def browser_of(tmp_path: Path) -> Any:
    """A headless Chromium that reaches this machine alone and keeps a list of what it asked for."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs the package selenium")
    places = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if missing := [name for name, place in places.items() if place is None]:
        pytest.skip(f"needs {' and '.join(missing)}")
    options = webdriver.ChromeOptions()
    options.binary_location = places["chromium"]
    for word in (
        *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
        *("--no-proxy-server", "--window-size=1280,2000"),
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    service = webdriver.ChromeService(executable_path=places["chromedriver"])
    return webdriver.Chrome(options=options, service=service)


@contextlib.contextmanager
def served(run: Path, *words: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The command in a process of its own, and the address that it says."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "hf_simtune", "demo", str(run), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        assert line.startswith("page  "), line + process.stderr.read()
        yield line.split()[1], process
    finally:
        process.kill()
        process.communicate()


def asked(browser: Any) -> list[str]:
    """Every address that the browser asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]


class Page:
    """The page as somebody uses it."""

    def __init__(self, browser: Any, url: str) -> None:
        self.browser = browser
        browser.get(url)

    def wait(self, of: str, *, other: str = "") -> str:
        """What is shown at a place, once it is there and is something else."""
        from selenium.webdriver.support.ui import WebDriverWait

        def found(_: Any) -> str:
            return self.browser.execute_script(
                "const one = document.querySelector(arguments[0]); return one ? one.innerText : ''", of
            )

        WebDriverWait(self.browser, PATIENCE).until(lambda _: found(_) not in ("", other))
        return found(None)

    def type(self, field: str, text: str) -> None:
        """Paste a text into a field."""
        self.browser.execute_script(
            "const box = document.querySelector(arguments[0] + ' textarea, ' + arguments[0] + ' input');"
            "const kind = box.tagName === 'INPUT' ? HTMLInputElement : HTMLTextAreaElement;"
            "Object.getOwnPropertyDescriptor(kind.prototype, 'value').set.call(box, arguments[1]);"
            "box.dispatchEvent(new Event('input', {bubbles: true}))",
            f"#{field}",
            text,
        )

    def press(self, button: str) -> None:
        self.browser.find_element("css selector", f"#{button}").click()

    def compare(self, first: str, second: str) -> list[float]:
        """Both numbers of a pair."""
        before = self.wait("#compared .st-pair")
        self.type("first", first)
        self.type("second", second)
        self.press("compare")
        self.wait("#compared .st-pair", other=before)
        numbers = self.browser.find_elements("css selector", "#compared .st-big")
        return [float(number.text.replace("\N{MINUS SIGN}", "-")) for number in numbers]

    def rank(self, query: str, lines: str) -> list[list[str]]:
        """The cells of the ranking."""
        before = self.wait("#ranked .st-ranks")
        self.type("query", query)
        self.type("lines", lines)
        self.press("rank")
        self.wait("#ranked .st-ranks", other=before)
        rows = self.browser.find_elements("css selector", "#ranked tbody tr")
        return [[cell.text for cell in row.find_elements("css selector", "td")] for row in rows]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return tune(
        teachable(tiny_model(folder / "tiny"), folder, epochs=1.0, learning_rate=1e-3), out=folder / "runs"
    ).folder


def test_two_sentences_and_a_list_in_a_browser(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="needs the extra 'demo'")
    browser = browser_of(tmp_path)
    models = [SentenceTransformer(str(place), device="cpu") for place in (run.parents[1] / "tiny", run / "model")]
    try:
        with served(run, "--port", "0") as (url, process):
            page = Page(browser, url)
            assert page.wait("#heading h1") == "small" and "builtin" not in page.wait("#measured table")
            assert "95 % interval" in page.wait("#measured table")
            for texts in (PAIR, (HOSTILE, PAIR[0])):
                found = page.compare(*texts)
                wanted = [float(util.cos_sim(*model.encode(list(texts), convert_to_tensor=True))) for model in models]
                assert found == pytest.approx(wanted, abs=6e-4)
            lines = [HOSTILE, "The team won the match.", "A train to the city.", "x" * 20_000]
            rows = page.rank(PAIR[0], "\n".join(lines))
            tuned = util.cos_sim(models[1].encode(PAIR[0]), models[1].encode([line[:5_000] for line in lines]))[0]
            order = [lines[index] for index in tuned.argsort(descending=True).tolist()]
            assert [row[1][:100] for row in rows] == [line[:100] for line in order]
            assert [row[0] for row in rows] == ["1", "2", "3", "4"]
            assert float(rows[0][2].replace("\N{MINUS SIGN}", "-")) == pytest.approx(float(tuned.max()), abs=6e-4)
            assert "more than 5,000 characters" in page.wait("#ranked")
            many = page.rank("word", "\n".join(f"word number {number}" for number in range(10_000)))
            assert len(many) == 100 and "10,000 lines: the first 1,000 were ranked" in page.wait("#ranked")
            assert browser.title != "hit" and not browser.find_elements("css selector", "#compared img, #ranked img")
            inside = (url, url.replace("http", "ws"), "data:", "blob:", "chrome:")
            away = [address for address in asked(browser) if not address.startswith(inside)]
            assert away == []
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
            assert process.returncode == 0 and "Traceback" not in said and said.strip() == "Ctrl-C ends it"
    finally:
        browser.quit()
