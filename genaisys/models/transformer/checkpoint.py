"""Checkpoints: the weights of a TransformerLM on disk, which are those of a Hugging Face model, or a GGUF file.

``open_checkpoint`` reads settings and headers, makes sure that every tensor is there and has the right shape, and then
gives tensors by our names, one at a time. Nothing is allocated before that, however large a model the settings promise.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from genaisys.hub import PARTS, PartMissing, local_path
from genaisys.hub.checkpoints import (
    CONFIG,
    PICKLES,
    WEIGHTS,
    CheckpointBroken,
    CheckpointFolder,
    CheckpointNotWritten,
    CheckpointUnsupported,
    why_no_pickle,
    write_checkpoint,
)
from genaisys.hub.gguf import Blocks
from genaisys.hub.gguf_checkpoint import GGUFCheckpoint
from genaisys.models.transformer.architectures import (
    Layout,
    architecture_named_in,
    architecture_of,
    config_from_huggingface,
    config_to_huggingface,
    generation_config_to_huggingface,
)
from genaisys.models.transformer.config import TransformerConfig
from genaisys.models.transformer.rotary import frequencies
from genaisys.tokenizers import Tokenizer

if TYPE_CHECKING:
    from genaisys.models.transformer.model import TransformerLM

__all__ = [
    "Checkpoint",
    "CheckpointBroken",
    "CheckpointNotWritten",
    "CheckpointUnsupported",
    "load_weights",
    "open_checkpoint",
    "parameter_shapes",
    "save_checkpoint",
]

# What older files hold besides weights: masks, places and frequencies, which are computed.
_COMPUTED = re.compile(r"(.*\.)?(rotary_emb\.inv_freq|attn\.bias|attn\.masked_bias|position_ids)")
_BASE_MODEL = re.compile(r"(model|transformer)\.")
_THIRDS: Mapping[Layout, int] = {"first third": 0, "second third": 1, "last third": 2}
_ROWS_BEFORE = 2  # of OPT's positions
_Shapes = list[tuple[str, tuple[int, ...]]]


def open_checkpoint(name: str | Path) -> Checkpoint:
    """The checkpoint called ``name``: a part, a hub id in the cache, a folder, or a GGUF file.

    Raises:
        PartMissing, PartDamaged: see :func:`genaisys.hub.local_path`.
        CheckpointBroken: files are broken, or do not belong together; names the file and the tensor.
        CheckpointUnsupported: it holds an architecture, a setting or a format that is not known.
    """
    path = _locate(name)
    source = GGUFCheckpoint(path) if path.is_file() else CheckpointFolder(path)
    return Checkpoint(source)


class Checkpoint(Mapping[str, Tensor]):
    """The tensors of a checkpoint by our names, each read when it is asked for, as TransformerLM has them.

    A tensor may be mapped from its file, and must not be written into. It has the number format of its file; what was
    quantised is float32. Where the head is tied to the embedding there is no ``head.weight``.

    Attributes:
        config: the shape of the model.
        path: the folder, or the GGUF file.
    """

    def __init__(self, source: CheckpointFolder | GGUFCheckpoint) -> None:
        """Check all names and shapes; see :func:`open_checkpoint`."""
        self._source = source
        self.path = source.config_file if isinstance(source, GGUFCheckpoint) else source.config_file.parent
        try:
            self._architecture = architecture_named_in(source.config)
            self.config = config_from_huggingface(source.config, source.generation_config)
        except (CheckpointBroken, CheckpointUnsupported) as error:
            raise type(error)(f"{source.config_file} cannot be used: {error}") from error
        if self.config.tied_embeddings and self._has_own_head():
            self.config = replace(self.config, tied_embeddings=False)
        self._stored: dict[str, tuple[str, Layout]] = {}
        for name, shape in parameter_shapes(self.config):
            self._stored[name] = self._find(name, shape)
        self._refuse_others()

    def __getitem__(self, name: str) -> Tensor:
        stored, layout = self._stored[name]
        return _taken(self._source.read(stored), layout)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def blocks(self, name: str) -> Blocks | None:
        """A matrix exactly as it is quantised, if it is, and that is Q4_0, Q4_1 or Q8_0 of a GGUF file."""
        stored, _ = self._stored[name]
        return self._source.blocks(stored) if isinstance(self._source, GGUFCheckpoint) else None

    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer that comes with the weights, where there is one.

        Raises:
            TokenizerBroken, CheckpointBroken: it is broken.
            CheckpointUnsupported: it is of a kind that is not known.
        """
        if isinstance(self._source, GGUFCheckpoint):
            if (made := self._source.tokenizer()) is None:
                return None
            length, template = made.context_length, made.chat_template
            return Tokenizer(made.backend, made.special_tokens, chat_template=template, context_length=length)
        return Tokenizer.from_pretrained(self.path) if (self.path / "tokenizer.json").is_file() else None

    def _find(self, name: str, shape: tuple[int, ...]) -> tuple[str, Layout]:
        theirs, layout = self._architecture.stored(name)
        stored, expected = self._present(theirs), _stored_shape(shape, layout)
        if stored is None:
            raise CheckpointBroken(f"{self._source.weights_file} lacks the tensor {theirs}, which {self._asked()}")
        if self._source.shapes[stored] != expected:
            raise CheckpointBroken(
                f"{self._source.file(stored)} holds {stored} with the shape {_written(self._source.shapes[stored])}, "
                f"and {_written(expected)} is what {self._asked()}"
            )
        return stored, layout

    def _present(self, name: str) -> str | None:
        """The name by which the file has a tensor. Files of a model without its head leave the first word out."""
        shorter = _BASE_MODEL.sub("", name, count=1)
        return next((spelling for spelling in (name, shorter) if spelling in self._source.shapes), None)

    def _has_own_head(self) -> bool:
        """Whether a head is stored that is not the embedding although the settings tie them; transformers looks too."""
        head, embedding = (self._present(self._architecture.stored(f"{it}.weight")[0]) for it in ("head", "embedding"))
        if head is None or embedding is None or self._source.shapes[head] != self._source.shapes[embedding]:
            return False
        return not torch.equal(self._source.read(head), self._source.read(embedding))

    def _refuse_others(self) -> None:
        known = {stored for stored, _ in self._stored.values()} | {"lm_head.weight"}  # which is tied if it is not ours
        others = [name for name in self._source.shapes if name not in known and not _COMPUTED.fullmatch(name)]
        if others:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            file = self._source.file(others[0])
            raise CheckpointBroken(f"{file} holds the tensor {others[0]}{more}, which is not in what {self._asked()}")

    def _asked(self) -> str:
        return f"{self._source.config_file.name} asks for ({self._architecture.name}, {self.config.layers} layers)"


def load_weights(model: TransformerLM, checkpoint: Checkpoint, dtype: torch.dtype) -> None:
    """Give ``model``, which may be on the meta device, the weights of ``checkpoint``, one after the other."""
    weights = {
        name: checkpoint[name].to(dtype, copy=True, memory_format=torch.contiguous_format) for name in checkpoint
    }
    model.load_state_dict(weights, assign=True, strict=False)  # what is there was checked when it was opened
    if checkpoint.config.tied_embeddings:
        model.head.weight = model.embedding.weight
    model.turning = frequencies(checkpoint.config)


def save_checkpoint(model: TransformerLM, folder: Path) -> None:
    """Write ``model``, and its tokenizer if it has one, as the checkpoint of a Hugging Face model.

    Raises:
        CheckpointUnsupported: no architecture of Hugging Face is such a model.
        CheckpointNotWritten: the disk is full, or the folder cannot be written to.
    """
    settings = config_to_huggingface(model.config)
    write_checkpoint(
        folder,
        settings | {"dtype": str(model.embedding.weight.dtype).removeprefix("torch.")},
        _stored_tensors(model),
        generation_config=generation_config_to_huggingface(model.config),
        write_others=model.tokenizer.save_pretrained if model.tokenizer is not None else lambda folder: None,
    )


def parameter_shapes(config: TransformerConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the parameters of a TransformerLM, tied ones once, without making any."""
    width, hidden = config.width, config.hidden
    queries, keys = config.heads * config.head_width, config.kv_heads * config.head_width
    norm: _Shapes = [("weight", (width,)), *([("bias", (width,))] if config.norm == "layer" else [])]

    def linear(inputs: int, outputs: int, biased: bool) -> _Shapes:
        return [("weight", (outputs, inputs)), *([("bias", (outputs,))] if biased else [])]

    block: dict[str, _Shapes] = {
        "attention_norm": norm,
        "attention.query": linear(width, queries, config.query_bias),
        "attention.key": linear(width, keys, config.query_bias),
        "attention.value": linear(width, keys, config.query_bias),
        "attention.output": linear(queries, width, config.output_bias),
        "mlp_norm": norm,
        "mlp.gate": linear(width, hidden, config.mlp_bias) if config.gated else [],
        "mlp.up": linear(width, hidden, config.mlp_bias),
        "mlp.down": linear(hidden, width, config.mlp_bias),
    }
    yield "embedding.weight", (config.vocabulary_size, width)
    if config.positions == "learned":
        yield "positions.weight", (config.context_length, width)
    for layer in range(config.layers):
        for module, parameters in block.items():
            for kind, shape in parameters:
                yield f"blocks.{layer}.{module}.{kind}", shape
    if config.norm_place == "pre":
        for kind, shape in norm:
            yield f"norm.{kind}", shape
    if not config.tied_embeddings:
        yield "head.weight", (config.vocabulary_size, width)


def _locate(name: str | Path) -> Path:
    """The folder of safetensors, or the GGUF file."""
    path = Path(os.path.expanduser(name))
    if str(name) in PARTS or not os.path.exists(path):  # unlike Path.exists, never raises
        if path.suffix == ".gguf":
            raise PartMissing(f"there is no file {name}")
        path = local_path(str(name))
    if path.is_file():
        if path.suffix in PICKLES:
            raise CheckpointUnsupported(why_no_pickle(path))
        if path.suffix == ".safetensors" or path.name == CONFIG:
            raise CheckpointUnsupported(f"{path} is one file of a model: give its folder")
        return path
    files = sorted(path.glob("*.gguf"))
    if files and not (path / WEIGHTS).is_file() and not list(path.glob("*.safetensors")):
        if len(files) > 1:
            raise CheckpointUnsupported(
                f"{path} holds {len(files)} GGUF files: give one of them, such as {files[0].name}"
            )
        return files[0]
    return path


# -- layouts


def _stored_shape(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    """The shape of the tensor that holds one of ours of the given shape."""
    if layout == "plain":
        return shape
    if layout == "after two rows":
        return _ROWS_BEFORE + shape[0], *shape[1:]
    *inputs, outputs = shape[::-1]
    return *inputs, 3 * outputs if layout in _THIRDS else outputs


def _taken(stored: Tensor, layout: Layout) -> Tensor:
    """Our tensor out of the one that holds it."""
    if layout == "plain":
        return stored
    if layout == "after two rows":
        return stored[_ROWS_BEFORE:]
    if layout in _THIRDS:
        stored = stored.chunk(3, dim=-1)[_THIRDS[layout]]
    return stored.t()  # [out, in]; a bias stays as it is


def _stored_tensors(model: TransformerLM) -> dict[str, Tensor]:
    """The parameters of ``model`` under the names, and in the layouts, of its architecture."""
    architecture = architecture_of(model.config)
    parameters = dict(model.named_parameters())
    stored: dict[str, Tensor] = {}
    for name, _ in parameter_shapes(model.config):
        theirs, layout = architecture.stored(name)
        tensor = parameters[name].detach()
        if layout == "after two rows":
            tensor = torch.cat([tensor.new_zeros(_ROWS_BEFORE, tensor.shape[1]), tensor])
        elif layout != "plain":
            tensor = tensor.t()
        if layout in _THIRDS and theirs in stored:
            tensor = torch.cat([stored[theirs], tensor], dim=-1)  # in the order of queries, keys, values
        stored[theirs] = tensor
    return {name: tensor.contiguous() for name, tensor in stored.items()}


def _written(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "of a single number"
