"""The processes that train together, one unless ``torchrun`` has started more, and the device of each."""

from __future__ import annotations

import torch
from accelerate import PartialState


def training_processes() -> PartialState:
    """Where this process stands among them; they connect at the first call."""
    # Unless it is told, accelerate takes processes without an accelerator for single ones.
    return PartialState(cpu=not torch.accelerator.is_available())
