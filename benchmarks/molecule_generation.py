"""The MOSES protocol on the shipped generator: 30,000 samples for each of several seeds, beside the published rows.

    python benchmarks/molecule_generation.py [--model smiles-gpt] [--samples 30000] [--seeds 3] [--temperature 1]

Published: molecularsets/moses README at ffbc4dba, means of three seeds. The statistics of the test sets are computed
the first time, which takes about half an hour on two cores; then a seed takes about six minutes.
"""

import argparse
import time
from statistics import mean

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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smiles-gpt")
    parser.add_argument("--samples", type=int, default=30_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--temperature", type=float, default=1.0)
    arguments = parser.parse_args()
    model = load_generator(arguments.model)
    results = []
    for seed in range(arguments.seeds):
        began = time.perf_counter()
        smiles = list(raw_smiles(model, arguments.samples, MoleculeSampling(arguments.temperature, seed=seed)))
        sampled = time.perf_counter()
        results.append(moses_metrics(smiles))
        print(f"seed {seed}: sampled in {sampled - began:.0f} s, scored in {time.perf_counter() - sampled:.0f} s")
    print("\n| model | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    rows = {**PUBLISHED, f"**{arguments.model}**": tuple(mean(each[name] for each in results) for name in COLUMNS)}
    for name, values in rows.items():
        print(f"| {name} | " + " | ".join(f"{value:.4f}" for value in values) + " |")


if __name__ == "__main__":
    main()
