"""Texts as counts of their words: the encoders that need no neural network (the book's section 11.2.1.1)."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genaisys.errors import GenaisysError

if TYPE_CHECKING:
    from torch import Tensor

_words = re.compile(r"\w+").findall


class WordCountsBroken(GenaisysError):
    """The file holds no bag of words or tf-idf weights."""


class BagOfWords:
    """How often each term of a vocabulary occurs in a text.

    A term is a word in lower case, or up to ``longest`` of them in a row with spaces between. Others are not counted.

    Attributes:
        vocabulary: the terms, in the order of the vector's numbers.
    """

    name = "bag of words"

    def __init__(self, vocabulary: Sequence[str], *, longest: int = 1) -> None:
        self.vocabulary = list(vocabulary)
        self.longest = longest
        self.dimension = len(self.vocabulary)
        self._place = {term: place for place, term in enumerate(self.vocabulary)}

    @classmethod
    def fit(cls, texts: Iterable[str], *, vocabulary_size: int = 10_000, longest: int = 1) -> BagOfWords:
        """The bag of the ``vocabulary_size`` terms that occur in most of ``texts``, in alphabetical order."""
        documents = Counter(chain.from_iterable(set(_terms(text, longest)) for text in texts))
        chosen = sorted(documents, key=lambda term: (-documents[term], term))[:vocabulary_size]
        return cls(sorted(chosen), longest=longest)

    def counts(self, texts: Sequence[str]) -> Tensor:
        """How often each term occurs in each text. -> [B, V], float32"""
        import torch

        found = [
            (row, place)
            for row, text in enumerate(texts)
            for term in _terms(text, self.longest)
            if (place := self._place.get(term)) is not None
        ]
        rows, places = torch.tensor(found, dtype=torch.long).reshape(-1, 2).unbind(1)  # [N], [N]
        counts = torch.zeros(len(texts), self.dimension)
        return counts.index_put_((rows, places), torch.ones(len(rows)), accumulate=True)

    def encode(self, raw_inputs: Sequence[str]) -> Tensor:
        """The counts, scaled to unit length; zeros where a text has no term of the vocabulary. -> [B, V]"""
        import torch

        return torch.nn.functional.normalize(self.counts(raw_inputs), dim=-1)

    def save(self, file: Path) -> None:
        """Write it as JSON."""
        _write(file, {"vocabulary": self.vocabulary, "longest": self.longest})

    @classmethod
    def load(cls, file: Path) -> BagOfWords:
        """What :meth:`save` wrote.

        Raises:
            WordCountsBroken: the file is missing or broken.
        """
        content = _read(file)
        return cls(content["vocabulary"], longest=content["longest"])


class TfIdf:
    """Word counts in which a term weighs the more, the fewer documents it occurs in (Spärck Jones 1972).

    ``tf`` is the share of a term among all terms of the text, and ``idf = ln((1 + N) / (1 + n)) + 1`` where ``n`` of
    ``N`` documents hold the term: as if one more document held every term, so that one which no document holds has a
    finite weight. (The book's ``ln(N / n)`` is infinite there.)
    """

    name = "tf-idf"

    def __init__(self, bag: BagOfWords, idf: Sequence[float]) -> None:
        self.bag = bag
        self.idf = list(idf)
        self.dimension = bag.dimension

    @classmethod
    def fit(cls, texts: Sequence[str], bag: BagOfWords | None = None) -> TfIdf:
        """The weights of the terms of ``bag`` among ``texts``; without a bag, of the terms of ``texts``."""
        bag = bag or BagOfWords.fit(texts)
        documents = Counter(chain.from_iterable(set(_terms(text, bag.longest)) for text in texts))
        return cls(bag, [math.log((1 + len(texts)) / (1 + documents[term])) + 1 for term in bag.vocabulary])

    def weights(self, texts: Sequence[str]) -> Tensor:
        """``tf * idf`` of each term in each text. -> [B, V], float32"""
        import torch

        lengths = torch.tensor([len(_terms(text, self.bag.longest)) for text in texts])  # [B]
        return self.bag.counts(texts) / lengths.clamp(min=1)[:, None] * torch.tensor(self.idf)

    def encode(self, raw_inputs: Sequence[str]) -> Tensor:
        """The weights, scaled to unit length; zeros where a text has no term of the vocabulary. -> [B, V]"""
        import torch

        return torch.nn.functional.normalize(self.weights(raw_inputs), dim=-1)

    def save(self, file: Path) -> None:
        """Write it as JSON."""
        _write(file, {"vocabulary": self.bag.vocabulary, "longest": self.bag.longest, "idf": self.idf})

    @classmethod
    def load(cls, file: Path) -> TfIdf:
        """What :meth:`save` wrote.

        Raises:
            WordCountsBroken: the file is missing or broken, or holds a bag of words only.
        """
        content = _read(file)
        match content.get("idf"):
            case list(idf) if len(idf) == len(content["vocabulary"]) and all(isinstance(w, int | float) for w in idf):
                return cls(BagOfWords(content["vocabulary"], longest=content["longest"]), idf)
        raise WordCountsBroken(f"{file} holds no tf-idf weights")


def _terms(text: str, longest: int) -> list[str]:
    words = _words(text.lower())
    return [" ".join(words[i : i + n]) for n in range(1, longest + 1) for i in range(len(words) - n + 1)]


def _write(file: Path, content: dict[str, Any]) -> None:
    Path(file).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(Path(file).read_bytes())
    except OSError as error:
        raise WordCountsBroken(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise WordCountsBroken(f"{file} is broken: it is not JSON ({error})") from error
    match content:
        case {"vocabulary": list(terms), "longest": int(longest)} if longest > 0 and all(
            isinstance(t, str) for t in terms
        ):
            return content
    raise WordCountsBroken(f"{file} holds no word counts")
