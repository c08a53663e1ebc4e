"""The data of the zoo: images of integers, in three parts."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genaisys.errors import GenaisysError
from genaisys.models.spaces import Integers, Reals

_FASHION = Path("/usr/share/datasets/fashion-mnist")
_LARGEST = 1 << 30  # bytes of a file
_FEWEST = 20  # rows of a file: measuring takes two, and the models of the zoo 16 to learn from
_MOST_LEVELS = 1 << 16  # of integers: models have a number for each


class DataMissing(GenaisysError):
    """There are no such data, or they cannot be read; the message says what to do."""


@dataclass(frozen=True)
class Parts:
    """A data set in three parts, each [N, *shape]: integers where the space is ``Integers``.

    Attributes:
        classes: of the images of each part, [N]; None where they are not known.
        digest: of the file that they are from; None where the name says all.
    """

    name: str
    space: Integers | Reals
    training: Tensor
    validation: Tensor
    test: Tensor
    classes: tuple[Tensor, Tensor, Tensor] | None = None
    digest: str | None = None


def load_data(name: str) -> Parts:
    """``digits``, ``fashion-mnist``, or an array in a ``.npy`` file.

    Raises:
        DataMissing: there are no such data.
    """
    if name in DATASETS:
        return DATASETS[name]()
    if name.endswith(".npy"):
        return _array(Path(name))
    raise DataMissing(f"there are no data {name!r}: choose {', '.join(DATASETS)}, or a .npy file")


def digits() -> Parts:
    """scikit-learn's digits: 8x8 pixels of 0 to 16; 1,000 / 350 / 447 images in the order of the file."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    x = torch.from_numpy(loaded.images).long()[:, None]  # [1797, 1, 8, 8]
    y = torch.from_numpy(loaded.target).long()
    classes = y[:1000], y[1000:1350], y[1350:]
    return Parts("digits", Integers((1, 8, 8), 0, 16), x[:1000], x[1000:1350], x[1350:], classes)


def fashion_mnist() -> Parts:
    """Fashion-MNIST (Xiao et al. 2017): 28x28 pixels of 0 to 255; 55,000 / 5,000 / 10,000 images.

    Raises:
        DataMissing: Debian's package is not installed, or its files are damaged.
    """
    files = [_FASHION / f"{part}-{what}-ubyte.gz" for part in ("train", "t10k") for what in _CONTENTS]
    if missing := [file for file in files if not file.is_file()]:
        raise DataMissing(f"{missing[0]} is missing: install it with `apt-get install dataset-fashion-mnist`")
    x, y, test, test_classes = (_idx(file) for file in files)
    x, test = x[:, None].long(), test[:, None].long()  # [N, 1, 28, 28]
    classes = y[:55_000].long(), y[55_000:].long(), test_classes.long()
    return Parts("fashion-mnist", Integers((1, 28, 28), 0, 255), x[:55_000], x[55_000:], test, classes)


_CONTENTS = ("images-idx3", "labels-idx1")
DATASETS: Mapping[str, Callable[[], Parts]] = {"digits": digits, "fashion-mnist": fashion_mnist}


def _idx(file: Path) -> Tensor:
    """The format of MNIST: type and number of dimensions, the sizes, then bytes."""
    try:
        content = gzip.decompress(file.read_bytes())
        dimensions = content[3]
        shape = np.frombuffer(content, ">i4", dimensions, offset=4).tolist()
        array = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, IndexError, ValueError, zlib.error) as error:
        raise DataMissing(f"{file} is damaged: install dataset-fashion-mnist again ({error})") from error
    return torch.from_numpy(array.copy())


def load_array(file: Path) -> Tensor:
    """An array of integers or floats in a ``.npy`` file, one example a row. -> [N, *shape], int64 or float32

    Raises:
        DataMissing: there is none.
    """
    try:
        if file.stat().st_size > _LARGEST:
            raise DataMissing(f"{file} is larger than {_LARGEST >> 20} MiB: give a part of it")
        array = np.load(file, allow_pickle=False)
    except OSError as error:
        raise DataMissing(f"{file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise DataMissing(f"{file} is no array of numbers: save it with numpy.save ({error})") from error
    if not isinstance(array, np.ndarray) or array.ndim < 2 or array.dtype.kind not in "buif":
        raise DataMissing(f"{file} holds no rows of numbers: save an array [N, *shape] with numpy.save")
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise DataMissing(f"{file} holds numbers up to {array.max()}: expected integers below 2^63")
    x = torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else np.int64))
    if not torch.isfinite(x).all():
        raise DataMissing(f"{file} holds NaN or infinity: leave these rows out")
    return x


def save_array(file: Path, x: Tensor) -> None:
    """Write integers as the smallest type that holds them. [N, *shape]"""
    low, high = (int(x.min()), int(x.max())) if x.numel() else (0, 0)
    with file.open("wb") as opened:
        np.save(opened, x.numpy().astype(np.promote_types(np.min_scalar_type(low), np.min_scalar_type(high))))


def _array(file: Path) -> Parts:
    """[N, *shape]: a tenth each for validation and test, drawn with seed 0."""
    if file.stem in DATASETS:
        raise DataMissing(f"{file} has the name of other data, {file.stem}: give the file another one")
    x = load_array(file)
    if len(x) < _FEWEST or not x.numel():
        raise DataMissing(f"{file} holds {len(x)} rows of {x[:1].numel()} numbers: expected at least {_FEWEST} rows")
    shape = tuple(x.shape[1:])
    low, high = x.min().item(), x.max().item()
    if not x.is_floating_point() and high - low >= _MOST_LEVELS:
        raise DataMissing(
            f"{file} holds integers from {low} to {high}: expected a range of at most {_MOST_LEVELS:,}; "
            "save them as floats"
        )
    space = Reals(shape) if x.is_floating_point() else Integers(shape, int(low), int(high))
    digest = hashlib.blake2b(x.numpy().tobytes(), digest_size=8).hexdigest()
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    tenth = len(x) // 10
    return Parts(file.stem, space, x[2 * tenth :], x[:tenth], x[tenth : 2 * tenth], digest=digest)
