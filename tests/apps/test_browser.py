"""The app in a real browser, with the real models, over the shipped samples. No request may leave this machine."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")
from browsing import PHONE, require_no_sideways_scrolling, running_app
from playwright.sync_api import BrowserContext, Page, expect
from slow_endpoint import SlowEndpoint, slow_endpoint

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def app(sample_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """-> its address"""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(sample_store, home / "collections" / "Samples")
    with running_app(home, tmp_path_factory.mktemp("uploads"), "--collection", "samples") as url:
        yield url


@pytest.fixture
def page(context: BrowserContext, app: str) -> Page:
    return _enter(context, app)


@pytest.fixture
def slow() -> Iterator[SlowEndpoint]:
    with slow_endpoint() as server:
        yield server


def _enter(context: BrowserContext, app: str) -> Page:
    page = context.new_page()
    page.goto(app)
    page.wait_for_selector(".welcome h1")
    return page


def _ask(page: Page, question: str) -> None:
    page.get_by_role("textbox", name="Question").fill(question)
    page.keyboard.press("Enter")


def _create_collection(page: Page, name: str) -> None:
    page.get_by_text("New collection").click()
    page.get_by_label("Its name").fill(name)
    page.get_by_role("button", name="Create").click()
    expect(page.locator(".pick[aria-pressed=true]")).to_have_text(name)


def _choose_model(page: Page, name: str) -> None:
    page.get_by_text("Model and settings").click()
    box = page.get_by_label("Chat model")
    box.fill(name)
    box.press("Enter")
    expect(page.locator("#status")).to_contain_text(name)
    expect(page.locator("#status .working")).to_have_count(0)


def test_a_question_is_answered_and_its_source_opens_at_the_quotation(page: Page) -> None:
    page.get_by_role("button", name="When did Odalys Brandt open the observatory?").click()
    turn = page.locator(".turn")
    expect(turn).to_have_attribute("data-state", "answered")
    expect(turn.locator(".answer")).to_contain_text("1931")
    expect(turn.locator(".timings")).to_contain_text("search")
    source = turn.locator(".source").first
    expect(source.locator(".place")).to_have_text("history.txt")
    assert source.bounding_box()["x"] > turn.locator(".prose").bounding_box()["x"] + 300, (
        "sources stand beside the answer"
    )

    quote = source.locator("q").inner_text().strip("“”")
    source.click()
    mark = page.locator(".reader mark")
    expect(mark).to_be_in_viewport()
    assert " ".join(mark.inner_text().split()) == " ".join(quote.split())
    expect(page.locator(".reader")).to_contain_text("Odalys Brandt kept the lighthouse")
    page.keyboard.press("Escape")
    expect(page.locator(".reader")).to_have_count(0)
    source.click()
    expect(mark).to_be_in_viewport()


def test_a_page_number_is_shown_and_its_passage_scrolled_to(page: Page) -> None:
    _ask(page, "How often does the mirror receive a new coating?")
    expect(page.locator(".turn")).to_have_attribute("data-state", "answered")
    source = page.locator(".source", has_text="telescope-manual.pdf").first
    expect(source.locator(".page")).to_have_text(re.compile(r"page \d"))
    source.click()
    expect(page.locator(".reader mark").first).to_be_in_viewport()
    expect(page.locator(".reader header .page")).to_have_text(source.locator(".page").inner_text())


def test_what_the_documents_do_not_hold_is_refused_in_its_own_form(page: Page) -> None:
    _ask(page, "Who won the football world cup in 1990?")
    expect(page.locator(".turn .refusal")).to_contain_text("The documents do not say.")
    expect(page.locator(".sources h3")).to_have_text("Closest passages")


def test_files_are_brought_in_one_by_one_and_a_bad_one_harms_no_other(page: Page, tmp_path: Path) -> None:
    _create_collection(page, "Uploads")
    expect(page.locator(".welcome")).to_contain_text("is empty")
    name = "<img src=x onerror=alert(1)>.txt"
    (tmp_path / name).write_text("<script>alert(2)</script> The password of the cellar is cucumber.\n" * 2)
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7\nthis is no PDF")
    with (tmp_path / "huge.txt").open("wb") as huge:
        huge.truncate(250_000_000)
    page.locator("#pick-files").set_input_files([tmp_path / name, tmp_path / "broken.pdf", tmp_path / "huge.txt"])

    outcomes = page.locator(".outcomes[data-done=true]")
    expect(outcomes.locator("li", has_text=name).locator(".status")).to_have_text("added")
    expect(outcomes.locator("li", has_text="broken.pdf").locator(".status")).to_have_text("failed")
    expect(outcomes.locator("li", has_text="huge.txt")).to_contain_text("250 MB, and 200 MB is the limit")
    for reason in outcomes.locator(".detail").all_inner_texts():
        assert reason.strip()
        assert "Traceback" not in reason
    expect(page.locator(".documents li")).to_have_count(1)

    _ask(page, "What is the password of the cellar?")
    expect(page.locator(".turn .answer")).to_contain_text("cucumber")
    page.locator(".turn .source").first.click()
    expect(page.locator(".reader .text")).to_contain_text("<script>alert(2)</script>")
    assert page.locator(".reader script, .reader img, #rail img, .turn img").count() == 0
    page.keyboard.press("Escape")

    page.locator("#pick-files").set_input_files([tmp_path / name])
    expect(page.locator(".outcomes[data-done=true] .title")).to_contain_text("1 unchanged")

    page.locator(".documents li").hover()
    page.locator(".documents li summary").click()
    page.get_by_role("button", name="Keep").click()
    expect(page.locator(".documents li")).to_have_count(1)
    page.locator(".documents li").hover()
    page.locator(".documents li summary").click()
    page.locator(".documents").get_by_role("button", name="Delete").click()
    expect(page.locator(".documents li")).to_have_count(0)
    _ask(page, "What is the password of the cellar?")
    expect(page.locator(".turn").nth(1).locator(".refusal")).to_be_visible()


def test_a_folder_keeps_its_paths_and_leaves_hidden_files_out(page: Page, tmp_path: Path) -> None:
    (tmp_path / "reports" / "2024").mkdir(parents=True)
    (tmp_path / "reports" / "2024" / "spring.md").write_text("# Spring\n\nThe frogs came back on 3 March.\n")
    (tmp_path / "reports" / "plan.txt").write_text("The pond will be dug deeper in October.\n")
    (tmp_path / "reports" / ".hidden.txt").write_text("nothing for anyone\n")
    _create_collection(page, "Pond")
    page.locator("#pick-folder").set_input_files(tmp_path / "reports")
    expect(page.locator(".outcomes[data-done=true] .title")).to_contain_text("2 added")
    expect(page.locator(".documents .place")).to_have_text(["reports/2024/spring.md", "reports/plan.txt"])
    expect(page.locator(".documents .name")).to_contain_text(["Spring", "plan"])


def test_collections_are_made_switched_and_deleted_after_a_question(page: Page) -> None:
    _create_collection(page, "Short-lived <b>")
    expect(page.locator(".collections .pick")).to_contain_text(["Samples"])
    page.locator(".collections .pick", has_text="Samples").click()
    expect(page.locator(".welcome h1")).to_have_text("Ask Samples")
    expect(page.locator(".documents li")).not_to_have_count(0)

    page.locator(".collections .pick", has_text="Short-lived <b>").click()
    page.locator(".collections li", has_text="Short-lived <b>").hover()
    page.locator(".collections summary").click()
    page.locator(".collections").get_by_role("button", name="Delete").click()
    expect(page.locator(".collections .pick", has_text="Short-lived")).to_have_count(0)

    page.get_by_text("New collection").click()
    page.get_by_label("Its name").fill("samples")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#collections .error")).to_contain_text("already")


def test_two_people_neither_see_nor_block_each_other(
    page: Page, other_context: BrowserContext, app: str, slow: SlowEndpoint
) -> None:
    slow.repeats = 200
    _choose_model(page, slow.name)
    _ask(page, "At what wind speed does the dome close by itself?")
    expect(page.locator(".turn .prose")).to_contain_text("The dome closes")

    theirs = _enter(other_context, app)
    expect(theirs.locator(".turn")).to_have_count(0)
    _ask(theirs, "When did Odalys Brandt open the observatory?")
    expect(theirs.locator(".turn .answer")).to_contain_text("1931")
    expect(page.locator(".turn")).to_have_attribute("data-state", "writing")
    expect(page.locator(".turn")).to_have_count(1)
    expect(theirs.locator(".turn")).to_have_count(1)

    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".turn")).to_have_attribute("data-state", "stopped")
    expect(page.locator(".turn .note")).to_contain_text("Stopped")
    assert slow.hung_up.wait(10), "the model was stopped, too"


def test_an_answer_streams_and_what_nothing_supports_is_marked(page: Page, slow: SlowEndpoint) -> None:
    _choose_model(page, slow.name)
    _ask(page, "At what wind speed does the dome close by itself?")
    expect(page.locator(".turn[data-state=writing] .prose")).to_contain_text("The dome")
    expect(page.locator(".turn .source")).not_to_have_count(0)
    expect(page.locator(".turn")).to_have_attribute("data-state", "answered")
    expect(page.locator(".unsupported")).to_have_text("A purple walrus was elected treasurer of Iceland.")
    expect(page.locator(".flag")).to_have_text("not in the documents")


def test_an_answer_that_nobody_waits_for_any_more_is_stopped(page: Page, slow: SlowEndpoint) -> None:
    slow.repeats = 200
    _choose_model(page, slow.name)
    _ask(page, "At what wind speed does the dome close by itself?")
    expect(page.locator(".turn .prose")).to_contain_text("The dome closes")
    page.close()
    assert slow.hung_up.wait(20)


def test_a_model_that_is_not_there_is_one_plain_line(page: Page) -> None:
    _choose_model(page, "no-such-model")
    error = page.locator("#status .error")
    expect(error).to_contain_text("no-such-model")
    assert "\n" not in error.inner_text()
    _ask(page, "When did Odalys Brandt open the observatory?")
    expect(page.locator(".turn .answer")).to_contain_text("1931")


def test_a_phone_needs_no_sideways_scrolling(page: Page) -> None:
    page.set_viewport_size(PHONE)
    expect(page.locator("#rail")).not_to_be_visible()
    page.get_by_role("button", name="Menu").click()
    expect(page.locator(".dropzone")).to_be_in_viewport()
    page.keyboard.press("Escape")
    _ask(page, "What is the weight of the main mirror of the Tidewater telescope?")
    turn = page.locator(".turn[data-state=answered]")
    expect(turn).to_have_count(1)
    source = turn.locator(".source").first
    assert source.bounding_box()["y"] > turn.locator(".prose").bounding_box()["y"], "sources stand below the answer"
    for state in ("conversation", "reader"):
        if state == "reader":
            source.click()
            expect(page.locator(".reader mark").first).to_be_in_viewport()
        require_no_sideways_scrolling(page, state)
