"""A longer context for a model that goes on learning."""

from __future__ import annotations

from dataclasses import replace

from genaisys.models.spaces import Tokens
from genaisys.models.transformer import TransformerLM
from genaisys.training.fields import RecipeWrong


def set_context(model: TransformerLM, length: int) -> None:
    """Let ``model`` read sequences of up to ``length`` tokens, BOS included.

    Rotary positions have no end: places that the model has not learned from are new to it, and nothing more.

    Raises:
        RecipeWrong: its positions are learned, and end before that.
    """
    if length < 2:
        raise RecipeWrong(f"context_length is {length}: it must be at least 2")
    if model.positions is not None and length > model.config.context_length:
        raise RecipeWrong(
            f"context_length is {length}, and the model's learned positions end at {model.config.context_length}"
        )
    model.config = replace(model.config, context_length=length)
    model.space = Tokens(length - 1, model.config.vocabulary_size)  # BOS has a place too
