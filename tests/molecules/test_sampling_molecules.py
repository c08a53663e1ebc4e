"""Drawing texts in step, and molecules by rejection."""

import math
from itertools import product
from pathlib import Path

import pytest
import torch
from rdkit import Chem

from genaisys.models.transformer import TransformerLM, gpt, llama, teenygpt
from genaisys.models.transformer.lockstep import sample_many
from genaisys.molecules.drawing import CannotWrite, draw_grid, write_molecules
from genaisys.molecules.generators import GeneratorMissing, load_generator, shipped
from genaisys.molecules.parsing import NotAMolecule
from genaisys.molecules.properties import PROPERTIES, properties, properties_of
from genaisys.molecules.sampling import CannotSample, MoleculeSampling, raw_smiles, sample_molecules, stream_molecules
from genaisys.molecules.wishes import Wishes, WishImpossible, read_range, read_substructure, written_range
from genaisys.tokenizers import smiles_tokenizer

PAD, BOS, EOS = 0, 1, 2
SPECIAL = {"pad": PAD, "bos": BOS, "ends": (EOS,), "impossible": (PAD, BOS)}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("preset", [teenygpt, gpt, llama])
def test_texts_are_drawn_from_the_density(preset: type) -> None:
    """The frequency of every sequence of up to three tokens is its probability under ``log_prob``."""
    torch.manual_seed(0)
    model = TransformerLM(preset(5, 4, layers=2, width=16, heads=2, hidden=32, tied_embeddings=False, **SPECIAL)).eval()
    with torch.no_grad():
        model.head.weight.mul_(20)
    n = 20_000
    counts: dict[tuple[int, ...], int] = {}
    for tokens in sample_many(model, [BOS], n, generator=generator()):
        counts[tuple(tokens)] = counts.get(tuple(tokens), 0) + 1
    ended = [(*body, EOS) for length in range(3) for body in product((3, 4), repeat=length)]
    full = list(product((3, 4), repeat=3))
    total = 0.0
    for sequence in [*ended, *full]:
        row = torch.tensor([[*sequence, *[PAD] * (3 - len(sequence))]])
        p = model.log_prob(row).exp().item()
        body = sequence[:-1] if sequence[-1] == EOS else sequence
        assert counts.get(tuple(body), 0) / n == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5 + 1e-4)
        total += p
    assert total == pytest.approx(1, abs=1e-5)


def test_prompts_are_read_and_not_given_back() -> None:
    model = TransformerLM(llama(6, 8, layers=1, width=16, heads=2, **SPECIAL)).eval()
    with torch.no_grad():
        model.head.weight.mul_(30)
    prompt = [BOS, 5, 4]
    drawn = list(sample_many(model, prompt, 4000, generator=generator()))
    p = model(torch.tensor([prompt]))[0, -1].index_fill(0, torch.tensor([PAD, BOS]), -torch.inf).softmax(-1)
    for token in (3, 4, 5):
        share = sum(row[:1] == [token] for row in drawn) / len(drawn)
        assert share == pytest.approx(p[token].item(), abs=0.04)
    assert all(len(row) <= 8 - len(prompt) for row in drawn)


def test_each_text_may_have_a_prompt_of_its_own() -> None:
    """More than are drawn at once, so that prompts and texts stay together across the parts."""
    model = TransformerLM(llama(6, 8, layers=1, width=16, heads=2, **SPECIAL)).eval()
    with torch.no_grad():
        model.head.weight.mul_(30)
    n = 6000
    prompts = torch.tensor([[BOS, 3, 4], [BOS, 5, 5]]).repeat(n // 2, 1)
    drawn = list(sample_many(model, prompts, n, generator=generator()))
    for which in (0, 1):
        p = model(prompts[which : which + 1])[0, -1].index_fill(0, torch.tensor([PAD, BOS]), -torch.inf).softmax(-1)
        for token in (3, 4, 5):
            share = sum(row[:1] == [token] for row in drawn[which::2]) / (n // 2)
            assert share == pytest.approx(p[token].item(), abs=5 * (p[token].item() / (n // 2)) ** 0.5 + 1e-4)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_logits_are_divided_by_the_temperature(temperature: float) -> None:
    model, n = TransformerLM(gpt(8, 3, layers=1, width=16, heads=2, **SPECIAL)).eval(), 4000
    with torch.no_grad():
        model.head.weight.mul_(20)
    logits = model(torch.tensor([[BOS]]))[0, -1].index_fill(0, torch.tensor([PAD, BOS]), -torch.inf)
    p = (logits / temperature).softmax(-1)
    drawn = list(sample_many(model, [BOS], n, generator=generator(), temperature=temperature))
    for token in range(EOS, 8):
        share = sum((row or [EOS])[0] == token for row in drawn) / n
        assert share == pytest.approx(p[token].item(), abs=5 * (p[token].item() / n) ** 0.5 + 2e-3)
    assert (p - logits.softmax(-1)).abs().max() > 0.03  # the temperature matters


def test_top_p_leaves_the_likeliest_tokens() -> None:
    model = TransformerLM(gpt(8, 3, layers=1, width=16, heads=2, **SPECIAL)).eval()
    with torch.no_grad():
        model.head.weight.mul_(20)
    p = model(torch.tensor([[BOS]]))[0, -1].index_fill(0, torch.tensor([PAD, BOS]), -torch.inf).softmax(-1)
    order = p.argsort(descending=True)
    kept = set(order[: int((p[order].cumsum(0) < 0.6).sum()) + 1].tolist())
    first = {(row or [EOS])[0] for row in sample_many(model, [BOS], 2000, generator=generator(), top_p=0.6)}
    assert first == kept


class Words(TransformerLM):
    """Writes one of a few words at random, the first letter deciding; a stand-in with a real tokenizer."""

    def __init__(self, words: list[str]) -> None:
        tokenizer = smiles_tokenizer(words)
        special = {"pad": tokenizer.pad, "bos": tokenizer.bos, "ends": (tokenizer.eos,)}
        super().__init__(gpt(tokenizer.vocabulary_size, 8, layers=1, width=8, heads=1, **special), tokenizer)


@pytest.fixture
def chemist(monkeypatch: pytest.MonkeyPatch) -> Words:
    """A model that writes ethanol, benzene and something invalid, in this order for ever."""
    words = ["OCC", "c1ccccc1", "C(("]
    model = Words(words)

    def in_turns(model: Words, prompt: list[int], n: int, **settings: object) -> list[list[int]]:
        assert model.tokenizer is not None
        return [model.tokenizer.encode(words[number % 3]) for number in range(n)]

    monkeypatch.setattr("genaisys.molecules.sampling.sample_many", in_turns)
    return model


def test_only_valid_molecules_are_kept_and_the_true_rate_is_told(chemist: Words) -> None:
    samples = sample_molecules(chemist, 4, MoleculeSampling())
    assert samples.smiles == ["CCO", "c1ccccc1", "CCO", "c1ccccc1"]
    assert samples.counts.as_json() == {
        "drawn": 5, "valid": 4, "repeated": 0, "unwanted": 0, "kept": 4, "validity": 0.8
    }  # fmt: skip
    assert list(raw_smiles(chemist, 3, MoleculeSampling())) == ["OCC", "c1ccccc1", "C(("]


def test_who_looks_on_sees_each_molecule_and_hears_when_none_is_found(chemist: Words) -> None:
    looks = [
        (list(samples.smiles), samples.counts.drawn) for samples in stream_molecules(chemist, 3, MoleculeSampling())
    ]
    assert looks == [(["CCO"], 1), (["CCO", "c1ccccc1"], 2), (["CCO", "c1ccccc1", "CCO"], 4)]
    impossible = MoleculeSampling(wishes=Wishes({"weight": (900.0, 901.0)}))
    stream = stream_molecules(chemist, 3, impossible)
    drawn = [next(stream).counts.drawn for _ in range(10)]
    assert 0 < drawn[0] < drawn[1] < drawn[9] < 1000
    with pytest.raises(WishImpossible):
        list(stream)


def test_wishes_are_fulfilled(chemist: Words) -> None:
    wishes = Wishes({"rings": (1, 9)}, read_substructure("c"))
    samples = sample_molecules(chemist, 3, MoleculeSampling(wishes=wishes))
    assert samples.smiles == ["c1ccccc1"] * 3
    assert samples.counts.unwanted == 3


def test_a_star_stands_for_any_atom() -> None:
    pattern = read_substructure("*c1ccccc1")
    assert Chem.MolFromSmiles("Cc1ccccc1").HasSubstructMatch(pattern)
    assert Chem.MolFromSmiles("Oc1ccccc1").HasSubstructMatch(pattern)
    assert not Chem.MolFromSmiles("c1ccccc1").HasSubstructMatch(pattern)


@pytest.mark.parametrize(
    "smarts",
    ["[c,n]1[c,n][c,n][c,n][c,n]1", "[#6]~[#7]", "C@C", "[C;H2]", "[CX4]", "[R]", "[NX3H2]", "[cr5]", "[D3]",
     "[$(C=O)]N", "a1aaaaa1", "[A]", "[!C]", "[C^2]", "cC(=O)N"],
)  # fmt: skip
def test_smarts_is_known_by_signs_that_only_it_has(smarts: str) -> None:
    assert read_substructure(smarts).GetNumAtoms()


@pytest.mark.parametrize(
    ("smiles", "position"),
    [("c1cccc1", 1), ("CC(C)(C)(C)C", 2), ("CC(", 3), ("C" * 600, None), ("C[C@H](C", 7), ("[Na+].C(", 8), ("", None)],
)
def test_bad_smiles_is_no_pattern(smiles: str, position: int | None) -> None:
    """As SMARTS the first two can be read, and no molecule has them."""
    with pytest.raises(NotAMolecule) as caught:
        read_substructure(smiles)
    assert caught.value.position == position


def test_what_cannot_be_had_is_given_up_with_a_reason(chemist: Words) -> None:
    with pytest.raises(WishImpossible, match=r"67% valid.*2 were found among 2; leave out unique"):
        sample_molecules(chemist, 3, MoleculeSampling(unique=True))
    with pytest.raises(WishImpossible, match="none was found"):
        sample_molecules(chemist, 1, MoleculeSampling(wishes=Wishes({"weight": (900.0, 901.0)})))


def test_the_wish_that_is_the_hardest_is_named(chemist: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ethanol and benzene in turns."""
    monkeypatch.setattr("genaisys.molecules.sampling._PATIENCE", 900)
    wishes = Wishes({"weight": (78.0, 79.0), "rings": (50, math.inf)}, read_substructure("C"))
    hardest = (
        r"the fewest fulfilled was rings 50\.\. \(0 of 500; 99\.9 % of the molecules of MOSES have 0 to 5\): loosen"
    )
    with pytest.raises(WishImpossible, match=hardest):
        sample_molecules(chemist, 1, MoleculeSampling(wishes=wishes))
    wishes = Wishes({"rings": (0, 1)}, read_substructure("N"))
    with pytest.raises(WishImpossible, match=r"fewest fulfilled was the substructure \(0 of 500\): loosen it$"):
        sample_molecules(chemist, 1, MoleculeSampling(wishes=wishes))


@pytest.mark.parametrize(
    ("text", "expected"), [("2..3", (2, 3)), ("-1.5..", (-1.5, math.inf)), ("..-0.5", (-math.inf, -0.5))]
)
def test_ranges(text: str, expected: tuple[float, float]) -> None:
    assert read_range(text, "logP") == expected
    assert written_range(*expected) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [(".5...9", (0.5, 0.9)), ("...9", (-math.inf, 0.9)), ("-.5:", (-0.5, math.inf)), ("..9", (-math.inf, 9))],
)
def test_numbers_may_begin_with_their_point(text: str, expected: tuple[float, float]) -> None:
    assert read_range(text, "logP") == expected


@pytest.mark.parametrize("text", ["", "..", "3", "a..b", "3..2", "nan..2"])
def test_ranges_without_meaning(text: str) -> None:
    with pytest.raises(WishImpossible, match="logP"):
        read_range(text, "logP")


def test_settings_without_meaning_and_missing_models() -> None:
    for settings in ({"temperature": 0.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 1.5}):
        with pytest.raises(CannotSample):
            MoleculeSampling(**settings)
    with pytest.raises(GeneratorMissing, match=r"smiles-gpt and smiles-gpt-conditional are shipped.*genaisys train"):
        load_generator("no-such-model")


def test_a_name_is_the_shipped_model_and_a_path_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shipped("smiles-gpt") is not None
    assert shipped("./smiles-gpt") is None
    with pytest.raises(GeneratorMissing, match="genaisys train smiles-gpt"):
        load_generator("./smiles-gpt")


def test_properties_of_aspirin() -> None:
    values = properties(Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O"))
    assert set(values) == set(PROPERTIES)
    assert values["weight"] == pytest.approx(180.16, abs=0.01)
    assert values["TPSA"] == pytest.approx(63.6, abs=0.01)
    assert values["logP"] == pytest.approx(1.31, abs=0.01)
    assert values["QED"] == pytest.approx(0.55, abs=0.01)
    assert values["rings"] == 1
    assert properties_of(["C", "C("])[1] is None


def test_files_hold_the_molecules(tmp_path: Path) -> None:
    smiles = ["CCO", "c1ccccc1"]
    for ending in (".smi", ".csv", ".sdf", ".svg", ".png"):
        write_molecules(smiles, tmp_path / f"some{ending}")
    assert (tmp_path / "some.smi").read_text() == "CCO\nc1ccccc1\n"
    rows = (tmp_path / "some.csv").read_text().splitlines()
    assert rows[0] == "smiles,logP,QED,SA,weight,TPSA,rings"
    assert [row.split(",")[0] for row in rows[1:]] == smiles
    with Chem.SDMolSupplier(str(tmp_path / "some.sdf")) as supplier:
        assert [Chem.MolToSmiles(mol) for mol in supplier] == smiles
    assert (tmp_path / "some.svg").read_bytes().lstrip().startswith(b"<?xml")
    assert (tmp_path / "some.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(CannotWrite, match=r"\.mol2"):
        write_molecules(smiles, tmp_path / "some.mol2")
    with pytest.raises(CannotWrite):
        draw_grid([], [])
