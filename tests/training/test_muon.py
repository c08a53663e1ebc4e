"""Muon: its matrices are orthogonal, its other parameters are AdamW's, and it resumes."""

from pathlib import Path

import pytest
import torch
from torch import nn

from genaisys.models.transformer import TransformerLM, gpt
from genaisys.training import TrainingSettings
from genaisys.training.muon import Muon, orthogonal
from genaisys.training.optimizer import adamw, optimizer_of


@pytest.mark.parametrize("shape", [(16, 16), (8, 24), (24, 8)])
def test_a_matrix_is_made_nearly_orthogonal_along_its_own_directions(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    matrix = u @ torch.diag(torch.linspace(0.2, 1, min(shape))) @ v
    inside = u.T @ orthogonal(matrix) @ v.T  # diagonal, with what the singular values became
    values = inside.diagonal()
    assert ((values > 0.6) & (values < 1.3)).all()
    assert (inside - torch.diag(values)).abs().max() < 0.05  # bfloat16


def test_other_parameters_move_as_with_adamw() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Parameter(torch.ones(3, 4)), nn.Parameter(torch.ones(3, 4))
    settings = TrainingSettings(steps=1, learning_rate=0.1, weight_decay=0.2)
    muon = Muon(
        [], [{"params": [ours], "weight_decay": 0.2}], lr=0.1, weight_decay=0.2, betas=settings.betas
    )  # fmt: skip
    adam = adamw([theirs], settings)
    for _ in range(5):
        gradient = torch.randn(3, 4)
        for parameter, optimizer in ((ours, muon), (theirs, adam)):
            parameter.grad = gradient.clone()
            optimizer.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_a_step_is_as_large_as_the_learning_rate_says() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(32, 32))
    optimizer = Muon([weight], [], lr=0.1, weight_decay=0.0, betas=(0.9, 0.95))
    weight.grad = torch.randn(32, 32)
    optimizer.step()
    assert weight.square().mean().sqrt().item() == pytest.approx(0.1 * 0.2, rel=0.3)


def test_embeddings_are_adamws_and_linear_maps_muons(tmp_path: Path) -> None:
    model = TransformerLM(gpt(12, 10, layers=1, width=8, heads=2))
    settings = TrainingSettings(steps=1, optimizer="muon", learning_rate=0.01)
    optimizer = optimizer_of(model, model.parameters(), settings)
    moved_by_muon = {id(p) for group in optimizer.param_groups if "momentum" in group for p in group["params"]}
    assert moved_by_muon == {id(p) for p in model.blocks.parameters() if p.dim() == 2}
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {id(p) for p in model.parameters()}
