"""A GGUF file as the Hugging Face checkpoint that it was made from: the same settings, names and layouts.

What llama.cpp's converter did is undone: names, metadata, and the order of the rows of queries and keys, which it
pairs as (0, 1), (2, 3), ... in models of the Llama architecture.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genaisys.hub.checkpoints import CheckpointBroken, CheckpointUnsupported, rotary_settings, write_checkpoint
from genaisys.hub.gguf import Blocks, GGUFFile
from genaisys.hub.gguf_tokenizer import GGUFTokenizer, read_tokenizer

_ARCHITECTURES = ("llama", "qwen2")
_MODULES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_NAME = re.compile(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)")
_TURNED = re.compile(r"\.(q|k)_proj\.")
_ROTARY_FACTORS = "rope_freqs.weight"


class GGUFCheckpoint:
    """The model in a GGUF file; the attributes are those of :class:`genaisys.hub.checkpoints.CheckpointFolder`."""

    def __init__(self, path: Path) -> None:
        """Read everything but the weights.

        Raises:
            CheckpointBroken: the file is broken, or lacks a setting.
            CheckpointUnsupported: it holds a model of another architecture.
        """
        self.config_file = self.weights_file = path
        self._file = GGUFFile(path)
        self._metadata = self._file.metadata
        self._architecture = self._metadata.get("general.architecture")
        if self._architecture not in _ARCHITECTURES:
            raise CheckpointUnsupported(
                f"{path} has the architecture {self._architecture!r}; known are {', '.join(_ARCHITECTURES)}"
            )
        self._names = {_name(name): name for name in self._file.tensors if name != _ROTARY_FACTORS}
        self.shapes = {name: self._file.tensors[own].shape for name, own in self._names.items()}
        self.config = self._config()
        self.generation_config = {name: id for name, id in self.config.items() if name.endswith("_token_id")}

    def read(self, name: str) -> Tensor:
        """A tensor, dequantised. -> float32"""
        tensor = self._file.read(self._names[name])
        return tensor if (rows := self._rows(name)) is None else tensor[rows]

    def blocks(self, name: str) -> Blocks | None:
        """A matrix as it is quantised, if that is Q4_0, Q4_1 or Q8_0."""
        blocks = self._file.blocks(self._names[name])
        return blocks if blocks is None or (rows := self._rows(name)) is None else blocks[rows]

    def file(self, name: str) -> Path:
        """The file that holds a tensor: there is but one."""
        return self.weights_file

    def tokenizer(self) -> GGUFTokenizer | None:
        """The tokenizer in the file, if it holds one; see :func:`genaisys.hub.gguf_tokenizer.read_tokenizer`."""
        held = self._metadata.get("tokenizer.ggml.model", "none") != "none"
        return read_tokenizer(self._file) if held else None

    def _rows(self, name: str) -> Tensor | None:
        """In which order the rows of a tensor are to be taken, or None for theirs."""
        turned = _TURNED.search(name)
        if turned is None or self._architecture != "llama":
            return None
        heads = self.config["num_attention_heads" if turned[1] == "q" else "num_key_value_heads"]
        rows = self.shapes[name][0]
        if rows % (2 * heads):
            raise CheckpointBroken(f"{self.weights_file} is broken: {name} has {rows} rows for {heads} heads")
        return torch.arange(rows).view(heads, -1, 2).transpose(1, 2).flatten()

    # -- settings

    def _config(self) -> dict[str, Any]:
        """What ``config.json`` would say."""
        self._refuse_what_is_not_known()
        heads, width = self._size("attention.head_count"), self._size("embedding_length")
        head_width = self._size("attention.key_length", width // heads)
        config: dict[str, Any] = {
            "hidden_act": "silu",
            "hidden_size": width,
            "intermediate_size": self._size("feed_forward_length"),
            "num_hidden_layers": self._size("block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": self._size("attention.head_count_kv", heads),
            "head_dim": head_width,
            "max_position_embeddings": self._size("context_length"),
            "rms_norm_eps": self._number("attention.layer_norm_rms_epsilon"),
            "tie_word_embeddings": "lm_head.weight" not in self.shapes,
            "vocab_size": self.shapes.get("model.embed_tokens.weight", (0,))[0],
        }
        for role, key in {"bos": "bos", "eos": "eos", "pad": "padding"}.items():
            config[f"{role}_token_id"] = self._metadata.get(f"tokenizer.ggml.{key}_token_id")
        turn_end = self._metadata.get("tokenizer.ggml.eot_token_id")
        if turn_end is not None and turn_end != config["eos_token_id"]:
            config["eos_token_id"] = [id for id in (config["eos_token_id"], turn_end) if id is not None]
        config |= self._rotary(head_width)
        window = self._metadata.get(f"{self._architecture}.attention.sliding_window") or None
        if self._architecture == "qwen2":
            sliding = {"use_sliding_window": window is not None, "sliding_window": window, "max_window_layers": 0}
            return config | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"} | sliding
        if window is not None:
            return config | {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": window}
        biases = {
            "attention_bias": "model.layers.0.self_attn.q_proj.bias" in self.shapes,
            "mlp_bias": "model.layers.0.mlp.up_proj.bias" in self.shapes,
        }
        return config | {"architectures": ["LlamaForCausalLM"], "model_type": "llama"} | biases

    def _rotary(self, head_width: int) -> dict[str, Any]:
        base = self._number("rope.freq_base", 10_000.0)
        if _ROTARY_FACTORS not in self._file.tensors:
            return rotary_settings(base, {"rope_type": "default"})
        # The file holds by what each frequency is divided, and not the numbers that it comes from. Llama 3.1 and 3.2
        # differ in the factor only, which is the largest of these; whether the rest fits is checked.
        factors = self._file.read(_ROTARY_FACTORS).double()
        turns = 8192 / (2 * math.pi) * base ** (-torch.arange(0, head_width, 2, dtype=torch.double) / head_width)
        kept = ((turns - 1) / (4 - 1)).clamp(0, 1)
        factor = round(float(factors.max()), 3)
        expected = 1 / (kept + (1 - kept) / factor)
        if factors.shape != expected.shape or not torch.allclose(factors, expected, rtol=1e-3):
            raise CheckpointUnsupported(f"{self.weights_file} stretches rotary frequencies in a way that is not known")
        llama3 = {"factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
        return rotary_settings(base, {"rope_type": "llama3", **llama3, "original_max_position_embeddings": 8192})

    def _refuse_what_is_not_known(self) -> None:
        scaling = self._metadata.get(f"{self._architecture}.rope.scaling.type", "none")
        if scaling != "none":
            raise CheckpointUnsupported(f"{self.weights_file} has {scaling!r} rotary scaling, which is not known")
        if self._metadata.get(f"{self._architecture}.expert_count"):
            raise CheckpointUnsupported(f"{self.weights_file} holds a mixture of experts, which is not known")
        width = self._size("embedding_length") // self._size("attention.head_count")
        head_width = self._size("attention.key_length", width)
        for name in ("attention.value_length", "rope.dimension_count"):
            if self._size(name, head_width) != head_width:
                raise CheckpointUnsupported(f"{self.weights_file} has heads of {head_width} and {name} is another")

    def _size(self, name: str, default: int | None = None) -> int:
        size = self._metadata.get(f"{self._architecture}.{name}", default)
        if isinstance(size, list) and size and size.count(size[0]) == len(size):  # one for each layer, all alike
            size = size[0]
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise CheckpointBroken(f"{self.weights_file} is broken: {self._architecture}.{name} is {_short(size)}")
        return size

    def _number(self, name: str, default: float | None = None) -> float:
        number = self._metadata.get(f"{self._architecture}.{name}", default)
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < math.inf:
            raise CheckpointBroken(f"{self.weights_file} is broken: {self._architecture}.{name} is {_short(number)}")
        return float(str(np.float32(number)))  # the number that was meant: 1e-05, and not 9.999999747378752e-06


def gguf_to_safetensors(folder: Path) -> None:
    """Replace the GGUF file in ``folder`` by a checkpoint in bfloat16, with tokenizer and chat template."""
    (path,) = folder.glob("*.gguf")
    checkpoint = GGUFCheckpoint(path)
    tokenizer = checkpoint.tokenizer()
    tensors = {name: checkpoint.read(name).to(torch.bfloat16) for name in checkpoint.shapes}
    write_checkpoint(
        folder,
        checkpoint.config | {"dtype": "bfloat16"},
        tensors,
        generation_config=checkpoint.generation_config,
        write_others=tokenizer.save if tokenizer is not None else lambda folder: None,
    )
    path.unlink()


def _name(own: str) -> str:
    """A tensor's name in the checkpoint that the file was made from; names that are not known stay as they are."""
    match = _NAME.fullmatch(own)
    if match is None or match[2] not in _MODULES:
        return own
    block, module, kind = match.groups()
    return f"{'' if block is None else f'model.layers.{block}.'}{_MODULES[module]}.{kind}"


def _short(value: object) -> str:
    return "missing" if value is None else repr(value)[:60]
