"""Does the joint masked and causal loss (Tomczak, section 11.2.2) make a better writer of molecules? An ablation.

    python benchmarks/masked_objective.py [--samples 5000]

The shipped recipe smiles-gpt-masked, and the same with the causal loss alone: equal steps, data, sizes and seed.
"""

import argparse
import tempfile
import time
from pathlib import Path

import yaml

from genaisys.molecules.generators import load_generator
from genaisys.molecules.parsing import parsed
from genaisys.molecules.sampling import MoleculeSampling, raw_smiles
from genaisys.training.recipe_files import find_recipe
from genaisys.training.recipes import open_recipe


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=5000)
    arguments = parser.parse_args()
    recipe = yaml.safe_load(find_recipe("smiles-gpt-masked").read_bytes())
    print("| loss | held-out causal NLL, nats a token | valid | CPU time of the training |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, masked_weight in (("causal", 0.0), ("causal + masked", 1.0)):
            file = Path(folder) / f"{name}.yaml"
            file.write_text(yaml.safe_dump(recipe | {"model": recipe["model"] | {"masked_weight": masked_weight}}))
            began = time.process_time()
            report = open_recipe(str(file)).run(Path(folder) / name)
            spent = time.process_time() - began
            written = raw_smiles(load_generator(str(Path(folder) / name)), arguments.samples, MoleculeSampling())
            valid = sum(parsed(smiles) is not None for smiles in written) / arguments.samples
            print(f"| {name} | {report['nats_per_token']:.4f} | {valid:.1%} | {spent:.0f} s |", flush=True)


if __name__ == "__main__":
    main()
