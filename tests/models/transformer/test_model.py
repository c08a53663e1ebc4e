"""The transformer as a density and as an encoder: what depends on what, and what sums to one."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_models import CONFIGS, CONTEXT, VOCABULARY, make, some_tokens
from torch import Tensor

from genaisys.models.base import Density, GenerativeModel
from genaisys.models.transformer import PRESETS, TransformerConfig, TransformerLM, gpt, llama, teenygpt

PAD, BOS, EOS, MASK = 0, 1, 2, 3
SPECIAL: dict[str, Any] = {"pad": PAD, "bos": BOS, "mask": MASK, "ends": (EOS,)}
KINDS = ("llama", "llama3", "qwen2 with a window", "gpt2", "gpt1", "opt without biases")


def text(rows: int, length: int, seed: int = 1) -> Tensor:
    """Random tokens, none of them special. -> [rows, length]"""
    return torch.randint(4, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


# -- the density


def legal_sequences(config: TransformerConfig, length: int) -> Iterator[list[int]]:
    """All sequences that end, or have ``length`` tokens; padded."""
    ends, pad = set(config.ends), config.pad if config.pad is not None else config.ends[0]
    possible = [token for token in range(config.vocabulary_size) if token not in config.impossible]
    going_on = [token for token in possible if token not in ends]
    for size in range(length):
        for begin in product(going_on, repeat=size):
            yield from ([*begin, end] + [pad] * (length - size - 1) for end in ends)
    yield from map(list, product(going_on, repeat=length))


DENSITIES = {
    "llama": llama(6, 5, layers=2, width=16, heads=2, pad=0, bos=1, ends=(2,), impossible=(0, 1)),
    "gpt, two ends": gpt(6, 5, layers=1, width=16, heads=2, pad=0, bos=1, ends=(2, 4), impossible=(0, 1)),
    "teenygpt, with a mask": teenygpt(
        7, 5, layers=1, width=16, heads=2, pad=0, bos=1, ends=(2,), mask=3, impossible=(0, 1, 3)
    ),
    "one token for all": llama(4, 5, layers=1, width=16, heads=2, pad=0, bos=0, ends=(0,)),
    "no padding": gpt(4, 5, layers=1, width=16, heads=2, bos=1, ends=(0,), impossible=(1,)),
}


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("length", [1, 4])
@torch.no_grad()
def test_the_probabilities_of_all_sequences_sum_to_one(name: str, length: int) -> None:
    model = make(DENSITIES[name])
    sequences = torch.tensor(list(legal_sequences(model.config, length)))
    log_p = model.log_prob(sequences)
    assert len(sequences) == len({tuple(row) for row in sequences.tolist()})
    torch.testing.assert_close(log_p.double().exp().sum().item(), 1.0, atol=1e-5, rtol=0)
    assert log_p.std() > 0.3 or length == 1, "a uniform distribution would sum to one whatever it is summed over"


@torch.no_grad()
def test_log_prob_is_what_the_logits_say() -> None:
    model = make(replace(CONFIGS["llama"], **SPECIAL, impossible=(PAD, BOS)))
    x = torch.tensor([[9, 5, EOS, PAD, PAD], [7, 8, 9, 10, 11]])
    expected = []
    for row in x.tolist():
        past, total = [BOS], 0.0
        for token in row:
            logits = model(torch.tensor([past]))[0, -1]
            logits[[PAD, BOS]] = -torch.inf
            total += float(logits.log_softmax(-1)[token])
            past.append(token)
            if token == EOS:
                break
        expected.append(total)
    torch.testing.assert_close(model.log_prob(x), torch.tensor(expected), atol=1e-4, rtol=0)
    assert model.log_prob(torch.tensor([[BOS, EOS]])).item() == -torch.inf
    assert isinstance(model, Density)
    assert isinstance(model, GenerativeModel)
    assert model.likelihood == "exact"


@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_padding_is_free(name: str) -> None:
    model = make(replace(CONFIGS[name], **SPECIAL))
    x = torch.cat([text(3, 6), torch.full((3, 1), EOS)], dim=1)
    padded = F.pad(x, (0, 9), value=PAD)
    torch.testing.assert_close(model.log_prob(padded), model.log_prob(x), atol=1e-4, rtol=0)
    torch.testing.assert_close(model.causal_loss(padded), model.causal_loss(x), atol=1e-4, rtol=0)
    assert model.log_prob(torch.full((2, 5), PAD)).tolist() == [0.0, 0.0]


def test_repeated_end_tokens_are_padding_where_there_is_no_other() -> None:
    model = make(replace(CONFIGS["llama"], pad=EOS, ends=(EOS, 5)))
    x = torch.tensor([[7, EOS, EOS, EOS], [EOS, EOS, EOS, EOS], [7, EOS, 8, EOS], [7, 8, 5, EOS], [7, 8, 9, 10]])
    expected = [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert model.counted(x).int().tolist() == expected
    model = make(replace(CONFIGS["llama"], **SPECIAL))
    assert model.counted(torch.tensor([[7, EOS, PAD, PAD]])).tolist() == [[True, True, False, False]]


def test_a_sequence_longer_than_the_context_is_refused() -> None:
    with pytest.raises(ValueError, match=f"{CONTEXT + 1} tokens"):
        make(CONFIGS["llama"])(some_tokens(length=CONTEXT + 1))


# -- the losses


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("causal", "masked"), [(1.0, 0.0), (0.0, 1.0), (0.5, 2.0)])
def test_every_parameter_learns(preset: str, causal: float, masked: float) -> None:
    config = PRESETS[preset](
        VOCABULARY, 16, layers=2, width=32, heads=4, hidden=48, dropout=0.0, **SPECIAL, causal_weight=causal,
        masked_weight=masked, tied_embeddings=False,
    )  # fmt: skip
    model = make(config).train()
    torch.manual_seed(0)
    loss = model.loss(text(4, 12))
    assert loss.shape == (4,)
    loss.mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        # A bias of keys adds the same to all scores of a query, which softmax takes out again.
        assert parameter.grad.abs().max() > 1e-5 or name.endswith("key.bias"), name


def test_the_loss_is_the_weighted_sum_of_its_parts() -> None:
    model = make(replace(CONFIGS["gpt1"], **SPECIAL, causal_weight=0.5, masked_weight=2.0, dropout=0.0))
    x = text(4, 12)
    torch.manual_seed(0)
    loss = model.loss(x)
    torch.manual_seed(0)
    expected = 2.0 * model.masked_loss(x) + 0.5 * model.causal_loss(x)
    torch.testing.assert_close(loss, expected)
    possible = replace(model.config, impossible=())
    model.config = possible
    torch.testing.assert_close(model.causal_loss(x), -model.log_prob(x))


@torch.no_grad()
def test_the_masked_loss_hides_some_of_the_text_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(replace(CONFIGS["gpt1"], **SPECIAL))
    lengths = [1, 2, 6, 7, 13, 14, 20]
    x = text(len(lengths), 20)
    for row, length in zip(x, lengths, strict=True):
        row[length:] = PAD
    seen: list[tuple[Tensor, Tensor, dict[str, Any]]] = []
    forward = TransformerLM.forward

    def watched(self: TransformerLM, tokens: Tensor, **options: Any) -> Tensor:
        seen.append((tokens, forward(self, tokens, **options), options))
        return seen[-1][1]

    monkeypatch.setattr(TransformerLM, "forward", watched)
    torch.manual_seed(0)
    hidden_before = torch.zeros_like(x, dtype=torch.bool)
    for _ in range(40):
        loss = model.masked_loss(x)
        tokens, logits, options = seen[-1]
        assert options["causal"] is False
        assert tokens[:, 0].tolist() == [BOS] * len(lengths)
        hidden = tokens[:, 1:] == MASK
        assert torch.equal(tokens[:, 1:][~hidden], x[~hidden]), "all else is shown as it is"
        assert not hidden[x == PAD].any()
        assert hidden.sum(-1).tolist() == [1, 1, 1, 2, 2, 3, 3]  # 15 %, rounded up
        log_p = logits[:, 1:].log_softmax(-1).gather(-1, x[..., None])[..., 0]
        torch.testing.assert_close(loss, -(log_p * hidden).sum(-1), atol=1e-4, rtol=1e-5)
        hidden_before |= hidden
    assert torch.equal(hidden_before, x != PAD), "every token is hidden at some time"


# -- what depends on what


def influence(model: TransformerLM, length: int, **options: Any) -> Tensor:
    """How much the logits at t change with the embedding of the token at s. -> [t, s]"""
    tokens = some_tokens(rows=1, length=length)
    weights = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(5))
    kept: list[Tensor] = []

    def keep(_: Any, __: Any, embedded: Tensor) -> Tensor:
        kept.append(embedded.detach().requires_grad_())
        return kept[-1]

    with model.embedding.register_forward_hook(keep):
        mixed = model(tokens, **options)[0] @ weights  # [T]
    rows = [torch.autograd.grad(value, kept[-1], retain_graph=True)[0][0].norm(dim=-1) for value in mixed]
    return torch.stack(rows)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_token_depends_on_those_before_it_and_an_encoder_on_all(name: str) -> None:
    model, length = make(replace(CONFIGS[name], window=None)), 9
    before = torch.ones(length, length).tril().bool()
    causal = influence(model, length)
    assert (causal[~before] == 0).all()
    assert (causal[before] > 1e-6).all()
    assert (influence(model, length, causal=False) > 1e-6).all()


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("name", ["mistral", "gpt2"])
def test_a_window_reaches_as_far_as_it_says(name: str, window: int, layers: int) -> None:
    """Each layer sees ``window`` tokens, itself included, and reads what the layer below has seen."""
    model, length = make(replace(CONFIGS[name], window=window, layers=layers)), 9
    back = torch.arange(length)[:, None] - torch.arange(length)
    reach = layers * (window - 1)
    assert torch.equal(influence(model, length) > 0, (back >= 0) & (back <= reach))
    assert torch.equal(influence(model, length, causal=False) > 0, back.abs() <= reach)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_packed_sequences_do_not_see_each_other(name: str, causal: bool) -> None:
    model = make(CONFIGS[name])
    one, two, three = text(1, 7, 1), text(1, 4, 2), text(1, 9, 3)
    packed = torch.stack([torch.cat([one, two, three], 1)[0], torch.cat([three, two, one], 1)[0]])
    segments = torch.tensor([[0] * 7 + [1] * 4 + [5] * 9, [3] * 9 + [1] * 4 + [0] * 7])
    segments[1, -2:] = -1  # padding, at the end of the third
    found = model(packed, causal=causal, segments=segments)
    alone = [model(it, causal=causal)[0] for it in (one, two, three)]
    torch.testing.assert_close(found[0], torch.cat(alone), atol=1e-4, rtol=0)
    torch.testing.assert_close(found[1, :9], alone[2], atol=1e-4, rtol=0)
    torch.testing.assert_close(found[1, 9:13], alone[1], atol=1e-4, rtol=0)
    torch.testing.assert_close(found[1, 13:18], model(one[:, :5], causal=causal)[0], atol=1e-4, rtol=0)


@torch.no_grad()
def test_rotary_positions_are_relative() -> None:
    """What a token sees depends on how far it is, not on where it is; with learned positions it does."""
    tokens = text(1, 6)
    for name, relative in {"llama": True, "llama3": True, "gpt2": False}.items():
        model = make(CONFIGS[name])
        moved = torch.cat([text(1, 8, seed=7), tokens], dim=1)
        segments = torch.tensor([[0] * 8 + [1] * 6])
        places = torch.arange(14)[None]
        here = model(tokens)
        with pytest.MonkeyPatch.context() as patch:  # the same places as if nothing were packed
            patch.setattr("genaisys.models.transformer.model._places", lambda tokens, segments, places=places: places)
            there = model(moved, segments=segments)[:, 8:]
        assert torch.allclose(here, there, atol=1e-4) is relative


# -- the configuration


def test_a_configuration_that_cannot_be_is_refused() -> None:
    for changes, word in (
        ({"heads": 3, "kv_heads": 2}, "evenly"),
        ({"head_width": 7}, "odd"),
        ({"masked_weight": 1.0, "mask": None}, "mask token"),
    ):
        with pytest.raises(ValueError, match=word):
            replace(CONFIGS["llama"], **changes)


def test_teenygpt_has_about_a_million_weights() -> None:
    blocks = TransformerLM(teenygpt(100, 64)).blocks
    assert 1.0e6 < sum(parameter.numel() for parameter in blocks.parameters()) < 1.2e6


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("preset", PRESETS)
@torch.no_grad()
def test_a_fresh_model_is_nearly_uniform(preset: str, tied: bool) -> None:
    """So that training begins at ``log(vocabulary)`` nats a token."""
    torch.manual_seed(0)
    sizes = {"layers": 2, "width": 64, "heads": 4, "tied_embeddings": tied}
    model = TransformerLM(PRESETS[preset](VOCABULARY, 16, **sizes, **SPECIAL)).eval()
    loss = model.causal_loss(text(16, 8)) / 8
    assert loss.mean().item() == pytest.approx(torch.tensor(float(VOCABULARY)).log().item(), abs=0.1)
