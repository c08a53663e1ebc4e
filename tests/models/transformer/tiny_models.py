"""Tiny models of every architecture with all weights random, biases and norms included: nothing cancels by chance."""

from typing import Any

import torch
from torch import Tensor, nn

from genaisys.errors import GenaisysError
from genaisys.models.transformer import TransformerConfig, TransformerLM, gpt, llama, teenygpt

VOCABULARY, CONTEXT = 61, 32

_LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original": 16}
_SMALL: dict[str, Any] = {"layers": 2, "width": 32, "heads": 4}

CONFIGS: dict[str, TransformerConfig] = {
    "llama": llama(VOCABULARY, CONTEXT, **_SMALL, kv_heads=2, bos=1, ends=(2,), pad=0),
    "llama3": llama(
        VOCABULARY, CONTEXT, **_SMALL, kv_heads=1, rotary_base=500.0, rotary_scaling=_LLAMA3, ends=(2, 7), bos=3
    ),
    "llama with biases": llama(
        VOCABULARY, CONTEXT, **_SMALL, query_bias=True, output_bias=True, mlp_bias=True, activation="gelu_tanh",
        tied_embeddings=False, dropout=0.2,
    ),
    "qwen2": llama(VOCABULARY, CONTEXT, **_SMALL, kv_heads=2, query_bias=True, norm_epsilon=1e-6, ends=(4,)),
    "qwen2 with a window": llama(
        VOCABULARY, CONTEXT, **_SMALL, kv_heads=2, query_bias=True, window=5, head_width=6, tied_embeddings=False
    ),
    "mistral": llama(VOCABULARY, CONTEXT, **_SMALL, kv_heads=2, window=5, tied_embeddings=False, activation="gelu"),
    "mistral with wide heads": llama(VOCABULARY, CONTEXT, **(_SMALL | {"heads": 3}), head_width=12),
    "gpt2": gpt(VOCABULARY, CONTEXT, **_SMALL, hidden=48, dropout=0.1),
    "gpt2 with its own head": gpt(VOCABULARY, CONTEXT, **_SMALL, tied_embeddings=False, activation="gelu"),
    "gpt1": teenygpt(
        VOCABULARY, CONTEXT, **_SMALL, hidden=128, tied_embeddings=True, bos=1, pad=0, ends=(2,), mask=3,
        masked_weight=0.5, causal_weight=2.0, impossible=(0, 1, 3),
    ),
    "gpt1 with its own head": teenygpt(
        VOCABULARY, CONTEXT, **_SMALL, hidden=128, activation="silu", norm_epsilon=1e-3
    ),
    "opt": teenygpt(VOCABULARY, CONTEXT, **_SMALL, hidden=80, tied_embeddings=True, bos=1, pad=0, ends=(2,)),
    "opt without biases": gpt(
        VOCABULARY, CONTEXT, **_SMALL, query_bias=False, output_bias=False, mlp_bias=False, tied_embeddings=False
    ),
}  # fmt: skip

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "llama3": "LlamaForCausalLM",
    "llama with biases": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen2 with a window": "Qwen2ForCausalLM",
    "mistral": "MistralForCausalLM",
    "mistral with wide heads": "MistralForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "gpt2 with its own head": "GPT2LMHeadModel",
    "gpt1": "OpenAIGPTLMHeadModel",
    "gpt1 with its own head": "OpenAIGPTLMHeadModel",
    "opt": "OPTForCausalLM",
    "opt without biases": "OPTForCausalLM",
}


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Give every parameter of ``model`` random values of a size at which all of them matter."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        with torch.no_grad():
            parameter.copy_(0.25 * noise if parameter.dim() > 1 else 0.3 * noise + (parameter.mean() > 0.5).float())


def some_tokens(rows: int = 2, length: int = 24, seed: int = 1) -> Tensor:
    """Random tokens. -> [rows, length]"""
    return torch.randint(VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


def make(config: TransformerConfig, seed: int = 0) -> TransformerLM:
    """A random model in eval mode."""
    model = TransformerLM(config)
    randomise(model, seed)
    return model.eval()


@torch.no_grad()
def logits_of(model: nn.Module, tokens: Tensor) -> Tensor:
    """The logits of a model of ours or of transformers. [B, T] -> [B, T, V]"""
    found = model(tokens)
    return found if isinstance(found, Tensor) else found.logits


def one_line(error: BaseException) -> str:
    """The message of ``error``, which has to be one that people can be shown."""
    message = str(error)
    assert isinstance(error, GenaisysError)
    assert message
    assert "\n" not in message
    assert len(message) < 600
    return message
