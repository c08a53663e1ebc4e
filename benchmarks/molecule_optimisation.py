"""Searching for a high score: QED, and two goals of GuacaMol, against drawing as many molecules from the prior.

    python benchmarks/molecule_optimisation.py [--model smiles-gpt] [--steps 400] [--goals qed celecoxib median]

Of QED there is besides what `genaisys molecules optimise --at-least 0.94` gives. Seconds are of the processor.

GuacaMol's scores (Brown et al. 2019, table 2): of a molecule to be found again the best one's; of median molecules the
mean of the means of the best 1, 10 and 100. Its generators may call the score as often as they like, and their prior is
of 1.6 million molecules of ChEMBL; ours knows MOSES, where there is neither camphor nor anything as small.
"""

import argparse
import time
from statistics import mean

import numpy as np

from genaisys.models.transformer import TransformerLM
from genaisys.molecules.generators import load_generator
from genaisys.molecules.goals import goal_called
from genaisys.molecules.metrics import internal_diversity
from genaisys.molecules.optimisation import Found, Optimisation, optimise
from genaisys.molecules.parsing import canonical, parse
from genaisys.molecules.sampling import MoleculeSampling, raw_smiles
from genaisys.molecules.similarity import fingerprints

TOP, WANTED = 100, 0.94
PUBLISHED = {
    "celecoxib": {
        "best of ChEMBL": 0.505,
        "SMILES LSTM": 1.0,
        "SMILES GA": 0.732,
        "graph GA": 1.0,
        "graph MCTS": 0.355,
    },
    "median": {
        "best of ChEMBL": 0.334,
        "SMILES LSTM": 0.438,
        "SMILES GA": 0.334,
        "graph GA": 0.406,
        "graph MCTS": 0.225,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smiles-gpt")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--goals", nargs="+", default=["qed", "celecoxib", "median"])
    arguments = parser.parse_args()
    prior = load_generator(arguments.model)
    print("| goal | | scored | best | top 100: mean | lowest | IntDiv | GuacaMol's score | s |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for goal in arguments.goals:
        score, scaffold_limit = goal_called(goal)
        began = time.process_time()
        found = optimise(prior, score, Optimisation(steps=arguments.steps, scaffold_limit=scaffold_limit))
        show(goal, f"**genaisys**, {arguments.steps} steps", found.best(TOP), len(found.scores), began)
        if goal == "qed":
            show(goal, f"the same, most different of ≥ {WANTED}", found.diverse(TOP, WANTED), len(found.scores), began)
        began = time.process_time()
        drawn = prior_alone(prior, goal, found)
        show(goal, "the prior alone", drawn.best(TOP), len(drawn.scores), began)
        for name, score in PUBLISHED.get(goal, {}).items():
            print(f"| {goal} | {name}, published | | | | | | {score:.3f} | |")


def prior_alone(prior: TransformerLM, goal: str, found: Found) -> Found:
    """As many strings as the search has drawn."""
    drawn, score = Found(), goal_called(goal).score
    for smiles in raw_smiles(prior, found.drawn, MoleculeSampling(seed=1)):
        if (molecule := canonical(smiles)) is not None:
            (drawn.scores[molecule],) = score([parse(molecule)])
    return drawn


def show(goal: str, what: str, best: list[tuple[str, float]], scored: int, began: float) -> None:
    seconds = time.process_time() - began
    scores = [score for _, score in best]
    diversity = internal_diversity(fingerprints([smiles for smiles, _ in best]))[0]
    guacamol = {"celecoxib": scores[0], "median": mean(mean(scores[:k]) for k in (1, 10, 100))}.get(goal)
    shown = "" if guacamol is None else f"{guacamol:.3f}"
    print(f"| {goal} | {what} | {scored:,} | {max(scores):.3f} | {np.mean(scores):.3f} | {min(scores):.3f} | "
          f"{diversity:.3f} | {shown} | {seconds:.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
