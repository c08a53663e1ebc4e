"""Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685; book eq. 11.1), by PEFT, inside a TransformerLM.

    h = W x + (alpha / rank) B A x          W: [out, in], frozen; A: [rank, in], random; B: [out, rank], zero at first

The model keeps its type and all of its methods. Merging swaps every adapted layer for a plain one with ``W + delta``,
so that unmerging gives back the very weights, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from genaisys.models.transformer import TransformerLM
from genaisys.training.finetuning.added_tokens import TrainedEmbedding, TrainedHead
from genaisys.training.settings import SettingsWrong

ADAPTER = "default"  # PEFT's name for the only one
TARGETS = {
    "query": "attention.query",
    "key": "attention.key",
    "value": "attention.value",
    "output": "attention.output",
    "gate": "mlp.gate",
    "up": "mlp.up",
    "down": "mlp.down",
}


@dataclass(frozen=True)
class Lora:
    """Which matrices are adapted, and how much.

    Attributes:
        rank: of the change of each matrix.
        alpha: the change is scaled by ``alpha / rank``.
        targets: query, key, value, output (of attention), gate, up, down (of the MLP).
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ("query", "key", "value", "output")

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise SettingsWrong(f"lora.rank is {self.rank}: it must be at least 1")
        if not 0 < self.alpha < float("inf"):
            raise SettingsWrong(f"lora.alpha is {self.alpha}: it must be above 0")
        if not self.targets or not {*self.targets} <= {*TARGETS}:
            raise SettingsWrong(
                f"lora.targets are {', '.join(self.targets) or 'none'}: they may be {', '.join(TARGETS)}"
            )


def add_lora(model: TransformerLM, lora: Lora) -> None:
    """Put an adapter into ``model`` that changes nothing yet, and freeze all other weights.

    Raises:
        SettingsWrong: the model does not have one of the targets.
    """
    names = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for target in lora.targets:
        if f"blocks.0.{TARGETS[target]}" not in names:
            raise SettingsWrong(f"lora.targets has {target}, and the blocks of this model have no such matrix")
    targets = [TARGETS[target] for target in lora.targets]
    inject_adapter_in_model(LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=targets), model, ADAPTER)  # type: ignore[arg-type]
    for module in model.modules():
        if isinstance(module, TrainedEmbedding | TrainedHead):
            module.rows.requires_grad_()


@contextmanager
def adapter_off(model: nn.Module) -> Iterator[None]:
    """The model computes without its adapter inside. PEFT's own switch would also freeze and unfreeze the adapter."""
    layers = lora_layers(model)
    for name, layer in layers.items():
        _put(model, name, layer.get_base_layer())
    try:
        yield
    finally:
        for name, layer in layers.items():
            _put(model, name, layer)


def lora_layers(model: nn.Module) -> dict[str, LoraLinear]:
    """The adapted layers by their names."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLinear)}


def matrices(layer: LoraLinear) -> tuple[nn.Parameter, nn.Parameter]:
    """``A`` and ``B`` of an adapted layer. [rank, in], [out, rank]"""
    a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    assert isinstance(a, nn.Parameter)
    assert isinstance(b, nn.Parameter)
    return a, b


def merge(model: TransformerLM) -> dict[str, nn.Module]:
    """Make ``model`` a plain one with the adapter's change in its weights; gives the layers that were replaced."""
    replaced: dict[str, nn.Module] = {}
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLinear):
            base = module.get_base_layer()
            assert isinstance(base, nn.Linear)
            _put(model, name, _changed(base, module.get_delta_weight(ADAPTER)))
        elif isinstance(module, TrainedEmbedding | TrainedHead):
            _put(model, name, module.plain())
        else:
            continue
        replaced[name] = module
    if model.config.tied_embeddings:
        model.head.weight = model.embedding.weight
    return replaced


def unmerge(model: TransformerLM, replaced: dict[str, nn.Module]) -> None:
    """Put the layers that :func:`merge` gave back into ``model``."""
    for name, module in replaced.items():
        _put(model, name, module)


def trained_weights(model: nn.Module) -> int:
    """How many weights are trained."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def _changed(base: nn.Linear, delta: Tensor) -> nn.Linear:
    """``base`` with ``delta`` added to its weights."""
    layer = nn.Linear(base.in_features, base.out_features, bias=False, device="meta")
    layer.weight = nn.Parameter(base.weight.detach() + delta.detach())
    layer.register_parameter("bias", base.bias)
    return layer


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
