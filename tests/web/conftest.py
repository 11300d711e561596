"""A tracker with what the SDK logs, a browser, and the command line beside it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from finetune_cli.tracker import Address, Run, Tracker
from finetune_tracker.testing import TrackerProcess, running_tracker
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.cli.conftest import definitions, finetune, put  # noqa: F401  # fixtures
from tests.web.seed import PROJECT

expect.set_options(timeout=15_000)
SEED = Path(__file__).with_name("seed.py")


@dataclass
class Seeded:
    """A tracker with one project: a sweep of trials, their models, two promotions."""

    server: TrackerProcess
    tracker: Tracker
    sweep: str
    trials: list[Run]

    @property
    def best(self) -> Run:
        return min(self.trials, key=lambda run: run.metric("eval/wer") or 9)


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    folder = tmp_path_factory.mktemp("seeded")
    with running_tracker(folder / "tracker") as server:
        subprocess.run(
            [sys.executable, SEED], env=server.client_env(folder / "client"), cwd=folder, check=True, timeout=120
        )
        tracker = Tracker(Address(server.base_url, PROJECT, server.entity), server.api_key)
        names = "query Sweeps($p: String) { project(name: $p) { sweeps { edges { node { name } } } } }"
        sweep = tracker.query(names, p=PROJECT)["project"]["sweeps"]["edges"][0]["node"]["name"]
        yield Seeded(server, tracker, sweep, tracker.runs(sweep))


@pytest.fixture(scope="module")  # while it is there, Playwright's event loop runs in this thread: no other loop can
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "the page's tests need Chromium: `make browser` installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page, and what went wrong on it."""

    page: Page
    problems: list[str]
    hosts: set[str]


@pytest.fixture(scope="module")
def desk(browser: Browser, seeded: Seeded) -> BrowserContext:
    """A browser that is logged in."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    log_in(page, seeded)
    page.close()
    return context


@pytest.fixture
def visit(desk: BrowserContext, seeded: Seeded) -> Iterator[Visit]:
    """A new tab of it."""
    visit = watched(desk.new_page())
    visit.page.goto(seeded.server.base_url)
    yield visit
    visit.page.close()
    assert visit.problems == []
    assert visit.hosts <= {seeded.server.base_url.removeprefix("http://"), ""}


def watched(page: Page) -> Visit:
    visit = Visit(page, [], set())
    page.set_default_timeout(15_000)
    page.on("pageerror", lambda error: visit.problems.append(str(error)))
    page.on(
        "request",
        lambda request: visit.hosts.add(
            request.url.partition("//")[2].partition("/")[0] if "http" in request.url[:5] else ""
        ),
    )
    page.on(
        "response",
        lambda response: visit.problems.append(f"{response.status} {response.url}") if response.status >= 400 else None,
    )
    return visit


def log_in(page: Page, seeded: Seeded) -> None:
    page.goto(seeded.server.base_url)
    page.fill("#key", seeded.server.api_key)
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('Projects')")
