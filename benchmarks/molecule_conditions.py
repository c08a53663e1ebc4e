"""Does the conditional generator write what it is told? Targets and scaffolds come from molecules of MOSES' test sets.

    python benchmarks/molecule_conditions.py [--model smiles-gpt-conditional] [--beside smiles-gpt] [--targets 5000]

Each target is told once, alone, and one molecule is written for it; invalid ones are left out of the errors and counted
in `valid`. "By chance" is what molecules get for which nothing was told. A window is five per cent of the property's
range (the lowest to the highest value that the model can be told) to either side of the target.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch
from rdkit import Chem

from genaisys.models.transformer import TransformerLM
from genaisys.models.transformer.lockstep import sample_many
from genaisys.molecules.annotations import annotated
from genaisys.molecules.conditions import conditions_of
from genaisys.molecules.generators import load_generator
from genaisys.molecules.moses import moses
from genaisys.molecules.parsing import parsed
from genaisys.molecules.prompts import prompts_for
from genaisys.molecules.properties import PROPERTIES
from genaisys.molecules.sampling import MoleculeSampling, sample_molecules
from genaisys.molecules.wishes import Wishes, read_wishes
from genaisys.training.finetuning.chat_tokens import Tokenised
from genaisys.training.finetuning.rows import batch_of, learned_tokens

SCAFFOLDS, OF_EACH = 200, 10
WINDOWS = ({"QED": "0.9.."}, {"logP": "4..5", "SA": "..2.5"}, {"weight": "340..", "QED": "..0.6"}, {"SA": "4.."})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smiles-gpt-conditional")
    parser.add_argument("--beside", default="smiles-gpt")
    parser.add_argument("--targets", type=int, default=5000)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model, beside = load_generator(arguments.model), load_generator(arguments.beside)
    test = moses("test")[: arguments.targets]
    known = annotated(test)
    conditions = conditions_of(model.tokenizer)
    wishes = {name: [Wishes(values={name: float(value)}) for value in known.property(name)] for name in conditions.bins}
    nothing = [Wishes()] * len(test)
    every = [
        Wishes(values={name: float(known.property(name)[n]) for name in conditions.bins}) for n in range(len(test))
    ]
    wishes = {name: [within_reach(wish, conditions) for wish in each] for name, each in wishes.items()}
    every = [within_reach(wish, conditions) for wish in every]
    chance = molecules(model, nothing)

    window = "in a window of 10 % of the range (± 5 %)"
    print(f"| property told | median error | correlation | {window} | the same by chance | valid |")
    print("|---" * 6 + "|")
    together = molecules(model, every)
    for name, bins in conditions.bins.items():
        targets = known.property(name)
        for how, mols in ((name, molecules(model, wishes[name])), (f"{name}, of all four told", together)):
            error, correlation, share = compared(name, targets, mols, bins.high - bins.low)
            by_chance = compared(name, targets, chance, bins.high - bins.low)[2]
            print(f"| {how} | {error:.3g} | {correlation:.3f} | {share:.1%} | {by_chance:.1%} | {valid(mols):.2%} |")
    print(f"| nothing | | | | | {valid(chance):.2%} |")
    print(f"| nothing, {arguments.beside} | | | | | {valid(molecules(beside, nothing)):.2%} |")

    print("\n| told | nats a molecule of the test set |\n|---|---|")
    print(f"| {arguments.beside}, which cannot be told | {nats(beside, test, nothing):.2f} |")
    scaffolds = [Wishes(substructure=Chem.MolFromSmiles(each[0])) if each else Wishes() for each in known.scaffolds]
    told = {"nothing": nothing, **wishes, "all four": every, "its scaffold": scaffolds}
    told["all four and its scaffold"] = [
        replace(one, substructure=other.substructure) for one, other in zip(every, scaffolds, strict=True)
    ]
    for how, each in told.items():
        print(f"| {how} | {nats(model, test, each):.2f} |")

    print(f"\n| scaffold told ({SCAFFOLDS} of them, {OF_EACH} molecules each) | valid | of these hold it | different |")
    print("|---" * 4 + "|")
    for split in ("test", "test_scaffolds"):
        found = annotated(moses(split)[: arguments.targets]).scaffolds
        for what, smiles in (
            ("all rings", [each[0] for each in found if each]),
            ("a part of the rings", [each[-1] for each in found if len(each) > 1]),
        ):
            some = list(dict.fromkeys(smiles))[:SCAFFOLDS]
            print(f"| {split}: {what} | " + " | ".join(f"{share:.1%}" for share in holding(model, some)) + " |")

    print("\n| wish | kept of those drawn, told | by rejection alone |\n|---|---|---|")
    for window in WINDOWS:
        sampling = MoleculeSampling(wishes=read_wishes(window, None))
        rates = [sample_molecules(each, 100, sampling).counts for each in (model, beside)]
        described = ", ".join(f"{name} {text}" for name, text in window.items())
        print(f"| {described} | " + " | ".join(f"{each.kept / each.drawn:.1%}" for each in rates) + " |", flush=True)


def within_reach(wish: Wishes, conditions) -> Wishes:
    """One in a thousand targets lies beyond what can be told: the nearest value that can is told for it."""
    bins = conditions.bins
    return Wishes(values={name: min(max(v, bins[name].low), bins[name].high) for name, v in wish.values.items()})


def molecules(model: TransformerLM, wishes: list[Wishes]) -> list[Chem.Mol | None]:
    """One molecule for each wish, None where it is invalid. The prompts must be of equal length."""
    generator = torch.Generator().manual_seed(0)
    prompts = torch.cat([prompts_for(model, model.tokenizer, wish, 1, generator) for wish in wishes])
    drawn = sample_many(model, prompts, len(wishes), generator=generator)
    return [parsed(model.tokenizer.decode(tokens)) for tokens in drawn]


def valid(mols: list[Chem.Mol | None]) -> float:
    return sum(mol is not None for mol in mols) / len(mols)


def compared(name: str, targets: np.ndarray, mols: list[Chem.Mol | None], reach: float) -> tuple[float, float, float]:
    """The median absolute error, the correlation, and the share within the window, of the valid molecules."""
    pairs = np.array([(t, PROPERTIES[name](mol)) for t, mol in zip(targets, mols, strict=True) if mol is not None])
    errors = np.abs(pairs[:, 0] - pairs[:, 1])
    return float(np.median(errors)), float(np.corrcoef(pairs.T)[0, 1]), float((errors <= 0.05 * reach).mean())


@torch.inference_mode()
def nats(model: TransformerLM, smiles: list[str], wishes: list[Wishes]) -> float:
    """``-log p(molecule | what is told)``, its mean."""
    generator, total = torch.Generator().manual_seed(0), 0.0
    rows = []
    for each, wish in zip(smiles, wishes, strict=True):
        prompt = prompts_for(model, model.tokenizer, wish, 1, generator)[0].tolist()
        tokens = [*model.tokenizer.encode(each), model.config.ends[0]]
        rows.append(Tokenised((*prompt, *tokens), (False,) * len(prompt) + (True,) * len(tokens)))
    for start in range(0, len(rows), 250):
        total += float(learned_tokens(model, batch_of(rows[start : start + 250])).total)
    return total / len(rows)


def holding(model: TransformerLM, scaffolds: list[str]) -> tuple[float, float, float]:
    """Shares: of valid strings; of molecules with the scaffold among these; of different ones among all."""
    drawn, held, different = [], 0, set[str]()
    generator = torch.Generator().manual_seed(0)
    for smiles in scaffolds:
        pattern = Chem.MolFromSmiles(smiles)
        prompt = prompts_for(model, model.tokenizer, Wishes(substructure=pattern), 1, generator)
        texts = sample_many(model, prompt, OF_EACH, generator=generator)
        mols = [parsed(model.tokenizer.decode(tokens)) for tokens in texts]
        drawn += mols
        held += sum(mol is not None and mol.HasSubstructMatch(pattern) for mol in mols)
        different |= {Chem.MolToSmiles(mol) for mol in mols if mol is not None}
    count = sum(mol is not None for mol in drawn)
    return count / len(drawn), held / count, len(different) / count


if __name__ == "__main__":
    main()
