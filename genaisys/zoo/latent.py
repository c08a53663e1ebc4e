"""Latent-variable models (book chapter 5)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from genaisys.models.base import GenerativeModel
from genaisys.models.latent.vae import VAE
from genaisys.models.latent.vampprior import VampPrior
from genaisys.training import TrainingSettings
from genaisys.zoo.entries import Entry, OnRecord, Trainer, by_gradient

# A thousand images are soon known by heart: the average of weights is kept that is best on held-out ones.
_GENTLY = TrainingSettings(
    steps=4000,
    batch_size=64,
    learning_rate=2e-3,
    weight_decay=0.05,
    ema_decay=0.995,
    evaluate_every=100,
    patience=4,
)


def from_data(trainer: Trainer) -> Trainer:
    """A trainer of models with a VampPrior, whose pseudo-inputs begin as images."""

    def trained(
        model: GenerativeModel, x: Tensor, validation: Tensor, seed: int, folder: Path, on_record: OnRecord
    ) -> None:
        assert isinstance(model, VAE)
        assert isinstance(model.prior, VampPrior)
        model.prior.begin_with(x)
        trainer(model, x, validation, seed, folder, on_record)

    return Trainer(trained, trainer.steps)


def _entry(
    section: str, about: str, preset: str, trained: Trainer | None = None, samples: int = 100, **sizes: Any
) -> Entry:
    trained = trained or by_gradient(_GENTLY)
    return Entry("latent-variable models", section, about, preset, trained, sizes, samples=samples)


def _with_prior(section: str, about: str, prior: str, trained: Trainer | None = None) -> Entry:
    """Two dimensions, so that codes can be drawn over the prior."""
    return _entry(section, f"VAE, 2 dimensions of codes, {about}", "vae", trained, latent=2, prior=prior, components=16)


def _with_posterior(section: str, about: str, posterior: str) -> Entry:
    return _entry(section, f"VAE, posterior: {about}", "vae", input_dropout=0.0, warmup=400, posterior=posterior)


ENTRIES: Mapping[str, Entry] = {
    "vae": _entry("5.3", "variational auto-encoder, 16 dimensions of codes", "vae", input_dropout=0.0, warmup=400),
    "vae-standard-prior": _with_prior("5.4.1.3", "standard normal prior", "standard"),
    "vae-mixture-prior": _with_prior("5.4.1.4", "mixture of Gaussians for prior", "mixture"),
    "vae-vampprior": _with_prior("5.4.1.5", "VampPrior", "vamp", from_data(by_gradient(_GENTLY))),
    "vae-gtm-prior": _with_prior("5.4.1.6", "GTM for prior", "gtm"),
    "vae-gtm-vampprior": _with_prior("5.4.1.7", "GTM-VampPrior", "gtm-vamp"),
    "vae-flow-prior": _with_prior("5.4.1.8", "flow for prior", "flow"),
    "vae-autoregressive-prior": _with_prior("5.4.1.9", "autoregressive prior", "autoregressive"),
    "vae-householder": _with_posterior("5.4.2.1", "Householder flow", "householder"),
    "vae-orthogonal-sylvester": _with_posterior("5.4.2.2", "orthogonal Sylvester flow", "orthogonal-sylvester"),
    "vae-householder-sylvester": _with_posterior("5.4.2.2", "Householder Sylvester flow", "householder-sylvester"),
    "vae-triangular-sylvester": _with_posterior("5.4.2.2", "triangular Sylvester flow", "triangular-sylvester"),
    "vae-inverse-autoregressive": _with_posterior(
        "Kingma et al. 2016", "inverse autoregressive flow", "inverse-autoregressive"
    ),
    "hyperspherical-vae": _entry(
        "5.4.2.3", "VAE with codes on a sphere", "hyperspherical-vae", input_dropout=0.0, warmup=400
    ),
    "bottom-up-vae": _entry(
        "5.5.2.1", "two levels of codes, posterior from below", "bottom-up-vae", input_dropout=0.0, warmup=400
    ),
    "top-down-vae": _entry(
        "5.5.2.2", "two levels of codes, posterior from above", "top-down-vae", input_dropout=0.0, warmup=400
    ),
    "residual-vae": _entry(
        "Kingma et al. 2016", "levels of codes on a residual stream", "residual-vae", input_dropout=0.0, warmup=600
    ),
    "diffusion": _entry(
        "5.5.3",
        "diffusion of integers, by the bound",
        "diffusion",
        by_gradient(_GENTLY, steps=2000, evaluate_every=200),
        samples=1,
        steps=50,
        blocks=2,
        dropout=0.2,
        schedule="log-snr",
        predicts="data",
    ),
    "diffusion-simple": _entry(
        "Ho et al. 2020",
        "diffusion that predicts noise, by L_simple",
        "diffusion",
        by_gradient(_GENTLY, steps=6000, evaluate_every=500, ema_decay=0.999),
        samples=1,
        objective="simple",
    ),
}
