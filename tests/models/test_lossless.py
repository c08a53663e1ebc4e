"""Compression: the coder, both kinds of models that use it, other processes, and bytes that are damaged."""

import math
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import torch
from small_models import SMALL_MODELS, softened
from torch import Tensor

from genaisys.models import Integers, OutOfSpace, build
from genaisys.models.lossless import Coded, Coder, CodesInTurn, NotCompressed, NotInvertible, _Reader, _Writer

SPACE = Integers((2, 3), 0, 9)


class IntegerFlow(Coded):
    """A toy: z is x with a rounded function of its one half added to the other; z has one distribution a place."""

    def __init__(self, low: int = -3, high: int = 12, inverts: bool = True) -> None:
        super().__init__()
        self.space, self.low, self.inverts = SPACE, low, inverts
        self.net = torch.nn.Linear(3, 3)
        self.logits = torch.nn.Parameter(torch.randn(6, high - low + 1))

    def loss(self, x: Tensor, *, condition: object = None) -> Tensor:
        raise NotImplementedError

    def _sample(self, n: int, *, condition: object) -> Tensor:
        raise NotImplementedError

    def code(self, coder: Coder, n: int, x: Tensor | None) -> Tensor:
        log_probs = self.logits.log_softmax(-1).expand(n, 6, -1) - 0.01  # some mass is outside of the window
        z = coder.integers(log_probs, self.low, None if x is None else self.latents(x, 1).flatten(1))
        return self.latents(z.view(n, 2, 3), -1 if self.inverts else 1)

    def latents(self, x: Tensor, sign: int) -> Tensor:
        shift = self.net(x[:, 0].to(self.net.weight.dtype)).round().long()
        return torch.stack([x[:, 0], x[:, 1] + sign * shift], 1)


def flow(**sizes: object) -> IntegerFlow:
    torch.manual_seed(0)
    return IntegerFlow(**sizes)  # type: ignore[arg-type]


def some(n: int) -> Tensor:
    return torch.randint(10, (n, 2, 3), generator=torch.Generator().manual_seed(1))


# -- the coder


def test_symbols_cost_what_their_probabilities_say() -> None:
    torch.manual_seed(0)
    log_probs = (3 * torch.randn(5000, 7)).log_softmax(-1)
    symbols = torch.distributions.Categorical(logits=log_probs).sample()
    writer = _Writer()
    assert torch.equal(writer.categorical(log_probs, symbols), symbols)
    written = writer.written()
    assert torch.equal(_Reader(written).categorical(log_probs, None), symbols)
    bits = -log_probs.gather(1, symbols[:, None]).sum().item() / math.log(2)
    assert bits <= 8 * len(written) <= bits * 1.001 + 10


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_the_last_bytes_are_as_few_as_can_be(n: int) -> None:
    torch.manual_seed(n)
    for _ in range(200):
        log_probs = (3 * torch.randn(n, 7)).log_softmax(-1)
        symbols = torch.distributions.Categorical(logits=log_probs).sample()
        writer = _Writer()
        writer.categorical(log_probs, symbols)
        reader = _Reader(writer.written())
        assert torch.equal(reader.categorical(log_probs, None), symbols)
        assert reader.at_end()
        bits = -log_probs.gather(1, symbols[:, None]).sum().item() / math.log(2)
        assert len(writer.written()) <= bits / 8 * 1.001 + 1.25


def test_what_is_impossible_can_be_written_too() -> None:
    log_probs = torch.tensor([[0.0, -math.inf]]).expand(4, 2)
    symbols = torch.tensor([0, 1, 1, 0])
    writer = _Writer()
    writer.categorical(log_probs, symbols)
    assert torch.equal(_Reader(writer.written()).categorical(log_probs, None), symbols)


def test_a_variable_of_one_value_costs_nothing() -> None:
    writer = _Writer()
    writer.categorical(torch.zeros(100, 1), torch.zeros(100, dtype=torch.int64))
    assert writer.written() == b""
    assert _Reader(b"").categorical(torch.zeros(100, 1), None).tolist() == [0] * 100


def test_integers_outside_of_the_window_are_written_too() -> None:
    log_probs = torch.full((4, 5), 0.2).log().expand(3, 4, 5)
    integers = torch.tensor([[-2, -1, 0, 2], [3, -3, 4, 10**15], [-(10**18), 2, 1, -2]])
    writer = _Writer()
    assert torch.equal(writer.integers(log_probs, -2, integers), integers)
    assert torch.equal(_Reader(writer.written()).integers(log_probs, -2, None), integers)


# -- models


@pytest.mark.parametrize("high", [12, 5])
def test_flows_of_integers_compress(high: int) -> None:
    model = flow(high=high)
    x = some(300)
    assert torch.equal(model.decompress(model.compress(x)), x)
    assert torch.equal(model.decompress(model.compress(x.float())), x)


def test_a_flow_that_does_not_invert_is_not_believed() -> None:
    """Trap I4: an inverse that is not exact would lose the data without a word."""
    with pytest.raises(NotInvertible):
        flow(inverts=False).compress(some(5))


def test_conditionals_are_asked_for_one_after_the_other() -> None:
    seen: list[list[int]] = []

    class Counting(CodesInTurn):
        def __init__(self) -> None:
            super().__init__()
            self.space = Integers((2, 2), 5, 8)

        def loss(self, x: Tensor, *, condition: object = None) -> Tensor:
            raise NotImplementedError

        def _sample(self, n: int, *, condition: object) -> Tensor:
            raise NotImplementedError

        def conditionals(self, n: int) -> Generator[Tensor, Tensor, None]:
            for _ in range(3):
                value = yield torch.zeros(n, 4)
                seen.append(value.tolist())
            yield torch.zeros(n, 4)

    x = torch.tensor([[[5, 6], [7, 8]], [[8, 8], [5, 5]]])
    data = Counting().compress(x)
    assert seen == [[5, 8], [6, 8], [7, 5]]  # the last is nobody's condition
    assert torch.equal(Counting().decompress(data), x)
    assert seen[3:] == seen[:3]


def test_many_examples_come_in_batches_of_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genaisys.models.lossless._AT_ONCE", 16)
    model = SMALL_MODELS["hidden tree"]()
    assert isinstance(model, Coded)
    x = model.sample(50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.decompress(model.compress(x)), x)


def test_compression_leaves_the_model_as_it_was() -> None:
    model = flow().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    data = model.compress(some(3))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.net.weight.dtype is torch.float32
    assert flow().double().compress(some(3)) == data  # the same weights are the same model


def test_what_is_not_of_the_space_is_not_compressed() -> None:
    with pytest.raises(OutOfSpace):
        flow().compress(some(3) + 1)


# -- other processes, and damage

_DECOMPRESS = """
import sys
from pathlib import Path
import torch
from genaisys.models import load_model
torch.set_num_threads(1)
for folder in map(Path, sys.argv[1:]):
    x = load_model(folder).decompress(folder.with_suffix(".compressed").read_bytes())
    folder.with_suffix(".x").write_bytes(x.numpy().tobytes())
"""


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_another_process_reads_the_same_with_other_threads(tmp_path: Path) -> None:
    models = []
    for name, sizes in {
        "einet": {},
        "hidden-tree": {},
        "mixture": {},
        "idf": {"couplings": 2, "levels": 2, "width": 32},
        "arm-transformer": {"layers": 1, "width": 32, "heads": 2},
    }.items():
        torch.manual_seed(0)
        model = softened(build(name, Integers((1, 4, 4), 0, 16), **sizes))
        assert isinstance(model, Coded)
        x = model.sample(60, generator=torch.Generator().manual_seed(0))
        model.save_pretrained(tmp_path / name)
        (tmp_path / f"{name}.compressed").write_bytes(model.compress(x))
        models.append((tmp_path / name, x))
    subprocess.run([sys.executable, "-c", _DECOMPRESS, *(folder for folder, _ in models)], check=True)
    for folder, x in models:
        assert folder.with_suffix(".x").read_bytes() == x.numpy().tobytes()


def test_bytes_of_another_model_are_refused() -> None:
    torch.manual_seed(0)
    first, second = (build("mixture", SPACE, components=2) for _ in range(2))
    assert isinstance(first, Coded)
    assert isinstance(second, Coded)
    with pytest.raises(NotCompressed, match="not compressed by this model") as error:
        second.decompress(first.compress(some(4)))
    assert "\n" not in str(error.value)


def test_damaged_bytes_are_refused() -> None:
    model, x = flow(), some(40)
    data = model.compress(x)
    for length in [*range(12), len(data) - 4, len(data) - 1]:
        with pytest.raises(NotCompressed):
            model.decompress(data[:length])
    for place in [*range(8), *range(8, len(data) - 4, 7)]:
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        with pytest.raises(NotCompressed):
            model.decompress(bytes(damaged))
    for bit in range(32):
        damaged = bytearray(data)
        damaged[len(data) - 4 + bit // 8] ^= 1 << bit % 8
        with pytest.raises(NotCompressed):
            model.decompress(bytes(damaged))
    for other in (b"", b"\x80" * 40, b"\xff" * 8 + b"\x01" + bytes(40), data + bytes(8), data + data[7:]):
        with pytest.raises(NotCompressed):
            model.decompress(other)


def test_the_frame_takes_five_bytes_and_the_number_of_examples() -> None:
    assert len(flow().compress(some(0))) == 6
    model = SMALL_MODELS["mixture"]()
    assert isinstance(model, Coded)
    for n in (1, 3, 127, 128):
        x = model.sample(n, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            bits = -model.double().log_prob(x).sum().item() / math.log(2)
        assert len(model.compress(x)) <= bits / 8 * 1.001 + 5 + (1 if n < 128 else 2) + 1.25
