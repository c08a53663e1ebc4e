"""GPT-2, GPT-1 and OPT: LayerNorm, learned positions, an MLP without gate.

GPT-2 normalises before the sums, GPT-1 after them. OPT does either, and takes what these two do not: a post-norm model
with an MLP of any width, as teenyGPT is, and models without biases.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genaisys.hub.checkpoints import CheckpointBroken
from genaisys.models.transformer.architectures.architecture import Architecture, Layout, Settings
from genaisys.models.transformer.config import TransformerConfig

_ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "silu": "silu",
    "swish": "silu",
}
GPT1_ACTIVATIONS = {"gelu": "gelu_tanh", "silu": "silu", "swish": "silu"}  # its "gelu" is the tanh form
OPT_EPSILON = 1e-5  # it has no setting for it

_GPT_BLOCK: Mapping[str, tuple[str, Layout]] = {
    "blocks.{}.attention_norm": ("transformer.h.{}.ln_1", "plain"),
    "blocks.{}.attention.query": ("transformer.h.{}.attn.c_attn", "first third"),
    "blocks.{}.attention.key": ("transformer.h.{}.attn.c_attn", "second third"),
    "blocks.{}.attention.value": ("transformer.h.{}.attn.c_attn", "last third"),
    "blocks.{}.attention.output": ("transformer.h.{}.attn.c_proj", "transposed"),
    "blocks.{}.mlp_norm": ("transformer.h.{}.ln_2", "plain"),
    "blocks.{}.mlp.up": ("transformer.h.{}.mlp.c_fc", "transposed"),
    "blocks.{}.mlp.down": ("transformer.h.{}.mlp.c_proj", "transposed"),
    "head": ("lm_head", "plain"),
}
_GPT2_MODULES: Mapping[str, tuple[str, Layout]] = {
    **_GPT_BLOCK,
    "embedding": ("transformer.wte", "plain"),
    "positions": ("transformer.wpe", "plain"),
    "norm": ("transformer.ln_f", "plain"),
}
_GPT1_MODULES: Mapping[str, tuple[str, Layout]] = {
    **_GPT_BLOCK,
    "embedding": ("transformer.tokens_embed", "plain"),
    "positions": ("transformer.positions_embed", "plain"),
}
_OPT_MODULES: Mapping[str, tuple[str, Layout]] = {
    "embedding": ("model.decoder.embed_tokens", "plain"),
    "positions": ("model.decoder.embed_positions", "after two rows"),
    "blocks.{}.attention_norm": ("model.decoder.layers.{}.self_attn_layer_norm", "plain"),
    "blocks.{}.attention.query": ("model.decoder.layers.{}.self_attn.q_proj", "plain"),
    "blocks.{}.attention.key": ("model.decoder.layers.{}.self_attn.k_proj", "plain"),
    "blocks.{}.attention.value": ("model.decoder.layers.{}.self_attn.v_proj", "plain"),
    "blocks.{}.attention.output": ("model.decoder.layers.{}.self_attn.out_proj", "plain"),
    "blocks.{}.mlp_norm": ("model.decoder.layers.{}.final_layer_norm", "plain"),
    "blocks.{}.mlp.up": ("model.decoder.layers.{}.fc1", "plain"),
    "blocks.{}.mlp.down": ("model.decoder.layers.{}.fc2", "plain"),
    "norm": ("model.decoder.final_layer_norm", "plain"),
    "head": ("lm_head", "plain"),
}


def _read(settings: Settings, positions: str, layers: str, width: str, heads: str) -> dict[str, Any]:
    """What all three have, with their names of the sizes."""
    head_width, rest = divmod(settings.size(width), settings.size(heads))
    if rest:
        raise CheckpointBroken(f"the setting {width} is not a multiple of {heads}")
    return {
        "context_length": settings.size(positions),
        "layers": settings.size(layers),
        "width": settings.size(width),
        "heads": settings.size(heads),
        "kv_heads": settings.size(heads),
        "head_width": head_width,
        "norm": "layer",
        "positions": "learned",
    }


# -- GPT-1 and GPT-2


def _read_gpt2(settings: Settings) -> dict[str, Any]:
    settings.require("scale_attn_weights", True)
    settings.require("scale_attn_by_inverse_layer_idx", False)
    settings.require("add_cross_attention", False)
    activation = settings.choice("activation_function", _ACTIVATIONS)
    hidden = settings.size("n_inner", 4 * settings.size("n_embd"))
    return _read_gpt(settings) | {"norm_place": "pre", "activation": activation, "hidden": hidden}


def _read_gpt1(settings: Settings) -> dict[str, Any]:
    activation, hidden = settings.choice("afn", GPT1_ACTIVATIONS), 4 * settings.size("n_embd")
    return _read_gpt(settings) | {"norm_place": "post", "activation": activation, "hidden": hidden}


def _read_gpt(settings: Settings) -> dict[str, Any]:
    return _read(settings, "n_positions", "n_layer", "n_embd", "n_head") | {
        "query_bias": True,
        "output_bias": True,
        "mlp_bias": True,
        "norm_epsilon": settings.positive("layer_norm_epsilon"),
        "dropout": settings.number("resid_pdrop", most=1),
    }


def _write_gpt2(config: TransformerConfig) -> dict[str, Any]:
    activation = "gelu_new" if config.activation == "gelu_tanh" else config.activation
    return _write_gpt(config) | {"activation_function": activation, "n_inner": config.hidden}


def _write_gpt1(config: TransformerConfig) -> dict[str, Any]:
    return _write_gpt(config) | {"afn": "gelu" if config.activation == "gelu_tanh" else config.activation}


def _write_gpt(config: TransformerConfig) -> dict[str, Any]:
    return {
        "n_positions": config.context_length,
        "n_layer": config.layers,
        "n_embd": config.width,
        "n_head": config.heads,
        "layer_norm_epsilon": config.norm_epsilon,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
    }


# -- OPT


def _read_opt(settings: Settings) -> dict[str, Any]:
    names = ("max_position_embeddings", "num_hidden_layers", "hidden_size", "num_attention_heads")
    biased = settings.flag("enable_bias")
    settings.require("word_embed_proj_dim", settings.size("hidden_size"))
    settings.require("layer_norm_elementwise_affine", True)
    settings.require("_remove_final_layer_norm", False)
    return _read(settings, *names) | {
        "norm_place": "pre" if settings.flag("do_layer_norm_before") else "post",
        "activation": settings.choice("activation_function", _ACTIVATIONS),
        "hidden": settings.size("ffn_dim"),
        "query_bias": biased,
        "output_bias": biased,
        "mlp_bias": biased,
        "norm_epsilon": OPT_EPSILON,
        "dropout": settings.number("dropout", most=1),
    }


def _write_opt(config: TransformerConfig) -> dict[str, Any]:
    return {
        "max_position_embeddings": config.context_length,
        "num_hidden_layers": config.layers,
        "hidden_size": config.width,
        "word_embed_proj_dim": config.width,
        "num_attention_heads": config.heads,
        "ffn_dim": config.hidden,
        "activation_function": "gelu_new" if config.activation == "gelu_tanh" else config.activation,
        "do_layer_norm_before": config.norm_place == "pre",
        "enable_bias": config.query_bias,
        "dropout": config.dropout,
        "attention_dropout": config.dropout,
    }


_GPT_DEFAULTS: Mapping[str, Any] = {"layer_norm_epsilon": 1e-5, "resid_pdrop": 0.1, "tie_word_embeddings": True}

GPT2 = Architecture(
    "GPT2LMHeadModel",
    "gpt2",
    {**_GPT_DEFAULTS, "activation_function": "gelu_new", "bos_token_id": 50256, "eos_token_id": 50256},
    _read_gpt2,
    _write_gpt2,
    _GPT2_MODULES,
)
GPT1 = Architecture(
    "OpenAIGPTLMHeadModel", "openai-gpt", {**_GPT_DEFAULTS, "afn": "gelu"}, _read_gpt1, _write_gpt1, _GPT1_MODULES
)
OPT = Architecture(
    "OPTForCausalLM",
    "opt",
    {
        "activation_function": "relu",
        "enable_bias": True,
        "do_layer_norm_before": True,
        "dropout": 0.1,
        "tie_word_embeddings": True,
        "bos_token_id": 2,
        "eos_token_id": 2,
        "pad_token_id": 1,
    },
    _read_opt,
    _write_opt,
    _OPT_MODULES,
)
