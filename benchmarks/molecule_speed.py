"""How fast the shipped generator writes molecules, against transformers' ``generate`` with the same weights.

    python benchmarks/molecule_speed.py [--model smiles-gpt] [--molecules 30000] [--peers 4096]

transformers reads our folder as it is. It is run in both types and with several batch sizes, on ``--peers`` molecules
each, and its best is taken; each batch ends when its longest molecule does. All get the same threads, and each is
warmed up with a small batch first. What both write must be the same in kind: the share of valid ones is shown.
"""

import argparse
import time
from collections.abc import Callable

import torch
from rdkit import Chem, rdBase
from transformers import AutoModelForCausalLM

from genaisys.models.transformer import TransformerLM
from genaisys.molecules.generators import SHIPPED, load_generator
from genaisys.molecules.sampling import MoleculeSampling, raw_smiles

BATCHES = 256, 512, 1024, 2048
_CHECKED = 1000  # molecules that are parsed, outside the measured time


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smiles-gpt", help="a shipped one, or a folder")
    parser.add_argument("--molecules", type=int, default=30_000)
    parser.add_argument("--peers", type=int, default=4096)
    arguments = parser.parse_args()
    model = load_generator(arguments.model)
    folder = SHIPPED / arguments.model if (SHIPPED / arguments.model).is_dir() else arguments.model
    print(f"{sum(p.numel() for p in model.parameters()):,} weights, {torch.get_num_threads()} threads\n")
    print("| runner | batch | molecules/s | 30,000 in | valid |")
    print("| --- | --- | --- | --- | --- |")
    best = 0.0
    for dtype in (torch.float32, torch.bfloat16):
        peer = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        for batch in BATCHES:
            name = f"transformers, {str(dtype).removeprefix('torch.')}"
            best = max(best, _measure(name, batch, arguments.peers, lambda n, b=batch, p=peer: _theirs(p, model, n, b)))
    ours = _measure("**genaisys**", 0, arguments.molecules, lambda n: list(raw_smiles(model, n, MoleculeSampling())))
    print(f"\n{ours / best:.1f} times transformers at its best")


def _theirs(peer: AutoModelForCausalLM, model: TransformerLM, n: int, batch: int) -> list[str]:
    assert model.tokenizer is not None
    torch.manual_seed(0)
    smiles = []
    for start in range(0, n, batch):
        prompt = torch.full((min(batch, n - start), 1), model.config.start)
        settings = {"do_sample": True, "top_k": 0, "max_length": model.config.context_length}
        for row in peer.generate(prompt, attention_mask=torch.ones_like(prompt), **settings).tolist():
            ends = [place for place, token in enumerate(row) if token in model.config.ends]
            smiles.append(model.tokenizer.decode(row[1 : ends[0] if ends else None]))
    return smiles


def _measure(name: str, batch: int, n: int, write: Callable[[int], list[str]]) -> float:
    """Molecules a second."""
    write(64)
    began = time.perf_counter()
    smiles = write(n)
    speed = n / (time.perf_counter() - began)
    with rdBase.BlockLogs():
        valid = sum(bool(each) and Chem.MolFromSmiles(each) is not None for each in smiles[:_CHECKED])
    print(f"| {name} | {batch or ''} | {speed:,.0f} | {30_000 / speed:.0f} s | {valid / len(smiles[:_CHECKED]):.3f} |")
    return speed


if __name__ == "__main__":
    main()
