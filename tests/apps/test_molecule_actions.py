"""What clicks on the molecules tab do, without a browser: orders, what is found, how it is arranged and saved."""

import base64
import csv
import io
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from threading import Event

import gradio as gr
import numpy as np
import pytest
from molecules_at_hand import made_by_rule
from rdkit import Chem

from genaisys.apps.molecules.actions import MoleculeActions
from genaisys.apps.molecules.bench import MOST, Arrangement, Bench, Proposal, alikeness
from genaisys.apps.molecules.orders import OrderUnreadable, read_order, read_start
from genaisys.apps.molecules.workshop import Workshop
from genaisys.hub.downloads import DownloadFailed, OnProgress
from genaisys.models.transformer import TransformerLM, gpt
from genaisys.molecules import known
from genaisys.molecules.parsing import NotAMolecule, canonical
from genaisys.molecules.sampling import CannotSample
from genaisys.molecules.similarity import Neighbour
from genaisys.molecules.wishes import WishImpossible
from genaisys.tokenizers import smiles_tokenizer

WRITTEN = ["OCC", "c1ccccc1", "C((", "CCCCCC", "c1ccncc1", "CCO"]
KNOWN = sorted({canonical(smiles) for smiles in [*made_by_rule()[::40], "c1ccccc1"]})


def event(**data: object) -> gr.EventData:
    return gr.EventData(None, data)


@pytest.fixture
def moses_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "moses", lambda split, on_progress: KNOWN)
    monkeypatch.setattr(known, "moses_folder", lambda: tmp_path)
    monkeypatch.setattr("genaisys.molecules.moses.moses_is_here", lambda: True)


@pytest.fixture
def actions(monkeypatch: pytest.MonkeyPatch, moses_of_ours: None) -> Iterator[MoleculeActions]:
    """With a generator that writes the same six strings for ever."""
    tokenizer = smiles_tokenizer(WRITTEN)
    special = {"pad": tokenizer.pad, "bos": tokenizer.bos, "ends": (tokenizer.eos,)}
    model = TransformerLM(gpt(tokenizer.vocabulary_size, 8, layers=1, width=8, heads=1, **special), tokenizer)
    monkeypatch.setattr("genaisys.molecules.generators.load_generator", lambda name: model)
    monkeypatch.setattr(
        "genaisys.molecules.sampling.sample_many",
        lambda model, prompt, n, **settings: [tokenizer.encode(WRITTEN[number % len(WRITTEN)]) for number in range(n)],
    )
    workshop = Workshop()
    yield MoleculeActions(workshop)
    workshop.close()


def proposal(number: int, likeness: float | None = None, is_known: bool | None = None, **properties: float) -> Proposal:
    nearest = None if likeness is None else Neighbour("CCO", likeness)
    return Proposal(number, "C", properties, "", bytes([number] * 128), nearest, "", is_known)


# ---- orders


def test_an_order_is_what_was_wished() -> None:
    order = read_order(
        {"count": 40, "temperature": 0.8, "start": " c1ccccc1 ", "ranges": {"QED": [0.5, None], "weight": [250, 300]}},
        7,
    )
    assert order.n == 40
    assert (order.sampling.temperature, order.sampling.unique, order.sampling.seed) == (0.8, True, 7)
    wishes = order.sampling.wishes
    assert wishes.fulfilled(Chem.MolFromSmiles("O=C(NCc1ccccc1)c1ccc2ccccc2n1"))
    assert not wishes.fulfilled(Chem.MolFromSmiles("O=C(NCC1CCCCC1)c1ccc2[nH]ccc2n1"))  # no benzene
    assert not wishes.fulfilled(Chem.MolFromSmiles("Cc1ccccc1"))  # too light
    anything = read_order({}, 0)
    assert anything.start is None
    assert not anything.sampling.wishes.ranges
    assert read_order({"count": 10**9}, 0).n == MOST
    assert not read_order({"ranges": {"__class__": [0, 1]}}, 0).sampling.wishes.ranges


@pytest.mark.parametrize(
    ("sent", "error", "message"),
    [
        ({"start": "C1CC"}, NotAMolecule, "position 2"),
        ({"start": "C" * 600}, NotAMolecule, "longer than 500"),
        ({"start": "C" * 30}, WishImpossible, "30 atoms.*at most 27"),
        ({"start": "CC[N+](C)(C)C"}, WishImpossible, r"never seen N with charge \+1"),
        ({"start": "CCP"}, WishImpossible, "never seen P"),
        ({"temperature": 0}, CannotSample, "above 0"),
        ({"temperature": "nan"}, OrderUnreadable, "reload"),
        ({"count": "many"}, OrderUnreadable, "reload"),
        ({"ranges": {"QED": [1]}}, OrderUnreadable, "QED"),
        ({"ranges": {"QED": ["a", None]}}, OrderUnreadable, "QED"),
    ],
)
def test_orders_that_cannot_be_filled_say_why(sent: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        read_order(sent, 0)
    assert "\n" not in str(caught.value)


def test_a_part_with_an_open_place_is_a_start() -> None:
    assert Chem.MolFromSmiles("Cc1ccccc1").HasSubstructMatch(read_start("*c1ccccc1"))


# ---- making


def test_what_is_ordered_is_found_and_compared(actions: MoleculeActions) -> None:
    bench = Bench()
    pages = list(actions.generate(bench, event(count=4)))
    assert [p.smiles for p in bench.proposals] == ["CCO", "c1ccccc1", "CCCCCC", "c1ccncc1"]
    assert [p.is_known for p in bench.proposals] == [False, True, False, False]
    benzene = bench.proposals[1].nearest
    assert benzene is not None
    assert (benzene.smiles, benzene.similarity) == ("c1ccccc1", 1.0)
    assert (bench.counts.drawn, bench.counts.valid) == (5, 4)
    progress, summary, grid = pages[-1]
    assert "data-running='false'" in progress
    assert "4 of 4 found" in progress
    assert "<strong>80%</strong>" in summary  # valid
    assert "<strong>75%</strong>" in summary  # new
    assert grid.count("class='card'") == 4
    shown_at_once = next(page for page in pages if isinstance(page[2], str) and "class='card'" in page[2])
    assert "alike" not in shown_at_once[2]  # molecules are there before they are compared


def test_stop_keeps_what_was_found(actions: MoleculeActions) -> None:
    bench = Bench()
    order = actions.generate(bench, event(count=200))  # there are five at most
    for progress, _, _ in order:
        if bench.proposals:
            assert "data-running='true'" in progress
            actions.stop(bench)
            break
    last = list(order)[-1]
    assert 1 <= len(bench.proposals) <= 5
    assert "Stopped" in last[0]
    assert last[2].count("class='card'") == len(bench.proposals)


def test_impossible_wishes_are_one_plain_line_and_leave_what_was_found(
    actions: MoleculeActions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genaisys.molecules.sampling._PATIENCE", 50)
    bench = Bench()
    *_, (progress, _, grid) = actions.generate(bench, event(count=50))
    assert "Only 4 were found" in progress
    assert "none was new and valid" in progress  # and no wish is to blame
    assert grid.count("class='card'") == 4
    *_, (progress, _, grid) = actions.generate(bench, event(count=5, ranges={"weight": [300, 301]}))
    assert "Nothing was found" in progress
    assert "The fewest fulfilled the wish for weight: widen it" in progress
    assert "class='card'" not in grid
    *_, (progress, _, _) = actions.generate(bench, event(start="C1CC"))
    assert "a ring that is not closed" in progress


def test_a_new_order_ends_the_one_before(actions: MoleculeActions) -> None:
    bench = Bench()
    first = actions.generate(bench, event(count=200))
    next(first)
    next(first)
    second = list(actions.generate(bench, event(count=2)))
    assert len(bench.proposals) == 2
    assert list(first) == []
    assert len(bench.proposals) == 2
    assert "2 of 2 found" in second[-1][0]


def test_two_visitors_see_their_own(actions: MoleculeActions) -> None:
    one, other = Bench(), Bench()
    list(actions.generate(one, event(count=1)))
    assert not other.proposals


def test_without_moses_it_is_offered_and_fetched_only_when_asked(
    actions: MoleculeActions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(split: str, on_progress: OnProgress) -> list[str]:
        raise DownloadFailed("no registry is in reach")

    monkeypatch.setattr("genaisys.molecules.moses.moses_is_here", lambda: False)
    monkeypatch.setattr(known, "moses", refuse)
    bench = Bench()
    *_, (progress, summary, _) = actions.generate(bench, event(count=2))
    assert "error" not in progress
    assert "data-do='fetch'" in summary
    assert "until MOSES is fetched" not in summary
    for asked in ({"new_only": "on"}, {"sort": "similarity"}, {"only": "similarity", "low": "0.5"}):
        summary, grid = actions.arrange(bench, event(**asked))
        assert "until MOSES is fetched" in summary
        assert grid.count("class='card'") == 2
    actions.arrange(bench, event())
    *_, (progress, summary, _) = actions.fetch(bench)
    assert "No registry is in reach." in progress
    monkeypatch.setattr(known, "moses", lambda split, on_progress: KNOWN)
    *_, (progress, summary, grid) = actions.fetch(bench)
    assert "error" not in progress
    assert "data-do='fetch'" not in summary
    assert "until MOSES is fetched" not in summary
    assert "alike" in grid


@pytest.mark.parametrize("fails", [False, True])
def test_a_fetch_leaves_a_newer_order_alone(
    actions: MoleculeActions, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    def moses(split: str, on_progress: OnProgress) -> list[str]:
        if fails:
            raise DownloadFailed("no registry is in reach")
        return KNOWN

    monkeypatch.setattr("genaisys.molecules.moses.moses_is_here", lambda: False)
    monkeypatch.setattr(known, "moses", moses)
    bench = Bench()
    list(actions.generate(bench, event(count=2)))
    waiting = actions.fetch(bench)
    next(waiting)
    order = actions.generate(bench, event(count=200))
    progress, _, _ = next(order)
    while not bench.proposals:
        progress, _, _ = next(order)
    assert "data-running='true'" in progress  # so that there is a button to stop it
    assert list(waiting) == []
    assert (bench.phase, bench.problem) == ("drawing", "")


def test_what_was_still_being_drawn_is_not_put_into_a_newer_order(actions: MoleculeActions) -> None:
    bench = Bench()
    first = actions.generate(bench, event(count=200))
    while len(bench.proposals) < 3:
        next(first)
    bench.begin(200, None)
    list(first)
    assert not bench.proposals


def test_the_download_is_shown(actions: MoleculeActions, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Event()

    def slow(split: str, on_progress: OnProgress) -> list[str]:
        on_progress("downloading MOSES (52 MB)", 13, 52)
        seen.wait(30)
        return KNOWN

    monkeypatch.setattr("genaisys.molecules.moses.moses_is_here", lambda: False)
    monkeypatch.setattr(known, "moses", slow)
    bench = Bench()
    list(actions.generate(bench, event(count=2)))
    told = []
    for progress, _, _ in actions.fetch(bench):
        told.append(progress)
        if "25%" in progress:
            seen.set()
    assert any("Downloading MOSES (52 MB): 25%" in progress for progress in told)


def test_the_preparation_stops_with_the_app(monkeypatch: pytest.MonkeyPatch, moses_of_ours: None) -> None:
    workshop = Workshop()

    def endless(smiles: list[str], on_done: object) -> object:
        while True:
            on_done(1)  # type: ignore[operator]

    monkeypatch.setattr(known, "fingerprints", endless)
    steps = workshop.prepare()
    next(steps)
    workshop.close()
    list(steps)
    assert workshop.known is None


# ---- the start


def test_a_start_is_drawn_and_a_bad_one_is_marked_where_it_is_wrong(actions: MoleculeActions) -> None:
    assert "<svg" in actions.draw_start(event(smiles="c1ccccc1"))
    assert actions.draw_start(event(smiles="  ")) == ""
    wrong = actions.draw_start(event(smiles="CC(C<"))
    assert "<mark>&lt;</mark>" in wrong
    assert "at position 5" in wrong
    assert "class='error'" in actions.draw_start(event(smiles="C" * 600))
    assert "at most 27" in actions.draw_start(event(smiles="C" * 40))


# ---- looking


def test_proposals_are_sorted_and_those_without_the_value_come_last() -> None:
    some = [proposal(1, 0.5, QED=0.3), proposal(2, None, QED=0.9), proposal(3, 0.7, QED=0.6)]

    def order(**settings: object) -> list[int]:
        return [p.number for p in Arrangement(**settings).shown(some)]

    assert order() == [1, 2, 3]
    assert order(sort="QED") == [2, 3, 1]
    assert order(sort="QED", descending=False) == [1, 3, 2]
    assert order(sort="similarity") == [3, 1, 2]
    assert order(sort="similarity", descending=False) == [1, 3, 2]


def test_proposals_are_filtered() -> None:
    some = [proposal(1, 1.0, True, logP=1.0), proposal(2, 0.5, False, logP=2.0), proposal(3, None, None, logP=3.0)]

    def kept(**settings: object) -> list[int]:
        return [p.number for p in Arrangement(**settings).shown(some)]

    assert kept(new_only=True) == [2, 3]
    assert kept(only="logP", low=1.5) == [2, 3]
    assert kept(only="logP", low=1.0, high=2.0) == [1, 2]
    assert kept(only="similarity", high=0.9) == [2, 3]  # what was not compared yet is not hidden
    assert kept(only="logP") == [1, 2, 3]


def test_arranging_changes_numbers_and_grid(actions: MoleculeActions) -> None:
    bench = Bench()
    list(actions.generate(bench, event(count=4)))
    summary, grid = actions.arrange(
        bench, event(sort="weight", order="up", only="rings", low="1", high="", new_only="on")
    )
    assert [p.smiles for p in bench.shown] == ["c1ccncc1"]
    assert "1 proposal<" in summary
    assert "3 hidden" in summary
    assert grid.count("class='card'") == 1
    summary, grid = actions.arrange(bench, event(only="weight", low="1e5"))
    assert "The filter hides all" in grid
    actions.arrange(bench, event(sort="__class__", only="nothing", low="x"))
    assert len(bench.shown) == 4


def test_details_are_opened_by_number_and_nothing_else(actions: MoleculeActions) -> None:
    bench = Bench()
    list(actions.generate(bench, event(count=4)))
    sheet = actions.open(bench, event(number="2"))
    assert "Proposal 2" in sheet
    assert "c1ccccc1" in sheet
    assert "It is known" in sheet
    for number in ("0", "99", "x", ""):
        assert actions.open(bench, event(number=number)) == ""


def test_every_two_are_compared_once_and_none_with_itself() -> None:
    bits = np.random.default_rng(0).random((5, 1024)) < 0.1
    rows = [set(np.flatnonzero(row)) for row in bits]
    some = [Proposal(n, "C", {}, "", np.packbits(row).tobytes()) for n, row in enumerate(bits)]
    expected = [len(a & b) / len(a | b) for a, b in combinations(rows, 2)]
    assert alikeness(some) == pytest.approx(expected)
    assert alikeness([some[0]] * 3) == [1, 1, 1]
    assert alikeness(some[:1]) == []


# ---- saving


def saved(actions: MoleculeActions, bench: Bench, kind: str) -> bytes:
    element = actions.save(bench, event(kind=kind))
    return base64.b64decode(element.split("data-content='")[1].split("'")[0])


def test_what_is_shown_is_saved(actions: MoleculeActions) -> None:
    bench = Bench()
    list(actions.generate(bench, event(count=4)))
    actions.arrange(bench, event(sort="weight", order="up"))
    order = [p.smiles for p in bench.shown]
    numbers = [str(p.number) for p in bench.shown]
    assert numbers != sorted(numbers)
    assert saved(actions, bench, "smi").decode().split() == order
    rows = list(csv.DictReader(io.StringIO(saved(actions, bench, "csv").decode())))
    assert [row["smiles"] for row in rows] == order
    assert [row["number"] for row in rows] == numbers
    benzene = rows[order.index("c1ccccc1")]
    assert (benzene["nearest known"], benzene["similarity"], benzene["known"]) == ("c1ccccc1", "1.000", "true")
    assert float(benzene["weight"]) == pytest.approx(78.11, abs=0.01)
    supplier = Chem.SDMolSupplier()
    supplier.SetData(saved(actions, bench, "sdf").decode())
    mols = list(supplier)
    assert [Chem.MolToSmiles(mol) for mol in mols] == order
    assert [(mol.GetProp("_Name"), mol.GetProp("number")) for mol in mols] == [*zip(numbers, numbers, strict=True)]
    assert mols[0].HasProp("QED")
    assert saved(actions, bench, "png").startswith(b"\x89PNG")
    assert actions.save(bench, event(kind="exe")) == ""
    assert actions.save(Bench(), event(kind="smi")) == ""


def test_wishes_are_told_and_what_cannot_be_told_is_said(moses_of_ours: None) -> None:
    """By the shipped generators: of what the plain one writes, 4 in 1,000 are such indoles."""
    actions, bench = MoleculeActions(Workshop()), Bench()
    order = {"count": 8, "start": "c1ccc2[nH]ccc2c1", "ranges": {"QED": [0.8, None]}}
    list(actions.generate(bench, event(**order)))
    assert len(bench.proposals) == 8
    assert bench.counts is not None
    assert bench.counts.drawn < 200
    list(actions.generate(bench, event(count=8, ranges={"weight": [900, None]})))
    assert "out of reach" in bench.problem
    assert len(bench.proposals) == 8  # what was there is not given up for it
    actions.workshop.close()
