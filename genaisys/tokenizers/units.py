"""Tokenizers whose vocabulary is a list of units, such as characters or atoms, above bytes."""

from collections.abc import Iterable

from tokenizers import Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from genaisys.tokenizers.base import SPECIAL_TOKENS, Tokenizer
from genaisys.tokenizers.byte_level import to_stand_ins


def unit_tokenizer(units: Iterable[str], pattern: str) -> Tokenizer:
    """A tokenizer that cuts a text wherever ``pattern`` matches, and gives each of ``units`` one token.

    A piece that is no unit is written as bytes. Ids: special tokens, bytes, units in their order.
    """
    vocabulary = base_vocabulary()
    for unit in units:
        vocabulary.setdefault(to_stand_ins(unit), len(vocabulary))
    model = models.BPE(vocab=vocabulary, merges=[], ignore_merges=True)  # looks pieces up whole, before their bytes
    return byte_level_tokenizer(model, pattern)


def base_vocabulary() -> dict[str, int]:
    """What every tokenizer of ours begins with: the special tokens, then the bytes."""
    return {token: id for id, token in enumerate([*SPECIAL_TOKENS.values(), *byte_tokens()])}


def byte_tokens() -> list[str]:
    """The tokens of the 256 bytes, in the order in which the ``tokenizers`` library trains them."""
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_level_tokenizer(model: models.Model, pattern: str) -> Tokenizer:
    """``model`` over the bytes of the pieces into which ``pattern``, a regular expression of Oniguruma, cuts a text."""
    backend = Backend(model)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    return Tokenizer(backend, SPECIAL_TOKENS)
