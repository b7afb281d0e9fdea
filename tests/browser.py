"""An installed Chromium, driven by Playwright, for tests of pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from waiting import LONG

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--in-process-gpu",  # one process less to start
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PATIENCE_MS = 1000 * LONG
"""Of every step, on a machine that others keep busy."""
LOCAL = (None, "", "127.0.0.1", "localhost")


def chromium() -> str:
    """Path of an installed Chromium; the test is skipped without one."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("needs an installed Chromium")
    return found


_running = ExitStack()
"""What ends the browser."""


@cache
def browser() -> Browser:
    """One for all pages of this process, as its start takes longer than most tests; see :func:`close`."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    playwright = _running.enter_context(sync_playwright())
    options = list(OPTIONS)
    started = playwright.chromium.launch(executable_path=path, args=options, timeout=PATIENCE_MS)
    return _running.enter_context(started)


def close() -> None:
    """End the browser if it was started."""
    _running.close()
    browser.cache_clear()


@contextmanager
def opened_page(width: int = 1280, height: int = 900, touch: bool = False) -> Iterator[Page]:
    """A page with cookies and storage of its own. When the block ends without an error, it fails for what
    the page did wrong: uncaught errors, errors in the console, requests that leave this machine."""
    problems: list[str] = []
    page = browser().new_page(viewport={"width": width, "height": height}, has_touch=touch)
    try:
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        page.on(
            "request",
            lambda r: None if urlsplit(r.url).hostname in LOCAL else problems.append(f"asked for {r.url}"),
        )
        yield page
    finally:
        page.close()
    assert problems == []
