"""What a model of the zoo is worth: the likelihood of test data, and how much its samples look like them.

Samples are compared as they are, pixel by pixel, with values from 0 to 1: on images as small as these no network that
was trained on others sees more. For as many samples as there are test images, at most a thousand:

* Fréchet distance between the normal distributions with the means and covariances of both (Heusel et al. 2017);
* MMD², the unbiased estimate with an RBF kernel as wide as the median distance of test images (Gretton et al. 2012);
* precision and recall: the share of samples that lie within reach of a test image, and of test images within reach of a
  sample, where an image reaches as far as its third neighbour (Kynkäänniemi et al. 2019).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genaisys.models.base import Density, GenerativeModel, inference
from genaisys.models.spaces import Integers, Reals
from genaisys.zoo.data import Parts

MOST_SAMPLES = 1000
_BATCH = 100
_NEIGHBOURS = 3


@dataclass(frozen=True)
class Measured:
    """The measurements of one model.

    Attributes:
        likelihood: exact, lower bound, estimate or unnormalised; None: the model has none.
        test_nats: the mean of ``-log p(x)`` over the test data.
        bits_per_dim: the same in bits for each dimension; None for real numbers, whose densities have units.
        fd, mmd2, precision, recall: of samples, see above; the latter two are None where there are too few test data.
        sample_seconds: of processor time, for each of these samples.
    """

    likelihood: str | None
    test_nats: float | None
    bits_per_dim: float | None
    fd: float
    mmd2: float
    precision: float | None
    recall: float | None
    sample_seconds: float


def measure(
    model: GenerativeModel, data: Parts, *, bound_samples: int | None = None, effort: Mapping[str, Any] | None = None
) -> Measured:
    """All measurements of ``model`` on the test part of ``data``; the same each time.

    Args:
        bound_samples: with how many the bound of a likelihood is measured.
        effort: what ``sample`` is called with.

    Raises:
        OutOfSpace: the data are not of the model's space.
    """
    nats = mean_nats(model, data.test, bound_samples) if isinstance(model, Density) else None
    count = min(len(data.test), MOST_SAMPLES)
    began = time.process_time()
    samples = drawn(model, count, effort or {})
    seconds = (time.process_time() - began) / count
    real, generated = (scaled(x, data.space) for x in (data.test[:count], samples))
    enough = count > _NEIGHBOURS
    precision, recall = precision_and_recall(real, generated) if enough else (None, None)
    return Measured(
        likelihood=model.likelihood if isinstance(model, Density) else None,
        test_nats=nats,
        bits_per_dim=None if nats is None or isinstance(data.space, Reals) else data.space.bits_per_dimension(nats),
        fd=frechet_distance(real, generated),
        mmd2=mmd2(real, generated),
        precision=precision,
        recall=recall,
        sample_seconds=seconds,
    )


def mean_nats(model: GenerativeModel, x: Tensor, bound_samples: int | None = None) -> float:
    """The mean of ``-log p(x)``. What a bound draws is the same each time."""
    assert isinstance(model, Density)
    samples = {} if bound_samples is None else {"samples": bound_samples}
    with inference(model, torch.Generator().manual_seed(0)):
        total = sum(-model.log_prob(part, **samples).double().sum().item() for part in x.split(_BATCH))
    return total / len(x)


def drawn(model: GenerativeModel, n: int, effort: Mapping[str, Any]) -> Tensor:
    """``n`` samples, the same each time. [n, *shape]"""
    generator = torch.Generator().manual_seed(0)
    sizes = [min(_BATCH, n - done) for done in range(0, n, _BATCH)]
    return torch.cat([model.sample(size, generator=generator, **effort) for size in sizes]).cpu()


def scaled(x: Tensor, space: Integers | Reals) -> Tensor:
    """As the distances below take data: integers from 0 to 1, in double precision. [N, *shape] -> [N, D]"""
    rows = x.flatten(1).double()
    return (rows - space.low) / max(1, space.high - space.low) if isinstance(space, Integers) else rows


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """``|m_a - m_b|² + tr(S_a + S_b - 2 (S_a S_b)^½)``, of rows. [N, D] and [M, D]"""
    difference = a.mean(0) - b.mean(0)
    of_a, of_b = (torch.atleast_2d(rows.T.cov()) for rows in (a, b))
    values, vectors = torch.linalg.eigh(of_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # The roots of the eigenvalues of S_a S_b, which are those of a symmetric matrix, add up to the trace of its root.
    common = torch.linalg.eigvalsh(root @ of_b @ root).clamp(min=0).sqrt().sum()
    return (difference @ difference + of_a.trace() + of_b.trace() - 2 * common).item()


def mmd2(real: Tensor, generated: Tensor) -> float:
    """The unbiased estimate of MMD² with ``exp(-d² / 2 m²)``, m the median distance among ``real``. [N, D], [M, D]"""
    among_real, among_generated = torch.pdist(real), torch.pdist(generated)
    twice_squared = 2 * among_real.median().clamp(min=1e-12) ** 2

    def mean_kernel(distances: Tensor) -> Tensor:
        return (-(distances**2) / twice_squared).exp().mean()

    between = mean_kernel(torch.cdist(real, generated))
    return (mean_kernel(among_real) + mean_kernel(among_generated) - 2 * between).item()


def precision_and_recall(real: Tensor, generated: Tensor) -> tuple[float, float]:
    """The share of ``generated`` within reach of ``real``, and the other way round. [N, D], [M, D]"""
    between = torch.cdist(real, generated)  # [N, M]
    precision = (between <= _reach(real)[:, None]).any(0).double().mean()
    recall = (between <= _reach(generated)).any(1).double().mean()
    return precision.item(), recall.item()


def _reach(x: Tensor) -> Tensor:
    """The distance to the third neighbour, the row itself not counted. [N, D] -> [N]"""
    return torch.cdist(x, x).kthvalue(_NEIGHBOURS + 1, dim=1).values
