"""Whether retrieved text supports a sentence that a model wrote."""

import re
from collections.abc import Sequence

from genaisys.retrieval.questions import WORD, has_digit
from genaisys.retrieval.sentences import sentence_spans
from genaisys.retrieval.words import STOP_WORDS, is_stop, term_ids

SHARE = 0.6  # of a sentence's content terms that one passage must hold

# Words that begin sentences and are no names.
_OPENERS = """
    according accordingly additionally although based because besides currently finally first furthermore generally
    given hence however instead later meanwhile moreover no note originally otherwise overall since sometimes
    specifically therefore thus today typically unfortunately until usually while yes
"""
_OPENING_WORDS = frozenset(_OPENERS.split())
_MARKER = re.compile(r"\[\d+(?:\s*[,–-]\s*\d+)*\]")  # "[2]", by which models point at passages


def is_supported(sentence: str, passages: Sequence[str]) -> bool:
    """Whether a single one of ``passages`` holds every name and number of ``sentence`` and most of its other words.

    This catches what is invented, not what is wrongly put together: "A beat B" has the words of "B beat A".
    A sentence without content words claims nothing and counts as supported.
    """
    sentence = _MARKER.sub(" ", sentence)
    ids = term_ids(sentence)
    claimed = frozenset(ids[~is_stop(ids)].tolist())
    facts = names_and_numbers(sentence) | _opening_name(sentence)
    for passage in passages:
        held = frozenset(term_ids(passage).tolist())
        if facts <= held and len(claimed & held) >= SHARE * len(claimed):
            return True
    return not claimed


def names_and_numbers(text: str) -> frozenset[int]:
    """The terms of numbers, and of words in capitals that do not merely begin a sentence."""
    facts: list[int] = []
    for start, end in sentence_spans(text):
        for place, match in enumerate(WORD.finditer(text, start, end)):
            word = match[0]
            if has_digit(word) or (place > 0 and word[0].isupper() and word.lower() not in STOP_WORDS):
                facts += term_ids(word).tolist()
    return frozenset(facts)


def _opening_name(sentence: str) -> frozenset[int]:
    """The terms of the first word, if it may be a name."""
    first = WORD.search(sentence)
    if not first or not first[0][0].isupper() or first[0].lower() in STOP_WORDS | _OPENING_WORDS:
        return frozenset()
    return frozenset(term_ids(first[0]).tolist())
