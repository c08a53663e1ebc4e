"""The entries of the zoo that Fashion-MNIST has for itself."""

import gzip
from pathlib import Path

import pytest
import torch

from genaisys.models import Integers, build
from genaisys.zoo import data
from genaisys.zoo.catalogue import ZOO, entries_for
from genaisys.zoo.data import DataMissing, load_data
from genaisys.zoo.fashion import ENTRIES
from genaisys.zoo.runs import entry_called

SPACE = Integers((1, 28, 28), 0, 255)


def test_each_family_has_a_model_of_its_images() -> None:
    assert {entry.family for entry in ENTRIES.values()} == {entry.family for entry in ZOO.values()}
    for name, entry in ENTRIES.items():
        torch.manual_seed(0)
        model = build(entry.preset, SPACE, **entry.sizes)
        assert torch.isfinite(model.loss(torch.randint(256, (2, 1, 28, 28)))).all(), name


def test_other_data_and_other_models_keep_the_settings_of_the_digits() -> None:
    assert list(entries_for("fashion-mnist")) == list(ZOO)
    assert entry_called("pixelcnn", "fashion-mnist") is ENTRIES["pixelcnn"]
    assert entry_called("pixelcnn", "digits") is entry_called("pixelcnn") is ZOO["pixelcnn"]
    assert entry_called("vae", "fashion-mnist") is ZOO["vae"]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like that of Debian's package, with two images for training and one for test."""
    monkeypatch.setattr(data, "_FASHION", tmp_path)
    for part, count in (("train", 2), ("t10k", 1)):
        pixels = bytes(range(count)) * (28 * 28)
        images = bytes([0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 28, 0, 0, 0, 28]) + pixels
        labels = bytes([0, 0, 8, 1, 0, 0, 0, count]) + bytes(range(7, 7 + count))
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return tmp_path


def test_its_files_are_read(installed: Path) -> None:
    loaded = load_data("fashion-mnist")
    assert loaded.space == SPACE
    assert loaded.training.shape == (2, 1, 28, 28)
    assert loaded.training[0, 0, 0, :4].tolist() == [0, 1, 0, 1]
    assert loaded.test.shape == (1, 1, 28, 28)
    assert loaded.classes is not None
    assert [each.tolist() for each in loaded.classes] == [[7, 8], [], [7]]


def test_missing_or_damaged_files_are_said_in_one_line(installed: Path) -> None:
    file = installed / "train-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    for content in (whole[:-9], b"", gzip.compress(b"\0\0\x08\x03"), b"no gzip"):
        file.write_bytes(content)
        with pytest.raises(DataMissing, match="damaged: install dataset-fashion-mnist again"):
            load_data("fashion-mnist")
    file.unlink()
    with pytest.raises(DataMissing, match="apt-get install dataset-fashion-mnist"):
        load_data("fashion-mnist")
