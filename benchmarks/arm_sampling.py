"""How fast autoregressive models draw the 64 pixels of a digit: place by place, against a whole pass for each pixel.

    python benchmarks/arm_sampling.py [--rounds 5]

The naive sampler is that of the book's listing 3.2: it runs the network on the whole image for each pixel, and reads
one place of what comes out. Both draw from the same seed, and must draw the same images, which is checked in double
precision. Processor time of one thread, in turns; the models have random weights, since that changes no speed.
Takes about two minutes on one quiet core.
"""

import argparse
import time
from collections.abc import Callable

import torch
from peers import in_turns, ratio, spread
from torch import Tensor

from genaisys.models import Integers, build
from genaisys.models.autoregressive.model import Autoregressive
from genaisys.models.autoregressive.order import out_of_order
from genaisys.models.base import inference
from genaisys.zoo.autoregressive import ENTRIES

SPACE = Integers((1, 8, 8), 0, 16)
AT_ONCE = (16, 100)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print("| model | images at once | place by place, ms an image | a pass each, ms an image | times as fast |")
    print("| --- | --- | --- | --- | --- |")
    for name, entry in ENTRIES.items():
        torch.manual_seed(0)
        model = build(entry.preset, SPACE, **entry.sizes)
        assert isinstance(model, Autoregressive)
        require_equal(model)
        for n in AT_ONCE:
            runs = {"ours": timed(model.sample, n), "naive": timed(lambda n, model=model: naive_sample(model, n), n)}
            times = in_turns(runs, rounds)
            speeds = ratio(times["naive"], times["ours"])
            print(f"| {name} | {n} | {spread(times['ours'], 2)} | {spread(times['naive'], 2)} | {speeds} |", flush=True)
        del model
    print("\nTarget: 20 times as fast.")


def naive_sample(model: Autoregressive, n: int) -> Tensor:
    x = torch.full((n, model.space.dimensions), SPACE.low)
    with inference(model):
        for place in range(x.shape[1]):
            x[:, place] = model.head(model.network(x)[:, place]).sample()
    return out_of_order(x, SPACE.shape)


def timed(sample: Callable[[int], Tensor], n: int) -> Callable[[int], float]:
    """Milliseconds of processor time for an image."""

    def run(_: int) -> float:
        began = time.process_time()
        sample(n)
        return 1e3 * (time.process_time() - began) / n

    return run


def require_equal(model: Autoregressive) -> None:
    model.double()
    torch.manual_seed(1)
    expected = naive_sample(model, 20)
    torch.manual_seed(1)
    assert torch.equal(model.sample(20), expected)
    model.float()


if __name__ == "__main__":
    main()
