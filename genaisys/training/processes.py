"""The processes that train together, one unless ``torchrun`` has started more, and the device of each."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import PartialState

from genaisys.errors import GenaisysError
from genaisys.training.interruption import TrainingInterrupted

_ALONE_AFTER = 5.0  # seconds; torchrun looks ten times a second whether one of its processes has failed


def training_processes() -> PartialState:
    """Where this process stands among them; they connect at the first call."""
    # Unless it is told, accelerate takes processes without an accelerator for single ones.
    return PartialState(cpu=not torch.accelerator.is_available())


@contextmanager
def told_once() -> Iterator[None]:
    """What goes wrong for all processes alike, such as a wrong recipe, is told by the first of them alone.

    When that has failed, torchrun ends the others. So they wait for a moment before they tell, by their number, what
    has gone wrong: whoever is still there afterwards has a fault of its own.
    """
    number = int(os.environ.get("RANK", "0"))  # looked up here, because processes connect later than they may fail
    try:
        yield
    except (GenaisysError, OSError) as error:
        if number == 0:
            raise
        if isinstance(error, TrainingInterrupted):  # by a signal, which all have had
            raise SystemExit(1) from error
        time.sleep(_ALONE_AFTER)
        raise GenaisysError(f"process {number}: {error}") from error
