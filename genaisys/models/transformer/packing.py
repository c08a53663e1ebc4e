"""A transformer's weights in the form that generation reads: few large arrays, int8 or float32.

The int8 form has one scale for each output of each linear map: ``weight = scale * integers``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from genaisys.models.transformer.config import TransformerConfig
from genaisys.models.transformer.kernel.decoding import Scratch
from genaisys.models.transformer.kernel.network import GELU, GELU_TANH, SILU, Linear, Network, Shape
from genaisys.models.transformer.kernel.simd import BLOCK, LINE, Rows
from genaisys.models.transformer.rotary import frequencies

_ACTIVATIONS = {"silu": SILU, "gelu_tanh": GELU_TANH, "gelu": GELU}
EVERYWHERE = 2**62  # a window that ends nowhere

Array = npt.NDArray[Any]

_ROWS = 512  # that are packed at a time: what lies between the file and the packed form stays small


def pack(config: TransformerConfig, tensors: Mapping[str, Tensor], quantise: bool) -> Network:
    """The network of the tensors of a ``TransformerLM``, by their names there; each is asked for once."""

    def linear(*names: str, bias: bool = False) -> Linear:
        """The linear maps called ``names``, one below the other, of every layer."""
        of_layer = [[f"blocks.{n}.{name}" for name in names] for n in range(config.layers)]
        weights = [[f"{name}.weight" for name in layer] for layer in of_layer]
        return _packed(
            tensors, weights, [[f"{name}.bias" for name in layer] for layer in of_layer] if bias else None, quantise
        )

    def table(name: str) -> Linear:
        return _packed(tensors, [[name]], None, quantise)

    def norm(name: str) -> Array:
        weight = tensors[f"{name}.weight"].float()
        bias = torch.zeros_like(weight) if config.norm == "rms" else tensors[f"{name}.bias"].float()
        return torch.stack([weight, bias]).numpy()

    norms = [norm(f"blocks.{n}.{part}_norm") for n in range(config.layers) for part in ("attention", "mlp")]
    nothing = np.stack([np.ones(config.width, np.float32), np.zeros(config.width, np.float32)])
    norms = [nothing, *norms] if config.norm_place == "post" else [*norms, norm("norm")]
    embedding = table("embedding.weight")
    learned = config.positions == "learned"
    positions = tensors["positions.weight"].float().numpy() if learned else np.zeros((0, config.width), np.float32)
    heads = [f"attention.{part}" for part in ("query", "key", "value")]
    return Network(
        Shape(
            config.layers, config.width, config.heads, config.kv_heads, config.head_width, config.hidden,
            config.norm_place == "post", config.norm == "rms", not learned, config.gated,
            _ACTIVATIONS[config.activation], config.window or EVERYWHERE, config.norm_epsilon,
        ),
        embedding,
        positions,
        frequencies(config).numpy(),
        np.stack(norms),
        linear(*heads, bias=config.query_bias),
        linear("attention.output", bias=config.output_bias),
        linear(*["mlp.gate"] * config.gated, "mlp.up", bias=config.mlp_bias),
        linear("mlp.down", bias=config.mlp_bias),
        embedding if config.tied_embeddings else table("head.weight"),
    )  # fmt: skip


def _packed(
    tensors: Mapping[str, Tensor],
    weights: Sequence[Sequence[str]],
    biases: Sequence[Sequence[str]] | None,
    quantise: bool,
) -> Linear:
    """A ``Linear`` of the matrices called ``weights`` in each layer, one below the other, some rows at a time."""
    first = [tensors[name] for name in weights[0]]
    outputs, inputs = sum(map(len, first)), first[0].shape[1]
    blocks, steps, depth = padded(outputs, BLOCK) // BLOCK, padded(inputs, LINE) // LINE, 4 if quantise else 1
    shape = (len(weights), blocks, steps, LINE // depth, BLOCK, depth)
    packed = Linear(
        np.zeros(shape, np.int8) if quantise else np.zeros(shape, np.float32),
        np.zeros((len(weights), blocks * BLOCK), np.float32),
        np.zeros((len(weights), blocks * BLOCK), np.float32),
    )
    for layer, names in enumerate(weights):
        row = 0
        for name in names:
            for rows in tensors[name].detach().split(_ROWS):
                scale = torch.ones(len(rows))
                values = rows.float()
                if quantise:
                    scale = values.abs().amax(dim=1).clamp(min=1e-12) / 127
                    values = (values / scale[:, None]).round_()
                place = np.arange(row, row + len(rows))
                whole = F.pad(values, (0, steps * LINE - inputs)).view(-1, steps, LINE // depth, depth)
                packed.weight[layer, place // BLOCK, :, :, place % BLOCK] = whole
                packed.scale[layer, place] = scale
                row += len(rows)
        if biases is not None:
            packed.bias[layer, :outputs] = torch.cat([tensors[name].detach().float() for name in biases[layer]])
    return packed


def padded(size: int, grain: int) -> int:
    """``size``, up to a multiple of ``grain``."""
    return -(-size // grain) * grain


def scratch_for(config: TransformerConfig, network: Network, rows: int, workers: int) -> Scratch:
    """Room for steps of up to ``rows`` rows by ``workers`` workers."""
    widest = max(linear.weight.shape[2] * LINE for linear in (network.qkv, network.output, network.down, network.head))
    most = max(linear.scale.shape[1] for linear in (network.qkv, network.output, network.up, network.down))
    group = config.heads // config.kv_heads

    def zeros(*shape: int, dtype: npt.DTypeLike = np.float32) -> Array:
        return np.zeros(shape, dtype)

    return Scratch(
        stream=zeros(rows, config.width),
        inputs=zeros(workers, rows, widest),
        rows=Rows(
            zeros(workers, rows, widest, dtype=network.qkv.weight.dtype),
            zeros(workers, rows, widest // LINE),
            zeros(workers, rows, widest // LINE, dtype=np.int32),
        ),
        outputs=zeros(workers, rows, most),
        rotation=zeros(rows, 2, len(network.turning)),
        queries=zeros(rows, config.heads, config.head_width),
        mixed=zeros(rows, widest),
        hidden=zeros(rows, widest),
        scores=zeros(workers, group, padded(config.context_length, BLOCK) + BLOCK),
        mean_value=zeros(workers, group, padded(config.head_width, BLOCK)),
        barrier=np.zeros(8, np.int64),
    )
