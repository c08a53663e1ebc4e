"""How good answers are: 300 held-out questions of SQuAD 1.1 dev, asked of all its 2,067 paragraphs.

    python benchmarks/answer_quality.py [--questions 300]

Prints tables of refusals, of the quotations, and of the short answers against the plain pipeline: the best paragraph,
or the best three, in a prompt; the same index, the same model, greedy decoding. The questions are drawn, with a fixed
seed, from the articles with an odd number: the weights of genaisys were fitted on the even ones. An answerable question
that is refused counts as wrong. Takes about half an hour on two cores, most of it for the plain pipeline.
"""

import argparse
import random
import re
import string
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import squad
from retrieval_quality import articles
from rich.progress import track

from genaisys.encoders import TextEncoder
from genaisys.messages import ChatMessage
from genaisys.models.chat import ChatModel, open_chat_model
from genaisys.retrieval.answering import Finished, Quoted, stream_answer
from genaisys.retrieval.documents import Hit
from genaisys.retrieval.index import Index
from genaisys.retrieval.questions import Question
from genaisys.retrieval.quotations import REFUSE_BELOW, probability_of_answer, rank_sentences
from genaisys.retrieval.support import names_and_numbers
from genaisys.retrieval.words import term_ids

SEED = 7


@dataclass
class Tally:
    """What is counted about the short answers of one method."""

    exact: list[bool] = field(default_factory=list)
    f1: list[float] = field(default_factory=list)
    holds: list[bool] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    invents: list[bool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, answer: str, gold: Sequence[str], sources: str, seconds: float) -> None:
        known = frozenset(term_ids(sources).tolist())
        self.exact.append(any(normalise(answer) == normalise(each) for each in gold))
        self.f1.append(max(f1(answer, each) for each in gold))
        self.holds.append(holds(answer, gold))
        self.words.append(len(answer.split()))
        self.invents.append(not names_and_numbers(answer) <= known)
        self.seconds.append(seconds)

    def show(self, name: str) -> None:
        cells = [percent(self.exact), percent(self.f1), percent(self.holds), f"{np.mean(self.words):.1f}"]
        cells += [percent(self.invents), f"{np.median(self.seconds):.2f} s"]
        print(f"| {name} |", " | ".join(cells), "|", flush=True)


class WithoutDocument:
    """An index that acts as if one of its documents were not there."""

    def __init__(self, index: Index, source: str) -> None:
        self._index = index
        self._source = source

    def search(self, query: str, k: int = 10) -> list[Hit]:
        hits = self._index.search(query, k + 300)  # no document has so many chunks
        return [hit for hit in hits if hit.chunk.source != self._source][:k]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=300)
    number = parser.parse_args().questions
    paragraphs, questions = squad.load()
    held_out = [question for question in questions if paragraphs[question.paragraph].article % 2 == 1]
    asked = random.Random(SEED).sample(held_out, number)
    titles = [paragraphs[question.paragraph].title for question in asked]
    model = open_chat_model("smollm2-135m-instruct")
    encoder = TextEncoder.from_pretrained("minilm-l6")
    with tempfile.TemporaryDirectory() as folder, Index.open(folder, encoder) as index:
        for document, chunks, _ in articles(with_titles=False):
            index.put(document, chunks, index.features(chunks))
        index.refresh()
        measure_refusals(index, asked, titles)
        measure_answers(index, asked, model)


def measure_refusals(index: Index, asked: Sequence[squad.Question], titles: Sequence[str]) -> None:
    """Answerable questions, and the same ones asked of the collection without their article."""
    present = np.array([answerable(index, question.text) for question in asked])
    absent = np.array(
        [answerable(WithoutDocument(index, title), q.text) for q, title in zip(asked, titles, strict=True)]
    )
    area = (present[:, None] > absent[None, :]).mean() + 0.5 * (present[:, None] == absent[None, :]).mean()
    both, truth = np.r_[present, absent], np.r_[np.ones(len(present)), np.zeros(len(absent))]
    print("\n| refused though answerable | refused without the article | ROC AUC | Brier score |")
    print("| --- | --- | --- | --- |")
    print(f"| {percent(present < REFUSE_BELOW)} | {percent(absent < REFUSE_BELOW)} | {area:.3f} |", end=" ")
    print(f"{np.mean((both - truth) ** 2):.3f} |\n")


def answerable(index: Index | WithoutDocument, text: str) -> float:
    question = Question(text)
    return probability_of_answer(question, rank_sentences(question, index.search(text, 10)))


def measure_answers(index: Index, asked: Sequence[squad.Question], model: ChatModel) -> None:
    tally = Tally()
    quoted = np.zeros((len(asked), 3), bool)
    seconds_to_quotations = []
    for row, question in enumerate(track(asked, "genaisys", transient=True)):
        began = time.perf_counter()
        for event in stream_answer(question.text, index, model):
            if isinstance(event, Quoted):
                seconds_to_quotations.append(time.perf_counter() - began)
            if isinstance(event, Finished):
                answer = event.answer
        quotes = [citation.quote for citation in answer.citations]
        text = "" if answer.refused else answer.answer
        tally.add(text, question.answers, "\n".join(quotes), answer.timings["total"])
        quoted[row] = [any(holds(quote, question.answers) for quote in quotes[: n + 1]) for n in range(3)]

    print("| quoted | holds the gold answer |\n| --- | --- |")
    for n in range(3):
        print(f"| best {n + 1} sentence{'s' * (n > 0)} | {percent(quoted[:, n])} |")
    print(f"\nMedian time to the quotations: {1e3 * np.median(seconds_to_quotations):.0f} ms.")
    print(
        "\n| short answer | exact match | F1 | holds the gold answer | words | invents a name or number | median time |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    tally.show("**genaisys**: a span of the quotations")
    for paragraphs in (1, 3):
        measure_plain(index, asked, model, paragraphs)


def measure_plain(index: Index, asked: Sequence[squad.Question], model: ChatModel, paragraphs: int) -> None:
    """What most pipelines do: the best paragraphs in a prompt."""
    tally = Tally()
    present = []
    for question in track(asked, f"plain, {paragraphs}", transient=True):
        began = time.perf_counter()
        context = "\n\n".join(hit.chunk.text for hit in index.search(question.text, paragraphs))
        prompt = f"Use the following context to answer the question briefly.\n\n{context}\n\nQuestion: {question.text}"
        answer = model.reply([ChatMessage.user(prompt)], max_tokens=48).text
        tally.add(answer, question.answers, context, time.perf_counter() - began)
        present.append(holds(context, question.answers))
    noun = "best paragraph" if paragraphs == 1 else f"best {paragraphs} paragraphs"
    tally.show(f"plain: {noun} in the prompt, which hold it in {percent(present)}")


def normalise(text: str) -> str:
    """SQuAD's: lower case, without punctuation and articles."""
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(?:a|an|the)\b", " ", text).split())


def holds(text: str, gold: Sequence[str]) -> bool:
    """Whether one of the gold answers is in ``text``, in whole words."""
    return any(f" {normalise(answer)} " in f" {normalise(text)} " for answer in gold)


def f1(text: str, gold: str) -> float:
    """Overlap of words."""
    ours, theirs = Counter(normalise(text).split()), Counter(normalise(gold).split())
    return 2 * (ours & theirs).total() / max(ours.total() + theirs.total(), 1)


def percent(values: Sequence[float] | np.ndarray) -> str:
    return f"{100 * np.mean(values):.1f} %"


if __name__ == "__main__":
    main()
