"""Attention as products of matrices against its definition, and against torch's own."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from genaisys.models.transformer.attention import attend, written_out

SEGMENTS = torch.tensor([[0, 0, 0, 1, 1, 2, 2, 2, 2], [0, 0, 0, 0, 0, 0, -1, -1, -1]])
CAUSAL = torch.ones(9, 9, dtype=torch.bool).tril()
MASKS = {
    "all": None,
    "causal": CAUSAL,
    "window": CAUSAL.triu(-2),
    "segments": (CAUSAL & (SEGMENTS[:, :, None] == SEGMENTS[:, None, :]))[:, None],
}


def heads(heads: int, length: int = 9, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + heads)
    return torch.randn(2, heads, length, 6, generator=generator, dtype=torch.float64).requires_grad_()


def defined(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None) -> Iterator[Tensor]:
    """One token's output after the other, straight from the formula. -> [d] for each text, head and token"""
    for b in range(query.shape[0]):
        for h in range(query.shape[1]):
            g = h * key.shape[1] // query.shape[1]
            for t in range(query.shape[2]):
                scores = key[b, g] @ query[b, h, t] / math.sqrt(query.shape[3])  # [K]
                if seen is not None:
                    scores = scores.masked_fill(~(seen[t] if seen.dim() == 2 else seen[b, 0, t]), -math.inf)
                yield scores.softmax(0) @ value[b, g]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("name", MASKS)
def test_written_out_it_is_its_definition_with_all_gradients(name: str, groups: int) -> None:
    query, key, value, seen = heads(4), heads(groups, seed=10), heads(groups, seed=20), MASKS[name]
    expected = torch.stack([*defined(query, key, value, seen)]).view_as(query)
    found = written_out(query, key, value, seen)
    torch.testing.assert_close(found, expected)
    wanted = torch.autograd.grad(expected.square().sum(), (query, key, value))
    for gradient, right in zip(torch.autograd.grad(found.square().sum(), (query, key, value)), wanted, strict=True):
        torch.testing.assert_close(gradient, right)


def test_keys_may_be_of_more_tokens() -> None:
    query, key, value = heads(2, 3), heads(1, 5), heads(1, 5, seed=7)
    seen = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 0, 1, 1, 1]], dtype=torch.bool)
    expected = torch.stack([*defined(query, key, value, seen)]).view_as(query)
    torch.testing.assert_close(written_out(query, key, value, seen), expected)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", MASKS)
def test_bfloat16_is_computed_as_float32_is(name: str, causal: bool) -> None:
    """The two go different ways; a mask says all, and ``causal`` only counts where there is none."""
    parts = [heads(n, seed=seed).detach() for n, seed in ((4, 0), (2, 10), (2, 20))]
    exact = attend(*(part.float() for part in parts), MASKS[name], causal, 0.0)
    rounded = attend(*(part.bfloat16() for part in parts), MASKS[name], causal, 0.0)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, atol=0.03, rtol=0.02)
    other = attend(*(part.float() for part in parts), MASKS[name], not causal, 0.0)
    assert torch.equal(other, exact) == (MASKS[name] is not None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_leaves_weights_out_and_keeps_the_mean(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    query, key, value = (heads(2, seed=seed).detach().to(dtype).repeat(500, 1, 1, 1) for seed in (0, 1, 2))
    whole, thinned = (attend(query, key, value, None, True, share).float() for share in (0.0, 0.5))
    assert not torch.allclose(whole, thinned, atol=0.1)
    torch.testing.assert_close(thinned.view(500, -1).mean(0), whole.view(500, -1).mean(0), atol=0.25, rtol=0)
    assert (thinned[:, :, 0] == 0).all(-1).float().mean().item() == pytest.approx(0.5, abs=0.03), (
        "one sees itself alone"
    )
