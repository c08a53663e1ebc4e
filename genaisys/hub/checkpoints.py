"""A model's folder, as Hugging Face lays it out: ``config.json``, ``generation_config.json`` and safetensors weights.

Reading costs no memory to speak of: only headers are read until a tensor is asked for, and tensors are mapped from
their files. Weights in pickles are refused, since unpickling can run any code.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from genaisys.errors import GenaisysError

CONFIG, GENERATION_CONFIG, WEIGHTS = "config.json", "generation_config.json", "model.safetensors"
PICKLES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})
_INDEX = WEIGHTS + ".index.json"
_TOKENIZER = "tokenizer.json"
_BESIDE_TOKENIZER = ("tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json", "added_tokens.json")
_SHARDS = "model-*-of-*.safetensors"
# Weights, and what else a model is made of, such as the masks of its layers: no packed weights.
_TYPES = frozenset({"F64", "F32", "F16", "BF16", "I64", "BOOL"})
_LARGEST_JSON = 64 << 20  # bytes


class CheckpointBroken(GenaisysError):
    """A model's files are broken, or do not belong together."""


class CheckpointUnsupported(GenaisysError):
    """A model's files are whole, and hold something that is not known here."""


class CheckpointNotWritten(GenaisysError):
    """A model's files could not be written."""


class CheckpointFolder:
    """The files of a model.

    Attributes:
        config: what ``config.json`` holds.
        generation_config: what ``generation_config.json`` holds, or nothing.
        config_file: the file of ``config``, and ``weights_file`` that of the weights or of their index, for messages.
        shapes: the shapes of the tensors by their names.
    """

    def __init__(self, folder: Path) -> None:
        """Read everything but the weights.

        Raises:
            CheckpointBroken: there is no model in ``folder``, or its files are broken.
            CheckpointUnsupported: the weights are no floating-point numbers.
        """
        self.config_file = folder / CONFIG
        self.config = read_json(self.config_file)
        has_own = (folder / GENERATION_CONFIG).is_file()
        self.generation_config = read_json(folder / GENERATION_CONFIG) if has_own else {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._files: dict[str, tuple[Path, Any]] = {}  # by tensor
        if (folder / WEIGHTS).is_file():
            self.weights_file = folder / WEIGHTS
            file = _opened(self.weights_file)
            self._add(self.weights_file, file, list(file.keys()))
        elif (folder / _INDEX).is_file():
            self.weights_file = folder / _INDEX
            for name, tensors in _shards(self.weights_file).items():
                self._add(folder / name, _opened(folder / name), tensors)
        else:
            raise CheckpointBroken(_no_weights(folder))

    def read(self, name: str) -> Tensor:
        """A tensor, as it is stored. It is mapped from its file, and must not be written into."""
        path, file = self._files[name]
        try:
            return file.get_tensor(name)
        except SafetensorError as error:
            raise CheckpointBroken(f"{path} is broken at {name}: {_one_line(error)}") from error

    def file(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._files[name][0]

    def _add(self, path: Path, file: Any, tensors: list[str]) -> None:
        present = set(file.keys())
        for name in tensors:
            if name not in present:
                raise CheckpointBroken(f"{path} lacks the tensor {name}, which {self.weights_file.name} finds in it")
            header = file.get_slice(name)
            if header.get_dtype() not in _TYPES:
                raise CheckpointUnsupported(
                    f"{path} holds {name} as {header.get_dtype()}; only checkpoints of floating-point numbers are read"
                )
            self.shapes[name] = tuple(header.get_shape())
            self._files[name] = path, file


def write_checkpoint(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    generation_config: Mapping[str, Any] | None = None,
    write_others: Callable[[Path], None] = lambda folder: None,
) -> None:
    """Write a model's files so that ``folder`` never holds a mixture of two models.

    All is written beside the old files first. A model is there when its ``config.json`` is, and that is what goes first
    and comes last: whoever dies in between leaves the old model, the new one, or a folder that is said to hold none.

    Args:
        write_others: writes further files, such as a tokenizer's, into the folder that it is given.

    Raises:
        CheckpointNotWritten: the disk is full, or the folder cannot be written to.
    """
    staging = folder / f".saving-{os.getpid()}"
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        _write_json(staging / CONFIG, config)
        if generation_config is not None:
            _write_json(staging / GENERATION_CONFIG, generation_config)
        save_file(dict(tensors), staging / WEIGHTS, metadata={"format": "pt"})
        # safetensors makes files that only their owner can read, whatever the user's umask says.
        (staging / WEIGHTS).chmod((staging / CONFIG).stat().st_mode & 0o777)
        write_others(staging)
        others = _BESIDE_TOKENIZER if (staging / _TOKENIZER).is_file() else ()
        for old in (CONFIG, GENERATION_CONFIG, _INDEX, *others, *(shard.name for shard in folder.glob(_SHARDS))):
            (folder / old).unlink(missing_ok=True)
        for file in sorted(staging.iterdir(), key=lambda file: file.name == CONFIG):
            file.replace(folder / file.name)
    except (OSError, SafetensorError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else _one_line(error)
        raise CheckpointNotWritten(f"the model cannot be saved in {folder}: {reason}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def rotary_settings(base: float, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of rotary positions under their name in transformers 5, and under those that others still read."""
    settings = {"rope_parameters": {**parameters, "rope_theta": base}, "rope_theta": base}
    return settings if parameters["rope_type"] == "default" else settings | {"rope_scaling": dict(parameters)}


def read_json(file: Path) -> dict[str, Any]:
    """The settings in ``file``.

    Raises:
        CheckpointBroken: it cannot be read, or holds no settings.
    """
    try:
        if file.stat().st_size > _LARGEST_JSON:
            raise CheckpointBroken(f"{file} is broken: it is too large for settings")
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise CheckpointBroken(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointBroken(f"{file} is broken: it is not JSON ({_one_line(error)})") from error
    if not isinstance(content, dict):
        raise CheckpointBroken(f"{file} is broken: it holds no settings")
    return content


def why_no_pickle(file: Path) -> str:
    return f"{file} is not read: a pickle can run any code when it is opened; convert it to safetensors first"


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except FileNotFoundError:
        raise CheckpointBroken(f"{file} is missing") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointBroken(f"{file} is broken: {_one_line(error)}") from error


def _shards(index: Path) -> dict[str, list[str]]:
    """The tensors in each file that ``index`` lists."""
    tensors_by_file: dict[str, list[str]] = {}
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointBroken(f"{index} is broken: it lists no tensors")
    for tensor, file in weight_map.items():
        # The name of a file, and no path: a model must not make us read files outside its folder.
        if not isinstance(file, str) or not file.endswith(".safetensors") or {"/", "\\", ":"} & set(file):
            raise CheckpointBroken(f"{index} is broken: it finds {tensor} in {file!r}, and not in a file beside it")
        tensors_by_file.setdefault(file, []).append(tensor)
    return tensors_by_file


def _no_weights(folder: Path) -> str:
    pickles = sorted(file for file in folder.iterdir() if file.suffix in PICKLES)
    if pickles:
        return why_no_pickle(pickles[0])
    return f"{folder} has no weights: there is no {WEIGHTS}, and no {_INDEX}"


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
