"""Models by name: what is built from a space and a few sizes, saved, and built again from its files.

    model = build("realnvp", Integers((1, 8, 8), 0, 16), width=128)
    model.save_pretrained("digits-realnvp")
    model = load_model("digits-realnvp")

A model that was put together by hand, with networks of your own, is trained and sampled like any other; its weights
are saved with ``safetensors``, and the code that builds it is yours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

from genaisys.errors import GenaisysError
from genaisys.hub.checkpoints import CheckpointBroken, CheckpointFolder, write_checkpoint
from genaisys.models.autoregressive.convolutional import arm_convolutions
from genaisys.models.autoregressive.finite_memory import arm_memory
from genaisys.models.autoregressive.pixelcnn import pixelcnn
from genaisys.models.autoregressive.recurrent import arm_rnn
from genaisys.models.autoregressive.transformer import arm_transformer
from genaisys.models.base import GenerativeModel
from genaisys.models.circuits.einet import einet
from genaisys.models.circuits.trees import chow_liu_tree, hidden_tree
from genaisys.models.factorised import factorised
from genaisys.models.flows.glow import Glow
from genaisys.models.flows.idf import idf
from genaisys.models.flows.realnvp import RealNVP
from genaisys.models.flows.residual_flow import DenseFlow, ResidualFlow
from genaisys.models.flows.splines import SplineFlow
from genaisys.models.latent import presets as latent
from genaisys.models.latent.ppca import probabilistic_pca
from genaisys.models.mixtures import categorical_mixture, gaussian_mixture
from genaisys.models.spaces import Integers, Reals, SpaceUnfit

# From a space and sizes, which are numbers, strings and yes or no, to a model with random weights.
PRESETS: Mapping[str, Callable[..., GenerativeModel]] = {
    "factorised": factorised,
    "mixture": categorical_mixture,
    "mixture-gaussian": gaussian_mixture,
    "chow-liu": chow_liu_tree,
    "hidden-tree": hidden_tree,
    "einet": einet,
    "arm-memory": arm_memory,
    "arm-rnn": arm_rnn,
    "arm-convolutions": arm_convolutions,
    "pixelcnn": pixelcnn,
    "arm-transformer": arm_transformer,
    "realnvp": RealNVP,
    "glow": Glow,
    "spline-flow": SplineFlow,
    "residual-flow": ResidualFlow,
    "dense-flow": DenseFlow,
    "idf": idf,
    "ppca": probabilistic_pca,
    "vae": latent.vae,
    "hyperspherical-vae": latent.hyperspherical_vae,
    "bottom-up-vae": latent.bottom_up_vae,
    "top-down-vae": latent.top_down_vae,
    "residual-vae": latent.residual_vae,
    "diffusion": latent.diffusion,
}
_SPACES: Mapping[str, type[Integers] | type[Reals]] = {"integers": Integers, "reals": Reals}


class NotAPreset(GenaisysError):
    """There is no such preset, or a model was not built by one."""


@dataclass(frozen=True)
class Preset:
    """How a model was built."""

    name: str
    space: Integers | Reals
    sizes: Mapping[str, Any] = field(default_factory=dict)


def build(name: str, space: Integers | Reals, **sizes: Any) -> GenerativeModel:
    """The model called ``name`` for data of ``space``, with random weights.

    Raises:
        NotAPreset: there is none.
        SpaceUnfit: it cannot be of such data.
        TypeError: the preset has no such size.
    """
    if name not in PRESETS:
        raise NotAPreset(f"there is no model {name!r}: choose from {', '.join(PRESETS)}")
    preset = PRESETS[name]
    if not isinstance(space, signature(preset, eval_str=True).parameters["space"].annotation):
        raise SpaceUnfit(f"{name} is a model of integers, and these data are real numbers")
    model = preset(space, **sizes)
    model.preset = Preset(name, space, sizes)
    return model


def save(model: GenerativeModel, folder: Path) -> None:
    """See :meth:`GenerativeModel.save_pretrained`."""
    if model.preset is None:
        raise NotAPreset(
            "only models of genaisys.models.build can be saved with their shape: save the weights of one put together "
            "by hand with safetensors.torch.save_model"
        )
    preset = model.preset
    kind = next(name for name, of in _SPACES.items() if isinstance(preset.space, of))
    values = {name: getattr(preset.space, name) for name in preset.space.__slots__}
    config = {"model": preset.name, "space": {"kind": kind, **values}, "sizes": dict(preset.sizes)}
    tensors = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
    write_checkpoint(folder, config, tensors)


def load_model(folder: str | Path) -> GenerativeModel:
    """The model that ``save_pretrained`` has written into ``folder``, in eval mode.

    Raises:
        CheckpointBroken: there is no model, or its files do not belong together.
        NotAPreset: it is of a preset that is not known here.
    """
    files = CheckpointFolder(Path(folder))
    config = files.config
    try:
        space = dict(config["space"])
        shape = tuple(int(size) for size in space.pop("shape"))
        model = build(config["model"], _SPACES[space.pop("kind")](shape, **space), **config["sizes"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:  # the last of sizes below zero
        raise CheckpointBroken(f"{files.config_file} is broken: it describes no model ({error})") from error
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name in sorted(expected.keys() | files.shapes.keys()):
        if expected.get(name) != files.shapes.get(name):
            raise CheckpointBroken(
                f"{files.weights_file} does not fit {files.config_file.name}: {name} should have the shape "
                f"{expected.get(name)}, and has {files.shapes.get(name)}"
            )
    model.load_state_dict({name: files.read(name) for name in expected})
    return model.eval()
