"""What a model is told of a wish: the tokens that its molecules are written after."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from rdkit import Chem
from torch import Tensor

from genaisys.models.transformer import TransformerLM
from genaisys.molecules.annotations import scaffolds_of
from genaisys.molecules.conditions import Conditions, conditions_of
from genaisys.molecules.wishes import CannotBeTold, Wishes
from genaisys.tokenizers import Tokenizer


def prompts_for(
    model: TransformerLM, tokenizer: Tokenizer, wishes: Wishes, n: int, generator: torch.Generator
) -> Tensor:
    """``n`` prompts, BOS included. -> [n, P], or [1, P] where all are equal

    A value that is wished is told as it is. Of a range a value is drawn for each prompt, as likely as the model finds
    it after what comes before it; of a range beyond them all, the nearest. A substructure is told as the scaffold in
    it, if it has rings and is no pattern. To a model that has not learned to be told anything all prompts are BOS: its
    wishes are fulfilled by rejection alone.

    Raises:
        CannotBeTold: a value that the model has no token for; the message says what is within reach.
    """
    conditions = conditions_of(tokenizer)
    if conditions is None:
        for name, value in wishes.values.items():
            raise CannotBeTold(
                f"{name} is {value:g}: this model cannot be told a value, only be searched for a range such as "
                f"{value:g}..; smiles-gpt-conditional can"
            )
        return torch.tensor([[model.config.start]])
    prompts = torch.tensor([[model.config.start]])
    for choices in _told(conditions, wishes):
        if len(choices) > 1 and len(prompts) < n:
            prompts = prompts.expand(n, -1)
        drawn = _draw(model, prompts, choices, generator) if len(choices) > 1 else prompts.new_tensor(choices)
        prompts = torch.cat([prompts, drawn.expand(len(prompts))[:, None]], dim=1)
    rest = [*_told_scaffold(tokenizer, conditions, wishes.substructure), conditions.molecule]
    if prompts.shape[1] + len(rest) >= model.config.context_length:
        raise CannotBeTold(f"the scaffold is too long: the model reads {model.config.context_length} tokens in all")
    return torch.cat([prompts, prompts.new_tensor(rest).expand(len(prompts), -1)], dim=1)


def _told(conditions: Conditions, wishes: Wishes) -> list[list[int]]:
    """For each property that is told, in the order of the language, the tokens of which one is to be."""
    told = {}
    for name, bins in conditions.bins.items():
        if name in wishes.values:
            value = wishes.values[name]
            if not bins.low <= value <= bins.high:
                raise CannotBeTold(
                    f"{name} {value:g} is out of reach: 99.8 % of the molecules that the model has learned have "
                    f"{bins.low:g} to {bins.high:g}; beyond, it can be searched for a range such as "
                    + (f"{value:g}.." if value > bins.high else f"..{value:g}")
                )
            told[name] = bins.nearest([value]).tolist()
        elif name in wishes.ranges:
            told[name] = bins.within(*wishes.ranges[name])
    for name in wishes.values.keys() - told.keys():
        raise CannotBeTold(
            f"{name} is {wishes.values[name]:g}: the model can be told {', '.join(conditions.bins)}; "
            f"give a range for {name}, such as {wishes.values[name]:g}.."
        )
    return list(told.values())


def _told_scaffold(tokenizer: Tokenizer, conditions: Conditions, substructure: Chem.Mol | None) -> list[int]:
    if substructure is None or any(part.HasQuery() for part in (*substructure.GetAtoms(), *substructure.GetBonds())):
        return []
    scaffolds = scaffolds_of(substructure)
    return [conditions.scaffold, *tokenizer.encode(scaffolds[0])] if scaffolds else []


@torch.inference_mode()
def _draw(model: TransformerLM, prompts: Tensor, choices: Sequence[int], generator: torch.Generator) -> Tensor:
    """One of the tokens after each prompt, as likely as the model finds them among themselves. [n, P] -> [n]"""
    different, which = prompts.unique(dim=0, return_inverse=True)
    p = model(different)[:, -1].float().index_select(-1, prompts.new_tensor(choices)).softmax(-1)  # [U, choices]
    return prompts.new_tensor(choices)[torch.multinomial(p[which], 1, generator=generator)[:, 0]]
