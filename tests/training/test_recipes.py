"""Recipes: what they make, and what is said of those that cannot be followed."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from genaisys.cli import app
from genaisys.models.transformer import TransformerLM
from genaisys.molecules.generators import shipped
from genaisys.molecules.parsing import canonical
from genaisys.training.fields import RecipeWrong, filled
from genaisys.training.finetuning.recipes import KINDS as FINE_TUNING_KINDS
from genaisys.training.finetuning.recipes import open_fine_tuning
from genaisys.training.recipe_files import COMMANDS, SHIPPED
from genaisys.training.recipes import KINDS, open_recipe
from genaisys.training.run_folder import RunDiffers
from genaisys.training.texts import TextData, training_and_held_out

LINES = [
    f"{who} {what} the {thing}" for who in "ABCDE" for what in ("sees", "eats", "likes") for thing in ("cat", "fig")
]

RECIPE: dict[str, Any] = {
    "kind": "language model",
    "data": {"files": ["lines.txt"], "document": "line", "licence": "CC0-1.0"},
    "tokenizer": {"kind": "character"},
    "model": {"preset": "teenygpt", "context_length": 32, "layers": 1, "width": 8, "heads": 2, "hidden": 16},
    "training": {"steps": 6, "batch_size": 4, "learning_rate": "1e-2", "evaluate_every": 3},
}


def written(folder: Path, recipe: object = RECIPE, name: str = "mine") -> str:
    (folder / "lines.txt").write_text("\n".join(LINES))
    file = folder / f"{name}.yaml"
    file.write_text(recipe if isinstance(recipe, str) else yaml.safe_dump(recipe))
    return str(file)


def changed(key: str, value: object) -> dict[str, Any]:
    """RECIPE with another value at ``part.name``; None removes it."""
    part, _, name = key.partition(".")
    recipe = {key: dict(value) if isinstance(value, dict) else value for key, value in RECIPE.items()}
    target = recipe[part] if name else recipe
    target[name or part] = value
    if value is None:
        del target[name or part]
    return recipe


def test_training_from_a_file_writes_a_model_with_its_card_curves_and_samples(tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = CliRunner().invoke(app, ["train", written(tmp_path), "--output", str(output), "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["held_out_texts"] == 3
    assert report["training_texts"] == 27
    model = TransformerLM.from_pretrained(output)
    assert model.tokenizer is not None
    x = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor([*model.tokenizer.encode(text), model.tokenizer.eos]) for text in held_out(tmp_path)],
        batch_first=True,
        padding_value=model.tokenizer.pad,
    )
    nats = -model.log_prob(x).sum().item()
    characters = sum(map(len, held_out(tmp_path)))
    assert report["nats_per_token"] == pytest.approx(nats / (characters + 3), rel=1e-5)
    assert report["bits_per_character"] == pytest.approx(nats / math.log(2) / characters, rel=1e-5)
    assert (output / "curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    samples = (output / "samples.md").read_text()
    assert samples.count("\n| 10 | ") == 2
    assert "Temperature 0.1" in samples
    card = (output / "README.md").read_text()
    assert card.startswith("---\n")
    assert "CC0-1.0" in card
    assert "genaisys train mine.yaml" in card
    assert f"{report['bits_per_character']:.4f}" in card


def held_out(folder: Path) -> list[str]:
    data = TextData(files=("lines.txt",), document="line")
    return training_and_held_out(data, folder)[1]


def test_the_same_recipe_goes_on_and_another_is_refused(tmp_path: Path) -> None:
    first = open_recipe(written(tmp_path)).run(tmp_path / "out")
    records: list[object] = []
    assert open_recipe(written(tmp_path)).run(tmp_path / "out", records.append) == first
    assert not records
    other = open_recipe(written(tmp_path, changed("model.width", 16)))
    with pytest.raises(RunDiffers, match=r"another recipe\.model\.width \(8 there, 16 here\)"):
        other.run(tmp_path / "out")
    (tmp_path / "more.txt").write_text("\n".join(f"{line}!" for line in LINES))
    recipe = written(tmp_path)
    (tmp_path / "lines.txt").write_text((tmp_path / "more.txt").read_text())
    with pytest.raises(RunDiffers, match="another data"):
        open_recipe(recipe).run(tmp_path / "out")


def test_long_files_are_packed_and_their_ends_held_out(tmp_path: Path) -> None:
    recipe = changed("data", {"files": ["lines.txt"], "held_out": 0.25}) | {
        "tokenizer": {"kind": "bpe", "vocabulary_size": 270}
    }
    report = open_recipe(written(tmp_path, recipe)).run(tmp_path / "out")
    text = "\n".join(LINES)
    learned, ends, _ = training_and_held_out(TextData(files=("lines.txt",), held_out=0.25), tmp_path)
    assert learned[0] + ends[0] == text
    assert report["held_out_characters"] == len(ends[0]) == round(len(text) / 4)


def test_what_is_held_out_is_learned_nowhere(tmp_path: Path) -> None:
    (tmp_path / "twice.txt").write_text("\n".join(["", *LINES, *LINES]))
    data = TextData(files=("twice.txt",), document="line", held_out=0.3)
    learned, held, rejects = training_and_held_out(data, tmp_path)
    assert sorted(learned + held) == sorted(LINES)
    assert (learned, held, rejects) == training_and_held_out(data, tmp_path)
    assert (
        held
        != training_and_held_out(TextData(files=("twice.txt",), document="line", held_out=0.3, seed=1), tmp_path)[1]
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("kind", "language-model", "kind is 'language-model': did you mean language model?"),
        ("kind", "os.system", "kind is 'os.system': it may be language model"),
        ("modle", {}, "nothing is called modle: did you mean model?"),
        ("data", None, "the recipe lacks data"),
        ("data.name", "headlines", "data needs either name"),
        ("data.files", ["absent.txt"], "absent.txt cannot be read: No such file"),
        ("data.files", "lines.txt", "data.files must be a list, and is 'lines.txt'"),
        ("data.held_out", 1.0, "data.held_out is 1.0"),
        ("data.randomised", 2, "data.randomised is a number of spellings of molecules"),
        ("tokenizer.kind", "letters", "tokenizer.kind is 'letters': it may be character, bpe"),
        ("tokenizer.vocabulary_size", 9, "nothing is called tokenizer.vocabulary_size"),
        ("model.preset", "lama", "model.preset is 'lama': did you mean llama?"),
        ("model.widht", 8, "nothing is called model.widht: did you mean width?"),
        ("model.context_length", None, "lacks model.context_length"),
        ("model.context_length", 0, "model.context_length is 0"),
        ("model.heads", 3, "model.width 8 is no multiple of model.heads 3"),
        ("model.dropout", 1.5, "model.dropout is 1.5"),
        ("model.vocabulary_size", 9, "nothing is called model.vocabulary_size"),
        ("training.steps", "many", "training.steps must be a whole number, and is 'many'"),
        ("training.steps", True, "training.steps must be a whole number, and is True"),
        ("training.steps", None, "lacks training.steps"),
        ("training.steps", -1, "steps is -1"),
        ("training.precision", "half", "training.precision is 'half': it may be float32, bfloat16"),
        ("training.betas", [0.9], "training.betas must be a list of 2"),
        ("training.weight_decay", math.nan, "training.weight_decay is nan: it must be a finite number"),
        ("model.causal_weight", "inf", "model.causal_weight is inf"),
        ("model.rotary_scaling", {"factor": 2.0}, "nothing is called model.rotary_scaling"),
        ("training.learning_rate", "fast", "training.learning_rate must be a number, and is 'fast'"),
    ],
)
def test_a_broken_recipe_is_one_plain_line_that_names_the_key(
    tmp_path: Path, key: str, value: object, message: str
) -> None:
    recipe = written(tmp_path, changed(key, value))
    result = CliRunner().invoke(app, ["train", recipe, "--output", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.startswith("genaisys: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("kind: [", "is not YAML"),
        ("!!python/object/apply:os.system [ls]", "is not YAML"),
        ("- 1", "must hold keys and values"),
        ("", "must hold keys and values"),
    ],
)
def test_a_file_that_is_no_recipe_is_a_plain_error(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(RecipeWrong, match=message):
        open_recipe(written(tmp_path, content))


def test_every_kind_has_its_command() -> None:
    assert {kind for kind, command in COMMANDS.items() if command == "train"} == set(KINDS)
    assert {kind for kind, command in COMMANDS.items() if command == "finetune"} == set(FINE_TUNING_KINDS)


@pytest.mark.parametrize("name", sorted(file.stem for file in SHIPPED.glob("*.yaml")))
def test_shipped_recipes_are_found_by_name_and_right(name: str) -> None:
    """Each by one of the two commands; the other one points to it."""
    command = COMMANDS[yaml.safe_load((SHIPPED / f"{name}.yaml").read_text())["kind"]]
    follow: dict[str, Any] = {"train": open_recipe, "finetune": open_fine_tuning}
    recipe = follow.pop(command)(name)
    assert recipe.name == name
    assert recipe.steps > 0
    for other in follow.values():
        with pytest.raises(RecipeWrong, match=f"follow it with genaisys {command} {name}"):
            other(name)


def test_a_recipe_for_the_other_command_is_a_plain_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", "json-answers"])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "is a recipe of the kind conversations: follow it with genaisys finetune json-answers" in result.stderr
    with pytest.raises(RecipeWrong, match=r"genaisys train .*mine\.yaml"):
        open_fine_tuning(written(tmp_path))


def test_a_name_that_is_nearly_right() -> None:
    with pytest.raises(RecipeWrong, match="did you mean teenygpt"):
        open_recipe("tenygpt")


def test_teenygpt_is_the_books() -> None:
    """Four blocks of 8 heads, 32 wide, with 4096 inside: 270,624 weights a block, about a million in all."""
    training = open_recipe("teenygpt").training
    config = training.config(vocabulary_size=356)
    assert (config.layers, config.heads, config.width, config.hidden) == (4, 8, 32, 4096)
    weights = sum(weight.numel() for weight in TransformerLM(config).blocks.parameters())
    assert weights == 4 * 270_624


def test_a_folder_of_texts_is_learned_from(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    (texts / "deep").mkdir(parents=True)
    (texts / "a.txt").write_text("\n".join(LINES[:15]))
    (texts / "deep" / "b.md").write_text("\n".join(LINES[15:]))
    (texts / "picture.png").write_bytes(b"\x89")
    learned, held, _ = training_and_held_out(TextData(files=("texts",), document="line"), tmp_path)
    assert sorted(learned + held) == sorted(LINES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeWrong, match=r"empty holds no \.txt or \.md files"):
        training_and_held_out(TextData(files=("empty",)), tmp_path)


def test_a_table_of_molecules_is_learned_from(tmp_path: Path) -> None:
    """Each once, in its canonical form; what is none is counted, and what is too long is left out, not cut."""
    chains = ["C" * n + "O" for n in range(1, 41)]
    rows = [f"{number},{smiles}" for number, smiles in enumerate(["OC", *chains, "C(C", "C1CC", "C2CC"])]
    (tmp_path / "some.csv").write_text("\n".join(["name,smiles", *rows]))
    data = {"files": ["some.csv"], "document": "molecule", "held_out": 0.25, "randomised": 3}
    recipe = changed("data", data) | {"tokenizer": {"kind": "smiles"}}
    learned, held, rejects = training_and_held_out(filled(TextData, data, "data"), tmp_path)
    assert rejects == {"a ring that is not closed": 2, "a branch that is not closed": 1}
    assert sorted({*map(canonical, learned)} | {*held}) == sorted(chains)
    assert (len(learned), len(held)) == (30 * 4, 10)
    assert not {*map(canonical, learned)} & {*held}
    report = open_recipe(written(tmp_path, recipe)).run(tmp_path / "out")
    assert report["rejected: a ring that is not closed"] == 2
    assert report["too_long"] == sum(len(smiles) > 30 for smiles in (*learned, *held))
    assert report["held_out_characters"] == sum(len(smiles) for smiles in held if len(smiles) <= 30)


def test_files_of_somebody_else_are_never_overwritten(tmp_path: Path) -> None:
    output = tmp_path / "project"
    output.mkdir()
    (output / "README.md").write_text("mine")
    with pytest.raises(RunDiffers, match=r"project holds README\.md, which no training has written"):
        open_recipe(written(tmp_path)).run(output)
    assert [path.name for path in output.iterdir()] == ["README.md"]
    assert (output / "README.md").read_text() == "mine"


@pytest.mark.parametrize("model", ["smiles-gpt", "smiles-gpt-conditional"])
def test_the_cards_of_shipped_models_hold_their_recipes(model: str) -> None:
    folder = shipped(model)
    assert folder is not None
    blocks = re.findall(r"```yaml\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    recipes = [(SHIPPED / f"{model}{which}.yaml").read_text() for which in ("", "-verdicts")]
    assert [*map(yaml.safe_load, blocks)] == [*map(yaml.safe_load, recipes)]
