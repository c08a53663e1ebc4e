"""The molecules tab as HTML: what it says, and that nothing from outside is obeyed."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from bs4 import BeautifulSoup

from genaisys.apps.molecules.bench import Bench, Proposal
from genaisys.apps.molecules.cards import (
    HONEST,
    WELCOME,
    arrange_form,
    render_detail,
    render_grid,
    render_progress,
    render_summary,
)
from genaisys.apps.molecules.labels import LABELS, MAIN
from genaisys.apps.molecules.plots import comparison, marked, silhouette, similarities
from genaisys.apps.molecules.wishes import order_form, wishes_form
from genaisys.molecules.distributions import Distribution, distributions
from genaisys.molecules.properties import PROPERTIES
from genaisys.molecules.sampling import Counts
from genaisys.molecules.similarity import Neighbour

VALUES = {"QED": 0.8, "logP": 2.5, "SA": 2.0, "weight": 300.0, "TPSA": 60.0, "rings": 2.0}
HOSTILE = "<script>alert('x')</script>"


def soup(html: str) -> BeautifulSoup:
    return BeautifulSoup(html, "html.parser")


def bench(*proposals: Proposal) -> Bench:
    return Bench("done", 1, wanted=len(proposals), counts=Counts(drawn=10, valid=9), proposals=list(proposals))


def one(number: int = 1, smiles: str = "CCO", **more: object) -> Proposal:
    return Proposal(number, smiles, VALUES, "<svg class='molecule'></svg>", bytes(range(128)), **more)  # type: ignore[arg-type]


def test_every_property_has_a_plain_label() -> None:
    assert set(LABELS) == set(PROPERTIES)
    assert set(MAIN) < set(LABELS)
    assert LABELS["SA"].name == "Effort to make"  # which grows with the number


def test_every_wish_is_a_slider_over_what_is_known() -> None:
    page = soup(wishes_form())
    assert [wish["data-name"] for wish in page.select(".wish")] == list(LABELS)
    for wish in page.select(".wish"):
        low, high = wish.select("input")
        assert float(low["min"]) == float(low["value"]) < float(high["value"]) == float(high["max"])
        assert json.loads(wish["data-bins"])["counts"]
        steps = (float(low["max"]) - float(low["min"])) / float(low["step"])
        assert steps == pytest.approx(round(steps))  # so that the right handle can stand at its end
        assert wish.output.get_text() == "any"
    assert page.select_one("[name=temperature]")["value"] == "1"
    assert soup(order_form(200)).select_one("[name=count]")["max"] == "200"


def test_it_says_that_they_are_proposals() -> None:
    for html in (WELCOME, render_summary(bench(one()), offer_moses=False)):
        assert HONEST in soup(html).get_text()
    assert "not a tested compound" in soup(render_detail(one())).get_text()


def test_numbers_are_of_what_is_shown() -> None:
    compared = [
        one(1, nearest=Neighbour("CCO", 1.0), is_known=True),
        one(2, nearest=Neighbour("CCN", 0.5), is_known=False),
    ]
    page = soup(render_summary(bench(*compared), offer_moses=False))
    tiles = {tile.b.get_text(): tile.strong.get_text() for tile in page.select(".tile")}
    assert tiles == {"Valid": "90%", "New": "50%", "Different": "0.00",
                     "Drug-likeness": "0.80", "Oiliness": "2.5", "Effort to make": "2.0", "Weight": "300"}  # fmt: skip
    assert len(page.select("figure.tile .plot")) == len(MAIN)
    others = page.select("div.tile .plot")
    assert [plot.find_parent(class_="tile").b.get_text() for plot in others] == ["New", "Different"]
    assert similarities([1.0, 0.5]) in render_summary(bench(*compared), offer_moses=False)  # of each to the nearest
    half_way = soup(render_summary(bench(one(1), compared[1]), offer_moses=False))
    assert "being compared" in half_way.get_text()


def test_diversity_is_of_different_ones_and_does_not_depend_on_how_many() -> None:
    def told(n: int) -> str:
        nothing_in_common = (bytes([0] * k + [255] + [0] * (127 - k)) for k in range(n))
        some = [replace(one(k), fingerprint=each) for k, each in enumerate(nothing_in_common)]
        page = soup(render_summary(bench(*some), offer_moses=True))
        return page.find("b", string="Different").parent.strong.get_text()

    assert [told(n) for n in (1, 2, 24)] == ["–", "1.00", "1.00"]


def test_a_card_has_the_properties_and_the_nearest_known_one() -> None:
    page = soup(render_grid(bench(one(nearest=Neighbour("CCN", 0.62), nearest_picture="<svg></svg>", is_known=False))))
    text = page.select_one(".card").get_text(" ")
    for part in ("Drug-likeness 0.80", "Oiliness 2.5", "Effort to make 2.0", "Weight 300", "Nearest known 62% alike"):
        assert part in text
    assert len(page.select(".nearest svg")) == 1
    pending = soup(render_grid(bench(one())))
    assert pending.select_one(".nearest").get_text() == ""


def test_the_details_hold_everything() -> None:
    proposal = one(3, "O=C(Nc1ccccc1)c1ccccc1", nearest=Neighbour("CCN", 0.4), is_known=False)
    page = soup(render_detail(proposal))
    assert len(page.select(".properties tr")) == len(PROPERTIES)
    assert page.select_one("[data-copy]")["data-copy"] == proposal.smiles
    starts = [button["data-grow"] for button in page.select("[data-grow]")]
    assert starts == [proposal.smiles]  # it is nothing but its rings and what links them
    assert "40% alike" in page.get_text()
    grown = soup(render_detail(one(4, "Cc1ccc(C(=O)Nc2ccccc2)cc1")))
    assert [button["data-grow"] for button in grown.select("[data-grow]")][1] == "O=C(Nc1ccccc1)c1ccccc1"


def test_what_comes_from_outside_is_shown_and_not_obeyed() -> None:
    broken = Bench("done", problem=HOSTILE)
    for html in (
        render_progress(broken, HOSTILE, 1, 2),
        render_grid(bench(one(smiles=f"{HOSTILE}'"))),
        render_detail(one(smiles="C", nearest=Neighbour(HOSTILE, 0.5))),
    ):
        assert "<script" not in html
        assert not re.search(r"\son\w+=", html.replace("data-", ""))
    assert HOSTILE in soup(render_progress(broken, "", 0, 0)).get_text()


def test_plots_show_shares_on_one_scale() -> None:
    distribution = Distribution(0.0, 24.0, 1.0, (1,) * 24)
    even = comparison(distribution, [n + 0.5 for n in range(24)])
    known, shown = re.findall(r"d='([^']*)'", even)
    assert {float(y) for y in re.findall(r"V([\d.]+)H", known)} == {0.0}
    assert {float(y) for y in re.findall(r"V([\d.]+)H", shown)} == {0.0}  # as evenly spread as what is known
    one_place = comparison(distribution, [0.5, -3.0, 0.2, 1.9])  # all in the first bar, also what lies outside
    known, shown = re.findall(r"d='([^']*)'", one_place)
    assert sorted({float(y) for y in re.findall(r"V([\d.]+)H", shown)}) == [0.0, 100.0]
    assert {float(y) for y in re.findall(r"V([\d.]+)H", known)} == {91.7}  # a twelfth as high


def test_similarities_are_bars_from_0_to_1() -> None:
    (shown,) = re.findall(r"d='([^']*)'", similarities([0.0, 0.49, 0.48, 0.47, 0.46, 1.0]))
    heights = [100 - float(y) for y in re.findall(r"V([\d.]+)H", shown)]
    assert heights == [25, *[0] * 8, 100, *[0] * 9, 25]


def test_a_mark_stands_where_the_value_is() -> None:
    distribution = Distribution(0.0, 10.0, 1.0, (1, 2, 3, 4))
    assert "M2.00 0V100" in marked(distribution, 5.0)
    assert "M4.00 0V100" in marked(distribution, 99.0)
    assert silhouette(distribution).startswith("M0 100V75.0H1V50.0H2")


def test_sorting_and_filtering_offer_every_property() -> None:
    page = soup(arrange_form())
    for name in ("sort", "only"):
        options = [option["value"] for option in page.select_one(f"[name={name}]").select("option")]
        assert options == ["", *LABELS, "similarity"]
    summary = soup(render_summary(bench(one()), offer_moses=False))
    assert [button["data-kind"] for button in summary.select("[data-do=save]")] == ["sdf", "smi", "csv", "png"]


def test_ranges_are_read_without_rdkit() -> None:
    """The page opens before RDKit and torch are loaded."""
    code = (
        "import sys; from genaisys.apps.app import build; from genaisys.apps.molecules.wishes import wishes_form;"
        " wishes_form(); sys.exit(any(name in sys.modules for name in ('rdkit', 'torch', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert distributions()["QED"].high <= 1
