"""The recipe kind ``conditional molecules``: a model of SMILES learns to write what it is told.

    kind: conditional molecules
    data: {name: moses, at_most: 600000}
    model: {start: smiles-gpt, context_length: 128}
    conditions: [logP, QED, SA, weight]
    training: {steps: 2300, batch_size: 256, learning_rate: 2e-3}

Each text is a molecule behind some of its properties and maybe a scaffold of it (see
:mod:`genaisys.molecules.conditions`): so any of them may be wished later. How many are told is drawn first, from none
to all, then which; of a molecule that is read several times, something else each time. The loss counts the prefix as
well, so that the model is a density of both: it knows which values there are, and how likely each is beside the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genaisys.models.transformer import TransformerLM
from genaisys.molecules.annotations import Annotations, annotated
from genaisys.molecules.conditions import Conditions, condition_tokens, conditions_of
from genaisys.molecules.generators import load_generator
from genaisys.molecules.properties import PROPERTIES
from genaisys.molecules.spellings import with_random_spellings
from genaisys.tokenizers import Tokenizer
from genaisys.training.context import set_context
from genaisys.training.data import TokenSequences, whole_documents
from genaisys.training.fields import RecipeWrong, filled
from genaisys.training.finetuning.added_tokens import add_special_tokens
from genaisys.training.metrics import Record
from genaisys.training.pretraining import Pretraining, pretrain
from genaisys.training.processes import training_processes
from genaisys.training.settings import TrainingSettings
from genaisys.training.texts import TextData, tokens_of, training_and_held_out

_WAVES = 6  # of which the curve is a sum on which the embeddings of a property's values begin
_WHOLE_SCAFFOLD = 0.5  # of the scaffolds that are told are all of a molecule's rings; the others are a part of them


@dataclass(frozen=True)
class Start:
    """
    Attributes:
        start: a model of molecules, shipped or a folder, whose weights and tokens this one begins with.
        context_length: room for the conditions and the molecule.
    """

    start: str
    context_length: int


@dataclass(frozen=True)
class _Parts:
    data: TextData
    model: Start
    training: TrainingSettings
    conditions: tuple[str, ...] = ("logP", "QED", "SA", "weight")


@dataclass(frozen=True)
class ConditionalTraining:
    """A recipe of this kind, found right.

    Attributes:
        folder: the recipe's, where its files are looked up.
        recipe: as it was written.
    """

    parts: _Parts
    folder: Path
    recipe: Mapping[str, Any]

    @property
    def settings(self) -> TrainingSettings:
        return self.parts.training

    @classmethod
    def from_recipe(cls, content: Mapping[str, Any], folder: Path) -> ConditionalTraining:
        """
        Raises:
            RecipeWrong: the message names the key.
        """
        parts = filled(_Parts, content, "")
        parts.data.described()  # is there such a data set?
        if not parts.data.of_molecules:
            raise RecipeWrong("data are no molecules: name moses or drugs, or files with document: molecule")
        if not parts.conditions or not {*parts.conditions} <= PROPERTIES.keys():
            raise RecipeWrong(f"conditions are {', '.join(parts.conditions)}: they may be {', '.join(PROPERTIES)}")
        return cls(parts, folder, {"kind": "conditional molecules", **content})

    def run(self, name: str, output: Path, on_record: Callable[[Record], None]) -> dict[str, Any]:
        """Train, and write model, model card, curves and samples into ``output``; see :meth:`Recipe.run`."""
        data, settings = self.parts.data, self.settings
        with training_processes().local_main_process_first():  # which computes what the others then find
            molecules = training_and_held_out(replace(data, randomised=0), self.folder)
            known, known_held_out = (
                annotated(part, _progress(on_record, len(part))) for part in (molecules.learned, molecules.held_out)
            )
        model = load_generator(self.parts.model.start)
        self._extend(model, known)
        assert model.tokenizer is not None
        spelled = (
            with_random_spellings(molecules.learned, data.randomised, data.seed)
            if data.randomised
            else [[smiles] for smiles in molecules.learned]
        )
        often = -(-settings.steps * settings.batch_size // sum(map(len, spelled)))  # each time something else is told
        spelled = [spellings * often for spellings in spelled]
        training = self._sequences(model.tokenizer, spelled, known, settings.seed)
        validation = self._sequences(model.tokenizer, [[each] for each in molecules.held_out], known_held_out, 0)
        texts = sum(map(len, spelled)) + len(molecules.held_out)
        counts = molecules.counts(left_out=texts - len(training) - len(validation))
        start, described = self.parts.model.start, data.described()
        prepared = Pretraining(model, model.tokenizer, training, validation, start, described, counts, self.recipe)
        return pretrain(name, prepared, settings, output, on_record)

    def _extend(self, model: TransformerLM, known: Annotations) -> None:
        """Room for the conditions, and tokens for the values that the molecules have."""
        if model.tokenizer is None or model.tokenizer.eos is None or model.tokenizer.pad is None:
            raise RecipeWrong(f"model.start is {self.parts.model.start}: it has no tokenizer of molecules")
        had = conditions_of(model.tokenizer)
        if had is None:
            values = {name: known.property(name) for name in self.parts.conditions}
            add_special_tokens(model, condition_tokens(values))
            _near_values_begin_near(model)
        elif tuple(had.bins) != self.parts.conditions:
            raise RecipeWrong(
                f"conditions are {', '.join(self.parts.conditions)}: {self.parts.model.start} has learned "
                f"{', '.join(had.bins)}, and goes on with these"
            )
        set_context(model, self.parts.model.context_length)

    def _sequences(
        self, tokenizer: Tokenizer, spelled: Sequence[Sequence[str]], known: Annotations, seed: int
    ) -> TokenSequences:
        conditions = conditions_of(tokenizer)
        assert conditions is not None
        assert tokenizer.eos is not None
        assert tokenizer.pad is not None
        texts = conditioned(tokenizer, conditions, spelled, known, np.random.default_rng(seed))
        length = self.parts.model.context_length - 1  # BOS takes one place
        return TokenSequences(whole_documents(texts, tokenizer.eos, length), tokenizer.pad)


def _progress(on_record: Callable[[Record], None], of: int) -> Callable[[int], None]:
    return lambda done: on_record({"step": 0, "preparing": f"properties of molecules: {done:,} of {of:,}"})


@torch.no_grad()
def _near_values_begin_near(model: TransformerLM) -> None:
    """The values of a property lie on a smooth curve among the embeddings, so that what is learned of one is learned of
    its neighbours; rows of their own, each learned from the few molecules that have just this value, begin far behind.
    """
    assert model.tokenizer is not None
    conditions = conditions_of(model.tokenizer)
    assert conditions is not None
    generator = torch.Generator().manual_seed(0)
    spread = float(model.embedding.weight[: conditions.scaffold].std())
    waves = torch.arange(1, _WAVES + 1)  # [W]
    for bins in conditions.bins.values():
        angles = torch.linspace(0, math.pi, len(bins.values))[:, None] * waves  # [bins, W]
        curve = torch.cat([angles.cos(), angles.sin()], dim=1) / waves.repeat(2)  # [bins, 2W]
        model.embedding.weight[bins.tokens] += (
            spread * curve @ torch.randn(2 * _WAVES, model.config.width, generator=generator)
        )
    for token in (conditions.scaffold, conditions.molecule):
        model.embedding.weight[token] += spread * torch.randn(model.config.width, generator=generator)


def conditioned(
    tokenizer: Tokenizer,
    conditions: Conditions,
    spelled: Sequence[Sequence[str]],
    known: Annotations,
    generator: np.random.Generator,
) -> Iterator[list[int]]:
    """The tokens of each spelling, behind what is told of the molecule."""
    values = np.stack([bins.nearest(known.property(name)) for name, bins in conditions.bins.items()], axis=1)
    numbers = [number for number, spellings in enumerate(spelled) for _ in spellings]
    scaffolds = [_drawn_scaffold(known.scaffolds[number], generator) for number in numbers]
    molecules = tokens_of([smiles for spellings in spelled for smiles in spellings], tokenizer)
    for number, scaffold, molecule in zip(numbers, tokens_of(scaffolds, tokenizer), molecules, strict=True):
        parts = [[int(token)] for token in values[number]]
        parts += [[conditions.scaffold, *scaffold]] if scaffold else []
        told = generator.permutation(len(parts)) < generator.integers(len(parts) + 1)
        yield [
            *(token for part, is_told in zip(parts, told, strict=True) if is_told for token in part),
            conditions.molecule,
            *molecule,
        ]


def _drawn_scaffold(scaffolds: Sequence[str], generator: np.random.Generator) -> str:
    """All of the rings, or a part of them; nothing of a molecule without rings."""
    if len(scaffolds) > 1 and generator.random() >= _WHOLE_SCAFFOLD:
        return scaffolds[int(generator.integers(1, len(scaffolds)))]
    return scaffolds[0] if scaffolds else ""
