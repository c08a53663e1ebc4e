"""The one configuration of all transformers here, and the presets that fill it in.

``teenygpt`` is the book's (section 11.2.4; the blocks of GPT-1), ``gpt`` that of GPT-2, ``llama`` that of Llama and its
kin (SmolLM2, Qwen2, Mistral). A preset is a function of the few numbers that people choose; any other field can be
given by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class TransformerConfig:
    """The shape of a transformer.

    Attributes:
        context_length: the most positions of one sequence, BOS included.
        width: of the residual stream.
        kv_heads: heads of keys and values; fewer than ``heads`` is grouped-query attention.
        head_width: of one head's queries, keys and values.
        hidden: width inside the MLP.
        norm_place: ``pre`` normalises what a block reads, and the last output; ``post`` each sum (book eq. 3.20-3.23).
        gated: the MLP's activation gates a second linear map (SwiGLU).
        window: a token sees this many tokens, itself included; None: all before it.
        rotary_scaling: Llama 3's stretching of rotary frequencies: ``factor``, ``low_freq_factor``,
            ``high_freq_factor`` and the ``original`` context length.
        impossible: tokens that are read but never generated, such as BOS, PAD and MASK.
        ends: tokens that end a sequence; the first is written as EOS.
        causal_weight, masked_weight: of the two parts of the training loss (book section 11.2.2).
    """

    vocabulary_size: int
    context_length: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    hidden: int
    norm: Literal["layer", "rms"]
    norm_place: Literal["pre", "post"]
    positions: Literal["learned", "rotary"]
    activation: Literal["gelu", "gelu_tanh", "silu"]
    gated: bool = False
    tied_embeddings: bool = True
    query_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    norm_epsilon: float = 1e-5
    rotary_base: float = 10_000.0
    rotary_scaling: Mapping[str, float] | None = None
    window: int | None = None
    dropout: float = 0.0
    bos: int | None = None
    pad: int | None = None
    mask: int | None = None
    ends: tuple[int, ...] = ()
    impossible: tuple[int, ...] = ()
    causal_weight: float = 1.0
    masked_weight: float = 0.0

    @property
    def start(self) -> int:
        """The token that every sequence is read after: BOS, or an end token where there is no BOS."""
        return self.bos if self.bos is not None else next(iter(self.ends), 0)

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} key-value heads evenly")
        if self.positions == "rotary" and self.head_width % 2:
            raise ValueError(f"rotary positions turn pairs of numbers: head_width {self.head_width} is odd")
        if self.masked_weight and self.mask is None:
            raise ValueError("the masked loss needs a mask token")


def teenygpt(
    vocabulary_size: int,
    context_length: int,
    *,
    layers: int = 4,
    width: int = 32,
    heads: int = 8,
    hidden: int = 4096,
    **changes: Any,
) -> TransformerConfig:
    """The book's teenyGPT: post-norm, learned positions, GELU; about 1M weights (its "128 neurons" multiply the width).

    Unlike listing 11.2 a head has ``width / heads`` numbers, as everywhere else, and not ``width``.
    """
    settings: dict[str, Any] = {
        "tied_embeddings": False,
        "norm": "layer",
        "norm_place": "post",
        "positions": "learned",
        "activation": "gelu_tanh",
        "query_bias": True,
        "output_bias": True,
        "mlp_bias": True,
        "dropout": 0.1,
        "kv_heads": heads,
        "head_width": width // heads,
    }
    settings |= changes
    return TransformerConfig(vocabulary_size, context_length, layers, width, heads, hidden=hidden, **settings)


def gpt(
    vocabulary_size: int,
    context_length: int,
    *,
    layers: int = 6,
    width: int = 384,
    heads: int = 6,
    hidden: int | None = None,
    **changes: Any,
) -> TransformerConfig:
    """The blocks of GPT-2: pre-norm, learned positions, GELU, biases, tied embeddings. 10.6M weights in its blocks.

    Its GELU is the exact one, and not GPT-2's own approximation by a tanh, which takes processors four times as long.
    """
    settings: dict[str, Any] = {
        "norm": "layer",
        "norm_place": "pre",
        "positions": "learned",
        "activation": "gelu",
        "query_bias": True,
        "output_bias": True,
        "mlp_bias": True,
        "kv_heads": heads,
        "head_width": width // heads,
        "hidden": hidden or 4 * width,
    }
    settings |= changes
    return TransformerConfig(vocabulary_size, context_length, layers, width, heads, **settings)


def llama(
    vocabulary_size: int,
    context_length: int,
    *,
    layers: int = 6,
    width: int = 384,
    heads: int = 6,
    hidden: int | None = None,
    **changes: Any,
) -> TransformerConfig:
    """The blocks of Llama: RMSNorm before, rotary positions, SwiGLU, no biases."""
    settings: dict[str, Any] = {
        "norm": "rms",
        "norm_place": "pre",
        "positions": "rotary",
        "activation": "silu",
        "gated": True,
        "kv_heads": heads,
        "head_width": width // heads,
        "hidden": hidden or -(-8 * width // 3 // 64) * 64,
    }
    settings |= changes
    return TransformerConfig(vocabulary_size, context_length, layers, width, heads, **settings)


PRESETS: Mapping[str, Callable[..., TransformerConfig]] = {"teenygpt": teenygpt, "gpt": gpt, "llama": llama}
