"""Sampling a TransformerLM follows its own density; texts from ids and from strings; the command."""

import json
import os
import subprocess
import sys
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
import torch
from tiny_models import make, one_line
from torch import nn

from genaisys.models.transformer import TransformerConfig, TransformerLM, gpt, llama, teenygpt
from genaisys.models.transformer.engine import PromptTooLong, UnknownToken
from genaisys.models.transformer.generation import NoTokenizer, load_engine
from genaisys.models.transformer.sampling import BadSampling, Sampling
from genaisys.tokenizers import character_tokenizer

DENSITIES = {
    "llama": llama(5, 5, layers=1, width=16, heads=2, kv_heads=1, pad=0, bos=1, ends=(2,), impossible=(0, 1)),
    "gpt, two ends": gpt(6, 4, layers=1, width=16, heads=2, pad=0, bos=1, ends=(2, 4), impossible=(0, 1)),
    "teenygpt, with a mask": teenygpt(
        6, 4, layers=1, width=16, heads=2, hidden=8, pad=0, bos=1, ends=(2,), mask=3, impossible=(0, 1, 3)
    ),
    "one token for all": llama(4, 4, layers=1, width=16, heads=2, pad=0, bos=0, ends=(0,)),
    "no padding": gpt(4, 4, layers=1, width=16, heads=2, bos=1, ends=(0,), impossible=(1,)),
    "no end": llama(4, 4, layers=1, width=16, heads=2),
}


def softened(config: TransformerConfig, seed: int = 0) -> TransformerLM:
    """A random model that leaves no token without a chance, so that every sequence is met."""
    model = make(config, seed)
    with torch.no_grad():
        model.norm.weight.mul_(0.4) if isinstance(model.norm, nn.Module) and hasattr(model.norm, "weight") else None
        for parameter in model.blocks[-1].mlp_norm.parameters():
            parameter.mul_(0.5)
    return model


def sequences(config: TransformerConfig) -> list[tuple[int, ...]]:
    """All that end, or fill the context; padded."""
    length = config.context_length - 1
    pad = config.pad if config.pad is not None else config.ends[0] if config.ends else 0
    possible = [token for token in range(config.vocabulary_size) if token not in config.impossible]
    going_on = [token for token in possible if token not in config.ends]
    found = list(product(going_on, repeat=length))
    for size in range(length):
        for begin in product(going_on, repeat=size):
            found += [(*begin, end, *[pad] * (length - size - 1)) for end in config.ends]
    return found


def frequencies(samples: torch.Tensor, config: TransformerConfig) -> Counter[tuple[int, ...]]:
    pad = config.pad if config.pad is not None else config.ends[0] if config.ends else 0
    room = config.context_length - 1 - samples.shape[1]
    return Counter((*row, *[pad] * room) for row in samples.tolist())


def chi_square(counts: Counter[tuple[int, ...]], expected: dict[tuple[int, ...], float]) -> tuple[float, int]:
    """Over sequences that are expected at least five times, and all others together. -> value, degrees of freedom"""
    many = {x: n for x, n in expected.items() if n >= 5}
    rest = sum(expected.values()) - sum(many.values())
    value = sum((counts[x] - n) ** 2 / n for x, n in many.items())
    if rest > 5:
        value += (sum(counts.values()) - sum(counts[x] for x in many) - rest) ** 2 / rest
    return value, len(many) - (rest <= 5)


@pytest.mark.parametrize("name", DENSITIES)
@torch.no_grad()
def test_samples_follow_the_density(name: str) -> None:
    model, n = softened(DENSITIES[name]), 3000
    x = sequences(model.config)
    p = model.log_prob(torch.tensor(x)).double().exp()
    torch.testing.assert_close(p.sum().item(), 1.0, atol=1e-5, rtol=0)
    samples = model.sample(n, generator=torch.Generator().manual_seed(0))
    counts = frequencies(samples, model.config)
    assert set(counts) <= set(x)
    value, degrees = chi_square(counts, dict(zip(x, (n * p).tolist(), strict=True)))
    assert degrees >= 5
    assert value < degrees + 4 * (2 * degrees) ** 0.5, (value, degrees)  # four standard deviations
    assert model.log_prob(samples).isfinite().all()


@torch.no_grad()
def test_samples_with_a_condition_follow_the_conditional_density() -> None:
    model, n = softened(DENSITIES["llama"]), 2000
    x = [it for it in sequences(model.config) if it[:2] == (4, 3)]
    p = model.log_prob(torch.tensor(x)).double().softmax(0)
    counts = frequencies(model.sample(n, beginning=(4, 3), generator=torch.Generator().manual_seed(0)), model.config)
    assert set(counts) <= set(x)
    value, degrees = chi_square(counts, dict(zip(x, (n * p).tolist(), strict=True)))
    assert degrees >= 3
    assert value < degrees + 4 * (2 * degrees) ** 0.5


def test_the_generator_fixes_what_is_sampled() -> None:
    model = softened(DENSITIES["llama"])

    def sample(seed: int) -> list[list[int]]:
        return model.sample(20, generator=torch.Generator().manual_seed(seed)).tolist()

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)
    torch.manual_seed(7)
    first = model.sample(20).tolist()
    torch.manual_seed(7)
    assert model.sample(20).tolist() == first
    assert model.sample(20).tolist() != first


@pytest.mark.parametrize("training", [True, False])
def test_sampling_leaves_the_model_as_it_was_and_drops_nothing_out(training: bool) -> None:
    model = softened(teenygpt(6, 12, layers=1, width=16, heads=2, hidden=8, dropout=0.9)).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    expected = make_copy(model).eval().sample(5, generator=torch.Generator().manual_seed(0))
    found = model.sample(5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found, expected)
    assert not found.requires_grad
    assert all(module.training is training for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    with torch.no_grad():
        model.head.weight.mul_(-1)  # the weights of this moment count
    assert not torch.equal(model.sample(5, generator=torch.Generator().manual_seed(0)), expected)


def make_copy(model: TransformerLM) -> TransformerLM:
    copy = TransformerLM(model.config)
    copy.load_state_dict(model.state_dict())
    return copy


def test_the_shape_of_samples() -> None:
    model = softened(DENSITIES["llama"])
    assert model.sample(0).shape[0] == 0
    assert model.sample(3, beginning=(3, 4, 3)).shape[1] == 4
    assert model.sample(3, temperature=0.0).unique(dim=0).shape[0] == 1
    with pytest.raises(PromptTooLong) as error:
        model.sample(1, beginning=(3, 4, 3, 4, 3, 4))
    one_line(error.value)
    with pytest.raises(UnknownToken, match="99"):
        model.sample(1, beginning=(99,))


# -- generate


def test_generate_from_ids_and_from_strings() -> None:
    tokenizer = character_tokenizer([])
    assert tokenizer.eos is not None
    config = llama(
        tokenizer.vocabulary_size, 60, layers=1, width=16, heads=2, bos=tokenizer.bos, ends=(tokenizer.eos,),
        impossible=tuple(tokenizer.special_ids - {tokenizer.eos}),
    )  # fmt: skip
    model = make(config)
    with pytest.raises(NoTokenizer) as error:
        model.generate(["ab"])
    assert "tokenizer.json" in one_line(error.value)
    model.tokenizer = tokenizer
    settings = {"max_new_tokens": 12, "temperature": 1.0, "seed": 5}
    texts = model.generate(["ab", "", "a much longer text"], **settings)
    start = [tokenizer.bos] if tokenizer.bos is not None else []
    ids = [[*start, *tokenizer.encode(text)] for text in ("ab", "", "a much longer text")]
    again = model.generate(ids, **settings)
    assert [each.tokens for each in again] == [each.tokens for each in texts]
    assert [each.text for each in texts] == [tokenizer.decode(each.tokens) for each in texts]
    assert [each.prompt_tokens for each in texts] == [3, 1, 19]
    assert [model.generate([it], **settings)[0].tokens for it in ids] == [each.tokens for each in texts]
    assert model.generate([]) == []
    with pytest.raises(PromptTooLong) as error:
        model.generate(["x" * 60])
    one_line(error.value)
    with pytest.raises(BadSampling):
        model.generate(["x"], temperature=-1)


def test_a_saved_model_generates_what_it_did(tmp_path: Path) -> None:
    tokenizer = character_tokenizer([])
    assert tokenizer.eos is not None
    model = make(llama(tokenizer.vocabulary_size, 60, layers=1, width=64, heads=2, ends=(tokenizer.eos,)))
    model.tokenizer = tokenizer
    model.save_pretrained(tmp_path)
    settings = {"max_new_tokens": 12, "temperature": 1.0, "seed": 5}
    expected = model.generate(["abc"], **settings)[0]
    assert TransformerLM.from_pretrained(tmp_path).generate(["abc"], **settings)[0].tokens == expected.tokens
    engine = load_engine(tmp_path)
    done = engine.start(tokenizer.encode("abc"), Sampling(max_new_tokens=12)).result()
    assert done.text == tokenizer.decode(done.tokens)


# -- the command


def run(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "genaisys", "generate", *arguments],
        capture_output=True, text=True, timeout=120, env={**os.environ, "GENAISYS_HOME": str(home)},
    )  # fmt: skip


def test_the_command(tmp_path: Path) -> None:
    asked = ("--prompt", "Who wrote Hamlet? One word.", "--max-new-tokens", "12")
    result = run(*asked, "--json", home=tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert {"text", "tokens", "finish", "prompt_tokens", "tokens_per_second"} <= set(report)
    assert "William" in report["text"]
    assert 0 < report["tokens"] <= 12
    assert report["finish"] in ("end", "length")
    shown = run(*asked, home=tmp_path)
    assert shown.stdout.strip() == report["text"].strip()


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    for arguments in (
        ("--prompt", "x", "--model", str(tmp_path / "nothing")),
        ("--prompt", "x", "--seed", "-1"),
    ):
        result = run(*arguments, home=tmp_path)
        assert result.returncode != 0
        assert "Traceback" not in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
