"""How well flows model the digits, against zuko's flows in the same run.

    python benchmarks/flow_likelihood.py

Nats per image of the test part, of the discrete data, and seconds of processor time for training, on one thread. All
train in the same loop, until the validation part gets no better. Peers have zuko's networks; they are given our
dequantization, averaged weights and early stopping, without which they do worse. Takes about ten minutes.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import zuko

from genaisys.models import build
from genaisys.models.base import Density, GenerativeModel
from genaisys.models.flows.base_densities import StandardNormal
from genaisys.models.flows.flow import Flow
from genaisys.models.flows.splines import ZukoTransform
from genaisys.training import TrainingSettings
from genaisys.zoo.data import Parts, digits
from genaisys.zoo.entries import Trainer, by_gradient
from genaisys.zoo.flows import ENTRIES

SAMPLES = 500  # of the importance-weighted bound
SEED = 0
PEERS: dict[str, Callable[[], zuko.flows.Flow]] = {
    "zuko MAF": lambda: zuko.flows.MAF(64, transforms=5, hidden_features=[256, 256]),
    "zuko RealNVP": lambda: zuko.flows.RealNVP(64, transforms=8, hidden_features=[256, 256]),
    "zuko NSF": lambda: zuko.flows.NSF(64, transforms=3, hidden_features=[256, 256]),
}


def main() -> None:
    torch.set_num_threads(1)
    data = digits()
    print(f"| flow | nats | with {SAMPLES} samples | seconds |\n| --- | --- | --- | --- |")
    for name, model, trained in contestants(data):
        began = time.process_time()
        with TemporaryDirectory() as folder:
            trained(model, data.training, data.validation, SEED, Path(folder), lambda record: None)
        seconds = time.process_time() - began
        print(f"| {name} | {' | '.join(nats(model.eval(), data))} | {seconds:.0f} |", flush=True)


def contestants(data: Parts) -> Iterator[tuple[str, GenerativeModel, Trainer]]:
    for name, peer in PEERS.items():
        torch.manual_seed(SEED)
        settings = TrainingSettings(steps=3000, batch_size=64, warmup_steps=50, ema_decay=0.995, patience=5)
        bijection = ZukoTransform(peer().transform)
        yield name, Flow(data.space, bijection, StandardNormal(*data.space.shape)), by_gradient(settings)
    for name, entry in ENTRIES.items():
        torch.manual_seed(SEED)
        yield f"**{name}**", build(entry.preset, data.space, **entry.sizes), entry.trained


@torch.no_grad()
def nats(model: GenerativeModel, data: Parts) -> tuple[str, str]:
    assert isinstance(model, Density)
    if model.likelihood == "exact":
        return f"{-model.log_prob(data.test).mean():.2f}", "exact"
    torch.manual_seed(SEED)
    bound = torch.stack([model.log_prob(data.test) for _ in range(10)]).mean()
    tight = torch.cat([model.log_prob(part, samples=SAMPLES) for part in data.test.split(32)]).mean()
    return f"{-bound:.2f}", f"{-tight:.2f}"


if __name__ == "__main__":
    main()
