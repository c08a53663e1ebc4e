"""New molecules from a language model of SMILES, drawn until enough are as they are wanted.

A model with conditions is told what is wanted; what it writes is still looked at, and thrown away where it is not. How
much that was is told: the share of valid ones is always that of all that were drawn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace

import torch
from rdkit import Chem

from genaisys.errors import GenaisysError
from genaisys.models.transformer import TransformerLM
from genaisys.models.transformer.lockstep import sample_many
from genaisys.molecules.distributions import distributions
from genaisys.molecules.parsing import parsed
from genaisys.molecules.prompts import prompts_for
from genaisys.molecules.wishes import Wishes, WishImpossible, written_range

_FIRST_PART, _LARGEST_PART = 256, 16_384  # molecules drawn before it is looked whether there are enough
_LOOK_UP = 64  # molecules that were not kept in a row, after which a looker-on is told
_PATIENCE = 20_000  # molecules drawn of which none was wanted, after which the wishes are given up
_LOOKED_AT = 500  # of the molecules that were not wanted: what of the wishes they lack is told


class CannotSample(GenaisysError):
    """Settings without a meaning, or a model that has no words for molecules."""


class NothingFound(WishImpossible):
    """Very many molecules were drawn in a row, and none of them was wanted.

    Attributes:
        wish: the name of the one that the fewest fulfilled; empty where all of them were repetitions, or not valid.
    """

    def __init__(self, message: str, wish: str) -> None:
        super().__init__(message)
        self.wish = wish


@dataclass
class Counts:
    """How many molecules were drawn, and what became of them."""

    drawn: int = 0
    valid: int = 0
    repeated: int = 0
    unwanted: int = 0
    kept: int = 0

    def as_json(self) -> dict[str, float]:
        return {**asdict(self), "validity": self.valid / self.drawn if self.drawn else 0.0}


@dataclass(frozen=True)
class Samples:
    """
    Attributes:
        smiles: canonical, in the order in which they were drawn.
    """

    smiles: list[str]
    counts: Counts


@dataclass(frozen=True)
class MoleculeSampling:
    """How molecules are drawn.

    Attributes:
        temperature: 1 is as the model has learned; below, likelier molecules, and fewer new ones.
        top_p: draw from the likeliest tokens that together have this probability.
        unique: each molecule once.
        wishes: what else they must be like, or should.
        seed: the same one gives the same molecules.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    unique: bool = False
    wishes: Wishes = field(default_factory=Wishes)
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < 100:
            raise CannotSample(f"the temperature is {self.temperature}: it must be above 0 and below 100")
        if not 0 < self.top_p <= 1:
            raise CannotSample(f"top_p is {self.top_p}: it must be above 0 and at most 1")


def raw_smiles(model: TransformerLM, n: int, sampling: MoleculeSampling) -> Iterator[str]:
    """``n`` strings as the model writes them, valid or not: what the metrics of MOSES are about.

    A model with conditions has been told the wishes; nothing is rejected here.

    Raises:
        CannotSample: the model has no tokenizer.
        WishImpossible: see :func:`prompts_for`.
    """
    if model.tokenizer is None:
        raise CannotSample("the model has no tokenizer: it cannot write molecules")
    generator = torch.Generator().manual_seed(sampling.seed)
    settings = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    prompts = prompts_for(model, model.tokenizer, sampling.wishes, n, generator)
    for tokens in sample_many(model, prompts, n, generator=generator, **settings):
        yield model.tokenizer.decode(tokens)


def sample_molecules(
    model: TransformerLM, n: int, sampling: MoleculeSampling, on_kept: Callable[[int], None] = lambda kept: None
) -> Samples:
    """``n`` valid molecules as they are wanted.

    Raises:
        WishImpossible: see :func:`prompts_for`.
        NothingFound: of very many that were drawn in a row, none was wanted.
        CannotSample: the model has no tokenizer.
    """
    samples = Samples([], Counts())
    for samples in stream_molecules(model, n, sampling):
        on_kept(samples.counts.kept)
    return samples


def stream_molecules(model: TransformerLM, n: int, sampling: MoleculeSampling) -> Iterator[Samples]:
    """As :func:`sample_molecules`, for who looks on and may stop: all that was found so far, again and again.

    Yields:
        the same object each time, after each molecule that was kept, and after many that were not.

    Raises:
        WishImpossible, NothingFound, CannotSample: as above; what was yielded before stands.
    """
    smiles_kept, seen, counts, at_last = list[str](), set[str](), Counts(), 0
    samples, unwanted = Samples(smiles_kept, counts), deque[Chem.Mol](maxlen=_LOOKED_AT)
    for smiles in _endless(model, sampling):
        if counts.kept == n:
            break
        if (counts.drawn - at_last) % _LOOK_UP == _LOOK_UP - 1:
            yield samples
        if counts.drawn - at_last == _PATIENCE:
            raise _given_up(counts, at_last, sampling, unwanted)
        counts.drawn += 1
        mol = parsed(smiles)
        if mol is None:
            continue
        counts.valid += 1
        canonical = Chem.MolToSmiles(mol)
        if sampling.unique and canonical in seen:
            counts.repeated += 1
            continue
        seen.add(canonical)
        if not sampling.wishes.fulfilled(mol):
            counts.unwanted += 1
            unwanted.append(mol)
            continue
        smiles_kept.append(canonical)
        counts.kept, at_last = counts.kept + 1, counts.drawn
        yield samples


def _endless(model: TransformerLM, sampling: MoleculeSampling) -> Iterator[str]:
    seeds, part = torch.Generator().manual_seed(sampling.seed), _FIRST_PART
    while True:
        seed = int(torch.randint(2**31, (), generator=seeds))
        yield from raw_smiles(model, part, replace(sampling, seed=seed))
        part = min(2 * part, _LARGEST_PART)


def _given_up(counts: Counts, at_last: int, sampling: MoleculeSampling, unwanted: Sequence[Chem.Mol]) -> NothingFound:
    wishes, name = sampling.wishes, ""
    if unwanted:
        name, fulfilled = wishes.hardest(unwanted)
        share = f"{fulfilled} of {len(unwanted)}"
        wish = f"{name} ({share})"
        if name in wishes.ranges:
            wish = f"{name} {written_range(*wishes.ranges[name])} ({share}; {distributions()[name].in_words()})"
        advice = f"the wish that the fewest fulfilled was {wish}: loosen it"
        advice += ", or leave out unique" if sampling.unique else ""
    else:
        advice = "leave out unique" if counts.repeated else "lower the temperature"
    found = f"{counts.kept} were found among {at_last:,}" if counts.kept else "none was found"
    return NothingFound(
        f"of the last {_PATIENCE:,} molecules drawn ({counts.valid / counts.drawn:.0%} valid) none was wanted, "
        f"{found}; {advice}",
        name,
    )
