"""The presets of this family: models with residual networks for vectors, from a space and a few sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeVar, get_args

from torch import nn

from genaisys.errors import GenaisysError
from genaisys.models.conditionals import Bernoullis, Categoricals, Conditional, DiscretizedLogistics, Gaussians
from genaisys.models.latent.autoregressive_prior import AutoregressivePrior
from genaisys.models.latent.bottom_up import BottomUpVAE
from genaisys.models.latent.denoisers import (
    DataDenoiser,
    Denoiser,
    NoiseDenoiser,
    PerStep,
    TimeConditioned,
)
from genaisys.models.latent.diffusion import DiffusionModel, Objective
from genaisys.models.latent.flow_posterior import FlowPosterior, PosteriorFlow
from genaisys.models.latent.flow_prior import FlowPrior, coupling_flow
from genaisys.models.latent.householder import HouseholderFlow
from genaisys.models.latent.hyperspherical import HypersphericalVAE, UniformSpherePrior, VonMisesFishers
from genaisys.models.latent.inverse_autoregressive import InverseAutoregressiveFlow
from genaisys.models.latent.priors import GenerativeTopographicMapping, MixtureOfGaussians, Prior, StandardNormalPrior
from genaisys.models.latent.residual_vae import Level, ResidualVAE
from genaisys.models.latent.schedules import Schedule, cosine_schedule, linear_schedule, log_snr_schedule
from genaisys.models.latent.sylvester import HouseholderSylvester, OrthogonalSylvester, TriangularSylvester
from genaisys.models.latent.top_down import TopDownVAE
from genaisys.models.latent.vae import VAE
from genaisys.models.latent.vampprior import GTMVampPrior, VampPrior
from genaisys.models.layers.residual_mlp import ResidualMLP
from genaisys.models.spaces import Integers, Reals

_Space = Integers | Reals
_DecoderKind = Literal["gaussian", "logistics", "categorical", "bernoulli"]
_LOGISTICS = 3  # components for each dimension
_PRIOR_WIDTH = 64  # of networks of codes, or of points of a grid
Predicted = Literal["data", "noise", "noise and variance"]  # by the network of a diffusion model


class NoSuchPart(GenaisysError):
    """A preset has no part of such a name, or two parts do not go together; the message says which there are."""


# Of space, L, and K components.
PRIORS: Mapping[str, Callable[[_Space, int, int], Prior]] = {
    "standard": lambda space, latent, k: StandardNormalPrior(latent),
    "mixture": lambda space, latent, k: MixtureOfGaussians(latent, k),
    "vamp-uniform": lambda space, latent, k: VampPrior(space, k, weighted=False),
    "vamp": lambda space, latent, k: VampPrior(space, k),
    "gtm": lambda space, latent, k: GenerativeTopographicMapping(
        ResidualMLP(2, 2 * latent, _PRIOR_WIDTH, blocks=1), round(k**0.5)
    ),
    "gtm-vamp": lambda space, latent, k: GTMVampPrior(
        space, ResidualMLP(2, space.dimensions, _PRIOR_WIDTH, blocks=1), round(k**0.5)
    ),
    "flow": lambda space, latent, k: FlowPrior(latent, coupling_flow(latent, 6, _PRIOR_WIDTH)),
    "autoregressive": lambda space, latent, k: AutoregressivePrior(latent, k, _PRIOR_WIDTH),
}
# Of L, the width of the context, and a number of steps.
POSTERIOR_FLOWS: Mapping[str, Callable[[int, int, int], PosteriorFlow]] = {
    "householder": HouseholderFlow,
    "orthogonal-sylvester": lambda latent, context, steps: OrthogonalSylvester(
        latent, context, steps, rank=(latent + 1) // 2
    ),
    "householder-sylvester": lambda latent, context, steps: HouseholderSylvester(
        latent, context, steps, reflections=latent
    ),
    "triangular-sylvester": TriangularSylvester,
    "inverse-autoregressive": lambda latent, context, steps: InverseAutoregressiveFlow(
        latent, context, steps, _PRIOR_WIDTH
    ),
}
# Of the number of steps.
SCHEDULES: Mapping[str, Callable[[int], Schedule]] = {
    "linear": linear_schedule,
    "cosine": cosine_schedule,
    "log-snr": log_snr_schedule,
}


def vae(
    space: _Space,
    latent: int = 16,
    width: int = 256,
    blocks: int = 1,
    dropout: float = 0.2,
    input_dropout: float = 0.3,
    prior: str = "standard",
    components: int = 16,
    posterior: str = "gaussian",
    flow_steps: int = 4,
    beta: float = 1.0,
    free_nats: float = 0.0,
    warmup: int = 0,
    decoder: _DecoderKind | None = None,
) -> VAE:
    """A VAE with any of ``PRIORS``, and with a Gaussian posterior or one of ``POSTERIOR_FLOWS``.

    Args:
        components: of the prior; for those with a grid a square number.
        decoder: the distribution of data, given a code; None: mixtures of discretized logistics of integers, and
            Gaussians of real numbers, which have no other.

    Raises:
        NoSuchPart: ``prior``, ``posterior`` or ``decoder`` is none of these, or they do not go together.
        SpaceUnfit: Bernoulli distributions of data that do not have two levels.
        ValueError: there are no components.
    """
    if components < 1:
        raise ValueError(f"a prior has one component or more, not {components}")
    codes = Reals((latent,))
    if posterior == "gaussian":
        numbers = Gaussians.numbers(codes)
        q: Conditional = Gaussians(_encoder(space, numbers, width, blocks, dropout, input_dropout), codes)
    elif prior in ("vamp", "vamp-uniform", "gtm-vamp"):
        raise NoSuchPart(f"the prior {prior} is made of posteriors whose density is known anywhere: choose gaussian")
    else:
        flow = _part("posterior", posterior, POSTERIOR_FLOWS)(latent, width, flow_steps)
        q = FlowPosterior(_encoder(space, width, width, blocks, dropout, input_dropout), codes, width, flow)
    p = _part("prior", prior, PRIORS)(space, latent, components)
    likelihood = _decoder(space, latent, width, blocks, dropout, decoder)
    return VAE(space, q, likelihood, p, beta=beta, free_nats=free_nats, warmup=warmup)


def hyperspherical_vae(
    space: _Space,
    latent: int = 16,
    width: int = 256,
    blocks: int = 1,
    dropout: float = 0.2,
    input_dropout: float = 0.3,
    warmup: int = 0,
) -> HypersphericalVAE:
    """A VAE with codes on the unit sphere of ``latent`` dimensions."""
    codes = Reals((latent,))
    encoder = _encoder(space, VonMisesFishers.numbers(codes), width, blocks, dropout, input_dropout)
    return HypersphericalVAE(
        space,
        VonMisesFishers(encoder, codes),
        _decoder(space, latent, width, blocks, dropout),
        UniformSpherePrior(latent),
        warmup=warmup,
    )


def bottom_up_vae(
    space: _Space,
    lower: int = 16,
    upper: int = 8,
    width: int = 256,
    dropout: float = 0.2,
    input_dropout: float = 0.3,
    free_nats: float = 0.0,
    warmup: int = 0,
) -> BottomUpVAE:
    """Two levels, of ``lower`` and ``upper`` numbers."""
    z1, z2 = Reals((lower,)), Reals((upper,))
    return BottomUpVAE(
        space,
        Gaussians(_encoder(space, Gaussians.numbers(z1), width, 1, dropout, input_dropout), z1),
        _gaussians(z2, lower, width, 1, dropout),
        _gaussians(z1, upper, width, 1, dropout),
        _decoder(space, lower, width, 1, dropout),
        free_nats=free_nats,
        warmup=warmup,
    )


def top_down_vae(
    space: _Space,
    lower: int = 16,
    upper: int = 8,
    width: int = 256,
    dropout: float = 0.2,
    input_dropout: float = 0.3,
    free_nats: float = 0.0,
    warmup: int = 0,
) -> TopDownVAE:
    """Two levels, of ``lower`` and ``upper`` numbers."""
    z1 = Reals((lower,))
    return TopDownVAE(
        space,
        _encoder(space, width, width, 1, dropout, input_dropout),
        ResidualMLP(width, width, width, 1, dropout),
        nn.Linear(width, 2 * lower),
        nn.Linear(width, 2 * upper),
        _gaussians(z1, upper, width, 1, dropout),
        _decoder(space, lower, width, 1, dropout),
        upper,
        free_nats=free_nats,
        warmup=warmup,
    )


def residual_vae(
    space: _Space,
    latent: int = 8,
    levels: int = 2,
    width: int = 256,
    dropout: float = 0.2,
    input_dropout: float = 0.3,
    free_nats: float = 0.0,
    warmup: int = 0,
) -> ResidualVAE:
    """``levels`` of ``latent`` numbers each."""
    return ResidualVAE(
        space,
        _encoder(space, width, width, 1, dropout, input_dropout),
        [Level(width, latent, dropout) for _ in range(levels)],
        _decoder(space, width, width, 1, dropout),
        width,
        free_nats=free_nats,
        warmup=warmup,
    )


def diffusion(
    space: _Space,
    steps: int = 100,
    width: int = 256,
    blocks: int = 3,
    dropout: float = 0.1,
    schedule: str | None = None,
    predicts: Predicted = "noise",
    objective: Objective = "bound",
    net_per_step: bool = False,
) -> DiffusionModel:
    """A diffusion model with any of ``SCHEDULES``, and one network for all steps or one for each.

    Args:
        schedule: None: ``cosine`` for integers; for real numbers ``log-snr`` (see :class:`NoiseDenoiser`).

    Raises:
        NoSuchPart: ``schedule`` or ``predicts`` is none of these, or data that are real numbers are to be predicted.
        ValueError: ``objective`` is none of the model's.
    """
    if predicts not in get_args(Predicted):
        raise NoSuchPart(f"there is no prediction of {predicts!r}: choose from {', '.join(get_args(Predicted))}")
    schedule = schedule or ("cosine" if isinstance(space, Integers) else "log-snr")
    forward = _part("schedule", schedule, SCHEDULES)(steps)

    def net(numbers: int) -> nn.Module:
        if not net_per_step:
            return TimeConditioned(ResidualMLP(TimeConditioned.inputs(space), numbers, width, blocks, dropout), steps)
        return PerStep(
            nn.Sequential(nn.Flatten(), ResidualMLP(space.dimensions, numbers, width, blocks, dropout))
            for _ in range(steps)
        )

    if predicts == "data":
        if isinstance(space, Reals):
            raise NoSuchPart("data are predicted level by level, and real numbers have none: choose noise")
        distribution = DiscretizedLogistics(nn.Identity(), space, _LOGISTICS)
        numbers = DiscretizedLogistics.numbers(space, _LOGISTICS)
        denoiser: Denoiser = DataDenoiser(net(numbers), distribution, forward)
    else:
        variance = predicts == "noise and variance"
        denoiser = NoiseDenoiser(net(NoiseDenoiser.numbers(space, variance)), space, forward, variance)
    return DiffusionModel(space, forward, denoiser, objective)


def _encoder(
    space: _Space, outputs: int, width: int, blocks: int, dropout: float, input_dropout: float
) -> nn.Sequential:
    """Without the noise that dropout is, an encoder soon knows a thousand images by heart, and no others."""
    net = ResidualMLP(space.dimensions, outputs, width, blocks, dropout)
    return nn.Sequential(nn.Flatten(), nn.Dropout(input_dropout), net)


def _decoder(
    space: _Space, inputs: int, width: int, blocks: int, dropout: float, kind: _DecoderKind | None = None
) -> Conditional:
    """Of integers logistics rather than categoricals, which know nothing of neighbouring values and overfit by far."""
    if isinstance(space, Reals):
        if kind not in (None, "gaussian"):
            raise NoSuchPart(f"there is no decoder {kind!r} of real numbers: choose gaussian")
        return _gaussians(space, inputs, width, blocks, dropout)

    def net(numbers: int) -> ResidualMLP:
        return ResidualMLP(inputs, numbers, width, blocks, dropout)

    match kind or "logistics":
        case "logistics":
            return DiscretizedLogistics(net(DiscretizedLogistics.numbers(space, _LOGISTICS)), space, _LOGISTICS)
        case "categorical":
            return Categoricals(net(Categoricals.numbers(space)), space)
        case "bernoulli":
            return Bernoullis(net(Bernoullis.numbers(space)), space)
    raise NoSuchPart(f"there is no decoder {kind!r} of integers: choose from logistics, categorical, bernoulli")


def _gaussians(space: Reals, inputs: int, width: int, blocks: int, dropout: float) -> Gaussians:
    return Gaussians(ResidualMLP(inputs, Gaussians.numbers(space), width, blocks, dropout), space)


_Part = TypeVar("_Part")


def _part(what: str, name: str, parts: Mapping[str, _Part]) -> _Part:
    if name not in parts:
        raise NoSuchPart(f"there is no {what} {name!r}: choose from {', '.join(parts)}")
    return parts[name]
