"""The ``data`` of a recipe for fine-tuning: files of examples, and how they become rows of tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from genaisys.training.fields import RecipeWrong
from genaisys.training.finetuning.chat_tokens import ChatTokens, Fitted, Tokenised
from genaisys.training.finetuning.examples import Chat, Continuation, read_examples

T = TypeVar("T")


@dataclass(frozen=True)
class Data:
    """Files of examples.

    Attributes:
        files: of JSON lines, looked up beside the recipe.
        held_out: the share of the examples that is not learned from, drawn by ``seed``.
        max_length: in tokens. Longer chats lose their first turns, and are left out where that does not help.
    """

    files: tuple[str, ...]
    held_out: float = 0.1
    seed: int = 0
    max_length: int = 1024

    def __post_init__(self) -> None:
        if not self.files:
            raise RecipeWrong("data.files names no file")
        if not 0 <= self.held_out < 1:
            raise RecipeWrong(f"data.held_out is {self.held_out}: it is a share, from 0 to below 1")
        if self.max_length < 2:
            raise RecipeWrong(f"data.max_length is {self.max_length}: it must be at least 2")

    def described(self) -> str:
        """What the data are, for the model card."""
        return ", ".join(f"`{Path(file).name}`" for file in self.files)

    def read(self, kind: Callable[[Mapping[str, Any]], T], folder: Path) -> tuple[list[T], list[T]]:
        """The examples to learn from, and those that are held out.

        Raises:
            ExamplesBroken: see :func:`read_examples`.
            RecipeWrong: there are too few.
        """
        examples = [example for file in self.files for example in read_examples(folder / file, kind)]
        order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(self.seed)).tolist()
        cut = round(len(examples) * self.held_out)
        if cut == len(examples) or (self.held_out and not cut):
            raise RecipeWrong(f"{len(examples)} examples are too few to hold out {self.held_out:.0%} of them")
        return [examples[number] for number in order[cut:]], [examples[number] for number in order[:cut]]

    def fitting(
        self, groups: Sequence[Sequence[Chat | Continuation]], chat_tokens: ChatTokens, fitted: Fitted
    ) -> list[list[Tokenised]]:
        """The tokens of each group of examples that have their prompt in common, but for those that are too long.

        Raises:
            ChatNotLearnable, ChatTemplateFailed: see :class:`ChatTokens`.
            RecipeWrong: all are too long.
        """
        length = min(self.max_length, chat_tokens.config.context_length)
        made = [chat_tokens.fitting(group, length, fitted) for group in groups]
        left = [group for group in made if group is not None]
        if groups and not left:
            raise RecipeWrong(f"all examples are longer than {length} tokens: raise data.max_length")
        return left
