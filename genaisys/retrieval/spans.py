"""Short answers that are spans of the quotations, word for word, so that nothing in them can be invented.

Every run of up to ten words that could be an answer is a candidate. A log-linear model over cheap features keeps a few
dozen, and a language model then tells how likely it would give each of them as the answer. Several likely candidates
mostly share their words ("1931", "March 1931", "14 March 1931"); what is given is the one that overlaps most with all
that are likely, and not the likeliest one. The weights were fitted on one half of the articles of SQuAD 1.1 dev;
``benchmarks/answer_quality.py`` reports on the other half.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from genaisys.messages import ChatMessage
from genaisys.models.chat import ScoresText
from genaisys.retrieval.questions import WORD, Question, is_quantity, is_time
from genaisys.retrieval.quotations import Quotation
from genaisys.retrieval.words import STOP_WORDS, term_ids

LONGEST = 10  # words
SCORED = 40  # candidates that the language model sees

# No answer begins or ends with one of these, nor with a stop word.
_CONNECTIVES = """
    nor without within onto over under between among through during before after since until against above below
    across along around behind beside beyond despite except inside near off out outside past per toward towards upon
    via because unless while although though whether not both either neither every thus therefore however only even
    still yet often usually more most us mine yours hers ours theirs
"""
_HOLLOW = STOP_WORDS.union(_CONNECTIVES.split())
_INTRODUCES = frozenset({"is", "was", "are", "were", "be", "been", "called", "named", "as", "became", "by"})
_BREAK = re.compile(r":(?!\S)|[;()\[\]{}<>|\n—?!\"“”«»]|\.\s")

# Weights of a candidate.
WEIGHTS = {
    "sentence": 0.9,  # log-probability of its sentence among the quotations
    "repeats": -1.7,  # share of its words that the question says
    "fits": 1.8,  # is of the expected kind (1) or not (-1)
    "counts": 2.1,  # begins with a number where one is asked for
    "whole": 0.8,  # ends of it at punctuation or function words: 0, 1 or 2
    "cuts": -2.0,  # tears a name apart
    "far": -1.2,  # log(1 + words to the nearest word of the question)
    "length": -1.5,  # log(words)
    "single": -1.6,  # one word
    "hollow": -2.0,  # share of function words
    "commas": -0.9,
    "introduced": 0.4,  # follows "is", "called", "by" ...
    "head": 2.2,  # repeats "river" of "which river"
}
LIKELIHOOD = 0.5  # of the language model, per nat
TEMPERATURE = 1.5  # of the probabilities that these log-odds make: they are too sure of themselves

_INSTRUCTION = "Answer the question with a few words copied from the text."
# Texts of our own that show the form of an answer.
_EXAMPLES = (
    (
        "The Vasa sank on 10 August 1628 in the harbour of Stockholm. She had sailed about 1,300 metres when a gust of"
        " wind pushed her over.",
        "When did the Vasa sink?",
        "10 August 1628",
    ),
    (
        "Otters keep warm without blubber. Their fur has up to a million hairs on a square inch, and it holds a layer"
        " of air against the skin.",
        "What keeps the water away from an otter's skin?",
        "a layer of air",
    ),
    (
        "The bridge was designed by Ada Lindqvist, an engineer from Gothenburg. It has carried trams since 1939.",
        "Who designed the bridge?",
        "Ada Lindqvist",
    ),
)


@dataclass(frozen=True, slots=True)
class Span:
    """A candidate answer. Offsets are into ``Document.text``."""

    quotation: Quotation
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.quotation.text[self.start - self.quotation.start : self.end - self.quotation.start]


def short_answer(question: Question, quotations: Sequence[Quotation], model: ScoresText) -> Span | None:
    """The span of ``quotations`` that answers ``question`` best; None if they hold nothing new.

    The model reads the best quotation only: a small one is led astray by more, and it is twice as quick.
    """
    candidates = candidate_spans(question, quotations)[:SCORED]
    if not candidates:
        return None
    prompt = span_prompt(question.text, quotations[0].text)
    likelihoods = model.log_likelihood(prompt, [f'"{span.text}"' for span, _ in candidates]).tolist()
    totals = [score + LIKELIHOOD * value for (_, score), value in zip(candidates, likelihoods, strict=True)]
    return most_expected_overlap([span for span, _ in candidates], totals)


def most_expected_overlap(spans: Sequence[Span], log_odds: Sequence[float]) -> Span:
    """The span that has most in common with the right one, in expectation (minimum Bayes risk; Goel & Byrne 2000).

    What two spans have in common is the F1 of their characters.
    """
    probability = np.exp(_log_softmax([value / TEMPERATURE for value in log_odds]))  # [N]
    start = np.array([span.start for span in spans])
    end = np.array([span.end for span in spans])
    source = np.array([span.quotation.chunk.source for span in spans])  # in which the offsets are
    shared = np.minimum.outer(end, end) - np.maximum.outer(start, start)  # [N, N]
    shared = np.where(source[:, None] == source, shared.clip(0), 0)
    overlap = 2 * shared / np.add.outer(end - start, end - start)
    return spans[int(np.argmax(overlap @ probability))]


def candidate_spans(question: Question, quotations: Sequence[Quotation]) -> list[tuple[Span, float]]:
    """Spans that could be the answer, with the log-odds that the cheap features give them, best first."""
    weights = np.array(list(WEIGHTS.values()))
    spans: list[Span] = []
    features: list[list[float]] = []
    for quotation, log_share in zip(quotations, _log_softmax([q.score for q in quotations]), strict=True):
        for span, values in _spans_of(question, quotation):
            spans.append(span)
            features.append([log_share, *values])
    scores = np.array(features).reshape(-1, len(weights)) @ weights  # [N]
    return [(spans[n], float(scores[n])) for n in np.argsort(-scores, kind="stable")]


def span_prompt(question: str, text: str) -> list[ChatMessage]:
    """The conversation in which a model gives a short answer from ``text``, in quotation marks."""
    messages = [ChatMessage.system(_INSTRUCTION)]
    for example, asked, answer in _EXAMPLES:
        messages += [ChatMessage.user(_ask(example, asked)), ChatMessage.assistant(f'"{answer}"')]
    return [*messages, ChatMessage.user(_ask(text, question))]


def _ask(text: str, question: str) -> str:
    return f"{' '.join(text.split())}\n\nQuestion: {question}"


def _spans_of(question: Question, quotation: Quotation) -> Iterator[tuple[Span, list[float]]]:
    """The candidates in one quotation, with all their features but the first."""
    sentence = quotation.text
    found = list(WORD.finditer(sentence))
    words = [match[0] for match in found]
    gaps = [sentence[a.end() : b.start()] for a, b in pairwise(found)]
    empty = [word.lower() in _HOLLOW for word in words]
    asked = [not empty[i] and not question.terms.isdisjoint(term_ids(word).tolist()) for i, word in enumerate(words)]
    capital = [word[0].isupper() and not (i == 0 and empty[i]) and not is_time(word) for i, word in enumerate(words)]
    in_question = [i for i, said in enumerate(asked) if said]
    heads = [not question.head.isdisjoint(term_ids(word).tolist()) for word in words]

    for first in range(len(words)):
        if empty[first]:
            continue
        for last in range(first, min(first + LONGEST, len(words))):
            if last > first and _BREAK.search(gaps[last - 1]):
                break
            inside = range(first, last + 1)
            hollow = sum(empty[i] for i in inside)
            repeats = sum(asked[i] for i in inside)
            length = len(inside)
            full = length - hollow
            if empty[last] or repeats == full:
                continue
            before = gaps[first - 1].strip() if first else "."
            after = gaps[last].strip() if last + 1 < len(words) else "."
            cuts = (first > 0 and not before and capital[first] and capital[first - 1]) or (
                last + 1 < len(words) and not after and capital[last] and capital[last + 1]
            )
            whole = (bool(before) or empty[first - 1]) + (bool(after) or empty[last + 1])
            distance = min((max(first - i, i - last) for i in in_question if not first <= i <= last), default=15)
            values: list[float] = [
                repeats / full,
                _fit(question, words[first : last + 1], sum(capital[i] for i in inside) / full),
                question.kind == "quantity" and length <= 4 and is_quantity(words[first]),
                whole,
                cuts,
                math.log1p(distance),
                math.log(length),
                length == 1,
                hollow / length,
                sum("," in gaps[i] for i in range(first, last)),
                first > 0 and words[first - 1].lower() in _INTRODUCES,
                any(heads[i] for i in inside),
            ]
            yield (
                Span(quotation, quotation.start + found[first].start(), quotation.start + found[last].end()),
                values,
            )


def _fit(question: Question, words: list[str], capitals: float) -> float:
    """How well ``words`` are of the kind that the question expects. -> [-1, 1]"""
    match question.kind:
        case "time":
            return 1 if any(is_time(word) for word in words) else -1
        case "quantity":
            return 1 if any(is_quantity(word) for word in words) else -1
        case "name":
            return 2 * capitals - 1
    return capitals


def _log_softmax(scores: Sequence[float]) -> npt.NDArray[np.float64]:
    values = np.array(scores, np.float64)
    return values - np.logaddexp.reduce(values) if len(values) else values
