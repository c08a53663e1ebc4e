"""Checkpoints of a training: a folder for each, with tensors as safetensors and the rest as JSON.

A checkpoint appears whole or not at all: it is written beside the others, forced to the disk, and then renamed. Each
file's SHA-256 stands in it, so that one which was damaged later is known, and the one before it is taken.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from genaisys.errors import GenaisysError
from genaisys.hub.downloads import file_sha256

_STATE = "state.json"
_KEPT = 2  # the last ones, besides the best


class CheckpointsDamaged(GenaisysError):
    """The folder holds checkpoints, and none of them is whole."""


class CheckpointNotKept(GenaisysError):
    """A checkpoint cannot be written."""


@dataclass(frozen=True)
class Checkpoint:
    """What a training goes on from.

    Attributes:
        state: numbers and names, as JSON can hold them; ``state["step"]`` is the last step that was taken.
        tensors: groups of named tensors, such as ``model`` and ``optimizer``; each is a file.
    """

    state: Mapping[str, Any]
    tensors: Mapping[str, Mapping[str, Tensor]]


class Checkpoints:
    """The checkpoints in a folder: the last two, and of each the best until then (``state["best_step"]``)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, checkpoint: Checkpoint) -> None:
        """Add a checkpoint, then remove those that are neither among the last two nor the best of these.

        Raises:
            CheckpointNotKept: the disk is full, or the folder cannot be written to.
        """
        staging = self.folder / ".new"
        try:
            shutil.rmtree(staging, ignore_errors=True)  # left by a killed process
            staging.mkdir(parents=True)
            files = {}
            for group, tensors in checkpoint.tensors.items():
                file = staging / f"{group}.safetensors"
                save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, file)
                _to_disk(file)
                files[file.name] = file_sha256(file)
            (staging / _STATE).write_text(json.dumps({**checkpoint.state, "files": files}, indent=1), "utf-8")
            _to_disk(staging / _STATE)
            _to_disk(staging)
            target = self._path(checkpoint.state["step"])
            shutil.rmtree(target, ignore_errors=True)  # a damaged one that was passed over
            staging.replace(target)
            _to_disk(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(staging, ignore_errors=True)
            reason = error.strerror or error if isinstance(error, OSError) else error
            raise CheckpointNotKept(f"no checkpoint can be written into {self.folder}: {reason}") from error
        self._remove_old()

    def last(self) -> Checkpoint | None:
        """The last whole checkpoint; damaged ones after it are removed. None where there are no checkpoints.

        Raises:
            CheckpointsDamaged: there are some, and none is whole.
        """
        damaged: list[Path] = []
        for step in reversed(self.steps()):
            with suppress(CheckpointsDamaged):
                checkpoint = self.read(step)
                for path in damaged:
                    shutil.rmtree(path, ignore_errors=True)
                return checkpoint
            damaged.append(self._path(step))
        if damaged:
            raise CheckpointsDamaged(f"no checkpoint in {self.folder} is whole: remove that folder to begin anew")
        return None

    def read(self, step: int) -> Checkpoint:
        """The checkpoint of the given step.

        Raises:
            CheckpointsDamaged: it is not whole.
        """
        folder = self._path(step)
        try:
            state = json.loads((folder / _STATE).read_bytes())
            tensors = {}
            for name, sha256 in state.pop("files").items():
                file = folder / name
                if file_sha256(file) != sha256:
                    raise CheckpointsDamaged(f"{file} is damaged: its SHA-256 is not what was written")
                tensors[file.stem] = load_file(file)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise CheckpointsDamaged(f"the checkpoint {folder} is damaged: {error}") from error
        return Checkpoint(state, tensors)

    def steps(self) -> list[int]:
        """The steps that there are checkpoints of, in their order."""
        return sorted(int(path.name.removeprefix("step-")) for path in self.folder.glob("step-*") if path.is_dir())

    def _remove_old(self) -> None:
        steps = self.steps()
        kept = set(steps[-_KEPT:])
        for step in steps[-_KEPT:]:  # should the last one be damaged, the one before it needs its own best
            with suppress(OSError, ValueError, KeyError):
                kept.add(json.loads((self._path(step) / _STATE).read_bytes())["best_step"])
        for step in set(steps) - kept:
            shutil.rmtree(self._path(step), ignore_errors=True)

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"


def _to_disk(path: Path) -> None:
    """Wait until the file or folder has reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
