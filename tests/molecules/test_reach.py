"""What the shipped generators cannot write is refused before the work, with what they can."""

import pytest
from typer.testing import CliRunner

from genaisys.cli import app
from genaisys.molecules.distributions import distributions
from genaisys.molecules.generators import generator_for
from genaisys.molecules.properties import PROPERTIES
from genaisys.molecules.reach import require_reach
from genaisys.molecules.wishes import Wishes, WishImpossible, read_substructure, read_wishes


@pytest.mark.parametrize(
    ("substructure", "message"),
    [
        ("c1cc[nH+]cc1", r"never seen N with charge \+1"),
        ("[13CH3]c1ccccc1", "never seen 13C: it writes C, N, O"),
        ("[2H]c1ccccc1", "never seen 2H"),
        ("[1*]c1ccccc1", r"never seen 1\*"),
        ("[H][H]", "never seen H: .* hydrogen as an atom of its own"),
        ("CCP", "never seen P"),
        ("*C1CCCCCCCCC1", "a ring of 10 atoms: its rings have 3 to 7"),
        ("C" * 28, "28 atoms.*at most 27"),
        ("[#6]" + "~[#6]" * 27, "28 atoms.*at most 27"),
    ],
)
def test_parts_that_no_molecule_has_are_refused(substructure: str, message: str) -> None:
    with pytest.raises(WishImpossible, match=message):
        require_reach(Wishes(substructure=read_substructure(substructure)))


@pytest.mark.parametrize(
    "substructure",
    [
        "*c1ccccc1",
        "C1CCCCCC1",
        "[nH]1cccc1",
        "C[C@H](N)c1ccccc1",
        "BrCCl",
        "[#15,#7]C",
        "C1~C~C~C~C~C~C~C~C1",
        "C" * 27,
    ],
)
def test_other_parts_are_searched_for(substructure: str) -> None:
    require_reach(Wishes(substructure=read_substructure(substructure)))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "rings",
            "50..",
            "rings 50.. is out of reach: 99.9 % of the molecules of MOSES have 0 to 5, .* outside 0 to 7",
        ),
        ("TPSA", "500..600", "TPSA 500..600 is out of reach: .* have 12 to 139, and of 176,074 none"),
        ("weight", "..200", r"have 250 to 350, .* none is outside 250\.042 to 349\.999"),
    ],
)
def test_ranges_beyond_all_that_is_known_say_what_is_within(name: str, text: str, message: str) -> None:
    with pytest.raises(WishImpossible, match=message):
        require_reach(read_wishes({name: text}, None))


def test_ranges_that_few_molecules_have_are_searched_for() -> None:
    """So are all that a slider of the app can be moved to."""
    for name, known in distributions().items():
        assert known.least <= known.low + known.step < known.high - known.step <= known.most
        require_reach(Wishes({name: (known.high - known.step, float("inf"))}))
        require_reach(Wishes({name: (float("-inf"), known.low + known.step)}))
    assert {*distributions()} == {*PROPERTIES}


def test_only_shipped_generators_are_known_to_be_at_a_loss() -> None:
    """Drugs weigh more than what is in MOSES, and a model that has learned of them writes such."""
    heavy = Wishes({"weight": (500.0, 600.0)})
    assert generator_for(heavy, "drugs-lora/model") == "drugs-lora/model"
    for name in (None, "smiles-gpt", "smiles-gpt-conditional"):
        with pytest.raises(WishImpossible, match="out of reach"):
            generator_for(heavy, name)


def test_the_command_refuses_before_it_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genaisys.molecules.generators.load_generator", lambda name: pytest.fail("it has begun"))
    for wish in (["--rings", "50.."], ["--scaffold", "[2H]C"], ["--qed", ".96..", "--model", "smiles-gpt"]):
        done = CliRunner().invoke(app, ["molecules", "sample", *wish])
        assert done.exit_code == 1
        assert len(done.stderr.strip().splitlines()) == 1
        assert "out of reach" in done.stderr or "never seen" in done.stderr
