"""`genaisys finetune`: from a recipe to an adapter and a model."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_chat
import torch
import yaml
from peft import PeftModel
from tiny_chat import messages, write_lines
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from genaisys.cli import app
from genaisys.hub import PartMissing
from genaisys.models.text_classifier import TextClassifier
from genaisys.models.transformer import TransformerLM
from genaisys.molecules.conditions import condition_tokens, opening
from genaisys.training.fields import RecipeWrong
from genaisys.training.finetuning.added_tokens import add_special_tokens
from genaisys.training.finetuning.data import Data
from genaisys.training.finetuning.examples import ExamplesBroken, conversation, labelled, preference, read_examples
from genaisys.training.finetuning.recipes import open_fine_tuning
from genaisys.training.metrics import read_metrics
from genaisys.training.recipe_files import SHIPPED
from genaisys.training.run_folder import RunDiffers
from genaisys.training.settings import SettingsWrong
from genaisys.training.texts import TextData, training_and_held_out

CHATS = [messages(turns) for turns in (["hi", "ho"], ["a", "bcd", "e", "f"], ["what", "no"], ["x", "yz"], ["by", "so"])]
PAIRS = [{"prompt": f"{n} ", "chosen": "short", "rejected": "rather longer"} for n in range(5)]
TEXTS = [{"text": f"{n} is {label}", "label": label} for n, label in enumerate(["odd", "even"] * 5)]
TRAINING = {"steps": 4, "batch_size": 2, "learning_rate": 0.01, "evaluate_every": 2}


def recipe(folder: Path, kind: str, lines: list[Any], /, **changes: Any) -> str:
    """A recipe, its data and its base; gives the file's name."""
    tiny_chat.model().save_pretrained(folder / "base")
    write_lines(folder / "data.jsonl", lines)
    content = {"kind": kind, "model": str(folder / "base"), "training": TRAINING, "lora": {"rank": 2}}
    content["data"] = {"files": ["data.jsonl"], "held_out": 0.2, "max_length": 60}
    (folder / "mine.yaml").write_text(yaml.safe_dump(content | changes))
    return str(folder / "mine.yaml")


@torch.no_grad()
def logits(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    found = model.eval()(tokens)
    return found if isinstance(found, torch.Tensor) else found.logits


def test_conversations(tmp_path: Path) -> None:
    output = tmp_path / "out"
    report = open_fine_tuning(recipe(tmp_path, "conversations", CHATS)).run(output)
    assert (report["conversations"], report["held_out_conversations"], report["steps"]) == (4, 1, 4)
    assert 0 < report["trained_share"] == report["trained_weights"] / report["weights"] < 0.1
    assert report["held_out_loss"] < report["held_out_loss_before"]
    tokens = torch.tensor([[1, 40, 50, 60, 70, 2, 80]])
    merged = logits(TransformerLM.from_pretrained(output / "model"), tokens)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    torch.testing.assert_close(logits(PeftModel.from_pretrained(base, output / "adapter"), tokens), merged)
    assert sorted(json.loads((output / "adapter" / "adapter_config.json").read_text())["target_modules"]) == [
        "k_proj", "o_proj", "q_proj", "v_proj",
    ]  # fmt: skip
    assert (output / "curves.png").read_bytes().startswith(b"\x89PNG")
    for folder, library in (("adapter", "peft"), ("model", "transformers")):
        card = (output / folder / "README.md").read_text()
        assert card.startswith(f"---\nlibrary_name: {library}\n")
        assert "genaisys finetune mine.yaml" in card
        assert "`data.jsonl`: 4 conversations, 1 held out conversations, 0 shortened, 0 skipped" in card
        assert f"| NLL, nats a token | {report['held_out_loss_before']:.4f} | {report['held_out_loss']:.4f} |" in card
    assert [record["step"] for record in read_metrics(output / "metrics.jsonl") if "held_out" not in record] == [
        1,
        2,
        3,
        4,
    ]


def test_all_weights(tmp_path: Path) -> None:
    report = open_fine_tuning(recipe(tmp_path, "conversations", CHATS, lora=None)).run(tmp_path / "out")
    assert report["trained_share"] == 1
    assert not (tmp_path / "out" / "adapter").exists()
    trained = TransformerLM.from_pretrained(tmp_path / "out" / "model")
    assert not torch.equal(trained.embedding.weight, tiny_chat.model().embedding.weight)


def test_added_tokens(tmp_path: Path) -> None:
    lines = [messages([word, "<json>1"]) for word in ("hi", "ho", "hm", "ha", "hu")]
    for lora in (None, {"rank": 2}):
        output = tmp_path / f"{lora}"
        file = recipe(tmp_path, "conversations", lines, added_tokens=["<json>"], lora=lora)
        report = open_fine_tuning(file).run(output)
        assert report["held_out_loss"] < report["held_out_loss_before"]
        model = TransformerLM.from_pretrained(output / "model")
        assert model.tokenizer is not None
        assert len(model.tokenizer.encode("<json>")) == 1
        assert model.config.vocabulary_size == tiny_chat.model().config.vocabulary_size + 1


def test_preferences(tmp_path: Path) -> None:
    report = open_fine_tuning(recipe(tmp_path, "preferences", PAIRS)).run(tmp_path / "out")
    assert math.isclose(report["held_out_loss_before"], math.log(2), rel_tol=1e-6)
    assert report["held_out_loss"] < math.log(2)
    assert report["held_out_accuracy"] == 1
    assert report["held_out_margin"] > 0 == report["held_out_margin_before"]


def test_labels(tmp_path: Path) -> None:
    report = open_fine_tuning(recipe(tmp_path, "labels", TEXTS)).run(tmp_path / "out")
    assert math.isclose(report["held_out_loss_before"], math.log(2), rel_tol=1e-6)
    assert (report["classes"], report["texts"], report["held_out_texts"]) == (2, 8, 2)
    assert 0 <= report["held_out_accuracy"] <= 1
    assert TextClassifier.from_pretrained(tmp_path / "out" / "model").labels == ("even", "odd")
    assert (tmp_path / "out" / "model" / "README.md").read_text().startswith("---\nlibrary_name: genaisys\n")


def test_texts(tmp_path: Path) -> None:
    """Lines, by an adapter and with rows of tokens that were there and that were not."""
    lines = [f"line {n} ends;" for n in range(20)]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    data = {"files": ["lines.txt"], "document": "line", "held_out": 0.2}
    file = recipe(tmp_path, "texts", [], data=data, added_tokens=["ends", ";"], context_length=80)
    report = open_fine_tuning(file).run(tmp_path / "out")
    assert (report["training_texts"], report["held_out_texts"]) == (16, 4)
    assert report["held_out_loss"] < report["held_out_loss_before"]
    trained, before = TransformerLM.from_pretrained(tmp_path / "out" / "model"), tiny_chat.model()
    assert trained.config.context_length == 80
    assert trained.tokenizer is not None
    assert len(trained.tokenizer.encode("ends")) == 1
    changed = (trained.embedding.weight[:-1] != before.embedding.weight).any(1).nonzero()[:, 0].tolist()
    assert changed == trained.tokenizer.encode(";")
    assert (
        "`lines.txt` (licence: not stated): 16 training texts, 4 held out texts."
        in (tmp_path / "out" / "model" / "README.md").read_text()
    )


def test_texts_are_learned_with_their_ends_and_not_with_what_they_begin_with(tmp_path: Path) -> None:
    """The loss before is the model's own ``-log p`` a token, exact for molecules behind ``<molecule>`` too."""
    smiles = ["CCO", "CCN", "c1ccccc1", "CC(=O)O", "C" * 70]
    (tmp_path / "some.smi").write_text("\n".join([*smiles, "C(C"]))
    model = tiny_chat.model()
    add_special_tokens(model, condition_tokens({"weight": np.linspace(0, 200, 50)}))
    model.save_pretrained(tmp_path / "told")
    data = {"files": ["some.smi"], "document": "molecule", "held_out": 0.4}
    file = recipe(tmp_path, "texts", [], data=data, model=str(tmp_path / "told"), lora=None)
    report = open_fine_tuning(file).run(tmp_path / "out")
    assert (report["too_long"], report["rejected: a branch that is not closed"]) == (1, 1)
    held_out = training_and_held_out(TextData(files=("some.smi",), document="molecule", held_out=0.4), tmp_path)[1]
    total = count = 0.0
    assert model.tokenizer is not None
    for text in held_out:
        if len(text) < 62:
            tokens = [*opening(model), *model.tokenizer.encode(text), model.tokenizer.eos]
            log_p = logits(model, torch.tensor([tokens])).log_softmax(-1)[0]
            total -= sum(log_p[at - 1, tokens[at]].item() for at in range(2, len(tokens)))
            count += len(tokens) - 2
    assert report["held_out_loss_before"] == pytest.approx(total / count, rel=1e-5)


def test_a_training_goes_on_where_it_was(tmp_path: Path) -> None:
    """Four steps, or two and then two more from the checkpoint: the same adapter, bit for bit."""
    file = recipe(tmp_path, "conversations", CHATS)
    whole = open_fine_tuning(file).run(tmp_path / "whole")
    open_fine_tuning(file).run(tmp_path / "parts")
    for step in (tmp_path / "parts" / "checkpoints").glob("step-*4"):
        for part in step.iterdir():
            part.unlink()
        step.rmdir()
    again = open_fine_tuning(file).run(tmp_path / "parts")
    assert {**again, "output": ""} == {**whole, "output": ""}
    adapters = [(tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert adapters[0] == adapters[1]


def test_other_data_is_another_training(tmp_path: Path) -> None:
    file = recipe(tmp_path, "conversations", CHATS)
    open_fine_tuning(file).run(tmp_path / "out")
    write_lines(tmp_path / "data.jsonl", [messages(["hi", "hu"]), *CHATS[1:]])
    with pytest.raises(RunDiffers, match="data"):
        open_fine_tuning(file).run(tmp_path / "out")


def test_equal_examples_are_all_learned_or_all_held_out(tmp_path: Path) -> None:
    """Whatever the order of their keys; and none gets lost."""
    lines = [{"text": f"{n % 7}", "label": "even" if n % 2 else "odd"} for n in range(28)]
    chats = [
        messages(["hi", "ho"]),
        {"messages": [dict(reversed(it.items())) for it in messages(["hi", "ho"])["messages"]]},
    ]
    write_lines(tmp_path / "texts.jsonl", lines)
    write_lines(tmp_path / "chats.jsonl", [*chats, *CHATS])
    for seed in range(10):
        learned, held_out = Data(("texts.jsonl",), held_out=0.3, seed=seed).read(labelled, tmp_path)
        assert len(learned) + len(held_out) == 28
        assert len(set(held_out)) == 4
        assert not set(learned) & set(held_out)
        talks, kept = Data(("chats.jsonl",), held_out=0.4, seed=seed).read(conversation, tmp_path)
        assert not [talk for talk in talks if talk in kept]
        assert len(talks) + len(kept) == 7


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "conversation"}, "did you mean conversations?"),
        ({"lorra": {}}, "nothing is called lorra: did you mean lora?"),
        ({"lora": {"rnak": 8}}, "nothing is called lora.rnak: did you mean rank?"),
        ({"lora": {"targets": ["qeury"]}}, "they may be query"),
        ({"data": {"files": []}}, "data needs either files or name"),
        ({"data": {"files": ["a.jsonl"], "name": "bbc-topics"}}, "data needs either files or name"),
        ({"data": {"name": "bbc-topic"}}, "did you mean bbc-topics?"),
        ({"data": {"files": ["a.jsonl"], "held_out": 1}}, "data.held_out"),
        ({"data": {"files": ["a.jsonl"], "max_length": 1}}, "data.max_length"),
        ({"kind": "preferences", "lora": None}, "preferences need lora"),
        ({"kind": "preferences", "beta": 0}, "beta is 0"),
        ({"kind": "texts", "data": {"files": ["a.txt"], "name": "drugs"}}, "data needs either name"),
        ({"kind": "texts", "data": {"name": "drug"}}, "did you mean drugs?"),
    ],
)
def test_recipes_that_cannot_be_followed(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    file = recipe(tmp_path, "conversations", CHATS, **changes)
    with pytest.raises((RecipeWrong, SettingsWrong)) as error:
        open_fine_tuning(file)
    assert reason in str(error.value)


def test_a_base_that_another_recipe_has_yet_to_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PartMissing, match=r"^json-answers/model is not on this machine.*follow that one first"):
        open_fine_tuning("short-answers").run(tmp_path / "out")


def test_broken_lines_stop_it_before_it_begins(tmp_path: Path) -> None:
    file = recipe(tmp_path, "conversations", [*CHATS, {"messages": []}])
    with pytest.raises(ExamplesBroken, match="line 6 "):
        open_fine_tuning(file).run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_data_that_is_too_little_or_too_long(tmp_path: Path) -> None:
    with pytest.raises(RecipeWrong, match="too few"):
        open_fine_tuning(recipe(tmp_path, "conversations", CHATS[:1])).run(tmp_path / "out")
    data = {"files": ["data.jsonl"], "held_out": 0.2, "max_length": 5}
    with pytest.raises(RecipeWrong, match=r"raise data\.max_length"):
        open_fine_tuning(recipe(tmp_path, "conversations", CHATS, data=data)).run(tmp_path / "out")
    with pytest.raises(RecipeWrong, match="nothing to learn"):
        open_fine_tuning(recipe(tmp_path, "labels", TEXTS[::2])).run(tmp_path / "out")


def test_the_command(tmp_path: Path) -> None:
    file = recipe(
        tmp_path, "conversations", [*CHATS, messages(["hi", "ho" * 100]), messages(["hi", "h" * 50, "a", "b"])]
    )
    command = ["finetune", file, "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert (report["skipped"], report["shortened"], report["steps"]) == (1, 1, 4)
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0
    assert "trained share" in again.stdout
    (tmp_path / "data.jsonl").write_text("{\n")
    broken = CliRunner().invoke(app, command)
    assert broken.exit_code == 1
    assert "line 1 is not JSON" in broken.stderr.replace("\n", " ")


# -- what is shipped


def test_the_shipped_data_keep_their_format() -> None:
    chats = read_examples(SHIPPED / "json-answers.jsonl", conversation)
    pairs = read_examples(SHIPPED / "short-answers.jsonl", preference)
    assert (len(chats), len(pairs)) == (110, 100)
    answers = [m["content"] for chat in chats for m in chat.messages if m["role"] == "assistant"]  # type: ignore[union-attr]
    short, long = (
        [it.messages[-1]["content"] for it in side]
        for side in zip(*((p.chosen, p.rejected) for p in pairs), strict=True)
    )  # type: ignore[union-attr]
    for text in (*answers, *short, *long):
        answer = json.loads(text)
        assert list(answer) == ["answer", "topic"]
        assert all(isinstance(value, str) and value for value in answer.values())
    for one, other in zip(short, long, strict=True):
        assert len(json.loads(one)["answer"]) < len(json.loads(other)["answer"])
