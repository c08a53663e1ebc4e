"""MOSES, the benchmark for generators of molecules (Polykovskiy et al. 2020, arXiv:1811.12823): its data and filters.

They are read out of the published wheel when they are needed; nothing in it is unpickled, and none of its code runs.
"""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from functools import cache
from pathlib import Path
from typing import Literal

from genaisys.hub import parts_folder
from genaisys.hub.downloads import DownloadFailed, OnProgress, Wheel, fetch

WHEEL = Wheel(
    "molsets==0.3.1",
    size=51_584_291,
    sha256="7f4450e3ebecebe79c3a2a55950c93daddee071120daf64a163d03481e811d34",
    folder="moses",
    members=(),
)
Split = Literal["train", "test", "test_scaffolds"]


def moses(split: Split, on_progress: OnProgress = lambda step, done, total: None) -> list[str]:
    """The SMILES of a part of MOSES, in its order: 1,584,663, 176,074 and 176,225 of 15 to 57 characters.

    The scaffolds of ``test_scaffolds`` are those of no molecule in the other two.

    Args:
        on_progress: called as ``on_progress(step, done, total)``, in bytes, while the wheel comes over the network.

    Raises:
        DownloadFailed: the wheel cannot be had, or is not the one that was published.
    """
    lines = gzip.decompress(_member(f"dataset/data/{split}.csv.gz", on_progress)).decode("ascii").split()
    return lines[1:]  # without the header


@cache
def structural_alerts() -> tuple[str, ...]:
    """SMARTS of the medicinal chemistry filters (MCF), then of PAINS: what MOSES' molecules have none of.

    Raises:
        DownloadFailed: as above.
    """
    mcf = csv.DictReader(io.StringIO(_member("metrics/mcf.csv").decode("ascii")))
    pains = csv.reader(io.StringIO(_member("metrics/wehi_pains.csv").decode("ascii")))
    return tuple(row["smarts"] for row in mcf) + tuple(row[0] for row in pains)


def moses_is_here() -> bool:
    """Whether MOSES has been fetched already, so that nothing has to be asked of the network."""
    return (moses_folder() / f"{WHEEL.requirement}.whl").is_file()


def moses_folder() -> Path:
    """Where the wheel is kept, and what is computed from it."""
    return parts_folder().with_name("datasets") / "moses"


def _member(name: str, on_progress: OnProgress = lambda step, done, total: None) -> bytes:
    folder = moses_folder()
    try:
        wheel = fetch(WHEEL, folder, lambda step, done, total: on_progress(f"{step} MOSES (52 MB)", done, total))
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(f"{WHEEL.folder}/{name}")
    except OSError as error:
        raise DownloadFailed(f"cannot keep {WHEEL.requirement} in {folder}: {error.strerror or error}") from error
