"""What is refused becomes rare, and what is accepted stays as likely as it was, one beside the other."""

import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rdkit import Chem

from genaisys.models.transformer import TransformerLM, gpt, llama
from genaisys.molecules import demands, profiles
from genaisys.molecules.conditions import condition_tokens, conditions_of
from genaisys.molecules.demands import judge
from genaisys.molecules.properties import PROPERTIES
from genaisys.tokenizers import Tokenizer, smiles_tokenizer
from genaisys.training import TrainingSettings, train
from genaisys.training.fields import RecipeWrong
from genaisys.training.finetuning import verdicts
from genaisys.training.finetuning.chat_tokens import Tokenised
from genaisys.training.finetuning.molecule_prompts import told
from genaisys.training.finetuning.preferences import log_probs
from genaisys.training.finetuning.recipes import open_fine_tuning
from genaisys.training.finetuning.rows import batch_of
from genaisys.training.finetuning.verdicts import Prompts, verdict_loss, written
from genaisys.training.metrics import read_metrics
from genaisys.training.texts import TextData, training_and_held_out


def writer(context_length: int = 5, preset: Any = gpt) -> TransformerLM:
    """Writes chains of C and O, nearly at random."""
    torch.manual_seed(0)
    tokenizer = smiles_tokenizer(["CO"])
    letters = {*tokenizer.encode("CO"), tokenizer.eos}
    impossible = tuple(id for id in range(tokenizer.vocabulary_size) if id not in letters)
    special = {"pad": tokenizer.pad, "bos": tokenizer.bos, "ends": (tokenizer.eos,), "impossible": impossible}
    config = preset(tokenizer.vocabulary_size, context_length, layers=1, width=32, heads=2, **special)
    return TransformerLM(config, tokenizer)


def all_texts(model: TransformerLM) -> tuple[list[str], torch.Tensor]:
    """Every text that the model can write, and its tokens, padded."""
    assert model.tokenizer is not None
    room = model.config.context_length - 1
    texts = ["".join(letters) for n in range(room + 1) for letters in product("CO", repeat=n)]
    rows = [torch.tensor([*model.tokenizer.encode(text), model.config.ends[0]][:room]) for text in texts]
    return texts, torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=model.config.pad or 0)


def learned(model: TransformerLM, sigma: float, folder: Path, accepts: str) -> None:
    reference = writer(model.config.context_length)
    reference.load_state_dict(model.state_dict())
    assert model.tokenizer is not None
    tokenizer = model.tokenizer
    loss = verdict_loss(lambda text: tokenizer.decode(text).endswith(accepts), reference, sigma, draws=128)
    settings = TrainingSettings(
        150, 1, learning_rate=0.01, final_learning_rate=0.01, weight_decay=0, evaluate_every=1000
    )
    train(model, Prompts([[model.config.start]]), None, settings, folder, objective=loss)


def test_it_learns_the_beginning_without_what_is_refused(tmp_path: Path) -> None:
    """To the distribution itself: each of 31 texts has the probability that the formula gives."""
    model, sigma = writer(), 2.0
    texts, x = all_texts(model)
    before = model.log_prob(x).detach()
    assert before.exp().sum() == pytest.approx(1, abs=1e-5)
    learned(model, sigma, tmp_path, accepts="O")
    refused = torch.tensor([not text.endswith("O") for text in texts])
    aim = (before - sigma * refused).log_softmax(0)
    after = model.log_prob(x).detach()
    assert before.exp()[refused].sum() > 0.6
    assert after.exp()[refused].sum() == pytest.approx(aim.exp()[refused].sum().item(), abs=0.02)
    assert (after.exp() - aim.exp()).abs().sum() / 2 < 0.03
    torch.testing.assert_close(after[~refused], aim[~refused], atol=0.15, rtol=0)


def test_at_the_aim_there_is_nothing_to_learn() -> None:
    """Where all or none is accepted, the loss and its gradient are zero at the beginning."""
    model = writer()
    for verdict in (True, False):
        loss = verdict_loss(lambda text, verdict=verdict: verdict, writer(), 4.0, draws=64)
        sums = loss(model, [[model.config.start]])
        total = sums[0]
        total.backward()
        assert total.item() == pytest.approx(0, abs=1e-6)
        assert sums[1] == 64
        assert all(weight.grad is None or weight.grad.abs().max() < 1e-4 for weight in model.parameters())


def test_the_loss_is_the_variance_after_each_prompt() -> None:
    """A prompt after which all is refused is not compared with one after which nothing is."""
    model = writer()
    start, (carbon, oxygen) = model.config.start, model.tokenizer.encode("CO")  # type: ignore[union-attr]
    in_order = iter([True] * 8 + [False] * 8 + [True] * 8)
    loss = verdict_loss(lambda text: next(in_order), writer(), 4.0, draws=8)
    sums = loss(model, [[start, carbon], [start, oxygen], [start, carbon, carbon]])
    assert sums[0].item() == pytest.approx(0, abs=1e-6)
    assert sums[2]["accuracy"] == 16  # type: ignore[misc]


def test_likelihoods_are_those_of_what_is_drawn() -> None:
    """Tokens that the model never says have none; else it could learn nothing but to leave them."""
    model = writer()
    x = all_texts(model)[1]
    rows = [row[row != model.config.pad].tolist() for row in x]
    batch = batch_of([Tokenised((model.config.start, *row), (False, *[True] * len(row))) for row in rows])
    torch.testing.assert_close(log_probs(model, batch, model.config.impossible), model.log_prob(x), atol=1e-5, rtol=0)
    assert (log_probs(model, batch) < model.log_prob(x) - 1).all()


def test_every_parameter_learns() -> None:
    model = writer()
    loss = verdict_loss(lambda text: len(text) > 1, writer(), 4.0, draws=64)
    loss(model, [[model.config.start]])[0].backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())


def test_texts_stand_behind_their_own_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "sample_many", lambda model, given, n, generator: map(torch.Tensor.tolist, given))
    prompts = [[1, 5], [1], [1, 6], [1, 7, 8], [1, 9]]
    assert written(writer(), prompts, 3) == [[prompt] * 3 for prompt in prompts]


def conditional_tokenizer() -> Tokenizer:
    plain = smiles_tokenizer(["Cc1ccccc1", "C1CCNCC1OF", "CCCl"])
    plain.backend.add_special_tokens(condition_tokens({"logP": torch.linspace(-1, 5, 100).numpy()}))
    return Tokenizer(plain.backend, plain.special_tokens)


def test_a_judge_refuses_what_is_no_molecule_or_lacks_what_is_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demands, "DEMANDS", {"small": lambda mol: mol.GetNumAtoms() < 5})
    assert judge([])("Cc1ccccc1")
    assert not judge([])("Cc1ccccc")
    assert not judge([])("")
    assert judge(["small"])("CCCl")
    assert not judge(["small"])("Cc1ccccc1")
    assert not judge(["small"])("CC(")


def test_the_filters_of_moses_can_be_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "structural_alerts", lambda: ("[H]C([H])([#6])[F,Cl,Br,I]",))
    profiles._alerts.cache_clear()
    try:
        accepts = judge(["filters"])
        assert accepts("Cc1ccccc1")
        assert not accepts("CCCl")  # an alkyl chloride
    finally:
        profiles._alerts.cache_clear()


def test_prompts_tell_what_is_true_of_known_molecules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genaisys.molecules.annotations.parts_folder", lambda: tmp_path / "cache" / "parts")
    tokenizer = conditional_tokenizer()
    special = {"pad": tokenizer.pad, "bos": tokenizer.bos, "ends": (tokenizer.eos,)}
    config = llama(tokenizer.vocabulary_size, 60, layers=1, width=16, heads=2, **special)
    (tmp_path / "some.smi").write_text("\n".join("C" * n + "c1ccccc1" for n in range(1, 31)))
    data = TextData(files=("some.smi",), document="molecule", held_out=0.3)
    heard: list[str] = []
    learned, held_out = told(TransformerLM(config, tokenizer), data, tmp_path, 5, heard.append)
    assert (len(learned), len(held_out)) == (21, 5)
    texts = [tokenizer.decode(prompt, skip_special_tokens=False) for prompt in learned.prompts]
    begin = re.escape(tokenizer.decode(learned.prompts[0][:1], skip_special_tokens=False))
    pattern = begin + r"(<logP -?[\d.]+>)?(<scaffold>c1ccccc1)?<molecule>"
    bins = conditions_of(tokenizer).bins["logP"]  # type: ignore[union-attr]
    for text, smiles in zip(texts, training_and_held_out(data, tmp_path).learned, strict=True):
        found = re.fullmatch(pattern, text)
        assert found
        if found[1]:
            true = min(max(PROPERTIES["logP"](Chem.MolFromSmiles(smiles)), bins.values[0]), bins.values[-1])
            assert abs(float(found[1][6:-1]) - true) <= 0.501 * bins.step
    assert 0 < sum("<logP" in text for text in texts) < len(texts)
    assert 0 < sum("<scaffold>" in text for text in texts) < len(texts)
    assert heard


@pytest.fixture
def few_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genaisys.training.finetuning.recipes._JUDGED", 256)


def recipe(folder: Path, **changes: Any) -> str:
    content: dict[str, Any] = {
        "kind": "verdicts",
        "model": str(folder / "start"),
        "draws": 32,
        "lora": None,
        "training": {"steps": 3, "batch_size": 1, "learning_rate": 0.01, "evaluate_every": 2},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(content | changes))
    return str(folder / "mine.yaml")


@pytest.mark.usefixtures("few_are_judged")
def test_a_recipe_is_followed_and_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    """Of chains as long as C and O there are, the empty one alone is refused."""
    writer().save_pretrained(tmp_path / "start")
    report = open_fine_tuning(recipe(tmp_path)).run(tmp_path / "out")
    assert 0.3 < report["held_out_accuracy_before"] < 1
    assert (report["prompts"], report["held_out_prompts"], report["texts_a_prompt"]) == (1, 8, 32)
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    assert "| share of texts accepted |" in card
    assert TransformerLM.from_pretrained(tmp_path / "out" / "model").tokenizer is not None
    open_fine_tuning(recipe(tmp_path)).run(tmp_path / "parts")
    for step in (tmp_path / "parts" / "checkpoints").glob("step-*3"):
        for part in step.iterdir():
            part.unlink()
        step.rmdir()
    again = open_fine_tuning(recipe(tmp_path)).run(tmp_path / "parts")
    assert {**again, "output": ""} == {**report, "output": ""}
    models = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("out", "parts")]
    assert models[0] == models[1]


@pytest.mark.usefixtures("few_are_judged")
def test_a_blend_lies_between_the_beginning_and_what_was_learned(tmp_path: Path) -> None:
    writer().save_pretrained(tmp_path / "start")
    open_fine_tuning(recipe(tmp_path)).run(tmp_path / "whole")
    report = open_fine_tuning(recipe(tmp_path, blend=0.25)).run(tmp_path / "part")
    start, whole, part = (
        TransformerLM.from_pretrained(tmp_path / name).state_dict() for name in ("start", "whole/model", "part/model")
    )
    for name, weight in part.items():
        torch.testing.assert_close(weight, 0.75 * start[name] + 0.25 * whole[name])
    assert not torch.equal(start["head.weight"], part["head.weight"])
    loss = read_metrics(tmp_path / "part" / "metrics.jsonl")[-1]["held_out"]["loss"]
    assert report["held_out_loss"] != loss  # it is that of the blend


@pytest.mark.usefixtures("few_are_judged")
def test_an_adapter_can_learn_from_verdicts_too(tmp_path: Path) -> None:
    writer(preset=llama).save_pretrained(tmp_path / "start")
    open_fine_tuning(recipe(tmp_path, lora={"rank": 2, "alpha": 4})).run(tmp_path / "out")
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"draws": 1}, "draws is 1"),
        ({"sigma": 0}, "sigma is 0"),
        ({"blend": 0}, "blend is 0"),
        ({"blend": 0.5, "lora": {"rank": 2}}, "needs lora: null"),
        ({"demands": ["beauty"]}, "demands is 'beauty'"),
        ({"data": {"files": ["some.smi"], "document": "molecule"}}, "cannot be told anything"),
        ({"data": {"files": ["some.smi"], "document": "molecule", "randomised": 3}}, "randomised has no meaning"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    writer().save_pretrained(tmp_path / "start")
    with pytest.raises(RecipeWrong, match=message):
        open_fine_tuning(recipe(tmp_path, **changes)).run(tmp_path / "out")
