"""The generative models. `docs/models.md` explains their interface in one page."""

from importlib import import_module
from typing import Any

# Where the models live. They are imported when they are asked for: the command line should not wait for all of them.
_HOMES = {
    "Integers": "spaces",
    "Reals": "spaces",
    "Tokens": "spaces",
    "OutOfSpace": "spaces",
    "SpaceUnfit": "spaces",
    "build": "presets",
    "load_model": "presets",
    "FactorisedCategorical": "factorised",
    "Mixture": "mixtures",
    "DiscreteMixture": "mixtures",
    "Circuit": "circuits.circuit",
    "UnitCircuit": "circuits.units",
    "ChowLiuTree": "circuits.trees",
    "TreeCircuit": "circuits.trees",
    "Einet": "circuits.einet",
    "NotCompressed": "lossless",
    "Autoregressive": "autoregressive.model",
    "Flow": "flows.flow",
    "RealNVP": "flows.realnvp",
    "Glow": "flows.glow",
    "SplineFlow": "flows.splines",
    "ResidualFlow": "flows.residual_flow",
    "DenseFlow": "flows.residual_flow",
    "IntegerDiscreteFlow": "flows.idf",
    "ProbabilisticPCA": "latent.ppca",
    "VAE": "latent.vae",
    "HypersphericalVAE": "latent.hyperspherical",
    "BottomUpVAE": "latent.bottom_up",
    "TopDownVAE": "latent.top_down",
    "ResidualVAE": "latent.residual_vae",
    "DiffusionModel": "latent.diffusion",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"genaisys.models.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'genaisys.models' has no attribute {name!r}")
