"""Grammars that a generated text must follow: a JSON schema, or a regular expression; by llguidance.

A grammar is a string in llguidance's own notation, so it can stand in a :class:`Sampling`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from genaisys.errors import GenaisysError

if TYPE_CHECKING:
    from genaisys.tokenizers import Tokenizer


class GrammarImpossible(GenaisysError):
    """The grammar cannot be read, or no text follows it."""


def json_schema(schema: Mapping[str, Any]) -> str:
    """The grammar of the JSON texts that ``schema`` describes, spaced as ``json.dumps`` does.

    Where white space is free, a small model may go on with spaces and line breaks for ever.
    """
    from llguidance import LLMatcher

    try:
        return LLMatcher.grammar_from_json_schema(
            json.dumps(schema),
            overrides={"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "},
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise GrammarImpossible(f"the JSON schema cannot be used: {_one_line(error)}") from error


def regex(pattern: str) -> str:
    """The grammar of the texts that match ``pattern`` as a whole."""
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_regex(pattern)


class Grammars:
    """Makes matchers for the tokens of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer, vocabulary_size: int, ends: tuple[int, ...]) -> None:
        from llguidance import LLTokenizer

        if not ends:
            raise GrammarImpossible("a grammar needs a model that has an end token")
        try:
            self._tokenizer = LLTokenizer(tokenizer.backend.to_str(), n_vocab=vocabulary_size, eos_token=ends[0])
        except ValueError as error:
            raise GrammarImpossible(f"this tokenizer cannot follow a grammar: {_one_line(error)}") from error
        self._end = ends[0]

    def matcher(self, grammar: str) -> Matcher:
        """A matcher at the beginning of a text.

        Raises:
            GrammarImpossible: the grammar cannot be read.
        """
        from llguidance import LLMatcher

        inner = LLMatcher(self._tokenizer, grammar)
        if inner.is_error():
            raise GrammarImpossible(f"the grammar cannot be used: {_one_line(inner.get_error())}")
        return Matcher(inner, self._end)


class Matcher:
    """How far one text has followed its grammar."""

    def __init__(self, inner: Any, end: int) -> None:
        self._inner = inner
        self._end = end

    def restrict(self, logits: npt.NDArray[np.float32]) -> None:
        """Rule out every token that cannot come next. [V], in place

        Raises:
            GrammarImpossible: nothing can.
        """
        from llguidance.numpy import allocate_token_bitmask, apply_token_bitmask_inplace, fill_next_token_bitmask

        if self._inner.is_stopped():
            logits[np.arange(len(logits)) != self._end] = -np.inf
        else:
            mask = allocate_token_bitmask(1, len(logits))
            fill_next_token_bitmask(self._inner, mask, 0)
            apply_token_bitmask_inplace(logits, mask)
        if not np.isfinite(logits).any():
            raise GrammarImpossible("no text that the model can write follows the grammar")

    def accept(self, token: int) -> None:
        """``token`` has been chosen."""
        if not self._inner.is_stopped():
            self._inner.consume_token(token)


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:200]
