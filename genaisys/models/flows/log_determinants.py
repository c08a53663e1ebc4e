"""``log |det(I + J)|`` for the Jacobian J of a map g with a Lipschitz constant below 1 (book section 4.1.7.1).

    log det(I + J) = tr(J) - tr(J^2)/2 + tr(J^3)/3 - …        tr(A) = E[v' A v], v of random signs (Hutchinson)

Each function here gives g(x) [B, *] and the log-det [B].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]
LogDeterminant = Callable[[Map, Tensor], tuple[Tensor, Tensor]]


def exact(g: Map, x: Tensor) -> tuple[Tensor, Tensor]:
    """By the whole Jacobian: as many backward passes as there are dimensions."""
    value, transposed_product = _with_products(g, x)
    basis = torch.eye(x[0].numel() if len(x) else 1, dtype=x.dtype, device=x.device)  # [D, D]
    rows = [transposed_product(row.view(1, *x.shape[1:]).expand_as(x)).flatten(1) for row in basis]  # D of [B, D]
    return value, torch.linalg.slogdet(basis + torch.stack(rows, 1)).logabsdet


def power_series(terms: int) -> LogDeterminant:
    """The first ``terms`` of the series, and no more: quick, and biased (book eq. 4.24; trap F8)."""
    return lambda g, x: _series(g, x, [1.0] * terms)


def russian_roulette(always: int = 2, stop: float = 0.5) -> LogDeterminant:
    """The whole series without bias: it ends at random, and later terms count for those that were not reached.

    After the first ``always`` terms each is the last with probability ``stop``; term k is divided by the probability of
    being reached (Chen et al. 2019, arXiv:1906.02735). All examples of a call end together.
    """

    def estimated(g: Map, x: Tensor) -> tuple[Tensor, Tensor]:
        more = int(torch.distributions.Geometric(probs=torch.tensor(stop)).sample())
        return _series(g, x, [1.0] * always + [(1 - stop) ** -(k + 1) for k in range(more)])

    return estimated


def _series(g: Map, x: Tensor, weights: list[float]) -> tuple[Tensor, Tensor]:
    """The sum of ``weights[k-1] (-1)^(k+1) / k v' J^k v``."""
    value, transposed_product = _with_products(g, x)
    v = torch.randint(0, 2, x.shape, device=x.device).to(x.dtype) * 2 - 1
    power, total = v, x.new_zeros(len(x))
    for k, weight in enumerate(weights, 1):
        power = transposed_product(power)  # J'^k v
        total = total + (weight * (-1) ** (k + 1) / k) * (power * v).flatten(1).sum(1)
    return value, total


def _with_products(g: Map, x: Tensor) -> tuple[Tensor, Map]:
    """g(x), and the function that takes v to J'v; both have gradients where gradients are wanted."""
    wanted = torch.is_grad_enabled()
    with torch.enable_grad():
        at = x if wanted and x.requires_grad else x.detach().requires_grad_()
        value = g(at)

    def transposed_product(v: Tensor) -> Tensor:
        return torch.autograd.grad(value, at, v, create_graph=wanted, retain_graph=True)[0]

    return (value if wanted else value.detach()), transposed_product
