"""What a model can be told: its tokens, what they mean, and the prompts that come of wishes."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from typer.testing import CliRunner

from genaisys.cli import app
from genaisys.models.transformer import TransformerLM, llama
from genaisys.molecules import annotations as module
from genaisys.molecules.annotations import annotated, scaffolds_of
from genaisys.molecules.conditions import condition_tokens, conditions_of, opening
from genaisys.molecules.generators import generator_for, load_generator
from genaisys.molecules.parsing import NotAMolecule, canonical, parsed
from genaisys.molecules.prompts import prompts_for
from genaisys.molecules.properties import PROPERTIES
from genaisys.molecules.sampling import MoleculeSampling, raw_smiles, sample_molecules
from genaisys.molecules.spellings import with_random_spellings
from genaisys.molecules.wishes import Wishes, WishImpossible, read_substructure, read_wishes
from genaisys.tokenizers import Tokenizer, smiles_tokenizer
from genaisys.training.finetuning.added_tokens import add_special_tokens

SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "CCOC(=O)c1cncn1C1CCCc2ccccc21", "Cc1ccc(-c2cc(C(F)(F)F)nn2-c2ccccc2)cc1", "CCCO"]
QED = np.linspace(0.3, 0.9, 1001)
WEIGHT = np.linspace(250, 350, 1001)


@pytest.fixture
def model() -> TransformerLM:
    """One that has learned nothing, and can be told QED and weight."""
    torch.manual_seed(0)
    tokenizer = smiles_tokenizer(SMILES)
    special = {"pad": tokenizer.pad, "bos": tokenizer.bos, "ends": (tokenizer.eos,)}
    made = TransformerLM(llama(tokenizer.vocabulary_size, 40, layers=1, width=32, heads=2, **special), tokenizer)
    add_special_tokens(made, condition_tokens({"QED": QED, "weight": WEIGHT}))
    with torch.no_grad():
        made.embedding.weight.normal_(std=0.5)
    return made.eval()


def shown(model: TransformerLM, prompts: torch.Tensor) -> list[str]:
    assert model.tokenizer is not None
    return [model.tokenizer.decode(row, skip_special_tokens=False) for row in prompts.tolist()]


def prompted(model: TransformerLM, wishes: Wishes, n: int = 1) -> torch.Tensor:
    assert model.tokenizer is not None
    return prompts_for(model, model.tokenizer, wishes, n, torch.Generator().manual_seed(0))


# -- tokens


def test_tokens_say_what_they_mean(model: TransformerLM, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    conditions = conditions_of(Tokenizer.from_pretrained(tmp_path))
    assert conditions is not None
    assert list(conditions.bins) == ["QED", "weight"]
    qed, weight = conditions.bins.values()
    assert (qed.step, weight.step) == (pytest.approx(0.01), pytest.approx(2))
    assert (qed.values[0], qed.values[-1]) == (pytest.approx(0.3), pytest.approx(0.9))
    assert conditions_of(smiles_tokenizer(SMILES)) is None
    assert opening(model) == [model.config.bos, conditions.molecule]


@settings(deadline=None, max_examples=30)
@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4), st.integers(0, 2**31))
def test_every_value_has_a_near_token(low: float, reach: float, seed: int) -> None:
    values = low + reach * np.random.default_rng(seed).random(200)
    tokenizer = smiles_tokenizer([])
    tokens = condition_tokens({"logP": values})
    tokenizer.backend.add_special_tokens(tokens)
    conditions = conditions_of(Tokenizer(tokenizer.backend, tokenizer.special_tokens))
    assert conditions is not None
    bins = conditions.bins["logP"]
    assert 2 <= len(bins.values) == len(tokens) - 2 <= 66
    assert np.allclose(np.diff(bins.values), bins.step)
    inside = np.clip(values, *np.quantile(values, [0.001, 0.999]))
    value_of = dict(zip(bins.tokens.tolist(), bins.values.tolist(), strict=True))
    found = np.array([value_of[token] for token in bins.nearest(inside).tolist()])
    assert (np.abs(found - inside) <= bins.step * 0.501).all()


def test_molecules_cannot_speak_control_tokens(model: TransformerLM) -> None:
    assert model.tokenizer is not None
    for text in ("<QED 0.85>CC", "<molecule>", "<scaffold>c1ccccc1"):
        assert not model.tokenizer.special_ids.intersection(model.tokenizer.encode(text))
        assert model.tokenizer.decode(model.tokenizer.encode(text)) == text


# -- what is known of molecules


def test_scaffolds_are_substructures_and_the_first_is_the_whole() -> None:
    for smiles in SMILES:
        mol = Chem.MolFromSmiles(smiles)
        for scaffold in scaffolds_of(mol):
            assert canonical(scaffold) == scaffold
            assert mol.HasSubstructMatch(Chem.MolFromSmiles(scaffold))
    whole, *parts = scaffolds_of(Chem.MolFromSmiles(SMILES[2]))
    assert whole == "c1ccc(-c2ccnn2-c2ccccc2)cc1"
    assert {*parts} == {"c1ccccc1", *map(canonical, ("c1ccccc1-c1ccn[nH]1", "c1ccccc1-n1cccn1"))}
    assert scaffolds_of(Chem.MolFromSmiles("CCCO")) == ()


def test_annotations_are_computed_once_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "parts_folder", lambda: tmp_path / "parts")
    monkeypatch.setattr(module, "_PART", 3)
    done: list[int] = []
    first = annotated(SMILES, done.append)
    assert done[-1] == len(SMILES)
    monkeypatch.setattr(module, "for_each", lambda *arguments: pytest.fail("computed twice"))
    again = annotated(SMILES)
    assert (again.properties == first.properties).all()
    assert again.scaffolds == first.scaffolds == [scaffolds_of(Chem.MolFromSmiles(smiles)) for smiles in SMILES]
    for name, function in PROPERTIES.items():
        expected = [function(Chem.MolFromSmiles(smiles)) for smiles in SMILES]
        np.testing.assert_allclose(first.property(name), expected, rtol=1e-6)
    assert annotated([]).property("QED").shape == (0,)


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"", lambda content:
                                    content[:300] + bytes([content[300] ^ 255]) + content[301:]])  # fmt: skip
def test_damaged_annotations_are_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(module, "parts_folder", lambda: tmp_path / "parts")
    first = annotated(SMILES)
    (file,) = (tmp_path / "datasets" / "annotations").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    again = annotated(SMILES)
    assert (again.properties == first.properties).all()
    assert again.scaffolds == first.scaffolds


def test_annotations_of_what_is_no_molecule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "parts_folder", lambda: tmp_path / "parts")
    with pytest.raises(NotAMolecule):
        annotated(["CCO", "C(("])
    assert not list(tmp_path.rglob("*.npz"))


def test_random_spellings_are_of_the_same_molecule() -> None:
    spelled = with_random_spellings(SMILES, 5, seed=1)
    assert [spellings[0] for spellings in spelled] == SMILES
    for smiles, spellings in zip(SMILES, spelled, strict=True):
        assert len(spellings) == 6
        assert {canonical(spelling) for spelling in spellings} == {canonical(smiles)}
    assert len({*spelled[1]}) > 3
    assert spelled == with_random_spellings(SMILES, 5, seed=1) != with_random_spellings(SMILES, 5, seed=2)


# -- prompts


def test_values_are_told_in_the_order_of_the_language(model: TransformerLM) -> None:
    wishes = Wishes(values={"weight": 301.2, "QED": 0.553}, substructure=Chem.MolFromSmiles("Cc1ccccc1"))
    assert shown(model, prompted(model, wishes)) == ["<|bos|><QED 0.55><weight 302><scaffold>c1ccccc1<molecule>"]
    assert shown(model, prompted(model, Wishes())) == ["<|bos|><molecule>"]


def test_of_a_range_values_are_drawn_as_the_model_finds_them(model: TransformerLM) -> None:
    """``p(weight) p(QED | weight)``, each among the tokens within its range."""
    n = 20_000
    assert model.tokenizer is not None
    drawn = Counter(shown(model, prompted(model, Wishes({"QED": (0.406, 0.42), "weight": (345.5, 1e9)}), n)))
    number = model.tokenizer.backend.token_to_id
    qeds, weights = ("<QED 0.40>", "<QED 0.41>", "<QED 0.42>"), ("<weight 346>", "<weight 348>", "<weight 350>")
    bos, total = model.config.bos, 0
    first = model(torch.tensor([[bos]]))[0, -1][[number(qed) for qed in qeds[1:]]].softmax(-1)
    for qed, p_qed in zip(qeds[1:], first.tolist(), strict=True):
        logits = model(torch.tensor([[bos, number(qed)]]))[0, -1]
        for weight, p in zip(weights, logits[[number(weight) for weight in weights]].softmax(-1).tolist(), strict=True):
            count, p = drawn[f"<|bos|>{qed}{weight}<molecule>"], p_qed * p
            assert count / n == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5)
            total += count
    assert total == n


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"QED": "0.99"}, r"99.8 % of the molecules that the model has learned have 0.295 to 0.905; .* 0\.99\.\."),
        ({"weight": "200"}, r"have 249 to 351; .* such as \.\.200"),
        ({"TPSA": "60"}, "can be told QED, weight; give a range for TPSA"),
    ],
)
def test_values_beyond_reach_say_what_is_within(model: TransformerLM, wishes: dict[str, str], message: str) -> None:
    with pytest.raises(WishImpossible, match=message):
        prompted(model, read_wishes(wishes, None))


def test_of_a_range_beyond_all_tokens_the_nearest_is_told(model: TransformerLM) -> None:
    """The bins end where 0.1 % of what was learned begin: such molecules exist."""
    for wishes, told in (
        ({"QED": "0.95.."}, "<QED 0.90>"),
        ({"QED": "0.91..0.93"}, "<QED 0.90>"),
        ({"QED": "..0.2", "weight": "351.5..360"}, "<QED 0.30><weight 350>"),
    ):
        assert shown(model, prompted(model, read_wishes(wishes, None))) == [f"<|bos|>{told}<molecule>"]


def test_what_cannot_be_told_is_left_to_rejection(model: TransformerLM) -> None:
    for wishes in (
        Wishes({"TPSA": (0, 60)}),
        Wishes(substructure=read_substructure("C=O")),  # no ring
        Wishes(substructure=read_substructure("[c,n]1[c,n][c,n][c,n][c,n]1")),  # patterns, not molecules
        Wishes(substructure=read_substructure("C1~C~C~C~C1")),
    ):
        assert shown(model, prompted(model, wishes)) == ["<|bos|><molecule>"]
    with pytest.raises(WishImpossible, match="too long"):
        prompted(model, Wishes(substructure=Chem.MolFromSmiles("c1ccccc1-" * 6 + "c1ccccc1")))


def test_a_model_without_conditions_cannot_be_told_a_value() -> None:
    tokenizer = smiles_tokenizer(SMILES)
    special = {"pad": tokenizer.pad, "bos": tokenizer.bos, "ends": (tokenizer.eos,)}
    plain = TransformerLM(llama(tokenizer.vocabulary_size, 20, layers=1, width=16, heads=2, **special), tokenizer)
    assert prompted(plain, Wishes({"QED": (0.5, 0.6)})).tolist() == [[tokenizer.bos]]
    assert opening(plain) == [tokenizer.bos]
    with pytest.raises(WishImpossible, match=r"cannot be told a value.*0\.5\.\.; smiles-gpt-conditional can"):
        prompted(plain, Wishes(values={"QED": 0.5}))


def test_wishes_as_people_write_them() -> None:
    wishes = read_wishes({"QED": " 0.8 ", "logP": "-1..2", "SA": "-3", "weight": ".9"}, "c1ccccc1")
    assert wishes.values == {"QED": 0.8, "SA": -3, "weight": 0.9}
    assert wishes.ranges == {"logP": (-1, 2)}
    assert wishes
    assert not read_wishes({}, None)
    with pytest.raises(WishImpossible, match="QED is 'high': write a number, or a range"):
        read_wishes({"QED": "high"}, None)


def test_what_was_told_is_still_looked_at(model: TransformerLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """A range and a scaffold are told, and what does not have them is thrown away; a value is told, and no more."""
    told = []

    def in_turns(model: TransformerLM, prompts: torch.Tensor, n: int, **settings: object) -> list[list[int]]:
        told.append(shown(model, prompts)[0])
        return [model.tokenizer.encode(SMILES[number % 4]) for number in range(n)]  # type: ignore[union-attr]

    monkeypatch.setattr("genaisys.molecules.sampling.sample_many", in_turns)
    wishes = Wishes({"weight": (300, 310)}, Chem.MolFromSmiles("c1ccccc1"), {"QED": 0.4})
    samples = sample_molecules(model, 2, MoleculeSampling(wishes=wishes))
    assert samples.smiles == [canonical(SMILES[2])] * 2
    assert samples.counts.unwanted == 5
    assert told[0].startswith("<|bos|><QED 0.40><weight 30")
    assert told[0].endswith("><scaffold>c1ccccc1<molecule>")


def test_the_shipped_model_is_near_to_what_it_is_told() -> None:
    wishes = Wishes(values={"weight": 300, "QED": 0.7}, substructure=Chem.MolFromSmiles("c1ccc2[nH]ccc2c1"))
    assert generator_for(Wishes()) == "smiles-gpt"
    model = load_generator(generator_for(wishes))
    samples = sample_molecules(model, 50, MoleculeSampling(wishes=wishes))
    untold = list(raw_smiles(load_generator("smiles-gpt"), 1000, MoleculeSampling()))
    by_chance = sum(wishes.fulfilled(mol) for mol in map(parsed, untold) if mol is not None) / len(untold)
    assert samples.counts.kept / samples.counts.drawn > 10 * by_chance > 0  # hold an indole
    mols = [Chem.MolFromSmiles(smiles) for smiles in samples.smiles]
    for name, value, near in (("weight", 300, 10), ("QED", 0.7, 0.1)):
        assert np.median([abs(PROPERTIES[name](mol) - value) for mol in mols]) < near


def test_the_command_tells_the_model(model: TransformerLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model.save_pretrained(tmp_path)
    monkeypatch.setattr(
        "genaisys.molecules.sampling.sample_many",
        lambda model, prompts, n, **settings: [model.tokenizer.encode("CCCO") for _ in prompts.expand(n, -1)],
    )
    command = ["molecules", "sample", "-n", "2", "--model", str(tmp_path)]
    done = CliRunner().invoke(app, [*command, "--qed", "0.6", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["smiles"] == ["CCCO", "CCCO"]
    done = CliRunner().invoke(app, [*command, "--qed", "1.5"])
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "out of reach" in done.stderr
