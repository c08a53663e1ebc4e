"""Bringing files and folders into an index."""

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from queue import SimpleQueue
from typing import Literal

from genaisys.retrieval.chunking import CHUNKER_VERSION
from genaisys.retrieval.documents import Chunk, Document
from genaisys.retrieval.index import Index
from genaisys.retrieval.readers import SUFFIXES, UnreadableDocument
from genaisys.retrieval.reading import ReaderProcess
from genaisys.retrieval.store import Entry, Features, File

READERS = 2
READ_AHEAD = 8  # files that are being read or wait to be encoded: together with ENCODED_TOGETHER, a bound on memory
ENCODED_TOGETHER = 512  # chunks, of any documents: enough to make batches of nearly equal lengths

Status = Literal["added", "updated", "unchanged", "removed", "failed", "skipped"]


@dataclass(frozen=True)
class Outcome:
    """What became of one file; when ``skipped``, of a link, or of all files in a folder that are not for reading."""

    source: str
    status: Status
    detail: str = ""
    chunks: int = 0


@dataclass(frozen=True)
class FoundFile:
    path: Path  # absolute
    folder: Path  # the given folder that it was found in
    file: File

    @property
    def relative(self) -> str:
        return _as_text(self.path.relative_to(self.folder))


@dataclass
class Found:
    """What there is under some paths."""

    files: list[FoundFile] = field(default_factory=list)
    listed: dict[str, bool] = field(default_factory=dict)  # every folder that was tried, and whether it could be listed
    outcomes: list[Outcome] = field(default_factory=list)  # what could not be looked into, and what was left out

    def shows_gone(self, path: str) -> bool:
        """Whether a file that is not among ``files`` is known to have gone."""
        # An unreadable folder says nothing of what is in it.
        nearest = next((str(parent) for parent in PurePath(path).parents if str(parent) in self.listed), None)
        return nearest is not None and self.listed[nearest] and not os.path.lexists(path)


def ingest(paths: Iterable[str | Path], index: Index) -> Iterator[Outcome]:
    """Bring files and folders into ``index``: new and changed files are read, those that have gone are removed.

    A document's source is its path in the given folder. Where another file has that source already, the folder's name
    is put in front. A file is known again by where it is, so a folder may be indexed again by itself or with others.

    Each file is one transaction: after an interruption at any point, call again to go on. A file that fails leaves the
    others, and its own earlier version, as they were. The encoder is loaded only if there is something to encode.

    Yields:
        One outcome per file, as soon as it is safe on disk, in no particular order.

    Raises:
        StoreError: the disk is full, or another process keeps the store busy.
    """
    found = find_files(paths)
    yield from found.outcomes

    entries, present = [], {file.file.path for file in found.files}
    for entry in index.documents():
        if entry.file and entry.file.path not in present and found.shows_gone(entry.file.path):
            index.delete(entry.source)
            yield Outcome(entry.source, "removed")
        else:
            entries.append(entry)

    by_path = {entry.file.path: entry for entry in entries if entry.file}
    by_source = {entry.source: entry for entry in entries}
    owners = {entry.source: entry.file for entry in entries}
    changed = []
    for item in found.files:
        old = by_path.get(item.file.path)
        if old and old.file == item.file and old.chunker == CHUNKER_VERSION:
            yield Outcome(old.source, "unchanged", chunks=old.chunks)
            continue
        source = old.source if old else _free_source(item, owners)
        owners[source] = item.file
        changed.append(_Work(item.path, source, item.file, by_source.get(source)))
    yield from _ingest(changed, index)


def ingest_files(files: Mapping[str, Path], index: Index) -> Iterator[Outcome]:
    """Bring files into ``index`` under given sources: uploads, for example, whose names on disk do not last.

    A document that is there under the same source is replaced. For the rest, see :func:`ingest`.
    """
    there = {entry.source: entry for entry in index.documents()}
    yield from _ingest([_Work(path, source, None, there.get(source)) for source, path in files.items()], index)


def find_files(paths: Iterable[str | Path]) -> Found:
    """All files under ``paths`` that can be read. A file that is named itself is taken whatever its name.

    Hidden files and files of unknown kinds are counted but not listed. Links are not followed: what they point to
    inside the folder is found there anyway, what they point to outside was not asked for.
    """
    found, seen = Found(), set()
    for given in paths:
        try:
            path = Path(os.path.realpath(given))
            if path in seen:
                continue
            seen.add(path)
            if path.is_dir():
                _walk(path, path, found)
            else:
                found.files.append(FoundFile(path, path.parent, _file(path, path.stat())))
        except (OSError, ValueError) as error:  # the latter for names that no system allows
            found.outcomes.append(Outcome(_as_text(Path(given)), "failed", f"cannot be read: {_reason(error)}"))
    found.files = list({file.path: file for file in found.files}.values())  # a file may be given twice
    return found


def _walk(folder: Path, root: Path, found: Found) -> None:
    """List what is under ``root``, a folder. Not recursive: nesting has no limit."""
    skipped: Counter[str] = Counter()
    pending = [folder]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as listing:
                items = sorted(listing, key=lambda item: item.name)
            for item in items:
                path = Path(item.path)
                if item.name.startswith("."):
                    skipped["hidden"] += 1
                elif item.is_symlink():
                    if not Path(os.path.realpath(path)).is_relative_to(root):
                        detail = "is a link that leads out of the folder; to index its target, name that itself"
                        found.outcomes.append(Outcome(_as_text(path.relative_to(root)), "skipped", detail))
                elif item.is_dir():
                    pending.append(path)
                elif item.is_file() and path.suffix.lower() in SUFFIXES:
                    found.files.append(FoundFile(path, root, _file(path, item.stat())))
                else:
                    skipped["of kinds that are not read"] += 1
        except OSError as error:
            found.outcomes.append(Outcome(_as_text(folder), "failed", f"cannot be opened: {_reason(error)}"))
            found.listed[_as_text(folder)] = False
        else:
            found.listed[_as_text(folder)] = True
    if skipped:
        detail = " and ".join(f"{count} {kind}" for kind, count in skipped.items())
        found.outcomes.append(Outcome(_as_text(root), "skipped", detail))


def _free_source(found: FoundFile, owners: Mapping[str, File | None]) -> str:
    """A source that no other file has; the one of a file that has gone (its folder was moved) is taken over."""
    for source in (found.relative, f"{_as_text(PurePath(found.folder.name))}/{found.relative}"):
        owner = owners.get(source)
        if source not in owners or (owner and not os.path.lexists(owner.path)):
            return source
    return found.file.path


# ---- reading ahead, and encoding together


@dataclass(frozen=True)
class _Work:
    """A file to be read. ``file`` is None where its path will not last; ``old`` is the document that it replaces."""

    path: Path
    source: str
    file: File | None
    old: Entry | None


def _ingest(work: Sequence[_Work], index: Index) -> Iterator[Outcome]:
    waiting: list[tuple[_Work, Document, list[Chunk]]] = []
    for item, result in _read_all(work):
        if isinstance(result, UnreadableDocument):
            kept = "; the version indexed before is kept" if item.old else ""
            yield Outcome(item.source, "failed", f"{result}{kept}")
            continue
        document, chunks = result
        if item.old and (item.old.content_hash, item.old.chunker) == (document.content_hash, CHUNKER_VERSION):
            if item.file:
                index.store.set_file(item.source, item.file)
            yield Outcome(item.source, "unchanged", chunks=len(chunks))
            continue
        waiting.append((item, document, chunks))
        if sum(len(chunks) for _, _, chunks in waiting) >= ENCODED_TOGETHER:
            yield from _encode_and_store(waiting, index)
            waiting = []
    yield from _encode_and_store(waiting, index)
    if work:
        index.refresh()


def _encode_and_store(read: Sequence[tuple[_Work, Document, list[Chunk]]], index: Index) -> Iterator[Outcome]:
    everything = [chunk for _, _, chunks in read for chunk in chunks]
    features: list[Features] = []
    for start in range(0, len(everything), ENCODED_TOGETHER):
        features += index.features(everything[start : start + ENCODED_TOGETHER])
    for item, document, chunks in read:
        own, features = features[: len(chunks)], features[len(chunks) :]
        index.put(document, chunks, own, item.file)
        yield Outcome(item.source, "updated" if item.old else "added", chunks=len(chunks))


def _read_all(
    work: Sequence[_Work],
) -> Iterator[tuple[_Work, tuple[Document, list[Chunk]] | UnreadableDocument]]:
    """Read files in other processes, a few ahead of the consumer; results are in the order of ``work``."""
    idle: SimpleQueue[ReaderProcess] = SimpleQueue()
    readers = [ReaderProcess() for _ in range(min(READERS, len(work)))]
    for reader in readers:
        idle.put(reader)

    def read(item: _Work) -> tuple[Document, list[Chunk]] | UnreadableDocument:
        reader = idle.get()
        try:
            return reader.read(item.path, item.source)
        except UnreadableDocument as error:
            return error
        finally:
            idle.put(reader)

    threads = ThreadPoolExecutor(max(1, len(readers)), thread_name_prefix="reader")
    ahead: deque[tuple[_Work, Future[tuple[Document, list[Chunk]] | UnreadableDocument]]] = deque()
    try:
        for item in work:
            ahead.append((item, threads.submit(read, item)))
            if len(ahead) > READ_AHEAD:
                first, future = ahead.popleft()
                yield first, future.result()
        for first, future in ahead:
            yield first, future.result()
    finally:  # also when the consumer stops or Ctrl-C arrives
        threads.shutdown(wait=False, cancel_futures=True)
        for reader in readers:
            reader.close()
        threads.shutdown(wait=True)


def _file(path: Path, status: os.stat_result) -> File:
    return File(_as_text(path), status.st_size, status.st_mtime_ns)


def _as_text(path: PurePath) -> str:
    r"""A path with forward slashes; bytes of it that are not UTF-8 are written as ``\xff``."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def _reason(error: OSError | ValueError) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
