"""Sylvester flows (van den Berg et al. 2018, arXiv:1803.05649; book section 5.4.2.2).

    z_t = z_(t-1) + Q R tanh(R' Q^T z_(t-1) + b)    Q: [L, M], orthonormal columns; R, R': [M, M], upper triangular

By Sylvester's identity the determinant is that of an M x M matrix, which is triangular (eq. 5.64):

    log |det| = sum_i log (1 + tanh'(.)_i r_ii r'_ii)

The step is invertible if r_ii r'_ii > -1, as tanh' is at most 1: so both diagonals are kept between -1 and 1 (trap Q3).
All parameters are given by the context, for each x its own. The three kinds differ in how they make Q.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from genaisys.models.latent.flow_posterior import PosteriorFlow
from genaisys.models.latent.householder import reflected

_LARGEST = 0.999  # of a diagonal's entries: tanh itself may round to one


class SylvesterFlow(PosteriorFlow):
    """
    Args:
        rank: M, at most L.
    """

    def __init__(self, latent: int, context: int, steps: int, rank: int) -> None:
        super().__init__()
        self.latent, self.steps, self.rank = latent, steps, rank
        # Both triangles of one matrix, their two diagonals, and b.
        self.parameters_of = nn.Linear(context, steps * rank * (rank + 3))

    @abstractmethod
    def orthogonal(self, context: Tensor) -> Tensor:
        """Q of every step. [B, H] -> [T, B, L, M], or what broadcasts to it"""

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        numbers = self.parameters_of(context).view(len(context), self.steps, self.rank, self.rank + 3)
        square, first, second, b = numbers.transpose(0, 1).split([self.rank, 1, 1, 1], dim=-1)  # [T, B, M, M or 1]
        first, second, b = _LARGEST * first[..., 0].tanh(), _LARGEST * second[..., 0].tanh(), b[..., 0]  # [T, B, M]
        r = square.triu(1) + first.diag_embed()  # [T, B, M, M]
        r_ = square.mT.triu(1) + second.diag_embed()
        total = z.new_zeros(z.shape[:-1])  # [S, B]
        for step, q in enumerate(self.orthogonal(context)):  # q: [B, L, M]
            inside = torch.einsum("bij,blj,sbl->sbi", r_[step], q, z) + b[step]  # [S, B, M]
            h = inside.tanh()
            z = z + torch.einsum("blj,bji,sbi->sbl", q, r[step], h)
            total = total + ((1 - h**2) * (first * second)[step]).log1p().sum(-1)
        return z, total


class OrthogonalSylvester(SylvesterFlow):
    """Q from any matrix, by ``Q <- Q (I + (I - Q^T Q) / 2)`` until its columns are orthonormal (book eq. 5.65).

    That converges from where the singular values of Q are above 0 and at most 1, which dividing Q by its Frobenius norm
    ensures (trap Q4).
    """

    def __init__(self, latent: int, context: int, steps: int, rank: int) -> None:
        super().__init__(latent, context, steps, rank)
        self.matrix = nn.Linear(context, steps * latent * rank)

    def orthogonal(self, context: Tensor) -> Tensor:
        q = self.matrix(context).view(len(context), self.steps, self.latent, self.rank).transpose(0, 1)  # [T, B, L, M]
        return orthonormal(q)


def orthonormal(q: Tensor, *, tolerance: float = 1e-5, most: int = 60) -> Tensor:
    """The orthonormal columns that are nearest to those of q, differentiably. [..., L, M], M <= L"""
    q = q / torch.linalg.matrix_norm(q, keepdim=True)
    identity = torch.eye(q.shape[-1], dtype=q.dtype, device=q.device)
    for _ in range(most):
        excess = identity - q.mT @ q
        if not len(q) or torch.linalg.matrix_norm(excess).max() < tolerance:
            break
        q = q + q @ excess / 2
    return q


class HouseholderSylvester(SylvesterFlow):
    """Q a product of reflections; M = L."""

    def __init__(self, latent: int, context: int, steps: int, reflections: int) -> None:
        super().__init__(latent, context, steps, rank=latent)
        self.reflections = reflections
        self.vectors = nn.Linear(context, steps * reflections * latent)

    def orthogonal(self, context: Tensor) -> Tensor:
        vectors = self.vectors(context).view(len(context), self.steps, self.reflections, self.latent)
        rows = torch.eye(self.latent, dtype=context.dtype, device=context.device).expand(
            self.steps, len(context), self.latent, self.latent
        )
        for v in vectors.permute(2, 1, 0, 3):  # [T, B, L]
            rows = reflected(rows, v[..., None, :])
        return rows


class TriangularSylvester(SylvesterFlow):
    """Q the identity and the reversal of the order of dimensions, in turn; M = L."""

    def __init__(self, latent: int, context: int, steps: int) -> None:
        super().__init__(latent, context, steps, rank=latent)

    def orthogonal(self, context: Tensor) -> Tensor:
        identity = torch.eye(self.latent, dtype=context.dtype, device=context.device)
        kinds = torch.stack([identity, identity.flip(0)])
        return kinds[torch.arange(self.steps) % 2, None].expand(-1, len(context), -1, -1)
