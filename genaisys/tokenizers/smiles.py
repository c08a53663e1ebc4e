"""Molecules, written as SMILES, in tokens that mean something to a chemist: atoms, and what atoms often make together.

An atom in brackets (``[C@@H]``), a two-letter halogen and a ring closure above nine (``%12``) are several characters
and one symbol. Every other symbol of SMILES is one character. Nothing is rejected: a symbol that was not seen, and
whatever is no SMILES, is written in characters, and decodes to exactly what it was.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers

from genaisys.tokenizers.base import Tokenizer, VocabularyTooSmall, encodable
from genaisys.tokenizers.units import base_vocabulary, byte_level_tokenizer, unit_tokenizer

# An isotope, an element or *, chirality, hydrogens, a charge, an atom class. Python and Oniguruma read it alike.
_BRACKET_ATOM = (
    r"\[[0-9]{0,3}(?:[A-Z][a-z]{0,2}|[a-z]{1,2}|\*)"
    r"(?:@(?:@|(?:TH|AL|SP|TB|OH)[0-9]{1,2})?)?(?:H[0-9]{0,2})?(?:[+-]{1,4}[0-9]{0,2})?(?::[0-9]{1,4})?\]"
)
_RING_CLOSURE = r"%(?:[0-9]{2}|\([0-9]{1,5}\))"
_CUT = rf"{_BRACKET_ATOM}|{_RING_CLOSURE}|Br|Cl|[\s\S]"
_symbols = re.compile(_CUT).findall
_is_character = re.compile(r"[BCNOPSFIbcnops*0-9=#$:/\\~().>-]").fullmatch
_PRIVATE_USE = 0xF0000  # here begin characters to which Unicode gives no meaning
_Merge = tuple[str, str]


def smiles_tokenizer(smiles: Iterable[str], *, min_frequency: int = 1) -> Tokenizer:
    """One token for each symbol of SMILES, if it occurs so often in ``smiles``; the more frequent, the lower its id."""
    symbols = Counter(symbol for line in smiles for symbol in _symbols(encodable(line)))
    return unit_tokenizer(_long_symbols(symbols, min_frequency), _CUT)


def train_smiles_bpe(smiles: Iterable[str], *, vocabulary_size: int = 2048, min_frequency: int = 2) -> Tokenizer:
    """Byte-pair encoding over the symbols of SMILES, as in SMILES Pair Encoding (Li and Fourches 2021).

    A token is a symbol or several whole ones in a row. Only symbols without a token are cut, and then no token holds
    a part of one and something beside it.

    Args:
        smiles: molecules to learn from; they are held in memory.
        vocabulary_size: at most so many tokens, with 4 special ones and 256 bytes among them.
        min_frequency: a symbol gets a token, and two tokens are made one, where they occur so often.

    Raises:
        VocabularyTooSmall: there is no room for the symbols.
    """
    lines = list(map(encodable, smiles))
    counts = Counter(symbol for line in lines for symbol in _symbols(line))
    long = _long_symbols(counts, min_frequency)
    # Symbols are put together from their characters before anything else, so that later merges see whole ones.
    merges = list(dict.fromkeys((symbol[:n], symbol[n]) for symbol in long for n in range(1, len(symbol))))
    vocabulary = base_vocabulary()
    _add(vocabulary, merges)
    if len(vocabulary) > vocabulary_size:
        raise VocabularyTooSmall(
            f"a vocabulary of {vocabulary_size} tokens is too small: special tokens, bytes and symbols are"
            f" {len(vocabulary)}; allow more, or raise min_frequency"
        )
    learned = _learned(lines, counts, long, vocabulary_size - len(vocabulary), min_frequency)
    _add(vocabulary, learned)
    return byte_level_tokenizer(models.BPE(vocab=vocabulary, merges=merges + learned), _words(long))


def _long_symbols(symbols: Counter[str], min_frequency: int) -> list[str]:
    """The symbols of several characters that get a token: atoms in brackets, ring closures, then the halogens."""
    found = [(-n, symbol) for symbol, n in symbols.items() if symbol[1:] and symbol[0] in "[%" and n >= min_frequency]
    return [symbol for _, symbol in sorted(found)] + ["Cl", "Br"]


def _learned(
    lines: Iterable[str], symbols: Iterable[str], long: Sequence[str], limit: int, min_frequency: int
) -> list[_Merge]:
    """The first ``limit`` merges that byte-pair encoding learns where each of ``symbols`` counts as one character."""
    code = {symbol: chr(_PRIVATE_USE + n) for n, symbol in enumerate(long)}
    code |= {symbol: symbol if _is_character(symbol) else " " for symbol in symbols if symbol not in code}
    symbol_of = {character: symbol for symbol, character in code.items() if character != " "}
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # whatever is no symbol ends a word
    trainer = trainers.BpeTrainer(
        vocab_size=len(symbol_of) + limit,
        min_frequency=min_frequency,
        initial_alphabet=list(symbol_of),
        show_progress=False,
    )
    backend.train_from_iterator(("".join(map(code.__getitem__, _symbols(line))) for line in lines), trainer)
    merges = json.loads(backend.to_str())["model"]["merges"]
    spelled = [["".join(map(symbol_of.__getitem__, token)) for token in merge] for merge in merges]
    return [(left, right) for left, right in spelled]


def _add(vocabulary: dict[str, int], merges: Iterable[_Merge]) -> None:
    for left, right in merges:
        vocabulary.setdefault(left + right, len(vocabulary))


def _words(long: Iterable[str]) -> str:
    """A pattern that cuts out the symbols which have no token, and leaves whole what stands between them."""
    atoms, rings = ([re.escape(symbol[1:]) for symbol in long if symbol[0] == first] for first in "[%")
    whole = [rf"\[(?:{'|'.join(atoms)})" if atoms else "", f"%(?:{'|'.join(rings)})" if rings else "", r"[^\[%]"]
    return rf"(?:{'|'.join(filter(None, whole))})+|{_BRACKET_ATOM}|{_RING_CLOSURE}|[\s\S]"
