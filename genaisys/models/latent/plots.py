"""Pictures of codes, on the axes of a figure: where they lie, which are in use, and what each level adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from genaisys.models.base import inference
from genaisys.models.latent.diagnostics import variances_of_means
from genaisys.models.latent.flow_posterior import drawn
from genaisys.models.latent.hierarchy import HierarchicalVAE
from genaisys.models.latent.vae import VAE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GRID = 200  # points along each side of the prior's picture
_REGIONS = (0.0, 0.5, 0.9, 0.99)  # how much of the prior is in the regions that are drawn
_SHADES = ("0.6", "0.76", "0.9")


def plot_codes(axes: Axes, model: VAE, x: Tensor, classes: Tensor | None = None) -> None:
    """Codes of data over the prior: holes are where the prior is and codes are not (book figures 5.8-5.13).

    With two dimensions the prior is drawn as the regions where it is densest, whatever its peaks; with more, by as many
    samples, in the two most active ones.

    Args:
        x: [N, *shape]
        classes: of the data, for colours. [N]
    """
    with inference(model):
        p = model.prior(model.posterior)
        codes = drawn(model.posterior_of(model.space.validated(x)), 1)[0][0]  # [N, L]
        samples = p.sample((len(x),))
        first, second = variances_of_means(model, x).topk(2).indices.sort().values.tolist()
        if codes.shape[1] == 2:
            low, high = torch.cat([codes, samples]).aminmax(dim=0)
            sides = [torch.linspace(a - 0.5, b + 0.5, _GRID).to(codes) for a, b in zip(low, high, strict=True)]
            mass = p.log_prob(torch.cartesian_prod(*sides)).softmax(0)  # [_GRID^2]
            order = mass.argsort(descending=True)
            denser = torch.empty_like(mass).scatter(0, order, mass[order].cumsum(0)).view(_GRID, _GRID)
            axes.contourf(*(side.cpu() for side in sides), denser.T.cpu(), levels=_REGIONS, colors=_SHADES)
        else:
            axes.scatter(samples[:, first].cpu(), samples[:, second].cpu(), s=5, color="0.75", label="prior")
    across, up = codes[:, [first, second]].T.cpu()
    if classes is None:
        axes.scatter(across, up, s=5, label="codes")
    else:
        drawing = axes.scatter(across, up, s=5, c=classes.cpu(), cmap="tab10")
        axes.figure.colorbar(drawing, ax=axes, label="class of a code")
    grey = "; grey: 50, 90 and 99 % of the prior" if codes.shape[1] == 2 else ""
    axes.set(xlabel=f"dimension {first + 1}{grey}", ylabel=f"dimension {second + 1}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)


def plot_variances(axes: Axes, model: VAE, x: Tensor) -> None:
    """How far each dimension of the codes is in use: the variance of its mean (Burda et al. 2016)."""
    variances = variances_of_means(model, x).cpu()
    axes.bar(range(1, len(variances) + 1), variances.clamp_min(1e-6))
    axes.axhline(0.01, color="C3", label="active above 0.01")
    axes.set(xlabel="dimension", ylabel="variance of the mean", yscale="log")
    axes.legend(loc="lower right")


def plot_levels(axes: Axes, model: HierarchicalVAE, x: Tensor) -> None:
    """The KL of each level: one near zero has collapsed."""
    with inference(model):
        kl = model.passed(model.space.validated(x)).kl.mean(0).cpu()  # [T]
    levels = range(1, len(kl) + 1)
    axes.bar(levels, kl)
    axes.set(xlabel="level, from the data up", ylabel="KL (nats)", xticks=levels)
