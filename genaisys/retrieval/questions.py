"""What a question asks: its terms, its names, and the kind of answer that it expects."""

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

from genaisys.retrieval.words import STOP_WORDS, is_stop, term_ids

AnswerKind = Literal["time", "quantity", "name", "reason", "other"]

_ASKS = re.compile(r"\b(?:what|which|who|whom|whose|when|where|why|how)\b")

# What follows the first question word decides: a later "when" or "who" mostly begins a clause.
_KINDS: tuple[tuple[AnswerKind, re.Pattern[str]], ...] = (
    (
        "time",
        re.compile(r"when\b|what time\b|(?:what|which)(?: \w+)? (?:year|date|day|month|season|decade|century|era)\b"),
    ),
    (
        "quantity",
        re.compile(
            r"how (?:many|much|old|long|far|tall|large|big|high|fast|deep|wide|heavy|few|close|hot|cold)\b"
            r"|how (?:\w+ )?(?:often|frequent)"
            r"|what (?:percent|percentage|number|amount|fraction|proportion|(?:is|was) the population)\b"
        ),
    ),
    (
        "name",
        re.compile(
            r"who(?:m|se)?\b|where\b|what (?:is|was|are|were) the names?\b"
            r"|(?:what|which)(?: \w+)? (?:city|country|state|county|town|place|region|river|location|island|area"
            r"|continent|nation|company|university|team|organi[sz]ation|person|king|queen|president|emperor|album|song|book|actor"
            r"|author|group|name)\b"
        ),
    ),
    ("reason", re.compile(r"why\b|what (?:reason|caused?)\b")),
)

_TIMES = """
    january february march april may june july august september october november december
    monday tuesday wednesday thursday friday saturday sunday
    century centuries decade bc ad bce ce noon midnight
"""
_NUMBERS = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion trillion
    half third quarter dozen once twice first second
"""
_TIME_WORDS = frozenset(_TIMES.split())
_NUMBER_WORDS = frozenset(_NUMBERS.split())
_REASON_WORDS = frozenset({"because", "due", "since", "so", "to", "reason", "cause", "caused", "result", "therefore"})
_YEAR = re.compile(r"1\d{3}s?|20\d\ds?|\d{1,2}(?:st|nd|rd|th)|\d{1,2}:\d\d|\d{4}-\d\d-\d\d")

# A word as it is written: with its inner hyphens, apostrophes, points and slashes, and with the signs of a quantity.
# A colon is inside between digits only: 9:15, 3:1.
WORD = re.compile(r"(?:(?<!\w)[-−+±](?=[$£€¥]?\d))?[$£€¥]?\w+(?:[-–'’./,&@]\w+|(?<=\d):(?=\d)\w+)*%?")


@dataclass(frozen=True)
class Question:
    text: str

    @cached_property
    def terms(self) -> frozenset[int]:
        """Its content terms: see :mod:`genaisys.retrieval.words`."""
        ids = term_ids(self.text)
        return frozenset(ids[~is_stop(ids)].tolist())

    @cached_property
    def pairs(self) -> frozenset[tuple[int, int]]:
        """Terms that stand side by side, stop words included."""
        return term_pairs(self.text)

    @cached_property
    def names(self) -> frozenset[int]:
        """Terms that name one thing: numbers, and words in capitals that do not merely begin the question."""
        found = WORD.finditer(self.text)
        named = [match[0] for match in found if has_digit(match[0]) or (match[0][0].isupper() and match.start())]
        return frozenset(term for name in named for term in term_ids(name).tolist()) & self.terms

    @cached_property
    def kind(self) -> AnswerKind:
        text = self.text.lower()
        if asks := _ASKS.search(text):
            return next((kind for kind, pattern in _KINDS if pattern.match(text, asks.start())), "other")
        return "other"

    @cached_property
    def head(self) -> frozenset[int]:
        """The terms of "river" in "Which river is ...?": an answer often repeats them."""
        match = _HEAD.search(self.text.lower())
        return frozenset(term_ids(match[1]).tolist()) & self.terms if match else frozenset()

    def mentions(self, word: str) -> bool:
        """Whether all of ``word`` (which may be hyphenated) is in the question already."""
        ids = term_ids(word).tolist()
        return bool(ids) and all(term in self.terms for term in ids)


_HEAD = re.compile(
    r"\b(?:what|which)\s+((?:\w+\s+){0,2}?\w+)\s+"
    r"(?:is|was|are|were|did|do|does|has|have|had|can|could|will|would)\b"
)


def term_pairs(text: str) -> frozenset[tuple[int, int]]:
    ids = term_ids(text).tolist()
    return frozenset(pairwise(ids))


def has_digit(word: str) -> bool:
    return any(character.isdigit() for character in word)


def is_time(word: str) -> bool:
    return bool(_YEAR.fullmatch(word)) or word.lower() in _TIME_WORDS


def is_quantity(word: str) -> bool:
    return has_digit(word) or word.lower() in _NUMBER_WORDS


def is_reason(word: str) -> bool:
    return word.lower() in _REASON_WORDS


def could_answer(kind: AnswerKind, words: list[str], question: Question) -> bool:
    """Whether ``words``, a sentence, hold something of the expected kind that the question does not say itself."""
    new = [word for word in words if not question.mentions(word)]
    match kind:
        case "time":
            return any(is_time(word) for word in new)
        case "quantity":
            return any(is_quantity(word) for word in new)
        case "name":
            return any(word[0].isupper() and word.lower() not in STOP_WORDS and not is_time(word) for word in new)
        case "reason":
            return any(is_reason(word) for word in words)
    return True
