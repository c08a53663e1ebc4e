"""Whether retrieved text supports a sentence that a model wrote."""

from collections.abc import Sequence

from genaisys.retrieval.questions import WORD, has_digit
from genaisys.retrieval.sentences import sentence_spans
from genaisys.retrieval.words import STOP_WORDS, is_stop, term_ids

SHARE = 0.6  # of a sentence's content terms that one passage must hold


def is_supported(sentence: str, passages: Sequence[str]) -> bool:
    """Whether a single one of ``passages`` holds every name and number of ``sentence`` and most of its other words.

    This catches what is invented, not what is wrongly put together: "A beat B" has the words of "B beat A".
    A sentence without content words claims nothing and counts as supported.
    """
    ids = term_ids(sentence)
    claimed = frozenset(ids[~is_stop(ids)].tolist())
    facts = names_and_numbers(sentence)
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
