"""A model learns to write what it is told: the texts it learns from, and that it then obeys."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from rdkit import Chem
from transformers import AutoModelForCausalLM, AutoTokenizer

from genaisys.models.transformer import TransformerLM, gpt, llama
from genaisys.molecules.annotations import annotated
from genaisys.molecules.conditions import condition_tokens, conditions_of
from genaisys.molecules.properties import PROPERTIES
from genaisys.molecules.sampling import MoleculeSampling, raw_smiles
from genaisys.molecules.wishes import Wishes
from genaisys.tokenizers import Tokenizer, smiles_tokenizer
from genaisys.training.conditional_molecules import conditioned
from genaisys.training.fields import RecipeWrong, filled
from genaisys.training.recipes import open_recipe
from genaisys.training.texts import TextData, training_and_held_out

CHAINS = ["C" * n + "O" for n in range(1, 17)]
RINGS = ["Cc1ccc(-c2ccncc2)cc1", "CC1CCCCC1", "CCO"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genaisys.molecules.annotations.parts_folder", lambda: tmp_path / "cache" / "parts")


def start(folder: Path, preset: Any = llama) -> None:
    """A model of molecules that has learned nothing."""
    torch.manual_seed(0)
    tokenizer = smiles_tokenizer(CHAINS)
    special = {"pad": tokenizer.pad, "bos": tokenizer.bos, "ends": (tokenizer.eos,)}
    model = TransformerLM(preset(tokenizer.vocabulary_size, 20, layers=1, width=32, heads=2, **special), tokenizer)
    model.save_pretrained(folder / "start")


def written(folder: Path, molecules: list[str], /, **changes: Any) -> str:
    (folder / "some.smi").write_text("\n".join([*molecules, "C(C", "C1CC"]))
    content: dict[str, Any] = {
        "kind": "conditional molecules",
        "data": {"files": ["some.smi"], "document": "molecule", "held_out": 0.1},
        "model": {"start": str(folder / "start"), "context_length": 26},
        "conditions": ["weight", "logP"],
        "training": {"steps": 4, "batch_size": 8, "learning_rate": 0.01, "evaluate_every": 200},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(content | changes))
    return str(folder / "mine.yaml")


def test_any_subset_is_told_in_order_and_is_true_of_the_molecule() -> None:
    known = annotated(RINGS)
    values = {name: np.linspace(*reach, 1000) for name, reach in (("QED", (0, 1)), ("weight", (0, 300)))}
    plain = smiles_tokenizer(RINGS)
    plain.backend.add_special_tokens(condition_tokens(values))
    tokenizer = Tokenizer(plain.backend, plain.special_tokens)
    conditions = conditions_of(tokenizer)
    assert conditions is not None
    n = 3000
    told, number_of = Counter[tuple[str, ...]](), Counter[tuple[int, int]]()
    rows = conditioned(tokenizer, conditions, [[smiles] * n for smiles in RINGS], known, np.random.default_rng(0))
    for place, row in enumerate(rows):
        number, smiles = place // n, RINGS[place // n]
        text = tokenizer.decode(row, skip_special_tokens=False)
        prefix, _, molecule = text.partition("<molecule>")
        assert molecule == smiles
        parts = re.findall(r"<(\w+)(?: ([\d.]+))?>", prefix)
        names = tuple(name for name, _ in parts)
        assert [*names] == [name for name in ("QED", "weight", "scaffold") if name in names]
        for name, value in parts:
            if name in PROPERTIES:
                step = conditions.bins[name].step
                assert abs(float(value) - known.property(name)[number]) <= 0.501 * step
        if "scaffold" in names:
            assert prefix.rpartition("<scaffold>")[2] in known.scaffolds[number]
        told[smiles, names] += 1  # type: ignore[index]
        number_of[number, len(names)] += 1
    for number, most in ((0, 3), (1, 3), (2, 2)):  # the last has no ring
        for k in range(most + 1):
            assert number_of[number, k] / n == pytest.approx(1 / (most + 1), abs=0.04)
    assert len(told) == 8 + 8 + 4


def test_a_model_obeys_what_it_has_learned_to_be_told(tmp_path: Path) -> None:
    """Fifteen halides and amines, each of another weight: told one, the model writes the molecule that has it."""
    start(tmp_path)
    smiles = ["C" * n + end for n in (1, 2, 3) for end in ("F", "Cl", "Br", "I", "N")]
    training = {"steps": 300, "batch_size": 32, "learning_rate": 0.01, "evaluate_every": 300}
    data = {"files": ["some.smi"], "document": "molecule", "held_out": 0.07}
    report = open_recipe(written(tmp_path, smiles, data=data, training=training)).run(tmp_path / "out")
    assert (report["training_texts"], report["held_out_texts"]) == (14, 1)
    model = TransformerLM.from_pretrained(tmp_path / "out")
    learned = training_and_held_out(filled(TextData, data, "data"), tmp_path).learned
    right, n = 0, 20
    for each in learned[:5]:
        wishes = Wishes(values={"weight": PROPERTIES["weight"](Chem.MolFromSmiles(each))})
        right += sum(text == each for text in raw_smiles(model, n, MoleculeSampling(wishes=wishes)))
    assert right > 0.8 * 5 * n


def test_what_comes_out_is_an_ordinary_checkpoint(tmp_path: Path) -> None:
    start(tmp_path)
    prepared: list[dict[str, Any]] = []
    report = open_recipe(written(tmp_path, CHAINS)).run(tmp_path / "out", prepared.append)
    assert report["rejected: a branch that is not closed"] == 1
    assert report["rejected: a ring that is not closed"] == 1
    assert any("properties of molecules" in record.get("preparing", "") for record in prepared)
    ours = TransformerLM.from_pretrained(tmp_path / "out")
    assert ours.config.context_length == 26
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert ours.tokenizer is not None
    text = "<scaffold>C1CC1<molecule>CCO"
    tokens = ours.tokenizer.encode_with_special_tokens(text)
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == tokens
    assert len(tokens) == 10
    with torch.no_grad():
        torch.testing.assert_close(theirs(torch.tensor([tokens])).logits, ours(torch.tensor([tokens])))
    card = (tmp_path / "out" / "README.md").read_text()
    assert "from the weights of" in card
    assert "\\<weight" in (tmp_path / "out" / "samples.md").read_text()  # what it tells itself is shown


def test_near_values_begin_near_and_what_was_learned_stays(tmp_path: Path) -> None:
    start(tmp_path)
    untrained = {"steps": 1, "batch_size": 8, "learning_rate": 1e-12}
    open_recipe(written(tmp_path, CHAINS, training=untrained)).run(tmp_path / "out")
    before, after = (TransformerLM.from_pretrained(tmp_path / name) for name in ("start", "out"))
    torch.testing.assert_close(after.embedding.weight[: before.config.vocabulary_size], before.embedding.weight)
    assert after.tokenizer is not None
    conditions = conditions_of(after.tokenizer)
    assert conditions is not None
    for bins in conditions.bins.values():
        embeddings = after.embedding.weight[bins.tokens].detach()  # [B, width]
        apart = torch.cdist(embeddings, embeddings)  # [B, B]
        one, two, many = (float(apart.diagonal(offset).mean()) for offset in (1, 2, len(bins.values) // 2))
        assert 1.5 * one < two < 2.1 * one  # a smooth curve is nearly straight from one value to the next
        assert many > 4 * one


def test_molecules_that_do_not_fit_are_left_out_and_not_cut(tmp_path: Path) -> None:
    start(tmp_path)
    model = {"start": str(tmp_path / "start"), "context_length": 12}
    data = {"files": ["some.smi"], "document": "molecule", "held_out": 0.4}
    training = {"steps": 1, "batch_size": 8, "learning_rate": 0.01}
    report = open_recipe(written(tmp_path, CHAINS, model=model, data=data, training=training)).run(tmp_path / "out")
    assert 8 <= report["too_long"] <= 10  # whether seven or eight carbons have room depends on what is told


def test_a_conditional_model_goes_on_with_its_own_conditions(tmp_path: Path) -> None:
    start(tmp_path)
    open_recipe(written(tmp_path, CHAINS)).run(tmp_path / "out")
    model = {"start": str(tmp_path / "out"), "context_length": 30}
    report = open_recipe(written(tmp_path, CHAINS[:8], model=model)).run(tmp_path / "again")
    first, again = (TransformerLM.from_pretrained(tmp_path / name) for name in ("out", "again"))
    assert first.config.vocabulary_size == again.config.vocabulary_size
    assert report["weights"] == sum(weight.numel() for weight in first.parameters())
    with pytest.raises(RecipeWrong, match="has learned weight, logP"):
        open_recipe(written(tmp_path, CHAINS, model=model, conditions=["QED"])).run(tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conditions": ["colour"]}, "they may be logP, QED"),
        ({"conditions": []}, "they may be logP, QED"),
        ({"data": {"name": "headlines"}}, "no molecules"),
        ({"data": {"files": ["some.smi"], "document": "line"}}, "no molecules"),
        ({"data": {"name": "mosses"}}, "did you mean moses"),
        ({"model": {"start": "smiles-gpt"}}, "lacks model.context_length"),
        ({"modle": {}}, "did you mean model"),
    ],
)
def test_recipes_that_cannot_be_followed(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeWrong, match=message):
        open_recipe(written(tmp_path, CHAINS, **changes))


def test_learned_positions_have_an_end(tmp_path: Path) -> None:
    start(tmp_path, gpt)
    with pytest.raises(RecipeWrong, match="learned positions end at 20"):
        open_recipe(written(tmp_path, CHAINS)).run(tmp_path / "out")
