"""The architectures of Hugging Face that a TransformerLM can be, and their settings in ours.

===================  ===================================================================================
LlamaForCausalLM     RMSNorm, rotary positions, gated MLP; biases of all attention layers, of the MLP, or none
Qwen2ForCausalLM     with biases of queries, keys and values
MistralForCausalLM   with a sliding window, or heads of any width; no biases
GPT2LMHeadModel      LayerNorm before, learned positions, biases
OpenAIGPTLMHeadModel LayerNorm after the sums, learned positions, biases; the MLP is 4 times as wide as the stream
OPTForCausalLM       LayerNorm before or after, learned positions, biases or none; the MLP is of any width
===================  ===================================================================================

What only we have (the mask token, the weights of the losses, impossible tokens) stands under the key ``genaisys``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genaisys.hub.checkpoints import CheckpointBroken, CheckpointUnsupported
from genaisys.models.transformer.architectures.architecture import Architecture, Layout, Settings
from genaisys.models.transformer.architectures.gpt import GPT1, GPT1_ACTIVATIONS, GPT2, OPT, OPT_EPSILON
from genaisys.models.transformer.architectures.llama import LLAMA, MISTRAL, QWEN2
from genaisys.models.transformer.config import TransformerConfig

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Layout",
    "architecture_named_in",
    "architecture_of",
    "config_from_huggingface",
    "config_to_huggingface",
    "generation_config_to_huggingface",
]

ARCHITECTURES: Mapping[str, Architecture] = {it.name: it for it in (LLAMA, QWEN2, MISTRAL, GPT2, GPT1, OPT)}
_BY_TYPE = {it.model_type: it.name for it in ARCHITECTURES.values()}
_OURS: Mapping[str, Any] = {"mask": None, "masked_weight": 0.0, "causal_weight": 1.0, "impossible": ()}  # and defaults


def config_from_huggingface(
    config: Mapping[str, Any], generation_config: Mapping[str, Any] | None = None
) -> TransformerConfig:
    """The configuration that ``config.json`` and ``generation_config.json`` describe.

    Raises:
        CheckpointBroken: a setting is missing or makes no sense.
        CheckpointUnsupported: the architecture is not known, or a setting asks for what TransformerLM does not do.
    """
    architecture = architecture_named_in(config)
    settings = Settings(config, architecture.defaults)
    if config.get("quantization_config"):
        raise CheckpointUnsupported("the weights are quantised; quantised weights are read from GGUF files only")
    ours, generation = Settings(settings.mapping("genaisys"), _OURS), Settings(generation_config or {}, {})
    vocabulary = settings.size("vocab_size")
    # What ends a text is said in generation_config.json, and in config.json where that does not say it.
    end, ends = settings.tokens("eos_token_id", vocabulary), generation.tokens("eos_token_id", vocabulary)
    try:
        return TransformerConfig(
            vocabulary_size=vocabulary,
            tied_embeddings=settings.flag("tie_word_embeddings"),
            bos=settings.token("bos_token_id", vocabulary),
            pad=settings.token("pad_token_id", vocabulary),
            mask=ours.token("mask", vocabulary),
            ends=ends or end,
            impossible=ours.tokens("impossible", vocabulary) or generation.tokens("suppress_tokens", vocabulary),
            causal_weight=ours.number("causal_weight"),
            masked_weight=ours.number("masked_weight"),
            **architecture.read(settings),
        )
    except ValueError as error:
        raise CheckpointBroken(f"the settings do not fit together: {error}") from error


def config_to_huggingface(config: TransformerConfig) -> dict[str, Any]:
    """What ``config.json`` says of a model.

    Raises:
        CheckpointUnsupported: no architecture of Hugging Face has this combination of settings.
    """
    architecture = architecture_of(config)
    ours = {name: getattr(config, name) for name, default in _OURS.items() if getattr(config, name) != default}
    settings = {
        "architectures": [architecture.name],
        "model_type": architecture.model_type,
        "vocab_size": config.vocabulary_size,
        "tie_word_embeddings": config.tied_embeddings,
        "bos_token_id": config.bos,
        "eos_token_id": _eos(config),
        "pad_token_id": config.pad,
    }
    return settings | architecture.write(config) | ({"genaisys": ours} if ours else {})


def generation_config_to_huggingface(config: TransformerConfig) -> dict[str, Any]:
    """What ``generation_config.json`` says, so that ``generate`` of transformers samples and stops as ours does."""
    settings = {
        "bos_token_id": config.bos,
        "eos_token_id": _eos(config),
        "pad_token_id": config.pad,
        "suppress_tokens": list(config.impossible) or None,
    }
    return {name: value for name, value in settings.items() if value is not None}


def architecture_named_in(config: Mapping[str, Any]) -> Architecture:
    """The architecture that ``config.json`` names, or else that of its type of model.

    Raises:
        CheckpointUnsupported: it is none of those that are known.
    """
    named = config.get("architectures")
    kind = config.get("model_type")
    name = named[0] if isinstance(named, list) and named else _BY_TYPE.get(str(kind), kind)
    if not isinstance(name, str):
        raise CheckpointUnsupported("no architecture is named")
    if name not in ARCHITECTURES:
        raise CheckpointUnsupported(
            f"the architecture {name[:80]!r} is not known; known are {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[name]


def architecture_of(config: TransformerConfig) -> Architecture:
    """The architecture of Hugging Face that is this model.

    Raises:
        CheckpointUnsupported: there is none.
    """
    kind = (config.norm, config.positions, config.gated)
    biases = (config.query_bias, config.output_bias, config.mlp_bias)
    if kind == ("rms", "rotary", True) and config.norm_place == "pre":
        if biases[0] == biases[1] and config.window is None and config.width % config.heads == 0:
            return LLAMA
        if biases == (True, False, False):
            return QWEN2
        if not any(biases):
            return MISTRAL
    one_width = config.kv_heads == config.heads and config.heads * config.head_width == config.width
    if kind == ("layer", "learned", False) and one_width and config.window is None:
        if all(biases) and config.norm_place == "pre":
            return GPT2
        if all(biases) and config.hidden == 4 * config.width and config.activation in GPT1_ACTIVATIONS.values():
            return GPT1
        if len({*biases}) == 1 and config.norm_epsilon == OPT_EPSILON:
            return OPT
    raise CheckpointUnsupported(f"no architecture of Hugging Face is such a model, so it cannot be saved: {config}")


def _eos(config: TransformerConfig) -> int | list[int] | None:
    return config.ends[0] if len(config.ends) == 1 else list(config.ends) or None
