"""Llama, Qwen2 and Mistral: RMSNorm before, rotary positions, a gated MLP. They differ in biases and in the window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genaisys.hub.checkpoints import CheckpointBroken, CheckpointUnsupported, rotary_settings
from genaisys.models.transformer.architectures.architecture import Architecture, Layout, Settings
from genaisys.models.transformer.config import TransformerConfig

_ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}
_DEFAULTS: Mapping[str, Any] = {
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "attention_dropout": 0.0,
    "tie_word_embeddings": False,
}
_MODULES: Mapping[str, tuple[str, Layout]] = {
    "embedding": ("model.embed_tokens", "plain"),
    "blocks.{}.attention_norm": ("model.layers.{}.input_layernorm", "plain"),
    "blocks.{}.attention.query": ("model.layers.{}.self_attn.q_proj", "plain"),
    "blocks.{}.attention.key": ("model.layers.{}.self_attn.k_proj", "plain"),
    "blocks.{}.attention.value": ("model.layers.{}.self_attn.v_proj", "plain"),
    "blocks.{}.attention.output": ("model.layers.{}.self_attn.o_proj", "plain"),
    "blocks.{}.mlp_norm": ("model.layers.{}.post_attention_layernorm", "plain"),
    "blocks.{}.mlp.gate": ("model.layers.{}.mlp.gate_proj", "plain"),
    "blocks.{}.mlp.up": ("model.layers.{}.mlp.up_proj", "plain"),
    "blocks.{}.mlp.down": ("model.layers.{}.mlp.down_proj", "plain"),
    "norm": ("model.norm", "plain"),
    "head": ("lm_head", "plain"),
}


def _read(settings: Settings) -> dict[str, Any]:
    """What all three have."""
    width, heads = settings.size("hidden_size"), settings.size("num_attention_heads")
    return dict(
        context_length=settings.size("max_position_embeddings"),
        layers=settings.size("num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=settings.size("num_key_value_heads", heads),
        head_width=settings.size("head_dim", width // heads),
        hidden=settings.size("intermediate_size"),
        norm="rms",
        norm_place="pre",
        positions="rotary",
        activation=settings.choice("hidden_act", _ACTIVATIONS),
        gated=True,
        norm_epsilon=settings.positive("rms_norm_eps"),
        dropout=settings.number("attention_dropout", most=1),
        **_read_rotary(settings),
    )


def _read_rotary(settings: Settings) -> dict[str, Any]:
    """Base and stretching: ``rope_parameters``, or as older files have it, ``rope_theta`` and ``rope_scaling``."""
    given = settings.mapping("rope_parameters") or settings.mapping("rope_scaling")
    rotary = Settings(given, {"rope_theta": settings.given("rope_theta")})
    kind = rotary.given("rope_type", rotary.given("type", "default"))
    if kind not in ("default", "llama3"):
        raise CheckpointUnsupported(
            f"rotary scaling of the kind {str(kind)[:80]!r} is not known; known are default and llama3"
        )
    if any(isinstance(value, dict) for value in given.values()):
        raise CheckpointUnsupported("rotary positions that differ from layer to layer are not known")
    rotary.require("partial_rotary_factor", 1)
    settings.require("partial_rotary_factor", 1)
    scaling = None
    if kind == "llama3":
        scaling = {name: rotary.positive(name) for name in ("factor", "low_freq_factor", "high_freq_factor")}
        if scaling["low_freq_factor"] >= scaling["high_freq_factor"]:
            raise CheckpointBroken("the setting low_freq_factor is not below high_freq_factor")
        context = settings.size("max_position_embeddings")
        scaling["original"] = rotary.size("original_max_position_embeddings", context)
    return {"rotary_base": rotary.positive("rope_theta"), "rotary_scaling": scaling}


def _write(config: TransformerConfig) -> dict[str, Any]:
    parameters: dict[str, Any] = {"rope_type": "default"}
    if config.rotary_scaling is not None:
        parameters = {"rope_type": "llama3", **config.rotary_scaling}
        parameters["original_max_position_embeddings"] = int(parameters.pop("original"))
    return {
        "max_position_embeddings": config.context_length,
        "num_hidden_layers": config.layers,
        "hidden_size": config.width,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.hidden,
        "hidden_act": "gelu_pytorch_tanh" if config.activation == "gelu_tanh" else config.activation,
        "rms_norm_eps": config.norm_epsilon,
        "attention_dropout": config.dropout,
        **rotary_settings(config.rotary_base, parameters),
    }


# -- Llama: biases of all attention layers, of the MLP, of both, or none


def _read_llama(settings: Settings) -> dict[str, Any]:
    biased = settings.flag("attention_bias")
    return _read(settings) | {"query_bias": biased, "output_bias": biased, "mlp_bias": settings.flag("mlp_bias")}


def _write_llama(config: TransformerConfig) -> dict[str, Any]:
    return _write(config) | {"attention_bias": config.query_bias, "mlp_bias": config.mlp_bias}


# -- Qwen2: biases of queries, keys and values; a window in all layers or in none


def _read_qwen2(settings: Settings) -> dict[str, Any]:
    shape = _read(settings) | {"query_bias": True}
    if not settings.flag("use_sliding_window") or settings.given("sliding_window") is None:
        return shape
    first = settings.integer("max_window_layers")
    kinds = settings.given("layer_types") or [
        "sliding_attention" if first <= layer else "full_attention" for layer in (0, shape["layers"] - 1)
    ]
    if not isinstance(kinds, list) or len({*map(str, kinds)}) > 1:
        raise CheckpointUnsupported("a sliding window in some layers and not in others is not known")
    return shape | {"window": settings.size("sliding_window") if kinds[0] == "sliding_attention" else None}


def _write_qwen2(config: TransformerConfig) -> dict[str, Any]:
    sliding: dict[str, Any] = {"use_sliding_window": config.window is not None, "sliding_window": config.window}
    if config.window is not None:
        sliding |= {"max_window_layers": 0, "layer_types": ["sliding_attention"] * config.layers}
    return _write(config) | sliding


# -- Mistral: a window in all layers, or heads of any width


def _read_mistral(settings: Settings) -> dict[str, Any]:
    windowed = settings.given("sliding_window") is not None
    return _read(settings) | {"window": settings.size("sliding_window") if windowed else None}


def _write_mistral(config: TransformerConfig) -> dict[str, Any]:
    return _write(config) | {"sliding_window": config.window}


LLAMA = Architecture(
    "LlamaForCausalLM",
    "llama",
    {**_DEFAULTS, "bos_token_id": 1, "eos_token_id": 2, "attention_bias": False, "mlp_bias": False},
    _read_llama,
    _write_llama,
    _MODULES,
)
QWEN2 = Architecture(
    "Qwen2ForCausalLM",
    "qwen2",
    {**_DEFAULTS, "num_key_value_heads": 32, "sliding_window": 4096, "max_window_layers": 28},
    _read_qwen2,
    _write_qwen2,
    _MODULES,
)
MISTRAL = Architecture(
    "MistralForCausalLM",
    "mistral",
    {**_DEFAULTS, "bos_token_id": 1, "eos_token_id": 2, "num_key_value_heads": 8, "sliding_window": 4096},
    _read_mistral,
    _write_mistral,
    _MODULES,
)
