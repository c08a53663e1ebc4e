"""Cross-entropy in pieces is cross-entropy."""

import pytest
import torch

from genaisys.models.transformer import cross_entropy as module
from genaisys.models.transformer.cross_entropy import cross_entropy


@pytest.mark.parametrize("at_once", [1, 3 * 7, 1 << 19])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_and_gradients(at_once: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """-log softmax, of the numbers as they are; nothing where nothing is wanted."""
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    generator = torch.Generator().manual_seed(0)
    logits = (5 * torch.randn(8, 7, generator=generator)).to(dtype).requires_grad_()
    targets = torch.tensor([0, 6, 3, -1, 2, 2, -1, 5])
    losses = cross_entropy(logits, targets)
    assert losses.dtype == torch.float32
    p = logits.detach().double().softmax(-1)
    wanted = torch.tensor([0.0 if y < 0 else -p[n, y].log().item() for n, y in enumerate(targets.tolist())])
    torch.testing.assert_close(losses, wanted)
    weights = torch.arange(1.0, 9.0)
    (losses * weights).sum().backward()
    gradient = torch.stack(
        [torch.zeros(7) if y < 0 else weights[n] * (p[n] - torch.eye(7)[y]) for n, y in enumerate(targets.tolist())]
    )
    torch.testing.assert_close(
        logits.grad, gradient.to(dtype), atol=1e-5, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5
    )


def test_no_tokens() -> None:
    assert cross_entropy(torch.zeros(0, 7), torch.zeros(0, dtype=torch.long)).shape == (0,)


def test_what_is_impossible_costs_infinitely_much() -> None:
    logits = torch.tensor([[0.0, -torch.inf], [0.0, -torch.inf]])
    assert cross_entropy(logits, torch.tensor([1, 0])).tolist() == [torch.inf, 0.0]
