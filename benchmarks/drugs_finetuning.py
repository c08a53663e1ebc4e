"""Does fine-tuning move the generator towards drugs? The base, the fine-tuned model, and the drugs themselves.

genaisys finetune drugs-lora
python benchmarks/drugs_finetuning.py [--model drugs-lora/model] [--base smiles-gpt] [--samples 2000]
"""

import argparse

from rdkit import Chem

from genaisys.molecules.drugs import drugs
from genaisys.molecules.generators import load_generator
from genaisys.molecules.parsing import canonical, parsed
from genaisys.molecules.profiles import scaffold
from genaisys.molecules.properties import PROPERTIES
from genaisys.molecules.sampling import MoleculeSampling, raw_smiles

COLUMNS = (
    "valid", "weight below 250 or above 350", "stereocentres", "charged atoms", "salts", "QED below 0.5",
    "scaffolds of the drugs", "drugs themselves",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="drugs-lora/model")
    parser.add_argument("--base", default="smiles-gpt")
    parser.add_argument("--samples", type=int, default=2000)
    arguments = parser.parse_args()
    known = drugs()
    print("| | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 1) + "|")
    for name in (arguments.base, arguments.model):
        smiles = list(raw_smiles(load_generator(name), arguments.samples, MoleculeSampling()))
        print(f"| {name} | " + " | ".join(f"{share:.1%}" for share in shares(smiles, known)) + " |", flush=True)
    print("| the drugs | " + " | ".join(f"{share:.1%}" for share in shares(known, known)) + " |")


def shares(smiles: list[str], known: list[str]) -> list[float]:
    """Of all strings the valid ones; of these the others."""
    mols = [mol for mol in map(parsed, smiles) if mol is not None]
    their_scaffolds = {scaffold(mol) for mol in map(parsed, known) if mol is not None} - {None}
    themselves = {*map(canonical, known)}
    tests = (
        lambda mol: not 250 <= PROPERTIES["weight"](mol) <= 350,
        lambda mol: bool(Chem.FindMolChiralCenters(mol)),
        lambda mol: any(atom.GetFormalCharge() for atom in mol.GetAtoms()),
        lambda mol: len(Chem.GetMolFrags(mol)) > 1,
        lambda mol: PROPERTIES["QED"](mol) < 0.5,
        lambda mol: scaffold(mol) in their_scaffolds,
    )
    return [
        len(mols) / len(smiles),
        *(sum(map(test, mols)) / len(mols) for test in tests),
        sum(Chem.MolToSmiles(mol) in themselves for mol in mols) / len(mols),
    ]


if __name__ == "__main__":
    main()
