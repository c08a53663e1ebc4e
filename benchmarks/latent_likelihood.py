"""How well latent-variable models know the digits, and how much their samples look like them.

    python benchmarks/latent_likelihood.py [NAME ...]

For seeds 0, 1 and 2: nats per image of the test part by the ELBO and by 1000 importance-weighted samples, both of the
discrete data; the distances of samples that the zoo measures; and seconds of processor time for training, on one
thread. A thousand samples of a diffusion take too long, and that number is left out. Takes half an hour on one
quiet core.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from genaisys.models import build
from genaisys.models.base import inference
from genaisys.models.latent.bound import LatentVariableModel
from genaisys.models.latent.diffusion import DiffusionModel
from genaisys.zoo.data import Parts, digits
from genaisys.zoo.entries import Entry
from genaisys.zoo.evaluation import measure
from genaisys.zoo.latent import ENTRIES

SEEDS = (0, 1, 2)
DRAWS, SAMPLES = 10, 1000  # of the ELBO, whose mean is taken, and of the importance-weighted bound
COLUMNS = ("ELBO", f"with {SAMPLES} samples", "FD", "MMD² x 1e3", "precision", "recall", "seconds")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(ENTRIES), help="of models; by default all")
    names = parser.parse_args().names
    torch.set_num_threads(1)
    data = digits()
    print(f"| model | {' | '.join(COLUMNS)} |\n|{' --- |' * (1 + len(COLUMNS))}")
    for name in names:
        rows = [row(ENTRIES[name], data, seed) for seed in SEEDS]
        print(f"| {name} | {' | '.join(' / '.join(cells) for cells in zip(*rows, strict=True))} |", flush=True)


def row(entry: Entry, data: Parts, seed: int) -> list[str]:
    torch.manual_seed(seed)
    model = build(entry.preset, data.space, **entry.sizes)
    assert isinstance(model, LatentVariableModel)
    began = time.process_time()
    with TemporaryDirectory() as folder:
        entry.trained(model, data.training, data.validation, seed, Path(folder), lambda record: None)
    seconds = time.process_time() - began
    got = measure(model, data, bound_samples=1, effort=entry.effort)
    with inference(model, torch.Generator().manual_seed(0)):
        bounds = [f"{elbo(model, data.test):.2f}", tight_bound(model, data.test)]
    distances = [f"{got.fd:.2f}", f"{1e3 * got.mmd2:.1f}", f"{got.precision:.2f}", f"{got.recall:.2f}"]
    return [*bounds, *distances, f"{seconds:.0f}"]


def elbo(model: LatentVariableModel, x: Tensor) -> float:
    return -torch.stack([model.log_prob(x).mean() for _ in range(DRAWS)]).mean().item()


def tight_bound(model: LatentVariableModel, x: Tensor) -> str:
    if isinstance(model, DiffusionModel):
        return "-"
    return f"{-torch.cat([model.log_prob(part, samples=SAMPLES) for part in x.split(100)]).mean():.2f}"


if __name__ == "__main__":
    main()
