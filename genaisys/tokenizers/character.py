"""Characters as tokens, as for the book's teenyGPT (section 11.2.4)."""

from collections.abc import Iterable

from genaisys.tokenizers.base import Tokenizer, encodable
from genaisys.tokenizers.units import unit_tokenizer


def character_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """One token for each Unicode character of ``texts``; other characters are written as bytes.

    ASCII has its tokens anyway. The other characters follow in the order of their code points, so that the vocabulary
    does not depend on the order of ``texts``.
    """
    characters: set[str] = set()
    for text in texts:
        characters.update(encodable(text))
    return unit_tokenizer(sorted(characters), r"[\s\S]")
