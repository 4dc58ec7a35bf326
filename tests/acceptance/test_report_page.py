"""The report in a real browser: drawn whole, in silence, asking nobody, light and dark, on a laptop and on a phone.

Screenshots go to the directory named by TELLTALE_SCREENSHOTS, else to the test's own. Skips where there is no Chromium.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import report_contents
from training.report.page import render

api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
SIZES = {"laptop": (1440, 900), "phone": (390, 844)}
SCHEMES = ("light", "dark")
CONTENTS = ("labelled", "unlabelled", "images", "variational")
DRAWN = "html[data-state=drawn]"
PATIENCE_MS = 90_000.0
# Every plot of the page with what is in it; a page is measured by what the browser laid out.
FOUND = """() => ({
  page: document.documentElement.scrollWidth, window: innerWidth,
  paper: getComputedStyle(document.body).backgroundColor,
  canvases: [...document.querySelectorAll('.canvas')].map((canvas) => ({
    name: canvas.id, width: canvas.clientWidth, drawn: canvas.querySelector('.main-svg')?.clientWidth ?? 0,
    marks: canvas.querySelectorAll('path.js-line, path.point, image, .heatmaplayer image, .js-fill').length,
    alt: canvas.getAttribute('aria-label') })),
  cut: [...document.querySelectorAll('h1, h2, h3, h4, p, li, dd, figcaption, figure, .card, .tile')].filter((e) => {
    const box = e.getBoundingClientRect();
    return box.width && !e.closest('.scroll, nav, pre') && box.right > innerWidth + 1;
  }).length })"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every content, rendered once."""
    directory = tmp_path_factory.mktemp("pages")
    for name in CONTENTS:
        (directory / f"{name}.html").write_bytes(render(getattr(report_contents, name)()))
    return {name: directory / f"{name}.html" for name in CONTENTS}


class Visit:
    """A page opened from its file, with all that it said and asked for."""

    def __init__(self, browser: Any, path: Path, size: str, scheme: str) -> None:
        width, height = SIZES[size]
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=size == "phone", offline=True
        )
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("requestfailed", lambda request: self.said.append(f"failed: {request.url[:120]}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", lambda dialog: self.said.append(f"dialog: {dialog.message}"))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector(DRAWN, timeout=PATIENCE_MS)

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def until(self, holds: Callable[[], bool]) -> None:
        """Waits, asking from outside: the page's own policy forbids what `wait_for_function` evaluates within it."""
        for _ in range(round(PATIENCE_MS / 100)):
            if holds():
                return
            self.page.wait_for_timeout(100)
        pytest.fail(f"did not come to hold in {PATIENCE_MS / 1000:.0f} s")

    def check(self) -> dict[str, Any]:
        """What is promised of every page; gives what was measured."""
        found: dict[str, Any] = self.page.evaluate(FOUND)
        assert self.said == []
        local = ("data:", "blob:")
        assert [url for url in self.asked if not url.startswith(local)] == [self.page.url], "one file, and no other"
        assert found["page"] <= found["window"], "scrolls sideways"
        assert found["cut"] == 0, "something stands out to the right"
        assert found["canvases"]
        for canvas in found["canvases"]:
            assert canvas["marks"] > 0, f"{canvas['name']} is empty: {canvas['alt']}"
            assert canvas["drawn"] == canvas["width"] > 100, canvas
        return found


def screenshots(tmp_path: Path) -> Path:
    directory = Path(os.environ.get("TELLTALE_SCREENSHOTS") or tmp_path)
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_a_labelled_run(browser: Any, pages: dict[str, Path], tmp_path: Path, size: str, scheme: str) -> None:
    with Visit(browser, pages["labelled"], size, scheme) as visit:
        found = visit.check()
        directory = screenshots(tmp_path)
        visit.page.screenshot(path=directory / f"report-{size}-{scheme}-first.png")
        visit.page.screenshot(path=directory / f"report-{size}-{scheme}.png", full_page=True)
        brightness = np.mean([int(part) for part in found["paper"].removeprefix("rgb(").rstrip(")").split(",")[:3]])
        assert brightness > 200 if scheme == "light" else brightness < 60
        first = visit.page.locator("#summary")
        for told in ("Finds ", "was fitted to", "Expected false alarms", "Before you use it", "PCA", "flag everything"):
            assert first.get_by_text(told).first.is_visible(), told
    print(f"screenshots are in {directory}")


@pytest.mark.parametrize(("name", "size", "scheme"), [("unlabelled", "phone", "dark"), ("images", "laptop", "light")])
def test_other_forms(browser: Any, pages: dict[str, Path], tmp_path: Path, name: str, size: str, scheme: str) -> None:
    with Visit(browser, pages[name], size, scheme) as visit:
        visit.check()
        visit.page.screenshot(path=screenshots(tmp_path) / f"report-{name}-{size}-{scheme}.png", full_page=True)


def test_plots_follow_the_scheme(browser: Any, pages: dict[str, Path]) -> None:
    inks = "() => [...document.querySelectorAll('.canvas')].flatMap((c) => c.querySelector('text')?.style.fill ?? [])"
    with Visit(browser, pages["images"], "laptop", "light") as visit:
        visit.check()
        light = visit.page.evaluate(inks)
        visit.page.emulate_media(color_scheme="dark")
        visit.until(lambda: all(a != b for a, b in zip(light, visit.page.evaluate(inks), strict=True)))
        visit.page.wait_for_selector(DRAWN, timeout=PATIENCE_MS)
        visit.check()


def test_plots_follow_the_width(browser: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    fits = "() => [...document.querySelectorAll('.canvas')].every((c) => c._fullLayout.width === c.clientWidth)"
    with Visit(browser, pages["variational"], "laptop", "light") as visit:
        wide = visit.check()["canvases"][0]["width"]
        visit.page.screenshot(path=screenshots(tmp_path) / "report-variational-laptop-light.png", full_page=True)
        visit.page.set_viewport_size({"width": 390, "height": 844})
        visit.until(lambda: bool(visit.page.evaluate(fits)))
        assert visit.check()["canvases"][0]["width"] < wide


def test_on_paper(browser: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    with Visit(browser, pages["unlabelled"], "laptop", "dark") as visit:
        visit.check()
        assert visit.page.locator("img").count() == 0
        assert report_contents.HOSTILE in visit.page.locator(".over").inner_text(), "strangers' names are only text"
        paper = visit.page.pdf(path=screenshots(tmp_path) / "report.pdf", format="A4")
        assert paper.startswith(b"%PDF")
        assert visit.said == []
