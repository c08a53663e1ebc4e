"""Files that a browser has sent: where they are, and what they are called.

On the disk an upload has a generated name in the app's upload folder. Its own name is data that only ever becomes the
``source`` of a document, never a path.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from genaisys.retrieval.ingestion import Outcome
from genaisys.retrieval.readers import MAX_FILE_BYTES

MAX_NAME = 1000  # characters


@dataclass
class Uploads:
    """What has arrived, by source, and what has not."""

    files: dict[str, Path] = field(default_factory=dict)
    failed: list[Outcome] = field(default_factory=list)

    def remove(self) -> None:
        """Take the files off the disk; what they say is in the index."""
        for path in self.files.values():
            path.unlink(missing_ok=True)


def received(sent: Any, folder: Path) -> Uploads:
    """What a browser says that it has sent. None of it is believed: only files inside ``folder`` are taken."""
    uploads = Uploads()
    for item in sent if isinstance(sent, list) else []:
        name, size, path = (
            (item.get(key) for key in ("name", "size", "path")) if isinstance(item, dict) else (None,) * 3
        )
        source = _source(str(name or ""))
        if isinstance(size, int | float) and size > MAX_FILE_BYTES:
            detail = f"has {size / 1e6:,.0f} MB, and {MAX_FILE_BYTES / 1e6:,.0f} MB is the limit; split it into parts"
            uploads.failed.append(Outcome(source, "failed", detail))
        elif not path or not _is_inside(Path(str(path)), folder):
            uploads.failed.append(Outcome(source, "failed", "did not arrive; try it again"))
        else:
            uploads.files[source] = Path(str(path))
    return uploads


def _is_inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve()) and path.is_file()


def _source(name: str) -> str:
    """The name of a file, with its path inside a dropped folder, as a source."""
    parts = [part for part in PurePosixPath(name[-MAX_NAME:]).parts if part not in ("/", "//", "..")]
    return "/".join(parts) or "unnamed"
