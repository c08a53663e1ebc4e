"""The models that are shipped: they are what their results say, and reach what they should."""

import lzma
import math

import pytest
import torch

from genaisys.models.base import Density, Lossless
from genaisys.zoo.catalogue import ZOO
from genaisys.zoo.data import Parts, digits
from genaisys.zoo.evaluation import mean_nats
from genaisys.zoo.runs import RESULT, SHIPPED, open_run, run_of, shipped_results

NAMES = sorted(path.parent.name for path in SHIPPED.glob(f"*/{RESULT}"))
TARGETS = {"arm-convolutions": 85.0, "pixelcnn": 85.0, "arm-transformer": 82.5}  # nats


@pytest.fixture(scope="module")
def data() -> Parts:
    return digits()


def test_each_belongs_to_the_zoo() -> None:
    assert NAMES
    assert {result["name"] for result in shipped_results("digits")} == set(NAMES) <= ZOO.keys()


@pytest.mark.parametrize("name", NAMES)
def test_each_is_as_likely_as_its_result_says(name: str, data: Parts) -> None:
    model, folder = open_run(name)
    result = run_of(folder)
    assert result["name"] == name
    if isinstance(model, Density):
        nats = mean_nats(model, data.test, ZOO[name].samples)
        assert nats == pytest.approx(result["test_nats"], abs=0.02)
        assert nats < TARGETS.get(name, math.inf)


@pytest.mark.parametrize("name", [name for name in NAMES if isinstance(open_run(name)[0], Lossless)])
def test_each_compresses_digits_better_than_xz(name: str, data: Parts) -> None:
    model = open_run(name)[0]
    assert isinstance(model, Lossless)
    assert isinstance(model, Density)
    x = data.test[:60]
    compressed = model.compress(x)
    assert torch.equal(model.decompress(compressed), x)
    assert len(compressed) <= 1.01 * mean_nats(model, x) * len(x) / math.log(2) / 8 + 8 + 8
    assert len(compressed) < len(lzma.compress(x.byte().numpy().tobytes(), preset=9 | lzma.PRESET_EXTREME))
