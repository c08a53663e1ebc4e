"""Browsers for the tests that drive the app; each module of them has an `app` of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # the other tests of the apps need no browser
    from playwright.sync_api import Browser, BrowserContext


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from browsing import PATIENCE, QUIET
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser, app: str) -> Iterator[BrowserContext]:
    from browsing import confined_context

    with confined_context(browser, app) as context:
        yield context


@pytest.fixture
def other_context(browser: Browser, app: str) -> Iterator[BrowserContext]:
    """Somebody else's browser."""
    from browsing import confined_context

    with confined_context(browser, app) as context:
        yield context
