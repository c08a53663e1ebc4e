"""The model zoo in a real browser, with the shipped models."""

from collections.abc import Iterator

import pytest

pytest.importorskip("playwright.sync_api")
from browsing import PHONE, require_no_sideways_scrolling, running_app
from playwright.sync_api import BrowserContext, Page, expect

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """-> its address"""
    with running_app(tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("uploads")) as url:
        yield url


@pytest.fixture
def page(context: BrowserContext, app: str) -> Page:
    page = context.new_page()
    page.goto(app)
    page.get_by_role("tab", name="Model zoo").click()
    expect(page.locator("#zoo-samples .digit").first).to_be_visible()
    expect(page.locator(".verdict")).to_be_visible()
    return page


def test_a_stroke_is_judged_and_completed(page: Page) -> None:
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".cells [data-ink='0']")).to_have_count(64)
    blank = page.locator(".verdict b").inner_text()
    box = page.locator(".cells").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.55, box["y"] + box["height"] * 0.1)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.55, box["y"] + box["height"] * 0.9, steps=16)
    page.mouse.up()
    expect(page.locator(".cells [data-ink='16']")).to_have_count(8)
    expect(page.locator(".verdict b")).not_to_have_text(blank)
    page.get_by_role("button", name="Complete").click()
    expect(page.locator("#zoo-outcome .digit")).to_have_count(20)


def test_another_model_keeps_the_drawing_and_judges_it_anew(page: Page) -> None:
    drawing = "[...document.querySelectorAll('.cells i')].map(cell => cell.dataset.ink).join()"
    before, nats = page.evaluate(drawing), page.locator(".verdict b").inner_text()
    page.locator("#zoo-models button", has_text="factorised").click()
    expect(page.locator("#zoo-facts h2")).to_have_text("factorised")
    expect(page.locator(".verdict b")).not_to_have_text(nats)
    assert page.evaluate(drawing) == before
    samples = page.locator("#zoo-samples").inner_html()
    page.get_by_role("button", name="Draw again").click()
    expect(page.locator("#zoo-samples")).not_to_have_js_property("innerHTML", samples)


def test_it_fits_a_phone(page: Page) -> None:
    page.set_viewport_size(PHONE)
    require_no_sideways_scrolling(page, "as it opens")
    page.get_by_role("button", name="Menu").click()
    page.locator("#zoo-models button", has_text="arm-rnn").click()
    expect(page.locator("#zoo-facts h2")).to_have_text("arm-rnn")
    expect(page.locator("#cages")).not_to_be_visible()
    require_no_sideways_scrolling(page, "after another model was chosen")


def test_the_app_may_be_stopped_while_it_loads(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_app(tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("uploads")):
        pass  # which looks for tracebacks
