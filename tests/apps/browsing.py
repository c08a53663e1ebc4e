"""The app as people start it, and browsers that may reach nothing but it."""

import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 400_000  # milliseconds: the machine may be busy
DESKTOP, PHONE = {"width": 1360, "height": 850}, {"width": 390, "height": 844}


@contextmanager
def running_app(home: Path, uploads: Path, *options: str, **environment: str) -> Iterator[str]:
    """The command, as people start it, with its data in ``home``. -> its address"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "genaisys", "app", *options, "--port", str(port), "--no-browser"],
            env=os.environ | {"GENAISYS_HOME": str(home), "TMPDIR": str(uploads)} | environment,
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process)
        yield url
    finally:
        process.terminate()
        assert process.wait(200) == 0
        assert not [path for path in uploads.rglob("*") if path.is_file()]
        written = (home / "log").read_text()
        assert "Traceback" not in written, written


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    end = monotonic() + 900
    while process.poll() is None and monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:  # it does not listen yet, or is too busy to answer
            sleep(0.2)
    pytest.fail(f"the app did not start (exit code {process.poll()})")


@contextmanager
def confined_context(browser: Browser, app: str) -> Iterator[BrowserContext]:
    """Somebody's browser, in which nothing may go wrong and nothing may be asked of the outside."""
    outside: list[str] = []
    trouble: list[str] = []

    def keep_inside(route: Route, request: Request) -> None:
        if request.url.startswith(f"{app}/"):
            route.continue_()
        else:
            outside.append(request.url)
            route.abort()

    context = browser.new_context(viewport=DESKTOP)
    context.set_default_timeout(PATIENCE)
    context.route(re.compile("^(?!data:|blob:)"), keep_inside)
    context.on("weberror", lambda error: trouble.append(str(error.error)))
    context.on("dialog", lambda dialog: (trouble.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    context.on("console", lambda line: trouble.append(line.text) if "Content Security" in line.text else None)
    yield context
    context.close()
    assert not outside, "the page tried to reach the outside"
    assert not trouble, trouble


def require_no_sideways_scrolling(page: Page, state: str) -> None:
    """On a phone nothing is wider than the page, but for what is cut off."""
    wide = page.evaluate(
        "[...document.querySelectorAll('*')].filter(e => e.scrollLeft > 0 || "
        "(e.scrollWidth > e.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(e).overflowX)))"
        ".map(e => e.id || e.className)"
    )
    assert not wide, (state, wide)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], state
