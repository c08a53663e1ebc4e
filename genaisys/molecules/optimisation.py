"""Molecules with a high score of the user's: REINVENT's policy gradient (Olivecrona et al. 2017, arXiv:1704.07555).

The agent begins as the prior, the model that was given, and is drawn towards ``prior(x) exp(sigma score(x))``:

    loss = (log prior(x) + sigma score(x) - log agent(x))²

So it writes what scores high and still looks like a molecule to the prior. Ring systems that were written often are
worth nothing any more (see :class:`Rewards`), so that the agent moves on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from heapq import nlargest

import torch
from torch import Tensor, nn

from genaisys.errors import GenaisysError
from genaisys.models.transformer import TransformerLM
from genaisys.models.transformer.lockstep import sample_many
from genaisys.molecules.conditions import opening
from genaisys.molecules.diversity import most_different
from genaisys.molecules.rewards import Rewards, Score

_RISE = 0.001  # of the mean of the best scores: less is no progress


class CannotOptimise(GenaisysError):
    """Settings without a meaning, a model that cannot search, or a score that gives nothing."""


@dataclass(frozen=True)
class Optimisation:
    """How the agent learns.

    Attributes:
        batch_size: strings drawn a step.
        sigma: how much a score of 1 raises the log-probability that is aimed at, in nats.
        scaffold_limit: ring systems are worth nothing after so many molecules; None where that is no matter.
        patience: stop after so many steps in which the mean of the hundred best has risen by less than 0.001; None:
            never.
    """

    steps: int = 200
    batch_size: int = 64
    learning_rate: float = 5e-4
    sigma: float = 60.0
    scaffold_limit: int | None = 25
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "sigma", "scaffold_limit", "patience"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise CannotOptimise(f"{name} is {value}: it must be above 0")


@dataclass
class Found:
    """
    Attributes:
        scores: of every different molecule that was written, by its canonical SMILES.
        unscored: molecules whose scoring failed, or gave no number from 0 to 1; nothing is learned from them.
        problem: why, of the first of them.
        step, mean: the last step, and the mean score of its valid molecules.
    """

    scores: dict[str, float] = field(default_factory=dict)
    step: int = 0
    mean: float = 0.0
    drawn: int = 0
    valid: int = 0
    unscored: int = 0
    problem: str = ""

    def count(self, names: Sequence[str | None], failed: Mapping[str, str]) -> None:
        """Add what was drawn in a step: canonical SMILES, None for what is no molecule."""
        molecules = [name for name in names if name is not None]
        scores = [self.scores[name] for name in molecules if name in self.scores]
        self.drawn, self.valid = self.drawn + len(names), self.valid + len(molecules)
        self.unscored += len(molecules) - len(scores)
        self.problem = next(iter(failed.values()), "")
        self.mean = sum(scores) / len(scores) if scores else 0.0

    def best(self, k: int) -> list[tuple[str, float]]:
        """The ``k`` with the highest scores, the highest first."""
        return sorted(self.scores.items(), key=lambda item: -item[1])[:k]

    def mean_of_best(self) -> float:
        """Of the hundred best; those that are not found yet count as 0, so that it never falls."""
        return sum(nlargest(100, self.scores.values())) / 100

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
        CannotOptimise: the model cannot write molecules, or writes them behind conditions; or none that it wrote first
            could be scored.
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
    if len(opening(prior)) > 1:
        raise CannotOptimise(
            "a model that is told conditions cannot search: take the one that it began with, smiles-gpt"
        )
    agent = deepcopy(prior).eval()  # without dropout, by which likelihoods would jump
    optimizer = torch.optim.Adam(agent.parameters(), settings.learning_rate)
    generator = torch.Generator().manual_seed(settings.seed)
    rewards = Rewards(score, settings.scaffold_limit)
    found = Found(rewards.scores)
    highest, last_rise = 0.0, 0
    for found.step in range(1, settings.steps + 1):
        drawn = list(sample_many(agent, [agent.config.start], settings.batch_size, generator=generator))
        reward, names = rewards.of([prior.tokenizer.decode(tokens) for tokens in drawn])  # [B]
        found.count(names, rewards.failed)
        if not found.scores and found.unscored:
            raise CannotOptimise(f"none of the first {found.valid} molecules could be scored: {found.problem}")
        x, known = _padded(drawn, prior), ~reward.isnan()  # [B, T], [B]
        with torch.no_grad():
            aim = prior.log_prob(x) + settings.sigma * reward  # [B]
        loss = (aim - agent.log_prob(x))[known].square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(agent.parameters(), 1.0)
        optimizer.step()
        yield found
        if (mean := found.mean_of_best()) > highest + _RISE:
            highest, last_rise = mean, found.step
        if settings.patience is not None and found.step - last_rise >= settings.patience:
            return


def _padded(drawn: Sequence[Sequence[int]], model: TransformerLM) -> Tensor:
    """With their end tokens, where there was room for one. -> [B, T]"""
    end, longest = model.config.ends[0], model.space.length
    rows = [torch.tensor([*tokens, end][:longest]) for tokens in drawn]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=model.config.pad or 0)
