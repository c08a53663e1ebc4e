"""Byte-pair encoding of bytes (Sennrich et al. 2016, arXiv:1508.07909; Radford et al. 2019), trained on any text."""

from collections.abc import Iterable

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers

from genaisys.tokenizers.base import SPECIAL_TOKENS, Tokenizer, VocabularyTooSmall, encodable
from genaisys.tokenizers.units import base_vocabulary


def train_bpe(
    texts: Iterable[str],
    *,
    vocabulary_size: int = 8192,
    min_frequency: int = 2,
    chat_template: str | None = None,
    context_length: int | None = None,
) -> Tokenizer:
    """A byte-level BPE tokenizer for texts like ``texts``.

    Words are cut as in GPT-2, and digits one by one, as in SmolLM2, so that numbers are read by their digits. Any text
    is decoded to exactly what was encoded.

    Args:
        texts: what it learns from; a generator will do.
        vocabulary_size: at most so many tokens, with 4 special ones and 256 bytes among them. Fewer come out where
            the text repeats too little.
        min_frequency: a token is made of two only where they occur together so often.
        chat_template: see :class:`Tokenizer`.
        context_length: see :class:`Tokenizer`.

    Raises:
        VocabularyTooSmall: there is no room for the special tokens and the bytes.
    """
    smallest = len(base_vocabulary())
    if vocabulary_size < smallest:
        raise VocabularyTooSmall(
            f"a vocabulary of {vocabulary_size} tokens is too small: special tokens and bytes are {smallest}"
        )
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(map(encodable, texts), trainer)
    return Tokenizer(backend, SPECIAL_TOKENS, chat_template=chat_template, context_length=context_length)
