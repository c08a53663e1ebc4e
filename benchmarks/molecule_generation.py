"""The MOSES protocol on the shipped generator: 30,000 samples for each of several seeds, beside the published rows.

    python benchmarks/molecule_generation.py [--model smiles-gpt] [--samples 30000] [--seeds 3]
    python benchmarks/molecule_generation.py --temperatures .8 .9 1 1.1 1.2 --samples 10000 --seeds 1

Of several temperatures it draws validity and FCD against novelty (``--plot``). FCD falls with the number of samples, so
only with 30,000 can it be compared with the published rows, and only then are they in the picture.

Published: molecularsets/moses README at ffbc4dba, means of three seeds. The fingerprints of the test sets are computed
the first time, which takes about a minute; then a seed of 30,000 takes about six minutes.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from genaisys.models.transformer import TransformerLM
from genaisys.molecules.generators import load_generator
from genaisys.molecules.metrics import moses_metrics
from genaisys.molecules.sampling import MoleculeSampling, raw_smiles

COLUMNS = (
    "valid", "unique@10000", "Novelty", "FCD/Test", "FCD/TestSF", "SNN/Test", "Frag/Test", "Scaf/Test", "Scaf/TestSF",
    "IntDiv", "Filters",
)  # fmt: skip
PUBLISHED = {
    "training set": (1.0, 1.0, 0.0, 0.008, 0.4755, 0.6419, 1.0, 0.9907, 0.0, 0.8567, 1.0),
    "CharRNN": (0.9748, 0.9994, 0.8419, 0.0732, 0.5204, 0.6015, 0.9998, 0.9242, 0.1101, 0.8562, 0.9943),
    "VAE": (0.9767, 0.9984, 0.6949, 0.0990, 0.5670, 0.6257, 0.9994, 0.9386, 0.0588, 0.8558, 0.9970),
    "JTN-VAE": (1.0, 0.9996, 0.9143, 0.3954, 0.9382, 0.5477, 0.9965, 0.8964, 0.1009, 0.8551, 0.9760),
    "LatentGAN": (0.8966, 0.9968, 0.9498, 0.2968, 0.8281, 0.5371, 0.9986, 0.8867, 0.1072, 0.8565, 0.9735),
}


Row = Sequence[float]  # in the order of COLUMNS


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smiles-gpt")
    parser.add_argument("--samples", type=int, default=30_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0])
    parser.add_argument("--plot", type=Path, default=Path("docs/images/molecule-temperatures.png"))
    arguments = parser.parse_args()
    model = load_generator(arguments.model)
    ours = {
        temperature: measured(model, arguments.samples, arguments.seeds, temperature)
        for temperature in arguments.temperatures
    }
    print("\n| model | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    named = {f"**{arguments.model}**, temperature {temperature:g}": row for temperature, row in ours.items()}
    for name, row in {**PUBLISHED, **named}.items():
        print(f"| {name} | " + " | ".join(f"{value:.4f}" for value in row) + " |")
    if len(ours) > 1:
        generators = {name: row for name, row in PUBLISHED.items() if name != "training set"}
        draw(ours, generators if arguments.samples == 30_000 else {}, arguments.model, arguments.plot)


def measured(model: TransformerLM, samples: int, seeds: int, temperature: float) -> Row:
    """The means over the seeds."""
    results = []
    for seed in range(seeds):
        began = time.perf_counter()
        smiles = list(raw_smiles(model, samples, MoleculeSampling(temperature, seed=seed)))
        sampled = time.perf_counter()
        results.append(moses_metrics(smiles))
        print(f"temperature {temperature:g}, seed {seed}: sampled in {sampled - began:.0f} s, "
              f"scored in {time.perf_counter() - sampled:.0f} s:",
              ", ".join(f"{name} {results[-1][name]:.4f}" for name in COLUMNS), flush=True)  # fmt: skip
    return [mean(each[name] for each in results) for name in COLUMNS]


def draw(ours: Mapping[float, Row], published: Mapping[str, Row], model: str, file: Path) -> None:
    """Validity, and FCD, against novelty: a line over the temperatures, and a point for each published model."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    novelty = COLUMNS.index("Novelty")
    for axes, name in zip(figure.subplots(1, 2), ("valid", "FCD/Test"), strict=True):
        column = COLUMNS.index(name)
        line = sorted((temperature, row[novelty], row[column]) for temperature, row in ours.items())
        axes.plot([x for _, x, _ in line], [y for *_, y in line], marker="o", label=f"{model}, by temperature")
        points = [(f"{temperature:g}", x, y, "C0") for temperature, x, y in line]
        points += [(other, row[novelty], row[column], "gray") for other, row in published.items()]
        for label, x, y, color in points:
            axes.annotate(label, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=8, color=color)
        axes.scatter(
            [row[novelty] for row in published.values()], [row[column] for row in published.values()], c="gray"
        )
        axes.set(xlabel="novelty", ylabel={"valid": "valid", "FCD/Test": "FCD/Test, lower is better"}[name])
        if name == "FCD/Test":
            axes.set_yscale("log")
        axes.grid(alpha=0.3, which="both")
        axes.legend(loc="best", fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="png", dpi=120)


if __name__ == "__main__":
    main()
