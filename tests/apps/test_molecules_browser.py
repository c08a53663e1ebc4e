"""The molecules tab in a real browser, with the shipped generator. What is known is a few hundred molecules."""

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")
from browsing import PHONE, require_no_sideways_scrolling, running_app
from molecules_at_hand import made_by_rule
from playwright.sync_api import BrowserContext, Locator, Page, expect
from rdkit import Chem

from genaisys.hub import parts_folder
from genaisys.molecules import known
from genaisys.molecules.parsing import canonical
from genaisys.molecules.similarity import fingerprints

pytestmark = pytest.mark.browser

INDOLE = "c1ccc2[nH]ccc2c1"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """-> its address"""
    cache = tmp_path_factory.mktemp("cache")
    (cache / "parts").symlink_to(parts_folder())
    molecules = sorted({canonical(smiles) for smiles in made_by_rule()} - {None})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known, "moses_folder", lambda: cache / "datasets" / "moses")
        known.keep(molecules, fingerprints(molecules))
    home, uploads = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("uploads")
    with running_app(home, uploads, GENAISYS_CACHE=str(cache), HF_HUB_OFFLINE=os.environ["HF_HUB_OFFLINE"]) as url:
        yield url


@pytest.fixture
def page(context: BrowserContext, app: str) -> Page:
    return _enter(context, app)


def _enter(context: BrowserContext, app: str) -> Page:
    page = context.new_page()
    page.goto(app)
    page.get_by_role("tab", name="Molecules").click()
    expect(page.get_by_role("heading", name="Make new molecules")).to_be_visible()
    return page


def _generate(page: Page, count: int) -> Locator:
    """-> the cards, when all are there and compared"""
    _slide(page.get_by_label("How many"), count)
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#progress")).to_contain_text(f"{count} of {count} found")
    expect(page.locator(".nearest b")).to_have_count(count)
    return page.locator(".card")


def _slide(handle: Locator, value: float) -> None:
    handle.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }", value)


def _number(card: Locator, name: str) -> float:
    return float(card.locator(f".facts span:has(i:text-is('{name}')) b").inner_text())


def test_molecules_are_made_as_wished_and_the_documents_stay(page: Page) -> None:
    wish = page.locator(".wish[data-name=QED]")
    expect(wish.locator("output")).to_have_text("any")
    _slide(page.get_by_label("Drug-likeness, at least"), 0.8)
    expect(wish.locator("output")).to_have_text("at least 0.80")
    expect(wish.locator(".share")).to_contain_text("% of known")
    _slide(page.get_by_label("Oiliness, at most"), 2.5)

    cards = _generate(page, 8)
    for number in range(8):
        assert _number(cards.nth(number), "Drug-likeness") >= 0.8
        assert _number(cards.nth(number), "Oiliness") <= 2.5
        expect(cards.nth(number).locator("> .molecule path.line.bonds")).to_have_count(1)
    expect(page.locator("#summary h1")).to_have_text("8 proposals")
    expect(page.locator(".honest")).to_contain_text("not tested compounds")
    expect(page.locator(".tile", has_text="Valid").locator("strong")).to_have_text(re.compile(r"\d+%"))
    expect(page.locator(".tile", has_text="New").locator("strong")).to_have_text(re.compile(r"\d+%"))
    expect(page.locator("figure.tile .plot")).to_have_count(4)
    expect(page.locator(".tile", has_text="Like the nearest").locator(".plot")).to_be_visible()

    page.get_by_role("tab", name="Documents").click()
    expect(page.locator("#question")).to_be_visible()
    expect(cards.first).not_to_be_visible()
    page.get_by_role("tab", name="Molecules").click()
    expect(cards).to_have_count(8)
    page.get_by_role("button", name="Reset").click()
    expect(wish.locator("output")).to_have_text("any")


def test_a_start_is_drawn_while_it_is_pasted_and_grown(page: Page) -> None:
    start = page.get_by_label("Start from")
    start.fill(f"{INDOLE}(")
    error = page.locator("#start-drawing .error")
    expect(error).to_contain_text("a branch that is not closed at position 17")
    expect(error.locator("mark")).to_have_text("(")
    start.fill("C" * 501)
    assert len(start.input_value()) == 500  # no more goes in
    expect(error).to_contain_text("more than 200")
    start.fill("C" * 40)
    expect(error).to_contain_text("at most 27")
    start.fill(INDOLE)
    expect(page.locator("#start-drawing svg.molecule")).to_be_visible()

    cards = _generate(page, 8)
    expect(page.locator(".card > .molecule path.core")).to_have_count(8)
    pattern = Chem.MolFromSmiles(INDOLE)
    for label in cards.evaluate_all("cards => cards.map(c => c.getAttribute('aria-label'))"):
        assert Chem.MolFromSmiles(label.split(": ")[1]).HasSubstructMatch(pattern)


def test_one_molecule_in_detail(page: Page, context: BrowserContext) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    cards = _generate(page, 8)
    smiles = cards.nth(3).get_attribute("aria-label").split(": ")[1]
    cards.nth(3).click()
    sheet = page.locator(".molecule-detail")
    expect(sheet.locator(".smiles code").first).to_have_text(smiles)
    expect(sheet.locator(".properties tr")).to_have_count(6)
    expect(sheet.locator(".pair svg.molecule")).to_have_count(2)
    expect(sheet.locator("h3")).to_contain_text("alike")
    sheet.get_by_role("button", name="Copy").first.click()
    expect(sheet.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == smiles
    page.keyboard.press("Escape")
    expect(sheet).to_have_count(0)
    cards.nth(3).click()
    sheet.get_by_role("button", name="Use as start").click()
    expect(sheet).to_have_count(0)
    expect(page.get_by_label("Start from")).to_have_value(smiles)
    expect(page.locator("#start-drawing svg.molecule")).to_be_visible()


def test_what_is_shown_is_sorted_filtered_and_saved(page: Page, tmp_path: Path) -> None:
    cards = _generate(page, 16)
    page.locator("[name=sort]").select_option("weight")
    page.locator("[name=order]").select_option("up")
    expect(page.locator("#proposals")).to_be_visible()
    page.wait_for_function(
        "() => { const w = [...document.querySelectorAll('.card')].map(c => Number(c.querySelectorAll('.facts b')[3]"
        ".textContent)); return w.every((v, i) => !i || w[i - 1] <= v); }"
    )
    heaviest = _number(cards.nth(15), "Weight")
    page.locator("[name=only]").select_option("weight")
    page.get_by_label("To", exact=True).fill(str(heaviest - 1))
    expect(page.locator("#summary header")).to_contain_text("hidden by the filter")
    shown = cards.count()
    assert 0 < shown < 16
    order = [label.split(": ")[1] for label in cards.evaluate_all("c => c.map(e => e.getAttribute('aria-label'))")]

    for kind, name in (("CSV", "csv"), ("SDF", "sdf"), ("SMILES", "smi"), ("PNG", "png")):
        with page.expect_download() as download:
            page.get_by_role("button", name=kind, exact=True).click()
        assert download.value.suggested_filename == f"proposals.{name}"
        download.value.save_as(tmp_path / f"proposals.{name}")
    rows = list(csv.DictReader((tmp_path / "proposals.csv").read_text().splitlines()))
    assert [row["smiles"] for row in rows] == order
    assert all(float(row["similarity"]) > 0 and row["nearest known"] for row in rows)
    assert (tmp_path / "proposals.smi").read_text().split() == order
    with Chem.SDMolSupplier(str(tmp_path / "proposals.sdf")) as supplier:
        assert [Chem.MolToSmiles(mol) for mol in supplier] == order
    assert (tmp_path / "proposals.png").read_bytes().startswith(b"\x89PNG")

    page.get_by_label("To", exact=True).fill("1")
    expect(page.locator("#proposals")).to_contain_text("The filter hides all of them.")


def test_stop_keeps_what_is_found_and_other_visitors_have_their_own(
    page: Page, other_context: BrowserContext, app: str
) -> None:
    page.get_by_label("Start from").fill("c1ccc2[nH]c(C3CC3)cc2c1")  # rare
    _slide(page.get_by_label("How many"), 200)
    page.get_by_role("button", name="Generate").click()
    stop = page.get_by_role("button", name="Stop, and keep what is found")
    expect(page.locator("#progress")).to_contain_text("that were written")

    theirs = _enter(other_context, app)
    expect(theirs.locator(".card")).to_have_count(0)
    expect(theirs.get_by_role("button", name="Generate")).to_be_visible()

    stop.click()
    expect(page.locator("#progress")).to_contain_text("Stopped")
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    assert page.locator(".card").count() < 200


def test_an_example_fills_in_the_wishes(page: Page) -> None:
    page.get_by_role("button", name="Like a medicine, and easy to make").click()
    expect(page.locator(".card")).not_to_have_count(0)
    expect(page.locator(".wish[data-name=QED] output")).to_have_text("at least 0.85")
    expect(page.locator(".wish[data-name=SA] output")).to_have_text("at most 2.3")
    assert _number(page.locator(".card").first, "Drug-likeness") >= 0.85


def test_a_phone_needs_no_sideways_scrolling(page: Page) -> None:
    page.set_viewport_size(PHONE)
    expect(page.locator("#wishing")).not_to_be_visible()
    page.get_by_role("button", name="Menu").click()
    expect(page.get_by_role("button", name="Generate")).to_be_in_viewport()
    cards = _generate(page, 8)
    expect(page.locator("#wishing")).not_to_be_visible()
    for state in ("cards", "detail"):
        if state == "detail":
            cards.first.click()
            expect(page.locator(".molecule-detail h2")).to_be_in_viewport()
        require_no_sideways_scrolling(page, state)
