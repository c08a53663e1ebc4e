"""Small GGUF files, made as llama.cpp's converter makes them, with the gguf package's writer and its table of names."""

import json
import tempfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import quantize
from safetensors.torch import load_file

from genaisys.models.transformer import TransformerConfig, TransformerLM
from genaisys.tokenizers import Tokenizer


def permute(weight: np.ndarray, heads: int) -> np.ndarray:
    """What the converter does to queries and keys of models of the Llama architecture."""
    turned = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return turned.swapaxes(1, 2).reshape(weight.shape)


def write_gguf(
    path: Path,
    model: TransformerLM,
    *,
    architecture: str = "llama",
    kind: str = "F32",
    tokenizer: Tokenizer | None = None,
    rule: str = "smollm",
    **metadata: Any,
) -> Path:
    """``model`` as a GGUF file.

    Args:
        kind: in which its matrices are stored.
        rule: the name of the tokenizer's rule that cuts words.
        metadata: further entries, with ``__`` for points; None leaves one out.
    """
    config = model.config
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tensors = {
            name: tensor.float().numpy() for name, tensor in load_file(Path(folder) / "model.safetensors").items()
        }
    entries = {f"{architecture}.{name}": value for name, value in _settings(config).items()}
    entries |= {"general.architecture": architecture}
    entries |= _tokenizer(tokenizer, rule) if tokenizer is not None else {}
    entries |= {name.replace("__", "."): value for name, value in metadata.items()}
    writer = gguf.GGUFWriter(None, architecture)
    for key, value in entries.items():
        if value is not None and key != "general.architecture":  # which the writer has written
            _add(writer, key, value)
    arch = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}[architecture]
    names = gguf.get_tensor_name_map(arch, config.layers)
    for name, tensor in tensors.items():
        if architecture == "llama" and ".q_proj." in name:
            tensor = permute(tensor, config.heads)
        if architecture == "llama" and ".k_proj." in name:
            tensor = permute(tensor, config.kv_heads)
        own = names.get_name(name, (".weight", ".bias"))
        if tensor.ndim == 1 or kind == "F32":
            writer.add_tensor(own, np.ascontiguousarray(tensor))
        else:
            number = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(own, quantize(np.ascontiguousarray(tensor), number), raw_dtype=number)
    if config.rotary_scaling is not None:
        writer.add_tensor("rope_freqs.weight", _rotary_factors(config))
    return write(writer, path)


def write(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _settings(config: TransformerConfig) -> dict[str, Any]:
    return {
        "block_count": config.layers,
        "context_length": config.context_length,
        "embedding_length": config.width,
        "feed_forward_length": config.hidden,
        "attention.head_count": config.heads,
        "attention.head_count_kv": config.kv_heads,
        "attention.key_length": config.head_width,
        "attention.value_length": config.head_width,
        "attention.layer_norm_rms_epsilon": config.norm_epsilon,
        "rope.freq_base": config.rotary_base,
        "rope.dimension_count": config.head_width,
        "attention.sliding_window": config.window,
    }


def _tokenizer(tokenizer: Tokenizer, rule: str) -> dict[str, Any]:
    vocabulary = sorted(tokenizer.backend.get_vocab().items(), key=lambda item: item[1])
    merges = json.loads(tokenizer.backend.to_str())["model"]["merges"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": rule,
        "tokenizer.ggml.tokens": [token for token, _ in vocabulary],
        "tokenizer.ggml.token_type": [3 if id in tokenizer.special_ids else 1 for _, id in vocabulary],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in merges],
        "tokenizer.ggml.bos_token_id": tokenizer.bos,
        "tokenizer.ggml.eos_token_id": tokenizer.eos,
        "tokenizer.ggml.padding_token_id": tokenizer.pad,
        "tokenizer.chat_template": tokenizer.chat_template,
    }


def _rotary_factors(config: TransformerConfig) -> np.ndarray:
    """As the converter computes them for Llama 3.1."""
    scaling = config.rotary_scaling
    assert scaling is not None
    factors = []
    for turning in config.rotary_base ** (-np.arange(0, config.head_width, 2) / config.head_width):
        length = 2 * np.pi / turning
        if length < scaling["original"] / scaling["high_freq_factor"]:
            factors.append(1.0)
        elif length > scaling["original"] / scaling["low_freq_factor"]:
            factors.append(scaling["factor"])
        else:
            smooth = (scaling["original"] / length - scaling["low_freq_factor"]) / (
                scaling["high_freq_factor"] - scaling["low_freq_factor"]
            )
            factors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(factors, dtype=np.float32)


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case _:
            writer.add_array(key, value)
