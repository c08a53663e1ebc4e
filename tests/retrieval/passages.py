"""Hits made by hand, with similarities chosen by the test."""

from collections.abc import Sequence

from genaisys.retrieval.documents import Chunk, Hit
from genaisys.retrieval.sentences import sentence_spans


def hit(
    text: str, similarities: Sequence[float] | float = 0.5, *, source: str = "a.txt", start: int = 0, context: str = ""
) -> Hit:
    """A passage that begins at ``start`` of its document; one similarity for all of its sentences, or one for each."""
    spans = tuple((start + a, start + b) for a, b in sentence_spans(text))
    scores = (similarities,) * max(len(spans), 1) if isinstance(similarities, float) else tuple(similarities)
    return Hit(Chunk(source, 0, text, start, start + len(text), None, context, spans), max(scores, default=0.0), scores)
