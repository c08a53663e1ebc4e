"""How well circuits model the digits, against the Einet of SPFlow in the same run.

    python benchmarks/circuit_likelihood.py

Nats per image of the test part, and seconds of processor time for training, on one thread. SPFlow's circuit has the
sizes of ours and learns by gradient, as its examples do: first for as long as ours took, then until the validation part
has got no better in 20 epochs; its weights are those that were best on the validation part.
"""

import copy
import math
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from spflow.meta.data.scope import Scope
from spflow.modules.leaves.categorical import Categorical
from spflow.zoo.einet import Einet
from torch import Tensor

from genaisys.models import build
from genaisys.models.base import Density
from genaisys.zoo.data import Parts, digits
from genaisys.zoo.mixtures import ENTRIES

OURS = ("mixture", "chow-liu", "einet", "hidden-tree")
SEEDS = (0, 1, 2)
LEARNING_RATES = (0.1, 0.03)
PATIENCE = 20  # epochs


def main() -> None:
    torch.set_num_threads(1)
    data = digits()
    print("| circuit | seed | nats | seconds |\n| --- | --- | --- | --- |")
    for seed in SEEDS:
        seconds = {name: train_ours(name, data, seed) for name in OURS}
        for rate in LEARNING_RATES:
            train_theirs(f"SPFlow Einet, Adam {rate:g}, as long as einet", data, seed, rate, seconds["einet"])
            train_theirs(f"SPFlow Einet, Adam {rate:g}, to the end", data, seed, rate, math.inf)


def train_ours(name: str, data: Parts, seed: int) -> float:
    entry = ENTRIES[name]
    torch.manual_seed(seed)
    model = build(entry.preset, data.space, **entry.sizes)
    began = time.process_time()
    with TemporaryDirectory() as folder:
        entry.trained(model, data.training, data.validation, seed, Path(folder), lambda record: None)
    spent = time.process_time() - began
    assert isinstance(model, Density)
    with torch.no_grad():
        show(f"**{name}**", seed, -model.log_prob(data.test).mean(), spent)
    return spent


def train_theirs(name: str, data: Parts, seed: int, rate: float, seconds: float) -> None:
    """For so many ``seconds`` at most."""
    torch.manual_seed(seed)
    training, validation, test = (part.flatten(1).float() for part in (data.training, data.validation, data.test))
    sizes = ENTRIES["einet"].sizes
    leaves = Categorical(
        Scope([*range(64)]), out_channels=sizes["sums"], num_repetitions=sizes["repetitions"], K=data.space.levels
    )
    model = Einet(
        [leaves],
        num_sums=sizes["sums"],
        num_leaves=sizes["sums"],
        depth=sizes["depth"],
        num_repetitions=sizes["repetitions"],
        layer_type="einsum",
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    best, weights, since, began = float("inf"), copy.deepcopy(model.state_dict()), 0, time.process_time()
    while since <= PATIENCE and time.process_time() - began < seconds:
        for batch in training[torch.randperm(len(training))].split(64):
            optimizer.zero_grad()
            nats(model, batch).backward()
            optimizer.step()
        with torch.no_grad():
            now = nats(model, validation).item()
        since += 1
        if now < best:
            best, weights, since = now, copy.deepcopy(model.state_dict()), 0
    spent = time.process_time() - began
    model.load_state_dict(weights)
    with torch.no_grad():
        show(name, seed, nats(model, test), spent)


def nats(model: Einet, x: Tensor) -> Tensor:
    return -model.log_likelihood(x).mean()


def show(name: str, seed: int, value: Tensor, seconds: float) -> None:
    print(f"| {name} | {seed} | {value.item():.2f} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
