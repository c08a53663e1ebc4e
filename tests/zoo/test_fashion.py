"""The entries of the zoo that Fashion-MNIST has for itself."""

import torch

from genaisys.models import Integers, build
from genaisys.zoo.catalogue import ZOO, entries_for
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
