"""Adapters as PEFT keeps them: ``adapter_config.json`` and ``adapter_model.safetensors``, with Hugging Face's names.

    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)

gives the logits that ours has, and adapters that were trained there load here. Where tokens were added, the tokenizer
is beside the adapter, and PEFT wants a base with as many (``resize_token_embeddings``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from genaisys.errors import GenaisysError
from genaisys.hub.checkpoints import CheckpointBroken, read_json
from genaisys.models.transformer import TransformerLM
from genaisys.models.transformer.architectures import architecture_of
from genaisys.models.transformer.checkpoint import parameter_shapes
from genaisys.tokenizers import Tokenizer
from genaisys.training.finetuning.added_tokens import TrainedEmbedding, TrainedHead, resize_vocabulary
from genaisys.training.finetuning.lora import ADAPTER, lora_layers, matrices

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_ROWS = "token_adapter.trainable_tokens_delta"
_UNSUPPORTED: Mapping[str, Any] = {  # settings that change what an adapter computes, and their only value here
    "use_dora": False,
    "bias": "none",
    "lora_bias": False,
    "fan_in_fan_out": False,
    "layer_replication": None,
    "target_parameters": None,
    "use_qalora": False,
    "alora_invocation_tokens": None,
    "arrow_config": None,
}


class AdapterUnsupported(GenaisysError):
    """An adapter of a kind that is not known here, or that Hugging Face's format has no form for."""


class AdapterBroken(GenaisysError):
    """An adapter whose files are broken, or which belongs to another model."""


class AdapterNotWritten(GenaisysError):
    """An adapter's files could not be written."""


def require_adapter_format(model: TransformerLM) -> None:
    """
    Raises:
        AdapterUnsupported: the model's architecture fuses queries, keys and values, or is not one of Hugging Face's.
    """
    architecture = architecture_of(model.config)
    if architecture.stored("blocks.0.attention.query.weight")[1] != "plain":
        raise AdapterUnsupported(
            f"{architecture.name} keeps queries, keys and values in one matrix, so an adapter of ours has no form in "
            "PEFT's format: train all weights, with lora: null"
        )


def save_adapter(model: TransformerLM, folder: Path, base: str) -> None:
    """Write the adapter of ``model``, and its tokenizer.

    Args:
        base: the name of the model that it belongs to.

    Raises:
        AdapterUnsupported: see :func:`require_adapter_format`.
        AdapterNotWritten: the disk is full, or the folder cannot be written to.
    """
    require_adapter_format(model)
    layers = lora_layers(model)
    theirs = _their_names(model)
    tensors: dict[str, Tensor] = {}
    for name, layer in layers.items():
        a, b = matrices(layer)
        tensors[f"{_PREFIX}{theirs[name]}.lora_A.weight"] = a
        tensors[f"{_PREFIX}{theirs[name]}.lora_B.weight"] = b
    rows: dict[str, list[int]] = {}
    for name, module in (("embedding", model.embedding), ("head", model.head)):
        tied = name == "head" and model.config.tied_embeddings  # PEFT ties it itself
        if isinstance(module, TrainedEmbedding | TrainedHead) and not tied:
            tensors[f"{_PREFIX}{theirs[name]}.{_ROWS}"] = module.rows
            rows[theirs[name].rpartition(".")[2]] = module.numbers
    first = next(iter(layers.values()))
    config = LoraConfig(
        r=first.r[ADAPTER],
        lora_alpha=first.lora_alpha[ADAPTER],
        target_modules=list({theirs[name].rpartition(".")[2] for name in layers}),
        trainable_token_indices=rows or None,
        base_model_name_or_path=base,
        task_type="CAUSAL_LM",
        inference_mode=True,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).unlink(missing_ok=True)  # comes last: with it the adapter is whole
        stored = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(stored, folder / WEIGHTS, metadata={"format": "pt"})
        if model.tokenizer is not None:
            model.tokenizer.save_pretrained(folder)
        config.save_pretrained(str(folder))
    except (OSError, SafetensorError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        raise AdapterNotWritten(f"the adapter cannot be saved in {folder}: {reason}") from error


def load_adapter(model: TransformerLM, folder: Path) -> None:
    """Put the adapter in ``folder`` into ``model``, with the tokens and the tokenizer that it brings.

    Raises:
        AdapterBroken: files are lacking or broken, or belong to another model.
        AdapterUnsupported: it is no LoRA, or one with settings that are not known.
    """
    try:
        config = read_json(folder / CONFIG)
        tensors = load_file(folder / WEIGHTS)
    except (CheckpointBroken, OSError, SafetensorError) as error:
        raise AdapterBroken(f"there is no whole adapter in {folder}: {' '.join(str(error).split())}") from error
    _require_known(config, folder)
    require_adapter_format(model)
    ours = {theirs: name for name, theirs in _their_names(model).items()}
    tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}
    with torch.no_grad():
        _load_rows(model, ours, config, tensors, folder)
    _load_matrices(model, ours, config, tensors, folder)
    if (folder / "tokenizer.json").is_file():
        model.tokenizer = Tokenizer.from_pretrained(folder)


def _require_known(config: Mapping[str, Any], folder: Path) -> None:
    if config.get("peft_type") != "LORA":
        raise AdapterUnsupported(f"{folder / CONFIG} is of the type {config.get('peft_type')!r}; known is LORA")
    for name, only in _UNSUPPORTED.items():
        if config.get(name, only) != only:
            raise AdapterUnsupported(f"{folder / CONFIG} has {name} {config[name]!r}; known is {only!r}")


def _load_rows(
    model: TransformerLM, ours: Mapping[str, str], config: Mapping[str, Any], tensors: dict[str, Tensor], folder: Path
) -> None:
    """Take the embedding and head out of ``tensors``: whole ones, which a resized model brings, or some rows."""
    whole: dict[str, Tensor] = {}
    rows: dict[str, tuple[list[int], Tensor]] = {}
    indices = config.get("trainable_token_indices") or {}
    for name in list(tensors):
        module, _, kind = name.rpartition(".")
        if kind == "weight" and ours.get(module.removesuffix(".base_layer")) in ("embedding", "head"):
            whole[ours[module.removesuffix(".base_layer")]] = tensors.pop(name)
        elif name.endswith(_ROWS) and (theirs := name.removesuffix(f".{_ROWS}")) in ours:
            layer = theirs.rpartition(".")[2]
            numbers = indices.get(layer) if isinstance(indices, dict) else indices
            most = model.config.vocabulary_size + len(tensors[name])  # the new ones follow those that are known
            rows[ours[theirs]] = _numbers(numbers, len(tensors[name]), most, folder), tensors.pop(name)
    size = max([model.config.vocabulary_size, *(max(numbers) + 1 for numbers, _ in rows.values())])
    resize_vocabulary(model, max([len(matrix) for matrix in whole.values()], default=size))
    weights = {"embedding": model.embedding.weight, "head": model.head.weight}
    for name, matrix in whole.items():
        _copy(matrix, weights[name], folder, name)
    for name, (numbers, values) in rows.items():
        if values.shape[1] != model.config.width:
            raise AdapterBroken(
                f"the adapter in {folder} belongs to another model: its {name} is {values.shape[1]} wide"
            )
        weights[name][numbers] = values.to(weights[name].dtype)


def _numbers(numbers: Any, count: int, most: int, folder: Path) -> list[int]:
    valid = isinstance(numbers, list) and all(type(number) is int and 0 <= number < most for number in numbers)
    if not valid or len(numbers) != count:
        raise AdapterBroken(f"{folder / CONFIG} does not tell which tokens the rows in {WEIGHTS} belong to")
    return numbers


def _load_matrices(
    model: TransformerLM, ours: Mapping[str, str], config: Mapping[str, Any], tensors: dict[str, Tensor], folder: Path
) -> None:
    names = {}  # theirs and ours
    for name in tensors:
        module, _, kind = name.rpartition(".lora_")
        if kind not in ("A.weight", "B.weight") or module not in ours:
            raise AdapterBroken(f"{folder / WEIGHTS} holds {name}, which is not a matrix of this model")
        names[module] = ours[module]
    if not names:
        raise AdapterBroken(f"{folder / WEIGHTS} holds no adapter")
    try:
        ranks = {module: tensors[f"{module}.lora_A.weight"].shape[0] for module in names}
        usual, patterns = float(config["lora_alpha"]), dict(config.get("alpha_pattern") or {})
        alphas = {module: float(patterns.get(get_pattern_key(list(patterns), module), usual)) for module in names}
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise AdapterBroken(f"the adapter in {folder} is broken: {error} is missing or wrong") from error
    made = LoraConfig(
        r=max(ranks.values()),
        target_modules=list(names.values()),
        rank_pattern={names[module]: rank for module, rank in ranks.items()},
        alpha_pattern={names[module]: alpha for module, alpha in alphas.items()},
        use_rslora=bool(config.get("use_rslora", False)),
    )
    inject_adapter_in_model(made, model, ADAPTER)
    layers = lora_layers(model)
    for module, name in names.items():
        for kind, matrix in zip("AB", matrices(layers[name]), strict=True):
            stored = tensors.get(f"{module}.lora_{kind}.weight")
            if stored is None:
                raise AdapterBroken(f"{folder / WEIGHTS} lacks {module}.lora_{kind}.weight")
            with torch.no_grad():
                _copy(stored, matrix, folder, f"{module}.lora_{kind}")


def _copy(stored: Tensor, into: Tensor, folder: Path, name: str) -> None:
    if stored.shape != into.shape:
        shapes = f"{tuple(stored.shape)} and not {tuple(into.shape)}"
        raise AdapterBroken(f"the adapter in {folder} belongs to another model: {name} is {shapes}")
    into.copy_(stored)


def _their_names(model: TransformerLM) -> dict[str, str]:
    """Names of the matrices in the Hugging Face architecture, by ours."""
    architecture = architecture_of(model.config)
    names = {name for name, shape in parameter_shapes(model.config) if len(shape) == 2} | {"head.weight"}
    return {
        name.removesuffix(".weight"): architecture.stored(name)[0].removesuffix(".weight") for name in sorted(names)
    }
