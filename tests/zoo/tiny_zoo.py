"""Models of a zoo that are trained in a moment."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from genaisys.models import Integers
from genaisys.models.base import GenerativeModel
from genaisys.zoo.catalogue import ZOO
from genaisys.zoo.data import Parts
from genaisys.zoo.entries import Entry, OnRecord, Trainer


def tiny_data(name: str = "tiny") -> Parts:
    """Crosses and rings of 4x4 pixels, with noise."""
    generator = torch.Generator().manual_seed(0)
    cross = torch.eye(4) + torch.eye(4).flip(0)
    ring = torch.ones(4, 4)
    ring[1:3, 1:3] = 0
    which = torch.randint(2, (120,), generator=generator)
    x = torch.stack([cross, ring])[which].long()[:, None] * 2  # [120, 1, 4, 4]
    x = (x + (torch.rand(x.shape, generator=generator) < 0.1)).clamp(max=2)
    return Parts(name, Integers((1, 4, 4), 0, 2), x[:80], x[80:100], x[100:])


def a_few_steps(
    model: GenerativeModel, x: Tensor, validation: Tensor, seed: int, folder: Path, on_record: OnRecord
) -> None:
    optimiser = torch.optim.Adam(model.parameters(), 0.03)
    for step in range(1, 21):
        loss = model.loss(x[torch.randint(len(x), (16,))]).mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        on_record({"step": step, "loss": loss.item()})


TINY = Trainer(a_few_steps, 20)


def tiny_entry(name: str, monkeypatch: pytest.MonkeyPatch, trained: Trainer = TINY) -> str:
    """Puts a small autoregressive model into the zoo, trained in a moment without files unless it is said how."""
    entry = Entry("small", "3.2", "a tiny one", "arm-memory", trained, sizes={"width": 4, "hidden": 16})
    monkeypatch.setitem(ZOO, name, entry)
    return name


def saved(x: Tensor, file: Path) -> str:
    np.save(file, x.numpy())
    return str(file)
