"""Molecules with a high score of the user's: REINVENT's policy gradient (Olivecrona et al. 2017, arXiv:1704.07555).

The agent begins as the prior, the model that was given, and is drawn towards ``prior(x) exp(sigma score(x))``:

    loss = (log prior(x) + sigma score(x) - log agent(x))²

So it writes what scores high and still looks like a molecule to the prior. A scaffold that was written often scores
nothing any more (the diversity filter of Blaschke et al. 2020), so that the agent moves on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from rdkit import Chem
from torch import Tensor, nn

from genaisys.errors import GenaisysError
from genaisys.models.transformer import TransformerLM
from genaisys.models.transformer.lockstep import sample_many
from genaisys.molecules.diversity import most_different
from genaisys.molecules.parsing import parsed
from genaisys.molecules.profiles import scaffold

# From molecules to a score of each, 0 to 1, the higher the better.
Score = Callable[[list[Chem.Mol]], Sequence[float]]


class CannotOptimise(GenaisysError):
    """Settings without a meaning, or a model that cannot write molecules."""


@dataclass(frozen=True)
class Optimisation:
    """How the agent learns.

    Attributes:
        batch_size: strings drawn a step.
        sigma: how much a score of 1 raises the log-probability that is aimed at, in nats.
        scaffold_limit: a scaffold scores nothing after so many molecules; None where that is no matter.
    """

    steps: int = 200
    batch_size: int = 64
    learning_rate: float = 5e-4
    sigma: float = 60.0
    scaffold_limit: int | None = 25
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "sigma", "scaffold_limit"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise CannotOptimise(f"{name} is {value}: it must be above 0")


@dataclass
class Found:
    """
    Attributes:
        scores: of every different molecule that was written, by its canonical SMILES.
        unscored: molecules whose score was no finite number, or whose scoring failed; they are left out.
        step, mean: the last step, and the mean score of its valid molecules.
    """

    scores: dict[str, float] = field(default_factory=dict)
    step: int = 0
    mean: float = 0.0
    drawn: int = 0
    valid: int = 0
    unscored: int = 0

    def best(self, k: int) -> list[tuple[str, float]]:
        """The ``k`` with the highest scores, the highest first."""
        return sorted(self.scores.items(), key=lambda item: -item[1])[:k]

    def diverse(self, k: int, least: float) -> list[tuple[str, float]]:
        """The best, and those of a score of ``least`` or more that are the most different from it and each other."""
        good = [smiles for smiles, value in self.best(len(self.scores)) if value >= least]
        return [(smiles, self.scores[smiles]) for smiles in most_different(good, k)]


def optimise(
    prior: TransformerLM,
    score: Score,
    settings: Optimisation,
    on_step: Callable[[int, float], None] = lambda step, mean: None,
) -> Found:
    """Search for molecules with a high score; ``prior`` stays as it is.

    Args:
        on_step: is given the step's number and the mean score of its valid molecules.

    Raises:
        CannotOptimise: the model has no tokenizer, or no end token.
    """
    found = Found()
    for found in stream_optimisation(prior, score, settings):
        on_step(found.step, found.mean)
    return found


def stream_optimisation(prior: TransformerLM, score: Score, settings: Optimisation) -> Iterator[Found]:
    """As :func:`optimise`, for who looks on and may stop.

    Yields:
        after each step all that was found so far, the same object each time.
    """
    if prior.tokenizer is None or not prior.config.ends:
        raise CannotOptimise("the model has no tokenizer, or no end token: it cannot write molecules")
    agent = deepcopy(prior).eval()  # without dropout, by which likelihoods would jump
    optimizer = torch.optim.Adam(agent.parameters(), settings.learning_rate)
    generator = torch.Generator().manual_seed(settings.seed)
    found, scaffolds = Found(), Counter[str]()
    for found.step in range(1, settings.steps + 1):
        drawn = list(sample_many(agent, [agent.config.start], settings.batch_size, generator=generator))
        smiles = [prior.tokenizer.decode(tokens) for tokens in drawn]
        rewards, found.mean = _rewards(smiles, score, found, scaffolds, settings.scaffold_limit)
        x = _padded(drawn, prior)  # [B, T]
        with torch.no_grad():
            aim = prior.log_prob(x) + settings.sigma * rewards  # [B]
        loss = (aim - agent.log_prob(x)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(agent.parameters(), 1.0)
        optimizer.step()
        yield found


def _rewards(
    smiles: Sequence[str], score: Score, found: Found, scaffolds: Counter[str], limit: int | None
) -> tuple[Tensor, float]:
    """What each string is rewarded with, 0 for what is invalid or too often seen; and the mean score. -> [B]"""
    rewards, scores = torch.zeros(len(smiles)), []
    for number, each in enumerate(smiles):
        mol = parsed(each)
        found.drawn += 1
        if mol is None:
            continue
        found.valid += 1
        value = _score_of(mol, score)
        if value is None:
            found.unscored += 1
            continue
        scores.append(value)
        found.scores[Chem.MolToSmiles(mol)] = value
        rings = scaffold(mol) or ""
        scaffolds[rings] += 1
        rewards[number] = value if limit is None or scaffolds[rings] <= limit else 0.0
    return rewards, sum(scores) / len(scores) if scores else 0.0


def _score_of(mol: Chem.Mol, score: Score) -> float | None:
    """One by one, so that a molecule on which the user's function fails costs no other its score."""
    try:
        (value,) = score([mol])
        value = float(value)
    except Exception:  # it is somebody else's code, and may raise anything
        return None
    return min(max(value, 0.0), 1.0) if math.isfinite(value) else None


def _padded(drawn: Sequence[Sequence[int]], model: TransformerLM) -> Tensor:
    """With their end tokens, where there was room for one. -> [B, T]"""
    end, longest = model.config.ends[0], model.space.length
    rows = [torch.tensor([*tokens, end][:longest]) for tokens in drawn]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=model.config.pad or 0)
